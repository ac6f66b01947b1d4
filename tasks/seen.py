"""What files held when they were last read, so that an unchanged file is not read again.

Knows stamps and ids. Knows nothing about sources.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final, NamedTuple

# A file written twice within one tick of the file system's clock keeps its stamp, so a file this young
# is read again next time (what git calls racy).
_YOUNG_NS: Final = 2_000_000_000


class Taken(NamedTuple):
    """A file's content, known: its id, where its bytes lie, their hash there, and their number."""

    id: str
    location: str
    stored: str
    size: int


def stamp(found: os.stat_result) -> str | None:
    """What changes when a file changes; None for one so young that it could change unseen."""
    if time.time_ns() - max(found.st_mtime_ns, found.st_ctime_ns) < _YOUNG_NS:
        return None
    return f"{found.st_size}:{found.st_mtime_ns}:{found.st_ctime_ns}"


class Seen:
    """The table from place and stamp to content."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def known(self, place: str) -> dict[str, tuple[str, Taken]]:
        """Stamp and content of every file that lay at a place when it was read before, by name."""
        rows = self._database.execute(
            "SELECT name, stamp, id, location, stored, size FROM seen WHERE place = ?", (os.fsencode(place),)
        )
        return {os.fsdecode(name): (stamp, Taken(*taken)) for name, stamp, *taken in rows}

    def remember(self, place: str, files: Iterable[tuple[str, str, Taken]]) -> None:
        """Note name, stamp and content of files; they are on disk when this returns."""
        # Names as bytes: not every file's name is text.
        rows = [(os.fsencode(place), os.fsencode(name), stamp, *taken) for name, stamp, taken in files]
        with self._database:
            self._database.executemany("INSERT OR REPLACE INTO seen VALUES (?, ?, ?, ?, ?, ?, ?)", rows)


@contextmanager
def opened(store: Path) -> Iterator[Seen]:
    """The table of a store, made if need be."""
    path = store / "cache" / "seen.sqlite"
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path, timeout=60)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        with database:
            database.execute(
                "CREATE TABLE IF NOT EXISTS seen (place BLOB, name BLOB, stamp TEXT, id TEXT, location TEXT, "
                "stored TEXT, size INTEGER, PRIMARY KEY (place, name)) WITHOUT ROWID"
            )
        yield Seen(database)
