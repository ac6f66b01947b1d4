"""Tiny real models, published to a real registry, so that no test of serving needs torch or training.

A photo's mean colour decides: red is the first class, blue the last. Everything else is as in a trained
version: the graph's names and shapes, the metadata, the card, the self-test, the hashes.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from pawloop.card import Card, Dataset, Precision, Variant, Verdict, self_test_images
from pawloop.registry import Registry, Version
from pawloop.session import Session

CLASSES = ("cat", "dog")
SIZE = 32
FILES: Mapping[Precision, str] = {"float32": "model.onnx", "int8": "model.int8.onnx"}


def graph(
    classes: Sequence[str] = CLASSES,
    size: int = SIZE,
    tilt: float = 0.0,
    sharpness: float = 8.0,
    tells_novelty: bool = False,
) -> onnx.ModelProto:
    """Mean colour [N, 3] as embedding, softmax of a line through it as probabilities [N, C].

    tilt: pushes every answer towards the first class. sharpness: how sure the model is. tells_novelty:
    whether it has a third output, which is the greener the higher.
    """
    place = np.linspace(1, -1, len(classes), dtype=np.float32)  # [C] from red to blue
    weights = sharpness * np.stack([place, 0 * place, -place])  # [3, C]
    bias = (tilt * place).astype(np.float32)  # [C]
    constants = {
        "scale": np.float32(1 / 255),
        "axes": np.array([1, 2], np.int64),
        "weights": weights.astype(np.float32),
        "bias": bias,
    }
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels", "axes"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "scale"], ["embedding"]),
        helper.make_node("MatMul", ["embedding", "weights"], ["turned"]),
        helper.make_node("Add", ["turned", "bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    outputs = [
        helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", len(classes)]),
        helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["N", 3]),
    ]
    if tells_novelty:
        constants["green"] = np.int64(1)
        nodes.append(helper.make_node("Gather", ["embedding", "green"], ["novelty"], axis=1))
        outputs.append(helper.make_tensor_value_info("novelty", TensorProto.FLOAT, ["N"]))
    body = helper.make_graph(
        nodes,
        "mean-colour",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", size, size, 3])],
        outputs,
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    return model


def publish(
    store: Path,
    name: str = "colours",
    *,
    model: onnx.ModelProto | None = None,
    classes: Sequence[str] = CLASSES,
    size: int = SIZE,
    tilt: float = 0.0,
    precisions: Sequence[Precision] = ("float32",),
    ask_cost: float = 0.25,
    wrong_self_test: Sequence[Precision] = (),
    novelty_threshold: float | None = None,
) -> Version:
    """A new version in `store`, in nobody's service yet; versions of another `tilt` answer differently.

    model: other than `graph(classes, size, tilt)`. wrong_self_test: precisions whose card lies.
    novelty_threshold: past it a photo is unfamiliar.
    """
    model = model or graph(classes, size, tilt, tells_novelty=novelty_threshold is not None)
    answers = Session(model.SerializeToString()).run(self_test_images(size))["probabilities"]  # [4, C]
    variants = {
        precision: Variant(
            file=FILES[precision],
            admitted=True,
            temperature=1.0,
            bytes=model.ByteSize(),
            self_test=(answers[:, ::-1] if precision in wrong_self_test else answers).tolist(),
        )
        for precision in precisions
    }
    card = _card(name, classes, size, ask_cost, variants)
    card = card.model_copy(update={"novelty_threshold": novelty_threshold})

    def stamp(folder: Path, numbered: Card) -> None:
        helper.set_model_props(
            model, {"name": name, "version": str(numbered.version), "classes": json.dumps(list(classes))}
        )
        for variant in variants.values():
            onnx.save(model, str(folder / variant.file))

    with TemporaryDirectory() as candidate:
        return Registry(store, name).publish(Path(candidate), card, stamp)


def promote(store: Path, version: Version) -> None:
    """Make `version` the champion, whoever is now."""
    registry = Registry(store, version.card.name)
    registry.promote(version.number, "a test", expected=registry.aliases().champion)


def champion(store: Path, name: str = "colours", tilt: float = 0.0) -> Version:
    """Publish a version and make it champion."""
    version = publish(store, name, tilt=tilt)
    promote(store, version)
    return version


def problem_file(folder: Path, name: str = "colours", classes: Sequence[str] = CLASSES) -> Path:
    """A problem file for the setting `problem`."""
    path = folder / f"{name}.toml"
    path.write_text(
        f'name = "{name}"\nclasses = {json.dumps(list(classes))}\n[data]\nsources = ["sample://pets"]\n'
    )
    return path


def photo(colour: str | tuple[int, int, int] = "red", size: tuple[int, int] = (80, 60)) -> bytes:
    """A JPEG of one colour."""
    return encoded(np.asarray(Image.new("RGB", size, colour)), "JPEG")


def encoded(pixels: NDArray[np.uint8], kind: str = "PNG") -> bytes:
    """Pixels [H, W, 3] as bytes of an image file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def _card(
    name: str, classes: Sequence[str], size: int, ask_cost: float, variants: dict[Precision, Variant]
) -> Card:
    count = len(classes)
    return Card(
        name=name,
        version=0,
        run="a-test",
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        classes=list(classes),
        image_size=size,
        crop=0.875,
        mistake_costs=(np.ones((count, count)) - np.eye(count)).tolist(),
        ask_cost=ask_cost,
        backbone="mobilenet_v2",
        backbone_because="a test asked for it",
        weights="none",
        weights_sha256=None,
        recipe={},
        recipe_key="0" * 16,
        code_version="0.1.0",
        dataset=Dataset(id="0" * 16, sources=["sample://pets"], counts={}),
        variants=variants,
        metrics={precision: {"accuracy": 0.99, "expected_cost": 0.01} for precision in variants},
        verdict=Verdict(outcome="promote", summary="a test", bars=[]),
    )
