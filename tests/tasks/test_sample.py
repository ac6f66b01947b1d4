"""The drawn sample: the same for the same seed, balanced, and no easier than by its anatomy."""

from collections.abc import Callable
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from tasks.sample import SampleSpec, draw, write

FAULTY = SampleSpec(count=12, seed=3, broken=5, duplicates=4, wrong_labels=3)


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("faulty")
    write(folder, FAULTY)
    return folder


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clean")
    write(folder, SampleSpec(count=12, seed=3))
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def opens(content: bytes) -> bool:
    try:
        Image.open(BytesIO(content)).load()
    except (UnidentifiedImageError, OSError):
        return False
    return True


def test_a_picture_depends_only_on_species_seed_and_index() -> None:
    first = draw("cat", 1, 2).tobytes()

    assert draw("cat", 1, 2).tobytes() == first
    assert first not in {
        draw("dog", 1, 2).tobytes(),
        draw("cat", 2, 2).tobytes(),
        draw("cat", 1, 3).tobytes(),
    }


def test_pictures_are_rgb_with_sides_of_200_to_400_pixels() -> None:
    pictures = [draw(species, 5, index) for species in ("cat", "dog") for index in range(6)]

    assert {picture.mode for picture in pictures} == {"RGB"}
    assert all(200 <= side <= 400 for picture in pictures for side in picture.size)
    assert len({picture.size for picture in pictures}) > 6


def test_a_clean_sample_is_balanced_and_opens(clean: Path) -> None:
    files = contents(clean)

    assert len(list((clean / "cat").iterdir())) == len(list((clean / "dog").iterdir())) == 6
    assert all(opens(content) for content in files.values())
    assert len(set(files.values())) == 12
    assert "cat/cat_00000.jpg" in files


def test_the_same_spec_writes_the_same_bytes(faulty: Path, tmp_path: Path) -> None:
    write(tmp_path, FAULTY)

    assert contents(tmp_path) == contents(faulty)


def test_faults_are_added_to_the_count(faulty: Path) -> None:
    assert len(contents(faulty)) == FAULTY.count + FAULTY.broken + FAULTY.duplicates


def test_broken_files_do_not_open_and_are_of_three_kinds(faulty: Path) -> None:
    broken = [content for content in contents(faulty).values() if not opens(content)]

    assert len(broken) == FAULTY.broken
    assert sum(content == b"" for content in broken) == 1
    assert sum(content.startswith(b"\xff\xd8") for content in broken) == 2
    assert sum(content.startswith(b"this is a text") for content in broken) == 2


def test_duplicates_are_exact_copies_in_the_class_of_their_original(faulty: Path) -> None:
    places: dict[str, list[str]] = {}
    for name, content in contents(faulty).items():
        if opens(content):
            places.setdefault(sha256(content).hexdigest(), []).append(name)
    twins = [names for names in places.values() if len(names) > 1]

    assert sum(len(names) - 1 for names in twins) == FAULTY.duplicates
    assert all(len({name.split("/")[0] for name in names}) == 1 for names in twins)


def test_wrong_labels_lie_in_the_other_class(clean: Path, faulty: Path) -> None:
    truth = {content: name.split("/")[0] for name, content in contents(clean).items()}
    said = {content: name.split("/")[0] for name, content in contents(faulty).items()}

    assert sum(said[content] != label for content, label in truth.items()) == FAULTY.wrong_labels


def test_an_interrupted_run_goes_on_and_leaves_what_is_there(clean: Path, tmp_path: Path) -> None:
    class Interrupted(Exception):
        pass

    def stop(done: int, total: int) -> None:
        if done == 7:
            raise Interrupted

    spec = SampleSpec(count=12, seed=3)
    with pytest.raises(Interrupted):
        write(tmp_path, spec, stop)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.jpg")}
    write(tmp_path, spec)

    assert len(before) == 7
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert contents(tmp_path) == contents(clean)


def test_progress_counts_every_file(tmp_path: Path) -> None:
    heard: list[tuple[int, int]] = []

    write(tmp_path, SampleSpec(count=2, broken=1, duplicates=1), lambda *step: heard.append(step))

    assert heard == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_url_says_every_number_and_leaves_the_rest_as_usual() -> None:
    url = "sample://pets?count=40&seed=3&broken=5&duplicates=4&wrong_labels=2"

    assert SampleSpec.from_url(url) == SampleSpec(40, 3, 5, 4, 2)
    assert SampleSpec.from_url("sample://pets") == SampleSpec()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("sample://pets?cuont=4", 'unknown key "cuont"; did you mean "count"?'),
        ("sample://pets?zzz=4", "known are count, seed, broken, duplicates, wrong_labels"),
        ("sample://birds?count=4", 'unknown sample; the only one is "sample://pets"'),
        ("sample://pets?count=many", 'count="many" is not a whole number'),
        ("sample://pets?count=2.5", 'count="2.5" is not a whole number'),
        ("sample://pets?seed=", 'seed="" is not a whole number'),
        ("sample://pets?broken=-1", "broken=-1 is negative; use 0 or more"),
        ("sample://pets?count=1", "count=1 is too few for two classes; use 2 or more"),
        ("sample://pets?count=4&wrong_labels=5", "wrong_labels=5 is more than count=4"),
        ("sample://pets?seed=1&seed=2", '"seed" is given twice; keep one'),
    ],
)
def test_a_bad_url_is_named_with_what_is_wrong_and_what_to_do(url: str, words: str) -> None:
    with pytest.raises(ValueError) as error:
        SampleSpec.from_url(url)

    assert str(error.value).startswith(f"{url}: ")
    assert words in str(error.value)


@settings(max_examples=40)
@given(st.text(max_size=40))
def test_any_query_gives_a_spec_or_a_value_error(query: str) -> None:
    try:
        assert SampleSpec.from_url(f"sample://pets?{query}").count >= 2
    except ValueError as error:
        assert str(error)  # noqa: PT017  (either outcome is right)


@pytest.fixture(scope="module")
def twenty_each() -> dict[str, list[Image.Image]]:
    return {
        "cat": [draw("cat", 11, index) for index in range(20)],
        "dog": [draw("dog", 11, index) for index in range(20)],
    }


@pytest.mark.parametrize(
    "measure",
    [
        lambda picture: np.asarray(picture).mean(),
        lambda picture: np.asarray(picture).std(),
        lambda picture: picture.width * picture.height,
        lambda picture: picture.width / picture.height,
        lambda picture: np.asarray(picture)[..., 0].mean() - np.asarray(picture)[..., 2].mean(),
    ],
    ids=["brightness", "contrast", "size", "aspect", "warmth"],
)
def test_one_number_does_not_tell_cats_from_dogs(
    twenty_each: dict[str, list[Image.Image]], measure: Callable[[Image.Image], float]
) -> None:
    cats, dogs = ([measure(picture) for picture in twenty_each[name]] for name in ("cat", "dog"))

    # The share of pairs in order is 0.5 when the number says nothing; at twenty each its standard
    # deviation is 0.092, so this allows two and a half of them.
    assert abs(share_in_order(np.array(cats), np.array(dogs)) - 0.5) < 0.23


def share_in_order(low: NDArray[np.float64], high: NDArray[np.float64]) -> float:
    """The area under the ROC curve of one number."""
    return float((low[:, None] < high[None, :]).mean())
