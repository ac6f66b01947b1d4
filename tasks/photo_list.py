"""A CSV or Parquet list of photos: path or URL, label, and optionally side and group.

Knows columns by the names that people give them. Knows nothing about what lies behind a path or URL.
"""

from __future__ import annotations

import csv
import itertools
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from pawloop.addresses import public
from pawloop.errors import SourceError, nearest
from pawloop.paths import expanded
from pawloop.printable import printable
from pawloop.sections import same_form
from tasks import remote, seen
from tasks.layout import side_named
from tasks.manifest import Side
from tasks.offer import Listing, Offer
from tasks.place import path_of

SUFFIXES: Final = (".csv", ".tsv", ".parquet")
_COLUMNS: Final = {
    "place": ("path", "url", "file", "filename", "file_name", "image", "photo", "location"),
    "label": ("label", "class", "species", "target", "category"),
    "side": ("side", "split", "set", "subset"),
    "group": ("group", "group_id", "animal", "subject"),
}


class Line(NamedTuple):
    """A photo as a list names it."""

    place: str
    label: str
    side: str
    group: str

    @property
    def shown(self) -> str:
        """Its place for people."""
        return printable(public(self.place))


def listing(source: str, classes: Sequence[str], store: Path) -> Listing:
    """The photos that a list names; relative paths start at the list's folder.

    Raises SourceError when the list cannot be read, lacks a column or names an unknown side.
    """
    path = remote.fetched(source, store) if "://" in source else expanded(source)
    base = source.rpartition("/")[0] if "://" in source else os.path.abspath(path.parent)  # noqa: PTH100
    told = public(source)
    lines = _lines(path, told)
    if not lines:
        raise SourceError(f"{told}: the list is empty; give it a line a photo")
    strangers = Counter(line.label for line in lines if line.label and same_form(line.label) not in classes)
    chosen = [line for line in lines if line.label not in strangers]
    remote.require_known((_joined(base, line.place) for line in chosen), told)
    offers = (_offer(told, base, line) for line in chosen)
    is_remote = any("://" in _joined(base, line.place) for line in chosen)
    notes = [
        f'the class "{printable(label)}" ({count} photos) is no class of the problem and was left out'
        f"{nearest(label, classes)}"
        for label, count in sorted(strangers.items())
    ]
    place = source if "://" in source else os.path.abspath(path)  # noqa: PTH100
    readers = remote.READERS if is_remote else None
    return Listing(place, _classes(lines), len(chosen), offers, notes, readers)


def _classes(lines: list[Line]) -> list[str]:
    return sorted({same_form(line.label) for line in lines if line.label})


def _lines(path: Path, source: str) -> list[Line]:
    try:
        if path.suffix.lower() == ".parquet":
            return list(_parquet_lines(path, source))
        return list(_csv_lines(path, source))
    except (pa.ArrowInvalid, csv.Error) as error:
        raise SourceError(f"{source}: the list cannot be read: {error}; write it again") from None
    except FileNotFoundError:
        raise SourceError(
            f"{source}: there is no such list; correct the path, or [data] sources in the problem file"
        ) from None
    except OSError as error:
        raise SourceError(f"{source}: the list cannot be read: {error.strerror or error}") from None


def _csv_lines(path: Path, source: str) -> Iterator[Line]:
    # Undecodable bytes pass through, since paths may hold them.
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        first = file.readline()
        delimiter = max(",;\t", key=first.count)
        reader = csv.reader(itertools.chain([first], file), delimiter=delimiter)
        header = next(reader, [])
        if not any(header):
            return
        columns = _columns(header, source)
        for row in reader:
            if row:
                line = Line(*(row[n].strip() if n is not None and n < len(row) else "" for n in columns))
                _require_text(line, source)
                yield line


def _require_text(line: Line, source: str) -> None:
    """Bytes that are no UTF-8 may name a file; in a word for people they come from another encoding."""
    for word in line[1:]:
        try:
            word.encode()
        except UnicodeEncodeError:
            raise SourceError(
                f'{source}: "{printable(word)}" beside {line.shown} is not UTF-8; save '
                "the list as UTF-8 (in Excel: CSV UTF-8)"
            ) from None


def _parquet_lines(path: Path, source: str) -> Iterator[Line]:
    file = pq.ParquetFile(path)
    names = file.schema_arrow.names
    columns = [None if n is None else names[n] for n in _columns(names, source)]
    for batch in file.iter_batches(columns=[name for name in columns if name is not None]):
        for row in batch.to_pylist():
            values = (row.get(name) if name is not None else None for name in columns)
            yield Line(*("" if value is None else str(value).strip() for value in values))


def _columns(header: Sequence[str], source: str) -> list[int | None]:
    """The number of each column that we know; None for one that is not there."""
    names = [name.strip().casefold() for name in header]
    found = [
        next((names.index(name) for name in known if name in names), None) for known in _COLUMNS.values()
    ]
    for what, number in zip(("place", "label"), found):
        if number is None:
            raise SourceError(
                f"{source}: there is no column for a photo's {what}, only {printable(', '.join(header))}; "
                f'name one of them "{_COLUMNS[what][0]}"'
            )
    return found


def _offer(source: str, base: str, line: Line) -> Offer:
    label = same_form(line.label) or None
    side, group = _side(source, line), line.group or None
    place = _joined(base, line.place)
    if "://" in base and not _is_elsewhere(base, place):
        raise SourceError(
            f"{source}: {line.shown}: a list from another machine may not name files of this one"
        )
    if "://" in place and not place.startswith("file://"):
        return Offer(line.place, label, partial(remote.read, place), None, side=side, group=group)
    path = path_of(place, Path())
    try:
        mark = seen.stamp(path.stat())
    except (OSError, ValueError):
        mark = None  # reading it will say why
    return Offer(line.place, label, path.read_bytes, mark, str(path), side, group)


def _is_elsewhere(base: str, place: str) -> bool:
    """Whether an address surely lies on a network, as a list's own; fsspec's chains may lead anywhere."""
    scheme = place.partition("://")[0].lower()
    return "::" not in place and scheme in (base.partition("://")[0].lower(), *remote.NETWORKS)


def _side(source: str, line: Line) -> Side | None:
    if not line.side:
        return None
    side = side_named(line.side)
    if side is None:
        place, said = line.shown, printable(line.side)
        raise SourceError(f'{source}: {place}: "{said}" is no side; write train, validation or test')
    return side


def _joined(base: str, place: str) -> str:
    if "://" in place:
        return place
    return f"{base}/{place}" if "://" in base else os.path.join(base, expanded(place))  # noqa: PTH118
