"""Photos behind any fsspec URL: a folder per class, or an archive that is fetched first.

Knows networks' moods: few reads at once, tries again, goes on where it stopped. Knows nothing about
layouts or archives.
"""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Final, TypeVar
from urllib.parse import unquote, urlsplit

import fsspec
import httpx
from aiohttp import ClientError, ClientTimeout, InvalidURL

from pawloop import durable
from pawloop.addresses import public, public_text
from pawloop.errors import SourceError, UnreachableSourceError
from tasks import archive
from tasks.fetch import fetch
from tasks.layout import folders, placed
from tasks.offer import Listing, Offer
from tasks.store import store_errors

T = TypeVar("T")

READERS: Final = 8
NETWORKS: Final = ("http", "https", "s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "hf")
_WAITS_S: Final = (0.5, 2.0, 8.0)
_NOT_THERE: Final = (404, 410)
_BUSY: Final = (408, 429)
# aiohttp's own five minutes are for all of an answer, which a large archive takes longer for.
_PATIENCE: Final = ClientTimeout(total=None, sock_connect=30, sock_read=60)
_OUR_DISK: Final = (errno.ENOSPC, errno.EROFS, errno.EDQUOT)
# What file systems call a file's version; without any of them a file is read again each time.
_VERSION_KEYS: Final = (
    "ETag",
    "etag",
    "md5",
    "md5Hash",
    "generation",
    "Last-Modified",
    "LastModified",
    "last_modified",
    "mtime",
    "updated",
    "created",
)


def listing(source: str, classes: Sequence[str], _store: Path) -> Listing:
    """The photos below a URL. Raises SourceError when it cannot be reached or holds nothing."""
    with _translated(source):
        files, root = _opened(source)
        found = again(lambda: files.find(root, detail=True))
    # A web server's folders are addresses, where a space is %20.
    plain: Callable[[str], str] = unquote if source.startswith(("http://", "https://")) else str
    names = {plain(path.removeprefix(root).lstrip("/")): info for path, info in sorted(found.items())}
    if not names:
        raise SourceError(
            f"{public(source)}: nothing lies there; check the address, or put photos there, one "
            "folder a class"
        )
    photos, notes = placed(names, classes)
    offers = (
        Offer(
            photo.name,
            photo.label,
            partial(_read, files, str(names[photo.name]["name"])),
            version(names[photo.name]),
            side=photo.side,
            size=names[photo.name].get("size"),
        )
        for photo in photos
    )
    return Listing(source, folders(names), len(photos), offers, notes, readers=READERS)


def fetched_archive(source: str, classes: Sequence[str], store: Path) -> Listing:
    """The photos in an archive behind a URL, which is fetched into the store unless it is there unchanged."""
    found = archive.listing(str(fetched(source, store)), classes, store)
    return replace(found, place=source)  # of each version of it, so that what is known of one makes room


def fetched(source: str, store: Path) -> Path:
    """A file behind a URL, in the store; fetched again only when it changed there.

    A download that broke off goes on where it stopped, in this run or the next, where its version is known
    and pieces of it can be asked for. Of its versions before, the latest stays: somebody may be reading it.
    """
    with _translated(source):
        files, path = _opened(source)
        info = again(lambda: files.info(path))
    mark = version(info)
    target = (
        store
        / "cache"
        / "fetched"
        / durable.content_key(source)
        / durable.content_key(mark)
        / PurePosixPath(urlsplit(source).path).name
    )
    if mark is None or not target.exists():
        with store_errors(store):
            target.parent.mkdir(parents=True, exist_ok=True)
        lock = durable.lock(target.with_name(".lock"), f"fetching {target.name}", wait=True)
        with store_errors(store), lock, _translated(source):
            if mark is None or not target.exists():
                fetch(files, path, target, info if mark else {}, again)
        _forget_older(target.parent)
    with store_errors(store):
        os.utime(target.parent.parent)  # `pawloop prune` leaves what is used
    return target


def _forget_older(kept: Path) -> None:
    others = [one for one in kept.parent.iterdir() if one != kept]
    with suppress(FileNotFoundError):  # another run forgets them, too
        for old in sorted(others, key=lambda one: one.stat().st_mtime)[:-1]:
            shutil.rmtree(old, ignore_errors=True)


def _opened(address: str) -> tuple[Any, str]:  # Any: fsspec has no types
    """The file system of an address, and the path there. Raises ValueError for what is no address."""
    of_web = {"client_kwargs": {"timeout": _PATIENCE}} if address.startswith(("http://", "https://")) else {}
    found: tuple[Any, str] = fsspec.core.url_to_fs(address, **of_web)
    return found


def require_known(places: Iterable[str], source: str) -> None:
    """Raise SourceError, which names `source`, for an address of a kind that cannot be read here."""
    for scheme in sorted({place.partition("://")[0] for place in places if "://" in place}):
        with _translated(source):
            fsspec.get_filesystem_class(scheme.rpartition("::")[2])


def read(url: str) -> bytes:
    """The bytes behind a URL. Raises OSError, also for what is no address."""
    try:
        files, path = _opened(url)
        return _read(files, path)
    except ValueError as error:
        raise OSError(f"no address: {error}") from None


def again(action: Callable[[], T]) -> T:
    """What `action` gives, tried up to four times with longer and longer waits where a network fails."""
    for wait_s in _WAITS_S:
        try:
            return _plainly(action)
        except (OSError, ClientError) as error:
            if _is_final(error):
                raise
            time.sleep(wait_s)
    return _plainly(action)


def _is_final(error: Exception) -> bool:
    """Whether the same would come of asking again: nothing is there, or nothing for us."""
    if isinstance(error, FileNotFoundError | PermissionError | InvalidURL):
        return True
    status = getattr(error, "status", 0)
    return httpx.codes.is_client_error(status) and status not in _BUSY


def _plainly(action: Callable[[], T]) -> T:
    """What `action` gives. fsspec says of a web server that does not answer that there is no such file."""
    try:
        return action()
    except FileNotFoundError as error:
        cause = error.__cause__
        if isinstance(cause, ClientError) and getattr(cause, "status", None) not in _NOT_THERE:
            raise cause from None
        raise


def version(info: dict[str, Any]) -> str | None:  # Any: each file system has facts of its own
    """What changes when a remote file changes, or None where its file system does not say."""
    marks = {key: str(info[key]) for key in _VERSION_KEYS if info.get(key) is not None}
    return durable.content_key(marks, info.get("size")) if marks else None


def _read(files: Any, path: str) -> bytes:  # Any: fsspec has no types
    try:
        content: bytes = again(lambda: files.cat_file(path))
    except ClientError as error:
        raise OSError(str(error)) from None
    return content


def _words(error: BaseException) -> str:
    """What an error says, or what it is called: some, as of a time that is over, say nothing."""
    return str(error) or str(error.__cause__ or "") or type(error).__name__


@contextmanager
def _translated(source: str) -> Iterator[None]:
    told = public(source)
    try:
        yield
    except FileNotFoundError:
        raise SourceError(f"{told}: there is nothing at this address; correct [data] sources") from None
    except ImportError as error:
        raise SourceError(f"{told}: {error}; install that package") from None
    except ValueError as error:  # a protocol that fsspec does not know
        raise SourceError(f"{told}: {public_text(str(error))}; correct [data] sources") from None
    except (OSError, ClientError) as error:
        if isinstance(error, OSError) and error.errno in _OUR_DISK:
            raise
        raise UnreachableSourceError(
            f"{told}: cannot be reached: {public_text(_words(error))}; check address, network and rights"
        ) from None
