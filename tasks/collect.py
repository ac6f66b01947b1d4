"""Collect: every photo that the sources hold, with its class and its id, as one table in the store.

Knows the order of work and what a person must be told. Knows nothing about how a source is read (see
`sources`) or what is in a photo.
"""

from __future__ import annotations

import itertools
import json
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pawloop import durable
from pawloop.addresses import public, public_text
from pawloop.errors import PhotoError, SourceError
from pawloop.image import photo_id
from pawloop.printable import printable, some_of
from pawloop.problem import Problem
from tasks import photos, sources
from tasks.offer import Listing, Offer
from tasks.place import location_of
from tasks.seen import TAKEN, Seen
from tasks.store import QUICKLY, growing, store_errors

Progress = Callable[[int, int], None]

SCHEMA: Final = pa.schema(
    {
        "id": pa.string(),
        "location": pa.string(),
        "stored": pa.string(),
        "label": pa.string(),
        "source": pa.string(),
        "name": pa.string(),
        "bytes": pa.int64(),
        "side": pa.string(),
        "group": pa.string(),
    }
)
_BATCH = 25_000  # files that are looked up at once
_KEPT = 2_000  # so many are read again at most when a run is interrupted
_PART = 20
# A file may vanish while a folder is read; beyond this the source itself has gone or is closed to us.
_FEW_LOST = 3
_LARGEST_LOST_SHARE = 0.05
_LARGEST_BYTES = 200 * 2**20
_NOTES_SHOWN = 5
_OF_TAGS = 1024  # bytes at most by which a photo grows that gets tags of ours in the place of its own


@dataclass(frozen=True)
class Found:
    """What the sources hold. path: the table. classes: photos by class. notes: what was left out, and why."""

    path: Path
    photo_count: int
    classes: dict[str, int]
    notes: list[str]


def collect(problem: Problem, store: Path, on_progress: Progress | None = None) -> Found:
    """List, read and hash every photo of the problem's sources; an unchanged file is not read again.

    Raises SourceError when a source cannot be read or a class has no photo.
    """
    with store_errors(store):
        path = growing(store, problem.name) / "found.parquet"
    listings = [(source, _listing(source, problem, store)) for source in problem.data.sources]
    notes = [f"{public(source)}: {note}" for source, listing in listings for note in listing.notes]
    gathering = _Gathering(problem, store, sum(listing.count for _, listing in listings), on_progress)
    with (
        store_errors(store),
        durable.aside(path) as draft,
        pq.ParquetWriter(draft, SCHEMA, **QUICKLY) as writer,
    ):
        for source, listing in listings:
            for rows in gathering.rows(source, listing):
                writer.write_table(rows)
        notes += gathering.notes()
        told = {"sources": list(map(public, problem.data.sources)), "notes": notes}
        writer.add_key_value_metadata({"pawloop": json.dumps(told)})
    _require_classes(problem, gathering.classes, notes)
    return Found(path, sum(gathering.classes.values()), dict(gathering.classes), notes)


def _listing(source: str, problem: Problem, store: Path) -> Listing:
    """A source's photos; `journal://` alone means this problem's own journal."""
    return sources.listing(
        source + problem.name if source == "journal://" else source, problem.classes, store
    )


