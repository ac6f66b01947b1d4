"""Where a photo lies, as a manifest says it, and its bytes, checked.

Knows paths and hashes. Imports nothing heavy: every process that reads photos imports it.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Final
from urllib.parse import unquote_to_bytes, urlsplit

from pawloop.errors import DatasetError

KEPT_IN: Final = "photos"  # the store's own photos, below it


def read_photo(store: Path, location: str, stored: str) -> bytes:
    """The bytes at `location` whose SHA-256 is `stored`; callable from any thread or process."""
    path = path_of(location, store)
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123  (half the time of a Path's own)
            content = file.read()
    except FileNotFoundError:
        raise DatasetError(
            f"{path}: this photo has vanished since the dataset was made; put it back, or run again "
            "without it (`[data] copy = true` keeps copies in the store)"
        ) from None
    except OSError as error:
        raise DatasetError(f"{path}: this photo cannot be read: {error.strerror}") from None
    if hashlib.sha256(content).hexdigest() != stored:
        if location.startswith(f"{KEPT_IN}/"):
            raise DatasetError(
                f"{path}: damaged on the disk; delete it and run again: its source is read anew"
            )
        raise DatasetError(
            f"{path}: this photo has changed since the dataset was made; run again to take it as it is now"
        )
    return content


def location_of(path: Path, store: Path) -> str:
    """Where a file lies, as text for a manifest: relative to the store when inside, else absolute.

    A name that is no UTF-8 becomes a `file://` URL, since Parquet holds only UTF-8.
    """
    path = Path(os.path.abspath(path))  # noqa: PTH100  (a link stays what the person named)
    inside = Path(os.path.abspath(store))  # noqa: PTH100
    text = str(path.relative_to(inside) if path.is_relative_to(inside) else path)
    try:
        text.encode()
    except UnicodeEncodeError:
        return path.as_uri()
    return text


def path_of(location: str, store: Path) -> Path:
    """The file behind a manifest's location."""
    if location.startswith("file://"):
        return Path(os.fsdecode(unquote_to_bytes(urlsplit(location).path)))
    return store / location
