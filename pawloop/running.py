"""Who works on a store now: its one stack, whose ports every terminal finds here, and each problem's run.

Knows locks and one file. Knows nothing about what the processes do.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pawloop import durable
from pawloop.settings import Settings

_ADDRESSES: Final = {"host", "port", "prefect_port"}


@contextmanager
def noted(settings: Settings, mark: str = "") -> Iterator[None]:
    """Be the store's one stack. mark: that its processes carry. Raises BusyError that names the other one."""
    with durable.lock(_lock(settings), f"`pawloop up` with port {settings.port}"):
        addresses = settings.model_dump(include=_ADDRESSES)
        durable.write_json(_file(settings), {**addresses, "mark": mark, "process": os.getpid()})
        try:
            yield
        finally:
            _file(settings).unlink(missing_ok=True)


def beside(settings: Settings) -> Settings:
    """The settings with the addresses of the stack that runs on this store; as they are where none does."""
    if durable.holder(_lock(settings)) is None or not _file(settings).exists():
        return settings
    note = json.loads(_file(settings).read_bytes())
    return settings.model_copy(update={name: note[name] for name in _ADDRESSES})


def orphaned(settings: Settings) -> str | None:
    """The mark of a stack whose own process was killed while others of it live on; None where there is none.

    They hold its lock, which they have from it.
    """
    if durable.holder(_lock(settings)) is None or not _file(settings).exists():
        return None
    note = json.loads(_file(settings).read_bytes())
    return None if _lives(note.get("process", os.getpid())) else note["mark"]


def run_lock(store: Path, name: str) -> Path:
    """The lock that a run holds: of a problem for a retrain, of `problem.what` for other flows."""
    return store / "locks" / f"{name}.lock"


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # another user's
    return True


def _lock(settings: Settings) -> Path:
    return settings.store.resolve() / "state" / "up.lock"


def _file(settings: Settings) -> Path:
    return settings.store.resolve() / "state" / "up.json"
