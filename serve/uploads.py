"""From a request's body to the photos in it: raw bytes, multipart or JSON with base64.

Knows HTTP's ways of sending files, and their limits. Knows nothing about what is in a photo.
"""

from __future__ import annotations

import asyncio
import binascii
import json
import re
from dataclasses import dataclass
from typing import Any, Final

from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from pawloop.errors import PhotoError, PhotoFormatError
from pawloop.settings import Settings

MAX_PHOTOS: Final = 1000
# curl sends --data-binary under the name of a form, and a form without files is of no use here.
_RAW: Final = ("application/octet-stream", "application/x-www-form-urlencoded")
_PARSED_ON_THE_LOOP_BYTES: Final = 1 << 18  # about a millisecond; more is parsed on a thread of its own

_BOUNDARY = re.compile(r'boundary=(?:"([^"]{1,200})"|([^\s;,]{1,200}))', re.IGNORECASE)
_FILE_PART = re.compile(
    rb'^content-disposition:[^\r\n]*;\s*filename\*?=|^content-type:\s*(?:image/|application/octet-stream)',
    re.IGNORECASE | re.MULTILINE,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Upload:
    """The photos of one request, in the order sent; an error stands where one could not be read.

    is_list: whether the answer is a list, too.
    """

    photos: list[bytes | PhotoError]
    is_list: bool


async def read(request: Request, settings: Settings) -> Upload:
    """The photos in a request's body. Raises HTTPException for what HTTP has a status for."""
    content_type = request.headers.get("content-type", "")
    kind = content_type.partition(";")[0].strip().lower()
    if not kind or kind.startswith("image/") or kind in _RAW:
        return Upload([await body(request, settings)], is_list=False)
    if kind == "multipart/form-data":
        return await _parsed(_from_multipart, await body(request, settings), content_type)
    if kind == "application/json":
        return await _parsed(_from_json, await body(request, settings), content_type)
    raise HTTPException(
        415,
        f'cannot read "{kind}"; send a photo as it is (image/*), files as multipart/form-data, '
        'or application/json with {"image": base64}',
    )


async def body(request: Request, settings: Settings) -> bytes:
    """The whole body, its size and time limited while it arrives.

    Raises HTTPException 413 past `max_bytes`, 408 past `upload_timeout_s`, ClientDisconnect when the
    client leaves first.
    """
    limit = settings.max_bytes
    announced = request.headers.get("content-length", "0")
    if announced.isdecimal() and int(announced) > limit:
        raise _too_large(limit)
    try:
        async with asyncio.timeout(settings.upload_timeout_s):
            return await _received(request, limit)
    except TimeoutError:
        raise HTTPException(
            408, f"the body did not arrive within {settings.upload_timeout_s:g} s", {"Connection": "close"}
        ) from None


async def _received(request: Request, limit: int) -> bytes:
    message = await request.receive()
    if message["type"] == "http.request" and not message.get("more_body"):
        content: bytes = message.get("body", b"")
        if len(content) > limit:
            raise _too_large(limit)
        return content
    pieces, size = [], 0
    while True:
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        pieces.append(message.get("body", b""))
        size += len(pieces[-1])
        if size > limit:
            raise _too_large(limit)
        if not message.get("more_body"):
            return b"".join(pieces)
        message = await request.receive()


def _too_large(limit: int) -> HTTPException:
    # What is still on its way would be taken for the next request.
    return HTTPException(413, f"the body is larger than {limit:,} bytes", {"Connection": "close"})


async def _parsed(parse: Any, content: bytes, content_type: str) -> Upload:  # Any: one of the two below
    if len(content) <= _PARSED_ON_THE_LOOP_BYTES:
        upload: Upload = parse(content, content_type)
    else:
        upload = await asyncio.to_thread(parse, content, content_type)
    if len(upload.photos) > MAX_PHOTOS:
        raise HTTPException(413, f"{len(upload.photos)} photos in one request, {MAX_PHOTOS} are allowed")
    return upload


def _from_multipart(content: bytes, content_type: str) -> Upload:
    """Every file part (RFC 7578), whatever its name.

    The whole body is in memory already, so one split in C does what a streaming parser does in Python.
    """
    found = _BOUNDARY.search(content_type)
    if not found:
        raise HTTPException(400, "multipart/form-data without a boundary in its content type")
    boundary = b"--" + (found[1] or found[2]).encode("latin-1")
    if boundary not in content:
        raise HTTPException(400, "the body does not hold the boundary that its content type names")
    parts = (b"\r\n" + content).split(b"\r\n" + boundary)
    if parts[-1][:2] != b"--":
        raise HTTPException(400, "the multipart body ends before its last boundary; send it whole")
    photos: list[bytes | PhotoError] = []
    for part in parts[1:-1]:
        head, _, file = part.partition(b"\r\n\r\n")
        if _FILE_PART.search(head):
            photos.append(file)
    if not photos:
        raise HTTPException(422, "the form holds no file; add the photo as a file part of any name")
    return Upload(photos, is_list=len(photos) > 1)


def _from_json(content: bytes, _: str) -> Upload:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, f"the body is not JSON: {error}") from None
    if isinstance(value, dict):
        match value:
            case {"image": str(text)}:
                return Upload([_from_base64(text)], is_list=False)
            case {"images": [*texts]} if texts and all(isinstance(text, str) for text in texts):
                return Upload([_from_base64(text) for text in texts], is_list=True)
    raise HTTPException(422, 'send {"image": base64} or {"images": [base64, …]}, one photo or more')


def _from_base64(text: str) -> bytes | PhotoError:
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        return binascii.a2b_base64(text)
    except ValueError as error:
        return PhotoFormatError(f"the photo is not base64: {error}")
