"""A zip or tar with a folder per class, read without unpacking it to disk.

Knows both formats and what a hostile one does: paths that climb out, links, bombs. Knows nothing about
what becomes of the photos.
"""

from __future__ import annotations

import lzma
import os
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from pawloop.errors import SourceError
from pawloop.paths import expanded
from pawloop.printable import printable
from tasks import seen
from tasks.layout import folders, placed
from tasks.offer import Listing, Offer

ZIPS: Final = (".zip",)
TARS: Final = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")

# Photos hardly compress: an archive that grows a hundredfold is no archive of photos.
_LARGEST_GROWTH: Final = 100
_HARMLESS_BYTES: Final = 100 * 2**20
_MOST_MEMBERS: Final = 5_000_000
_DRIVE: Final = re.compile("[A-Za-z]:")  # of Windows, as in C:/x
_DAMAGE: Final = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,  # a way of compressing that Python does not know
    RuntimeError,  # a member that wants a password
)


class Member(NamedTuple):
    """A file in an archive. is_link: also what is neither a file nor a folder."""

    name: str
    size: int
    is_link: bool
    read: Callable[[], bytes]


def listing(source: str, classes: Sequence[str], _store: Path) -> Listing:
    """The photos in an archive on this machine.

    Raises SourceError when it is not there or damaged, and refuses it whole when it is unsafe.
    """
    path = expanded(source)
    with _translated(path):
        found = path.stat()
        members = list(_safe(path, found.st_size, _members(path)))
    by_name = {member.name: member for member in members}
    photos, notes = placed(sorted(by_name), classes)
    if not by_name:
        raise SourceError(f"{path}: the archive is empty; put photos into it, one folder a class")
    order = {name: number for number, name in enumerate(by_name)}  # a tar can only be read forwards
    mark = seen.stamp(found)
    offers = (
        Offer(
            photo.name,
            photo.label,
            _reader(by_name[photo.name]),
            mark,
            side=photo.side,
            size=by_name[photo.name].size,
        )
        for photo in sorted(photos, key=lambda photo: order[photo.name])
    )
    place = os.path.abspath(path)  # noqa: PTH100
    return Listing(place, folders(by_name), len(photos), offers, notes, readers=1)


def _members(path: Path) -> Iterator[Member]:
    return _zip_members(path) if path.name.lower().endswith(ZIPS) else _tar_members(path)


def _zip_members(path: Path) -> Iterator[Member]:
    archive = zipfile.ZipFile(path)  # lives as long as its members' readers
    for info in archive.infolist():
        name = _zip_name(info)
        if not name.endswith("/"):
            kind = stat.S_IFMT(info.external_attr >> 16)
            is_link = kind not in (0, stat.S_IFREG)
            yield Member(name, info.file_size, is_link, partial(archive.read, info))


def _zip_name(info: zipfile.ZipInfo) -> str:
    """The name as it was meant: many programs write UTF-8 without saying so, some of Windows its slashes."""
    name = info.filename if "/" in info.filename else info.filename.replace("\\", "/")
    if info.flag_bits & 0x800:
        return name
    try:
        return name.encode("cp437").decode("utf-8")
    except UnicodeError:
        return name


def _tar_members(path: Path) -> Iterator[Member]:
    archive = tarfile.open(path)  # noqa: SIM115  (lives as long as its members' readers)
    for info in archive:
        if not info.isdir():
            yield Member(
                info.name.removeprefix("./"),
                info.size,
                not info.isreg(),
                partial(_tar_bytes, archive, info),
            )
    # tarfile stops at a header that it cannot read as if the archive ended there.
    assert archive.fileobj is not None
    archive.fileobj.seek(archive.offset)
    if archive.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError("it ends without an end mark")


def _tar_bytes(archive: tarfile.TarFile, info: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(info)
    return file.read() if file is not None else b""


def _safe(path: Path, size: int, members: Iterator[Member]) -> Iterator[Member]:
    """The members, as long as none of them is a danger."""
    total = 0
    for count, member in enumerate(members, start=1):
        name, parts = printable(member.name), member.name.replace("\\", "/").split("/")
        total += member.size
        if member.name.startswith(("/", "\\")) or ".." in parts or _DRIVE.match(name) or "\0" in member.name:
            raise SourceError(f'{path}: refused: "{name}" climbs out of the archive; pack it anew')
        if member.is_link:
            raise SourceError(f'{path}: refused: "{name}" is a link; pack it again with the files themselves')
        if (total > _HARMLESS_BYTES and total > size * _LARGEST_GROWTH) or count > _MOST_MEMBERS:
            raise SourceError(
                f"{path}: refused: unpacked it is more than {_LARGEST_GROWTH} times its size, as photos "
                "never are; pack only photos"
            )
        yield member


def _reader(member: Member) -> Callable[[], bytes]:
    def read() -> bytes:
        try:
            return member.read()
        except _DAMAGE as error:
            raise OSError(f"damaged in its archive: {error}") from None

    return read


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        raise SourceError(f"{path}: the archive is damaged: {error}; copy or download it again") from None
    except FileNotFoundError:
        raise SourceError(
            f"{path}: there is no such archive; correct the path, or [data] sources in the problem file"
        ) from None
    except OSError as error:
        raise SourceError(f"{path}: the archive cannot be read: {error.strerror or error}") from None
