"""Labelled photos dealt into sides, as lists that Pawloop reads: five folds, or so many to train on.

Whoever deals again deals the same. Knows folders, hashes and CSV; knows nothing about training.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tasks.manifest import Side

COUNT: Final = 5
_VALIDATION: Final = 0.2  # of what does not test
_KINDS: Final = (".jpg", ".png")


@dataclass(frozen=True)
class Labelled:
    """A photo's file and its class."""

    path: Path
    label: str


def photos(folder: Path, most: int | None = None) -> list[Labelled]:
    """All photos of a folder per class, or `most` of each class, in an order that only their names decide."""
    found: list[Labelled] = []
    for place in sorted(path for path in folder.iterdir() if path.is_dir()):
        files = [path for path in place.iterdir() if path.suffix in _KINDS]
        found += [Labelled(path, place.name) for path in sorted(files, key=_chance)[:most]]
    return sorted(found, key=lambda one: _chance(one.path))


def fold(dealt: Sequence[Labelled], number: int) -> dict[Labelled, Side]:
    """Side by photo when fold `number` of COUNT tests: every photo tests once."""
    rest = [one for place, one in enumerate(dealt) if place % COUNT != number]
    sides: dict[Labelled, Side] = dict.fromkeys(dealt, "test")
    return sides | _divided(rest)


def few(dealt: Sequence[Labelled], each: int) -> dict[Labelled, Side]:
    """`each` photos of every class to learn from, the others test."""
    chosen: list[Labelled] = []
    for label in sorted({one.label for one in dealt}):
        chosen += [one for one in dealt if one.label == label][:each]
    sides: dict[Labelled, Side] = dict.fromkeys(dealt, "test")
    return sides | _divided(chosen)


def written(sides: Mapping[Labelled, Side], path: Path) -> Path:
    """The list as a CSV file with a side for each photo."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "side"])
        writer.writerows([one.path.absolute(), one.label, side] for one, side in sides.items())
    return path


def _divided(photos: Sequence[Labelled]) -> dict[Labelled, Side]:
    """Every fifth of each class validates, the others train."""
    seen: dict[str, int] = {}
    sides: dict[Labelled, Side] = {}
    for one in photos:
        place = seen[one.label] = seen.get(one.label, -1) + 1
        sides[one] = "validation" if place % round(1 / _VALIDATION) == 0 else "train"
    return sides


def _chance(path: Path) -> str:
    return hashlib.sha256(f"{path.parent.name}/{path.name}".encode()).hexdigest()
