"""A folder per class on this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from pawloop.errors import SourceError
from pawloop.paths import expanded
from tasks.layout import Placed, folders, placed
from tasks.offer import Listing, Offer
from tasks.seen import stamp


def listing(source: str, classes: Sequence[str], _store: Path) -> Listing:
    """The photos below a local folder. Raises SourceError when it is not there, empty or closed to us."""
    root = expanded(source)
    found = names(root)
    photos, notes = placed(found, classes)
    place = os.path.abspath(root)  # noqa: PTH100
    offers = (_offer(place, photo) for photo in photos)
    return Listing(place, folders(found), len(photos), offers, notes)


def names(root: Path) -> list[str]:
    """Every file below a folder, "/" between folders, in order; links are followed, once each."""
    if not root.exists():
        raise SourceError(
            f"{root}: there is no such folder; correct the path, or [data] sources in the problem file"
        )
    if not root.is_dir():
        raise SourceError(
            f"{root}: neither a folder nor, by its name, an archive or a list of photos; give a folder or "
            "zip with a folder per class, or a .csv"
        )
    found = sorted(_below(root))
    if not found:
        raise SourceError(f"{root}: the folder is empty; put photos into it, one folder a class")
    return found


def _below(root: Path) -> Iterator[str]:
    visited: set[str] = set()
    for here, inner, files in os.walk(root, onerror=_raise, followlinks=True):
        real = os.path.realpath(here)
        if real in visited:
            inner.clear()
            continue
        visited.add(real)
        inner[:] = [name for name in inner if not name.startswith(".")]
        prefix = os.path.relpath(here, root) + "/"
        yield from (name if prefix == "./" else prefix + name for name in files)


def _raise(error: OSError) -> None:
    raise SourceError(
        f"{error.filename}: this folder cannot be read: {error.strerror}; give this user the right to read it"
    ) from None


def _offer(root: str, photo: Placed) -> Offer:
    path = f"{root}/{photo.name}"
    try:
        mark = stamp(os.stat(path))  # noqa: PTH116  (a Path for each of a million files costs seconds)
    except OSError:
        mark = None  # reading it will say why
    return Offer(photo.name, photo.label, partial(_read, path), mark, path, photo.side)


def _read(path: str) -> bytes:
    return Path(path).read_bytes()
