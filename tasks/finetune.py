"""Fine-tuning of a network's last blocks on what its frozen trunk says of photos.

The trunk's activations are computed once and kept, so an epoch costs only the tail. Knows tensors
and time; knows nothing about photos or files.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from export.backbone import Network, pool
from pawloop.errors import TrainingError

_BATCH = 16  # of 32, the tail's activations alone pass half a gigabyte
_TAIL_RATE, _HEAD_RATE = 4e-4, 1e-3
_WEIGHT_DECAY = 0.01
_SMOOTHING = 0.05
_WARM_UP = 0.2  # share of the steps
_MOST_EPOCHS = 24
_TIMED_STEPS = 5  # the first ones also compile kernels


class BudgetError(TrainingError):
    """The time budget does not suffice for one epoch."""


@dataclass(frozen=True)
class Activations:
    """values: [N, V, K, s, s] float16, V views of each photo; labels: [N]."""

    values: NDArray[np.float16]
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class Budget:
    """Time that fine-tuning may take, and how many epochs must fit into it to be worth their time."""

    seconds: float
    fewest_epochs: int = 1


@dataclass
class Curve:
    """What happened, an entry an epoch."""

    train_loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    validation_accuracy: list[float] = field(default_factory=list)


def fine_tune(
    network: Network,
    train: Activations,
    validation: Activations,
    budget: Budget,
    seed: int,
    on_progress: Callable[[int, int, Curve], None] | None = None,
) -> tuple[Network, Curve]:
    """Train tail and head of a copy of `network`; return the epoch that was best on validation.

    Plain log-loss with label smoothing, AdamW, one cycle of rates, smaller for the tail than for the
    head. The number of epochs is planned from a few timed steps, so that it ends within the
    budget. Raises TrainingError when the loss is not a number, BudgetError when the budget is too short.
    """
    started = time.monotonic()
    network = copy.deepcopy(network)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in its stubs
    epochs = _planned_epochs(network, train, budget)
    torch.manual_seed(seed)
    order = torch.Generator().manual_seed(seed)
    optimiser, schedule = _optimiser(network, epochs * _steps(train))
    curve, best, best_loss = Curve(), copy.deepcopy(network.state_dict()), np.inf
    for epoch in range(epochs):
        losses = []
        for inputs, labels in _batches(train, order):
            losses.append(_step(network, optimiser, inputs, labels))
            schedule.step()
        held = torch.from_numpy(logits(network, validation.values[:, 0]))
        targets = torch.from_numpy(validation.labels)
        curve.train_loss.append(float(np.mean(losses)))
        curve.validation_loss.append(float(functional.cross_entropy(held, targets)))
        curve.validation_accuracy.append(float((held.argmax(1) == targets).float().mean()))
        if curve.validation_loss[-1] < best_loss:
            best, best_loss = copy.deepcopy(network.state_dict()), curve.validation_loss[-1]
        if on_progress:
            on_progress(epoch + 1, epochs, curve)
        if time.monotonic() - started > 1.5 * budget.seconds:
            break  # the machine became slower than planned
    network.load_state_dict(best)
    return network, curve


def _steps(train: Activations) -> int:
    return max(1, len(train.labels) // _BATCH)


def _planned_epochs(network: Network, train: Activations, budget: Budget) -> int:
    trial = copy.deepcopy(network)
    optimiser, _ = _optimiser(trial, _TIMED_STEPS + 1)
    batches = _batches(train, torch.Generator().manual_seed(0))
    seconds = []
    for (inputs, labels), _ in zip(batches, range(_TIMED_STEPS), strict=False):
        started = time.monotonic()
        _step(trial, optimiser, inputs, labels)
        seconds.append(time.monotonic() - started)
    epoch_s = min(seconds) * _steps(train) * 1.2  # and its validation
    epochs = int(budget.seconds / epoch_s)
    if epochs < budget.fewest_epochs:
        raise BudgetError(
            f"[train] budget_s = {budget.seconds:g} is too short for fine-tuning: an epoch takes about "
            f"{epoch_s:.0f} s here, and {budget.fewest_epochs} are the fewest; raise it, or set "
            'fine_tune = "never"'
        )
    return min(_MOST_EPOCHS, epochs)


def _optimiser(
    network: Network, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    network.eval()
    groups = [
        {"params": network.tail.parameters(), "lr": _TAIL_RATE},
        {"params": network.head.parameters(), "lr": _HEAD_RATE},
    ]
    optimiser = torch.optim.AdamW(groups, weight_decay=_WEIGHT_DECAY)
    rates = [_TAIL_RATE, _HEAD_RATE]
    return optimiser, torch.optim.lr_scheduler.OneCycleLR(
        optimiser, rates, total_steps=steps + 1, pct_start=_WARM_UP
    )


def _batches(train: Activations, order: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    count, views = train.values.shape[:2]
    shuffled = torch.randperm(count, generator=order)
    chosen = torch.randint(0, views, (count,), generator=order)
    for start in range(0, _steps(train) * _BATCH, _BATCH):
        rows = shuffled[start : start + _BATCH].numpy()
        inputs = torch.from_numpy(train.values[rows, chosen[rows].numpy()]).float()
        yield inputs.contiguous(memory_format=torch.channels_last), torch.from_numpy(train.labels[rows])


def _step(network: Network, optimiser: torch.optim.Optimizer, inputs: Tensor, labels: Tensor) -> float:
    answers = network.head(pool(network.tail(inputs)))
    loss = functional.cross_entropy(answers, labels, label_smoothing=_SMOOTHING)
    if not torch.isfinite(loss):
        raise TrainingError(
            "fine-tuning diverged: the loss is not a number; nothing was kept of it. "
            'Check the weights named by [model] init, or set fine_tune = "never"'
        )
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()
    return float(loss.detach())


def logits(network: Network, activations: NDArray[np.float16]) -> NDArray[np.float32]:
    """[N, C] of trunk activations [N, K, s, s]."""
    parts = []
    with torch.inference_mode():
        for start in range(0, len(activations), _BATCH):
            inputs = torch.from_numpy(activations[start : start + _BATCH]).float()
            parts.append(network.head(pool(network.tail(inputs))))
    answers: NDArray[np.float32] = torch.cat(parts).numpy()
    return answers
