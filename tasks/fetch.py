"""One large remote file to disk: in pieces, a few at once, and on from where it broke off.

Knows fsspec and ranges of bytes. Knows nothing about what is in the file.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

import httpx

from pawloop import durable

T = TypeVar("T")
Again = Callable[[Callable[[], Any]], Any]

PIECE_BYTES: Final = 8 * 2**20
_AT_ONCE: Final = 4


def fetch(files: Any, path: str, target: Path, info: dict[str, Any], again: Again) -> None:
    """Put the file at `path` of a file system to `target`, whole or not at all.

    info: what the file system says of it. again: how often an action is tried. What came before the network
    broke stays beside `target`, and the next call begins there. Raises OSError and what `again` lets through.
    """
    size = info.get("size")
    if not isinstance(size, int) or not _gives_ranges(files, path):
        with durable.aside(target) as draft:
            again(lambda: files.get_file(path, str(draft)))
        return
    part = target.with_name(f".{target.name}.part")
    with part.open("ab") as file:
        for piece in _pieces(files, path, file.tell(), size, again):
            file.write(piece)
            file.flush()
    if part.stat().st_size != size:
        part.unlink()
        raise OSError(f"what came is not the {size} bytes that were announced; try again")
    durable.sync(part)
    part.replace(target)
    durable.sync(target.parent)


def _pieces(files: Any, path: str, start: int, size: int, again: Again) -> Iterator[bytes]:
    """The bytes from `start` on, in order, a few pieces ahead of whoever writes them."""

    def piece(first: int) -> bytes:
        last = min(first + PIECE_BYTES, size)

        def read() -> bytes:
            content: bytes = files.cat_file(path, start=first, end=last)
            if len(content) != last - first:
                raise OSError(f"{len(content)} bytes came where {last - first} were asked for")
            return content

        found: bytes = again(read)
        return found

    starts = iter(range(start, size, PIECE_BYTES))
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        coming = [pool.submit(piece, first) for first in itertools.islice(starts, _AT_ONCE)]
        while coming:
            yield coming.pop(0).result()
            coming += [pool.submit(piece, first) for first in itertools.islice(starts, 1)]


def _gives_ranges(files: Any, path: str) -> bool:
    """Whether pieces can be asked for: every object store gives them, a web server says so when asked."""
    protocols = (files.protocol,) if isinstance(files.protocol, str) else files.protocol
    if "http" not in protocols:
        return True
    try:
        with httpx.stream("GET", path, headers={"Range": "bytes=0-0"}, follow_redirects=True) as answer:
            return answer.status_code == httpx.codes.PARTIAL_CONTENT
    except httpx.HTTPError:
        return False  # the whole file is asked for, and what is wrong is told
