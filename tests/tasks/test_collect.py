"""Collecting: every photo is found with its class, whatever folder, archive or list holds it."""

from __future__ import annotations

import errno
import os
import resource
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pawloop.errors import DatasetError, SourceError
from pawloop.image import photo_id
from tasks import photos, sources
from tasks.collect import collect
from tasks.manifest import SIDES
from tests import names
from tests.tasks.albums import album, made, photo, problem
from tests.tasks.test_archive import zipped

UMLAUTS = ("schöne Katze", "großer Hund")


def test_photos_of_a_folder_are_listed_with_class_and_id(tmp_path: Path) -> None:
    folder = album(tmp_path / "photos")

    found = collect(problem(folder), tmp_path / "store")

    rows = pq.read_table(found.path).to_pylist()
    assert found.classes == {"cat": 8, "dog": 8}
    assert found.photo_count == len(rows) == 16
    assert all(row["id"] == photo_id(Path(row["location"]).read_bytes()) for row in rows)
    assert all(row["name"].startswith(row["label"]) for row in rows)


def test_a_sample_is_drawn_once_into_the_store(tmp_path: Path) -> None:
    sample = problem("sample://pets?count=4&seed=1")

    first = collect(sample, tmp_path)
    drawn = {path: path.stat().st_mtime_ns for path in (tmp_path / "samples").rglob("*.jpg")}
    again = collect(sample, tmp_path)

    assert first.classes == again.classes == {"cat": 2, "dog": 2}
    assert {path: path.stat().st_mtime_ns for path in drawn} == drawn


def test_class_names_with_spaces_and_umlauts_match_in_any_unicode_form(tmp_path: Path) -> None:
    decomposed = tuple(unicodedata.normalize("NFD", name) for name in UMLAUTS)
    folder = album(tmp_path / "photos", decomposed, each=2)

    found = collect(problem(folder, classes=UMLAUTS), tmp_path / "store")

    assert found.classes == dict.fromkeys(UMLAUTS, 2)


def test_litter_is_ignored_and_everything_else_that_is_left_out_is_told(tmp_path: Path) -> None:
    folder = album(tmp_path / "photos", each=2)
    (folder / "__MACOSX" / "cat").mkdir(parents=True)
    (folder / "__MACOSX" / "cat" / "._cat000.jpg").write_bytes(b"x")
    (folder / "cat" / ".hidden.jpg").write_bytes(b"x")
    (folder / "cat" / "Thumbs.db").write_bytes(b"x")
    (folder / "cat" / "notes.txt").write_text("a note")
    album(folder, ("dogs", "gerbil"), each=3)

    found = collect(problem(folder), tmp_path / "store")

    assert found.photo_count == 4
    assert len(found.notes) == 3
    assert any('"dogs" (3 photos)' in note and 'did you mean "dog"?' in note for note in found.notes)
    assert any('"gerbil" (3 photos)' in note and "add it to `classes`" in note for note in found.notes)
    assert any("cat/notes.txt" in note for note in found.notes)


def test_a_folder_around_the_class_folders_is_looked_through(tmp_path: Path) -> None:
    album(tmp_path / "photos" / "PetImages", each=2)

    assert collect(problem(tmp_path / "photos"), tmp_path / "store").photo_count == 4


def test_train_validation_and_test_folders_give_the_sides(tmp_path: Path) -> None:
    for number, side in enumerate(("train", "val", "test")):
        album(tmp_path / "photos" / side, each=2, seed=100 * number)

    dataset = made(problem(tmp_path / "photos"), tmp_path / "store")

    assert all(count == 2 for side in dataset.counts().values() for count in side.values())
    assert {row["name"].split("/")[0][:3]: row["side"] for row in dataset.rows().to_pylist()} == {
        "tra": "train",
        "val": "validation",
        "tes": "test",
    }


def test_a_class_may_be_called_as_a_side_is(tmp_path: Path) -> None:
    for side in ("train", "val", "test"):
        album(tmp_path / "photos" / side, ("train", "car"), each=1, seed=len(side))
    found = collect(problem(tmp_path / "photos", classes=("train", "car")), tmp_path / "store")
    rows = pq.read_table(found.path).to_pylist()
    assert {(row["label"], row["side"]) for row in rows} == {
        (label, side) for label in ("train", "car") for side in SIDES
    }
    plain = album(tmp_path / "plain", ("train", "test"), each=1)
    found = collect(problem(plain, classes=("train", "test")), tmp_path / "store")
    assert found.classes == {"train": 1, "test": 1}


