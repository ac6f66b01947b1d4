from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from pawloop.errors import JournalError
from pawloop.journal import Journal
from pawloop.journal_rows import TAKEN_BACK, Label, Prediction, by_photo
from pawloop.settings import Settings

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(url(tmp_path))


def url(folder: Path) -> str:
    return f"sqlite:///{folder / 'state' / 'journal.db'}"


def prediction(number: int, **changes: object) -> Prediction:
    values = {
        "id": f"00000000-0000-7000-8000-{number:012d}",
        "at": NOON + timedelta(seconds=number),
        "photo_id": f"{number:064x}",
        "part": "champion",
        "model": "colours",
        "version": 1,
        "precision": "float32",
        "label": "cat",
        "probabilities": {"cat": 0.9, "dog": 0.1},
        "reason": None,
        "latency_ms": 5.0,
        "is_kept": True,
        **changes,
    }
    return Prediction(**values)  # type: ignore[arg-type]  # a dict of mixed values


def label(number: int, name: str) -> Label:
    return Label(prediction(number).id, NOON, name, "correction")


@contextmanager
def asked(journal: Journal) -> Iterator[list[tuple[str, Any]]]:  # Any: the database driver's values
    """The queries that the journal sends meanwhile, each with its values."""
    queries: list[tuple[str, Any]] = []

    def note(_connection: object, _cursor: object, query: str, values: object, *_: object) -> None:
        queries.append((query, values))

    event.listen(journal._engine, "before_cursor_execute", note)
    try:
        yield queries
    finally:
        event.remove(journal._engine, "before_cursor_execute", note)


def test_sqlite_is_set_up_to_survive_a_power_cut(journal: Journal) -> None:
    assert journal.pragmas() == {"journal_mode": "wal", "synchronous": 2, "busy_timeout": 10_000}


@pytest.mark.parametrize("name", ["a?1", "wh?at @#1%41 ö", "a&uri=true", "file:a"])
def test_a_store_of_any_name_holds_its_own_journal(tmp_path: Path, name: str) -> None:
    store = tmp_path / name
    place = Settings(store=store, journal="").journal_url
    assert place
    Journal(place).add([prediction(1)])
    assert (store / "state" / "journal.db").stat().st_size
    assert [one.name for one in tmp_path.iterdir()] == [name]
    assert len(list(Journal(place).predictions("colours"))) == 1


def test_a_journal_that_a_person_names_is_taken_as_it_is_written() -> None:
    named = "sqlite:////data/a%20b.db?timeout=5"
    assert Settings(journal=named).journal_url == named


def test_what_was_written_is_read_back_in_another_process(tmp_path: Path, journal: Journal) -> None:
    rows = [prediction(1), prediction(2, reason="cost")]
    journal.add(rows)
    assert [row.id for row in journal.predictions("colours")] == [row.id for row in rows]
    code = (
        "from pawloop.journal import Journal; "
        f"print(len(list(Journal({url(tmp_path)!r}).predictions('colours'))))"
    )
    root = Path(__file__).resolve().parents[2]
    told = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "2"


def test_a_label_that_came_before_its_prediction_is_joined_later(journal: Journal) -> None:
    journal.add([], [label(1, "dog")])
    assert list(journal.labelled("colours")) == []
    journal.add([prediction(1)])
    (found,) = journal.labelled("colours")
    assert (found.photo_id, found.label.label) == (prediction(1).photo_id, "dog")
    assert (found.is_kept, found.label.why) == (True, "correction")


def test_the_later_of_two_labels_counts(journal: Journal) -> None:
    journal.add([prediction(1)], [label(1, "dog"), label(1, "cat")])
    assert [found.label.label for found in journal.labelled("colours")] == ["cat"]


def test_what_was_answered_is_not_read_to_know_what_is_labelled(journal: Journal) -> None:
    journal.add([prediction(1)], [label(1, "dog")])
    with asked(journal) as queries:
        assert len(list(journal.labelled("colours"))) == 1
    [(query, _)] = queries
    assert "photo_id" in query
    assert "probabilities" not in query


def test_a_challengers_answers_stand_apart(journal: Journal) -> None:
    journal.add([prediction(1), prediction(1, part="challenger", version=2)], [label(1, "dog")])
    assert [row.version for row in journal.predictions("colours", "challenger")] == [2]
    assert len(list(journal.labelled("colours"))) == 1


