"""Who a challenger must not be worse than: the champion and the anchor, on the same test photos.

Knows the registry and what its files answer. Knows nothing about the verdict.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pawloop.aliases import Aliases
from pawloop.decision import Costs, incurred
from pawloop.errors import DatasetError, PawloopError
from pawloop.in_service import old_costs
from pawloop.printable import some_of
from pawloop.problem import Problem
from pawloop.registry import Registry, Version
from tasks.answer import Answers, load, save
from tasks.gate import Rival
from tasks.inputs import Progress
from tasks.manifest import Dataset, labels_of
from tasks.recalled import recalled
from tasks.weights import NETWORK_FILE


@dataclass(frozen=True)
class Asked:
    """A rival that was asked. name: for people. answers: where they lie. network: SHA-256 of its weights."""

    name: str
    answers: Path
    network: str = ""

    def load(self) -> tuple[Answers, NDArray[np.int64], NDArray[np.bool_]]:
        """Its answers, the true classes [N], and which photos it was trained on [N]."""
        told, columns = load(self.answers)
        return told, columns["labels"].astype(np.int64), columns["seen"].astype(np.bool_)


@dataclass(frozen=True)
class Rivals:
    """asked: champion and anchor by their versions' numbers, the anchor first. notes: who could not be asked.

    before: the champion when they were asked. champion: its own file, if it was. taken_back: networks
    (SHA-256) that a person took out of service, with what is to say of that. lost: classes that the champion
    answers and the problem no longer has.
    """

    asked: dict[int, Asked] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    before: int | None = None
    champion: Path | None = None
    taken_back: Mapping[str, str] = field(default_factory=dict)
    lost: tuple[str, ...] = ()

    def load(self) -> list[Rival]:
        """The rivals with their answers in memory."""
        found = []
        for one in self.asked.values():
            told, _, seen = one.load()
            found.append(Rival(one.name, told, seen, one.network))
        return found

    def best(self, number: int, answers: Answers, costs: Costs) -> int:
        """Whose answers to the test photos that none of them was trained on cost least: the next anchor.

        number, answers: the challenger's. It must cost less than the others, not as much.
        """
        if not self.asked:
            return number
        loaded = {rival: one.load() for rival, one in self.asked.items()}
        fresh = ~np.any([seen for _, _, seen in loaded.values()], axis=0)
        if not fresh.any():
            return next(iter(loaded))
        told = {rival: theirs for rival, (theirs, _, _) in loaded.items()} | {number: answers}
        _, labels, _ = next(iter(loaded.values()))
        cost = {one: incurred(labels, own.decide(costs), costs)[fresh].mean() for one, own in told.items()}
        return min(cost, key=lambda one: cost[one])

    def accuracies(self, costs: Costs) -> dict[str, float]:
        """Accuracy by name, on the test photos that each was not trained on; who has none is left out."""
        found = {}
        for one in self.asked.values():
            told, labels, seen = one.load()
            right = (told.decide(costs).label == labels)[~seen]
            some = f", on the {len(right)} photos that it was not trained on" if seen.any() else ""
            if len(right):
                found[f"{one.name}{some}"] = float(right.mean())
        return found


def rivals(
    registry: Registry,
    problem: Problem,
    dataset: Dataset,
    run: Path,
    on_progress: Progress = lambda *_: None,
) -> Rivals:
    """Ask anchor and champion, each by its own released file, and keep their answers in the run.

    What a killed run left there is not asked again, nor is a version about photos that it has answered
    (see `recalled`). A version that is damaged or knows other classes is told of and left out. One that was
    trained on photos that are not known here is asked about all, which can only favour it.
    """
    aliases = registry.aliases()
    asked, notes = dict[int, Asked](), list[str]()
    champion = None
    for number, name in _parts(aliases).items():
        try:
            version = _comparable(registry, number, problem)
        except PawloopError as error:
            notes.append(f"The {name} is not compared with: {error}")
            continue
        try:
            learnt = _trained_on(version, dataset.store)
        except DatasetError as error:
            learnt = set()
            notes.append(
                f"The {name} is asked about all test photos, of which it may have learnt some, "
                f"since what it learnt from is not known here: {error}"
            )
        path = run / f"rival-{number}.npz"
        if not path.exists():
            _answer(version, learnt, dataset, problem, path, partial(on_progress, f"{name}, test photos"))
        asked[number] = Asked(name, path, version.card.files.get(NETWORK_FILE, ""))
        if number == aliases.champion:
            champion = _model(version)
    taken_back = _taken_back(registry, aliases, problem)
    return Rivals(asked, notes, aliases.champion, champion, taken_back, _lost(registry, problem))


def _taken_back(registry: Registry, aliases: Aliases, problem: Problem) -> dict[str, str]:
    """Of versions that decide by the problem's costs; those of the network that serves are none of them."""
    versions = registry.readable()
    serving = versions.get(aliases.champion or 0)
    found = {}
    for number, version in versions.items():
        move, network = aliases.taken_back(number), version.card.files.get(NETWORK_FILE)
        if move and network and not old_costs(version.card, problem) and version.rejection is None:
            found[network] = f"it is version {number}, taken back: {move.reason}"
    if serving:
        found.pop(serving.card.files.get(NETWORK_FILE, ""), None)
    return found


def _lost(registry: Registry, problem: Problem) -> tuple[str, ...]:
    champion = registry.readable_champion()
    return () if champion is None else tuple(sorted(set(champion.card.classes) - set(problem.classes)))


def _parts(aliases: Aliases) -> dict[int, str]:
    """What people call anchor and champion, by number; who is both is called champion."""
    parts = {"anchor": aliases.anchor, "champion": aliases.champion}
    return {number: f"{part} (version {number})" for part, number in parts.items() if number is not None}


def _comparable(registry: Registry, number: int, problem: Problem) -> Version:
    version = registry.version(number)
    if set(version.card.classes) != set(problem.classes):
        raise DatasetError(
            f"it knows other classes ({some_of(version.card.classes)}): this is a new problem, "
            "whose first model has no champion"
        )
    return version


def _answer(
    version: Version,
    learnt: set[str],
    dataset: Dataset,
    problem: Problem,
    out: Path,
    on_progress: Callable[[int, int], None],
) -> None:
    card = version.card
    photos = dataset.photos("test")
    # The problem's threshold, as it is the problem's costs, so that a changed one is no other network.
    threshold = None if card.novelty_threshold is None else problem.cost.unfamiliar
    told = Answers.by(recalled(_model(version), card.resize, dataset, photos, on_progress), threshold)
    order = [card.classes.index(name) for name in problem.classes]  # the file may list them otherwise now
    told = replace(told, probabilities=told.probabilities[:, order])
    seen = np.array([photo.id in learnt for photo in photos], np.bool_)
    save(out, told, labels=labels_of(photos, problem.classes), seen=seen)


def _model(version: Version) -> Path:
    return version.folder / version.card.variants["float32"].file


def _trained_on(version: Version, store: Path) -> set[str]:
    dataset = Dataset.open(store, version.card.name, version.card.dataset.id)
    return {photo.id for side in dataset.counts() if side != "test" for photo in dataset.photos(side)}
