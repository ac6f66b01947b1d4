from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pawloop.errors import DamagedVersionError
from pawloop.settings import Settings
from serve.answer import answer
from serve.loading import load
from tests import published

PLAIN = Settings(_env_file=None)


def test_a_whole_version_is_loaded_and_answers_by_its_colours(tmp_path: Path) -> None:
    serving = load(published.publish(tmp_path), PLAIN)
    assert answer(serving, published.photo("red"), 10**6).label == "cat"
    assert answer(serving, published.photo("blue"), 10**6).label == "dog"


def test_a_truncated_model_is_refused(tmp_path: Path) -> None:
    version = published.publish(tmp_path)
    path = version.folder / "model.onnx"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DamagedVersionError, match=r"model\.onnx"):
        load(version, PLAIN)


def test_a_model_that_fails_its_self_test_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DamagedVersionError, match="self-test"):
        load(published.publish(tmp_path, wrong_self_test=["float32"]), PLAIN)


def test_an_int8_that_saturates_on_this_processor_gives_way_to_float32(tmp_path: Path) -> None:
    version = published.publish(tmp_path, precisions=["float32", "int8"], wrong_self_test=["int8"])
    assert load(version, PLAIN).precision == "float32"


def test_the_setting_chooses_among_the_admitted_variants(tmp_path: Path) -> None:
    version = published.publish(tmp_path, precisions=["float32", "int8"])
    chosen = load(version, PLAIN.model_copy(update={"precision": "int8"}))
    assert chosen.precision == "int8"
    only = published.publish(tmp_path)
    assert load(only, PLAIN.model_copy(update={"precision": "int8"})).precision == "float32"


def test_a_model_of_another_input_size_is_refused(tmp_path: Path) -> None:
    version = published.publish(tmp_path, size=published.SIZE)
    wrong = version.card.model_copy(update={"image_size": 64})
    with pytest.raises(DamagedVersionError, match="the card says"):
        load(type(version)(version.folder, wrong), PLAIN)


def test_a_model_with_more_classes_than_its_card_is_refused(tmp_path: Path) -> None:
    version = published.publish(tmp_path, classes=["cat", "fox", "dog"])
    wrong = version.card.model_copy(update={"classes": ["cat", "dog"]})
    with pytest.raises(DamagedVersionError, match="classes"):
        load(type(version)(version.folder, wrong), PLAIN)


def test_probabilities_are_those_of_the_file(tmp_path: Path) -> None:
    serving = load(published.publish(tmp_path), PLAIN)
    pixels = np.full((published.SIZE, published.SIZE, 3), (200, 100, 120), np.uint8)
    given = answer(serving, published.encoded(pixels), 10**6).probabilities
    expected = serving.session.run(pixels[None])["probabilities"][0]
    assert np.allclose(given, expected, atol=1e-6)
