"""The model card: what a version is, what it was made from, how good it is, and how to prove it is whole.

Follows Mitchell et al. 2019, "Model Cards for Model Reporting". Knows JSON; knows nothing about
where cards lie.
"""

from __future__ import annotations

import hashlib
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from pawloop.decision import Costs
from pawloop.image import CropMode, Resize

Precision = Literal["float32", "int8"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Variant(_Part):
    """One ONNX file of a version.

    file: its name beside the card. temperature: fitted on this file's own logits. admitted: whether
    it may serve; reason: why not. self_test: [K][C] its probabilities on `self_test_images`.
    """

    file: str
    admitted: bool
    reason: str | None = None
    temperature: float
    bytes: int
    self_test: list[list[float]]


class Dataset(_Part):
    """The dataset version a model was trained on. counts: photos by side and class; licences: by source."""

    id: str
    sources: list[str]
    counts: dict[str, dict[str, int]]
    licences: dict[str, str] = {}


class Bar(_Part):
    """One line of a verdict: what was asked, what was found, whether that passes (None: only told)."""

    name: str
    asked: str
    got: str
    passed: bool | None


class Verdict(_Part):
    """The gate's judgement of a challenger. despite: a person's reason for overruling it."""

    outcome: Literal["promote", "refuse", "cannot tell"]
    summary: str
    bars: list[Bar]
    despite: str | None = None


class Card(_Part):
    """Everything a reader needs to know of a version; written last, it makes the version exist.

    version: the number in the registry, 0 for a candidate. files: SHA-256 of every other file of the
    version; of a candidate, of its variants. purpose: what it is meant for. metrics: by precision.
    novelty_threshold: past it a photo is unlike the training photos. recipe_key, terms_key: name what it was
    made from, and the costs and bars that it was judged by. format: 1 knows no `crop_mode`, and its readers
    would cut a photo otherwise than training did; so they refuse 2.
    """

    format: Literal[1, 2] = 2
    name: str
    version: int
    run: str
    created_at: str
    classes: list[str]
    purpose: str = ""
    image_size: int
    crop: float
    crop_mode: CropMode = "center"
    mistake_costs: list[list[float]]
    ask_cost: float
    novelty_threshold: float | None = None
    backbone: str
    backbone_because: str
    weights: str
    weights_sha256: str | None
    recipe: dict[str, Any]  # Any: hyper-parameters, each of its own type
    recipe_key: str
    terms_key: str = ""
    code_version: str
    dataset: Dataset
    variants: dict[Precision, Variant]
    metrics: dict[Precision, dict[str, Any]]  # Any: numbers, intervals and tables
    verdict: Verdict
    limits: list[str] = []
    files: dict[str, str] = {}

    @property
    def resize(self) -> Resize:
        """The rule from a photo to this model's input."""
        return Resize(self.image_size, self.crop, self.crop_mode)

    @property
    def costs(self) -> Costs:
        """What this model's decisions cost."""
        return Costs(tuple(map(tuple, self.mistake_costs)), self.ask_cost)


SELF_TEST_TOLERANCE: dict[Precision, float] = {
    "float32": 1e-3,
    "int8": 0.05,
}  # largest |difference|


def self_test_images(size: int) -> NDArray[np.uint8]:
    """[4, size, size, 3] synthetic pictures, the same on every machine and with every numpy.

    Made from SHA-256, not from a random generator whose stream a library may change: one of coarse
    blocks, one of fine noise, one gradient and one of waves, since a fault of an int8 kernel may
    show on one and not on another.
    """
    y, x = np.mgrid[0:size, 0:size]
    coarse, fine = _hashed((8, 8, 3)), _hashed((size, size, 3))
    blocks = coarse[y * 8 // size, x * 8 // size]
    ramp = np.stack([x, y, (x + y) // 2], axis=-1) * 255 // (size - 1)
    waves = 127.5 + 127.5 * np.sin(np.stack([x / 5, y / 9, (x - y) / 13], axis=-1))
    return np.stack([blocks, fine, ramp, waves]).astype(np.uint8)


def _hashed(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    count = int(np.prod(shape))
    seed = "x".join(map(str, shape)).encode()
    stream = b"".join(hashlib.sha256(seed + i.to_bytes(4, "big")).digest() for i in range(count // 32 + 1))
    return np.frombuffer(stream, np.uint8, count).reshape(shape)