class _Gathering:
    """Counts and notes of one collection while its rows stream by."""

    def __init__(self, problem: Problem, store: Path, total: int, on_progress: Progress | None) -> None:
        self._copies = problem.data.copy_photos
        self._store = store
        self._total = total
        self._done = 0
        self._tell = on_progress
        self._unreadable: dict[str, list[str]] = {}
        self.classes = Counter(dict.fromkeys(problem.classes, 0))

    def rows(self, source: str, listing: Listing) -> Iterator[pa.Table]:
        """The table's rows of one source, in batches."""
        seen = Seen(self._store, f"copied:{listing.place}" if self._copies else listing.place)
        lost_before = sum(map(len, self._unreadable.values()))
        # Of local files a second reader only waits for the interpreter's lock: 67 us a photo become 111.
        with ThreadPoolExecutor(listing.readers or 1) as pool:
            while offers := list(itertools.islice(listing.offers, _BATCH)):
                old = self._unchanged(offers, seen)
                news = [offer for offer, row in zip(offers, old.to_pylist()) if row is None]
                if len(news) < len(offers):
                    self._advance(len(offers) - len(news))
                read: list[dict[str, Any] | str] = []
                tables = [TAKEN.empty_table()]
                for start in range(0, len(news), _KEPT):
                    piece = news[start : start + _KEPT]
                    parts = [piece[at : at + _PART] for at in range(0, len(piece), _PART)]
                    found = list(itertools.chain.from_iterable(pool.map(self._all_taken, parts)))
                    good = [(offer, one) for offer, one in zip(piece, found) if isinstance(one, dict)]
                    tables.append(seen.remember(good))
                    read += found
                    self._advance(len(piece))
                known = seen.taken(old.drop_null())
                yield self._rows(source, offers, old, known, read, pa.concat_tables(tables))
        lost = sum(map(len, self._unreadable.values())) - lost_before
        if lost > max(_FEW_LOST, listing.count * _LARGEST_LOST_SHARE):
            raise SourceError(
                f"{public(source)}: {lost} of {listing.count} files could not be read; is it still there, "
                "and may this user read it? Nothing was lost: what could be read is remembered when you run "
                "again\n  " + "\n  ".join(self.notes())
            )

    def notes(self) -> list[str]:
        """What could not be read, by reason."""
        return [
            f"{len(names)} files could not be read ({why}) and were left out: {_some(names)}"
            for why, names in self._unreadable.items()
        ]

    def _unchanged(self, offers: Sequence[Offer], seen: Seen) -> pa.Array:
        """[N] for each file its row in what was seen, where it need not be read again, else null."""
        rows = seen.unchanged([offer.name for offer in offers], [offer.stamp for offer in offers])
        is_ours = np.array([offer.path is None or self._copies for offer in offers])
        places = np.flatnonzero(is_ours & rows.is_valid().to_numpy(zero_copy_only=False))
        taken = seen.taken(rows.take(places)).to_pylist()
        gone = [number for number, one in zip(places, taken) if not _is_whole(self._store, one)]
        if not gone:
            return rows
        mask = np.zeros(len(rows), np.bool_)
        mask[gone] = True
        return pc.if_else(pa.array(mask), pa.scalar(None, rows.type), rows)

    def _all_taken(self, offers: list[Offer]) -> list[dict[str, Any] | str]:
        return [self._taken(offer) for offer in offers]

    def _taken(self, offer: Offer) -> dict[str, Any] | str:
        """The file's content as a row of TAKEN, or why it cannot be read."""
        try:
            size = offer.size
            if offer.path is not None:
                found = os.stat(offer.path)  # noqa: PTH116
                if not stat.S_ISREG(found.st_mode):
                    return "no regular file"
                size = found.st_size
            if size is not None and size > _LARGEST_BYTES:
                return f"more than {_LARGEST_BYTES >> 20} MiB is no photo"
            content = offer.read()
        except (OSError, ValueError) as error:  # of a name that no file can have
            return public_text(getattr(error, "strerror", None) or str(error))
        id = photo_id(content)
        if offer.path is not None and not self._copies:
            location, stored = location_of(Path(offer.path), self._store), id
        else:
            try:
                location, stored = photos.keep(content, id, offer.name, self._store)
            except PhotoError as error:
                return str(error)
        return {"id": id, "location": location, "stored": stored, "bytes": len(content)}

    def _rows(
        self,
        source: str,
        offers: list[Offer],
        old: pa.Array,
        known: pa.Table,
        read: list[dict[str, Any] | str],
        held: pa.Table,
    ) -> pa.Table:
        """The rows of files that are known or were read, in their order."""
        news = np.flatnonzero(old.is_null().to_numpy(zero_copy_only=False))
        is_good = np.ones(len(offers), np.bool_)
        for place, one in zip(news.tolist(), read):
            if isinstance(one, str):
                is_good[place] = False
                self._unreadable.setdefault(one, []).append(_shown(offers[place].name))
        if not is_good.all():
            offers = [offer for offer, good in zip(offers, is_good) if good]
        is_new = old.is_null().to_numpy(zero_copy_only=False)[is_good]
        # Known ones stand first, then those read: each goes to its own place.
        order = np.where(is_new, np.cumsum(is_new) - 1 + len(known), np.cumsum(~is_new) - 1)
        taken = pa.concat_tables([known, held]).take(order)
        labels = [offer.label for offer in offers]
        self.classes.update(label for label in labels if label is not None)
        columns = {
            **{name: taken[name] for name in TAKEN.names},
            "label": labels,
            "source": pa.repeat(pa.scalar(public(source)), len(offers)),
            "name": [_shown(offer.name) for offer in offers],
            "side": [offer.side for offer in offers],
            "group": [offer.group for offer in offers],
        }
        return pa.table([columns[name] for name in SCHEMA.names], schema=SCHEMA)

    def _advance(self, count: int) -> None:
        self._done += count
        if self._tell is not None:
            self._tell(self._done, self._total)


def _is_whole(store: Path, taken: dict[str, Any]) -> bool:  # Any: a row of TAKEN
    """Whether a photo of the store's own is there, and no power cut has emptied it."""
    try:
        size: int = (store / taken["location"]).stat().st_size
    except OSError:
        return False
    if taken["stored"] == taken["id"]:
        return size == int(taken["bytes"])
    return 0 < size <= int(taken["bytes"]) + _OF_TAGS  # how many bytes its own tags took is not noted


def _shown(name: str) -> str:
    """A file's name for people; in a list it may be an address, and its query all that tells two apart."""
    told = public(name)
    return printable(told if told == name else f"{told}?…{durable.content_key(name)[:6]}")


def _some(names: list[str]) -> str:
    return ", ".join(names[:_NOTES_SHOWN]) + (", …" if len(names) > _NOTES_SHOWN else "")


def _require_classes(problem: Problem, found: Counter[str], notes: list[str]) -> None:
    missing = [name for name in problem.classes if not found[name]]
    if not missing:
        return
    present = [f'"{name}"' for name in problem.classes if found[name]]
    absent = ", ".join(f'"{name}"' for name in missing)
    place = ", ".join(map(public, problem.data.sources))
    said = "".join(f"\n  {note}" for note in notes[:_NOTES_SHOWN])
    if not present:
        raise SourceError(
            f"{place}: no photo of any class was found; put photos into one folder a class, named "
            f"{some_of(problem.classes)}, or correct `classes` in the problem file{said}"
        )
    raise SourceError(
        f"{place}: only {', '.join(present)} found, no photo of {absent}; add photos in a folder of that "
        f"name, or correct `classes` in the problem file{said}"
    )
