"""Who works on a store now: its one stack, whose ports every terminal finds here, and each problem's run.

Knows locks and one file. Knows nothing about what the processes do.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pawloop import durable
from pawloop.settings import Settings

_ADDRESSES: Final = {"host", "port", "prefect_port"}


@contextmanager
def noted(settings: Settings) -> Iterator[None]:
    """Be the store's one stack. Raises BusyError that names the other one."""
    with durable.lock(_lock(settings), f"`pawloop up` with port {settings.port}"):
        durable.write_json(_file(settings), settings.model_dump(include=_ADDRESSES))
        try:
            yield
        finally:
            _file(settings).unlink(missing_ok=True)


def beside(settings: Settings) -> Settings:
    """The settings with the addresses of the stack that runs on this store; as they are where none does."""
    if durable.holder(_lock(settings)) is None or not _file(settings).exists():
        return settings
    return settings.model_copy(update=json.loads(_file(settings).read_bytes()))


def run_lock(store: Path, name: str) -> Path:
    """The lock that a run holds: of a problem for a retrain, of `problem.what` for other flows."""
    return store / "locks" / f"{name}.lock"


def _lock(settings: Settings) -> Path:
    return settings.store.resolve() / "state" / "up.lock"


def _file(settings: Settings) -> Path:
    return settings.store.resolve() / "state" / "up.json"
