"""Scenery and light, told nothing about the animal."""

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw, ImageFilter

from tasks.sample.paint import exposed
from tasks.sample.shapes import INK, WHITE, Colour, mix


def scenery(rng: Generator, size: tuple[int, int]) -> Image.Image:
    kinds = (_room, _meadow, _gradient, _bokeh, _blanket)
    return kinds[rng.integers(len(kinds))](rng, size)


def _tone(rng: Generator, low: float = 60, high: float = 225) -> Colour:
    grey = rng.uniform(low, high)
    red, green, blue = (int(c) for c in np.clip(grey + rng.normal(0, 26, 3), 10, 250))
    return red, green, blue


def _ramp(size: tuple[int, int], top: Colour, bottom: Colour) -> Image.Image:
    rows = np.array([[top], [bottom]], np.uint8)
    return Image.fromarray(rows).resize(size, Image.Resampling.BILINEAR)


def _gradient(rng: Generator, size: tuple[int, int]) -> Image.Image:
    return _ramp(size, _tone(rng), _tone(rng))


def _room(rng: Generator, size: tuple[int, int]) -> Image.Image:
    width, height = size
    wall, floor = _tone(rng, 110), _tone(rng, 60, 180)
    picture = _ramp(size, wall, mix(wall, INK, 0.2))
    pen, line = ImageDraw.Draw(picture), int(height * rng.uniform(0.55, 0.8))
    x, w = rng.uniform(-0.1, 0.8) * width, rng.uniform(0.2, 0.45) * width
    frame = (x, height * 0.05, x + w, height * rng.uniform(0.3, 0.5))
    pen.rectangle(frame, fill=_tone(rng), outline=mix(wall, WHITE, 0.6), width=5)
    picture.paste(_ramp((width, height - line), mix(floor, INK, 0.25), floor), (0, line))
    pen.rectangle((0, line - height * 0.03, width, line), fill=mix(wall, WHITE, 0.5))
    for board in np.arange(-1, 2, 0.22):
        ends = [
            (width * (0.5 + (board - 0.5) * 0.8), line),
            (width * (0.5 + (board - 0.5) * 2), height),
        ]
        pen.line(ends, fill=mix(floor, INK, 0.3), width=2)
    return picture.filter(ImageFilter.BoxBlur(rng.uniform(0.5, 3)))


def _meadow(rng: Generator, size: tuple[int, int]) -> Image.Image:
    width, height = size
    sky = _ramp(size, (int(rng.integers(110, 170)), 165, 215), (215, 225, 230))
    grass = (int(rng.integers(70, 130)), int(rng.integers(120, 165)), int(rng.integers(50, 85)))
    line = int(height * rng.uniform(0.3, 0.65))
    pen = ImageDraw.Draw(sky)
    for x in rng.uniform(0, width, 6):
        r = rng.uniform(0.08, 0.2) * width
        pen.ellipse((x - r, line - r, x + r, line + r), fill=mix(grass, INK, rng.uniform(0.2, 0.5)))
    sky.paste(_ramp((width, height - line), mix(grass, WHITE, 0.2), mix(grass, INK, 0.3)), (0, line))
    for x, y, lean, shade in rng.uniform(0, 1, (160, 4)):
        foot = line + y * (height - line)
        pen.line(
            (x * width, foot, x * width + (lean - 0.5) * 10, foot - 4 - 10 * y),
            fill=mix(grass, WHITE if shade > 0.5 else INK, abs(shade - 0.5) * 0.7),
            width=2,
        )
    return sky.filter(ImageFilter.BoxBlur(rng.uniform(0.5, 2.5)))


def _bokeh(rng: Generator, size: tuple[int, int]) -> Image.Image:
    small = (size[0] // 3, size[1] // 3)
    picture = _ramp(small, _tone(rng), _tone(rng))
    pen = ImageDraw.Draw(picture)
    for x, y in rng.uniform(0, 1, (14, 2)) * small:
        r = rng.uniform(0.04, 0.2) * small[0]
        pen.ellipse((x - r, y - r, x + r, y + r), fill=_tone(rng))
    blurred = picture.filter(ImageFilter.GaussianBlur(rng.uniform(1.5, 6)))
    return blurred.resize(size, Image.Resampling.BILINEAR)


def _blanket(rng: Generator, size: tuple[int, int]) -> Image.Image:
    width, height = size
    ground = _tone(rng, 90)
    thread = mix(ground, _tone(rng), 0.6)
    picture, step = Image.new("RGB", size, ground), int(rng.integers(22, 52))
    pen, kind = ImageDraw.Draw(picture), rng.integers(3)
    for x in range(0, width + step, step):
        if kind < 2:
            pen.rectangle((x, 0, x + step // 2, height), fill=thread)
        for y in range(0, height + step, step):
            if kind == 1:
                pen.rectangle((x, y, x + step, y + step // 3), fill=mix(ground, thread, 0.5))
            elif kind == 2:
                r = step / 4
                pen.ellipse((x - r, y - r, x + r, y + r), fill=thread)
    return picture.filter(ImageFilter.BoxBlur(rng.uniform(0.5, 2)))


def occlude(scene: Image.Image, facing: int, rng: Generator) -> None:
    """Now and then something stands before the lens, below or behind the animal."""
    if rng.random() > 0.08:
        return
    width, height = scene.size
    mask = Image.new("L", scene.size)
    edge = rng.uniform(0.12, 0.25)
    behind = (0, 0, width * edge, height) if facing > 0 else (width * (1 - edge), 0, width, height)
    boxes = [(0, height * (1 - edge), width, height), behind]
    ImageDraw.Draw(mask).rectangle(boxes[rng.integers(2)], fill=255)
    scene.paste(_tone(rng), (0, 0), mask.filter(ImageFilter.BoxBlur(5)))


def photograph(scene: Image.Image, rng: Generator) -> Image.Image:
    """The picture as a lens and a sensor would give it."""
    if rng.random() < 0.2:
        scene = scene.filter(ImageFilter.GaussianBlur(rng.uniform(0.4, 1.3)))
    width, height = scene.size
    u = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    v = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    exposure = rng.uniform(0.45, 0.6) if rng.random() < 0.05 else rng.uniform(0.85, 1.2)
    side, vignette = rng.normal(0, 0.12), rng.uniform(0, 0.22)
    warmth, contrast = rng.normal(0, 0.05), rng.uniform(0.85, 1.15)
    grain = rng.standard_normal((height, width), dtype=np.float32)
    grain *= np.float32(rng.choice([1.0, 2.5, 6.0]))
    grain += np.float32(128 * (1 - contrast) * exposure)
    gain = (1 + side * u - vignette * (u * u + v * v)).astype(np.float32)
    level = contrast * exposure
    return exposed(scene, gain, (level * (1 + warmth), level, level * (1 - warmth)), grain)
