"""The photos that every server of the bench gets: 500 x 375 JPEGs of about 46 kB, the same for all.

Made from real photos of cats and dogs where `PAWLOOP_TEST_DATA` has them, else drawn. Knows files; knows
nothing about servers.
"""

from __future__ import annotations

import io
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from PIL import Image

from tasks.sample import SampleSpec, write

SIZE: Final = (500, 375)
BYTES: Final = 46_000
LARGE: Final = (4000, 3000)  # twelve megapixels


def photos(test_data: Path, count: int = 64) -> list[bytes]:
    """Encoded photos, always the same ones."""
    return [_encoded(image.resize(SIZE, Image.Resampling.LANCZOS)) for image in _images(test_data, count)]


def large_photos(test_data: Path, count: int = 4) -> list[bytes]:
    """The same subjects as a telephone would send them: twelve megapixels, quality 90."""
    return [_jpeg(image.resize(LARGE, Image.Resampling.LANCZOS), 90) for image in _images(test_data, count)]


def are_real(test_data: Path) -> bool:
    """Whether there are real photos on this machine."""
    return (test_data / "pets" / "cat").is_dir()


def _images(test_data: Path, count: int) -> list[Image.Image]:
    if not are_real(test_data):
        with TemporaryDirectory() as folder:
            write(Path(folder), SampleSpec(count))
            return [Image.open(path).convert("RGB") for path in sorted(Path(folder).glob("*/*.jpg"))]
    paths: list[Path] = []
    for kind in ("cat", "dog"):
        found = sorted((test_data / "pets" / kind).glob("*.jpg"))
        paths += found[:: max(1, len(found) // (count // 2))][: count // 2]
    return [Image.open(path).convert("RGB") for path in paths]


def _encoded(image: Image.Image) -> bytes:
    """At the quality that comes closest to the wanted size from below."""
    low, high = 40, 98
    while low < high:
        middle = (low + high + 1) // 2
        if len(_jpeg(image, middle)) <= BYTES:
            low = middle
        else:
            high = middle - 1
    return _jpeg(image, low)


def _jpeg(image: Image.Image, quality: int) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()
