"""Looking at versions: what there is, what changed, what was set aside, and taking it out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pawloop.errors import DatasetError, SourceError
from tasks.allowed import require_allowed
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


@pytest.mark.parametrize(
    "source", ["sample://pets", "{home}/pets", "s3://bucket/photos/cats", "https://host/x.zip"]
)
def test_sources_below_an_allowed_place_may_be_asked_for(source: str, tmp_path: Path) -> None:
    places = [str(tmp_path), "s3://bucket/photos", "https://host"]

    require_allowed(source.format(home=tmp_path), places)


@pytest.mark.parametrize(
    "source", ["/etc", "{home}/../x", "s3://bucket/photos2", "s3://bucket/photos/../x", "https://host.evil/x"]
)
def test_other_sources_are_refused(source: str, tmp_path: Path) -> None:
    places = [str(tmp_path), "s3://bucket/photos", "https://host"]

    with pytest.raises(SourceError, match=re.escape("does not allow this source (allowed: ")):
        require_allowed(source.format(home=tmp_path), places)
