"""What a folder per class means: from the names of files to their classes and sides.

Knows names. Knows nothing about where files lie or what is in them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from pawloop.errors import nearest
from pawloop.image import SUFFIXES
from pawloop.printable import printable
from pawloop.sections import same_form
from tasks.manifest import Side

_SIDE_FOLDERS: Final[dict[str, Side]] = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
_LITTER: Final = frozenset({"__macosx", "thumbs.db", "desktop.ini", "@eadir", "$recycle.bin"})
PHOTO_SUFFIXES: Final = SUFFIXES | {".heic", ".heif"}


class Placed(NamedTuple):
    """A photo by its name. label: None where no class folder holds it: kept for labelling."""

    name: str
    label: str | None
    side: Side | None


def placed(names: Iterable[str], classes: Sequence[str]) -> tuple[list[Placed], list[str]]:
    """Each photo with its class and, where folders say so, its side; and notes on what was left out.

    names: files below a source, "/" between folders. classes: those of the problem, in NFC.
    A single folder around the class folders is looked through; `train/`, `validation/` and `test/`
    around them give sides when all three are there.
    """
    shelves = _shelves(names)
    with_photos = [shelf for shelf, files in shelves.items() if any(map(is_photo, files))]
    depth = _wrapping(with_photos, set(classes))
    # A class may be called as a side is. Where both could be meant, the outer folder is the side.
    are_sides = all(len(shelf) > depth and side_named(shelf[depth]) for shelf in with_photos)
    sides = {side_named(shelf[depth]) for shelf in shelves if len(shelf) > depth + 1} - {None}
    photos: list[Placed] = []
    strangers: Counter[str] = Counter()
    others: list[str] = []
    for shelf, files in shelves.items():
        inner, prefix = shelf[depth:], "".join(f"{part}/" for part in shelf)
        side = None
        if len(inner) > 1 and (
            same_form(inner[0]) not in classes or (are_sides and same_form(inner[1]) in classes)
        ):
            side = side_named(inner[0])
            inner = inner[1:] if side else inner
        label = same_form(inner[0]) if inner else None
        found = [f"{prefix}{file}" for file in files if is_photo(file)]
        if len(found) < len(files):
            others += [f"{prefix}{file}" for file in files if not is_photo(file)]
        if label is None or label in classes:
            given = side if len(sides) == 3 and label is not None else None
            photos += [Placed(name, label, given) for name in found]
        elif found:
            strangers[inner[0]] += len(found)
    return photos, [*_notes(strangers, others, classes), *_side_notes(sides)]


def folders(names: Iterable[str]) -> list[str]:
    """The class folders of a source whose classes nobody has named yet, in NFC and order."""
    shelves = [shelf for shelf, files in _shelves(names).items() if any(map(is_photo, files))]
    while len(tops := {shelf[:1] for shelf in shelves}) == 1 and all(len(shelf) > 1 for shelf in shelves):
        shelves = [shelf[1:] for shelf in shelves]
    if tops and all(top and side_named(top[0]) for top in tops):
        shelves = [shelf[1:] for shelf in shelves]
    return sorted({same_form(shelf[0]) for shelf in shelves if shelf})


def is_photo(name: str) -> bool:
    """Whether a file is a photo by its name."""
    _, dot, suffix = name.rpartition(".")
    return f"{dot}{suffix}".lower() in PHOTO_SUFFIXES


def is_litter(parts: Sequence[str]) -> bool:
    """Whether a file is hidden, or what systems leave behind in folders."""
    return any(part[:1] == "." or part.lower() in _LITTER for part in parts)


Shelf = tuple[str, ...]  # the folders that a file lies in, from the source down


def _shelves(names: Iterable[str]) -> dict[Shelf, list[str]]:
    """Files by the folder that they lie in, without litter: what a folder says is asked once a folder."""
    by_folder: dict[str, list[str]] = {}
    for name in names:
        folder, _, file = name.rpartition("/")
        by_folder.setdefault(folder, []).append(file)
    found: dict[Shelf, list[str]] = {}
    for folder, files in by_folder.items():
        shelf = tuple(folder.split("/")) if folder else ()
        if not is_litter(shelf) and (left := [f for f in files if f[:1] != "." and f.lower() not in _LITTER]):
            found[shelf] = left
    return found


def _wrapping(shelves: Sequence[Shelf], classes: set[str]) -> int:
    """How many single folders stand around the class folders."""
    depth = 0
    while True:
        tops = {shelf[depth] if len(shelf) > depth else "" for shelf in shelves}
        if len(tops) != 1 or not (top := tops.pop()) or same_form(top) in classes:
            return depth if _holds_classes(shelves, depth, classes) else 0
        depth += 1


def _holds_classes(shelves: Iterable[Shelf], depth: int, classes: set[str]) -> bool:
    inside = {same_form(shelf[depth]) for shelf in shelves if len(shelf) > depth}
    return bool(inside & classes) or any(side_named(name) for name in inside)


def side_named(folder: str) -> Side | None:
    """The side that a word of people means, or None."""
    return _SIDE_FOLDERS.get(folder.casefold())


def _notes(strangers: Counter[str], others: list[str], classes: Sequence[str]) -> list[str]:
    notes = [
        f'the folder "{printable(folder)}" ({count} photos) is no class of the problem and was left out'
        f"{nearest(same_form(folder), classes) or '; to learn it, add it to `classes` in the problem file'}"
        for folder, count in sorted(strangers.items())
    ]
    if others:
        some = ", ".join(printable(name) for name in sorted(others)[:5])
        notes.append(f"{len(others)} files are no photos by their names and were left out: {some}")
    return notes


def _side_notes(sides: set[Side | None]) -> list[str]:
    if not sides or len(sides) == 3:
        return []
    return [
        f"the folders {', '.join(sorted(map(str, sides)))} were not taken as sides, since only all of train, "
        "validation and test together divide the photos; they were divided anew"
    ]
