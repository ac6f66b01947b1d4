"""Lists: a CSV or Parquet of path, label and perhaps side and group."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pawloop.errors import SourceError
from tasks.collect import collect
from tasks.manifest import SIDES
from tests.tasks.albums import album, made, photo, problem


def listed(path: Path, lines: list[str]) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_a_csv_names_photos_beside_it_with_side_and_group(tmp_path: Path) -> None:
    album(tmp_path)
    lines = ["path;label;side;group"]
    lines += [f"cat/cat{i:03d}.jpg;cat;{'test' if i < 3 else ''};" for i in range(8)]
    lines += [f"dog/dog{i:03d}.jpg;dog;;rex" for i in range(8)]

    dataset = made(problem(listed(tmp_path / "list.csv", lines)), tmp_path / "store")

    rows = dataset.rows().to_pylist()
    assert len(rows) == 16
    assert all(row["side"] == "test" for row in rows if row["name"] < "cat/cat003.jpg")
    assert len({row["side"] for row in rows if row["group"] == "rex"}) == 1
    of_rex = {name for side in SIDES for name in dataset.groups(side) if name.startswith("group:")}
    assert of_rex == {"group:rex"}
    assert [len(dataset.groups(side)) for side in SIDES] == [len(dataset.photos(side)) for side in SIDES]


def test_a_parquet_list_gives_the_same_version_as_the_csv(tmp_path: Path) -> None:
    album(tmp_path)
    names = [f"{label}/{label}{i:03d}.jpg" for label in ("cat", "dog") for i in range(8)]
    labels = [name[:3] for name in names]
    pq.write_table(pa.table({"file_name": names, "class": labels}), tmp_path / "list.parquet")
    lines = ["url,species", *(f"file://{tmp_path}/{name},{label}" for name, label in zip(names, labels))]

    from_parquet = made(problem(tmp_path / "list.parquet"), tmp_path / "one")
    from_csv = made(problem(listed(tmp_path / "list.csv", lines)), tmp_path / "two")

    assert from_parquet.id == from_csv.id


def test_photos_without_a_label_wait_for_one(tmp_path: Path) -> None:
    album(tmp_path, each=1)
    (tmp_path / "who.jpg").write_bytes(photo(5))
    lines = ["path,label", "cat/cat000.jpg,cat", "dog/dog000.jpg,dog", "who.jpg,"]

    dataset = made(problem(listed(tmp_path / "list.csv", lines)), tmp_path / "store")

    assert dataset.facts()["set_aside"] == {"no label": 1}


def test_a_missing_photo_is_told_and_left_out(tmp_path: Path) -> None:
    album(tmp_path, each=1)
    lines = ["path,label", "cat/cat000.jpg,cat", "dog/dog000.jpg,dog", "dog/gone.jpg,dog"]

    found = collect(problem(listed(tmp_path / "list.csv", lines)), tmp_path / "store")

    assert found.photo_count == 2
    assert "dog/gone.jpg" in found.notes[0]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["where,label", "a.jpg,cat"], "no column for a photo's place, only where, label"),
        (["path,what", "a.jpg,cat"], "no column for a photo's label"),
        (["path,label,side", "a.jpg,cat,left"], '"left" is no side; write train, validation or test'),
        (["path,label"], "the list is empty"),
    ],
)
def test_a_bad_list_is_told_with_what_to_do(tmp_path: Path, lines: list[str], words: str) -> None:
    with pytest.raises(SourceError, match=words):
        collect(problem(listed(tmp_path / "list.csv", lines)), tmp_path / "store")


def test_a_list_in_another_encoding_is_told(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_bytes("path;label;group\ncat.jpg;cat;Käthe\n".encode("cp1252"))
    with pytest.raises(SourceError, match=r"is not UTF-8; save the list as UTF-8"):
        collect(problem(path), tmp_path / "store")


def test_a_name_that_only_begins_like_a_home_is_a_name(tmp_path: Path) -> None:
    album(tmp_path, each=1)
    (tmp_path / "~nobody.jpg").write_bytes(photo(5))
    lines = ["path,label", "~nobody.jpg,cat", "dog/dog000.jpg,dog"]

    assert collect(problem(listed(tmp_path / "list.csv", lines)), tmp_path / "store").photo_count == 2


def test_what_a_list_says_of_side_and_group_holds_though_a_folder_names_the_photo_first(
    tmp_path: Path,
) -> None:
    folder = album(tmp_path / "photos", each=16)
    lines = ["path,label,side,group"]
    lines += [f"photos/cat/cat{i:03d}.jpg,cat,{'train' if i == 0 else ''},rex" for i in range(8)]
    lines += [f"photos/dog/dog{i:03d}.jpg,dog,test," for i in range(8)]

    dataset = made(problem(folder, listed(tmp_path / "list.csv", lines)), tmp_path / "store")

    sides = {row["name"]: row["side"] for row in dataset.kept(["name", "side"]).to_pylist()}
    assert {sides[f"cat/cat{i:03d}.jpg"] for i in range(8)} == {"train"}
    assert {sides[f"dog/dog{i:03d}.jpg"] for i in range(8)} == {"test"}


def test_a_photo_that_one_list_keeps_to_training_judges_nobody(tmp_path: Path) -> None:
    album(tmp_path)
    lines = [f"{label}/{label}{i:03d}.jpg,{label}" for label in ("cat", "dog") for i in range(8)]
    one, two = (
        listed(tmp_path / f"{side}.csv", ["path,label,side", *(f"{line},{side}" for line in lines)])
        for side in ("test", "train")
    )

    dataset = made(problem(one, two), tmp_path / "store")

    assert set(dataset.kept(["side"])["side"].to_pylist()) == {"train"}


@pytest.mark.parametrize(
    "place",
    [
        "https://host:80:80/a.jpg",
        "https://[cat].example.org/a.jpg",
        f"http://{'a' * 70}.org/a.jpg",
        "a\0b.jpg",
    ],
)
def test_a_line_that_is_no_address_is_told_and_left_out(place: str, tmp_path: Path) -> None:
    album(tmp_path)
    lines = [
        "path,label",
        *(f"cat/cat{i:03d}.jpg,cat" for i in range(8)),
        f"{place},cat",
        "dog/dog000.jpg,dog",
    ]

    found = collect(problem(listed(tmp_path / "list.csv", lines)), tmp_path / "store")

    assert found.photo_count == 9
    assert any("1 files could not be read" in note for note in found.notes)


def test_a_pipe_among_the_photos_is_not_waited_for(tmp_path: Path) -> None:
    folder = album(tmp_path / "photos")
    os.mkfifo(folder / "cat" / "pipe.jpg")

    found = collect(problem(folder), tmp_path / "store")

    assert any("no regular file" in note for note in found.notes)
