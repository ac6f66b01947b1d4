"""Heads of cats and dogs, from the front and from the side."""

from collections.abc import Sequence

import numpy as np
from numpy.random import Generator

from tasks.sample.coat import Coat, head_marks
from tasks.sample.shapes import (
    INK,
    WHITE,
    Colour,
    Shape,
    brightness,
    ellipse,
    mix,
    moved,
    shifted,
    spline,
    tube,
)


def _cat_ear(coat: Coat, s: float, tall: float, inner: bool = True) -> list[Shape]:
    tip = -0.72 - 0.8 * tall
    outer = [(s * 1.0, 0.0), (s * 1.05, -0.6), (s * 0.95, tip + 0.1),
             (s * 0.9, tip), (s * 0.8, tip + 0.06), (s * 0.42, -0.98),
             (s * 0.12, -0.7), (s * 0.5, -0.2)]  # fmt: skip
    ear = Shape(spline(outer), coat.tip, 0.8, coat.fluff * 0.5)
    if not inner:
        return [ear]
    hollow = spline([(s * 0.9, -0.35), (s * 0.94, -0.7), (s * 0.88, tip + 0.2),
                      (s * 0.62, -0.85), (s * 0.42, -0.7)])  # fmt: skip
    return [ear, Shape(hollow, coat.skin, 0.9)]


def _cat_eye(x: float, y: float, wide: float, iris: Colour, slit: float) -> list[Shape]:
    """An almond whose outer corner is up; `wide` is negative for the eye on the left."""
    lids = [(-1, 0.15), (-0.45, -0.6), (0.2, -0.78), (0.85, -0.45), (1.12, -0.3),
            (0.6, 0.5), (-0.2, 0.7)]  # fmt: skip
    almond = spline(lids) * (0.25 * wide, 0.25)
    return [
        Shape(shifted(almond * 1.18, x, y), INK),
        Shape(shifted(almond, x, y), iris, 1.0),
        Shape(ellipse(x, y, 0.25 * slit * abs(wide), 0.17), (18, 16, 18)),
        Shape(ellipse(x - 0.07 * abs(wide), y - 0.08, 0.045, 0.05), (255, 255, 255)),
    ]


def _whiskers(coat: Coat, x: float, y: float, sides: Sequence[int]) -> list[Shape]:
    colour = WHITE if brightness(coat.base) < 190 else (96, 88, 88)
    lines = [
        [
            (x + s * 0.22, y + d * 0.05),
            (x + s * 0.75, y + d * 0.13 - 0.06),
            (x + s * 1.3, y + d * 0.26),
        ]
        for s in sides
        for d in (-1, 0, 1)
    ]
    return [Shape(tube(line, [0.016, 0.012, 0.004]), colour) for line in lines]


def _cat_iris(rng: Generator) -> Colour:
    irises: list[Colour] = [(142, 176, 84), (214, 172, 66), (196, 128, 52), (112, 164, 196)]
    return irises[rng.integers(len(irises))]


def cat_face(coat: Coat, yaw: float, rng: Generator) -> list[Shape]:
    x, tall, wide = yaw * 0.16, rng.uniform(0.85, 1.15), rng.uniform(0.94, 1.08)
    half = [(0.5, -0.8), (0.92, -0.4), (1.06, 0.1), (0.98, 0.45), (0.6, 0.8)]
    skull = spline([(0, -0.86), *half, (0, 0.92), *((-a, b) for a, b in half[::-1])])
    iris, slit = _cat_iris(rng), rng.uniform(0.16, 0.55)
    nose: Colour = coat.skin if rng.random() < 0.7 else (66, 48, 50)
    muzzle = [Shape(ellipse(x * 1.3 + s * 0.2, 0.46, 0.27, 0.21), coat.pale, 0.35) for s in (-1, 1)]
    mouth = [
        [(x * 1.4, 0.34), (x * 1.4, 0.47), (x * 1.4 + s * 0.1, 0.56), (x * 1.4 + s * 0.24, 0.52)]
        for s in (-1, 1)
    ]
    snout = [(-0.15, 0.22), (0, 0.2), (0.15, 0.22), (0.06, 0.34), (0, 0.38), (-0.06, 0.34)]
    return [
        *_cat_ear(coat, -wide, tall),
        *_cat_ear(coat, wide, tall),
        Shape(skull * (wide, 1), coat.base, 1.0, coat.fluff, head_marks(coat, x, rng)),
        *_cat_eye(x - 0.44, -0.04, -1 - min(0, yaw) * 0.2, iris, slit),
        *_cat_eye(x + 0.44, -0.04, 1 - max(0, yaw) * 0.2, iris, slit),
        Shape(ellipse(x * 1.3, 0.62, 0.2, 0.16), coat.pale, 0.5),
        *muzzle,
        *(Shape(tube(line, [0.025, 0.02]), mix(INK, coat.base, 0.15)) for line in mouth),
        Shape(shifted(spline(snout), x * 1.4, 0), nose, 0.6),
        *_whiskers(coat, x * 1.3, 0.44, (-1, 1)),
    ]


