"""The journal: what was answered, and what people say the right answer was.

Tables and transactions, in SQLite or PostgreSQL; every call returns only when the disk has it. Knows SQL
and the folder of kept photos. Knows nothing about threads, servers or what is learned from it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal

from sqlalchemy import (
    JSON,
    URL,
    Boolean,
    Column,
    DateTime,
    Float,
    Index,
    Integer,
    MetaData,
    Select,
    String,
    Table,
    and_,
    create_engine,
    delete,
    event,
    exists,
    func,
    insert,
    inspect,
    literal,
    select,
    text,
    true,
    update,
)
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.sql.expression import ColumnElement, FromClause

from pawloop.errors import JournalError

log = logging.getLogger(__name__)

Why = Literal["audit", "uncertain", "novel", "correction", "import"]
Part = Literal["champion", "challenger"]

TAKEN_BACK: Final = ""  # in the place of a label: the person's earlier word on the answer counts no more

_BUSY_MS: Final = 10_000
_GONE_AT_ONCE: Final = 1000  # more than a batch of answers brings

_metadata = MetaData()
_predictions = Table(
    "predictions",
    _metadata,
    Column("id", String(36), primary_key=True),
    Column("at", DateTime(timezone=True), nullable=False, index=True),
    Column("photo_id", String(64), nullable=False, index=True),
    Column("part", String(16), primary_key=True),
    Column("model", String(64), nullable=False),
    Column("version", Integer, nullable=False),
    Column("precision", String(16), nullable=False),
    Column("label", String, nullable=False),
    Column("probabilities", JSON, nullable=False),
    Column("reason", String(16)),
    Column("latency_ms", Float, nullable=False),
    Column("is_kept", Boolean, nullable=False),
)
# SQLite takes an index of some rows only where the query says which in the very same words.
_challenger = literal("challenger", literal_execute=True)
_is_challengers = _predictions.c.part == _challenger
Index(
    "ix_predictions_challenger", _predictions.c.model, _predictions.c.version, _predictions.c.at,
    sqlite_where=_is_challengers, postgresql_where=_is_challengers,
)  # fmt: skip
Index(
    "ix_predictions_kept", _predictions.c.is_kept, _predictions.c.at, _predictions.c.photo_id,
    sqlite_where=text("is_kept = 1"), postgresql_where=_predictions.c.is_kept,
)  # fmt: skip
# No foreign key: a person may be faster than the batch that holds the prediction.
_labels = Table(
    "labels",
    _metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("prediction_id", String(36), nullable=False, index=True),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("label", String, nullable=False),
    Column("why", String(16), nullable=False),
    Column("inclusion", Float),
)


@dataclass(frozen=True, slots=True)
class Prediction:
    """One answer of one model. part: what the model was; a challenger's answers were shown to nobody.

    probabilities: by class. reason: why a person was asked, or None. is_kept: whether the photo's bytes
    are in the folder of kept photos.
    """

    id: str
    at: datetime
    photo_id: str
    part: Part
    model: str
    version: int
    precision: str
    label: str
    probabilities: dict[str, float]
    reason: str | None
    latency_ms: float
    is_kept: bool


@dataclass(frozen=True, slots=True)
class Label:
    """What a person says is on a photo. inclusion: how likely it was that this photo was asked about.

    label: a class, or TAKEN_BACK.
    Only `audit` photos were drawn by chance, so they alone may judge a model; the others only teach.
    """

    prediction_id: str
    at: datetime
    label: str
    why: Why
    inclusion: float | None = None


@dataclass(frozen=True, slots=True)
class Labelled:
    """A photo that somebody was given an answer to, and the last word of a person about it.

    is_kept: whether the photo's bytes were kept with this answer. The answer itself is many times as large.
    """

    photo_id: str
    is_kept: bool
    label: Label


@dataclass(frozen=True, slots=True)
class Outdated:
    """Old answers. ids: of those about photos that nobody labelled. photo_ids: of those, what no other keeps.

    last: when the last that was looked at was given, labelled or not; None where there are no more.
    """

    ids: list[str]
    photo_ids: list[str]
    last: datetime | None


@dataclass(frozen=True, slots=True)
class Paired:
    """A photo as two models answered it, and the last word of a person about it, or None."""

    champion: Prediction
    challenger: Prediction
    label: Label | None


class Journal:
    """One journal; safe to use from several threads and processes."""

    def __init__(self, url: str | Path) -> None:
        """Open the journal at a SQLAlchemy URL or in a SQLite file, and make the tables that it lacks.

        Raises JournalError when it cannot be reached or written.
        """
        # Of a URL, since a password is nobody's business.
        self._where = str(url) if isinstance(url, Path) else url.rpartition("@")[2]
        self._file: Path | None = None
        with self._translated():
            self._engine = create_engine(_of_file(url) if isinstance(url, Path) else url)
            if self._engine.dialect.name == "sqlite":
                event.listen(self._engine, "connect", _be_durable)
                if self._engine.url.database:
                    self._file = Path(self._engine.url.database)
                    self._file.parent.mkdir(parents=True, exist_ok=True)
            try:
                _metadata.create_all(self._engine)
            except OperationalError:  # another process made them in between
                _metadata.create_all(self._engine)
            self._add_indices()
        self._opened = _identities(self._file)

    def add(self, predictions: Sequence[Prediction], labels: Sequence[Label] = ()) -> None:
        """Write all of it in one transaction. Raises JournalError with nothing written."""
        with self._transaction() as connection:
            if predictions:
                connection.execute(insert(_predictions), [_row(row) for row in predictions])
            if labels:
                connection.execute(insert(_labels), [_row(row) for row in labels])

    def labelled(self, model: str) -> Iterator[Labelled]:
        """Every answered photo of a model that somebody labelled, by its newest label, oldest first."""
        query = (
            select(_predictions.c.photo_id, _predictions.c.is_kept, *_named(_labels, "label"))
            .join(_labels, _labels.c.prediction_id == _predictions.c.id)
            .where(_stands(), _predictions.c.model == model)
            .where(_predictions.c.part == "champion")
            .order_by(_labels.c.number)
        )
        with self._transaction() as connection:
            for row in connection.execute(query).mappings():
                label = Label(**{name: row[f"label_{name}"] for name in Label.__slots__})
                yield Labelled(row["photo_id"], row["is_kept"], label)

    def predictions(self, model: str, part: Part = "champion") -> Iterator[Prediction]:
        """Every answer of a model in that part, oldest first."""
        query = (
            select(_predictions)
            .where(_predictions.c.model == model, _predictions.c.part == part)
            .order_by(_predictions.c.at, _predictions.c.id)
        )
        with self._transaction() as connection:
            for row in connection.execute(query).mappings():
                yield Prediction(**row)

    def paired(self, model: str, champion: int, challenger: int, since: datetime) -> Iterator[Paired]:
        """What two versions answered to the same photos since a time, oldest first, a photo once."""
        mine, theirs = _predictions.alias("mine"), _predictions.alias("theirs")
        words = {one.photo_id: one.label for one in by_photo(self.labelled(model))}
        query = (
            select(*_named(mine, "mine"), *_named(theirs, "theirs"))
            .select_from(_pairs(mine, theirs))
            .where(*_between(mine, theirs, model, champion, challenger, since))
            .order_by(theirs.c.at, theirs.c.id)
        )
        seen = set()
        with self._transaction() as connection:
            for row in connection.execute(query).mappings():
                if row["mine_photo_id"] in seen:
                    continue
                seen.add(row["mine_photo_id"])
                first = Prediction(**{name: row[f"theirs_{name}"] for name in Prediction.__slots__})
                second = Prediction(**{name: row[f"mine_{name}"] for name in Prediction.__slots__})
                yield Paired(first, second, words.get(first.photo_id))

    def paired_count(self, model: str, champion: int, challenger: int, since: datetime) -> int:
        """How many photos `paired` would give."""
        mine, theirs = _predictions.alias("mine"), _predictions.alias("theirs")
        query = (
            select(func.count(mine.c.photo_id.distinct()))
            .select_from(_pairs(mine, theirs))
            .where(*_between(mine, theirs, model, champion, challenger, since))
        )
        with self._transaction() as connection:
            return int(connection.execute(query).scalar_one())

    def forgettable(self) -> list[str]:
        """Ids of the oldest kept photos that nobody labelled, up to a thousand; none where there are none."""
        oldest = select(_predictions.c.photo_id).where(_predictions.c.is_kept).order_by(_predictions.c.at)
        seen: set[str] = set()
        with (
            self._transaction() as connection,
            connection.execute(oldest, execution_options={"yield_per": _GONE_AT_ONCE}) as rows,
        ):
            for some in rows.scalars().partitions():
                ids = [id for id in dict.fromkeys(some) if id not in seen]
                seen.update(ids)
                labelled = set(connection.execute(_labelled_among(ids)).scalars())
                if found := [id for id in ids if id not in labelled]:
                    return found
        return []

    def forget(self, photo_ids: Sequence[str]) -> None:
        """Note that these photos are no longer kept."""
        change = update(_predictions).where(_predictions.c.photo_id.in_(photo_ids)).values(is_kept=False)
        with self._transaction() as connection:
            connection.execute(change)

    def outdated(self, since: datetime | None, until: datetime) -> Outdated:
        """Of the answers given after `since` and before `until` the oldest, a thousand looked at."""
        columns = (_predictions.c.id, _predictions.c.at, _predictions.c.photo_id, _predictions.c.is_kept)
        query = (
            select(*columns)
            .where(_predictions.c.at < until, true() if since is None else _predictions.c.at > since)
            .order_by(_predictions.c.at)
            .limit(_GONE_AT_ONCE)
        )
        with self._transaction() as connection:
            rows = connection.execute(query).all()
            labelled = set(connection.execute(_labelled_among([row.photo_id for row in rows])).scalars())
            old = [row for row in rows if row.photo_id not in labelled]
            ids = list(dict.fromkeys(row.id for row in old))
            kept = list(dict.fromkeys(row.photo_id for row in old if row.is_kept))
            younger = set(connection.execute(_kept_by_others(kept, ids)).scalars())
        last = rows[-1].at if len(rows) == _GONE_AT_ONCE else None
        return Outdated(ids, [id for id in kept if id not in younger], last)

    def delete(self, ids: Sequence[str]) -> None:
        """Delete the answers with these ids, a challenger's, too."""
        with self._transaction() as connection:
            connection.execute(delete(_predictions).where(_predictions.c.id.in_(ids)))

    def pragmas(self) -> dict[str, str | int]:
        """How SQLite is set up, as it says itself; empty for another database."""
        if self._engine.dialect.name != "sqlite":
            return {}
        with self._transaction() as connection:
            names = ("journal_mode", "synchronous", "busy_timeout")
            return {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in names}

    def is_in_place(self) -> bool:
        """Whether the file of an SQLite journal still is the one that was opened.

        SQLite writes on into a file that somebody moved, replaced or deleted, where it may be lost.
        """
        return self._file is None or _identity(self._file) == self._opened[self._file]

    def abandon(self) -> None:
        """Let go of a file that is no longer in its place, and leave nothing of it to the one that is."""
        with suppress(SQLAlchemyError), self._engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        self.close()
        for path, identity in self._opened.items():
            if path != self._file and identity and _identity(path) == identity:
                path.unlink(missing_ok=True)  # SQLite would replay it into the new file

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    def _add_indices(self) -> None:
        """Add the indices that an older journal's tables lack; whoever may not does without."""
        for index in _predictions.indexes:
            try:
                index.create(self._engine, checkfirst=True)
            except DBAPIError as error:
                if inspect(self._engine).has_index(_predictions.name, index.name or ""):
                    continue  # another process made it in between
                log.warning("%s: no index %s yet, so it is slower: %s", self._where, index.name, error.orig)

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with self._translated(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, OSError, ModuleNotFoundError, ValueError) as error:
            reason = str(getattr(error, "orig", None) or error)
            mend = "see that the disk has room and the folder can be written"
            if isinstance(error, ModuleNotFoundError):
                mend = "install that package, the driver of this database"
            raise JournalError(
                f"the journal {self._where} cannot be used: {reason}; {mend}, or set PAWLOOP_JOURNAL"
            ) from error


