"""Tables that only grow: Arrow files in a folder, mapped into memory, the newest first.

A hundred thousand rows are looked up in milliseconds, where a database hands out objects a row. What is in
them can always be made again, so a damaged part is left out. Knows Arrow and files; knows nothing about what
is kept.
"""

from __future__ import annotations

import time
import uuid
from pathlib import Path

import pyarrow as pa

from pawloop import durable

_MOST_PARTS = 16


class Growing:
    """The rows of a folder, as they were when it was opened and with what was added."""

    def __init__(self, folder: Path, schema: pa.Schema, key: str) -> None:
        """Makes the folder if need be; many small parts become one, in which each key stands once."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._schema = folder, schema
        paths = sorted(folder.glob("*.arrow"), reverse=True)
        self._tables = [table for path in paths if (table := self._read(path)) is not None]
        if len(paths) > _MOST_PARTS:
            whole = self.columns(schema.names)
            first = pa.table({key: whole[key], "row": pa.array(range(len(whole)), pa.int64())})
            rows = first.group_by(key).aggregate([("row", "min")])["row_min"]
            self._tables = []
            self.add(whole.take(rows).combine_chunks())
            for path in paths:
                path.unlink(missing_ok=True)

    def columns(self, names: list[str]) -> pa.Table:
        """Some columns of all rows, the newest part first."""
        tables = [table.select(names) for table in self._tables]
        return pa.concat_tables(tables) if tables else self._schema.empty_table().select(names)

    def add(self, table: pa.Table) -> None:
        """Put rows before all others; they are on disk when this returns."""
        path = self._folder / f"{time.time_ns():020d}-{uuid.uuid4().hex}.arrow"
        with (
            durable.aside(path) as draft,
            pa.OSFile(str(draft), "wb") as file,
            pa.ipc.new_file(file, self._schema) as out,
        ):
            out.write_table(table)
        self._tables.insert(0, self._read(path) or table)

    def _read(self, path: Path) -> pa.Table | None:
        try:
            table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        except (FileNotFoundError, pa.ArrowInvalid):
            return None
        return table if table.schema.equals(self._schema) else None
