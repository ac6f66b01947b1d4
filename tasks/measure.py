"""What one look at a photo's pixels tells: size, fingerprint and statistics, or why it cannot be read.

Knows one photo's bytes. Knows nothing about other photos, classes or files.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pawloop.errors import PhotoError
from pawloop.image import frame_count, is_sideways, opened, overview

VERSION: Final = 1  # a cached measurement of another version is made anew
THUMB_SIDE: Final = 16
_VIEW_SIDE = 64
_SMALL_SIDE = 32
_LEVELS = np.arange(256, dtype=np.float32)


class Measured(NamedTuple):
    """What is known of one photo. fault: empty, or the decoder's words for why it cannot be read.

    width, height: in pixels, upright. hash: 64-bit perceptual hash. thumb: 16 x 16 grey levels.
    The statistics are of the photo reduced to 64 to 127 pixels on its shorter side: brightness, contrast
    and sharpness (mean and deviation of grey, deviation of its Laplacian) in grey levels of 255,
    colourfulness after Hasler and Süsstrunk (2003), entropy of the grey levels in bits.
    """

    fault: str = ""
    width: int = 0
    height: int = 0
    format: str = ""
    frames: int = 0
    hash: int = 0
    thumb: bytes = b""
    brightness: float = 0.0
    contrast: float = 0.0
    sharpness: float = 0.0
    entropy: float = 0.0
    colourfulness: float = 0.0


def measure(content: bytes) -> Measured:
    """Decode a photo once and tell all that can be told; never raises for a bad photo."""
    try:
        with opened(content) as photo:
            width, height = photo.size
            frames = frame_count(photo)
            view = overview(photo, _VIEW_SIDE)
            if is_sideways(photo):
                width, height = height, width
            kind = photo.format or ""
    except PhotoError as error:
        return Measured(fault=str(error))
    small = view.resize((_SMALL_SIDE, _SMALL_SIDE), Image.Resampling.BOX)
    small_grey = small.convert("L")
    thumb = small_grey.reduce(_SMALL_SIDE // THUMB_SIDE).tobytes()
    hash = perceptual_hash(np.asarray(small_grey, np.float32))
    return Measured("", width, height, kind, frames, hash, thumb, *_grey(view), _colour(small))


def perceptual_hash(grey: NDArray[np.float32]) -> int:
    """64 bits that change little when a photo is resized, recompressed or cropped by a hair.

    grey: [32, 32]. The 63 slowest cosine waves, each above or below their median (pHash, Zauner 2010);
    among 1,569 real photos it finds no false pair within 10 bits, where a difference hash finds 50.
    """
    waves = (_COSINES @ grey @ _COSINES.T).ravel()[1:]  # [63], without the mean
    return int.from_bytes(np.packbits(waves > np.sort(waves)[31]).tobytes())


def _cosines() -> NDArray[np.float32]:
    """[8, 32]: the slowest cosine waves of a line of pixels."""
    places = (np.arange(_SMALL_SIDE) + 0.5) * np.pi / _SMALL_SIDE
    return np.cos(np.arange(8)[:, None] * places).astype(np.float32)


_COSINES = _cosines()


def _grey(view: Image.Image) -> tuple[float, float, float, float]:
    """Brightness, contrast, sharpness, entropy."""
    grey = view.convert("L")
    counts = np.array(grey.histogram(), np.float32)
    shares = counts / counts.sum()
    brightness = float(shares @ _LEVELS)
    contrast = float(shares @ (_LEVELS - brightness) ** 2) ** 0.5
    present = shares[shares > 0]
    return brightness, contrast, _sharpness(grey), float(-(present @ np.log2(present)))


def _sharpness(grey: Image.Image) -> float:
    levels = np.asarray(grey, np.int16)  # [H, W]
    middle = levels[1:-1:2]  # every second line is enough for a deviation, and half the work
    edges = (middle[:, 1:-1] << 2) - middle[:, :-2] - middle[:, 2:]
    edges -= levels[:-2:2, 1:-1] + levels[2::2, 1:-1]
    return float(edges.astype(np.float32).std()) if edges.size else 0.0


def _colour(small: Image.Image) -> float:
    red, green, blue = np.asarray(small, np.float32).reshape(-1, 3).T  # [1024] each
    opponents = np.stack([red - green, (red + green) / 2 - blue])
    spread, middle = opponents.std(1), opponents.mean(1)
    return float(np.hypot(*spread) + 0.3 * np.hypot(*middle))
