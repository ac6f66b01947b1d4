"""One candidate in the race of fine-tuning, with its clock and its checkpoint.

Knows when it has had enough. Knows nothing about the others, or who goes on.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from pathlib import Path

from pawloop.errors import DamagedFileError
from tasks import finetune
from tasks.entry import Entry
from tasks.features import UnfinishedError
from tasks.finetune import Activations, FineTuning
from tasks.inputs import Inputs
from tasks.manifest import Side
from tasks.pace import Pace
from tasks.recipe import Recipe
from tasks.trials import Trial

log = logging.getLogger(__name__)

_PATIENCE = 4  # epochs without a better validation loss, after which a candidate is done
_MOST_EPOCHS = 40
CHECKPOINTS = "trial-*.pt"
OnEpoch = Callable[[int, float], bool]


def checkpoint(folder: Path, recipe: Recipe, trial: Trial) -> Path:
    """Where a candidate's last epoch lies."""
    return folder / CHECKPOINTS.replace("*", str(recipe.trials.index(trial)))


class Racer:
    """One candidate in the race. unfinished: what there was no time for, where that ended it."""

    def __init__(
        self, inputs: Inputs, trial: Trial, start: Entry, pace: Pace, folder: Path, on_epoch: OnEpoch
    ) -> None:
        """start: its network with the best head. folder: of its checkpoint, from which it goes on.

        on_epoch(epoch, loss): told of each epoch; once it answers False, this candidate is done.
        """
        self.inputs, self.trial, self.start, self.pace = inputs, trial, start, pace
        self.on_epoch, self._is_hopeful = on_epoch, True
        self.unfinished = ""
        self._most = inputs.recipe.pinned.epochs if inputs.recipe.pinned else _MOST_EPOCHS
        photos, _ = inputs.counts(trial.net, start.network)
        self.tuning = FineTuning(
            start.network, trial.tuning, inputs.recipe.seed, finetune.steps(photos), pace.precision
        )
        self._checkpoint = checkpoint(folder, inputs.recipe, trial)
        self._resume()

    def _resume(self) -> None:
        if not self._checkpoint.exists():
            return
        try:
            self.tuning.resume(self._checkpoint)
        except DamagedFileError as error:
            log.warning("%s", error)

    @property
    def seconds(self) -> float:
        """Time spent so far, that of a killed run included."""
        return sum(self.tuning.curve.seconds)

    @property
    def is_done(self) -> bool:
        """Whether another epoch would be too many or in vain."""
        is_patient = self.inputs.recipe.pinned or self.tuning.since_best < _PATIENCE
        return self.tuning.epochs >= self._most or not (is_patient and self._is_hopeful)

    def best_loss(self, epochs: int) -> float:
        """Lowest own loss, in nats, in so many of its first epochs."""
        return min(self.tuning.curve.own_loss[:epochs])

    def go_on(self, until: float) -> bool:
        """One more epoch; False when there is no time for it, or for what it learns from."""
        deadline = math.inf if self.inputs.recipe.pinned else until
        last_s = self.tuning.curve.seconds[-1] if self.tuning.epochs else self.pace.epoch_s
        if time.monotonic() + last_s > deadline:
            return False
        view = self.tuning.epochs % (self.inputs.recipe.views + 1)
        try:
            train = self._activations("train", view, deadline)
            held = self._activations("validation", 0, deadline)
        except UnfinishedError as error:
            self.unfinished = str(error)
            return False
        if time.monotonic() + last_s > deadline:
            return False
        self.tuning.epoch(train, held)
        self.tuning.save(self._checkpoint)
        self._is_hopeful = self.on_epoch(self.tuning.epochs, self.tuning.best_loss)
        self.inputs.on_progress(f"fine-tuning {self.trial.name}, epochs", self.tuning.epochs, self._most)
        return True

    def entry(self) -> Entry:
        """What came out of it."""
        curve = self.tuning.curve
        return Entry(
            "fine-tuned",
            self.trial.net,
            self.tuning.tuned(self.start.network),
            curve.validation_accuracy[-1],
            curve.validation_loss[-1],
            self.seconds,
            self.trial.tuning,
            curve,
            {
                "precision": self.tuning.precision,
                "device": finetune.DEVICE,
                "views": self.inputs.recipe.views,
            },
        )

    def _activations(self, side: Side, view: int, until: float) -> Activations:
        return self.inputs.activations(self.trial.net, self.start.network, side, view, until)
