"""Fine-tuning on made-up activations: which weights are kept."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from export.backbone import ARCHITECTURES, Network
from tasks import finetune
from tasks.calibrate import judged
from tasks.finetune import Activations, FineTuning, Tuning

ARCHITECTURE = ARCHITECTURES["mobilenet_v3_small"]


@pytest.fixture(scope="module")
def network() -> Network:
    torch.manual_seed(0)
    return Network(ARCHITECTURE, 2).eval()


def activations(network: Network, count: int, seed: int) -> Activations:
    """Two classes that differ in one channel, and much noise."""
    with torch.inference_mode():
        shape = network.trunk(torch.zeros(1, 3, 64, 64)).shape[1:]
    dice = np.random.default_rng(seed)
    labels = dice.integers(0, 2, count)
    values = dice.normal(size=(count, *shape))
    values[:, 0] += 3.0 * labels[:, None, None]
    return Activations(values.astype(np.float16), labels)


@pytest.mark.parametrize("rate", [1e-4, 2e-2])
def test_kept_are_the_weights_on_the_way_that_validation_liked_best(
    network: Network, monkeypatch: pytest.MonkeyPatch, rate: float
) -> None:
    train, validation = activations(network, 64, 1), activations(network, 48, 2)
    shares = finetune._SHARES
    losses = {}
    for one in (*((share,) for share in shares), shares):
        monkeypatch.setattr(finetune, "_SHARES", one)
        tuning = FineTuning(network, Tuning(rate=rate), 0, finetune.steps(64), "float32")
        tuning.epoch(train, validation)
        losses[one] = tuning.best_loss
    assert losses[shares] == min(losses.values())
    assert losses[(tuning.curve.share[0],)] == losses[shares]
    _, loss = judged(finetune.logits(tuning.tuned(network), validation.values), validation.labels)
    assert loss == pytest.approx(tuning.best_loss, abs=1e-6)


def test_half_of_the_way_is_half_of_the_way(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    train, validation = activations(network, 64, 1), activations(network, 48, 2)
    ends = {}
    for share in (0.5, 1.0):
        monkeypatch.setattr(finetune, "_SHARES", (share,))
        tuning = FineTuning(network, Tuning(), 0, finetune.steps(64), "float32")
        tuning.epoch(train, validation)
        ends[share] = tuning.tuned(network).head.weight
    assert not torch.equal(ends[1.0], network.head.weight)
    assert torch.allclose(ends[0.5], (network.head.weight + ends[1.0]) / 2, atol=1e-6)