def test_many_readers_may_keep_the_same_photo(tmp_path: Path) -> None:
    content, id = photo(3), photo_id(photo(3))
    with ThreadPoolExecutor(8) as pool:
        for _ in range(40):
            kept = set(pool.map(lambda _: photos.keep(content, id, "a.jpg", tmp_path), range(8)))
            [(location, _)] = kept
            (tmp_path / location).unlink()


def test_a_photo_that_the_disk_has_no_room_for_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(draft: Path, content: bytes) -> int:
        with draft.open("wb") as file:
            file.write(content[:10])
        raise OSError(errno.ENOSPC, "No space left on device", str(draft))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        photos.keep(photo(1), "0" * 64, "a.jpg", tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_photo_damaged_in_the_store_is_imported_again(tmp_path: Path) -> None:
    names = {
        f"{label}/{n}.png": photo(n + 10 * (label == "dog"), format="PNG")
        for label in ("cat", "dog")
        for n in range(4)
    }
    about = problem(zipped(tmp_path / "photos.zip", names))
    dataset = made(about, tmp_path / "store")
    kept = dataset.photos("train")[0]
    path = tmp_path / "store" / kept.location
    path.write_bytes(bytes(path.stat().st_size))

    with pytest.raises(DatasetError, match=f"{path}: damaged on the disk; delete it and run again"):
        dataset.read(kept)
    path.unlink()

    assert made(about, tmp_path / "store").id == dataset.id
    assert photo_id(dataset.read(kept)) == kept.id


def test_photos_outside_class_folders_wait_for_a_label(tmp_path: Path) -> None:
    folder = album(tmp_path / "photos")
    (folder / "stray.jpg").write_bytes(photo(77))

    dataset = made(problem(folder), tmp_path / "store")

    assert dataset.facts()["set_aside"] == {"no label": 1}


def test_an_unchanged_photo_is_not_read_again_and_a_changed_one_is(tmp_path: Path) -> None:
    folder = album(tmp_path / "photos", each=2)
    old, changed = folder / "cat" / "cat000.jpg", folder / "cat" / "cat001.jpg"
    for path in folder.rglob("*.jpg"):
        os.utime(path, (1e9, 1e9))
    collect(problem(folder), tmp_path / "store")
    before = {row["name"]: row["id"] for row in rows_of(tmp_path / "store")}
    changed.write_bytes(photo(5))
    os.utime(changed, (1e9, 1e9))  # as rsync and unzip do: same time, other content

    collect(problem(folder), tmp_path / "store")

    after = {row["name"]: row["id"] for row in rows_of(tmp_path / "store")}
    assert after["cat/cat000.jpg"] == before["cat/cat000.jpg"] == photo_id(old.read_bytes())
    assert after["cat/cat001.jpg"] == photo_id(photo(5)) != before["cat/cat001.jpg"]


def test_copies_are_kept_in_the_store_where_the_problem_asks_for_them(tmp_path: Path) -> None:
    folder = album(tmp_path / "photos")
    dataset = made(problem(folder, copy=True), tmp_path / "store")
    for path in folder.rglob("*.jpg"):
        path.unlink()

    photos = [one for side in ("train", "validation", "test") for one in dataset.photos(side)]

    assert len(photos) == 16
    assert all(photo_id(dataset.read(one)) == one.id for one in photos)


def test_a_name_in_a_broken_encoding_is_collected_and_read(tmp_path: Path) -> None:
    folder = album(tmp_path / "photos")
    strange = os.fsencode(folder / "cat") + b"/caf\xe9.jpg"
    with names.any_bytes():
        Path(os.fsdecode(strange)).write_bytes(photo(78))

    dataset = made(problem(folder), tmp_path / "store")

    found = {one.id: one for side in ("train", "validation", "test") for one in dataset.photos(side)}
    assert dataset.read(found[photo_id(photo(78))]) == photo(78)


def test_an_empty_folder_is_told_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()

    with pytest.raises(SourceError, match="the folder is empty; put photos into it, one folder a class"):
        collect(problem(tmp_path / "photos"), tmp_path / "store")


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="photos: there is no such folder"):
        collect(problem(tmp_path / "photos"), tmp_path / "store")


def test_one_class_only_is_told_with_the_one_that_lacks(tmp_path: Path) -> None:
    folder = album(tmp_path / "photos", ("cat",))

    with pytest.raises(SourceError, match='only "cat" found, no photo of "dog"'):
        collect(problem(folder), tmp_path / "store")


