"""Exploring: one page per version that needs nothing else, and a summary small enough for an artifact."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tasks.atlas import atlas
from tasks.explore import explore
from tasks.manifest import STATISTICS
from tasks.shortcuts import shortcut
from tasks.validate import validate
from tests.tasks.albums import album, made, photo, problem


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = album(tmp_path / "photos", ("schöne <Katze>", "dog"), each=20)
    (folder / "dog" / "twin.jpg").write_bytes(photo(1003, quality=50))
    (folder / "dog" / "text.jpg").write_bytes(b"text")
    return folder


def test_the_report_is_one_page_that_shows_what_is_there(folder: Path, tmp_path: Path) -> None:
    about = problem(folder, classes=("schöne <Katze>", "dog"))
    before = made(about, tmp_path / "store")
    album(folder, ("schöne <Katze>", "dog"), each=24)
    dataset = made(about, tmp_path / "store")
    validate(dataset, about, before)
    embeddings = np.random.default_rng(0).normal(size=(48, 16)).astype(np.float32)

    report = explore(dataset, about, before, embeddings)

    page = report.html.read_text(encoding="utf-8")
    assert report.html.stat().st_size < 5_000_000
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    assert "schöne &lt;Katze&gt;" in page
    assert "<Katze>" not in page
    assert "8 photos are new and 0 are gone" in page
    assert "near duplicate: 1" in page
    assert page.count("<circle") == 48
    assert "Unlike all others" in page


def test_the_summary_is_small_and_its_pictures_are_inside(folder: Path, tmp_path: Path) -> None:
    about = problem(folder, classes=("schöne <Katze>", "dog"))

    summary = explore(made(about, tmp_path / "store"), about, None).markdown

    assert len(summary.encode()) < 200_000
    assert summary.count("](data:image/png;base64,") == 3
    assert "Set aside: 1 near duplicate, 1 unreadable." in summary


def test_names_that_strangers_chose_fetch_no_picture_in_the_summary(folder: Path, tmp_path: Path) -> None:
    evil = "![x](http://evil.example/beacon.png) <img src=x> \x1b[31m"
    (tmp_path / "list.csv").write_text(f'path,label\nno.jpg,"{evil}"\n')
    about = problem(folder, tmp_path / "list.csv", classes=("schöne <Katze>", "dog"))

    summary = explore(made(about, tmp_path / "store"), about, None).markdown

    assert "beacon.png" in summary
    assert "![x]" not in summary
    assert "<img" not in summary
    assert "\x1b" not in summary


def test_a_photo_that_vanished_does_not_keep_the_report_from_being_made(folder: Path, tmp_path: Path) -> None:
    about = problem(folder, classes=("schöne <Katze>", "dog"))
    dataset = made(about, tmp_path / "store")
    (folder / "dog" / "dog000.jpg").unlink()

    assert explore(dataset, about, None).html.exists()


def test_a_classifier_that_could_cheat_by_brightness_is_named() -> None:
    rng = np.random.default_rng(0)
    labels = np.array(["cat", "dog"] * 100)
    statistics = {name: rng.normal(size=200).astype(np.float32) for name in STATISTICS}
    honest = shortcut(statistics, labels)
    statistics["brightness"] += np.where(labels == "cat", 3, 0).astype(np.float32)
    cheating = shortcut(statistics, labels)

    assert honest is not None
    assert cheating is not None
    assert not honest.is_suspicious
    assert cheating.is_suspicious
    assert "most of all by brightness" in cheating.sentence


def test_too_few_photos_tell_nothing_about_cheating() -> None:
    statistics = {name: np.zeros(6, np.float32) for name in STATISTICS}

    assert shortcut(statistics, np.array(["cat"] * 3 + ["dog"] * 3)) is None


def test_a_class_of_few_photos_does_not_hide_what_the_others_give_away() -> None:
    rng = np.random.default_rng(0)
    labels = np.array(["cat", "dog"] * 100 + ["fox"] * 4)
    statistics = {name: rng.normal(size=204).astype(np.float32) for name in STATISTICS}
    statistics["brightness"] += np.where(labels == "cat", 3, 0).astype(np.float32)
    told = shortcut(statistics, labels)
    alone = shortcut({name: values[:200] for name, values in statistics.items()}, labels[:200])

    assert told is not None
    assert alone is not None
    assert told == replace(alone, left_out=1)
    assert "fewer than 5 photos: 1." in told.sentence
    assert "Left out" not in alone.sentence


def test_the_loneliest_photo_is_the_first_outlier() -> None:
    embeddings = np.random.default_rng(0).normal(1, 0.1, size=(60, 8)).astype(np.float32)
    embeddings[17] = -embeddings[17]

    found = atlas(embeddings)

    assert found is not None
    assert found.outliers[0] == 17


def test_few_embeddings_make_no_map() -> None:
    assert atlas(np.zeros((5, 8), np.float32)) is None


def test_a_photo_beside_the_map_seems_no_lonelier_than_one_on_it() -> None:
    embeddings = np.random.default_rng(0).standard_normal((4000, 8)).astype(np.float32)

    found = atlas(embeddings, outlier_count=400)

    assert found is not None
    assert 0.4 < np.isin(found.outliers, found.rows).mean() < 0.6
