"""A linear head on frozen embeddings: multinomial logistic regression, fitted in milliseconds.

Knows arrays. Knows nothing about photos, backbones or files.
"""

from __future__ import annotations

from collections.abc import Sequence
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


def fit(embeddings: NDArray[np.floating], labels: NDArray[np.integer], class_count: int, l2: float) -> Head:
    """Minimise log-loss + l2 * |weight|² by L-BFGS, on features scaled to unit variance.

    embeddings: [N, D]; labels: [N], 0 to class_count - 1. Convex, so no seed changes the answer.
    Raises TrainingError when the loss is not a number, which means broken features.
    """
    if not np.isfinite(embeddings).all():
        raise TrainingError(
            "the head's loss is not a number: the backbone's features are broken; "
            "check the weights file named by [model] init"
        )
    x = torch.from_numpy(embeddings.astype(np.float32))
    y = torch.from_numpy(labels.astype(np.int64))
    mean, scale = x.mean(0), x.std(0, unbiased=False) + 1e-4
    x = (x - mean) / scale
    weight = torch.zeros(class_count, x.shape[1], requires_grad=True)
    bias = torch.zeros(class_count, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [weight, bias], max_iter=150, history_size=20, line_search_fn="strong_wolfe"
    )

    def loss() -> float:
        optimiser.zero_grad()
        value = functional.cross_entropy(x @ weight.T + bias, y) + l2 * weight.square().sum()
        value.backward()
        return float(value.detach())

    optimiser.step(loss)
    unscaled = weight.detach() / scale
    shift = bias.detach() - unscaled @ mean
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
) -> list[Tried]:
    """A head for each penalty, from the best on validation photos on; (embeddings, labels) each."""
    tried = []
    for l2 in penalties:
        head = fit(*train, class_count, l2)
        losses = [log_loss(head.logits(embeddings), labels) for embeddings, labels in (train, validation)]
        tried.append(Tried(head, *losses))
    return sorted(tried, key=lambda one: one.validation_loss)


def log_loss(logits: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """Mean negative log-likelihood in nats; logits [N, C], labels [N]."""
    return float(
        functional.cross_entropy(
            torch.from_numpy(logits.astype(np.float32)), torch.from_numpy(labels.astype(np.int64))
        )
    )
