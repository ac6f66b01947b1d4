"""How long an epoch of fine-tuning takes on this machine, and in which precision it takes less.

Knows clocks and steps. Knows nothing about budgets or candidates.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

import torch

from export.backbone import Network
from tasks.finetune import BATCH, DEVICE, SHARES, Activations, FineTuning, Precision, Tuning, batches, steps

_TIMED_STEPS: Final = 3  # the first also compiles kernels
_LOOK: Final = 0.35  # at a photo, by a training step with it: the forward pass, measured at 0.3, and judging
_WORTH: Final = 0.85  # bfloat16 is taken when a step needs less than this share of float32's time


@dataclass(frozen=True)
class Pace:
    """How fast fine-tuning goes here. affordable: epochs that the budget has time for."""

    precision: Precision
    epoch_s: float
    affordable: int


def measured_pace(network: Network, some: Activations, counts: tuple[int, int]) -> tuple[Precision, float]:
    """The precision in which a step is faster here, and the seconds of an epoch in it, judging included.

    some: a batch of activations or more. counts: of photos to train on and to validate with.
    """
    seconds = {"float32": _step_s(network, some, "float32")}
    if DEVICE == "cuda" or torch.ops.mkldnn._is_mkldnn_bf16_supported():
        seconds["bfloat16"] = _step_s(network, some, "bfloat16")
    gains = seconds.get("bfloat16", float("inf")) < _WORTH * seconds["float32"]
    chosen: Precision = "bfloat16" if gains else "float32"
    looks = (len(SHARES) + 1) * _LOOK * counts[1] / BATCH
    return chosen, seconds[chosen] * (steps(counts[0]) + looks)


def _step_s(network: Network, some: Activations, precision: Precision) -> float:
    """Of one step, the quickest of a few."""
    trial = FineTuning(network, Tuning(rate=0.0), 0, 1, precision)
    batch = next(batches(some, torch.Generator().manual_seed(0)))
    seconds = []
    for _ in range(_TIMED_STEPS):
        started = time.monotonic()
        trial.step(*batch)
        seconds.append(time.monotonic() - started)
    return min(seconds)