def by_photo(found: Iterable[Labelled]) -> list[Labelled]:
    """Of each photo the newest label, whichever answer it is about; `found` is the oldest first.

    It is `audit` only where all of them were, and its bytes are there if any answer kept them.
    """
    newest: dict[str, Labelled] = {}
    for one in found:
        before = newest.get(one.photo_id, one)
        why = one.label.why if before.label.why == "audit" else before.label.why
        is_kept = one.is_kept or before.is_kept
        newest[one.photo_id] = Labelled(one.photo_id, is_kept, replace(one.label, why=why))
    return list(newest.values())


def _identities(file: Path | None) -> dict[Path, tuple[int, int] | None]:
    """Of an SQLite file and the two that it keeps beside it."""
    paths = [] if file is None else [file, *(file.with_name(file.name + end) for end in ("-wal", "-shm"))]
    return {path: _identity(path) for path in paths}


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _row(entry: Prediction | Label) -> dict[str, object]:
    # dataclasses.asdict copies what is inside, too, which takes as long as writing it
    return {name: getattr(entry, name) for name in entry.__slots__}


def _named(table: FromClause, prefix: str) -> list[ColumnElement[Any]]:  # Any: of any type
    return [column.label(f"{prefix}_{column.name}") for column in table.c]


def _labelled_among(photo_ids: Sequence[str]) -> Select[tuple[str]]:
    return (
        select(_predictions.c.photo_id)
        .distinct()
        .join(_labels, _labels.c.prediction_id == _predictions.c.id)
        .where(_predictions.c.photo_id.in_(photo_ids), _stands())
    )


