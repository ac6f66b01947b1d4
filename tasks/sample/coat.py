"""Fur: what a coat looks like and how it marks a body, the same for both animals."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.random import Generator

from tasks.sample.shapes import (
    INK,
    WHITE,
    Colour,
    Points,
    Shape,
    brightness,
    ellipse,
    mix,
    normals,
    spline,
    tube,
)


@dataclass(frozen=True)
class Coat:
    """What fur looks like, whatever animal wears it."""

    base: Colour
    second: Colour
    pattern: Literal["solid", "striped", "patched", "bicolour", "masked"]
    fluff: float
    socks: bool
    collar: Colour | None
    skin: Colour

    @property
    def pale(self) -> Colour:
        return self.second if self.pattern == "bicolour" else mix(self.base, (250, 244, 234), 0.45)

    @property
    def tip(self) -> Colour:
        """The colour of ears, paws and the tail's end."""
        return self.second if self.pattern == "masked" else self.base


FURS: tuple[Colour, ...] = (
    (212, 138, 72),
    (232, 208, 168),
    (58, 53, 56),
    (126, 128, 138),
    (122, 84, 58),
    (240, 235, 228),
    (200, 164, 118),
    (174, 176, 182),
    (88, 62, 48),
    (186, 108, 58),
)


def any_coat(rng: Generator) -> Coat:
    jitter = rng.normal(0, 12) + rng.normal(0, 3, 3)
    fur = FURS[rng.integers(len(FURS))]
    red, green, blue = (int(np.clip(c + j, 25, 248)) for c, j in zip(fur, jitter, strict=True))
    base = (red, green, blue)
    pattern = rng.choice(["solid", "striped", "patched", "bicolour", "masked"])
    darker = mix(base, (40, 28, 24), 0.62)
    if brightness(base) < 80:
        darker = mix(base, (226, 190, 150), 0.4)
    patch = FURS[rng.choice([0, 2, 4, 8, 9])]
    patched = patch if abs(brightness(patch) - brightness(base)) > 45 else WHITE
    second = {"patched": patched, "bicolour": WHITE}.get(pattern, darker)
    if pattern == "bicolour" and brightness(base) > 190:
        base = mix(base, (96, 74, 62), 0.65)
    collars: list[Colour] = [(196, 52, 52), (52, 96, 180), (56, 140, 96), (226, 176, 60)]
    collar = collars[rng.integers(4)] if rng.random() < 0.4 else None
    skin = mix((232, 158, 152), base, rng.uniform(0.05, 0.3))
    fluff = rng.choice([0.02, 0.035, 0.06])
    return Coat(base, second, pattern, float(fluff), bool(rng.random() < 0.35), collar, skin)


def body_marks(coat: Coat, outline: Points, rng: Generator) -> tuple[tuple[Points, Colour], ...]:
    low, high = outline.min(0), outline.max(0)
    width, height = high - low
    marks: list[Points] = []
    if coat.pattern == "patched":
        for x, y in rng.uniform(low, high, (4, 2)):
            knots = [
                (x + rng.uniform(0.3, 0.8) * np.cos(t), y + rng.uniform(0.3, 0.8) * np.sin(t))
                for t in np.linspace(0, 2 * np.pi, 7, endpoint=False)
            ]
            marks.append(spline(knots))
    if coat.pattern == "striped" and width > height:
        for x in np.arange(low[0] + 0.25, high[0], 0.42):
            x0, bend, reach = x + rng.normal(0, 0.05), rng.uniform(-0.3, 0), rng.uniform(0.5, 0.8)
            line = [
                (x0, low[1]),
                (x0 + bend, low[1] + 0.35 * height),
                (x0, low[1] + reach * height),
            ]
            marks.append(tube(line, [0.1, 0.08, 0.01]))
    elif coat.pattern == "striped":
        for y in np.arange(low[1] + 0.5, high[1], 0.4):
            for edge, inward in ((low[0], 1), (high[0], -1)):
                reach = inward * width * rng.uniform(0.22, 0.4)
                line = [(edge, y), (edge + reach / 2, y + 0.12), (edge + reach, y)]
                marks.append(tube(line, [0.1, 0.08, 0.01]))
    return tuple((mark, coat.second) for mark in marks)


def head_marks(coat: Coat, x: float, rng: Generator) -> tuple[tuple[Points, Colour], ...]:
    """Marks of a face whose middle is at `x`."""
    marks: list[Points] = []
    if coat.pattern == "striped":
        for s in (-1, 0, 1):
            marks.append(tube([(x + s * 0.34, -1), (x + s * 0.2, -0.4)], [0.08, 0.07, 0.02]))
        for s, y in ((-1, 0.12), (1, 0.12), (-1, 0.4), (1, 0.4)):
            marks.append(tube([(s * 1.2, y - 0.1), (s * 0.68, y)], [0.08, 0.02]))
    if coat.pattern == "bicolour":
        blaze = [(x, -0.75), (x + 0.14, -0.2), (x + 0.5, 0.3), (x + 0.7, 1.1)]
        marks.append(spline([*blaze, *((2 * x - a, b) for a, b in blaze[:0:-1])]))
    if coat.pattern == "masked":
        marks.append(ellipse(x, 0.3, 0.62, 0.6))
    if coat.pattern == "patched":
        side = rng.choice([-1, 1])
        marks.append(ellipse(side * 0.55, -0.35, rng.uniform(0.4, 0.6), rng.uniform(0.5, 0.7)))
    return tuple((mark, coat.second) for mark in marks)


def limb(
    coat: Coat, points: Sequence[tuple[float, float]], radii: Sequence[float], dim: float = 0.0
) -> Shape:
    """A leg or a tail, ringed or with a sock as the coat has it; `dim` is for the far side."""
    line = spline(points, closed=False)
    marks: list[tuple[Points, Colour]] = []
    if coat.pattern == "striped":
        side = normals(line) * max(radii) * 1.5
        for at in range(4, len(line), 5):
            ends = np.stack([line[at] - side[at], line[at] + side[at]])
            marks.append((tube([tuple(end) for end in ends], [0.06, 0.06]), coat.second))
    if coat.socks or coat.pattern in ("bicolour", "masked"):
        sock = WHITE if coat.pattern != "masked" else coat.second
        marks.append((ellipse(line[-1, 0], line[-1, 1], 0.55, 0.55), sock))
    dark: Colour = (30, 24, 26)
    return Shape(
        tube(points, radii),
        mix(coat.base, dark, dim),
        0.9,
        coat.fluff,
        tuple((mark, mix(colour, dark, dim)) for mark, colour in marks),
    )


def paw(coat: Coat, x: float, y: float, rx: float) -> list[Shape]:
    is_white = coat.socks or coat.pattern == "bicolour"
    colour = WHITE if is_white else coat.tip
    toe = mix(colour, INK, 0.45)
    toes = [ellipse(x + d * rx, y + 0.05, 0.016, 0.065) for d in (-0.3, 0.3)]
    return [Shape(ellipse(x, y, rx, rx * 0.6), colour, 0.9), *(Shape(t, toe) for t in toes)]
