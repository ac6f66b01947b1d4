"""The decoder: pictures whose pixels are numbers, and what they cost."""

from __future__ import annotations

import io
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

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


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_squashed_a_photo_keeps_its_edges_which_the_centre_square_loses(kind: str, turned: bool) -> None:
    picture = np.zeros((300, 900, 3), np.uint8)
    picture[:, :225, 0] = 255  # the left quarter is red
    exif = Image.Exif()
    exif[0x0112] = 6 if turned else 1  # a quarter turn: what was left is then the top
    file = io.BytesIO()
    Image.fromarray(picture).save(file, kind, exif=exif, quality=95)
    red = {
        mode: decode(file.getvalue(), Resize(64, 1.0, mode))[..., 0] > 127 for mode in ("center", "squash")
    }
    assert not red["center"].any()
    columns = red["squash"].T if turned else red["squash"]
    assert columns[:, :15].all()
    assert not columns[:, 17:].any()


def test_of_a_square_photo_both_ways_give_the_same() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (90, 90, 3), np.uint8)
    photo = encoded(Image.fromarray(noise))
    assert (decode(photo, Resize(32, 0.9)) == decode(photo, Resize(32, 0.9, "squash"))).all()


def test_a_large_picture_of_numbers_is_not_copied_in_doubles() -> None:
    side = 3000
    photo = encoded(Image.new("I;16", (side, side)))
    tracemalloc.start()
    decode(photo, Resize(224))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5 * side * side


def translucent(side: int) -> Image.Image:
    """Noise in RGBA; as high as no whole number of strips."""
    noise = np.random.default_rng(0).integers(0, 256, (side + 7, side, 4), np.uint8)
    return Image.fromarray(noise)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L", "RGB"])
def test_what_shines_through_a_picture_is_white(mode: str) -> None:
    picture = translucent(135)
    key: dict[str, Any] = {  # Any: what Pillow takes for a transparent colour
        "P": {"transparency": bytes(range(256))},
        "L": {"transparency": picture.convert("L").getpixel((0, 0))},
        "RGB": {"transparency": picture.convert("RGB").getpixel((0, 0))},
    }.get(mode, {})
    file = io.BytesIO()
    (picture if mode == "RGBA" else picture.convert(mode)).save(file, "PNG", **key)
    whole = Image.open(io.BytesIO(file.getvalue())).convert("RGBA")
    paper = Image.new("RGBA", whole.size, "white")
    opaque = encoded(Image.alpha_composite(paper, whole).convert("RGB"))
    assert (decode(file.getvalue(), Resize(64)) == decode(opaque, Resize(64))).all()


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process is told by /proc")
def test_a_large_translucent_picture_is_not_kept_three_times(tmp_path: Path) -> None:
    side = 3000
    Image.new("RGBA", (side, side)).save(tmp_path / "large.png")
    script = """
import sys
from pathlib import Path
from pawloop.image import Resize, decode
def peak(): return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) * 1024
content, before = Path(sys.argv[1]).read_bytes(), peak()
decode(content, Resize(224))
print(peak() - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "large.png"], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 10 * side * side  # itself and the opaque one, four bytes a pixel each
