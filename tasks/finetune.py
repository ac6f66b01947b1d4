"""Fine-tuning of a network's last blocks on what its frozen trunk says of photos, an epoch at a time.

There is no planned end: the rate is constant after a warm-up, and what counts is a mean of weights seen on
the way, so whoever races several can stop any of them after any epoch, and a killed one goes on from its
checkpoint. Knows tensors and time; knows nothing about photos, budgets or other candidates.
"""

from __future__ import annotations

import copy
import io
import math
import pickle
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel

from export.backbone import Network, pool
from pawloop import durable
from pawloop.errors import DamagedFileError, TrainingError
from tasks.blend import Blend
from tasks.calibrate import judged
from tasks.layers import quicken

BATCH = 16  # of 32, the tail's activations alone pass half a gigabyte
_ASKED_AT_ONCE = 64
_DROPPED = 0.3  # share of the embedding that the head does without, others for each photo and step
_WARM_UP_EPOCHS = 0.5
_KEEPS = 0.1  # weight of keeping the pretrained embedding, by which strangers are told (decision 7)
SHARES = (0.5, 1.0)  # of the way from the first weights to the averaged ones
_DIVERGED = (
    "fine-tuning diverged: the loss is not a number; nothing was kept of it. "
    'Check the weights named by [model] init, or set fine_tune = "never"'
)
Precision = Literal["float32", "bfloat16"]
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


class DivergedError(TrainingError):
    """The loss of a fine-tuning is not a number."""


@dataclass(frozen=True)
class Tuning:
    """Hyper-parameters of a fine-tuning.

    rate: learning rate of head and last block. decay: share of it that each block before learns with.
    smoothing: of labels. weight_decay: of AdamW.
    """

    rate: float = 4e-4
    decay: float = 0.9
    smoothing: float = 0.1
    weight_decay: float = 0.01


@dataclass(frozen=True)
class Activations:
    """values: [N, K, s, s] of the trunk for one view of each photo. labels: [N].

    known: [N, D], the embeddings that the pretrained network has of the same views.
    """

    values: NDArray[np.float16]
    labels: NDArray[np.int64]
    known: NDArray[np.float16]


@dataclass
class Curve:
    """What happened, an entry an epoch.

    validation_loss, validation_accuracy: of the blend, the log-loss in nats at the best temperature.
    own_loss: the lower one of the averaged weights and of those halfway to them, each without the others.
    """

    seconds: list[float] = field(default_factory=list)
    train_loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    validation_accuracy: list[float] = field(default_factory=list)
    own_loss: list[float] = field(default_factory=list)


