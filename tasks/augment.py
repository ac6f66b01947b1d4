"""Augmented views of a photo, the same ones every time they are asked for.

A view depends on the photo's id and the view's number alone, so what was computed from it can be
kept. Knows pixels; knows nothing about networks.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from export.vision import transforms
from pawloop.image import Resize, decode

PLAIN = 0
_WIDER = 1.25  # a view is cut from a picture this much larger than it
_SMALLEST_AREA = 0.45
_SKEW = 0.15
_DEGREES = 12.0
_LIGHT = 0.3


def view(content: bytes, photo_id: str, number: int, rule: Resize) -> NDArray[np.uint8]:
    """View `number` of an encoded photo as pixels [S, S, 3]; number 0 is what the server will see.

    The others are random crops, mirrored, turned a little and lit differently.
    """
    if number == PLAIN:
        return decode(content, rule)
    wide = decode(content, replace(rule, size=round(rule.size * _WIDER), crop=1.0))
    seed = hashlib.sha256(f"{photo_id}:{number}".encode()).digest()[:8]
    return _varied(wide, rule.size, np.random.default_rng(int.from_bytes(seed, "big")))


def _varied(wide: NDArray[np.uint8], size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    image = torch.from_numpy(wide.copy()).permute(2, 0, 1)  # [3, W, W]
    full = wide.shape[0]
    area = rng.uniform(_SMALLEST_AREA, 1.0)
    skew = np.exp(rng.uniform(-_SKEW, _SKEW))
    height = min(full, round(full * np.sqrt(area) * skew))
    width = min(full, round(full * np.sqrt(area) / skew))
    top, left = rng.integers(0, full - height + 1), rng.integers(0, full - width + 1)
    image = transforms.rotate(image, rng.uniform(-_DEGREES, _DEGREES), fill=[127.0])
    image = transforms.resized_crop(image, int(top), int(left), height, width, [size, size], antialias=True)
    if rng.random() < 0.5:
        image = transforms.horizontal_flip(image)
    for adjust in (
        transforms.adjust_brightness,
        transforms.adjust_contrast,
        transforms.adjust_saturation,
    ):
        image = adjust(image, rng.uniform(1 - _LIGHT, 1 + _LIGHT))
    pixels: NDArray[np.uint8] = image.permute(1, 2, 0).contiguous().numpy()
    return pixels