def _stands() -> ColumnElement[bool]:
    """Whether a label is the last word on its answer, and no taking back."""
    later = _labels.alias("later")
    is_outdone = exists().where(
        later.c.prediction_id == _labels.c.prediction_id, later.c.number > _labels.c.number
    )
    return and_(~is_outdone, _labels.c.label != TAKEN_BACK)


def _kept_by_others(photo_ids: Sequence[str], ids: Sequence[str]) -> Select[tuple[str]]:
    """Of some photos those that another answer keeps than these."""
    return select(_predictions.c.photo_id).where(
        _predictions.c.photo_id.in_(photo_ids), _predictions.c.is_kept, _predictions.c.id.not_in(ids)
    )


def _pairs(mine: FromClause, theirs: FromClause) -> FromClause:
    return mine.join(theirs, mine.c.id == theirs.c.id)


def _between(
    mine: FromClause, theirs: FromClause, model: str, champion: int, challenger: int, since: datetime
) -> tuple[ColumnElement[bool], ...]:
    return (
        mine.c.part == _challenger, mine.c.model == model, mine.c.version == challenger, mine.c.at >= since,
        theirs.c.part == "champion", theirs.c.version == champion,
    )  # fmt: skip


def _of_file(path: Path) -> URL:
    """Not pasted into text, where `?` would be taken for the beginning of options and `%41` for an A."""
    return URL.create("sqlite", database=str(path))


def _be_durable(connection: Any, _: object) -> None:  # Any: the database driver's own connection
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={_BUSY_MS}")
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()
