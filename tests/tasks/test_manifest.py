"""A version's reader: every byte is the byte that was curated, or an error names the photo."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pawloop.errors import DatasetError
from pawloop.image import photo_id
from tasks.manifest import SIDES, STATISTICS, Dataset, versions
from tests.tasks.albums import album, made, photo, problem


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return made(problem(album(tmp_path / "photos", each=20)), tmp_path / "store")


def test_every_photo_can_be_read_from_threads(dataset: Dataset) -> None:
    photos = [one for side in SIDES for one in dataset.photos(side)]

    with ThreadPoolExecutor(2) as pool:
        contents = list(pool.map(dataset.read, photos))

    assert [photo_id(content) for content in contents] == [one.id for one in photos]
    assert len(photos) == 40


def test_counts_and_photos_agree(dataset: Dataset) -> None:
    for side in SIDES:
        photos = dataset.photos(side)
        assert dataset.counts()[side] == {
            label: sum(one.label == label for one in photos) for label in ("cat", "dog")
        }
        assert all(one.side == side and set(one.statistics) == set(STATISTICS) for one in photos)


def test_dataset_and_photos_travel_to_other_processes(dataset: Dataset) -> None:
    photos = dataset.photos("train")

    assert pickle.loads(pickle.dumps((dataset, photos))) == (dataset, photos)


def test_a_changed_photo_is_named(dataset: Dataset, tmp_path: Path) -> None:
    one = dataset.photos("train")[0]
    Path(one.location).write_bytes(photo(999))

    with pytest.raises(DatasetError, match=f"{one.location}: this photo has changed"):
        dataset.read(one)


def test_a_vanished_photo_is_named(dataset: Dataset) -> None:
    one = dataset.photos("train")[0]
    Path(one.location).unlink()

    with pytest.raises(DatasetError, match=f"{one.location}: this photo has vanished"):
        dataset.read(one)


def test_a_manifest_edited_by_hand_is_refused(dataset: Dataset) -> None:
    table = dataset.rows()
    pq.write_table(table.slice(1), dataset.manifest)

    with pytest.raises(DatasetError, match=r"its hash differs.*delete the folder"):
        Dataset.open(dataset.store, dataset.name, dataset.id)


def test_an_unknown_version_is_told_with_those_that_there_are(dataset: Dataset) -> None:
    with pytest.raises(DatasetError, match=f"no such version of test \\(known: {dataset.id}\\)"):
        Dataset.open(dataset.store, dataset.name, "0123")


def test_versions_stand_in_the_order_of_their_making(dataset: Dataset, tmp_path: Path) -> None:
    second = made(problem(album(tmp_path / "photos", each=22)), tmp_path / "store")

    assert versions(dataset.store, dataset.name) == [dataset, second]


def test_a_store_can_be_moved_with_the_photos_that_it_keeps(tmp_path: Path) -> None:
    dataset = made(problem("sample://pets?count=6"), tmp_path / "store")
    (tmp_path / "store").rename(tmp_path / "moved")

    moved = Dataset.open(tmp_path / "moved", dataset.name, dataset.id)

    assert all(moved.read(one) for side in SIDES for one in moved.photos(side))


@pytest.mark.parametrize("damage", [lambda content: content + b"x", lambda content: content[:200]])
def test_a_damaged_version_before_is_named_and_without_it_all_goes_on(
    dataset: Dataset, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    about = problem(album(tmp_path / "photos", each=21))
    dataset.manifest.write_bytes(damage(dataset.manifest.read_bytes()))

    with pytest.raises(DatasetError, match=f"delete the folder {dataset.folder} and run again"):
        made(about, dataset.store)
    shutil.rmtree(dataset.folder)

    assert made(about, dataset.store).kept(["id"]).num_rows == 42


@pytest.mark.parametrize(("name", "remedy"), [("found.json", "it"), ("version.json", "{folder}")])
def test_a_damaged_note_of_a_version_is_named_with_what_to_delete(
    dataset: Dataset, name: str, remedy: str
) -> None:
    (dataset.folder / name).write_text("{")

    with pytest.raises(DatasetError) as told:
        dataset.facts()

    assert f"{dataset.folder / name}: is not as it was written" in str(told.value)
    assert f"delete {remedy.format(folder=dataset.folder)} and run again" in str(told.value)


def test_a_manifest_that_is_no_parquet_is_told_to_whoever_reads_it(dataset: Dataset) -> None:
    dataset.manifest.write_bytes(b"by hand")

    with pytest.raises(DatasetError, match="cannot be read"):
        dataset.photos("train")
