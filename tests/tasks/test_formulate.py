"""A problem file for somebody's photos."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest

from pawloop import problem as problems
from pawloop.errors import ProblemFileError, SourceError
from tasks import formulate as formulating
from tests import names, published


def formulate(name: str, source: str, problems: Path) -> Path:
    return formulating.formulate(name, source, problems / "store", problems)


def photos(folder: Path, *classes: str) -> Path:
    for name in classes:
        (folder / name).mkdir(parents=True)
        (folder / name / "1.jpg").write_bytes(published.photo())
    return folder


def test_the_written_file_reads_back_with_the_folders_as_classes(tmp_path: Path) -> None:
    source = photos(tmp_path / "photos", "Größe Katze", "dög 2", 'with "quotes"')
    problem = problems.load(formulate("mine", str(source), tmp_path))
    assert problem.classes == ("Größe Katze", "dög 2", 'with "quotes"')
    assert problem.data.sources == (str(source), "journal://")


def test_a_zip_of_folders_will_do(tmp_path: Path) -> None:
    folder = photos(tmp_path / "photos", "cat", "dog")
    archive = tmp_path / "photos.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in folder.rglob("*.jpg"):
            file.write(path, path.relative_to(tmp_path))
    assert problems.load(formulate("mine", str(archive), tmp_path)).classes == ("cat", "dog")


def test_a_list_names_its_classes_itself(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("path,label\n1.jpg,dog\n2.jpg,cat\n")
    path = formulate("mine", str(tmp_path / "list.csv"), tmp_path)
    assert problems.load(path).classes == ("cat", "dog")


def test_the_same_photos_again_leave_an_edited_file_alone(tmp_path: Path) -> None:
    source = photos(tmp_path / "photos", "cat", "dog")
    path = formulate("mine", str(source), tmp_path)
    path.write_text(path.read_text().replace("margin = 0.02", "margin = 0.05"))
    assert formulate("mine", str(source), tmp_path) == path
    assert problems.load(path).gate.margin == 0.05


def test_a_name_that_is_taken_by_other_photos_is_told(tmp_path: Path) -> None:
    formulate("mine", str(photos(tmp_path / "photos", "cat", "dog")), tmp_path)
    with pytest.raises(ProblemFileError, match="names other photos"):
        formulate("mine", str(photos(tmp_path / "others", "cat", "dog")), tmp_path)


def test_a_bad_name_leaves_no_file(tmp_path: Path) -> None:
    source = photos(tmp_path / "photos", "cat", "dog")
    with pytest.raises(ProblemFileError, match='try "my-pets"'):
        formulate("My Pets", str(source), tmp_path)
    assert not list(tmp_path.glob("*.toml"))


@pytest.mark.parametrize("classes", [("cat",), ()])
def test_fewer_than_two_classes_are_told(tmp_path: Path, classes: tuple[str, ...]) -> None:
    source = photos(tmp_path / "photos", *classes)
    source.mkdir(exist_ok=True)
    with pytest.raises(SourceError, match=r"two or more folders|folder is empty"):
        formulate("mine", str(source), tmp_path)


def test_what_is_neither_folder_nor_zip_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("x")
    with pytest.raises(SourceError, match="neither a folder nor, by its name"):
        formulate("mine", str(tmp_path / "x.txt"), tmp_path)
    with pytest.raises(SourceError, match="no such folder"):
        formulate("mine", str(tmp_path / "none"), tmp_path)


def test_a_class_folder_whose_name_is_no_text_is_told(tmp_path: Path) -> None:
    source = photos(tmp_path / "photos", "cat", "d\u00f6g \u00a0x")
    with names.any_bytes():
        (source / "cat").rename(os.fsdecode(bytes(source) + b"/c\xfft"))
    with pytest.raises(SourceError, match=r"the name of the folder 'c\\udcfft' is no text; rename it"):
        formulate("animals", str(source), tmp_path)


def test_photos_that_are_not_named_are_asked_for(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no photos are named"):
        formulate("animals", " ", tmp_path)