class FineTuning:
    """One network's tail and head being trained.

    What it gives is a blend of the first weights and, after each epoch, of the averaged ones and those
    halfway to them (see `blend`). curve: what happened so far.
    """

    def __init__(self, network: Network, tuning: Tuning, seed: int, steps: int, precision: Precision) -> None:
        """Begin from `network`, which stays as it is. steps: batches an epoch."""
        self.tuning, self.seed, self.precision = tuning, seed, precision
        self.curve = Curve()
        self._last = _Last(network).to(DEVICE, memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in its stubs
        self._averaged = AveragedModel(self._last, avg_fn=_recent(steps))
        self._first = copy.deepcopy(self._last.state_dict())
        self._blend = Blend(self._first)
        self._optimiser = _optimiser(self._last, tuning)
        warm_up = max(1, round(_WARM_UP_EPOCHS * steps))
        self._schedule = torch.optim.lr_scheduler.LinearLR(self._optimiser, 1 / warm_up, 1.0, warm_up)

    @property
    def epochs(self) -> int:
        """Epochs done."""
        return len(self.curve.train_loss)

    @property
    def best_loss(self) -> float:
        """Lowest own loss so far, in nats; infinite before the first epoch.

        By the blend's, one that has learnt nothing would have the first weights', and win many a race.
        """
        return min(self.curve.own_loss, default=math.inf)

    @property
    def since_best(self) -> int:
        """Epochs since validation was best."""
        losses = self.curve.validation_loss
        return len(losses) - 1 - int(np.argmin(losses)) if losses else 0

    def epoch(self, train: Activations, validation: Activations) -> None:
        """Train on each photo once; order and dropout hang on seed and epoch alone.

        Raises DivergedError when the loss is not a number.
        """
        started = time.monotonic()
        dice = torch.Generator().manual_seed(1000 * self.seed + self.epochs)
        losses = [self.step(*batch) for batch in batches(train, dice)]
        self._judge(validation)
        self.curve.train_loss.append(float(np.mean(losses)))  # an epoch that diverged is none
        self.curve.seconds.append(round(time.monotonic() - started, 3))

    def step(self, inputs: Tensor, labels: Tensor, known: Tensor, kept: Tensor) -> float:
        """Learn from one batch, as `batches` has it; its cross-entropy. Raises DivergedError as `epoch` does.

        Dropout (Srivastava et al. 2014) is drawn with the batch, so that a replay drops the same.
        The embedding is held near what it was (feature distillation; Romero et al. 2015, "FitNets"): what
        tells cats from dogs is not all that a photo shows, and the rest is by what strangers are told.
        """
        with _autocast(self.precision):
            embedding = self._last.embed(inputs)
            answers = self._last.head(embedding * kept)
        loss = functional.cross_entropy(answers.float(), labels, label_smoothing=self.tuning.smoothing)
        if not torch.isfinite(loss):
            raise DivergedError(_DIVERGED)
        self._optimiser.zero_grad(set_to_none=True)
        (loss + _KEEPS * _strayed(embedding.float(), known, self._last.head.weight)).backward()
        self._optimiser.step()
        self._schedule.step()
        self._averaged.update_parameters(self._last)
        return float(loss.detach())

    def tuned(self, network: Network) -> Network:
        """A copy of `network` with the blended weights."""
        last = _Last(network)
        last.load_state_dict(self._blend.weights)
        tuned = copy.deepcopy(network)
        tuned.tail.load_state_dict(last.tail.state_dict())
        tuned.head.load_state_dict(last.head.state_dict())
        return tuned.eval()

    def save(self, path: Path) -> None:
        """All that it takes to go on, whole or not at all."""
        state = {
            "last": self._last.state_dict(),
            "first": self._first,
            "averaged": self._averaged.state_dict(),
            "blend": self._blend.state(),
            "optimiser": self._optimiser.state_dict(),
            "schedule": self._schedule.state_dict(),
            "curve": asdict(self.curve),
            "precision": self.precision,
        }
        content = io.BytesIO()  # torch itself would not say that a disk is full
        torch.save(state, content)
        durable.write_bytes(path, content.getbuffer())

    def resume(self, path: Path) -> None:
        """Go on from what `save` wrote, in its precision, whichever is faster at the moment.

        Raises DamagedFileError, with nothing changed, where that cannot be read.
        """
        state = _state(path)
        self._last.load_state_dict(state["last"])
        self._averaged.load_state_dict(state["averaged"])
        self._first = state["first"]
        self._blend.resume(state["blend"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._schedule.load_state_dict(state["schedule"])
        self.curve = Curve(**state["curve"])
        self.precision = state["precision"]

    def _judge(self, validation: Activations) -> None:
        own = []
        for share in (0.0, *SHARES) if self._blend.is_empty else SHARES:
            weights = self._on_the_way(share)
            _, loss = judged(_logits(self._with(weights), validation.values), validation.labels)
            if not np.isfinite(loss):
                raise DivergedError(_DIVERGED)
            self._blend.add(weights, loss, len(validation.labels))
            own += [loss] if share else []
        self.curve.own_loss.append(min(own))
        blended = _logits(self._with(self._blend.weights), validation.values)
        accuracy, loss = judged(blended, validation.labels)
        self.curve.validation_loss.append(loss)
        self.curve.validation_accuracy.append(accuracy)

    def _on_the_way(self, share: float) -> dict[str, Tensor]:
        averaged = self._averaged.module.state_dict()
        return {name: first.lerp(averaged[name], share) for name, first in self._first.items()}

    def _with(self, weights: Mapping[str, Tensor]) -> _Last:
        last: _Last = copy.deepcopy(self._last)
        last.load_state_dict(weights)
        return last


def steps(photo_count: int) -> int:
    """Batches an epoch."""
    return max(1, photo_count // BATCH)


def batches(train: Activations, dice: torch.Generator) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Inputs [B, K, s, s], labels [B] and known embeddings [B, D] of an epoch, in an order that `dice` draws.

    The last is what dropout multiplies embeddings by, [B, D]: nothing, or a little more than one.
    """
    shuffled = torch.randperm(len(train.labels), generator=dice).numpy()
    for start in range(0, steps(len(train.labels)) * BATCH, BATCH):
        rows = shuffled[start : start + BATCH]
        labels, known = (torch.from_numpy(column[rows]).to(DEVICE) for column in (train.labels, train.known))
        kept = torch.rand(known.shape, generator=dice).gt(_DROPPED).to(DEVICE) / (1 - _DROPPED)
        yield _channels_last(train.values[rows]), labels, known.float(), kept


def logits(network: Network, activations: NDArray[np.float16]) -> NDArray[np.float32]:
    """[N, C] of trunk activations [N, K, s, s]."""
    return _logits(_Last(network).to(DEVICE), activations)


class _Last(nn.Module):
    """Tail, pooling and head of a network, as copies."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.tail, self.head = copy.deepcopy(network.tail), copy.deepcopy(network.head)
        if DEVICE == "cpu":
            quicken(self.tail)
        self.eval()

    def embed(self, activations: Tensor) -> Tensor:
        """[N, D] of trunk activations [N, K, s, s]."""
        return pool(self.tail(activations))

    def forward(self, activations: Tensor) -> Tensor:
        answers: Tensor = self.head(self.embed(activations))
        return answers


def _strayed(embedding: Tensor, known: Tensor, weight: Tensor) -> Tensor:
    """How far embeddings [B, D] are from the known ones, by how far those are from one another.

    weight: [C, D] of the head; along what it looks at, embeddings are free.
    """
    looks, _ = torch.linalg.qr((weight - weight.mean(0)).detach()[1:].T)  # [D, C - 1]
    spread = (known - known.mean(0)).square().sum(1).mean()
    away = embedding - known
    strayed: Tensor = (away - away @ looks @ looks.T).square().sum(1).mean() / spread.clamp_min(1e-6)
    return strayed


def _recent(steps: int) -> Callable[[Tensor, Tensor, Tensor | int], Tensor]:
    """Mean of the weights of about the last epoch (Polyak and Juditsky 1992, exponentially weighted)."""
    longest = 1 - 1 / max(2, steps)

    def average(mean: Tensor, new: Tensor, count: Tensor | int) -> Tensor:
        keep = min(longest, int(count) / (int(count) + 9))
        return torch.lerp(mean, new, 1 - keep)

    return average


def _optimiser(last: _Last, tuning: Tuning) -> torch.optim.Optimizer:
    blocks = list(last.tail)
    groups = [
        {"params": list(block.parameters()), "lr": tuning.rate * tuning.decay**depth}
        for depth, block in enumerate(reversed(blocks))
    ]
    groups.append({"params": list(last.head.parameters()), "lr": tuning.rate})
    kept = [group for group in groups if group["params"]]
    return torch.optim.AdamW(kept, weight_decay=tuning.weight_decay)


def _state(path: Path) -> dict[str, Any]:  # Any: see `save`
    try:
        state: dict[str, Any] = torch.load(path, map_location=DEVICE, weights_only=True)
    except (RuntimeError, ValueError, LookupError, EOFError, pickle.UnpicklingError) as error:
        raise DamagedFileError(f"{path}: is not as it was written ({error}); it begins anew") from None
    return state


def _channels_last(values: NDArray[np.float16]) -> Tensor:
    inputs = torch.from_numpy(values).to(DEVICE).float()  # [B, K, s, s]
    return inputs.contiguous(memory_format=torch.channels_last)


def _autocast(precision: Precision) -> AbstractContextManager[Any]:  # Any: torch's own is untyped
    return torch.autocast(DEVICE, torch.bfloat16, enabled=precision == "bfloat16")


def _logits(last: nn.Module, activations: NDArray[np.float16]) -> NDArray[np.float32]:
    with torch.inference_mode():
        parts = [
            last(_channels_last(activations[start : start + _ASKED_AT_ONCE])).float().cpu()
            for start in range(0, len(activations), _ASKED_AT_ONCE)
        ]
    answers: NDArray[np.float32] = torch.cat(parts).numpy()
    return answers
