"""The journal: what was answered, and what people say the right answer was.

Transactions, in SQLite or PostgreSQL, on the tables of `journal_rows`; every call returns only when the disk
has it. Knows SQL. Knows nothing about threads, servers or what is learned from it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import (
    URL,
    Select,
    and_,
    create_engine,
    delete,
    event,
    exists,
    func,
    insert,
    inspect,
    select,
    true,
    update,
)
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.sql.expression import ColumnElement, FromClause

from pawloop.errors import JournalError
from pawloop.journal_rows import (
    CHALLENGER,
    LABELS,
    METADATA,
    PREDICTIONS,
    TAKEN_BACK,
    Label,
    Labelled,
    Outdated,
    Paired,
    Part,
    Prediction,
    by_photo,
)

log = logging.getLogger(__name__)

_BUSY_MS: Final = 10_000
_GONE_AT_ONCE: Final = 1000  # more than a batch of answers brings


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
                METADATA.create_all(self._engine)
            except OperationalError:  # another process made them in between
                METADATA.create_all(self._engine)
            self._add_indices()
        self._opened = _identities(self._file)

    def add(self, predictions: Sequence[Prediction], labels: Sequence[Label] = ()) -> None:
        """Write all of it in one transaction. Raises JournalError with nothing written."""
        with self._transaction() as connection:
            if predictions:
                connection.execute(insert(PREDICTIONS), [_row(row) for row in predictions])
            if labels:
                connection.execute(insert(LABELS), [_row(row) for row in labels])

    def labelled(self, model: str) -> Iterator[Labelled]:
        """Every answered photo of a model that somebody labelled, by its newest label, oldest first."""
        query = (
            select(PREDICTIONS.c.photo_id, PREDICTIONS.c.is_kept, *_named(LABELS, "label"))
            .join(LABELS, LABELS.c.prediction_id == PREDICTIONS.c.id)
            .where(_stands(), PREDICTIONS.c.model == model)
            .where(PREDICTIONS.c.part == "champion")
            .order_by(LABELS.c.number)
        )
        with self._transaction() as connection:
            for row in connection.execute(query).mappings():
                label = Label(**{name: row[f"label_{name}"] for name in Label.__slots__})
                yield Labelled(row["photo_id"], row["is_kept"], label)

    def predictions(self, model: str, part: Part = "champion") -> Iterator[Prediction]:
        """Every answer of a model in that part, oldest first."""
        query = (
            select(PREDICTIONS)
            .where(PREDICTIONS.c.model == model, PREDICTIONS.c.part == part)
            .order_by(PREDICTIONS.c.at, PREDICTIONS.c.id)
        )
        with self._transaction() as connection:
            for row in connection.execute(query).mappings():
                yield Prediction(**row)

    def paired(self, model: str, champion: int, challenger: int, since: datetime) -> Iterator[Paired]:
        """What two versions answered to the same photos since a time, oldest first, a photo once."""
        mine, theirs = PREDICTIONS.alias("mine"), PREDICTIONS.alias("theirs")
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
        mine, theirs = PREDICTIONS.alias("mine"), PREDICTIONS.alias("theirs")
        query = (
            select(func.count(mine.c.photo_id.distinct()))
            .select_from(_pairs(mine, theirs))
            .where(*_between(mine, theirs, model, champion, challenger, since))
        )
        with self._transaction() as connection:
            return int(connection.execute(query).scalar_one())

    def forgettable(self) -> list[str]:
        """Ids of the oldest kept photos that nobody labelled, up to a thousand; none where there are none."""
        oldest = select(PREDICTIONS.c.photo_id).where(PREDICTIONS.c.is_kept).order_by(PREDICTIONS.c.at)
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
        change = update(PREDICTIONS).where(PREDICTIONS.c.photo_id.in_(photo_ids)).values(is_kept=False)
        with self._transaction() as connection:
            connection.execute(change)

    def outdated(self, since: datetime | None, until: datetime) -> Outdated:
        """Of the answers given after `since` and before `until` the oldest, a thousand looked at."""
        columns = (PREDICTIONS.c.id, PREDICTIONS.c.at, PREDICTIONS.c.photo_id, PREDICTIONS.c.is_kept)
        query = (
            select(*columns)
            .where(PREDICTIONS.c.at < until, true() if since is None else PREDICTIONS.c.at > since)
            .order_by(PREDICTIONS.c.at)
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
            connection.execute(delete(PREDICTIONS).where(PREDICTIONS.c.id.in_(ids)))

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
        for index in PREDICTIONS.indexes:
            try:
                index.create(self._engine, checkfirst=True)
            except DBAPIError as error:
                if inspect(self._engine).has_index(PREDICTIONS.name, index.name or ""):
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
        select(PREDICTIONS.c.photo_id)
        .distinct()
        .join(LABELS, LABELS.c.prediction_id == PREDICTIONS.c.id)
        .where(PREDICTIONS.c.photo_id.in_(photo_ids), _stands())
    )


def _stands() -> ColumnElement[bool]:
    """Whether a label is the last word on its answer, and no taking back."""
    later = LABELS.alias("later")
    is_outdone = exists().where(
        later.c.prediction_id == LABELS.c.prediction_id, later.c.number > LABELS.c.number
    )
    return and_(~is_outdone, LABELS.c.label != TAKEN_BACK)


def _kept_by_others(photo_ids: Sequence[str], ids: Sequence[str]) -> Select[tuple[str]]:
    """Of some photos those that another answer keeps than these."""
    return select(PREDICTIONS.c.photo_id).where(
        PREDICTIONS.c.photo_id.in_(photo_ids), PREDICTIONS.c.is_kept, PREDICTIONS.c.id.not_in(ids)
    )


def _pairs(mine: FromClause, theirs: FromClause) -> FromClause:
    return mine.join(theirs, mine.c.id == theirs.c.id)


def _between(
    mine: FromClause, theirs: FromClause, model: str, champion: int, challenger: int, since: datetime
) -> tuple[ColumnElement[bool], ...]:
    return (
        mine.c.part == CHALLENGER, mine.c.model == model, mine.c.version == challenger, mine.c.at >= since,
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
