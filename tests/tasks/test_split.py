"""Splitting: a photo's side is its own, and the same photos are the same version."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any, Self

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pawloop.errors import DatasetError
from tasks.manifest import SIDES, Dataset, versions
from tasks.split import Member, side_of, split, version_id
from tests.tasks.albums import album, curated, made, photo, problem


def sides(dataset: Dataset) -> dict[str, str]:
    return {row["id"]: row["side"] for row in dataset.kept(["id", "side"]).to_pylist()}


def test_a_photo_never_changes_side_when_photos_are_added(tmp_path: Path) -> None:
    folder = album(tmp_path / "photos", each=20)
    (folder / "cat" / "twin.jpg").write_bytes(photo(3, quality=50))  # a near twin of cat003
    before = sides(made(problem(folder), tmp_path / "store"))
    album(folder, each=30)
    (folder / "cat" / "bridge.jpg").write_bytes(photo(3, quality=85))

    after = sides(made(problem(folder), tmp_path / "store"))

    assert len(after) > len(before)
    assert {id: after[id] for id in before} == before


@given(st.text(), st.floats(0.01, 0.4), st.floats(0.01, 0.4))
def test_a_side_is_fixed_by_problem_and_key(key: str, test: float, validation: float) -> None:
    side = side_of("pets", key, test, validation)

    assert side == side_of("pets", key, test, validation)
    if side == "test":
        assert side_of("pets", key, test + 0.1, validation) == "test"


def test_sides_have_the_shares_that_were_asked_for() -> None:
    drawn = [side_of("pets", str(number), 0.2, 0.1) for number in range(20_000)]

    assert abs(drawn.count("test") / 20_000 - 0.2) < 0.01
    assert abs(drawn.count("validation") / 20_000 - 0.1) < 0.01
    assert drawn[:50] != [side_of("birds", str(number), 0.2, 0.1) for number in range(50)]


def test_names_order_and_place_make_no_other_version(tmp_path: Path) -> None:
    folder = album(tmp_path / "photos")
    for number, path in enumerate(sorted(folder.rglob("*.jpg"), reverse=True)):
        other = tmp_path / "elsewhere" / path.parent.name / f"{number}.jpeg"
        other.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, other)

    one, two = made(problem(folder), tmp_path / "a"), made(problem(tmp_path / "elsewhere"), tmp_path / "b")

    assert one.id == two.id


@given(st.permutations([(str(i), "cat", "kept", "train", None) for i in range(5)]))
def test_a_version_id_knows_no_order(members: list[Member]) -> None:
    assert version_id(members, {}) == version_id(sorted(members), {})


def test_photos_that_turn_out_to_be_of_one_group_are_another_version(tmp_path: Path) -> None:
    folder, store = album(tmp_path / "photos", each=12), tmp_path / "store"
    paths = sorted(folder.rglob("*.jpg"))
    sides = dict(zip(paths, ("train", "train", "validation", "test") * len(paths), strict=False))

    def listed(*columns: str) -> Dataset:
        rows = [
            {"path": path, "label": path.parent.name, "side": side, "group": "one" if side == "test" else ""}
            for path, side in sides.items()
        ]
        lines = [",".join(columns), *(",".join(str(row[name]) for name in columns) for row in rows)]
        (tmp_path / "photos.csv").write_text("\n".join(lines))
        return made(problem(tmp_path / "photos.csv"), store)

    one_by_one, grouped = listed("path", "label", "side"), listed("path", "label", "side", "group")
    assert len(set(one_by_one.groups("test"))) == len(one_by_one.photos("test")) > 1
    assert set(grouped.groups("test")) == {"group:one"}


@pytest.mark.parametrize("change", [{"test": 0.3}, {"smallest_side": 40}])
def test_other_rules_make_another_version(tmp_path: Path, change: dict[str, Any]) -> None:
    folder = album(tmp_path / "photos", each=20)

    assert made(problem(folder), tmp_path / "s").id != made(problem(folder, **change), tmp_path / "s").id


def test_the_same_photos_again_leave_the_files_as_they_are(tmp_path: Path) -> None:
    about = problem(album(tmp_path / "photos"))
    dataset = made(about, tmp_path / "store")
    before = {path: path.stat().st_mtime_ns for path in dataset.folder.iterdir()}

    assert made(about, tmp_path / "store") == dataset
    assert {path: path.stat().st_mtime_ns for path in dataset.folder.iterdir()} == before
    assert versions(tmp_path / "store", "test") == [dataset]


def test_what_was_found_last_is_the_newest_though_the_clock_once_ran_ahead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Ahead(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return super().now(tz) + timedelta(days=400)

    folder, store = album(tmp_path / "photos"), tmp_path / "store"
    with monkeypatch.context() as early:
        early.setattr("tasks.split.datetime", Ahead)
        first = made(problem(folder), store)

    second = made(problem(album(folder, each=10)), store)
    assert versions(store, "test") == [first, second]
    assert datetime.fromisoformat(second.facts()["created_at"]) < datetime.now(UTC)
    third = made(problem(album(folder, each=12)), store)
    assert versions(store, "test") == [first, second, third]
    for path in folder.rglob("*01[01].jpg"):
        path.unlink()
    assert made(problem(folder), store) == second
    assert versions(store, "test") == [first, third, second]


def test_a_version_half_written_is_written_again(tmp_path: Path) -> None:
    about = problem(album(tmp_path / "photos"))
    table = curated(about, tmp_path / "store").path
    dataset = split(table, about, tmp_path / "store")
    (dataset.folder / "version.json").unlink()
    dataset.manifest.write_bytes(b"half")

    assert split(table, about, tmp_path / "store").rows().num_rows == 16


def readable(dataset: Dataset) -> int:
    return sum(bool(dataset.read(one)) for side in SIDES for one in dataset.photos(side))


def test_the_same_photos_in_another_folder_are_told_to_be_there(tmp_path: Path) -> None:
    here, there = album(tmp_path / "here"), tmp_path / "there"
    first = made(problem(here), tmp_path / "store")
    here.rename(there)
    (there / "LICENSE").write_text("Creative Commons Attribution 4.0 International")
    second = made(problem(there), tmp_path / "store")
    assert second.id == first.id
    assert second.facts()["sources"] == [str(there)]
    assert {photo.source for photo in second.photos("train")} == {str(there)}
    assert second.facts()["manifest_sha256"]


def test_photos_that_were_moved_or_renamed_are_read_where_they_lie_now(tmp_path: Path) -> None:
    store, folder = tmp_path / "store", album(tmp_path / "photos")
    dataset = made(problem(folder), store)
    (folder / "cat" / "cat000.jpg").rename(folder / "cat" / "tom.jpg")
    folder.rename(tmp_path / "moved")

    with pytest.raises(DatasetError, match="vanished"):
        readable(dataset)
    assert made(problem(tmp_path / "moved"), store) == dataset
    assert readable(dataset) == 16
    assert made(problem(tmp_path / "moved", copy=True), store) == dataset
    shutil.rmtree(tmp_path / "moved")
    assert readable(dataset) == 16
    assert all((store / row["location"]).exists() for row in dataset.rows().to_pylist())
