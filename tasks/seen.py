"""What files held when they were last read, so that an unchanged file is not read again.

Lies in `<store>/cache/seen/`, a folder a source. Knows stamps and ids. Knows nothing about sources.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from tasks.columns import Growing
from tasks.offer import Offer

# A file written twice within one tick of the file system's clock keeps its stamp, so a file this young
# is read again next time (what git calls racy).
_YOUNG_NS: Final = 2_000_000_000


# A file's content, known: its id, where its bytes lie, their hash there, and their number.
TAKEN: Final = pa.schema(
    {"id": pa.string(), "location": pa.string(), "stored": pa.string(), "bytes": pa.int64()}
)
_SCHEMA: Final = pa.schema({"name": pa.binary(), "stamp": pa.string(), **{f.name: f.type for f in TAKEN}})


def stamp(found: os.stat_result) -> str | None:
    """What changes when a file changes; None for one so young that it could change unseen."""
    if time.time_ns() - max(found.st_mtime_ns, found.st_ctime_ns) < _YOUNG_NS:
        return None
    return f"{found.st_size}:{found.st_mtime_ns}:{found.st_ctime_ns}"


class Seen:
    """The files that lay at one place when they were read before, and what they held.

    place: what tells a source from all others. Names are bytes inside, since not every file's name is text.
    """

    def __init__(self, store: Path, place: str) -> None:
        key = hashlib.sha256(os.fsencode(place)).hexdigest()[:16]
        self._kept = Growing(store / "cache" / "seen" / key, _SCHEMA, "name")
        self._known = self._kept.columns(_SCHEMA.names)  # as it is now: rows keep their numbers

    def unchanged(self, names: Sequence[str], stamps: Sequence[str | None]) -> pa.Array:
        """[N] for each file its row among `taken` when its stamp is the same, else null."""
        rows = pc.index_in(pa.array(map(os.fsencode, names), pa.binary()), self._known["name"])
        same = pc.equal(self._known["stamp"].take(rows), pa.array(stamps, pa.string()))
        return pc.if_else(same, rows, pa.scalar(None, rows.type)).combine_chunks()

    def taken(self, rows: pa.Array) -> pa.Table:
        """What files held, by the rows that `unchanged` gave."""
        return self._known.select(TAKEN.names).take(rows)

    def remember(self, files: Sequence[tuple[Offer, dict[str, Any]]]) -> pa.Table:
        """Note what files held, where a stamp tells, and give it as a table; it is on disk then."""
        held = pa.Table.from_pylist([one for _, one in files], TAKEN)
        names = pa.array([os.fsencode(offer.name) for offer, _ in files], pa.binary())
        stamps = pa.array([offer.stamp for offer, _ in files], pa.string())
        table = pa.table([names, stamps, *held.columns], schema=_SCHEMA)
        told = table.filter(pc.is_valid(table["stamp"]))
        if len(told):
            self._kept.add(told)
        return held
