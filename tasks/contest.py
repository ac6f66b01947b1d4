"""A night's contest: candidates trained side by side inside one budget, the hopeless stopped early.

First a head on each network's frozen features; then the best are fine-tuned an epoch at a time, of which
half go on after each round (successive halving, Jamieson and Talwalkar 2016). Every epoch leaves a
checkpoint. Knows candidates and time; knows nothing about ONNX files that are released.
"""

from __future__ import annotations

import time
from collections.abc import Callable, MutableMapping, Sequence, Set
from dataclasses import dataclass, replace
from operator import methodcaller
from pathlib import Path
from typing import Any

import numpy as np
import torch

from export.backbone import Network
from pawloop.errors import TrainingError
from tasks import head
from tasks.calibrate import judged
from tasks.entry import Entry
from tasks.extractors import Net
from tasks.features import UnfinishedError
from tasks.finetune import DivergedError
from tasks.head import Head
from tasks.inputs import Inputs, Progress
from tasks.manifest import Dataset
from tasks.pace import Pace, measured_pace
from tasks.racer import CHECKPOINTS, OnEpoch, Racer, checkpoint
from tasks.recipe import Recipe
from tasks.trials import Trial
from tasks.weights import Pretrained

_FEWEST_EPOCHS = 2  # fewer are hardly worth their time
_EPOCHS_A_TRIAL = 3  # as many candidates are fine-tuned as get this many epochs each
_TIMED_PHOTOS = 32
_HEADS_SHARE = 0.5  # of the budget, at most, for the heads beside the first, where fine-tuning is to follow
_GOOD_ENOUGH = 0.995  # validation accuracy from which `auto` spends no time on fine-tuning


class BudgetError(TrainingError):
    """The time budget does not suffice for one epoch."""


