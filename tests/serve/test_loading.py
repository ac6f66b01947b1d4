from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pawloop.errors import DamagedVersionError, SettingsError
from pawloop.session import Provider, Session, providers
from pawloop.settings import Settings
from serve import loading
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
    unfit = published.publish(tmp_path, precisions=["float32", "int8"], wrong_self_test=["int8"])
    assert load(unfit, PLAIN.model_copy(update={"precision": "int8"})).precision == "float32"


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


def test_the_fastest_provider_that_passes_the_self_test_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []

    class Pretended(Session):
        def __init__(self, model: Path, *, at_once: int, provider: Provider, **others: int) -> None:
            opened.append((Path(model).name, provider, at_once))
            super().__init__(model, at_once=at_once, **others)
            self.is_wrong = provider == "openvino" and "int8" in str(model)

        def run(self, images: np.ndarray, outputs: Sequence[str] | None = None) -> dict[str, np.ndarray]:
            answers = super().run(images, outputs)
            return {name: value * (0.5 if self.is_wrong else 1) for name, value in answers.items()}

    monkeypatch.setattr(loading, "Session", Pretended)
    monkeypatch.setattr(loading, "providers", lambda: ["cpu", "openvino"])
    monkeypatch.setattr(loading, "_seconds", lambda session: float(len(opened)) - session.is_wrong)
    version = published.publish(tmp_path, precisions=["float32", "int8"])
    serving = load(version, PLAIN.model_copy(update={"threads": 3}))
    ways = [
        (file, provider) for file in ("model.onnx", "model.int8.onnx") for provider in ("cpu", "openvino")
    ]
    assert opened == [(*way, 3) for way in ways]
    assert (serving.precision, serving.provider) != ("int8", "openvino")
    asked = load(version, PLAIN.model_copy(update={"provider": "openvino", "precision": "float32"}))
    assert (asked.precision, asked.provider) == ("float32", "openvino")


def test_a_variant_that_cannot_be_run_is_left_out_and_the_others_serve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Pretended(Session):
        def __init__(self, model: Path, **named: Any) -> None:  # Any: of any type
            super().__init__(model, **named)
            self.is_broken = "int8" in str(model)

        def run(self, images: np.ndarray, outputs: Sequence[str] | None = None) -> dict[str, np.ndarray]:
            if self.is_broken:
                raise RuntimeError("no kernel for this processor")
            return super().run(images, outputs)

    monkeypatch.setattr(loading, "Session", Pretended)
    version = published.publish(tmp_path, precisions=["float32", "int8"])
    assert load(version, PLAIN).precision == "float32"


def test_a_provider_that_is_not_installed_is_named(tmp_path: Path) -> None:
    if "openvino" in providers():
        pytest.skip("this onnxruntime has OpenVINO")
    version = published.publish(tmp_path)
    with pytest.raises(SettingsError, match="onnxruntime-openvino"):
        load(version, PLAIN.model_copy(update={"provider": "openvino"}))
