"""What a line of `[data] sources` names: one table from its form to whoever can list its photos.

Knows which room reads which form. Knows nothing about hashes or the store's tables.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from tasks import archive, folder, labels, pets, photo_list, remote, sample_source
from tasks.offer import Listing
from tasks.place import path_of

Opener = Callable[[str, Sequence[str], Path], Listing]

_ARCHIVES: Final = archive.ZIPS + archive.TARS
NAMED: Final[dict[str, Opener]] = {
    "sample": sample_source.listing,
    "journal": labels.listing,
    "oxford-iiit-pet": pets.listing,
}


def listing(source: str, classes: Sequence[str], store: Path) -> Listing:
    """The photos that a source offers. Raises SourceError that says what is wrong with it."""
    plain = _local(source)
    return _opener(plain)(plain, classes, store)


def class_names(source: str, store: Path) -> list[str]:
    """The classes that a source's folders or labels name, for a problem file that is yet to be written."""
    return listing(source, (), store).classes


def _opener(source: str) -> Opener:
    scheme, is_url, _ = source.partition("://")
    if scheme in NAMED:
        return NAMED[scheme]
    name = (urlsplit(source).path if is_url else source).lower()
    if name.endswith(photo_list.SUFFIXES):
        return photo_list.listing
    if name.endswith(_ARCHIVES):
        return remote.fetched_archive if is_url else archive.listing
    return remote.listing if is_url else folder.listing


def _local(source: str) -> str:
    """A `file://` URL as the path that it is."""
    return str(path_of(source, Path())) if source.startswith("file://") else source
