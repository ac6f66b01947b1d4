"""Outlines and colours that figures are made of.

A figure is a list of shapes in units of the head's radius, y pointing down; every outline is an array
[N, 2]. Knows nothing about animals or pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Points: TypeAlias = NDArray[np.float64]
Colour: TypeAlias = tuple[int, int, int]


@dataclass(frozen=True)
class Shape:
    """A filled outline [N, 2]; `marks` are painted on it and never beyond it."""

    outline: Points
    colour: Colour
    shade: float = 0.0  # 0 is flat, 1 is as round as a ball
    fluff: float = 0.0  # length of the hairs along the edge, in head radii
    marks: tuple[tuple[Points, Colour], ...] = ()


WHITE: Colour = (246, 242, 236)
INK: Colour = (38, 30, 30)
SHADOW: Colour = (30, 22, 24)


def mix(a: Colour, b: Colour, share: float) -> Colour:
    red, green, blue = (round(x + (y - x) * share) for x, y in zip(a, b, strict=True))
    return red, green, blue


def brightness(colour: Colour) -> float:
    return 0.3 * colour[0] + 0.59 * colour[1] + 0.11 * colour[2]


CIRCLE = np.array([(np.cos(t), np.sin(t)) for t in np.arange(40) * (2 * np.pi / 40)])
HALF_CIRCLE = CIRCLE[1:20:2]  # from one side to the other


def spline(points: Sequence[tuple[float, float]], closed: bool = True) -> Points:
    """Catmull-Rom through the points, eight steps a span."""
    knots = np.array(points, float)
    if closed:
        padded = np.vstack([knots[-1:], knots, knots[:2]])
    else:
        padded = np.vstack([2 * knots[:1] - knots[1:2], knots, 2 * knots[-1:] - knots[-2:-1]])
    t = np.arange(0, 1, 1 / 8)[:, None, None]
    a, b, c, d = padded[:-3], padded[1:-2], padded[2:-1], padded[3:]
    curve = b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))
    flat: Points = curve.transpose(1, 0, 2).reshape(-1, 2)
    return flat if closed else np.vstack([flat, knots[-1:]])


def ellipse(x: float, y: float, rx: float, ry: float, angle: float = 0.0) -> Points:
    return shifted(CIRCLE * (rx, ry) @ rotation(angle).T, x, y)


def shifted(points: Points, x: float, y: float) -> Points:
    moved: Points = np.add(points, (x, y))
    return moved


def rotation(angle: float) -> Points:
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, -sin], [sin, cos]])


def normals(line: Points) -> Points:
    along = np.gradient(line, axis=0)
    across: Points = np.stack([-along[:, 1], along[:, 0]], 1)
    return across / (np.hypot(across[:, 0], across[:, 1])[:, None] + 1e-9)


def tube(points: Sequence[tuple[float, float]], radii: Sequence[float]) -> Points:
    """A limb along the points, its radius going through `radii`, with round ends."""
    line = spline(points, closed=False)
    knots = np.arange(len(radii)) * ((len(line) - 1) / (len(radii) - 1))
    side = normals(line) * np.interp(np.arange(len(line)), knots, radii)[:, None]

    def cap(middle: Points, arm: Points) -> Points:
        around: Points = middle + HALF_CIRCLE @ np.array([arm, (arm[1], -arm[0])])
        return around

    far, near = cap(line[-1], side[-1]), cap(line[0], -side[0])
    return np.concatenate([line + side, far, (line - side)[::-1], near])


def moved(shapes: list[Shape], scale: float, angle: float, to: tuple[float, float]) -> list[Shape]:
    turn = rotation(angle).T * scale

    def move(shape: Shape) -> Shape:
        marks = tuple((mark @ turn + to, colour) for mark, colour in shape.marks)
        return replace(shape, outline=shape.outline @ turn + to, fluff=shape.fluff * scale, marks=marks)

    return [move(shape) for shape in shapes]
