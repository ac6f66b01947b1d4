"""Collect: every photo that the sources hold, with its class and its id, as one table in the store.

Knows the order of work and what a person must be told. Knows nothing about how a source is read (see
`sources`) or what is in a photo.
"""

from __future__ import annotations

import itertools
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from pawloop import durable, settings
from pawloop.errors import SourceError
from pawloop.image import photo_id
from pawloop.problem import Problem
from tasks import photos, seen, sources
from tasks.layout import printable
from tasks.offer import Listing, Offer
from tasks.place import location_of
from tasks.seen import Seen, Taken
from tasks.store import growing, store_errors

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
_BATCH = 500
_PART = 10
# A file may vanish while a folder is read; beyond this the source itself has gone or is closed to us.
_FEW_LOST = 3
_LARGEST_LOST_SHARE = 0.05
_LARGEST_BYTES = 200 * 2**20
_NOTES_SHOWN = 5


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
    notes = [f"{source}: {note}" for source, listing in listings for note in listing.notes]
    gathering = _Gathering(problem, store, sum(listing.count for _, listing in listings), on_progress)
    with (
        store_errors(store),
        seen.opened(store) as known,
        durable.aside(path) as draft,
        pq.ParquetWriter(draft, SCHEMA) as writer,
    ):
        for source, listing in listings:
            for rows in gathering.rows(source, listing, known):
                writer.write_table(pa.Table.from_pylist(rows, SCHEMA))
        notes += gathering.notes()
        told = {"sources": list(problem.data.sources), "notes": notes}
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

    def rows(self, source: str, listing: Listing, known: Seen) -> Iterator[list[dict[str, Any]]]:
        """The table's rows of one source, in batches."""
        place = f"copied:{listing.place}" if self._copies else listing.place
        before = known.known(place)
        lost_before = sum(map(len, self._unreadable.values()))
        with ThreadPoolExecutor(listing.readers or settings.usable_cores()) as pool:
            while offers := list(itertools.islice(listing.offers, _BATCH)):
                at_hand = [self._unchanged(offer, before) for offer in offers]
                news = [offer for offer, old in zip(offers, at_hand) if old is None]
                parts = (news[start : start + _PART] for start in range(0, len(news), _PART))
                read = list(itertools.chain.from_iterable(pool.map(self._all_taken, parts)))
                known.remember(place, _stamped(news, read))
                new = iter(read)
                pairs = [(offer, next(new) if old is None else old) for offer, old in zip(offers, at_hand)]
                self._advance(len(offers))
                yield [row for offer, taken in pairs if (row := self._row(source, offer, taken))]
        lost = sum(map(len, self._unreadable.values())) - lost_before
        if lost > max(_FEW_LOST, listing.count * _LARGEST_LOST_SHARE):
            raise SourceError(
                f"{source}: {lost} of {listing.count} files could not be read; is it still there, and may "
                "this user read it? Nothing was lost: what could be read is remembered when you run again\n  "
                + "\n  ".join(self.notes())
            )

    def notes(self) -> list[str]:
        """What could not be read, by reason."""
        return [
            f"{len(names)} files could not be read ({why}) and were left out: {_some(names)}"
            for why, names in self._unreadable.items()
        ]

    def _unchanged(self, offer: Offer, before: dict[str, tuple[str, Taken]]) -> Taken | None:
        stamp, taken = before.get(offer.name, (None, None))
        if taken is None or stamp is None or stamp != offer.stamp:
            return None
        is_ours = offer.path is None or self._copies
        return None if is_ours and not (self._store / taken.location).exists() else taken

    def _all_taken(self, offers: list[Offer]) -> list[Taken | str]:
        return [self._taken(offer) for offer in offers]

    def _taken(self, offer: Offer) -> Taken | str:
        """The file's content, or why it cannot be read."""
        try:
            if offer.path is not None and Path(offer.path).stat().st_size > _LARGEST_BYTES:
                return f"more than {_LARGEST_BYTES >> 20} MiB is no photo"
            content = offer.read()
        except OSError as error:
            return error.strerror or str(error)
        id = photo_id(content)
        if offer.path is not None and not self._copies:
            return Taken(id, location_of(Path(offer.path), self._store), id, len(content))
        suffix = os.path.splitext(offer.name)[1]  # noqa: PTH122  (a name in an archive is no path here)
        return Taken(id, *photos.keep(content, id, suffix, self._store), len(content))

    def _row(self, source: str, offer: Offer, taken: Taken | str) -> dict[str, Any] | None:
        if isinstance(taken, str):
            self._unreadable.setdefault(taken, []).append(printable(offer.name))
            return None
        if offer.label is not None:
            self.classes[offer.label] += 1
        return {
            "id": taken.id,
            "location": taken.location,
            "stored": taken.stored,
            "label": offer.label,
            "source": source,
            "name": printable(offer.name),
            "bytes": taken.size,
            "side": offer.side,
            "group": offer.group,
        }

    def _advance(self, count: int) -> None:
        self._done += count
        if self._tell is not None:
            self._tell(self._done, self._total)


def _stamped(offers: list[Offer], taken: list[Taken | str]) -> Iterator[tuple[str, str, Taken]]:
    """Name, stamp and content of the files that need not be read again as long as they stay the same."""
    for offer, one in zip(offers, taken):
        if offer.stamp is not None and isinstance(one, Taken):
            yield offer.name, offer.stamp, one


def _some(names: list[str]) -> str:
    return ", ".join(names[:_NOTES_SHOWN]) + (", …" if len(names) > _NOTES_SHOWN else "")


def _require_classes(problem: Problem, found: Counter[str], notes: list[str]) -> None:
    missing = [name for name in problem.classes if not found[name]]
    if not missing:
        return
    present = [f'"{name}"' for name in problem.classes if found[name]]
    absent = ", ".join(f'"{name}"' for name in missing)
    place = ", ".join(problem.data.sources)
    said = "".join(f"\n  {note}" for note in notes[:_NOTES_SHOWN])
    if not present:
        raise SourceError(
            f"{place}: no photo of any class was found; put photos into one folder a class, named "
            f"{', '.join(problem.classes)}, or correct `classes` in the problem file{said}"
        )
    raise SourceError(
        f"{place}: only {', '.join(present)} found, no photo of {absent}; add photos in a folder of that "
        f"name, or correct `classes` in the problem file{said}"
    )
