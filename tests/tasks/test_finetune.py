"""Fine-tuning on made-up activations: which weights are kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from export.backbone import ARCHITECTURES, Network, pool
from pawloop.errors import DamagedFileError, TrainingError
from tasks import blend, finetune
from tasks.calibrate import judged
from tasks.finetune import Activations, DivergedError, FineTuning, Tuning

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
    return Activations(values.astype(np.float16), labels, embedded(network, values).astype(np.float16))


def embedded(network: Network, values: NDArray[np.floating]) -> NDArray[np.float32]:
    with torch.inference_mode():
        embeddings: NDArray[np.float32] = pool(network.tail(torch.from_numpy(values).float())).numpy()
    return embeddings


def trained(network: Network, rate: float, epochs: int = 1) -> FineTuning:
    tuning = FineTuning(network, Tuning(rate=rate), 0, finetune.steps(64), "float32")
    for _ in range(epochs):
        tuning.epoch(activations(network, 64, 1), activations(network, 48, 2))
    return tuning


def test_what_is_judged_is_what_is_kept(network: Network) -> None:
    tuning, validation = trained(network, 1e-4, epochs=2), activations(network, 48, 2)
    accuracy, loss = judged(finetune.logits(tuning.tuned(network), validation.values), validation.labels)
    assert loss == pytest.approx(tuning.curve.validation_loss[-1], abs=1e-6)
    assert accuracy == tuning.curve.validation_accuracy[-1]


def test_kept_is_a_mean_of_first_halfway_and_last_weights_by_their_likelihood(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = network.head.weight.detach()
    monkeypatch.setattr(blend, "_TRUST", 1e-9)  # all count alike
    evenly = trained(network, 3e-3).tuned(network).head.weight.detach()
    monkeypatch.setattr(blend, "_TRUST", 1e6)  # the best counts alone
    best = trained(network, 3e-3).tuned(network).head.weight.detach()
    averaged = first + 2 * (evenly - first)  # of the shares 0, a half and 1 the mean is a half
    whole = [first, (first + averaged) / 2, averaged]
    assert float((evenly - first).abs().max()) > 1e-4
    assert min(float((one - best).abs().max()) for one in whole) < 1e-6


def test_a_rate_far_too_high_loses_a_race_against_one_that_learns(network: Network) -> None:
    wild, good = trained(network, 3.0), trained(network, 3e-3)
    assert good.best_loss < wild.best_loss
    assert wild.curve.validation_loss[-1] < wild.curve.own_loss[-1]  # in its blend are the first weights


def test_a_rate_far_too_high_does_not_lose_what_was_there(network: Network) -> None:
    tuning, validation = trained(network, 0.1), activations(network, 48, 2)
    _, before = judged(finetune.logits(network, validation.values), validation.labels)
    assert tuning.curve.validation_loss[-1] < before + 0.1


def test_the_embedding_stays_near_what_it_was(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    def strayed() -> float:
        photos = activations(network, 48, 2)
        now = embedded(trained(network, 3e-3, epochs=3).tuned(network), photos.values.astype(np.float32))
        return float(np.abs(now - photos.known).mean())

    held = strayed()
    monkeypatch.setattr(finetune, "_KEEPS", 0.0)
    assert held < 0.7 * strayed()


def test_a_loss_that_is_no_number_ends_it_and_keeps_nothing(network: Network) -> None:
    tuning, photos = trained(network, 1e-4), activations(network, 64, 1)
    broken = Activations(np.full_like(photos.values, np.inf), photos.labels, photos.known)
    before = tuning.tuned(network).head.weight.detach()
    with pytest.raises(TrainingError, match="diverged: the loss is not a number"):
        tuning.epoch(broken, activations(network, 48, 2))
    assert torch.equal(tuning.tuned(network).head.weight, before)


def test_weights_that_break_in_an_epochs_last_step_leave_no_half_of_it(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    tuning, photos = trained(network, 1e-4, epochs=0), activations(network, 64, 1)

    def broken(_: FineTuning, validation: Activations) -> None:
        raise DivergedError("the loss is not a number")

    monkeypatch.setattr(FineTuning, "_judge", broken)
    with pytest.raises(DivergedError):
        tuning.epoch(photos, activations(network, 48, 2))
    assert tuning.epochs == 0


@pytest.mark.skipif(finetune.DEVICE != "cuda", reason="there is no GPU here")
def test_on_a_gpu_the_same_seed_gives_the_same_weights(network: Network) -> None:
    torch.backends.cudnn.deterministic = True
    once, again = (trained(network, 1e-3, epochs=2).tuned(network).head.weight for _ in range(2))
    assert torch.equal(once, again)


def test_resumed_it_goes_on_as_if_it_had_not_stopped(network: Network, tmp_path: Path) -> None:
    whole, begun = trained(network, 1e-3, epochs=2), trained(network, 1e-3)
    begun.save(tmp_path / "half.pt")
    again = FineTuning(network, Tuning(rate=1e-3), 0, finetune.steps(64), "float32")
    again.resume(tmp_path / "half.pt")
    again.epoch(activations(network, 64, 1), activations(network, 48, 2))
    assert again.curve.validation_loss == whole.curve.validation_loss
    assert torch.equal(again.tuned(network).head.weight, whole.tuned(network).head.weight)


def test_a_damaged_checkpoint_is_told_and_changes_nothing(network: Network, tmp_path: Path) -> None:
    path = tmp_path / "half.pt"
    begun = trained(network, 1e-3)
    begun.save(path)
    whole = path.read_bytes()
    for content in (b"", whole[:-99], whole[: len(whole) // 2], b"x" * 99):
        path.write_bytes(content)
        again = FineTuning(network, Tuning(rate=1e-3), 0, finetune.steps(64), "float32")
        with pytest.raises(DamagedFileError, match=f"{path}: is not as it was written"):
            again.resume(path)
        assert again.epochs == 0


def test_resumed_it_goes_on_in_the_precision_that_it_began_with(network: Network, tmp_path: Path) -> None:
    begun = FineTuning(network, Tuning(rate=1e-3), 0, finetune.steps(64), "bfloat16")
    begun.save(tmp_path / "begun.pt")
    again = FineTuning(network, Tuning(rate=1e-3), 0, finetune.steps(64), "float32")
    again.resume(tmp_path / "begun.pt")
    assert again.precision == "bfloat16"