def cat_profile(coat: Coat, _yaw: float, rng: Generator) -> list[Shape]:
    tall = rng.uniform(0.9, 1.15)
    skull = [(-0.82, 0.1), (-0.68, -0.48), (-0.1, -0.84), (0.38, -0.68),
             (0.64, -0.28), (0.84, 0.02), (0.98, 0.2), (0.96, 0.42), (0.78, 0.64),
             (0.3, 0.8), (-0.4, 0.76)]  # fmt: skip
    far = moved(_cat_ear(coat, 0.9, tall, inner=False), 0.95, 0.05, (-0.42, 0.02))
    near = moved(_cat_ear(coat, 0.95, tall), 1.0, -0.25, (-0.75, 0.12))
    eye = _cat_eye(0.5, -0.12, 0.62, _cat_iris(rng), rng.uniform(0.2, 0.5))
    nose = spline([(0.88, 0.1), (1.0, 0.12), (1.02, 0.24), (0.92, 0.28)])
    mouth = tube([(0.95, 0.3), (0.88, 0.42), (0.72, 0.47)], [0.016, 0.02, 0.006])
    return [
        *far,
        Shape(spline(skull), coat.base, 1.0, coat.fluff, head_marks(coat, 0.35, rng)),
        *near,
        *eye,
        Shape(ellipse(0.76, 0.42, 0.22, 0.18), coat.pale, 0.4),
        Shape(mouth, INK),
        Shape(nose, coat.skin, 0.6),
        *_whiskers(coat, 0.62, 0.42, (1, -1)),
    ]


def _dog_ear(coat: Coat, s: float, kind: str) -> list[Shape]:
    colour = coat.second if coat.pattern in ("masked", "patched") else mix(coat.base, INK, 0.2)
    if kind == "floppy":
        flap = [(s * 0.42, -0.84), (s * 0.85, -0.78), (s * 1.16, -0.3),
                (s * 1.3, 0.35), (s * 1.12, 0.78), (s * 0.88, 0.6), (s * 0.8, 0.1),
                (s * 0.66, -0.4)]  # fmt: skip
        return [Shape(spline(flap), colour, 0.9, coat.fluff)]
    if kind == "folded":
        stem = [(s * 0.3, -0.7), (s * 0.5, -1.12), (s * 0.85, -1.15),
                (s * 0.98, -0.6), (s * 0.7, -0.3)]  # fmt: skip
        flap = [(s * 0.46, -1.12), (s * 0.86, -1.2), (s * 1.2, -0.9),
                (s * 1.22, -0.38), (s * 0.85, -0.72)]  # fmt: skip
        return [Shape(spline(stem), coat.base, 0.7), Shape(spline(flap), colour, 0.9, coat.fluff)]
    spike = [(s * 0.72, -0.25), (s * 0.86, -0.8), (s * 0.8, -1.4), (s * 0.72, -1.5),
             (s * 0.6, -1.4), (s * 0.3, -0.95), (s * 0.2, -0.6)]  # fmt: skip
    hollow = [(s * 0.68, -0.5), (s * 0.74, -0.85), (s * 0.7, -1.25),
              (s * 0.45, -0.85), (s * 0.42, -0.6)]  # fmt: skip
    return [
        Shape(spline(spike), coat.tip, 0.8, coat.fluff * 0.5),
        Shape(spline(hollow), coat.skin, 0.9),
    ]


def _dog_eye(coat: Coat, x: float, y: float, iris: Colour) -> list[Shape]:
    return [
        Shape(ellipse(x, y, 0.175, 0.17), INK),
        Shape(ellipse(x, y + 0.01, 0.14, 0.14), iris, 0.9),
        Shape(ellipse(x, y + 0.01, 0.085, 0.085), (18, 14, 14)),
        Shape(ellipse(x - 0.05, y - 0.05, 0.045, 0.045), (255, 255, 255)),
        Shape(
            tube([(x - 0.13, y - 0.3), (x, y - 0.34), (x + 0.13, y - 0.3)], [0.05, 0.06, 0.05]),
            mix(coat.base, coat.pale if brightness(coat.base) < 110 else INK, 0.3),
        ),
    ]


def _dog_iris(rng: Generator) -> Colour:
    irises: list[Colour] = [(92, 56, 32), (124, 78, 40), (158, 104, 52)]
    return irises[rng.integers(len(irises))]


