"""What one look at photos' pixels tells: size, fingerprint and statistics, or why one cannot be read.

Knows photos' bytes. Knows nothing about classes, files or what the numbers are for.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pawloop.errors import PhotoError
from pawloop.image import frame_count, is_sideways, opened, overview

VERSION: Final = 2  # a cached measurement of another version is made anew
THUMB_SIDE: Final = 16
_VIEW_SIDE = 48
_SMALL_SIDE = 32
_EVERY = 2  # lines, and pixels of colour, that a deviation is taken from: the same to 2 %, half the work
_LEVELS = np.arange(256, dtype=np.float32)

# One photo's numbers. They travel between processes and lie on disk as they are: an object a photo costs
# more than its hash.
NUMBERS: Final = np.dtype(
    [
        ("width", np.int32),
        ("height", np.int32),
        ("frames", np.int32),
        ("format", "S8"),
        ("hash", np.uint64),
        ("brightness", np.float32),
        ("contrast", np.float32),
        ("sharpness", np.float32),
        ("entropy", np.float32),
        ("colourfulness", np.float32),
    ]
)


class Looks(NamedTuple):
    """What is known of N photos.

    numbers: [N] of NUMBERS. width, height: in pixels, upright. hash: 64-bit perceptual hash. The statistics
    are of the photo reduced to 48 to 95 pixels on its shorter side: brightness, contrast and sharpness
    (mean and deviation of grey, deviation of its Laplacian) in grey levels of 255, colourfulness after Hasler
    and Süsstrunk (2003), entropy of the grey levels in bits. thumbs: [N, 256] grey levels, 16 x 16.
    faults: [N] empty, or the decoder's words for why a photo cannot be read; its numbers are then 0.
    """

    numbers: NDArray[Any]  # Any: a record of several types
    thumbs: NDArray[np.uint8]
    faults: list[str]


class _View(NamedTuple):
    """One photo, small: what is left to do is done for many at once."""

    head: tuple[int, int, int, bytes]
    small: NDArray[np.uint8]  # [32, 32] grey
    levels: list[int]  # [256] how many pixels have each grey level
    sharpness: float
    colour: NDArray[np.float32]  # [2] means of Cb and Cr, then [2, 2] means of their products


def measure(contents: Iterable[bytes]) -> Looks:
    """Decode each photo once and tell all that can be told; never raises for a bad photo."""
    views: list[tuple[int, _View]] = []
    faults: list[str] = []
    for content in contents:
        try:
            views.append((len(faults), _view(content)))
            faults.append("")
        except PhotoError as error:
            faults.append(str(error))
    numbers = np.zeros(len(faults), NUMBERS)
    thumbs = np.zeros((len(faults), THUMB_SIDE**2), np.uint8)
    if views:
        rows = [row for row, _ in views]
        numbers[rows], thumbs[rows] = _told([view for _, view in views])
    return Looks(numbers, thumbs, faults)


def perceptual_hashes(grey: NDArray[np.float32]) -> NDArray[np.uint64]:
    """64 bits each that change little when a photo is resized, recompressed or cropped by a hair.

    grey: [N, 32, 32]. The 63 slowest cosine waves, each above or below their median (pHash, Zauner 2010);
    among 1,569 real photos it finds no false pair within 10 bits, where a difference hash finds 50.
    """
    waves = (_COSINES @ grey @ _COSINES.T).reshape(len(grey), 64)[:, 1:]  # [N, 63], without the mean
    bits = waves > np.sort(waves, axis=1)[:, 31:32]
    return np.packbits(bits, axis=1).view(">u8")[:, 0].astype(np.uint64)


def _cosines() -> NDArray[np.float32]:
    """[8, 32]: the slowest cosine waves of a line of pixels."""
    places = (np.arange(_SMALL_SIDE) + 0.5) * np.pi / _SMALL_SIDE
    return np.cos(np.arange(8)[:, None] * places).astype(np.float32)


_COSINES = _cosines()


def _view(content: bytes) -> _View:
    with opened(content) as photo:
        width, height = photo.size
        frames = frame_count(photo)
        view = overview(photo, _VIEW_SIDE)
        if is_sideways(photo):
            width, height = height, width
        kind = (photo.format or "").encode()
    grey = view.getchannel(0)
    small = grey.resize((_SMALL_SIDE, _SMALL_SIDE), Image.Resampling.BOX)
    pixels = np.asarray(view)  # [H, W, 3] of Y, Cb, Cr
    return _View(
        (width, height, frames, kind),
        np.asarray(small),
        grey.histogram(),
        _sharpness(pixels[..., 0]),
        _moments(pixels[::_EVERY, ::_EVERY, 1:]),
    )


def _sharpness(grey: NDArray[np.uint8]) -> float:
    """Deviation of the Laplacian of grey [H, W]."""
    middle = grey[1:-1:_EVERY].astype(np.int16)
    edges = (middle[:, 1:-1] << 2) - middle[:, :-2] - middle[:, 2:]
    edges -= grey[:-2:_EVERY, 1:-1]
    edges -= grey[2::_EVERY, 1:-1]
    flat = edges.ravel().astype(np.float32)
    if not len(flat):
        return 0.0
    mean = float(flat.sum()) / len(flat)
    return float(np.sqrt(max(0.0, float(flat @ flat) / len(flat) - mean * mean)))


def _moments(chroma: NDArray[np.uint8]) -> NDArray[np.float32]:
    """[3, 2]: means of Cb and Cr [H, W, 2], and the means of their products with each other."""
    flat = chroma.reshape(-1, 2).astype(np.float32) - 128
    whole: NDArray[np.float32] = np.empty((3, 2), np.float32)
    whole[0], whole[1:] = flat.sum(0), flat.T @ flat
    return whole / np.float32(len(flat))


def _told(views: list[_View]) -> tuple[NDArray[Any], NDArray[np.uint8]]:  # Any: as in Looks
    """Numbers [N] and thumbnails [N, 256] of views."""
    numbers = np.zeros(len(views), NUMBERS)
    numbers[["width", "height", "frames", "format"]] = np.array(
        [view.head for view in views], NUMBERS[["width", "height", "frames", "format"]]
    )
    small = np.stack([view.small for view in views]).astype(np.float32)  # [N, 32, 32]
    numbers["hash"] = perceptual_hashes(small)
    numbers["sharpness"] = [view.sharpness for view in views]
    counts = np.array([view.levels for view in views], np.float32)  # [N, 256]
    shares = counts / counts.sum(1, keepdims=True)
    numbers["brightness"] = brightness = shares @ _LEVELS
    numbers["contrast"] = np.sqrt((shares * (_LEVELS - brightness[:, None]) ** 2).sum(1))
    numbers["entropy"] = -(shares * np.log2(np.maximum(shares, 1e-12))).sum(1)
    numbers["colourfulness"] = _colourfulness(np.stack([view.colour for view in views]))
    side = THUMB_SIDE
    thumbs = small.reshape(-1, side, 2, side, 2).mean((2, 4)).round().astype(np.uint8)
    return numbers, thumbs.reshape(len(views), -1)


# Red less green, and their mean less blue, from Cb and Cr (ITU-R BT.601, as JPEG has them).
_OPPONENTS = np.array([[0.344136, 2.116136], [-1.944068, 0.343932]], np.float32)


def _colourfulness(moments: NDArray[np.float32]) -> NDArray[np.float32]:
    """[N] from the moments [N, 3, 2] of Cb and Cr."""
    means, products = moments[:, 0], moments[:, 1:]  # [N, 2], [N, 2, 2]
    covariances = products - means[:, :, None] * means[:, None]
    spread = np.einsum("oc,ncd,od->no", _OPPONENTS, covariances, _OPPONENTS).clip(0).sum(1)
    middle: NDArray[np.float32] = np.hypot(*(means @ _OPPONENTS.T).T)
    colourfulness: NDArray[np.float32] = np.sqrt(spread) + np.float32(0.3) * middle
    return colourfulness
