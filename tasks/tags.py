"""Takes a photo's private tags out without touching its pixels: places, cameras, owners, comments.

Knows how JPEG, PNG and WebP are cut into segments (the other formats: see `erase`). Orientation and colour
profile stay. What is damaged beyond reading is given back as it came: nobody can read its tags either.
"""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from PIL import Image

from pawloop.errors import PhotoError
from pawloop.image import opened
from tasks import erase

_ORIENTATION: Final = 0x0112
_DAMAGE: Final = (
    OSError, ValueError, SyntaxError, LookupError, TypeError, EOFError, StopIteration, struct.error
)  # fmt: skip

_JPEG_START: Final = b"\xff\xd8"
_END_OF_PICTURE: Final = 0xD9
_MARKER: Final = re.compile(
    rb"\xff[^\x00\xd0-\xd7\xff]"
)  # among pixels: neither a stuffed byte nor a restart
_PNG_START: Final = b"\x89PNG\r\n\x1a\n"
# What decides how a PNG or WebP looks; any other chunk may say who made it, such as a C2PA manifest.
_PNG_KEPT: Final = frozenset(
    (
        b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"cICP", b"mDCV",
        b"cLLI", b"sBIT", b"bKGD", b"pHYs", b"acTL", b"fcTL", b"fdAT",
    )
)  # fmt: skip
_WEBP_KEPT: Final = frozenset((b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF", b"ICCP"))
_EXIF_FLAG, _XMP_FLAG = 0x08, 0x04  # of WebP's VP8X header


def without_private_tags(content: bytes) -> bytes:
    """The photo without location and camera tags; the same object where there is nothing to remove.

    Raises PhotoError for a whole photo whose tags cannot be removed without touching its pixels.
    """
    try:
        if content.startswith(_JPEG_START):
            clean = _clean_jpeg(content)
        elif content.startswith(_PNG_START):
            clean = _clean_png(content)
        elif content.startswith(b"RIFF") and content[8:12] == b"WEBP":
            clean = _clean_webp(content)
        elif content[:4] in (b"II*\0", b"MM\0*"):
            clean = erase.tiff(content)
        elif content[4:8] == b"ftyp":
            clean = erase.boxes(content)
        elif content.startswith(b"GIF8"):
            clean = erase.gif(content)
        elif content.startswith(b"BM"):
            return content  # a BMP has no tags
        else:
            raise ValueError("a format whose tags are not known here, such as BigTIFF")
    except _DAMAGE:
        return _harmless(content)
    return content if clean == content else clean


def _harmless(content: bytes) -> bytes:
    """What could not be cleaned, if nobody can read its tags; curating will say what is wrong with it."""
    try:
        with opened(content) as photo:
            says_something = bool(photo.getexif() or photo.info.get("xmp"))
            with suppress(*_DAMAGE):  # its pixels may be cut off
                photo.load()
            says_something |= bool(photo.getexif() or photo.info.get("xmp"))
    except (PhotoError, *_DAMAGE):
        return content
    if says_something:
        raise PhotoError(
            "its private tags cannot be removed without touching its pixels; save it as JPEG or PNG"
        )
    return content


def _clean_jpeg(content: bytes) -> bytes:
    exif = _orientation_only(content, needs_pixels=False)
    parts = [_JPEG_START]
    position = 2
    while content[position + 1] != 0xDA:  # start of scan: pixels from here on
        marker = content[position + 1]
        if content[position] != 0xFF or marker == 0xFF:
            raise ValueError("not a marker")
        (length,) = struct.unpack_from(">H", content, position + 2)
        segment = content[position : position + 2 + length]
        if _stays_in_jpeg(marker, segment[4:]):
            parts.append(segment)
        position += 2 + length
        if exif and len(parts) == 2:  # behind JFIF's own header, where readers look for it
            parts.append(b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif)
            exif = b""
    return b"".join(parts) + b"".join(_scans(content, position))


def _stays_in_jpeg(marker: int, body: bytes) -> bool:
    if marker == 0xE0:
        return body.startswith(b"JFIF\0")
    if marker == 0xE2:
        return body.startswith(b"ICC_PROFILE\0")
    # 0xEE is Adobe's: without it the colours change. 0xFE is a comment.
    return marker == 0xEE or not (0xE0 <= marker <= 0xEF or marker == 0xFE)


def _scans(content: bytes, position: int) -> Iterator[bytes]:
    """Pixels, from the first scan's start to where the picture ends, without tags between the scans.

    Behind it phones keep films and second pictures with tags of their own.
    """
    while (kind := content[position + 1]) != _END_OF_PICTURE:
        (length,) = struct.unpack_from(">H", content, position + 2)
        marker = _MARKER.search(content, position + 2 + length)
        end = len(content) if marker is None else marker.start()
        if _stays_in_jpeg(kind, content[position + 4 : position + 2 + length]):
            yield content[position:end]
        if marker is None:
            return
        position = end
    yield content[position : position + 2]


def _clean_png(content: bytes) -> bytes:
    try:
        exif = _orientation_only(content, needs_pixels=True).removeprefix(b"Exif\0\0")
    except _DAMAGE:  # nobody will see it, so it need not be turned; what can be read of its tags goes
        exif = b""
    parts = [_PNG_START]
    for kind, chunk in _png_chunks(content):
        if kind == b"IDAT" and exif:
            body = b"eXIf" + exif
            parts.append(struct.pack(">I", len(exif)) + body + struct.pack(">I", zlib.crc32(body)))
            exif = b""
        if kind in _PNG_KEPT:
            parts.append(chunk)
    return b"".join(parts)


def _png_chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    position = len(_PNG_START)
    kind = b""
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", content, position)
        end = position + 12 + length
        yield kind, content[position:end]
        if end > len(content):
            return  # cut off
        position = end


def _clean_webp(content: bytes) -> bytes:
    exif = _orientation_only(content, needs_pixels=False).removeprefix(b"Exif\0\0")
    parts = []
    for kind, chunk in _webp_chunks(content):
        if kind == b"VP8X":
            flags = chunk[8] & ~(_EXIF_FLAG | _XMP_FLAG) | (_EXIF_FLAG if exif else 0)
            parts.append(chunk[:8] + bytes([flags]) + chunk[9:])
        elif kind in _WEBP_KEPT:
            parts.append(chunk)
    if exif:
        parts.append(b"EXIF" + struct.pack("<I", len(exif)) + exif + b"\0" * (len(exif) % 2))
    body = b"WEBP" + b"".join(parts)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _webp_chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    position, end_of_file = 12, 8 + struct.unpack_from("<I", content, 4)[0]
    if end_of_file > len(content):
        raise EOFError("cut off")
    while position < end_of_file:
        kind, length = struct.unpack_from("<4sI", content, position)
        end = position + 8 + length + length % 2
        yield kind, content[position:end]
        position = end


def _orientation_only(content: bytes, needs_pixels: bool) -> bytes:
    """EXIF that says nothing but how to turn the photo; empty for one that stands upright.

    needs_pixels: whether the format may keep its tags behind the pixels.
    """
    with Image.open(io.BytesIO(content), formats=("JPEG", "PNG", "WEBP")) as photo:
        if needs_pixels:
            photo.load()
        orientation = photo.getexif().get(_ORIENTATION, 1)
    if orientation not in range(2, 9):
        return b""
    tags = Image.Exif()
    tags[_ORIENTATION] = orientation
    return tags.tobytes()
