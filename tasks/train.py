"""Transfer learning: a head on frozen features, then the last blocks if that earns its time.

Every output lies in the store under the key of what decides it, so the same recipe on the same photos
is never trained twice. Knows datasets, recipes and networks; knows nothing about ONNX files that
are released, champions or Prefect.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from export.backbone import ARCHITECTURES, Network
from pawloop import durable
from pawloop.errors import TrainingError
from pawloop.problem import Backbone, Problem
from pawloop.settings import usable_cores
from tasks import calibrate, finetune, head
from tasks.extractors import frozen_extractor
from tasks.features import Extractor, Wanted, features
from tasks.manifest import Dataset, Photo, Side
from tasks.weights import NETWORK_FILE, Pretrained

CROP = 0.875
_MOST_ACTIVATION_BYTES = 160 * 2**20  # what a budget of minutes can visit, and memory can hold
_FEWEST_EPOCHS = 3  # after one or two, the cycle of rates has unlearnt more than it taught
_GOOD_ENOUGH = 0.995  # validation accuracy from which `auto` spends no time on fine-tuning
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Recipe:
    """All that decides what a training gives, besides its photos and the code."""

    backbone: Backbone
    weights_sha256: str | None
    image_size: int
    crop: float
    fine_tune: Literal["auto", "always", "never"]
    views: int
    budget_s: float
    classes: tuple[str, ...]
    seed: int

    def key(self, dataset: Dataset, code: str) -> str:
        """One name for this recipe on that dataset version by that code."""
        return durable.content_key(asdict(self), dataset.id, code)


@dataclass(frozen=True)
class Trained:
    """A trained network in the store: `network.safetensors` and `training.json` in `folder`.

    story: candidates with their validation results, curves, seconds, machine.
    """

    folder: Path
    recipe: Recipe
    story: dict[str, Any]  # Any: numbers, names and curves as JSON holds them

    def network(self) -> Network:
        """The network with its trained weights, in evaluation mode."""
        network = Network(ARCHITECTURES[self.recipe.backbone], len(self.recipe.classes))
        network.load_state_dict(load_file(self.folder / NETWORK_FILE))
        return network.eval()


def plan(problem: Problem, weights: Pretrained, seed: int) -> Recipe:
    """The recipe that a problem, the weights at hand and a seed amount to."""
    return Recipe(
        weights.backbone,
        weights.sha256,
        problem.model.image_size,
        CROP,
        problem.train.fine_tune,
        problem.train.views,
        problem.train.budget_s,
        problem.classes,
        seed,
    )


def train(
    dataset: Dataset,
    recipe: Recipe,
    weights: Pretrained,
    key: str,
    on_progress: Progress | None = None,
) -> Trained:
    """Train by `recipe`, or find what was trained under this key before.

    on_progress(stage, done, total) is called as work goes on. Raises TrainingError when the loss is
    not a number or the budget too short, DatasetError when a photo has changed.
    """
    folder = dataset.store / "trained" / key
    if (folder / "training.json").exists():
        return Trained(folder, recipe, json.loads((folder / "training.json").read_text()))
    torch.set_num_threads(usable_cores())
    bench = _Bench(dataset, recipe, weights, on_progress or (lambda *_: None))
    started = time.monotonic()
    network, candidates = bench.frozen()
    curve, note = finetune.Curve(), ""
    if recipe.fine_tune == "always" or (
        recipe.fine_tune == "auto" and candidates[0]["validation_accuracy"] < _GOOD_ENOUGH
    ):
        try:
            network, curve, tuned = bench.tuned(network, candidates[0])
        except finetune.BudgetError as error:
            if recipe.fine_tune == "always":
                raise
            note = str(error)
        else:
            candidates.append(tuned)
    story = {
        "candidates": candidates,
        "curve": asdict(curve),
        "note": note,
        "seconds": round(time.monotonic() - started, 2),
        "machine": f"{platform.machine()}, {usable_cores()} cores, torch {torch.__version__}",
    }
    folder.mkdir(parents=True, exist_ok=True)
    with durable.aside(folder / NETWORK_FILE) as draft:
        save_file({k: v.contiguous() for k, v in network.state_dict().items()}, draft)
    durable.write_json(folder / "training.json", story)
    return Trained(folder, recipe, story)


class _Bench:
    """One training's photos, labels and extractors at hand."""

    def __init__(self, dataset: Dataset, recipe: Recipe, weights: Pretrained, on_progress: Progress) -> None:
        self.dataset, self.recipe, self.on_progress = dataset, recipe, on_progress
        self.architecture = ARCHITECTURES[recipe.backbone]
        torch.manual_seed(recipe.seed)
        self.network = Network(self.architecture, len(recipe.classes))
        self.network.blocks.load_state_dict(weights.blocks)
        self.network.eval()
        self.photos: dict[Side, list[Photo]] = {
            side: dataset.photos(side) for side in ("train", "validation")
        }
        for side, photos in self.photos.items():
            if not photos:
                raise TrainingError(f"{dataset.name}: no {side} photos; add photos to the sources")

    def frozen(self) -> tuple[Network, list[dict[str, Any]]]:
        """The pretrained backbone with the best head on its embeddings."""
        started = time.monotonic()
        extractor = frozen_extractor(self.network, self.recipe, "embedding", self.dataset.store)
        views = range(self.recipe.views + 1)
        train = self._features(extractor, self.photos["train"], views, "embeddings of training photos")
        held = self._features(
            extractor, self.photos["validation"], range(1), "embeddings of validation photos"
        )
        labels = np.repeat(self._labels("train"), len(views))
        flat = train.reshape(-1, train.shape[-1])
        tried = head.path((flat, labels), (held[:, 0], self._labels("validation")), self._class_count)
        found = tried[0].head
        with torch.no_grad():
            self.network.head.weight.copy_(torch.from_numpy(found.weight))
            self.network.head.bias.copy_(torch.from_numpy(found.bias))
        result = self._judged("frozen", found.logits(held[:, 0]), started)
        penalties = [
            {"l2": one.head.l2, "train_loss": one.train_loss, "validation_loss": one.validation_loss}
            for one in sorted(tried, key=lambda one: one.head.l2)
        ]
        return self.network, [{**result, "l2": found.l2, "penalties": penalties}]

    def tuned(
        self, network: Network, frozen: dict[str, Any]
    ) -> tuple[Network, finetune.Curve, dict[str, Any]]:
        """The better of `network` and its fine-tuned copy, by validation log-loss."""
        started = time.monotonic()
        extractor = frozen_extractor(self.network, self.recipe, "trunk", self.dataset.store)
        train, held = self._activations(extractor, "train"), self._activations(extractor, "validation")
        tuned, curve = finetune.fine_tune(
            network,
            train,
            held,
            finetune.Budget(self.recipe.budget_s, 1 if self.recipe.fine_tune == "always" else _FEWEST_EPOCHS),
            self.recipe.seed,
            lambda epoch, epochs, _: self.on_progress("fine-tuning, epochs", epoch, epochs),
        )
        logits = finetune.logits(tuned, held.values[:, 0])
        result = self._judged("fine-tuned", logits, started, held.labels)
        result["epochs"] = len(curve.train_loss)
        is_better = result["validation_log_loss"] < frozen["validation_log_loss"]
        return (tuned if is_better else network), curve, result

    def _features(
        self, extractor: Extractor, photos: list[Photo], views: range, what: str
    ) -> NDArray[np.float16]:
        """[N, V, …] of photos and views."""
        wanted = [Wanted(photo, view) for photo in photos for view in views]
        rows = features(
            extractor, self.dataset, wanted, lambda done, total: self.on_progress(what, done, total)
        )
        if not np.isfinite(rows).all():
            raise TrainingError(
                f"{self.recipe.backbone}: its features are not numbers; the weights file is damaged "
                "or belongs to another normalisation"
            )
        return rows.reshape(len(photos), len(views), *rows.shape[1:])

    def _activations(self, extractor: Extractor, side: Side) -> finetune.Activations:
        photos = sorted(self.photos[side], key=lambda photo: photo.id)  # by hash, so at random
        row_bytes = features(extractor, self.dataset, [Wanted(photos[0], 0)])[0].nbytes
        room = max(1, _MOST_ACTIVATION_BYTES // row_bytes)
        views = range(1 if side == "validation" else min(self.recipe.views, room // len(photos)) + 1)
        photos = photos[: max(1, room // len(views))]
        values = self._features(extractor, photos, views, f"activations of {side} photos")
        return finetune.Activations(values, self._labels_of(photos))

    def _judged(
        self,
        name: str,
        logits: NDArray[np.float32],
        started: float,
        labels: NDArray[np.int64] | None = None,
    ) -> dict[str, Any]:
        labels = self._labels("validation") if labels is None else labels
        temperature = calibrate.fit_temperature(logits, labels)
        return {
            "name": name,
            "backbone": self.recipe.backbone,
            "validation_accuracy": float((logits.argmax(1) == labels).mean()),
            "validation_log_loss": head.log_loss(logits / temperature, labels),
            "seconds": round(time.monotonic() - started, 2),
        }

    @property
    def _class_count(self) -> int:
        return len(self.recipe.classes)

    def _labels(self, side: Side) -> NDArray[np.int64]:
        return self._labels_of(self.photos[side])

    def _labels_of(self, photos: list[Photo]) -> NDArray[np.int64]:
        order = {name: index for index, name in enumerate(self.recipe.classes)}
        return np.array([order[photo.label] for photo in photos], np.int64)
