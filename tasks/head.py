"""A linear head on frozen embeddings: multinomial logistic regression, fitted in milliseconds.

Knows arrays. Knows nothing about photos, backbones or files.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from pawloop.errors import TrainingError

L2_TRIED = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1)


@dataclass(frozen=True)
class Head:
    """weight: [C, D], bias: [C]; l2: the penalty that it was fitted with."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    l2: float

    def logits(self, embeddings: NDArray[np.floating]) -> NDArray[np.float32]:
        """[N, C] of embeddings [N, D]."""
        product: NDArray[np.float32] = embeddings.astype(np.float32) @ self.weight.T + self.bias
        return product


class Fitting:
    """Minimises log-loss + l2 * |weight|² by L-BFGS, on features scaled to unit variance.

    Each fit begins where the last one ended. Convex, so that changes the time, and the answer only by where
    the search stops: by 15 real problems neither the best penalty nor a test error, and log-loss by 1e-5.
    """

    def __init__(
        self, embeddings: NDArray[np.floating], labels: NDArray[np.integer], class_count: int
    ) -> None:
        """embeddings: [N, D]; labels: [N], 0 to class_count - 1.

        Raises TrainingError for a feature that is no number.
        """
        if not np.isfinite(embeddings).all():
            raise TrainingError(
                "the head's loss is not a number: the backbone's features are broken; "
                "check the weights file named by [model] init"
            )
        x = torch.from_numpy(embeddings.astype(np.float32))
        self._mean, self._scale = x.mean(0), x.std(0, unbiased=False) + 1e-4
        self._x, self._y = (x - self._mean) / self._scale, torch.from_numpy(labels.astype(np.int64))
        self._weight = torch.zeros(class_count, x.shape[1], requires_grad=True)
        self._bias = torch.zeros(class_count, requires_grad=True)

    def fit(self, l2: float) -> Head:
        """The head of this penalty. Raises TrainingError where its loss is no number."""
        weight, bias = self._weight, self._bias
        optimiser = torch.optim.LBFGS(
            [weight, bias], max_iter=150, history_size=20, line_search_fn="strong_wolfe"
        )

        def loss() -> float:
            optimiser.zero_grad()
            value = functional.cross_entropy(self._x @ weight.T + bias, self._y)
            value += l2 * weight.square().sum()
            value.backward()
            return float(value.detach())

        optimiser.step(loss)
        if not torch.isfinite(weight).all():
            raise TrainingError(f"the head's loss is not a number at a penalty of {l2:g}")
        unscaled = weight.detach() / self._scale
        shift = bias.detach() - unscaled @ self._mean
        return Head(unscaled.numpy(), shift.numpy(), l2)


@dataclass(frozen=True)
class Tried:
    """A head and its log-loss on training and on validation photos, in nats."""

    head: Head
    train_loss: float
    validation_loss: float


def path(
    train: tuple[NDArray[np.floating], NDArray[np.integer]],
    validation: tuple[NDArray[np.floating], NDArray[np.integer]],
    class_count: int,
    penalties: Sequence[float] = L2_TRIED,
    on_fit: Callable[[int, int], None] = lambda *_: None,
) -> list[Tried]:
    """A head for each penalty, from the best on validation photos on; (embeddings, labels) each.

    From the strongest penalty on, until one is worse than that before: from there on heads only learn their
    photos by heart, and take the longest. on_fit(done, total): called after each fit.
    """
    tried: list[Tried] = []
    fitting = Fitting(*train, class_count)
    for l2 in sorted(penalties, reverse=True):
        head = fitting.fit(l2)
        losses = [log_loss(head.logits(embeddings), labels) for embeddings, labels in (train, validation)]
        tried.append(Tried(head, *losses))
        is_last = len(tried) > 1 and tried[-1].validation_loss > tried[-2].validation_loss
        on_fit(len(tried), len(tried) if is_last else len(penalties))
        if is_last:
            break
    return sorted(tried, key=lambda one: one.validation_loss)


def log_loss(logits: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """Mean negative log-likelihood in nats; logits [N, C], labels [N]."""
    return float(
        functional.cross_entropy(
            torch.from_numpy(logits.astype(np.float32)), torch.from_numpy(labels.astype(np.int64))
        )
    )
