"""The store's memory of measurements: a photo once measured is not decoded again.

Knows ids and measurements. Knows nothing about files.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tasks.measure import VERSION, Measured

_KINDS = {int: "INTEGER", float: "REAL", str: "TEXT", bytes: "BLOB"}
_TABLE = f"measured_{VERSION}"


class Memory:
    """The table from a photo's id to what was measured."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def known(self, ids: Iterable[str]) -> dict[str, Measured]:
        """The measurements of those photos that were measured before."""
        self._ask(ids)
        rows = self._database.execute(f"SELECT {_TABLE}.* FROM asked JOIN {_TABLE} USING (id)")
        return {id: _measured(values) for id, *values in rows}

    def missing(self, ids: Iterable[str]) -> list[str]:
        """Those photos, in their order, that were never measured."""
        asked = list(ids)
        self._ask(asked)
        rows = self._database.execute(f"SELECT id FROM asked JOIN {_TABLE} USING (id)")
        known = {id for (id,) in rows}
        return [id for id in asked if id not in known]

    def remember(self, measured: Iterable[tuple[str, Measured]]) -> None:
        """Note measurements; they are on disk when this returns."""
        rows = [(id, *one._replace(hash=_signed(one.hash))) for id, one in measured]
        marks = ", ".join("?" * (len(Measured._fields) + 1))
        with self._database:
            self._database.executemany(f"INSERT OR REPLACE INTO {_TABLE} VALUES ({marks})", rows)

    def _ask(self, ids: Iterable[str]) -> None:
        with self._database:
            self._database.execute(
                "CREATE TEMP TABLE IF NOT EXISTS asked (id TEXT PRIMARY KEY) WITHOUT ROWID"
            )
            self._database.execute("DELETE FROM asked")
            self._database.executemany("INSERT OR IGNORE INTO asked VALUES (?)", ((id,) for id in ids))


@contextmanager
def opened(store: Path) -> Iterator[Memory]:
    """The memory of a store, made if need be."""
    path = store / "cache" / "measured.sqlite"
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = ", ".join(f"{name} {_KINDS[type(value)]}" for name, value in Measured()._asdict().items())
    with closing(sqlite3.connect(path, timeout=60)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        with database:
            database.execute(f"CREATE TABLE IF NOT EXISTS {_TABLE} (id TEXT PRIMARY KEY, {columns})")
        yield Memory(database)


def _measured(values: list[object]) -> Measured:
    one = Measured._make(values)
    return one._replace(hash=one.hash % 2**64)


def _signed(number: int) -> int:
    # SQLite's integers have a sign.
    return number - 2**64 if number >= 2**63 else number
