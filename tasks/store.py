"""What a store that cannot be written says, and the folder where the next version grows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from pawloop.errors import DatasetError
from tasks.manifest import home

# How a table that only the next stage reads is written.
QUICKLY: Final[dict[str, Any]] = {"compression": "none", "use_dictionary": False, "write_statistics": False}


@contextmanager
def store_errors(store: Path) -> Iterator[None]:
    """Turn a full disk or a read-only store into a DatasetError that says what to do."""
    try:
        yield
    except OSError as error:
        raise _unwritable(store, error.strerror or str(error)) from error


def growing(store: Path, name: str) -> Path:
    """The folder of tables from which a problem's next version is made; made if need be."""
    folder = home(store, name) / "next"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write(table: pa.Table, path: Path) -> None:
    """Write a table that only the next stage reads."""
    pq.write_table(table, path, **QUICKLY)


def told(path: Path) -> dict[str, Any]:  # Any: JSON's values
    """What the stage that wrote a table says beside its rows: sources, notes, rules."""
    facts: dict[str, Any] = json.loads(pq.read_metadata(path).metadata[b"pawloop"])
    return facts


def _unwritable(store: Path, why: str) -> DatasetError:
    return DatasetError(
        f"{store}: the store cannot be written: {why}; nothing was lost: make it writable or free some "
        "space and run again, or name another folder in PAWLOOP_STORE"
    )
