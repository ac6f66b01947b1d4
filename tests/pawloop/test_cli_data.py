"""`pawloop data`: what a person asks about versions of photos, and what machines read of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pawloop import problem as problems
from pawloop.cli import app
from pawloop.errors import DatasetError
from pawloop.image import photo_id
from pawloop.registry import Registry
from tasks.doubted import Suspect, keep
from tasks.manifest import Dataset
from tests import published
from tests.tasks.albums import album, made, problem


@pytest.fixture
def versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Dataset, Dataset]:
    """Two versions of a problem; model 1 learned from the first and is champion."""
    folder, store = album(tmp_path / "photos"), tmp_path / "store"
    first = made(problem(folder), store)
    album(folder, each=10)
    (folder / "dog" / "dog001.jpg").rename(folder / "cat" / "was-dog.jpg")
    (folder / "dog" / "broken.jpg").write_bytes(b"no photo")
    second = made(problem(folder), store)
    version = published.publish(store, "test")
    card = version.folder / "card.json"
    card.write_text(card.read_text().replace('"id": "0000000000000000"', f'"id": "{first.id}"'))
    Registry(store, "test").promote(1, "a test", expected=None)
    monkeypatch.setenv("PAWLOOP_STORE", str(store))
    monkeypatch.setenv("PAWLOOP_PROBLEM", "test")
    return first, second


def said(*words: str) -> str:
    result = CliRunner().invoke(app, ["data", *words], catch_exceptions=False)
    return result.stdout


def told(*words: str) -> Any:  # Any: JSON's values
    return json.loads(said(*words, "--json"))


def test_a_version_leads_to_the_models_that_learned_from_it_and_to_its_sources(
    versions: tuple[Dataset, Dataset], tmp_path: Path
) -> None:
    first, second = versions

    rows = told("list")
    page = said("show", first.id[:6])

    assert [(row["id"], row["models"]) for row in rows] == [(second.id, {}), (first.id, {"1": "champion"})]
    assert f"sources: {tmp_path / 'photos'}" in page
    assert "models: 1 (champion)" in page


def test_a_photo_leads_to_the_versions_that_hold_it(
    versions: tuple[Dataset, Dataset], tmp_path: Path
) -> None:
    first, second = versions
    old, new = tmp_path / "photos" / "cat" / "cat000.jpg", tmp_path / "photos" / "cat" / "cat009.jpg"

    assert [row["id"] for row in told("list", "--photo", str(old))] == [second.id, first.id]
    assert [row["id"] for row in told("list", "--photo", photo_id(new.read_bytes()))] == [second.id]
    assert told("list", "--photo", "0123") == []


def test_show_tells_the_newest_version_with_what_it_set_aside(versions: tuple[Dataset, Dataset]) -> None:
    _, second = versions

    page, facts = said("show"), told("show")

    assert "set aside: 1 unreadable" in page
    assert facts["id"] == second.id
    assert facts["counts"] == {"cat": 11, "dog": 9}


def test_a_photo_that_changed_where_it_lies_is_named_by_a_check(
    versions: tuple[Dataset, Dataset], tmp_path: Path
) -> None:
    (tmp_path / "photos" / "cat" / "cat000.jpg").write_bytes(b"other")
    (tmp_path / "photos" / "cat" / "cat001.jpg").unlink()

    result = CliRunner().invoke(app, ["data", "show", "--check"])

    assert result.exit_code == 1
    assert "cat000.jpg: this photo has changed" in result.stderr
    assert "cat001.jpg: this photo has vanished" in result.stderr


def test_diff_tells_what_came_went_and_changed_its_class(versions: tuple[Dataset, Dataset]) -> None:
    first, second = versions

    change, page = told("diff"), said("diff", first.id, second.id)

    assert (change["from"], change["to"]) == (first.id, second.id)
    assert change["added"] == {"cat": 2, "dog": 2}
    assert [moved[1:] for moved in change["relabelled"]] == [["dog", "cat"]]
    assert "cat\t+2\t-0" in page
    assert "1 photos: dog became cat" in page
    assert f"{change['relabelled'][0][0]}: dog became cat" in page


def test_quarantine_gives_each_file_its_reason(versions: tuple[Dataset, Dataset]) -> None:
    assert "unreadable: dog/broken.jpg" in said("quarantine")
    assert [one["name"] for one in told("quarantine", "--verdict", "unreadable")] == ["dog/broken.jpg"]
    assert told("quarantine", "--verdict", "blank") == []
    wrong = CliRunner().invoke(app, ["data", "quarantine", "--verdict", "unreadible"])
    assert "no file was set aside as 'unreadible'; verdicts there are: " in wrong.stderr
    assert "unreadable" in wrong.stderr


def test_a_photo_that_no_version_holds_is_named(versions: tuple[Dataset, Dataset]) -> None:
    said_of_it = CliRunner().invoke(app, ["data", "list", "--photo", "nothing.jpg"]).stderr
    assert "no version holds the photo nothing.jpg" in said_of_it


def test_an_exported_version_is_a_folder_per_class(versions: tuple[Dataset, Dataset], tmp_path: Path) -> None:
    _, second = versions

    facts = told("export", str(tmp_path / "out"), "--version", second.id[:8])

    assert facts["photos"] == 20
    assert len(list((tmp_path / "out" / "cat").glob("*.jpg"))) == 11


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["show", "nothing"], r'version "nothing" is not there \(known: '),
        (["list", "-p", "nowhere.toml"], "there is no problem"),
    ],
)
def test_what_is_not_there_is_told(words: list[str], message: str, versions: tuple[Dataset, Dataset]) -> None:
    with pytest.raises(Exception, match=message):
        said(*words)


def test_a_label_held_for_wrong_is_named(versions: tuple[Dataset, Dataset]) -> None:
    _, second = versions
    rows = second.kept(["id", "name", "label"])
    row = rows["name"].to_pylist().index("cat/was-dog.jpg")
    keep(second, [Suspect(row, "cat", "dog", 0.02, True)], rows["id"].to_pylist())

    page, facts = said("show"), told("show")

    assert "labels held for wrong: 1" in page
    assert "cat/was-dog.jpg: labelled cat, looks like dog" in page
    assert [(one["name"], one["likely"]) for one in facts["doubted"]] == [("cat/was-dog.jpg", "dog")]


def test_damaged_notes_of_a_version_are_left_out_and_named(
    versions: tuple[Dataset, Dataset], caplog: pytest.LogCaptureFixture
) -> None:
    _, second = versions
    for name in ("suspects.json", "validation.json"):
        (second.folder / name).write_text("[{")

    assert told("show")["doubted"] == told("show")["failed_checks"] == []

    for name in ("suspects.json", "validation.json"):
        assert f"{second.folder / name}: is not as it was written" in caplog.text


def test_one_version_has_nothing_to_be_compared_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(problem(album(tmp_path / "photos")), tmp_path / "store")
    monkeypatch.setenv("PAWLOOP_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("PAWLOOP_PROBLEM", "test")

    with pytest.raises(DatasetError, match="is the only version"):
        said("diff")


def test_a_problem_file_says_whose_versions_its_name_means(
    versions: tuple[Dataset, Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(problems, "PROBLEMS", tmp_path)
    assert len(told("list")) == 2
    published.problem_file(tmp_path, "renamed").rename(tmp_path / "test.toml")
    assert told("list") == []


def test_a_problem_without_versions_says_what_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAWLOOP_STORE", str(tmp_path))

    assert told("list") == []
    with pytest.raises(DatasetError, match="run `pawloop retrain`"):
        said("show")
