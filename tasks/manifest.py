"""A dataset version: an immutable Parquet manifest, one row a file that was found, and its reader.

Photos may be moved or renamed and are the same version still: a second table says where they lie now. Knows
where versions lie and that every byte read is the byte that was curated. Knows nothing about how a version is
made (see `split`) or what is trained on it.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal, Self, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pawloop import durable
from pawloop.addresses import public
from pawloop.errors import DamagedFileError, DatasetError
from tasks.place import read_photo

Side = Literal["train", "validation", "test"]
SIDES: Final[tuple[Side, ...]] = get_args(Side)
KEPT: Final = "kept"
STATISTICS: Final = ("brightness", "contrast", "sharpness", "colourfulness", "entropy", "aspect")
PLACED: Final = ("id", "location", "stored", "source")
_PHOTO_COLUMNS = ["id", "location", "stored", "label", "side", "source", "width", "height", *STATISTICS]


@dataclass(frozen=True)
class Photo:
    """A photo that a version holds. `statistics`: numbers to slice by, named as in STATISTICS.

    id: SHA-256 of its bytes as they arrived. stored: SHA-256 of those that lie at `location`, which
    differs where tags were removed on import.
    """

    id: str
    location: str
    stored: str
    label: str
    side: Side
    source: str
    width: int
    height: int
    statistics: Mapping[str, float] = field(hash=False)


@dataclass(frozen=True)
class Dataset:
    """One version of a problem's photos; picklable, small, and usable from threads and processes."""

    store: Path
    name: str
    id: str

    @classmethod
    def open(cls, store: Path, name: str, id: str) -> Self:
        """The version, its manifest checked against the hash in `version.json`.

        Raises DatasetError when it is missing, damaged or was edited by hand.
        """
        dataset = cls(store, name, id)
        said = dataset.facts()["manifest_sha256"]
        try:
            found = durable.sha256(dataset.manifest)
        except OSError as error:
            raise DatasetError(f"{dataset.manifest}: cannot be read: {error.strerror}") from None
        if found != said:
            raise dataset._damaged("is not the file that this version was made with (its hash differs)")
        return dataset

    @property
    def folder(self) -> Path:
        return home(self.store, self.name) / self.id

    @property
    def manifest(self) -> Path:
        return self.folder / "manifest.parquet"

    @property
    def places(self) -> Path:
        """Where kept photos lie now, if they were moved or renamed since: columns PLACED, by id."""
        return self.folder / "places.parquet"

    @property
    def aside_now(self) -> Path:
        """The files that are set aside now, if they are others since: the manifest's columns."""
        return self.folder / "aside.parquet"

    @property
    def found(self) -> Path:
        """Which of `facts` are others since: where the photos were found last, and what was noted there."""
        return self.folder / "found.json"

    def facts(self) -> dict[str, Any]:  # Any: JSON's values
        """What `version.json` says: counts, sources, rules of curation, notes, when it was made."""
        path = self.folder / "version.json"
        try:
            facts: dict[str, Any] = durable.read_json(path, dict, f"delete {self.folder} and run again")
            if self.found.exists():
                facts |= durable.read_json(self.found, dict, "delete it and run again")
        except FileNotFoundError:
            known = ", ".join(v.id for v in versions(self.store, self.name)) or "none"
            raise DatasetError(f"{path}: there is no such version of {self.name} (known: {known})") from None
        except DamagedFileError as error:
            raise DatasetError(str(error)) from None
        except OSError as error:
            raise DatasetError(f"{path}: cannot be read: {error.strerror}") from None
        # Versions of before name sources whole.
        return {**facts, "sources": [public(source) for source in facts.get("sources", ())]}

    @property
    def found_at(self) -> datetime:
        """When it was found last, later than any version that was found before."""
        facts = self.facts()
        return datetime.fromisoformat(facts.get("found_at", facts["created_at"]))

    def rows(self, columns: list[str] | None = None) -> pa.Table:
        """Every file that was found, kept or set aside, with verdict and reason."""
        return self._read(columns)

    def aside(self) -> pa.Table:
        """The rows that were set aside, each as it was when the version was found last."""
        return self._read(None, pc.field("verdict") != KEPT)

    def kept(self, columns: list[str]) -> pa.Table:
        """The rows that were kept, in the order of their ids."""
        wanted = [*columns, *({"verdict"} - set(columns))]
        return self._read(wanted, pc.field("verdict") == KEPT)

    def photos(self, side: Side) -> list[Photo]:
        """The photos of one side that were kept, in the order of their ids."""
        table = self._of_side(side, _PHOTO_COLUMNS)
        return [_photo(row) for batch in table.to_batches(max_chunksize=4096) for row in batch.to_pylist()]

    def groups(self, side: Side) -> NDArray[np.str_]:
        """[N] the group of each photo of `photos`, its id where it has none."""
        rows = self._of_side(side, ["id", "group"]).to_pylist()
        return np.array([f"group:{row['group']}" if row["group"] else row["id"] for row in rows])

    def counts(self) -> dict[Side, dict[str, int]]:
        """Photos kept, by side and class."""
        counts: dict[Side, dict[str, int]] = self.facts()["counts"]
        return counts

    def read(self, photo: Photo) -> bytes:
        """The photo's bytes as they lie in the store or at their source, checked by hash.

        Raises DatasetError that names a photo which changed or vanished since the version was made.
        """
        return read_photo(self.store, photo.location, photo.stored)

    def _of_side(self, side: Side, columns: list[str]) -> pa.Table:
        return self._read(columns, (pc.field("verdict") == KEPT) & (pc.field("side") == side))

    def _read(self, columns: list[str] | None, chosen: pc.Expression | None = None) -> pa.Table:
        is_moved = (columns is None or not set(PLACED[1:]).isdisjoint(columns)) and self.places.exists()
        wanted = list(dict.fromkeys([*columns, *PLACED, "verdict"])) if is_moved and columns else columns
        is_other = self.aside_now.exists()
        first = _both(chosen, pc.field("verdict") == KEPT) if is_other else chosen
        try:
            table = pq.read_table(self.manifest, columns=wanted, filters=first)
        except (pa.ArrowException, OSError) as error:
            raise self._damaged(f"cannot be read: {error}") from None
        table = self._placed(table).select(columns or table.column_names) if is_moved else table
        return pa.concat_tables([table, self._read_aside(columns, chosen)]) if is_other else table

    def _read_aside(self, columns: list[str] | None, chosen: pc.Expression | None) -> pa.Table:
        try:
            return pq.read_table(self.aside_now, columns=columns, filters=chosen)
        except (pa.ArrowException, OSError) as error:
            raise DatasetError(
                f"{self.aside_now}: cannot be read: {error}; delete it and run again"
            ) from None

    def _placed(self, table: pa.Table) -> pa.Table:
        """The same rows, those of kept photos with the place where they lie now."""
        try:
            now = pq.read_table(self.places)
        except (pa.ArrowException, OSError) as error:
            raise DatasetError(f"{self.places}: cannot be read: {error}; delete it and run again") from None
        row = pc.index_in(table["id"], now["id"])
        is_known = pc.and_(pc.is_valid(row), pc.equal(table["verdict"], KEPT))
        for name in PLACED[1:]:
            if name not in now.column_names:  # written before sources were noted there
                continue
            values = pc.if_else(is_known, now[name].take(row), table[name])
            table = table.set_column(table.schema.get_field_index(name), name, values)
        return table

    def _damaged(self, what: str) -> DatasetError:
        return DatasetError(
            f"{self.manifest}: {what}; versions are immutable: delete the folder {self.folder} and run again"
        )


