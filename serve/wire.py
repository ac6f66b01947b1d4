"""Answers as they stand on the wire, where no framework writes them.

Knows HTTP/1.1's form. Knows nothing about connections.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from pawloop.errors import OverloadedError
from serve import problems

_CLOSE: Final = b"connection: close\r\n"


def whole(
    status: int, common: Iterable[tuple[bytes, bytes]], headers: bytes, body: bytes, *, closes: bool
) -> bytes:
    """An answer. common: headers of every answer. headers: its own lines. closes: whether it is the last."""
    lines = b"".join([b"%s: %s\r\n" % header for header in common])
    closing = _CLOSE if closes and b"connection: close" not in headers else b""
    length = b"content-length: %d\r\n\r\n" % len(body)
    return b"".join((STATUS_LINE[status], lines, headers, closing, length, body))


def error(path: str, raised: BaseException) -> tuple[int, bytes, bytes]:
    """Status, own header lines and body of the answer that tells of an error, as `path` tells errors."""
    if isinstance(raised, OverloadedError):
        return _refusal(path, str(raised), math.ceil(raised.retry_after_s))
    return _rendered(path, raised)


@lru_cache(maxsize=256)
def _refusal(path: str, message: str, retry_after_s: int) -> tuple[int, bytes, bytes]:
    """As `_rendered`: under too much load the same words are said hundreds of times a second."""
    return _rendered(path, OverloadedError(message, retry_after_s))


def _rendered(path: str, raised: BaseException) -> tuple[int, bytes, bytes]:
    response = problems.response(raised, {"path": path})
    headers = [header for header in response.raw_headers if header[0] != b"content-length"]
    told = b"".join(b"%s: %s\r\n" % header for header in headers)
    return response.status_code, told, bytes(response.body)
