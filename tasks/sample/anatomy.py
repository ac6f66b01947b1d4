"""All that differs between a cat and a dog: which head on which body, with which tail."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, TypeAlias

from numpy.random import Generator

from tasks.sample.coat import Coat, body_marks, limb, paw
from tasks.sample.heads import cat_face, cat_profile, dog_face, dog_profile
from tasks.sample.shapes import Shape, ellipse, mix, moved, shifted, spline, tube
from tasks.sample.view import View

Species: TypeAlias = Literal["cat", "dog"]
Figure: TypeAlias = tuple[list[Shape], list[Shape]]  # body and head


def figure(species: Species, coat: Coat, view: View, rng: Generator) -> Figure:
    """Body and head, each from back to front."""
    faces = {
        ("cat", True): cat_profile,
        ("cat", False): cat_face,
        ("dog", True): dog_profile,
        ("dog", False): dog_face,
    }
    is_profile = view.is_profile and view.pose != "sitting"
    head = faces[species, is_profile](coat, view.yaw, rng)
    if view.pose == "head":
        return _bust(coat, species, is_profile, rng), head
    bodies = {"sitting": _sitting, "standing": _standing}
    body, neck, scale = bodies[view.pose](coat, species, rng)
    return body, moved(head, scale, view.head_tilt, neck)


def _collar(coat: Coat, points: Sequence[tuple[float, float]]) -> list[Shape]:
    if coat.collar is None:
        return []
    x, y = points[len(points) // 2]
    tag = Shape(ellipse(x, y + 0.2, 0.13, 0.13), (228, 190, 92), 0.8)
    return [Shape(tube(points, [0.1, 0.11, 0.1]), coat.collar, 0.7), tag]


def _bust(coat: Coat, species: Species, is_profile: bool, rng: Generator) -> list[Shape]:
    """Neck and shoulders below a portrait, down to beyond the picture's edge."""
    w = 0.0 if species == "cat" else 0.12
    back = -0.45 if is_profile else 0.0
    half = [(0.62, 0.4), (0.74 + w, 1.0), (1.25 + w, 1.7), (1.5 + w, 3.2)]
    chest = shifted(spline([*half, *((-a, b) for a, b in half[::-1])]), back, 0)
    marks = body_marks(coat, chest, rng)
    if coat.pattern == "bicolour":
        marks = (*marks, (ellipse(back, 2.2, 0.75, 1.3), coat.second))
    body = Shape(chest, coat.base, 0.9, coat.fluff, marks)
    strap = [(back - 0.72, 0.98), (back, 1.3), (back + 0.72, 0.98)]
    return [body, *_collar(coat, strap)]


def _sitting(coat: Coat, species: Species, rng: Generator) -> tuple[list[Shape], tuple[float, float], float]:
    """The body from the front; with it the head's place and scale."""
    is_cat = species == "cat"
    w = 0.0 if is_cat else 0.16
    half = [(0.5, 0.3), (0.66 + w, 0.9), (0.8 + w, 1.6), (1.15, 2.4), (1.12, 3.0), (0.6, 3.25)]
    torso = spline([*half, *((-a, b) for a, b in half[::-1])])
    marks = body_marks(coat, torso, rng)
    if coat.pattern == "bicolour" or rng.random() < 0.3:
        marks = (*marks, (ellipse(0, 1.2, 0.45 + w, 0.75), coat.pale))
    tail, is_front = _sitting_tail(coat, is_cat, rng)
    legs = [
        shape
        for s in (-1, 1)
        for shape in (
            limb(
                coat,
                [(s * 0.36, 1.5), (s * 0.36, 2.3), (s * 0.34, 3.1)],
                [0.27 + w / 2, 0.2 + w / 3],
            ),
            *paw(coat, s * 0.37, 3.2, 0.3),
        )
    ]
    haunches = [
        shape
        for s in (-1, 1)
        for shape in (
            Shape(ellipse(s * 0.92, 2.65, 0.46, 0.62, s * -0.2), coat.base, 0.8, coat.fluff),
            *paw(coat, s * 0.98, 3.2, 0.34),
        )
    ]
    body = [Shape(torso, coat.base, 0.9, coat.fluff, marks), *haunches, *legs]
    body = [*body, tail] if is_front else [tail, *body]
    strap = [(-0.6 - w, 0.75), (0, 1.12), (0.6 + w, 0.75)]
    return [*body, *_collar(coat, strap)], (0.0, 0.0 if is_cat else -0.12), 0.98


