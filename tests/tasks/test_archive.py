"""Archives: read like folders, and refused whole when they are a danger."""

from __future__ import annotations

import gzip
import io
import os
import stat
import tarfile
import unicodedata
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from pawloop.errors import SourceError
from tasks import collect as collecting
from tasks.collect import collect
from tests.tasks.albums import made, photo, problem

Packer = Callable[[Path, dict[str, bytes]], Path]
MEMBERS = {
    f"pets/{label}/{label}{index}.jpg": photo(100 * number + index)
    for number, label in enumerate(("cat", "dog"))
    for index in range(6)
}


def zipped(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def tarred(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix == ".tgz" else "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


@pytest.mark.parametrize(("name", "pack"), [("pets.zip", zipped), ("pets.tgz", tarred), ("pets.tar", tarred)])
def test_photos_are_imported_from_an_archive(tmp_path: Path, name: str, pack: Packer) -> None:
    path = pack(tmp_path / name, MEMBERS)
    dataset = made(problem(path), tmp_path / "store")
    path.unlink()

    photos = [one for side in ("train", "validation", "test") for one in dataset.photos(side)]

    assert len(photos) == 12
    assert {dataset.read(one) for one in photos} == set(MEMBERS.values())
    assert all(one.location.startswith(f"photos/{one.id[:2]}/") for one in photos)


def test_folder_and_archive_of_the_same_photos_are_the_same_version(tmp_path: Path) -> None:
    for name, content in MEMBERS.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)

    from_folder = made(problem(tmp_path / "pets"), tmp_path / "one")
    from_zip = made(problem(zipped(tmp_path / "pets.zip", MEMBERS)), tmp_path / "two")

    assert from_folder.id == from_zip.id


def test_class_folders_of_a_mac_zip_match(tmp_path: Path) -> None:
    label = unicodedata.normalize("NFD", "Kätzchen")
    name = f"{label}/1.jpg".encode()
    placeholder = b"x" * len(name)
    path = zipped(
        tmp_path / "mac.zip",
        {placeholder.decode(): photo(1), "Hund/2.jpg": photo(2), "__MACOSX/._1.jpg": b"x"},
    )
    path.write_bytes(path.read_bytes().replace(placeholder, name))  # UTF-8 without the flag that says so

    found = collect(problem(path, classes=("Kätzchen", "Hund")), tmp_path / "store")

    assert found.classes == {"Kätzchen": 1, "Hund": 1}


@pytest.mark.parametrize(
    "name", ["../cat/x.jpg", "/etc/x.jpg", "cat/../../x.jpg", "cat\\..\\..\\x.jpg", "C:/x.jpg", "c:x.jpg"]
)
@pytest.mark.parametrize("pack", [zipped, tarred])
def test_an_archive_with_a_path_that_climbs_out_is_refused(tmp_path: Path, pack: Packer, name: str) -> None:
    path = tmp_path / ("pets.zip" if pack is zipped else "pets.tar")
    pack(path, {**MEMBERS, name: photo(1)})

    with pytest.raises(SourceError, match=r"refused: .* climbs out of the archive"):
        collect(problem(path), tmp_path / "store")


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_a_class_folder_may_have_a_colon(tmp_path: Path, pack: Packer) -> None:
    path = tmp_path / ("hands.zip" if pack is zipped else "hands.tar")
    pack(path, {"Typ: A/1.jpg": photo(1), "Typ: B/2.jpg": photo(2)})

    found = collect(problem(path, classes=("Typ: A", "Typ: B")), tmp_path / "store")

    assert found.classes == {"Typ: A": 1, "Typ: B": 1}


def test_a_zip_with_a_link_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "pets.zip", MEMBERS)
    with zipfile.ZipFile(path, "a") as archive:
        info = zipfile.ZipInfo("cat/link.jpg")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")

    with pytest.raises(SourceError, match="is a link"):
        collect(problem(path), tmp_path / "store")


def test_a_tar_with_a_link_is_refused(tmp_path: Path) -> None:
    path = tarred(tmp_path / "pets.tar", MEMBERS)
    with tarfile.open(path, "a") as archive:
        info = tarfile.TarInfo("cat/link.jpg")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(info)

    with pytest.raises(SourceError, match="is a link"):
        collect(problem(path), tmp_path / "store")


def test_a_bomb_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "pets.zip", {**MEMBERS, "cat/bomb.jpg": bytes(120 * 2**20)})

    with pytest.raises(SourceError, match="unpacked it is more than 100 times its size"):
        collect(problem(path), tmp_path / "store")


def test_half_an_archive_is_told(tmp_path: Path) -> None:
    path = zipped(tmp_path / "pets.zip", MEMBERS)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    with pytest.raises(SourceError, match="the archive is damaged"):
        collect(problem(path), tmp_path / "store")


def test_a_damaged_member_is_left_out_and_told(tmp_path: Path) -> None:
    path = tmp_path / "pets.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in MEMBERS.items():
            archive.writestr(name, content)
    damaged = bytearray(path.read_bytes())
    damaged[damaged.index(MEMBERS["pets/cat/cat0.jpg"]) + 300] ^= 255
    path.write_bytes(damaged)

    found = collect(problem(path), tmp_path / "store")

    assert found.photo_count == 11
    assert any("damaged in its archive" in note and "cat0.jpg" in note for note in found.notes)


@pytest.mark.parametrize(("name", "pack"), [("pets.zip", zipped), ("pets.tgz", tarred)])
def test_a_member_larger_than_any_photo_is_left_out_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, pack: Packer
) -> None:
    monkeypatch.setattr(collecting, "_LARGEST_BYTES", 2**20)
    path = pack(tmp_path / name, {**MEMBERS, "pets/cat/film.jpg": os.urandom(2**20 + 1)})

    found = collect(problem(path), tmp_path / "store")

    assert found.photo_count == 12
    assert any("more than 1 MiB is no photo" in note and "film.jpg" in note for note in found.notes)


def cut_at_a_member(content: bytes) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        return content[: archive.getmembers()[7].offset]


def with_a_bad_header(content: bytes) -> bytes:
    place = len(cut_at_a_member(content))
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


@pytest.mark.parametrize("damage", [cut_at_a_member, with_a_bad_header])
@pytest.mark.parametrize("suffix", [".tar", ".tgz"])
def test_a_tar_that_ends_too_soon_is_refused(
    tmp_path: Path, damage: Callable[[bytes], bytes], suffix: str
) -> None:
    damaged = damage(tarred(tmp_path / "whole.tar", MEMBERS).read_bytes())
    path = tmp_path / f"pets{suffix}"
    path.write_bytes(gzip.compress(damaged) if suffix == ".tgz" else damaged)
    with pytest.raises(SourceError, match=r"the archive is damaged.*end mark"):
        collect(problem(path), tmp_path / "store")


def test_an_archive_from_windows_has_folders_too(tmp_path: Path) -> None:
    folders = {"pets\\": b"", "pets\\cat\\": b""}
    photos = {name.replace("/", "\\"): content for name, content in MEMBERS.items()}
    path = zipped(tmp_path / "pets.zip", folders | photos)
    assert collect(problem(path), tmp_path / "store").classes == {"cat": 6, "dog": 6}