def test_folders_of_no_class_are_named_where_no_photo_is_left(tmp_path: Path) -> None:
    folder = album(tmp_path / "photos", ("Katze", "Hund"), each=1)

    with pytest.raises(SourceError, match=r'no photo of any class was found(.|\n)*"Hund" \(1 photos\)'):
        collect(problem(folder), tmp_path / "store")


def test_a_source_that_vanishes_half_way_is_told_and_the_next_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = album(tmp_path / "photos", each=40)
    monkeypatch.setattr("tasks.collect._KEPT", 50)
    about = problem(folder)

    def vanish(done: int, total: int) -> None:
        if done < total:
            folder.rename(tmp_path / "gone")

    with pytest.raises(SourceError, match="30 of 80 files could not be read; is it still there"):
        collect(about, tmp_path / "store", vanish)
    (tmp_path / "gone").rename(folder)

    assert collect(about, tmp_path / "store").photo_count == 80


def test_a_store_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    folder = album(tmp_path / "photos", each=1)
    (tmp_path / "store").write_text("a file where the store should be")  # root may write anywhere else

    with pytest.raises(DatasetError, match=r"the store cannot be written: .*PAWLOOP_STORE"):
        collect(problem(folder), tmp_path / "store")


def test_progress_ends_with_all_files(tmp_path: Path) -> None:
    heard: list[tuple[int, int]] = []

    collect(problem(album(tmp_path / "p", each=2)), tmp_path / "store", lambda *step: heard.append(step))

    assert heard[-1] == (4, 4)


def rows_of(store: Path) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = pq.read_table(
        store / "datasets" / "test" / "next" / "found.parquet"
    ).to_pylist()
    return rows


def test_a_store_that_fills_is_told_and_the_next_run_succeeds(tmp_path: Path) -> None:
    about = problem(album(tmp_path / "photos", each=4))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, hard))  # no file may grow further, as on a full disk
    try:
        with pytest.raises(DatasetError, match="the store cannot be written"):
            collect(about, tmp_path / "store")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert collect(about, tmp_path / "store").photo_count == 8


def test_the_oxford_pets_are_taken_by_species_or_by_breed(tmp_path: Path) -> None:
    unpacked = tmp_path / "store" / "cache" / "oxford-iiit-pet" / "oxford-iiit-pet"
    (unpacked / "annotations").mkdir(parents=True)
    (unpacked / "images").mkdir()
    lines = ["#Image CLASS-ID SPECIES BREED-ID"]
    for number, (name, species) in enumerate([("Maine_Coon_1", 1), ("american_bulldog_2", 2)]):
        (unpacked / "images" / f"{name}.jpg").write_bytes(photo(number))
        lines.append(f"{name} {number} {species} 1")
    (unpacked / "annotations" / "list.txt").write_text("\n".join(lines))

    by_species = collect(problem("oxford-iiit-pet"), tmp_path / "store")
    breeds = ("Maine Coon", "American Bulldog")
    by_breed = collect(problem("oxford-iiit-pet", classes=breeds), tmp_path / "store")

    assert by_species.classes == {"cat": 1, "dog": 1}
    assert by_breed.classes == {"Maine Coon": 1, "American Bulldog": 1}


def test_the_classes_of_a_source_are_told_before_a_problem_names_them(tmp_path: Path) -> None:
    album(tmp_path / "photos" / "pets", ("schöne Katze", "Hund"), each=1)

    assert sources.class_names(str(tmp_path / "photos"), tmp_path / "store") == ["Hund", "schöne Katze"]
    assert sources.class_names("sample://pets?count=2", tmp_path / "store") == ["cat", "dog"]


def test_a_readme_beside_the_folder_around_the_class_folders_does_not_matter(tmp_path: Path) -> None:
    folder = album(tmp_path / "repo" / "pets", each=2).parent
    (folder / "README.md").write_text("our pets")
    found = collect(problem(folder), tmp_path / "store")
    assert found.classes == {"cat": 2, "dog": 2}


def test_a_photo_that_a_power_cut_emptied_in_the_store_is_imported_again(tmp_path: Path) -> None:
    about, store = problem(album(tmp_path / "photos"), copy=True), tmp_path / "store"
    dataset = made(about, store)
    for number, row in enumerate(dataset.rows().to_pylist()):
        path = store / row["location"]
        path.write_bytes(path.read_bytes()[: number % 2])
    again = made(about, store)
    assert again == dataset
    assert all(again.read(one) for side in SIDES for one in again.photos(side))
