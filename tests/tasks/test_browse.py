"""Looking at versions: what there is, what changed, what was set aside, and taking it out."""

from __future__ import annotations

from pathlib import Path

import pytest

from pawloop.errors import DatasetError
from tasks.browse import difference, quarantine, summaries
from tasks.take_out import take_out
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
