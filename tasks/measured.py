"""The store's memory of measurements: a photo once decoded and measured is not decoded again.

Lies in `<store>/cache/measured-N/`. Knows ids and measurements. Knows nothing about photos' files.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasks.columns import Growing
from tasks.measure import NUMBERS, THUMB_SIDE, VERSION, Looks

_THUMB: Final = pa.binary(THUMB_SIDE**2)
SCHEMA: Final = pa.schema(
    {
        "id": pa.string(),
        "fault": pa.string(),
        **{
            name: pa.string() if NUMBERS[name].kind == "S" else pa.from_numpy_dtype(NUMBERS[name])
            for name in NUMBERS.names or ()
        },
        "thumb": _THUMB,
    }
)


class Memory:
    """The table from a photo's id to what was measured, as it was when opened and with what was added."""

    def __init__(self, store: Path) -> None:
        self._kept = Growing(store / "cache" / f"measured-{VERSION}", SCHEMA, "id")

    def missing(self, ids: pa.ChunkedArray) -> pa.Array:
        """Those photos, each once and in their order, of which there is no good measurement.

        One that could not be decoded is asked for again: a decoder may have come since, or memory.
        """
        distinct = pc.unique(ids)
        return distinct.filter(pc.fill_null(pc.not_equal(self._faults(distinct), ""), True))

    def remember(self, ids: list[str], looks: Looks) -> None:
        """Note measurements; they are on disk when this returns. The same fault again is no news."""
        numbers = looks.numbers
        columns: dict[str, pa.Array] = {"id": pa.array(ids), "fault": pa.array(looks.faults, pa.string())}
        for name in NUMBERS.names or ():
            values = numbers[name]
            columns[name] = pa.array(values.astype(str) if values.dtype.kind == "S" else values)
        flat = pa.py_buffer(np.ascontiguousarray(looks.thumbs))
        columns["thumb"] = pa.Array.from_buffers(_THUMB, len(ids), [None, flat])
        is_known = pc.fill_null(pc.equal(self._faults(columns["id"]), columns["fault"]), False)
        news = pa.table(columns, SCHEMA).filter(pc.invert(is_known))
        if len(news):
            self._kept.add(news)

    def known(self, ids: pa.ChunkedArray) -> pa.Table:
        """The measurements of photos, a row each in their order, without thumbnails."""
        names = [name for name in SCHEMA.names if name not in ("id", "thumb")]
        return self._kept.columns(names).take(self._rows(ids))

    def thumbs(self, ids: pa.ChunkedArray) -> NDArray[np.uint8]:
        """[N, 256] thumbnails of photos."""
        found = self._kept.columns(["thumb"]).take(self._rows(ids))["thumb"].combine_chunks()
        return np.frombuffer(b"".join(found.to_pylist()), np.uint8).reshape(len(ids), THUMB_SIDE**2)

    def _faults(self, ids: pa.Array) -> pa.Array:
        """[N] of the latest measurement of each, null where there is none."""
        return self._kept.columns(["fault"])["fault"].take(self._rows(ids)).combine_chunks()

    def _rows(self, ids: pa.ChunkedArray) -> pa.Array:
        return pc.index_in(ids, self._ids())

    def _ids(self) -> pa.ChunkedArray:
        return self._kept.columns(["id"])["id"]