def test_a_failed_write_leaves_nothing_of_it(journal: Journal) -> None:
    with pytest.raises(JournalError):
        journal.add([prediction(1), prediction(1)])
    assert list(journal.predictions("colours")) == []


def test_a_journal_that_cannot_be_opened_says_where_and_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where a folder should be")
    with pytest.raises(JournalError, match="PAWLOOP_JOURNAL"):
        Journal(url(tmp_path))


def test_labelled_photos_are_never_forgettable(journal: Journal) -> None:
    journal.add([prediction(1), prediction(2), prediction(3, is_kept=False)], [label(2, "cat")])
    assert journal.forgettable() == [prediction(1).photo_id]
    journal.forget([prediction(1).photo_id])
    assert journal.forgettable() == []
    journal.add([prediction(4), prediction(5, photo_id=prediction(4).photo_id, is_kept=False)])
    journal.add([], [label(5, "dog")])
    assert journal.forgettable() == [], "a label of any of its answers is one of the photo"


def test_a_label_that_was_taken_back_is_none_until_the_next_one(journal: Journal) -> None:
    journal.add([prediction(1)], [label(1, "dog")])
    journal.add([], [label(1, TAKEN_BACK)])
    assert list(journal.labelled("colours")) == []
    assert journal.forgettable() == [prediction(1).photo_id]
    assert journal.outdated(None, NOON + timedelta(days=1)).ids == [prediction(1).id]
    journal.add([], [label(1, "cat")])
    assert [one.label.label for one in journal.labelled("colours")] == ["cat"]
    assert journal.forgettable() == []


def test_taking_one_word_back_leaves_what_was_said_of_the_same_photo_elsewhere(journal: Journal) -> None:
    again = prediction(2, photo_id=prediction(1).photo_id)
    journal.add([prediction(1), again], [label(1, "dog"), label(2, "cat"), label(2, TAKEN_BACK)])
    (found,) = by_photo(journal.labelled("colours"))
    assert found.label.label == "dog"
    assert journal.forgettable() == []


def test_the_oldest_photos_are_forgettable_first_and_each_is_named_once(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pawloop.journal._GONE_AT_ONCE", 3)
    again = {"photo_id": prediction(2).photo_id}
    journal.add([prediction(9), prediction(2), prediction(3, **again), prediction(4, **again), prediction(1)])
    assert journal.forgettable() == [prediction(1).photo_id, prediction(2).photo_id]
    journal.add([], [label(1, "cat"), label(3, "cat")])
    assert journal.forgettable() == [prediction(9).photo_id]


@pytest.mark.parametrize("is_of_before", [False, True])
def test_what_is_asked_while_the_server_answers_walks_an_index(tmp_path: Path, is_of_before: bool) -> None:
    journal = Journal(url(tmp_path))
    journal.add([prediction(1), prediction(2), prediction(1, part="challenger", version=2)])
    file = tmp_path / "state" / "journal.db"
    if is_of_before:
        journal.close()
        with closing(sqlite3.connect(file)) as before:
            before.execute("DROP INDEX ix_predictions_kept")
            before.execute("DROP INDEX ix_predictions_challenger")
        journal = Journal(url(tmp_path))
    with asked(journal) as queries:
        assert len(journal.forgettable()) == 2
        assert journal.paired_count("colours", 1, 2, NOON) == 1
    with closing(sqlite3.connect(file)) as now:
        plans = [now.execute(f"EXPLAIN QUERY PLAN {query}", values).fetchall() for query, values in queries]
    oldest, labelled, paired = [" ".join(step[-1] for step in plan) for plan in plans]
    assert oldest == "SEARCH predictions USING COVERING INDEX ix_predictions_kept (is_kept=?)"
    assert "INDEX ix_predictions_photo_id (photo_id=?)" in labelled
    assert "mine USING INDEX ix_predictions_challenger (model=? AND version=? AND at>?)" in paired
    assert "SCAN" not in labelled + paired


def test_a_journal_that_another_process_holds_is_read_without_its_indices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("pawloop.journal._BUSY_MS", 1)
    before = Journal(url(tmp_path))
    before.add([prediction(1)])
    before.close()
    with closing(sqlite3.connect(tmp_path / "state" / "journal.db")) as other:
        other.execute("DROP INDEX ix_predictions_kept")
        other.execute("BEGIN IMMEDIATE")
        assert len(list(Journal(url(tmp_path)).predictions("colours"))) == 1
    assert "no index ix_predictions_kept yet" in caplog.text
