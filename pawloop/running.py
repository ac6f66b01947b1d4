"""Who works on a store now: its one stack, whose ports every terminal finds here, and each problem's run.

Knows locks, one file and whether a process lives. Knows nothing about what the processes do.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from pawloop import durable
from pawloop.errors import DamagedFileError
from pawloop.settings import Settings

_ADDRESSES: Final = {"host", "port", "prefect_port"}


@contextmanager
def noted(settings: Settings, mark: str = "") -> Iterator[None]:
    """Be the store's one stack. mark: that its processes carry. Raises BusyError that names the other one."""
    with durable.lock(_lock(settings), f"`pawloop up` with port {settings.port}"):
        who = {"mark": mark, "process": os.getpid(), "machine": socket.gethostname()}
        durable.write_json(_file(settings), settings.model_dump(include=_ADDRESSES) | who)
        try:
            yield
        finally:
            _file(settings).unlink(missing_ok=True)


def beside(settings: Settings) -> Settings:
    """The settings with the addresses of the stack that runs on this store; as they are where none does.

    Raises DamagedFileError where one does and its file does not tell them.
    """
    note = _note(settings)
    return settings.model_copy(update={name: note[name] for name in _ADDRESSES}) if note else settings


def orphaned(settings: Settings) -> str | None:
    """The mark of a stack whose own process was killed, so that others of it may live on; or None.

    Forked ones still hold its lock, those that a system starts otherwise do not. Of another machine's nothing
    can be told, nor of one whose file is damaged: whoever wants the lock is told who holds it.
    """
    try:
        note = _told(settings)
    except DamagedFileError:
        return None
    if not note or note.get("machine") != socket.gethostname() or _lives(note["process"]):
        return None
    return str(note["mark"])


def run_lock(store: Path, problem: str, what: str = "retrain") -> Path:
    """The lock of a problem's runs of a kind: a flow, or what several flows do one at a time."""
    name = problem if what == "retrain" else f"{problem}.{what}"
    return store / "locks" / f"{name}.lock"


def _note(settings: Settings) -> dict[str, Any] | None:  # Any: addresses and numbers
    """What the stack says of itself whose lock is held; None where nobody holds it."""
    return _told(settings) if is_held(settings) else None


def is_held(settings: Settings) -> bool:
    """Whether any process holds the lock of the store's one stack."""
    return durable.holder(_lock(settings)) is not None


def _told(settings: Settings) -> dict[str, Any] | None:  # Any: addresses and numbers
    """What the file says of the stack that is there, or of one that was killed; None where it is gone."""
    try:
        return durable.read_json(_file(settings), _known, "stop `pawloop up` and start it again")
    except FileNotFoundError:  # it is just coming up, or going
        return None


def _known(note: dict[str, Any]) -> dict[str, Any]:  # Any: addresses and numbers
    """The note. Raises KeyError unless it says all that is asked of it."""
    return note | {name: note[name] for name in (*_ADDRESSES, "process", "mark")}


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
