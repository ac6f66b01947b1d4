"""Who a challenger must not be worse than: the champion and the anchor, on the same test photos.

Knows the registry and what its files answer. Knows nothing about the verdict.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pawloop.card import Precision
from pawloop.errors import DatasetError, PawloopError
from pawloop.problem import Problem
from pawloop.registry import Registry, Version
from tasks.answer import answers
from tasks.gate import Rival
from tasks.manifest import Dataset


@dataclass(frozen=True)
class Rivals:
    """names and where their answers lie; notes: who could not be asked, and why."""

    answers: dict[str, Path] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def load(self) -> list[Rival]:
        """The rivals with their answers in memory."""
        found = []
        for name, path in self.answers.items():
            with np.load(path) as arrays:
                found.append(Rival(name, arrays["probabilities"], arrays["seen"]))
        return found

    def accuracies(self) -> dict[str, float]:
        """Accuracy on the test photos, by name."""
        found = {}
        for name, path in self.answers.items():
            with np.load(path) as arrays:
                found[name] = float((arrays["probabilities"].argmax(1) == arrays["labels"]).mean())
        return found


def rivals(registry: Registry, problem: Problem, dataset: Dataset, run: Path) -> Rivals:
    """Ask champion and anchor, each by its own released file, and keep their answers in the run.

    A version that is damaged or knows other classes is told of and left out.
    """
    aliases = registry.aliases()
    parts: dict[int, str] = {}
    for number, part in ((aliases.champion, "champion"), (aliases.anchor, "anchor")):
        if number is not None:
            parts.setdefault(number, f"{part} (version {number})")
    found = Rivals()
    for number, name in parts.items():
        try:
            version = _comparable(registry, number, problem)
        except PawloopError as error:
            found.notes.append(f"The {name} is not compared with: {error}")
            continue
        found.answers[name] = _asked(version, dataset, problem, run / f"rival-{number}.npz")
    return found


def _comparable(registry: Registry, number: int, problem: Problem) -> Version:
    version = registry.version(number)
    if tuple(version.card.classes) != problem.classes:
        raise DatasetError(
            f"it knows other classes ({', '.join(version.card.classes)}): this is a new problem, "
            "whose first model has no champion"
        )
    return version


def _asked(version: Version, dataset: Dataset, problem: Problem, out: Path) -> Path:
    precision: Precision = "float32"
    model = version.folder / version.card.variants[precision].file
    photos = dataset.photos("test")
    probabilities = answers(model, version.card.resize, dataset, photos)
    learnt = _trained_on(version, dataset.store)
    place = {name: index for index, name in enumerate(problem.classes)}
    np.savez(
        out,
        probabilities=probabilities,
        labels=[place[photo.label] for photo in photos],
        seen=np.array([photo.id in learnt for photo in photos], np.bool_),
    )
    return out


def _trained_on(version: Version, store: Path) -> set[str]:
    dataset = Dataset.open(store, version.card.name, version.card.dataset.id)
    return {photo.id for side in dataset.counts() if side != "test" for photo in dataset.photos(side)}