def _sitting_tail(coat: Coat, is_cat: bool, rng: Generator) -> tuple[Shape, bool]:
    """The tail, and whether it lies around the front paws, as only a cat's does."""
    if not is_cat:
        wagging = [(0.8, 2.9), (1.5, 2.7), (1.9, 2.1), (1.85, 1.6)]
        return limb(coat, wagging, [0.2, 0.28, 0.08]), False
    if rng.random() < 0.5:
        wrapped = [(1.0, 2.9), (1.3, 3.25), (0.5, 3.42), (-0.5, 3.3)]
        return limb(coat, wrapped, [0.18, 0.2, 0.15]), True
    raised = [(0.9, 3.0), (1.7, 3.1), (2.0, 2.4), (1.7, 1.7), (1.95, 1.3)]
    return limb(coat, raised, [0.17, 0.18, 0.13]), False


def _standing(coat: Coat, species: Species, rng: Generator) -> tuple[list[Shape], tuple[float, float], float]:
    """The body from the side, facing right; with it the head's place and scale."""
    is_cat = species == "cat"
    thick, foot = (0.2, 1.75) if is_cat else (0.24, 2.05)
    belly = 0.55 if is_cat else 0.35
    trunk = [(-1.95, -0.2), (-1.6, -0.75), (-0.6, -0.72 if is_cat else -0.66),
             (0.6, -0.72), (1.4, -0.8), (1.75, -0.1),
             (1.4, 0.62 if is_cat else 0.8), (0.4, 0.7), (-0.6, belly), (-1.5, 0.55)]  # fmt: skip
    torso = spline(trunk)
    if is_cat:
        tails = [
            [(-1.75, -0.45), (-2.4, -0.8), (-2.55, -1.6), (-2.3, -2.2), (-2.0, -2.3)],
            [(-1.75, -0.4), (-2.4, -0.3), (-2.9, 0.2), (-3.3, 0.1), (-3.5, -0.4)],
        ]
        radii = [0.19, 0.17, 0.13]
    else:
        tails = [
            [(-1.75, -0.5), (-2.2, -0.95), (-2.45, -1.5), (-2.3, -1.9)],
            [(-1.75, -0.4), (-2.2, -0.1), (-2.4, 0.5), (-2.6, 0.9)],
        ]
        radii = [0.2, 0.27, 0.07]

    def leg(x: float, is_hind: bool, dim: float) -> list[Shape]:
        knee = [(x, 0.1), (x + 0.15, 0.7), (x - 0.22, 1.2), (x - 0.1, foot)]
        line = knee if is_hind else [(x, 0.1), (x + 0.02, 1.0), (x, foot)]
        girth = [2.1, 1.3, 0.9, 0.85] if is_hind else [1.5, 1.0]
        wide = [thick * share for share in girth]
        paws = paw(coat, line[-1][0] + 0.1, foot + 0.08, thick * 1.4)
        paws = [replace(paw, colour=mix(paw.colour, (30, 24, 26), dim)) for paw in paws]
        return [limb(coat, line, wide, dim), *paws]

    neck = (2.05, -1.2) if is_cat else (2.05, -1.55)
    throat = Shape(tube([(0.9, -0.1), (1.6, -0.6), neck], [0.75, 0.68, 0.5]), coat.base, 0.5, coat.fluff)
    strap = [(1.35, neck[1] + 0.3), (1.75, neck[1] + 0.78), (2.3, neck[1] + 0.75)]
    return (
        [
            *leg(-1.05, True, 0.3),
            *leg(0.95, False, 0.3),
            limb(coat, tails[rng.integers(2)], radii),
            *leg(1.25, False, 0.0),
            *leg(-1.5, True, 0.0),
            throat,
            Shape(torso, coat.base, 0.9, coat.fluff, body_marks(coat, torso, rng)),
            *_collar(coat, strap),
        ],
        neck,
        0.86,
    )