def dog_face(coat: Coat, yaw: float, rng: Generator) -> list[Shape]:
    x, jowl = yaw * 0.2, rng.uniform(0.9, 1.1)
    kind = rng.choice(["floppy", "floppy", "folded", "pricked"])
    half = [(0.46, -0.88), (0.78, -0.5), (0.84, 0.0), (0.72, 0.5), (0.5, 0.95)]
    skull = spline([(0, -0.94), *half, (0, 1.1), *((-a, b) for a, b in half[::-1])])
    m = x * 1.9  # the muzzle stands out, so it turns further than the skull
    muzzle = spline([(x, -0.12), (x + 0.24, 0.0), (m + 0.42 * jowl, 0.42),
                      (m + 0.46 * jowl, 0.8), (m + 0.2, 1.02), (m - 0.2, 1.02),
                      (m - 0.46 * jowl, 0.8), (m - 0.42 * jowl, 0.42),
                      (x - 0.24, 0.0)])  # fmt: skip
    snout = [(-0.27, 0.26), (0, 0.2), (0.27, 0.26), (0.2, 0.46), (0, 0.54), (-0.2, 0.46)]
    nose = shifted(spline(snout), m, 0)
    lips = [[(m, 0.5), (m, 0.7), (m + s * 0.16, 0.83), (m + s * 0.38, 0.78)] for s in (-1, 1)]
    drop = [(-0.17, 0.8), (0.17, 0.8), (0.2, 1.15), (0.02, 1.36), (-0.17, 1.15)]
    tongue = shifted(spline(drop), m, 0)
    groove = tube([(m, 0.85), (m + 0.01, 1.15)], [0.02, 0.01])
    pale = coat.second if coat.pattern == "masked" else coat.pale
    ears = [*_dog_ear(coat, -1, kind), *_dog_ear(coat, 1, kind)]
    behind, before = ([], ears) if kind == "floppy" else (ears, [])
    iris = _dog_iris(rng)
    jaw = Shape(ellipse(m, 0.94, 0.27, 0.2), mix(pale, INK, 0.5), 0.5)
    out = [Shape(tongue, (226, 112, 122), 0.9), Shape(groove, (186, 78, 92))]
    return [
        *behind,
        Shape(skull, coat.base, 1.0, coat.fluff, head_marks(coat, x, rng)),
        *before,
        *_dog_eye(coat, x - 0.4, -0.18, iris),
        *_dog_eye(coat, x + 0.4, -0.18, iris),
        jaw,
        *(out if rng.random() < 0.55 else []),
        Shape(np.minimum(muzzle, (9.0, 0.94)), pale, 0.8, coat.fluff * 0.4),
        *(Shape(tube(line, [0.03, 0.02]), INK) for line in lips),
        Shape(nose, INK, 0.7),
        Shape(ellipse(m - 0.06, 0.29, 0.09, 0.035), (140, 132, 134)),
    ]


def dog_profile(coat: Coat, _yaw: float, rng: Generator) -> list[Shape]:
    kind, reach = rng.choice(["floppy", "floppy", "pricked"]), rng.uniform(-0.12, 0.15)
    skull = [(-0.78, 0.1), (-0.62, -0.5), (-0.1, -0.82), (0.36, -0.66),
             (0.6, -0.28), (1.05, -0.1), (1.55 + reach, 0.0), (1.7 + reach, 0.18),
             (1.62 + reach, 0.42), (1.2, 0.62), (0.7, 0.68), (0.2, 0.84),
             (-0.4, 0.76)]  # fmt: skip
    nose = shifted(spline([(1.5, -0.06), (1.7, -0.04), (1.78, 0.12), (1.62, 0.2)]), reach, 0)
    mouth = tube([(1.64 + reach, 0.36), (1.3, 0.44), (0.8, 0.42)], [0.02, 0.024, 0.008])
    tongue = tube([(1.2, 0.45), (1.3, 0.72), (1.24, 1.0)], [0.12, 0.15, 0.11])
    snout = spline([(0.8, 0.02), (1.4 + reach, 0.1), (1.6 + reach, 0.3), (1.3, 0.56), (0.8, 0.6)])
    pale = coat.second if coat.pattern == "masked" else coat.pale
    ear = moved(_dog_ear(coat, 1, kind), 1.0, 0.25 if kind == "floppy" else -0.3, (-1.05, 0.0))
    marks = (*head_marks(coat, 0.3, rng), (snout, pale))
    return [
        *(moved(_dog_ear(coat, 1, kind), 0.95, -0.15, (-0.65, 0)) if kind == "pricked" else []),
        *([Shape(tongue, (226, 112, 122), 0.9)] if rng.random() < 0.6 else []),
        Shape(spline(skull), coat.base, 1.0, coat.fluff, marks),
        Shape(mouth, INK),
        Shape(nose, INK, 0.6),
        *_dog_eye(coat, 0.4, -0.18, _dog_iris(rng)),
        *ear,
    ]
