"""The decoder: pictures whose pixels are numbers, and what they cost."""

from __future__ import annotations

import io
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from pawloop.image import Resize, decode


def encoded(picture: Image.Image, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    picture.save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.full((200, 200), 257 * 100, np.uint16), 100),
        (np.full((200, 200), 100, np.uint16), 100),
        (np.full((200, 200), 0.5, np.float32), 127),
        (np.full((200, 200), np.nan, np.float32), 0),
    ],
)
def test_pictures_of_numbers_come_in_eight_bits(values: np.ndarray, expected: int) -> None:
    pixels = decode(encoded(Image.fromarray(values), "TIFF"), Resize(32, 1.0))
    assert np.unique(pixels).tolist() == [expected]


def test_a_large_picture_of_numbers_is_not_copied_in_doubles() -> None:
    side = 3000
    photo = encoded(Image.new("I;16", (side, side)))
    tracemalloc.start()
    decode(photo, Resize(224))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5 * side * side
