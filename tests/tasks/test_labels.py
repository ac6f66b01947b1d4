"""People's labels as a source: what was drawn by chance may judge, the rest only teaches."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from pawloop.image import photo_id
from pawloop.journal import Journal
from pawloop.journal_rows import Label, Prediction, Why
from tasks.collect import collect
from tests.tasks.albums import album, made, photo, problem, reasons

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


def test_a_correction_of_a_photo_that_a_folder_holds_leaves_it_on_its_side(
    journal: Journal, tmp_path: Path
) -> None:
    store, photos = tmp_path / "store", album(tmp_path / "photos")
    alone = made(problem(photos), store)
    sides = {row["id"]: row["side"] for row in alone.kept(["id", "side"]).to_pylist()}
    for number in range(8):
        label(journal, store, number, "cat", "correction")
        label(journal, store, 1000 + number, "dog", "correction")
    beside = made(problem(photos, "journal://"), store)
    assert {row["id"]: row["side"] for row in beside.kept(["id", "side"]).to_pylist()} == sides


def test_a_correction_that_contradicts_a_folder_says_what_mends_it(journal: Journal, tmp_path: Path) -> None:
    store, photos = tmp_path / "store", album(tmp_path / "photos")
    label(journal, store, 0, "dog", "correction")
    told = reasons(made(problem(photos, "journal://"), store))
    assert "move the file to its class, or label the photo again" in told["cat/cat000.jpg"]


def test_labels_of_a_class_that_was_renamed_are_named(journal: Journal, tmp_path: Path) -> None:
    for number in range(3):
        label(journal, tmp_path / "store", number, "hound" if number else "cat", "correction")
    found = collect(problem(album(tmp_path / "photos", seed=500), "journal://"), tmp_path / "store")
    assert found.notes == ['journal://: 2 labelled "hound", which is no class']


def test_a_correction_of_a_photo_that_lies_in_no_class_folder_only_teaches(
    journal: Journal, tmp_path: Path
) -> None:
    store, photos = tmp_path / "store", album(tmp_path / "photos")
    ids = [label(journal, store, 7000 + n, "dog", "correction") for n in range(12)]
    for n in range(12):
        (photos / f"{n}.jpg").write_bytes(photo(7000 + n))
    dataset = made(problem(photos, "journal://"), store)
    sides = {row["id"]: row["side"] for row in dataset.kept(["id", "side"]).to_pylist()}
    assert {sides[id] for id in ids} == {"train"}
