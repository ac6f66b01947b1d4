"""Pictures that are no cats and no dogs, and how many of them a model refuses as unfamiliar.

Blank sheets, noise, things and people. Knows pictures and released files; knows nothing about training.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pawloop.image import decode
from pawloop.session import Session
from pawloop.settings import usable_cores
from tasks.candidate import Candidate

_SIZE: Final = (320, 240)
# An aeroplane, flowers, a pond, dice, a toucan, a hut, a road and a person; none of them an animal with fur.
_AWKWARD: Final = (
    "exif_gps_typeerror.jpg",
    "flower.webp",
    "frozenpond.mpo",
    "transparent.webp",
    "pil_sample_cmyk.jpg",
    "sugarshack_bad_mpo_header.jpg",
    "jpeg_ff00_header.jpg",
    "avif__rot1mir0.avif",
    "hopper_orientation_6.jpg",
)
# Come with packages of the environment: a cup, a rocket, a motorcycle, a temple, a flower, a person.
_IN_PACKAGES: Final = (
    ("skimage", "data/coffee.png"),
    ("skimage", "data/rocket.jpg"),
    ("skimage", "data/motorcycle_left.png"),
    ("sklearn", "datasets/images/china.jpg"),
    ("sklearn", "datasets/images/flower.jpg"),
    ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
)


def blank() -> dict[str, bytes]:
    """One colour each."""
    colours = ("white", "black", "grey", "red", "green", "blue")
    return {colour: _png(Image.new("RGB", _SIZE, colour)) for colour in colours}


def noise() -> dict[str, bytes]:
    """Uniform, normal, in black and white, coarse and in stripes."""
    rng = np.random.default_rng(0)
    width, height = _SIZE
    drawn: dict[str, Callable[[], NDArray[np.uint8]]] = {
        "uniform": lambda: rng.integers(0, 256, (height, width, 3), np.uint8),
        "normal": lambda: rng.normal(128, 40, (height, width, 3)).clip(0, 255).astype(np.uint8),
        "faint": lambda: rng.normal(128, 8, (height, width, 3)).clip(0, 255).astype(np.uint8),
        "black and white": lambda: _grey((rng.random((height, width)) < 0.5) * 255),
        "coarse": lambda: rng.integers(0, 256, (15, 20, 3), np.uint8).repeat(16, 0).repeat(16, 1),
        "stripes": lambda: _grey(np.broadcast_to(np.arange(width) // 8 % 2 * 255, (height, width))),
    }
    return {name: _png(Image.fromarray(draw())) for name, draw in drawn.items()}


def things(test_data: Path) -> dict[str, bytes]:
    """Photos of things and people, as far as they are on this machine."""
    paths = [test_data / "awkward" / name for name in _AWKWARD]
    for package, name in _IN_PACKAGES:
        spec = find_spec(package)
        paths += [Path(place) / name for place in (spec and spec.submodule_search_locations) or []]
    return {path.name: path.read_bytes() for path in paths if path.is_file()}


def refused(made: Candidate, contents: Sequence[bytes], threshold: float) -> NDArray[np.bool_]:
    """[N] whether the released float32 file finds each encoded picture more novel than `threshold`."""
    session = Session(made.model("float32"), threads=1)

    def novelty(content: bytes) -> float:
        return float(session.run(decode(content, made.rule)[None], ["novelty"])["novelty"][0])

    with ThreadPoolExecutor(usable_cores()) as pool:
        return np.array(list(pool.map(novelty, contents)), np.float32) > threshold


def _grey(values: NDArray[np.integer]) -> NDArray[np.uint8]:
    """[H, W] to [H, W, 3]."""
    return np.stack([values.astype(np.uint8)] * 3, axis=2)


def _png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()
