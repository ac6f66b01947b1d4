"""How an animal stands before the camera, drawn by chance and without knowing which animal."""

from dataclasses import dataclass
from typing import Literal

from numpy.random import Generator


@dataclass(frozen=True)
class View:
    """How the animal stands before the camera."""

    pose: Literal["head", "sitting", "standing"]
    yaw: float
    tilt: float
    head_tilt: float
    facing: int
    fill: float
    shift: tuple[float, float]
    is_profile: bool
    light: float


def any_view(rng: Generator, is_wide: bool) -> View:
    odds = [0.4, 0.22, 0.38] if is_wide else [0.4, 0.42, 0.18]
    pose = rng.choice(["head", "sitting", "standing"], p=odds)
    fill = rng.uniform(0.78, 1.12) if pose == "head" else rng.uniform(0.74, 1.0)
    if rng.random() < 0.06:
        fill *= 1.35
    x, y = rng.normal(0, 0.05, 2)
    return View(
        pose=pose,
        yaw=float(rng.uniform(-1, 1)),
        tilt=float(rng.normal(0, 0.16 if pose == "head" else 0.05)),
        head_tilt=float(rng.normal(0, 0.13)),
        facing=int(rng.choice([-1, 1])),
        fill=float(fill),
        shift=(float(x), float(y)),
        is_profile=bool(rng.random() < (0.22 if pose == "head" else 0.5)),
        light=float(rng.choice([-1, 1]) * rng.uniform(0.3, 1)),
    )
