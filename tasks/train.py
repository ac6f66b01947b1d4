"""Transfer learning: the best of a night's candidates, under the key of what decides it.

The same recipe on the same photos is never trained twice, and a killed training goes on from its last
epoch. Knows datasets, recipes and the store; knows nothing about ONNX files that are released,
champions or Prefect.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from export.backbone import Network
from pawloop import durable
from pawloop.errors import DamagedFileError
from pawloop.settings import usable_cores
from tasks.contest import Contest
from tasks.entry import Entry
from tasks.extractors import Net
from tasks.finetune import Curve
from tasks.inputs import Progress
from tasks.manifest import Dataset
from tasks.provenance import machine, origin
from tasks.racer import CHECKPOINTS
from tasks.recipe import Recipe
from tasks.weights import NETWORK_FILE, Pretrained

log = logging.getLogger(__name__)

_STORY = "training.json"
_AGAIN = "it is trained again"


@dataclass(frozen=True)
class Trained:
    """A trained network in the store: `network.safetensors` and `training.json` in `folder`.

    net: what it started from. story: candidates with their validation results and curves, the best
    first, seconds, machine.
    """

    folder: Path
    recipe: Recipe
    net: Net
    story: dict[str, Any]  # Any: numbers, names and curves as JSON holds them

    def network(self) -> Network:
        """The network with its trained weights, in evaluation mode."""
        network = Network(self.net.architecture, len(self.recipe.classes))
        network.load_state_dict(safetensors.torch.load_file(self.folder / NETWORK_FILE))
        return network.eval()


def train(
    dataset: Dataset,
    recipe: Recipe,
    weights: Sequence[Pretrained],
    key: str,
    on_progress: Progress | None = None,
) -> Trained:
    """Train by `recipe`, or find what was trained under this key before and is whole.

    weights: of every backbone in the recipe. on_progress(stage, done, total) is called as work goes on.
    Raises TrainingError when the loss is not a number or the budget too short, DatasetError when a photo
    has changed.
    """
    folder = dataset.store / "trained" / key
    story = _found(folder)
    if story is None:
        torch.set_num_threads(usable_cores())
        torch.backends.cudnn.deterministic = True  # so that a replay on a GPU gives the same weights
        folder.mkdir(parents=True, exist_ok=True)
        started = time.monotonic()
        contest = Contest(dataset, recipe, weights, folder, on_progress or (lambda *_: None))
        entries = contest.run()
        _keep(folder, entries, contest, time.monotonic() - started)
        story = _read(folder)
    return Trained(folder, recipe, Net(**story["net"]), story)


def _found(folder: Path) -> dict[str, Any] | None:  # Any: JSON's values
    """The story of what was trained here before; None where it is not there or not whole any more."""
    try:
        story = _read(folder)
        _require_whole(folder / NETWORK_FILE, story.get("network_sha256"))
    except FileNotFoundError:
        return None
    except DamagedFileError as error:
        log.warning("%s", error)
        (folder / _STORY).unlink(missing_ok=True)  # or it would vouch for the next network, half written
        return None
    return story


def _read(folder: Path) -> dict[str, Any]:  # Any: JSON's values
    return durable.read_json(folder / _STORY, dict, _AGAIN)


def _require_whole(path: Path, sha256: str | None) -> None:
    """Raise DamagedFileError unless the network is the one that was kept; sha256: older stories have none."""
    try:
        with safetensors.safe_open(path, "pt"):
            is_whole = sha256 in (None, durable.sha256(path))
    except safetensors.SafetensorError:
        is_whole = False
    if not is_whole:
        raise DamagedFileError(f"{path}: is not as it was written; {_AGAIN}")


def _keep(folder: Path, entries: Sequence[Entry], contest: Contest, seconds: float) -> None:
    best = entries[0]
    tuned = [entry.curve for entry in entries if entry.tuning]
    weights = {name: values.contiguous() for name, values in best.network.state_dict().items()}
    content = safetensors.torch.save(weights)
    durable.write_bytes(folder / NETWORK_FILE, content)
    dataset = contest.inputs.dataset
    about = {"problem": dataset.name, **origin(dataset.id, contest.recipe.seed)}
    story = {
        "about": about,
        "net": asdict(best.net),
        "network_sha256": hashlib.sha256(content).hexdigest(),
        "candidates": [entry.told() for entry in entries],
        "curve": asdict(tuned[0] if tuned else Curve()),
        "note": "\n\n".join(contest.notes),
        "seconds": round(seconds, 2),
        "machine": machine(),
    }
    durable.write_json(folder / _STORY, story)
    for checkpoint in folder.glob(CHECKPOINTS):
        checkpoint.unlink()