@dataclass(frozen=True)
class Frozen:
    """The best head on a network's frozen features.

    accuracy, loss: on validation photos. story: how it was found, in so many seconds.
    """

    head: Head
    accuracy: float
    loss: float
    story: dict[str, Any]  # Any: JSON's values
    seconds: float


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
        on_epoch: OnEpoch = lambda *_: True,
        limit: str = "[train] budget_s",
        heads: MutableMapping[Net, Frozen] | None = None,
    ) -> None:
        """folder: where checkpoints lie. on_epoch(epoch, loss): told of each epoch of fine-tuning and the
        lowest own loss so far, as `Curve` has it; a candidate for which it answers False is done. limit:
        where a person finds the time that this is given. heads: those found before on the same photos and
        views, and then also those found here.

        Raises TrainingError when a side has no photos."""
        self.inputs = Inputs(dataset, recipe, on_progress)
        self.recipe, self.folder, self.on_epoch, self.limit = recipe, folder, on_epoch, limit
        self.heads = {} if heads is None else heads
        self.weights = {one.backbone: one for one in weights}
        self.notes: list[str] = []
        self.deadline = np.inf
        self._started, self._diverged = 0, list[Trial]()  # in the race
        self._first_s: float | None = None  # a first epoch's time, once estimated

    def run(self) -> list[Entry]:
        """All that was trained, from the best on validation photos on.

        Raises BudgetError when fine-tuning was asked for always and no epoch fits the budget, DivergedError
        when it was and all that was fine-tuned diverged, UnfinishedError at the deadline.
        """
        wanted, first_s = self.recipe.fine_tune, self._require_an_epoch()
        entries = [self.frozen(self.recipe.nets[0], self.deadline)]
        began = time.monotonic()
        until = min(began + self.recipe.budget_s, self.deadline)
        share_until = until if wanted == "never" else began + _HEADS_SHARE * self.recipe.budget_s
        for net in sorted(self._others(), key=lambda one: one.cost):
            dearer = max(1.0, net.cost / self.recipe.nets[0].cost)  # it may be the one to be fine-tuned
            heads_until = min(share_until, until - dearer * first_s)
            try:
                if net not in self.heads and time.monotonic() > heads_until:
                    raise UnfinishedError("the time for heads was out before its turn")
                entries.append(self.frozen(net, heads_until))
            except UnfinishedError as error:
                self.notes.append(
                    f"{net.name} waits for a training with other photos or a larger {self.limit}: {error}"
                )
        best = max(entry.validation_accuracy for entry in entries)
        if wanted == "always" or (wanted == "auto" and best < _GOOD_ENOUGH):
            try:
                entries += self.tuned(entries, until)
            except (BudgetError, DivergedError) as error:
                if wanted == "always":
                    raise
                self.notes.append(str(error))
        return sorted(entries, key=lambda one: one.validation_log_loss)

    def prepare(self) -> None:
        """Find all heads outside the budget, until `deadline`.

        Raises BudgetError, before any features are computed, where `run` would; UnfinishedError at the
        deadline.
        """
        self._require_an_epoch()
        for net in (self.recipe.nets[0], *self._others()):
            self.frozen(net, self.deadline)

    def frozen(self, net: Net, until: float = np.inf) -> Entry:
        """The pretrained backbone with the best head on its embeddings, of plain photos or all views."""
        network = self._network(net)
        if net not in self.heads:
            self.heads[net] = self._fitted(net, network, until)
        found = self.heads[net]
        with torch.no_grad():
            network.head.weight.copy_(torch.from_numpy(found.head.weight))
            network.head.bias.copy_(torch.from_numpy(found.head.bias))
        told = dict(found.story)
        return Entry("frozen", net, network, found.accuracy, found.loss, found.seconds, more=told)

    def _fitted(self, net: Net, network: Network, until: float) -> Frozen:
        started, views = time.monotonic(), range(self.recipe.views + 1)
        train = self.inputs.embeddings(net, network, "train", views, until)
        held = self.inputs.embeddings(net, network, "validation", range(1), until)[:, 0]
        labels, targets = self.inputs.labels("train"), self.inputs.labels("validation")
        tried = {
            count: head.path(
                (train[:, :count].reshape(-1, train.shape[-1]), np.repeat(labels, count)),
                (held, targets),
                len(self.recipe.classes),
                on_fit=self._clocked(f"{net.name}: heads by penalty, {count - 1} more views", until),
            )
            for count in sorted({1, len(views)})
        }
        count = min(tried, key=lambda one: tried[one][0].validation_loss)
        best = tried[count][0].head
        penalties = [
            {"l2": one.head.l2, "train_loss": one.train_loss, "validation_loss": one.validation_loss}
            for one in sorted(tried[count], key=lambda one: one.head.l2)
        ]
        story = {"l2": best.l2, "views": count - 1, "penalties": penalties}
        return Frozen(best, *judged(best.logits(held), targets), story, time.monotonic() - started)

    def _clocked(self, what: str, until: float) -> Callable[[int, int], None]:
        """For each fit of a path: shows how far it is. Raises UnfinishedError past `until`."""

        def on_fit(done: int, total: int) -> None:
            self.inputs.on_progress(what, done, total)
            if done < total and time.monotonic() > until:
                raise UnfinishedError(f"the time was out after {done} of its {total} heads")

        return on_fit

    def tuned(self, entries: Sequence[Entry], until: float) -> list[Entry]:
        """Fine-tuned candidates, each from its network's best head, raced until `until`.

        Raises BudgetError when there is no time for one epoch of any, DivergedError when all diverge.
        """
        begun = {one.net for one in self.recipe.trials if checkpoint(self.folder, self.recipe, one).exists()}
        starts = {entry.net: entry for entry in _best_cuts(entries, begun)}
        order = sorted(
            (trial for trial in self.recipe.trials if trial.net in starts),
            key=lambda trial: starts[trial.net].validation_log_loss,
        )
        pace = self._pace(starts[order[0].net], until)
        racing = self._admitted(order, pace, until)
        if len(racing) < len(order):
            self.notes.append(f"{len(order) - len(racing)} more to fine-tune found no place in the budget")
        runs = [self._racer(trial, starts[trial.net], pace, order[0].net) for trial in racing]
        self._started = len(runs)
        self._race(runs, until - sum(run.seconds for run in runs))
        self.notes += self.inputs.left_out
        tuned = [run.entry() for run in runs if run.tuning.epochs]
        if not tuned:
            raise self._no_epoch(runs, pace, until)
        late = [run.trial.name for run in runs if not run.tuning.epochs and run.trial not in self._diverged]
        self.notes += [f"{name} found no time for an epoch of fine-tuning" for name in late]
        return tuned

    def _others(self) -> list[Net]:
        """The networks beside the first one, but for those that would see the very same as another."""
        if not self.inputs.are_square:
            return list(self.recipe.nets[1:])
        firsts: dict[Net, Net] = {}
        for net in self.recipe.nets:
            firsts.setdefault(_uncut(net), net)
        return list(firsts.values())[1:]

    @property
    def _has_begun(self) -> bool:
        """Whether a killed run left what it had fine-tuned, which counts."""
        return any(self.folder.glob(CHECKPOINTS))

    def _admitted(self, order: Sequence[Trial], pace: Pace, until: float) -> list[Trial]:
        """Those that get a few epochs each in the time that is left, and those that a killed run began.

        order: from the best on; the first one is always among them.
        """
        left_s, admitted = until - time.monotonic(), list[Trial]()
        for trial in order:
            wants_s = _EPOCHS_A_TRIAL * pace.epoch_s * trial.net.cost / order[0].net.cost
            if not admitted or wants_s <= left_s or checkpoint(self.folder, self.recipe, trial).exists():
                admitted.append(trial)
                left_s -= wants_s
        return admitted

    def _racer(self, trial: Trial, start: Entry, pace: Pace, timed: Net) -> Racer:
        """timed: the network whose pace was measured."""
        own = replace(pace, epoch_s=pace.epoch_s * trial.net.cost / timed.cost)
        return Racer(self.inputs, trial, start, own, self.folder, self.on_epoch)

    def _race(self, runs: list[Racer], until: float) -> None:
        """Rounds that were run before a kill are gone through again by what is known of them."""
        going, epochs = runs, 0
        while going:
            epochs += 1
            going = [run for run in going if run.tuning.epochs >= epochs or self._goes_on(run, until)]
            going = [run for run in going if run.tuning.epochs > epochs or not run.is_done]
            going.sort(key=methodcaller("best_loss", epochs))
            going = going[: -(-len(going) // 2)]

    def _goes_on(self, run: Racer, until: float) -> bool:
        try:
            return run.go_on(until)
        except DivergedError as error:
            self._diverged.append(run.trial)
            if len(self._diverged) == self._started:
                raise
            self.notes.append(f"{run.trial.name}: {error}")
            return False

    def _network(self, net: Net) -> Network:
        return net.network(self.weights[net.backbone], len(self.recipe.classes), self.recipe.seed)

    def _require_an_epoch(self) -> float:
        """Seconds that the first network's first epoch takes, by estimate, where one must be had; else 0.

        Before all photos' features are computed. Raises BudgetError when the budget has no time for it.
        """
        if self.recipe.fine_tune != "always" or self.recipe.pinned or self._has_begun:
            return 0.0
        if self._first_s is None:
            self._first_s = self._estimated_first_s(self.recipe.nets[0])
        return self._first_s

    def _estimated_first_s(self, net: Net) -> float:
        """Of the activations that it learns from, of the epoch itself, and of timing it once more."""
        network = self._network(net)
        counts = self.inputs.counts(net, network)
        started = time.monotonic()
        few = self.inputs.few(net, network, _TIMED_PHOTOS)
        photo_s = (time.monotonic() - started) / len(few.labels)
        _, epoch_s = measured_pace(network, few, counts)
        if epoch_s > self.recipe.budget_s:
            raise self._too_short(epoch_s, self.recipe.budget_s)
        return time.monotonic() - started + photo_s * sum(counts) + epoch_s

    def _no_epoch(self, runs: Sequence[Racer], pace: Pace, until: float) -> BudgetError:
        why = [run.unfinished for run in runs if run.unfinished]
        if why:
            return BudgetError(f"no epoch of fine-tuning: {why[0]}")
        return self._too_short(pace.epoch_s, until - time.monotonic())

    def _too_short(self, epoch_s: float, left_s: float) -> BudgetError:
        rest = "" if left_s > 0.9 * self.recipe.budget_s else f" and {max(0, left_s):.2g} s of it are left"
        instead = ', or set fine_tune = "never"' if self.limit.startswith("[train]") else ""
        return BudgetError(
            f"{self.limit} = {self.recipe.budget_s:g} is too short for fine-tuning: an epoch takes "
            f"about {epoch_s:.2g} s here{rest}; raise it{instead}"
        )

    def _pace(self, start: Entry, until: float) -> Pace:
        if self.recipe.pinned:
            return Pace(self.recipe.pinned.precision, 0.0, self.recipe.pinned.epochs)
        train = self.inputs.few(start.net, start.network, _TIMED_PHOTOS)
        counts = self.inputs.counts(start.net, start.network)
        precision, epoch_s = measured_pace(start.network, train, counts)
        left_s = until - time.monotonic()
        affordable = int(left_s / epoch_s)
        fewest = 1 if self.recipe.fine_tune == "always" else _FEWEST_EPOCHS
        if affordable < fewest and not self._has_begun:
            raise self._too_short(epoch_s, left_s)
        return Pace(precision, epoch_s, affordable)


def _best_cuts(entries: Sequence[Entry], begun: Set[Net]) -> list[Entry]:
    """Of each network the entry with the cut that suits its head best, so that time goes to one of them.

    begun: those that a killed run had begun to fine-tune, which go on.
    """
    best: dict[Net, Entry] = {}
    for entry in sorted(entries, key=lambda one: (one.net not in begun, one.validation_log_loss)):
        best.setdefault(_uncut(entry.net), entry)
    return list(best.values())


def _uncut(net: Net) -> Net:
    """The network, however photos are cut for it."""
    return replace(net, crop_mode="center")
