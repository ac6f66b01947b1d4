"""A night's contest: candidates trained side by side inside one budget, the hopeless stopped early.

First a head on each network's frozen features; then the best are fine-tuned an epoch at a time, of which
half go on after each round (successive halving, Jamieson and Talwalkar 2016). Every epoch leaves a
checkpoint. Knows candidates and time; knows nothing about ONNX files that are released.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from export.backbone import Network
from pawloop.errors import TrainingError
from tasks import calibrate, finetune, head
from tasks.extractors import Net, frozen_extractor
from tasks.features import Extractor, UnfinishedError, Wanted, features
from tasks.finetune import Activations, Curve, FineTuning, Tuning
from tasks.manifest import Dataset, Photo, Side
from tasks.recipe import Recipe
from tasks.trials import Trial
from tasks.weights import Pretrained

_MOST_ACTIVATION_BYTES = 160 * 2**20  # what a budget of minutes can visit, and memory can hold
_FEWEST_EPOCHS = 2  # fewer are hardly worth their time
_EPOCHS_A_TRIAL = 3  # as many candidates are fine-tuned as get this many epochs each
_PATIENCE = 4  # epochs without a better validation loss, after which a candidate is done
_MOST_EPOCHS = 40
_GOOD_ENOUGH = 0.995  # validation accuracy from which `auto` spends no time on fine-tuning
Progress = Callable[[str, int, int], None]


class BudgetError(TrainingError):
    """The time budget does not suffice for one epoch."""


@dataclass
class Entry:
    """A candidate that was trained, in the state in which it was best on validation photos."""

    name: str
    net: Net
    network: Network
    validation_accuracy: float
    validation_log_loss: float
    seconds: float
    tuning: Tuning | None = None
    curve: Curve = field(default_factory=Curve)
    more: dict[str, Any] = field(default_factory=dict)  # Any: numbers and tables, as JSON holds them

    def told(self) -> dict[str, Any]:  # Any: as above
        """What is recorded of it."""
        return {
            "name": self.name,
            "backbone": self.net.backbone,
            "image_size": self.net.image_size,
            "tuning": asdict(self.tuning) if self.tuning else None,
            "validation_accuracy": self.validation_accuracy,
            "validation_log_loss": self.validation_log_loss,
            "epochs": len(self.curve.train_loss),
            "curve": asdict(self.curve),
            "seconds": round(self.seconds, 2),
            **self.more,
        }


class Contest:
    """One training's photos, networks and time.

    notes: what was left out, and why, for a person. deadline: time of `time.monotonic` after which even the
    first network's features are given up.
    """

    def __init__(
        self,
        dataset: Dataset,
        recipe: Recipe,
        weights: Sequence[Pretrained],
        folder: Path,
        on_progress: Progress,
        on_epoch: Callable[[int, float], bool] = lambda *_: True,
    ) -> None:
        """folder: where checkpoints lie. on_epoch(epoch, loss): told of each epoch of fine-tuning and the
        lowest validation log-loss so far; a candidate for which it answers False is done.

        Raises TrainingError when a side has no photos."""
        self.dataset, self.recipe, self.folder, self.on_progress = dataset, recipe, folder, on_progress
        self.on_epoch = on_epoch
        self.weights = {one.backbone: one for one in weights}
        self.notes: list[str] = []
        self.deadline = np.inf
        self.photos: dict[Side, list[Photo]] = {
            side: dataset.photos(side) for side in ("train", "validation")
        }
        for side, photos in self.photos.items():
            if not photos:
                raise TrainingError(f"{dataset.name}: no {side} photos; add photos to the sources")
        self._activations: dict[Side, tuple[tuple[Net, int], Activations]] = {}

    def run(self) -> list[Entry]:
        """All that was trained, from the best on validation photos on.

        Raises BudgetError when fine-tuning was asked for always and no epoch fits the budget,
        UnfinishedError at the deadline.
        """
        entries = [self.frozen(self.recipe.nets[0], self.deadline)]
        until = time.monotonic() + self.recipe.budget_s
        for net in sorted(self.recipe.nets[1:], key=lambda one: one.cost):
            try:
                entries.append(self.frozen(net, until))
            except UnfinishedError as error:
                self.notes.append(f"{net.name} waits for the next night: {error}")
        best = max(entry.validation_accuracy for entry in entries)
        wanted = self.recipe.fine_tune
        if wanted == "always" or (wanted == "auto" and best < _GOOD_ENOUGH):
            try:
                entries += self.tuned(entries, until)
            except BudgetError as error:
                if wanted == "always":
                    raise
                self.notes.append(str(error))
        return sorted(entries, key=lambda one: one.validation_log_loss)

    def frozen(self, net: Net, until: float = np.inf) -> Entry:
        """The pretrained backbone with the best head on its embeddings, of plain photos or all views."""
        started = time.monotonic()
        network = net.network(self.weights[net.backbone], len(self.recipe.classes), self.recipe.seed)
        extractor = frozen_extractor(net, network, "embedding", self.dataset.store, self.recipe.seed)
        views = range(self.recipe.views + 1)
        what = f"{net.name}: embeddings of"
        train = self._rows(extractor, self.photos["train"], views, f"{what} training photos", until)
        held = self._rows(extractor, self.photos["validation"], range(1), f"{what} validation photos", until)[
            :, 0
        ]
        labels, targets = self._labels(self.photos["train"]), self._labels(self.photos["validation"])
        tried = {
            count: head.path(
                (train[:, :count].reshape(-1, train.shape[-1]), np.repeat(labels, count)),
                (held, targets),
                len(self.recipe.classes),
            )
            for count in sorted({1, len(views)})
        }
        count = min(tried, key=lambda one: tried[one][0].validation_loss)
        found = tried[count][0].head
        with torch.no_grad():
            network.head.weight.copy_(torch.from_numpy(found.weight))
            network.head.bias.copy_(torch.from_numpy(found.bias))
        accuracy, loss = _judged(found.logits(held), targets)
        penalties = [
            {"l2": one.head.l2, "train_loss": one.train_loss, "validation_loss": one.validation_loss}
            for one in sorted(tried[count], key=lambda one: one.head.l2)
        ]
        more = {"l2": found.l2, "views": count - 1, "penalties": penalties}
        return Entry("frozen", net, network, accuracy, loss, time.monotonic() - started, more=more)

    def tuned(self, entries: Sequence[Entry], until: float) -> list[Entry]:
        """Fine-tuned candidates, each from its network's best head, raced until `until`."""
        starts = {entry.net: entry for entry in entries}
        order = sorted(
            (trial for trial in self.recipe.trials if trial.net in starts),
            key=lambda trial: starts[trial.net].validation_log_loss,
        )
        pace = self._pace(starts[order[0].net], until)
        racing = order[: max(1, pace.affordable // _EPOCHS_A_TRIAL)]
        if len(racing) < len(order):
            self.notes.append(f"{len(order) - len(racing)} more to fine-tune found no place in the budget")
        runs = [_Run(self, trial, starts[trial.net], pace) for trial in racing]
        self._race(runs, until - sum(run.seconds for run in runs))
        return [run.entry() for run in runs if run.tuning.epochs]

    def _race(self, runs: list[_Run], until: float) -> None:
        going = list(runs)
        while going:
            for run in going:
                if not run.go_on(until):
                    return
            going = [run for run in going if not run.is_done]
            going.sort(key=lambda run: run.tuning.best_loss)
            going = going[: -(-len(going) // 2)]

    def _pace(self, start: Entry, until: float) -> _Pace:
        if self.recipe.pinned:
            return _Pace(self.recipe.pinned.precision, 0.0, self.recipe.pinned.epochs)
        train = self.activations(start.net, "train", 0, start.network)
        precision, epoch_s = finetune.pace(start.network, train)
        affordable = int((until - time.monotonic()) / epoch_s)
        if affordable < (1 if self.recipe.fine_tune == "always" else _FEWEST_EPOCHS):
            raise BudgetError(
                f"[train] budget_s = {self.recipe.budget_s:g} is too short for fine-tuning: an epoch takes "
                f'about {epoch_s:.2g} s here; raise it, or set fine_tune = "never"'
            )
        return _Pace(precision, epoch_s, affordable)

    def activations(self, net: Net, side: Side, view: int, network: Network) -> Activations:
        """What the trunk says of one view of a side's photos, or of as many as memory can hold."""
        kept = self._activations.get(side)
        if kept is None or kept[0] != (net, view):
            self._activations.pop(side, None)  # before the next ones take its place in memory
            extractor = frozen_extractor(net, network, "trunk", self.dataset.store, self.recipe.seed)
            photos = sorted(self.dataset.photos(side), key=lambda photo: photo.id)  # by hash, so at random
            row_bytes = features(extractor, self.dataset, [Wanted(photos[0], 0)])[0].nbytes
            photos = photos[: max(1, _MOST_ACTIVATION_BYTES // row_bytes)]
            what = f"{net.name}: activations of {side} photos"
            values = self._rows(extractor, photos, range(view, view + 1), what)[:, 0]
            self._activations[side] = ((net, view), Activations(values, self._labels(photos)))
        return self._activations[side][1]

    def _rows(
        self, extractor: Extractor, photos: list[Photo], views: range, what: str, until: float = np.inf
    ) -> NDArray[np.float16]:
        """[N, V, …] of photos and views."""
        wanted = [Wanted(photo, view) for photo in photos for view in views]
        bar = lambda done, total: self.on_progress(what, done, total)  # noqa: E731
        rows = features(extractor, self.dataset, wanted, bar, until)
        if not np.isfinite(rows).all():
            raise TrainingError(
                f"{what}: they are not numbers; the weights file is damaged or belongs to another "
                "normalisation"
            )
        return rows.reshape(len(photos), len(views), *rows.shape[1:])

    def _labels(self, photos: list[Photo]) -> NDArray[np.int64]:
        order = {name: index for index, name in enumerate(self.recipe.classes)}
        return np.array([order[photo.label] for photo in photos], np.int64)


@dataclass(frozen=True)
class _Pace:
    """affordable: epochs that the budget has time for."""

    precision: finetune.Precision
    epoch_s: float
    affordable: int


class _Run:
    """One candidate in the race, with its clock and its checkpoint."""

    def __init__(self, contest: Contest, trial: Trial, start: Entry, pace: _Pace) -> None:
        self.contest, self.trial, self.start, self.pace = contest, trial, start, pace
        self.is_done = False
        photos = len(self._activations("train", 0).labels)
        self.tuning = FineTuning(
            start.network, trial.tuning, contest.recipe.seed, finetune.steps(photos), pace.precision
        )
        self._checkpoint = contest.folder / f"trial-{contest.recipe.trials.index(trial)}.pt"
        if self._checkpoint.exists():
            self.tuning.resume(self._checkpoint)

    @property
    def seconds(self) -> float:
        """Time spent so far, that of a killed run included."""
        return sum(self.tuning.curve.seconds)

    def go_on(self, until: float) -> bool:
        """One more epoch; False when there is no time for it."""
        pinned, started = self.contest.recipe.pinned, time.monotonic()
        last_s = self.tuning.curve.seconds[-1] if self.tuning.epochs else self.pace.epoch_s
        if not pinned and started + last_s > until:
            return False
        view = self.tuning.epochs % (self.contest.recipe.views + 1)
        self.tuning.epoch(self._activations("train", view), self._activations("validation", 0))
        self.tuning.save(self._checkpoint)
        most = pinned.epochs if pinned else _MOST_EPOCHS
        is_hopeful = self.contest.on_epoch(self.tuning.epochs, self.tuning.best_loss)
        is_patient = pinned or self.tuning.since_best < _PATIENCE
        self.is_done = self.tuning.epochs >= most or not (is_patient and is_hopeful)
        self.contest.on_progress(f"fine-tuning {self.trial.name}, epochs", self.tuning.epochs, most)
        return True

    def _activations(self, side: Side, view: int) -> Activations:
        return self.contest.activations(self.trial.net, side, view, self.start.network)

    def entry(self) -> Entry:
        """What came out of it."""
        network = self.tuning.tuned(self.start.network)
        held = self._activations("validation", 0)
        accuracy, loss = _judged(finetune.logits(network, held.values), held.labels)
        return Entry(
            "fine-tuned",
            self.trial.net,
            network,
            accuracy,
            loss,
            self.seconds,
            self.trial.tuning,
            self.tuning.curve,
            {
                "precision": self.tuning.precision,
                "device": finetune.DEVICE,
                "views": self.contest.recipe.views,
            },
        )


def _judged(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> tuple[float, float]:
    """Accuracy, and log-loss at the best temperature."""
    temperature = calibrate.fit_temperature(logits, labels)
    return float((logits.argmax(1) == labels).mean()), head.log_loss(logits / temperature, labels)
