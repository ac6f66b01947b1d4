"""Looking at versions: what there is, what changed, what was set aside, and taking it out."""

from __future__ import annotations

from pathlib import Path

import pytest

from pawloop.card import Card
from pawloop.errors import DatasetError
from pawloop.registry import read_card
from tasks.browse import difference, quarantine, summaries
from tasks.manifest import comparable, versions
from tasks.take_out import take_out
from tests import published
from tests.tasks.albums import album, made, problem


def test_versions_are_told_newest_last_and_their_difference_by_class(tmp_path: Path) -> None:
    folder = album(tmp_path / "photos")
    first = made(problem(folder), tmp_path / "store")
    album(folder, each=10)
    (folder / "dog" / "dog000.jpg").unlink()
    (folder / "dog" / "dog001.jpg").rename(folder / "cat" / "was-dog.jpg")
    (folder / "dog" / "broken.jpg").write_bytes(b"no photo")
    second = made(problem(folder), tmp_path / "store")

    told = summaries(tmp_path / "store", "test")
    change = difference(first, second)

    assert [one.id for one in told] == [first.id, second.id]
    assert told[-1].counts == {"cat": 11, "dog": 8}
    assert change.added == {"cat": 2, "dog": 2}
    assert change.removed == {"dog": 1}
    assert len(change.relabelled) == 1
    assert [(one.name, one.verdict) for one in quarantine(second)] == [("dog/broken.jpg", "unreadable")]


def test_each_card_is_read_once_however_many_versions_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, store = album(tmp_path / "photos"), tmp_path / "store"
    for each in (8, 9, 10):
        made(problem(album(folder, each=each)), store)
    for _ in range(2):
        published.publish(store, "test")
    read: list[str] = []

    def noted(place: Path) -> Card:
        read.append(place.name)
        return read_card(place)

    monkeypatch.setattr("pawloop.registry.read_card", noted)

    assert len(summaries(store, "test")) == 3

    assert read == ["1", "2"]


@pytest.mark.parametrize("by_side", [False, True])
def test_what_is_taken_out_and_collected_again_is_the_same_version(tmp_path: Path, by_side: bool) -> None:
    dataset = made(problem(album(tmp_path / "photos")), tmp_path / "store")

    count = take_out(dataset, tmp_path / "out", by_side=by_side)

    assert count == 16
    assert made(problem(tmp_path / "out"), tmp_path / "another").id == dataset.id


def test_nothing_is_taken_out_into_a_folder_that_holds_files(tmp_path: Path) -> None:
    dataset = made(problem(album(tmp_path / "photos")), tmp_path / "store")

    with pytest.raises(DatasetError, match="holds files already"):
        take_out(dataset, tmp_path / "photos")


def test_an_export_that_fails_leaves_the_folder_for_the_next_one(tmp_path: Path) -> None:
    dataset = made(problem(album(tmp_path / "photos")), tmp_path / "store")
    moved = tmp_path / "photos" / "dog" / "dog001.jpg"
    moved.rename(tmp_path / "elsewhere.jpg")

    with pytest.raises(DatasetError, match="has vanished"):
        take_out(dataset, tmp_path / "out")
    (tmp_path / "elsewhere.jpg").rename(moved)

    assert take_out(dataset, tmp_path / "out") == 16


def test_what_is_set_aside_is_told_as_it_is_now(tmp_path: Path) -> None:
    folder, store = album(tmp_path / "photos"), tmp_path / "store"
    (folder / "cat" / "again.jpg").write_bytes((folder / "cat" / "cat003.jpg").read_bytes())
    first = made(problem(folder), store)
    assert [one.name for one in quarantine(first)] == ["cat/cat003.jpg"]

    (folder / "cat" / "again.jpg").unlink()
    assert made(problem(folder), store).id == first.id
    assert [one.name for one in quarantine(first)] == []
    assert summaries(store, "test")[0].set_aside == {}

    (folder / "cat" / "zz.jpg").write_bytes((folder / "cat" / "cat003.jpg").read_bytes())
    made(problem(folder), store)
    assert [one.name for one in quarantine(first)] == ["cat/zz.jpg"]
    assert summaries(store, "test")[0].set_aside == {"exact duplicate": 1}
    assert len(first.rows()) == 17


def test_a_version_that_is_found_again_is_the_last_one(tmp_path: Path) -> None:
    folder, store = album(tmp_path / "photos"), tmp_path / "store"
    first = made(problem(folder), store)
    album(folder, each=10)
    second = made(problem(folder), store)
    for path in folder.rglob("*009.jpg"):
        path.unlink()
    for path in folder.rglob("*008.jpg"):
        path.unlink()

    assert made(problem(folder), store).id == first.id

    assert [one.id for one in versions(store, "test")] == [second.id, first.id]


def test_photos_are_compared_with_those_of_the_same_sources(tmp_path: Path) -> None:
    here, other, store = album(tmp_path / "here"), album(tmp_path / "other", seed=300), tmp_path / "store"
    first, once = made(problem(here), store), made(problem(other), store)
    found = versions(store, "test")

    assert comparable(found, [str(here)]) == first
    assert comparable(found, [str(here), "journal://test"]) == first
    assert comparable(found, ["elsewhere"]) == once
    assert comparable([], ["elsewhere"]) is None
