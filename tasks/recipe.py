"""The recipe of a training: all that decides what it gives, besides photos and code.

Knows how to name itself. Knows nothing about how it is followed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from pawloop import durable
from pawloop.problem import Problem
from tasks.extractors import Net
from tasks.finetune import Precision
from tasks.manifest import Dataset
from tasks.trials import Trial, trial_of, trials
from tasks.weights import Pretrained


@dataclass(frozen=True)
class Pinned:
    """What a clock decided the first time: epochs and precision of the fine-tuning that is replayed."""

    epochs: int
    precision: Precision


@dataclass(frozen=True)
class Recipe:
    """trials: the candidates, the first one's network is always trained. pinned: None for a fresh run."""

    trials: tuple[Trial, ...]
    fine_tune: Literal["auto", "always", "never"]
    views: int
    budget_s: float
    classes: tuple[str, ...]
    seed: int
    pinned: Pinned | None = None

    @property
    def nets(self) -> tuple[Net, ...]:
        """The distinct networks of its trials, in their order."""
        return tuple(dict.fromkeys(trial.net for trial in self.trials))

    def key(self, dataset: Dataset, code: str) -> str:
        """One name for this recipe on that dataset version by that code."""
        return durable.content_key(asdict(self), dataset.id, code)


def plan(problem: Problem, weights: Sequence[Pretrained], seed: int, found: Sequence[Trial] = ()) -> Recipe:
    """The recipe that a problem, the weights at hand, a seed and what searches found amount to."""
    train = problem.train
    candidates = trials(problem, weights, found)
    return Recipe(candidates, train.fine_tune, train.views, train.budget_s, problem.classes, seed)


def replayed(recorded: Mapping[str, Any]) -> Recipe:  # Any: a card's recipe, as JSON holds it
    """The recipe that gives again what a card's recipe gave, without a clock and without the others."""
    entry = recorded["training"]["candidates"][0]
    recipe = Recipe(
        tuple(trial_of(one) for one in recorded["trials"]),
        "never",
        recorded["views"],
        recorded["budget_s"],
        tuple(recorded["classes"]),
        recorded["seed"],
    )
    of_net = [trial for trial in recipe.trials if _is_of(trial, entry)]
    if entry["tuning"] is None:
        return replace(recipe, trials=tuple(of_net[:1]))
    chosen = [trial for trial in of_net if asdict(trial.tuning) == entry["tuning"]]
    pinned = Pinned(entry["epochs"], entry["precision"])
    return replace(recipe, trials=tuple(chosen), fine_tune="always", pinned=pinned)


def _is_of(trial: Trial, entry: Mapping[str, Any]) -> bool:  # Any: as above
    net = trial.net
    mode = entry.get("crop_mode", "center")  # older cards do not say
    return (net.backbone, net.image_size, net.crop_mode) == (entry["backbone"], entry["image_size"], mode)
