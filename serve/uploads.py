"""From a request's body to the photos in it: raw bytes, multipart or JSON with base64.

Knows HTTP's ways of sending files, and their limits. Knows nothing about what is in a photo.
"""

from __future__ import annotations

import asyncio
import binascii
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from pawloop.errors import OverloadedError, PhotoError, PhotoFormatError
from pawloop.settings import Settings
from serve.parsing import parsed
from serve.tensors import MAX_PHOTOS, too_many

if TYPE_CHECKING:  # the parser is imported by the first form
    from python_multipart.multipart import MultipartCallbacks

# It warns of what a client sends behind the last boundary, which is nothing to the log.
logging.getLogger("python_multipart").setLevel(logging.ERROR)

# curl sends --data-binary under the name of a form, and a form without files is of no use here.
_RAW: Final = ("application/octet-stream", "application/x-www-form-urlencoded")
_PARSED_ON_THE_LOOP_BYTES: Final = 1 << 18  # a millisecond, or 60 of very many parts; more goes to a thread

_MAX_PARTS: Final = 2 * MAX_PHOTOS  # a file each, and what a client adds to it
_SMALL_BYTES: Final = 1 << 16
_ARRIVING_BYTES: Final = 256 << 20
_URL_SAFE: Final = bytes.maketrans(b"-_", b"+/")
_FILES: Final = (b"image/", b"application/octet-stream")  # files also where they come without a name


@dataclass(frozen=True, slots=True)
class Upload:
    """The photos of one request, in the order sent; an error stands where one could not be read.

    is_list: whether the answer is a list, too.
    """

    photos: list[bytes | PhotoError]
    is_list: bool


class Arriving:
    """How many bytes of bodies are here that are not whole yet, of all clients together.

    Those of a megabyte at most that take the long way are not counted (see `serve.lane`). Each body has its
    own limit and time, and a connection costs a client nothing: many slow ones would fill the memory.
    """

    def __init__(self, settings: Settings) -> None:
        self.size = 0
        self._most = max(_ARRIVING_BYTES, 2 * settings.max_bytes)

    def came(self, size: int) -> None:
        """Count a piece. Raises OverloadedError past what all may have; it is counted all the same."""
        self.size += size
        if self.size > self._most:
            raise OverloadedError(f"bodies of {self._most:,} bytes are on their way already")

    def gone(self, size: int) -> None:
        """So much became whole, or was forgotten."""
        self.size -= size


async def read(request: Request, settings: Settings) -> Upload:
    """The photos in a request's body. Raises HTTPException for what HTTP has a status for."""
    _refuse_coded(request)
    content_type = request.headers.get("content-type", "")
    if is_raw(content_type):
        return Upload([await body(request, settings)], is_list=False)
    kind = _kind(content_type)
    if kind == "multipart/form-data":
        return await _parsed(_from_multipart, await body(request, settings), content_type)
    if kind == "application/json":
        return await _parsed(_from_json, await body(request, settings), content_type)
    raise HTTPException(
        415,
        f'cannot read "{kind}"; send a photo as it is (image/*), files as multipart/form-data, '
        'or application/json with {"image": base64}',
    )


def is_raw(content_type: str) -> bool:
    """Whether a body of this type is one photo as it is."""
    kind = _kind(content_type)
    return not kind or kind.startswith("image/") or kind in _RAW


async def body(request: Request, settings: Settings, limit: int | None = None) -> bytes:
    """The whole body, its size and time limited while it arrives.

    Raises HTTPException 413 past `limit`, or `max_bytes` where there is none, 408 past `upload_timeout_s`,
    OverloadedError where others send too much, ClientDisconnect when the client leaves first.
    """
    limit = settings.max_bytes if limit is None else limit
    announced = request.headers.get("content-length", "0")
    if announced.isdecimal() and int(announced) > limit:
        raise _too_large(limit, waits="expect" in request.headers)
    try:
        async with asyncio.timeout(settings.upload_timeout_s):
            return await _received(request, limit, request.app.state.live.arriving)
    except TimeoutError:
        raise too_slow(settings.upload_timeout_s) from None


async def small_body(request: Request, settings: Settings) -> bytes:
    """As `body`, of a call without photos: 64 KiB at most, since the event loop reads it, where all wait.

    Raises HTTPException 415 where it is compressed.
    """
    _refuse_coded(request)
    return await body(request, settings, min(_SMALL_BYTES, settings.max_bytes))


def too_slow(limit_s: float) -> HTTPException:
    """The error of a body that took too long."""
    return HTTPException(408, f"the body did not arrive within {limit_s:g} s", {"Connection": "close"})


def _refuse_coded(request: Request) -> None:
    """Raise HTTPException 415 for a body in a coding, such as gzip: photos gain nothing by one."""
    coding = request.headers.get("content-encoding", "identity")
    if coding.strip().lower() != "identity":
        raise HTTPException(
            415,
            f'cannot read a body in the content-encoding "{coding}"; send it as it is',
            {"Accept-Encoding": "identity"},
        )


