"""Who a challenger must not be worse than: the champion and the anchor, on the same test photos.

Knows the registry and what its files answer. Knows nothing about the verdict.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pawloop.decision import Costs, incurred
from pawloop.errors import DatasetError, PawloopError
from pawloop.problem import Problem
from pawloop.registry import Registry, Version
from tasks.answer import Answers, answers, load, save
from tasks.gate import Rival
from tasks.manifest import Dataset, labels_of


@dataclass(frozen=True)
class Rivals:
    """answers: where those of each rival lie, by its name; notes: who could not be asked, and why.

    anchor: where the answers of the best version so far lie, if there is one to compare with.
    champion: the champion's own file, likewise.
    """

    answers: dict[str, Path] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    anchor: Path | None = None
    champion: Path | None = None

    def load(self) -> list[Rival]:
        """The rivals with their answers in memory."""
        found = []
        for name, path in self.answers.items():
            told, columns = load(path)
            found.append(Rival(name, told, columns["seen"].astype(np.bool_)))
        return found

    def is_best(self, answers: Answers, costs: Costs) -> bool:
        """Whether a challenger's answers cost less than the anchor's, so that it becomes the anchor."""
        if self.anchor is None:
            return True
        own, columns = load(self.anchor)
        labels = columns["labels"].astype(np.int64)
        mine, theirs = (incurred(labels, one.decide(costs), costs).mean() for one in (answers, own))
        return bool(mine < theirs)

    def accuracies(self) -> dict[str, float]:
        """Accuracy on the test photos, by name."""
        found = {}
        for name, path in self.answers.items():
            told, columns = load(path)
            found[name] = float((told.labels == columns["labels"]).mean())
        return found


def rivals(registry: Registry, problem: Problem, dataset: Dataset, run: Path) -> Rivals:
    """Ask champion and anchor, each by its own released file, and keep their answers in the run.

    What a killed run left there is not asked again. A version that is damaged or knows other classes is told
    of and left out.
    """
    aliases = registry.aliases()
    parts: dict[int, str] = {}
    for number, part in ((aliases.champion, "champion"), (aliases.anchor, "anchor")):
        if number is not None:
            parts.setdefault(number, f"{part} (version {number})")
    asked, notes = dict[str, Path](), list[str]()
    anchor = champion = None
    for number, name in parts.items():
        try:
            version = _comparable(registry, number, problem)
        except PawloopError as error:
            notes.append(f"The {name} is not compared with: {error}")
            continue
        asked[name] = _asked(version, dataset, problem, run / f"rival-{number}.npz")
        if number == aliases.anchor:
            anchor = asked[name]
        if number == aliases.champion:
            champion = _model(version)
    return Rivals(asked, notes, anchor, champion)


def _comparable(registry: Registry, number: int, problem: Problem) -> Version:
    version = registry.version(number)
    if tuple(version.card.classes) != problem.classes:
        raise DatasetError(
            f"it knows other classes ({', '.join(version.card.classes)}): this is a new problem, "
            "whose first model has no champion"
        )
    return version


def _asked(version: Version, dataset: Dataset, problem: Problem, out: Path) -> Path:
    if out.exists():
        return out
    card = version.card
    photos = dataset.photos("test")
    told = answers(_model(version), card.resize, dataset, photos, card.novelty_threshold)
    learnt = _trained_on(version, dataset.store)
    seen = np.array([photo.id in learnt for photo in photos], np.bool_)
    save(out, told, labels=labels_of(photos, problem.classes), seen=seen)
    return out


def _model(version: Version) -> Path:
    return version.folder / version.card.variants["float32"].file


def _trained_on(version: Version, store: Path) -> set[str]:
    dataset = Dataset.open(store, version.card.name, version.card.dataset.id)
    return {photo.id for side in dataset.counts() if side != "test" for photo in dataset.photos(side)}
