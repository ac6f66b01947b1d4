"""Files that are whole or absent: write aside, flush, sync, rename; and locks that die with their holder.

Knows paths, bytes and processes. Knows nothing about what is in a file.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO, TypeVar

from pawloop.errors import BusyError, DamagedFileError

try:
    import fcntl
except ImportError as error:
    raise ImportError("Pawloop runs on Linux and macOS; on Windows, run it inside WSL") from error

_CHUNK_BYTES = 1 << 20
_FOR_ALL = 0o666
_CANNOT = (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP)  # of some file systems over a network
Formed = TypeVar("Formed")


def write_bytes(path: Path, content: bytes | memoryview, mode: int = _FOR_ALL) -> None:
    """Put `content` at `path` so that a reader sees the old file or the new one, never a part.

    mode: of a new file, less what the umask takes; one that is there keeps its own. Makes missing folders.
    Raises OSError (full disk, no permission) with nothing changed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with aside(path, mode) as draft:
        draft.write_bytes(content)


def write_json(path: Path, value: Any) -> None:  # Any: whatever the json module can write
    """`value` as indented UTF-8 JSON with sorted keys, written as `write_bytes` does."""
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    write_bytes(path, text.encode())


def read_json(path: Path, form: Callable[[Any], Formed], remedy: str) -> Formed:  # Any: JSON's values
    """What `form` makes of a JSON file that was written here.

    remedy: what a person is to do about a damaged one, such as "delete it, and it is made again".
    Raises DamagedFileError that names the file and says so, FileNotFoundError where there is none.
    """
    try:
        return form(json.loads(path.read_bytes()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedFileError(f"{path}: is not as it was written ({error}); {remedy}") from error


@contextmanager
def aside(path: Path, mode: int = _FOR_ALL) -> Iterator[Path]:
    """A draft beside `path` that takes its place when the block ends well, and vanishes otherwise.

    mode: as of `write_bytes`. An OSError out of the block that names no file, as of a full disk, names
    `path`.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.draft")
    known = path.stat().st_mode & 0o777 if path.exists() else None
    first = mode if known is None else known | 0o600  # so nobody reads a draft who may not read the file
    try:
        os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, first))
    except OSError as error:
        error.filename = str(path)  # not the draft's, which nobody asked for
        raise
    try:
        yield draft
        if known is not None:
            draft.chmod(known)
        sync(draft)
        draft.replace(path)
        sync(path.parent)
    except OSError as error:
        error.filename = error.filename or str(path)
        raise
    finally:
        draft.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Force a file's content to the disk, or a folder's entries where its file system can do that."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT or not path.is_dir():
            raise
    finally:
        os.close(descriptor)


def stamp(path: Path) -> tuple[int, int] | None:
    """What changes whenever a file is replaced: its inode and its time; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def content_key(*parts: Any) -> str:  # Any: whatever the json module can write
    """A short key (16 hexadecimal digits) of JSON-able parts: equal parts, equal key, on any machine."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@contextmanager
def lock(path: Path, purpose: str, *, wait: bool = False) -> Iterator[None]:
    """Hold `path` exclusively for this process; the kernel lets go of it when the process dies.

    purpose: what the holder does, shown to whoever comes second; empty writes nothing, as where the disk
    may be full.
    Raises BusyError at once when another process holds it, unless `wait`, and OSError that names it on a
    full disk, or on one that knows no locks.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise BusyError(
                f"{path}: held by {_word_of(file)}; wait for it to end, or stop that process"
            ) from None
        except OSError as error:
            error.filename = str(path)
            raise
        file.truncate(0)  # what a holder says that was killed
        if purpose:
            _sign(file, path, purpose)
        try:
            yield
        finally:
            file.truncate(0)


def _sign(file: TextIO, path: Path, purpose: str) -> None:
    since = datetime.now(UTC).isoformat(timespec="seconds")
    word = f"{purpose} (process {os.getpid()} on {socket.gethostname()}, since {since})"
    try:
        os.write(file.fileno(), word.encode())  # what a buffer held would fail once more when it is closed
    except OSError as error:
        error.filename = str(path)
        raise


def holder(path: Path) -> str | None:
    """Who holds a lock, in its own words; None when nobody does."""
    if not path.exists():
        return None
    with path.open(encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _word_of(file)
    return None


def _word_of(file: TextIO) -> str:
    file.seek(0)
    return file.read().strip() or "another process"
