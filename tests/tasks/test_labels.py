"""People's labels as a source: what was drawn by chance may judge, the rest only teaches."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from pawloop.image import photo_id
from pawloop.journal import Journal, Label, Prediction, Why
from tasks.collect import collect
from tests.tasks.albums import album, made, photo, problem

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Journal:
    monkeypatch.setenv("PAWLOOP_JOURNAL", f"sqlite:///{tmp_path / 'journal.db'}")
    return Journal(f"sqlite:///{tmp_path / 'journal.db'}")


def label(journal: Journal, store: Path, seed: int, said: str, why: Why) -> str:
    """A photo that the server answered and kept, and that a person labelled; its id."""
    content = photo(seed)
    id = photo_id(content)
    kept = store / "photos" / "journal" / id[:2] / id
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_bytes(content)
    answer = Prediction(
        str(seed), NOW, id, "champion", "test", 1, "float32", "cat", {"cat": 0.6, "dog": 0.4}, None, 1.0, True
    )
    journal.add([answer], [Label(str(seed), NOW, said, why)])
    return id


def test_labelled_photos_join_those_of_other_sources(journal: Journal, tmp_path: Path) -> None:
    store = tmp_path / "store"
    corrections = [label(journal, store, 7000 + n, "dog", "correction") for n in range(12)]
    audits = [label(journal, store, 8000 + n, "cat", "audit") for n in range(12)]

    dataset = made(problem(album(tmp_path / "photos"), "journal://"), store)

    side = {row["id"]: row["side"] for row in dataset.kept(["id", "side"]).to_pylist()}
    assert {side[id] for id in corrections} == {"train"}
    assert {side[id] for id in audits} != {"train"}
    assert len(side) == 40


def test_the_last_word_about_a_photo_counts_whichever_answer_it_is_about(
    journal: Journal, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    id = label(journal, store, 7000, "dog", "correction")
    again = Prediction("again", NOW, id, "champion", "test", 1, "float32", "cat", {}, None, 1.0, False)
    journal.add([again], [Label("again", NOW, "cat", "audit")])
    dataset = made(problem(album(tmp_path / "photos"), "journal://"), store)
    rows = [row for row in dataset.kept(["id", "label", "side"]).to_pylist() if row["id"] == id]
    assert rows == [{"id": id, "label": "cat", "side": "train", "verdict": "kept"}]


def test_a_journal_without_labels_is_only_told(journal: Journal, tmp_path: Path) -> None:
    found = collect(problem(album(tmp_path / "photos"), "journal://"), tmp_path / "store")

    assert found.notes == ["journal://: no labels yet: nobody has labelled a photo so far"]


def test_a_journal_that_is_switched_off_is_only_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAWLOOP_JOURNAL", "off")

    found = collect(problem(album(tmp_path / "photos"), "journal://"), tmp_path / "store")

    assert found.notes == ["journal://: switched off (PAWLOOP_JOURNAL=off)"]
