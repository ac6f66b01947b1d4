"""What every source hands to `collect`: the files that it says are photos."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from tasks.manifest import Side


class Offer(NamedTuple):
    """One file.

    read: its bytes; raises OSError when they cannot be had. stamp: what changes when they change, taken
    before they are read; None asks to read them again next time. path: where the file lies, when it may
    be referenced there instead of copied. size: bytes, where the source knows them before reading.
    """

    name: str
    label: str | None
    read: Callable[[], bytes]
    stamp: str | None = None
    path: str | None = None
    side: Side | None = None
    group: str | None = None
    size: int | None = None


@dataclass(frozen=True)
class Listing:
    """Photos in the order in which they are best read, and what was left out, in words.

    place: what tells this source from all others, on this machine. classes: those that it names, be they
    the problem's or not. readers: how many may read at once where reading is waiting; None is one.
    """

    place: str
    classes: list[str]
    count: int
    offers: Iterator[Offer]
    notes: list[str] = field(default_factory=list)
    readers: int | None = None
