"""Validation: what is too little or too different is said before anything learns from it."""

from __future__ import annotations

import io
import json
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

from pawloop.errors import DatasetError
from pawloop.problem import Problem
from tasks.validate import Check, markdown, require, validate
from tests.tasks.albums import album, made, picture, problem


def failed(checks: list[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks if not check.passed}


def test_a_good_version_passes_every_check_and_is_logged(tmp_path: Path) -> None:
    about = problem(album(tmp_path / "photos", each=40))
    dataset = made(about, tmp_path / "store")

    checks = validate(dataset, about, None)

    require(checks)
    log = json.loads((dataset.folder / "validation.json").read_text())
    assert failed(checks) == {}
    assert len(log["checks"]) == len(checks)
    assert set(log["distributions"]["brightness"]) == {"cat", "dog"}


def test_a_class_of_three_photos_is_named_with_what_was_asked(tmp_path: Path) -> None:
    folder = album(tmp_path / "photos", ("cat",), each=40)
    album(folder, ("dog",), each=3, seed=500)
    about = problem(folder)

    checks = validate(made(about, tmp_path / "store"), about, None)

    assert failed(checks)['photos of "dog"'].got == "3"
    assert failed(checks)["class balance"].got == "13.3 to 1 (40 cat, 3 dog)"
    with pytest.raises(DatasetError, match='error: photos of "dog": asked at least 20, got 3'):
        require(checks)


def test_a_class_of_one_photo_ends_the_run_before_anything_learns(tmp_path: Path) -> None:
    folder = album(tmp_path / "photos", ("cat",), each=40)
    about = problem(album(folder, ("dog",), each=1, seed=500))

    with pytest.raises(DatasetError, match='photos of "dog": asked at least 20, got 1'):
        require(validate(made(about, tmp_path / "store"), about, None))


def test_a_side_that_chance_gave_too_few_photos_of_a_class_says_what_helps(tmp_path: Path) -> None:
    about = problem(album(tmp_path / "photos", each=40), minimum_per_side=12)
    told = failed(validate(made(about, tmp_path / "store"), about, None))
    [check] = [check for name, check in told.items() if name == 'test photos of "cat"']
    assert re.match(r"\d+ of 40: chance deals the sides", check.got)


def test_photos_that_stand_under_two_classes_are_told_where_a_class_lacks_photos(tmp_path: Path) -> None:
    folder = album(tmp_path / "photos", each=40)
    for path in sorted((folder / "cat").iterdir())[:30]:
        shutil.copy(path, folder / "dog" / f"again-{path.name}")
    about = problem(folder)
    with pytest.raises(DatasetError, match=r'photos of "cat": .*got 10; 60 files stand under two classes'):
        require(validate(made(about, tmp_path / "store"), about, None))


def test_a_warning_does_not_stop(tmp_path: Path) -> None:
    folder = album(tmp_path / "photos", each=40)
    for number in range(60):
        (folder / "cat" / f"broken{number}.jpg").write_bytes(b"%d" % number)
    about = problem(folder)

    checks = validate(made(about, tmp_path / "store"), about, None)

    require(checks)
    assert failed(checks)["share set aside"].got == "42.9% (60 unreadable)"
    assert "**failed**" in markdown(checks).splitlines()[2]


def test_the_problem_file_says_what_stops(tmp_path: Path) -> None:
    value = problem(album(tmp_path / "photos", each=40)).model_dump(by_alias=True)
    value["validate"] = {"set_aside": 0.0, "stop_on": ["set-aside"]}
    (tmp_path / "photos" / "cat" / "broken.jpg").write_bytes(b"")
    about = Problem.model_validate(value)

    with pytest.raises(DatasetError, match="share set aside"):
        require(validate(made(about, tmp_path / "store"), about, None))


def test_new_photos_unlike_the_old_are_told_and_like_ones_are_not(tmp_path: Path) -> None:
    folder = album(tmp_path / "photos", each=60)
    about = problem(folder)
    first = made(about, tmp_path / "store")
    album(folder, each=90)
    alike = made(about, tmp_path / "store")
    for number in range(60):
        (folder / "cat" / f"dark{number}.png").write_bytes(dark(5000 + number))
    unlike = made(about, tmp_path / "store")

    assert failed(validate(alike, about, first)) == {}
    found = failed(validate(unlike, about, alike))
    assert "brightness as before" in found
    assert found["brightness as before"].weight == "warn"
    assert "of 60 new ones" in found["brightness as before"].got


def test_a_class_that_appears_is_told_as_a_new_problem(tmp_path: Path) -> None:
    folder = album(tmp_path / "photos", ("cat", "dog", "hen"), each=20)
    before = made(problem(folder), tmp_path / "store")
    about = problem(folder, classes=("cat", "hen"))

    checks = validate(made(about, tmp_path / "store"), about, before)

    got = failed(checks)["classes as before"].got
    assert got.startswith('"hen" appeared, "dog" disappeared; it is a new problem')


def dark(seed: int) -> bytes:
    stream = io.BytesIO()
    Image.eval(picture(seed), lambda value: value // 4).save(stream, "PNG")
    return stream.getvalue()


def test_a_side_that_no_source_names_is_told(tmp_path: Path) -> None:
    folder = album(tmp_path / "photos")
    lines = [f"{path},{path.parent.name},test" for path in folder.rglob("*.jpg")]
    (tmp_path / "list.csv").write_text("\n".join(["path,label,side", *lines]) + "\n")
    about = problem(tmp_path / "list.csv")

    checks = validate(made(about, tmp_path / "store"), about, None)

    assert failed(checks)['train photos of "cat"'].got == "0: where sources name sides, name this one, too"
