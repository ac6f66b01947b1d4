"""Suspected labels: planted swaps stand first on the list."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tasks.atlas import atlas
from tasks.doubted import Suspect, doubted
from tasks.doubts import sentence
from tasks.explore import explore
from tasks.manifest import Dataset
from tasks.suspects import suspects
from tests.tasks.albums import album, made, photo, problem, reasons, verdicts


def test_swapped_labels_stand_first_and_name_the_likely_class() -> None:
    rng = np.random.default_rng(0)
    labels = np.array(["cat", "dog", "hen"] * 100)
    centres = {"cat": 0.0, "dog": 1.0, "hen": 2.0}
    embeddings = np.stack([rng.normal(centres[label], 1.2, 24) for label in labels]).astype(np.float32)
    swapped = rng.permutation(300)[:6]
    said = labels.copy()
    said[swapped] = np.where(labels[swapped] == "cat", "hen", "cat")

    found = suspects(embeddings, said)

    first = {one.row: one for one in found[:6]}
    assert len(first.keys() & set(swapped.tolist())) >= 5
    assert all(one.given == said[row] and one.likely == labels[row] for row, one in first.items())
    assert [one.quality for one in found] == sorted(one.quality for one in found)


def test_a_class_too_small_to_judge_is_left_out() -> None:
    embeddings = np.random.default_rng(0).normal(size=(13, 4)).astype(np.float32)
    labels = np.array(["cat"] * 10 + ["dog"] * 3)

    assert suspects(embeddings, labels) == []


def test_right_labels_of_a_class_that_its_other_photos_do_not_find_are_not_held_for_wrong() -> None:
    rng = np.random.default_rng(1)
    counts = np.array([8] * 20 + [150] * 20)
    numbers = np.repeat(np.arange(len(counts)), counts)
    centres = rng.normal(0, 0.25, (len(counts), 200))
    embeddings = (centres[numbers] + rng.normal(size=(len(numbers), 200))).astype(np.float32)
    found = suspects(embeddings, np.array([f"kind {n:02}" for n in numbers]))
    is_small = np.array([counts[numbers[one.row]] == 8 for one in found])
    assert is_small.sum() > 100
    assert not any(one.is_confident for one, small in zip(found, is_small, strict=True) if small)
    assert not is_small[: len(is_small) - is_small.sum()].any()


def told_apart(dataset: Dataset) -> NDArray[np.float32]:
    """Embeddings that know the class that each photo of an album was drawn for, by its name."""
    names = dataset.kept(["name"])["name"].to_pylist()
    how_cat = np.array([1.5 if "cat000" in name else "/cat" in name for name in names])
    rng = np.random.default_rng(0)
    return (rng.normal(0, 0.2, (len(names), 8)) + how_cat[:, None]).astype(np.float32)


@pytest.fixture
def mislabelled(tmp_path: Path) -> Path:
    """An album in which one cat lies among the dogs."""
    folder = album(tmp_path / "photos", each=40)
    (folder / "cat" / "cat000.jpg").rename(folder / "dog" / "cat000.jpg")
    return folder


def test_a_suspected_label_is_shown_and_stays(mislabelled: Path, tmp_path: Path) -> None:
    about = problem(mislabelled)
    dataset = made(about, tmp_path / "store")

    report = explore(dataset, about, None, told_apart(dataset))

    assert "Suspected wrong labels" in report.html.read_text()
    assert "the label is held for wrong" in report.doubt
    assert "| dog/cat000.jpg | dog | cat |" in report.markdown
    assert len(report.markdown.encode()) < 200_000
    assert verdicts(made(about, tmp_path / "store"))["dog/cat000.jpg"] == "kept"


def test_a_suspected_label_is_set_aside_from_the_next_version_on_where_asked(
    mislabelled: Path, tmp_path: Path
) -> None:
    about, store = problem(mislabelled, wrong_labels="set-aside"), tmp_path / "store"
    first = made(about, store)
    explore(first, about, None, told_apart(first))

    second = made(about, store)
    explore(second, about, first, told_apart(second))
    third = made(about, store)

    assert set(doubted(first).values()) == {"cat"}
    assert verdicts(first)["dog/cat000.jpg"] == "kept"
    assert verdicts(second)["dog/cat000.jpg"] == "wrong label"
    assert 'photos like it are labelled "cat"' in reasons(second)["dog/cat000.jpg"]
    assert third.id == second.id


def test_a_suspected_label_of_the_test_side_is_told_and_stays(tmp_path: Path) -> None:
    folder = album(tmp_path / "photos", each=40)
    about, store = problem(folder, wrong_labels="set-aside"), tmp_path / "store"
    tested = next(photo for photo in made(about, store).photos("test") if photo.label == "cat")
    (folder / "cat" / "cat000.jpg").rename(folder / "cat" / "cat040.jpg")
    Path(tested.location).rename(folder / "dog" / "cat000.jpg")
    first = made(about, store)
    explore(first, about, None, told_apart(first))
    assert set(doubted(first)) == {(tested.id, "dog")}
    assert verdicts(made(about, store))["dog/cat000.jpg"] == "kept"


def test_a_corrected_label_is_taken_again(mislabelled: Path, tmp_path: Path) -> None:
    about, store = problem(mislabelled, wrong_labels="set-aside"), tmp_path / "store"
    first = made(about, store)
    explore(first, about, None, told_apart(first))
    made(about, store)
    (mislabelled / "dog" / "cat000.jpg").rename(mislabelled / "cat" / "cat000.jpg")

    assert verdicts(made(about, store))["cat/cat000.jpg"] == "kept"


def test_neither_suspects_nor_the_map_copy_all_embeddings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.atlas._flat", lambda vectors, seed: vectors[:, :2])  # it sees a sample alone
    count, width = 40_000, 640
    labels = np.array(["cat", "dog"])[np.arange(count) % 2]
    embeddings = np.zeros((count, width), np.float16)
    centres = 0.2 * (np.arange(count)[:, None] % 2)
    embeddings[:, :64] = np.random.default_rng(0).normal(centres, 1, (count, 64))

    tracemalloc.start()
    found, drawn = suspects(embeddings, labels), atlas(embeddings)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert found
    assert drawn is not None
    assert peak < count * width * 4  # what they all take in float32


@pytest.mark.parametrize(("label", "verdict"), [("dog", "near duplicate"), ("cat", "kept")])
def test_beside_a_photo_set_aside_for_its_label_a_twin_stays_only_where_it_has_another(
    mislabelled: Path, tmp_path: Path, label: str, verdict: str
) -> None:
    about, store = problem(mislabelled, wrong_labels="set-aside"), tmp_path / "store"
    first = made(about, store)
    explore(first, about, None, told_apart(first))
    (mislabelled / label / "small.jpg").write_bytes(photo(0, quality=60))

    for _ in range(2):
        told = verdicts(made(about, store))
        assert (told["dog/cat000.jpg"], told[f"{label}/small.jpg"]) == ("wrong label", verdict)


def test_only_photos_that_were_learnt_from_are_promised_to_be_set_aside(
    mislabelled: Path, tmp_path: Path
) -> None:
    dataset = made(problem(mislabelled), tmp_path / "store")
    kept = dataset.kept(["name", "side"])
    sides = kept["side"].to_pylist()
    doubtful = [Suspect(sides.index(side), "dog", "cat", 0.1, True) for side in ("train", "test")]

    told = sentence(dataset, kept, doubtful)

    assert 'wrong_labels = "set-aside" leaves out the 1 of them that were learnt from' in told
    assert "1 judge models until a person moves them" in told
    on = made(problem(mislabelled, wrong_labels="set-aside"), tmp_path / "store")
    assert "The next version leaves out the 1 of them" in sentence(on, kept, doubtful)