def _kind(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


async def _received(request: Request, limit: int, arriving: Arriving) -> bytes:
    message = await request.receive()
    if message["type"] == "http.request" and not message.get("more_body"):
        content: bytes = message.get("body", b"")
        if len(content) > limit:
            raise _too_large(limit)
        return content
    pieces, size = [], 0
    try:
        while True:
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            pieces.append(message.get("body", b""))
            size += len(pieces[-1])
            arriving.came(len(pieces[-1]))
            if size > limit:
                raise _too_large(limit)
            if not message.get("more_body"):
                return b"".join(pieces)
            message = await request.receive()
    finally:
        arriving.gone(size)


def _too_large(limit: int, *, waits: bool = False) -> HTTPException:
    """waits: whether the client waits for leave to send the body, which it then will not."""
    # The rest is read and forgotten, in the time that a body has: a client that is still sending when its
    # connection is reset never reads why.
    return HTTPException(
        413, f"the body is larger than {limit:,} bytes", {"Connection": "close"} if waits else None
    )


async def _parsed(parse: Any, content: bytes, content_type: str) -> Upload:  # Any: one of the two below
    if len(content) <= _PARSED_ON_THE_LOOP_BYTES:
        upload: Upload = parse(content, content_type)
        return upload
    return await asyncio.to_thread(parse, content, content_type)


def _from_multipart(content: bytes, content_type: str) -> Upload:
    """Every file part (RFC 7578), whatever its name."""
    from python_multipart.exceptions import FormParserError
    from python_multipart.multipart import MultipartParser, parse_options_header

    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise HTTPException(400, "multipart/form-data without a boundary in its content type")
    form = _Form()
    try:
        MultipartParser(boundary, form.callbacks()).write(content)
    except FormParserError as error:
        raise HTTPException(400, f"the multipart body is broken: {error}") from None
    if not form.is_whole:
        raise HTTPException(400, "the multipart body ends before its last boundary; send it whole")
    if not form.files:
        raise HTTPException(422, "the form holds no file; add the photo as a file part of any name")
    return Upload(form.files, is_list=len(form.files) > 1)


class _Form:
    """Collects the files of a form, as python-multipart meets them."""

    def __init__(self) -> None:
        self.files: list[bytes | PhotoError] = []
        self.is_whole = False
        self._count = 0  # of all parts
        self._name = self._value = b""
        self._is_file = False
        self._pieces: list[bytes] = []

    def callbacks(self) -> MultipartCallbacks:
        """What python-multipart is to call."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._add_name,
            "on_header_value": self._add_value,
            "on_header_end": self._end_header,
            "on_part_data": lambda data, start, end: self._pieces.append(data[start:end]),
            "on_part_end": self._end,
            "on_end": self._finish,
        }

    def _begin(self) -> None:
        self._count += 1
        if self._count > _MAX_PARTS:
            raise HTTPException(413, f"the form has more than {_MAX_PARTS:,} parts")
        self._is_file, self._pieces = False, []

    def _add_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        from python_multipart.multipart import parse_options_header

        name, value = self._name.lower(), self._value.lower()
        if name == b"content-disposition":
            # RFC 7578 forbids filename*, so the parser passes it over; some clients send it all the same.
            self._is_file |= b"filename" in parse_options_header(value)[1] or b"filename*=" in value
        elif name == b"content-type":
            self._is_file |= value.startswith(_FILES)
        self._name = self._value = b""

    def _end(self) -> None:
        if self._is_file:
            if len(self.files) == MAX_PHOTOS:
                raise too_many()
            self.files.append(b"".join(self._pieces))

    def _finish(self) -> None:
        self.is_whole = True


def _from_json(content: bytes, _: str) -> Upload:
    value = parsed(content, "the body")
    if isinstance(value, dict):
        match value:
            case {"image": str(text)}:
                return Upload([_from_base64(text)], is_list=False)
            case {"images": [*texts]} if len(texts) > MAX_PHOTOS:
                raise too_many()
            case {"images": [*texts]} if texts and all(isinstance(text, str) for text in texts):
                return Upload([_from_base64(text) for text in texts], is_list=True)
    raise HTTPException(422, 'send {"image": base64} or {"images": [base64, …]}, one photo or more')


def _from_base64(text: str) -> bytes | PhotoError:
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        plain = text.encode("ascii").translate(_URL_SAFE, delete=b" \t\r\n")
        plain += b"=" * (-len(plain) % 4)  # which the URL-safe kind goes without (RFC 4648, section 5)
        return binascii.a2b_base64(plain, strict_mode=True)
    except ValueError as error:
        return PhotoFormatError(f"the photo is not base64: {error}")
