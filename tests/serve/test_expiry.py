"""Answers of long ago that nobody labelled, and their photos, go."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pawloop.errors import JournalError
from pawloop.image import photo_id
from pawloop.journal import Journal
from pawloop.journal_rows import Label, Part, Prediction
from pawloop.settings import Settings
from serve.answer import new_id
from serve.expiry import Expiry
from serve.kept import KeptPhotos
from tests import published
from tests.serve.running import running, settings, until

NOW = datetime.now(UTC)


@pytest.fixture
def configured(tmp_path: Path) -> Settings:
    published.champion(tmp_path / "store")
    return settings(tmp_path, journal="", keep_answers_days=30)


@pytest.fixture
def journal(configured: Settings) -> Journal:
    assert configured.journal_url
    return Journal(configured.journal_url)


def answered(days_ago: float, photo: bytes, part: Part = "champion", *, is_kept: bool = True) -> Prediction:
    at = NOW - timedelta(days=days_ago)
    return Prediction(
        new_id(), at, photo_id(photo), part, "colours", 1, "float32", "cat", {"cat": 1.0}, None, 1.0, is_kept
    )


@pytest.mark.parametrize("at_once", [1, 2, 3, 1000])
def test_what_is_old_and_has_no_label_goes(
    configured: Settings, journal: Journal, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pawloop.journal._GONE_AT_ONCE", at_once)
    photos = KeptPhotos(configured)
    for photo in (b"alone", b"twice", b"new", b"labelled", b"again"):
        photos.keep(photo_id(photo), photo)
    old = [answered(90, b"alone"), answered(80, b"twice"), answered(75, b"twice"), answered(50, b"again")]
    shown = answered(70, b"labelled")
    late = [answered(20, b"new"), answered(10, b"again", is_kept=True)]
    shadow = replace(old[0], part="challenger", at=old[0].at + timedelta(seconds=1))
    unkept = answered(60, b"labelled", is_kept=False)
    journal.add([*old, shown, unkept, *late, shadow], [Label(unkept.id, NOW, "dog", "correction")])
    expiry = Expiry(configured, photos)
    while expiry.is_due:
        expiry.go_on(lambda: journal)
    left = {row.id for row in journal.predictions("colours")}
    assert left == {one.id for one in (shown, unkept, *late)}
    assert list(journal.predictions("colours", "challenger")) == []
    there = [photos.path(photo_id(photo)).exists() for photo in (b"alone", b"twice")]
    assert there == [False, False]
    assert all(photos.path(photo_id(photo)).exists() for photo in (b"new", b"labelled", b"again"))


def test_without_the_setting_all_stay(configured: Settings) -> None:
    forever = configured.model_copy(update={"keep_answers_days": 0})
    assert not Expiry(forever, KeptPhotos(forever)).is_due


def test_a_server_forgets_without_being_asked(configured: Settings, journal: Journal) -> None:
    journal.add([answered(31, b"old"), answered(29, b"new")])
    with running(configured):
        until(lambda: len(list(journal.predictions("colours"))) == 1)


def test_what_cannot_be_deleted_now_is_deleted_later(
    configured: Settings, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal.add([answered(31, b"old")])
    monkeypatch.setattr("serve.expiry._EVERY_S", 0.1)
    delete, failed = Journal.delete, []

    def locked(*given: object) -> None:
        if not failed:
            failed.append(1)
            raise JournalError("database is locked")
        delete(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(Journal, "delete", locked)
    with running(configured):
        until(lambda: not list(journal.predictions("colours")))
