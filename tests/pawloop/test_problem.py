"""The problem file and what it says when it is wrong."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from pawloop import problem as problems
from pawloop.errors import ProblemFileError

GOOD = 'name = "pets"\nclasses = ["cat", "dog"]\n[data]\nsources = ["sample://pets"]\n'


def written(folder: Path, text: str) -> Path:
    path = folder / "p.toml"
    path.write_text(text, encoding="utf-8")
    return path


def complaint(folder: Path, text: str) -> str:
    with pytest.raises(ProblemFileError) as caught:
        problems.load(written(folder, text))
    return str(caught.value)


def test_the_default_problem_is_complete() -> None:
    problem = problems.load("cat-vs-dog")
    assert problem.classes == ("cat", "dog")
    assert problem.model.backbone == "mobilenet_v3_large"


def test_an_unknown_key_names_the_nearest_known_one(tmp_path: Path) -> None:
    said = complaint(tmp_path, GOOD.replace("sources", "source"))
    assert '[data] has an unknown key "source"; did you mean "sources"?' in said
    assert str(tmp_path / "p.toml") in said


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (GOOD.replace('"cat", "dog"', '"cat"'), "classes"),
        (GOOD.replace('"cat", "dog"', '"cat", "Cat"'), "twice"),
        (GOOD.replace('"cat", "dog"', '"cat", "a/b"'), "cannot name a folder"),
        (GOOD.replace('"pets"', '"My Pets!"', 1), 'try "my-pets"'),
        (GOOD + "test = 0.6\nvalidation = 0.4\n", "less than a fifth"),
        (GOOD + "[cost.mistake.cat]\nbird = 2\n", '"bird", which is no class'),
        (GOOD + "[cost.mistake.cat]\ncat = 2\n", "no mistake"),
        (GOOD + "[cost]\nmistake = [[0, 1], [4, 0], [1, 1]]\n", "names classes, true class first"),
        (GOOD + "[cost]\nmistake = { cat = 4 }\n", "is no matrix"),
        (GOOD + "[cost]\nmistake = { cat = { dog = nan } }\n", "finite number"),
        (GOOD + "[cost]\nask = inf\n", "finite number"),
        (GOOD + "[cost]\nmistake = { cat = { dog = 1e200 } }\n", "less than or equal to 1000000000"),
        (GOOD + "[cost]\nask = 1000\n", "is dearer than any mistake (at most 1)"),
        (GOOD + "[gate]\nminimum_recal = 0.1\n", 'did you mean "minimum_recall"'),
        (GOOD + "[model]\nimage_size = 225\n", "multiple of 32"),
        (GOOD + '[model]\nbackbone = "resnet"\n', "mobilenet_v3_large"),
        (GOOD + "[tune]\nrate = [1e-4]\n", "[tune] rate takes 2 values or more"),
        (GOOD + "[train]\nimage_sizes = [225]\n", "[train] image_sizes: "),
        (GOOD.replace('["cat", "dog"]', '"cat"'), 'classes takes a list, in brackets, and not "cat"'),
        (GOOD + "[train]\nrates = 4e-4\n", "[train] rates takes a list, in brackets, and not 0.0004"),
        (
            GOOD + "[train]\nrates = [4e-4, 1]\n",
            "[train] rates: Input should be less than or equal to 0.1 (value 2 is 1)",
        ),
        (GOOD + "[tune]\nrate = [1e-4, 1e-3, 1e-2]\n", "[tune] rate takes 2 values and no more"),
        (GOOD + "[gate]\nmargin = -1\n", "[gate] margin: Input should be greater than 0 (got -1)"),
        (GOOD + "[[train]]\nviews = 1\n", "train is a table: write [train] once, in single brackets"),
        (GOOD.replace('["sample://pets"]', "[]"), "[data] sources takes 1 value or more; add what lacks"),
        (GOOD.replace('"sample://pets"', '"x", " "'), "[data] sources: is empty; name a folder, a zip"),
        ("name = \n", "not readable as TOML"),
        ('classes = ["a", "b"]\n[data]\nsources = ["x"]\n', 'lacks the key "name"'),
    ],
)
def test_each_mistake_is_told_in_words(tmp_path: Path, text: str, words: str) -> None:
    assert words in complaint(tmp_path, text)


def test_a_wrong_value_in_a_list_is_one_complaint(tmp_path: Path) -> None:
    said = complaint(tmp_path, GOOD.replace('"sample://pets"', '""'))
    assert said.endswith(
        '[data] sources: is empty; name a folder, a zip, a URL or another source (value 1 is "")'
    )
    assert "\n" not in said


def test_a_mark_that_an_editor_puts_in_front_is_no_mistake(tmp_path: Path) -> None:
    assert problems.load(written(tmp_path, f"\ufeff{GOOD}")).name == "pets"


def test_an_unknown_problem_names_those_that_exist() -> None:
    with pytest.raises(ProblemFileError, match='did you mean "cat-vs-dog"'):
        problems.load("cat-vs-dogs")


def test_class_names_compare_in_composed_form(tmp_path: Path) -> None:
    decomposed = unicodedata.normalize("NFD", "Große Käfer")
    text = GOOD.replace('"cat"', f'"{decomposed}"')
    assert problems.load(written(tmp_path, text)).classes[0] == "Große Käfer"


def test_costs_are_one_where_nothing_is_said(tmp_path: Path) -> None:
    text = GOOD + "[cost]\nask = 0.1\nmistake = { dog = { cat = 5.0 } }\n"
    costs = problems.load(written(tmp_path, text)).costs
    assert costs.mistake == ((0.0, 1.0), (5.0, 0.0))
    assert costs.ask == 0.1


def test_a_source_by_hand_replaces_the_problems_own(tmp_path: Path) -> None:
    varied = problems.load(written(tmp_path, GOOD)).varied("/photos", "mobilenet_v2")
    assert varied.data.sources == ("/photos",)
    assert varied.model.backbone == "mobilenet_v2"


def test_a_backbone_by_hand_is_none_that_the_champion_goes_on_with(tmp_path: Path) -> None:
    known = problems.load(written(tmp_path, GOOD + '\n[model]\ninit = "champion"\n'))
    assert known.varied("/photos").data.sources == ("/photos",)
    with pytest.raises(ProblemFileError, match="keeps the champion's network"):
        known.varied(backbone="mobilenet_v2")


def test_a_backbone_by_hand_that_does_not_exist_is_told(tmp_path: Path) -> None:
    with pytest.raises(ProblemFileError, match="backbone"):
        problems.load(written(tmp_path, GOOD)).varied(backbone="vgg")
