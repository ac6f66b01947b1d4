"""Erases private tags where they stand, in formats whose parts point at one another: TIFF, AVIF, HEIC, GIF.

Nothing moves, so no pixel is touched: a tag's bytes become zeros. Knows how these formats are laid out.
Raises ValueError, IndexError or struct.error for what is laid out otherwise.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

# What a TIFF keeps: how its pixels are laid out, and its colour profile. All else is private.
_TIFF_KEPT: Final = frozenset(
    (
        *range(254, 260), 262, 266, 273, 274, *range(277, 285), *range(290, 294), 296, 297, 301,
        *range(317, 326), *range(330, 334), *range(338, 348), *range(512, 522), *range(529, 533),
        32995, 32996, 32997, 32998, 34675,
    )
)  # fmt: skip
_TIFF_SIZES: Final = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_POINTERS: Final = (34665, 34853, 40965)  # to further lists of tags: EXIF, GPS, interoperability
_SUB_LISTS: Final = 330  # where lists of further pictures stand, such as smaller ones
_MOST_LISTS: Final = 1000
_NO_EXIF: Final = b"\0\0\0\0" + b"MM\0*" + b"\0\0\0\x08" + b"\0\0" + b"\0\0\0\0"  # an empty list of tags
_GIF_KEPT: Final = (b"NETSCAPE2.0", b"ANIMEXTS1.0", b"ICCRGBG1012")


def tiff(content: bytes) -> bytes:
    """A TIFF without tags that say anything but how to show it."""
    order = {b"II*\0": "<", b"MM\0*": ">"}[content[:4]]
    clean = bytearray(content)
    places, seen = list(struct.unpack_from(f"{order}I", content, 4)), {0}
    while places:
        place = places.pop()
        if place in seen:
            continue
        seen.add(place)
        if len(seen) > _MOST_LISTS:
            raise ValueError("its lists of tags have no end")
        places += _tags_erased(clean, place, order, is_private=False)
    return bytes(clean)


def _tags_erased(clean: bytearray, place: int, order: str, is_private: bool) -> list[int]:
    """Erase a list's private tags; returns where the next list stands, and those below this one."""
    (count,) = struct.unpack_from(f"{order}H", clean, place)
    entries, kept = place + 2, []
    (following,) = struct.unpack_from(f"{order}I", clean, entries + 12 * count)
    lists = [following]
    for number in range(count):
        at = entries + 12 * number
        entry = bytes(clean[at : at + 12])
        tag, kind, length, value = struct.unpack(f"{order}HHII", entry)
        if tag in _TIFF_KEPT and not is_private:
            kept.append(entry)
            if tag == _SUB_LISTS:
                where = value if length > 1 else at + 8
                lists += struct.unpack_from(f"{order}{min(length, _MOST_LISTS)}I", clean, where)
            continue
        if tag in _POINTERS and not is_private:
            _tags_erased(clean, value, order, is_private=True)
        size = _TIFF_SIZES.get(kind, 1) * length
        if size > 4:
            _filled(clean, value, size)
    table = b"".join(kept) + struct.pack(f"{order}I", following)
    clean[entries : entries + 12 * count + 4] = table.ljust(12 * count + 4, b"\0")
    struct.pack_into(f"{order}H", clean, place, len(kept))
    return lists


def boxes(content: bytes) -> bytes:
    """An AVIF or HEIC whose EXIF and XMP items are all zeros; how to turn it stands elsewhere and stays."""
    clean = bytearray(content)
    meta = next((start, end) for kind, start, end in _boxes(content, 0, len(content)) if kind == b"meta")
    inner = {kind: (start, end) for kind, start, end in _boxes(content, meta[0] + 4, meta[1])}
    private = dict(_private_items(content, *inner[b"iinf"]))
    base = inner.get(b"idat", (0, 0))[0]
    for item, is_inside, start, length in _extents(content, inner[b"iloc"][0]):
        if item in private:
            _filled(clean, start + (base if is_inside else 0), length, private[item])
    return bytes(clean)


def _boxes(content: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and end of what each box holds."""
    while start + 8 <= end:
        size, kind = struct.unpack_from(">I4s", content, start)
        head = 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", content, start + 8)
            head = 16
        size = size or end - start
        if size < head or start + size > end:
            raise ValueError("a box that is longer than what holds it")
        yield kind, start + head, start + size
        start += size


def _private_items(content: bytes, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    """Number of each EXIF and XMP item, and what shall stand there instead."""
    is_long = content[start] > 0
    for _, at, _ in _boxes(content, start + (8 if is_long else 6), end):
        version = content[at]
        number, kind_at = struct.unpack_from(">I", content, at + 4)[0], at + 10
        if version == 2:
            number, kind_at = struct.unpack_from(">H", content, at + 4)[0], at + 8
        kind = content[kind_at : kind_at + 4]
        if kind in (b"Exif", b"mime"):
            yield number, _NO_EXIF if kind == b"Exif" else b""


def _extents(content: bytes, at: int) -> Iterator[tuple[int, bool, int, int]]:
    """Item, whether it lies in the list's own box, start and length of every piece of every item."""
    version, sizes = content[at], int.from_bytes(content[at + 4 : at + 6])
    offset_size, length_size, base_size = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15
    index_size = sizes & 15 if version else 0
    at += 6

    def number(size: int) -> int:
        nonlocal at
        at += size
        return int.from_bytes(content[at - size : at])

    wide = 4 if version == 2 else 2
    for _ in range(number(wide)):
        item = number(wide)
        is_inside = version > 0 and number(2) & 15 == 1
        number(2)
        base = number(base_size)
        for _ in range(number(2)):
            number(index_size)
            start = base + number(offset_size)
            yield item, is_inside, start, number(length_size)


def gif(content: bytes) -> bytes:
    """A GIF without comments and other programs' notes."""
    at = 13 + (3 << (content[10] & 7) + 1 if content[10] & 0x80 else 0)
    parts = [content[:at]]
    while content[at] != 0x3B:
        start = at
        if content[at] == 0x2C:
            at += 10 + (3 << (content[at + 9] & 7) + 1 if content[at + 9] & 0x80 else 0) + 1
            is_kept = True
        else:
            kind, name = content[at + 1], content[at + 3 : at + 14]
            is_kept = kind == 0xF9 or (kind == 0xFF and name in _GIF_KEPT)
            at += 2
        while content[at]:
            at += content[at] + 1
        at += 1
        if is_kept:
            parts.append(content[start:at])
    return b"".join(parts) + b"\x3b"


def _filled(clean: bytearray, start: int, length: int, instead: bytes = b"") -> None:
    if start < 8 or start + length > len(clean):
        raise ValueError("a tag that points out of the file")
    clean[start : start + length] = instead[:length].ljust(length, b"\0")
