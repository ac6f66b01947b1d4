"""The store's own photos: what came from archives and networks, without the places where people live.

Knows `<store>/photos/`. Knows nothing about sources.
"""

from __future__ import annotations

import hashlib
import os
import uuid
from pathlib import Path
from typing import Final

from tasks.layout import PHOTO_SUFFIXES
from tasks.place import KEPT_IN, location_of
from tasks.tags import without_private_tags

_STARTS: Final = {
    b"\xff\xd8": ".jpg",
    b"\x89PNG": ".png",
    b"RIFF": ".webp",
    b"GIF8": ".gif",
    b"BM": ".bmp",
    b"II*\0": ".tif",
    b"MM\0*": ".tif",
}


def keep(content: bytes, id: str, name: str, store: Path) -> tuple[str, str]:
    """Put a photo into the store unless it is there; returns its location and the hash of its bytes there.

    name: what its source calls it, perhaps with a query behind it.

    Location and camera tags are removed without touching pixels; what cannot be parsed stays as it came.
    """
    path = store / KEPT_IN / id[:2] / f"{id}{suffix_of(name, content)}"
    kept = without_private_tags(content)
    stored = hashlib.sha256(kept).hexdigest() if kept is not content else id
    if not (path.exists() and path.stat().st_size == len(kept)):
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}.draft")  # another thread may keep it, too
        try:
            draft.write_bytes(kept)
            draft.replace(path)  # no sync: readers check the hash, and a lost file is imported again
        finally:
            draft.unlink(missing_ok=True)  # of what the disk had no room for
    return location_of(path, store), stored


def suffix_of(name: str, content: bytes) -> str:
    """What a photo's file should end in: as its name does, else by its first bytes."""
    suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122  (a name in an archive is no path here)
    if suffix in PHOTO_SUFFIXES:
        return suffix
    if content[4:8] == b"ftyp":
        return ".avif" if content[8:12] in (b"avif", b"avis") else ".heic"
    return next((suffix for start, suffix in _STARTS.items() if content.startswith(start)), "")
