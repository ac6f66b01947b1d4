"""As many photos as a bench of data asks for: drawn JPEGs of about 20 kB, 320 x 240, no two alike.

Soft blots of colour under noise as photos have it (its strength falls with its frequency), so that a decoder
has as much to do as on a real photo of that size. Knows pixels and files; knows nothing about measuring.
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pawloop.settings import usable_cores

CLASSES: Final = ("cat", "dog")
SIZE: Final = (320, 240)
_QUALITY: Final = 80
_FIELD: Final = 1024
_GRAIN: Final = 17.0  # grey levels; with this quality it gives 20 kB
_PART: Final = 500


def draw(folder: Path, start: int, stop: int) -> None:
    """Photos number `start` to `stop`, a folder per class, the same ones on every machine."""
    for label in CLASSES:
        (folder / label).mkdir(parents=True, exist_ok=True)
    parts = [range(at, min(at + _PART, stop)) for at in range(start, stop, _PART)]
    with ProcessPoolExecutor(usable_cores()) as pool:
        list(pool.map(partial(_draw_part, folder), parts))


def _draw_part(folder: Path, numbers: range) -> None:
    for number in numbers:
        path = folder / CLASSES[number % len(CLASSES)] / f"{number:06d}.jpg"
        _photo(number).save(path, "JPEG", quality=_QUALITY)


def _photo(number: int) -> Image.Image:
    rng = np.random.default_rng(number)
    width, height = SIZE
    blots = Image.fromarray(rng.integers(30, 226, (6, 8, 3), np.uint8))
    soft = np.asarray(blots.resize(SIZE, Image.Resampling.BICUBIC), np.int16)
    left, top = rng.integers(0, _FIELD - width), rng.integers(0, _FIELD - height)
    grain = _grain()[top : top + height, left : left + width, None]
    return Image.fromarray((soft + grain).clip(0, 255).astype(np.uint8))


@cache
def _grain() -> NDArray[np.int16]:
    """[1024, 1024] noise whose strength falls with its frequency, as in photos (Field 1987)."""
    rng = np.random.default_rng(0)
    waves = np.fft.rfft2(rng.normal(size=(_FIELD, _FIELD)))
    frequency = np.hypot(np.fft.fftfreq(_FIELD)[:, None], np.fft.rfftfreq(_FIELD)[None])
    field = np.fft.irfft2(waves / np.maximum(frequency, 1 / 64), s=(_FIELD, _FIELD))
    grain: NDArray[np.int16] = np.rint(field / field.std() * _GRAIN).astype(np.int16)
    return grain