def home(store: Path, name: str) -> Path:
    """The folder of all versions of a problem's photos."""
    return store / "datasets" / name


def versions(store: Path, name: str) -> list[Dataset]:
    """Every version of a problem's photos, the one last that was found last."""
    found = [Dataset(store, name, path.parent.name) for path in home(store, name).glob("*/version.json")]
    return sorted(found, key=lambda dataset: (dataset.found_at, dataset.id))


def reference(dataset: Dataset, learnt: str | None) -> Dataset | None:
    """Whom a version is compared with: the one that the champion learnt from, else the one before.

    learnt: its id. It counts where it has a source in common. The version before may be one that a check
    stopped, and its photos would pass on the night after.
    """
    older = [one for one in versions(dataset.store, dataset.name) if one.id != dataset.id]
    sources = set(dataset.facts()["sources"])
    known = [one for one in older if one.id == learnt and not sources.isdisjoint(one.facts()["sources"])]
    return comparable(known or older, sources)


def comparable(found: Sequence[Dataset], sources: Collection[str]) -> Dataset | None:
    """Of `versions` the newest of these sources, else of some of them, else of any; None where there is none.

    Not simply the newest: one of other photos, by `--source` for once, says nothing of these.
    """
    wanted = set(sources)
    theirs = [(one, set(one.facts()["sources"])) for one in reversed(found)]
    same = (one for one, named in theirs if named == wanted)
    some = (one for one, named in theirs if not named.isdisjoint(wanted))
    return next(itertools.chain(same, some, reversed(found)), None)


def labels_of(photos: list[Photo], classes: tuple[str, ...]) -> NDArray[np.int64]:
    """[N] each photo's class as its place among the classes."""
    place = {name: index for index, name in enumerate(classes)}
    return np.array([place[photo.label] for photo in photos], np.int64)


def _both(one: pc.Expression | None, other: pc.Expression) -> pc.Expression:
    return other if one is None else one & other


def _photo(row: dict[str, Any]) -> Photo:  # Any: a manifest's values
    numbers = {name: row.pop(name) for name in STATISTICS}
    return Photo(**row, statistics=numbers)
