"""How a file's answers hold when photos are blurred, noisy, recompressed, turned, darker or brighter.

After Hendrycks, Dietterich 2019: five strengths of each, on the pixels that the model would see. Knows
files and pixels; knows nothing about training.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter
from pydantic import BaseModel, ConfigDict

from pawloop.decision import Costs, incurred
from pawloop.image import decode
from pawloop.problem import Problem
from pawloop.session import Session
from pawloop.settings import usable_cores
from tasks.answer import Answers
from tasks.candidate import Candidate
from tasks.evaluate import largest_cost
from tasks.intervals import Interval, bounded_mean, wilson
from tasks.manifest import Dataset, Photo, labels_of

Pixels = NDArray[np.uint8]
Harm = Callable[[Pixels, float], Pixels]
_USUAL_SIDE: Final = 224  # pixels; the strengths of blur are told for this input


class Held(BaseModel):
    """How good the answers are at one strength of one kind of harm."""

    model_config = ConfigDict(frozen=True)

    strength: float
    accuracy: float
    accuracy_interval: Interval
    expected_cost: float
    expected_cost_interval: Interval


class Kind(BaseModel):
    """One kind of harm. unit: of its strengths. unharmed: the strength that changes nothing."""

    model_config = ConfigDict(frozen=True)

    name: str
    unit: str
    unharmed: float
    strengths: list[Held]


class Robustness(BaseModel):
    """All kinds on the same photos. clean: of the photos as they are."""

    model_config = ConfigDict(frozen=True)

    photos: int
    clean: Held
    kinds: list[Kind]


def robustness(
    candidate: Candidate,
    dataset: Dataset,
    problem: Problem,
    clean: Answers,
    on_progress: Callable[[int, int], None] | None = None,
) -> Robustness | None:
    """Ask the float32 file about the first test photos, harmed; None where the problem wants none.

    clean: its answers to all test photos as they are. 25 answers a photo, on all cores.
    """
    photos = dataset.photos("test")[: problem.evaluate.robustness_photos]  # by id, so at random
    if not photos:
        return None
    session = Session(candidate.model("float32"), threads=1, provider="cpu")
    harms = [(harm, strength) for harm, strengths, *_ in _KINDS.values() for strength in strengths]

    def one(photo: Photo) -> list[dict[str, NDArray[np.float32]]]:
        image = decode(dataset.read(photo), candidate.rule)
        return [session.run(harm(image, strength)[None]) for harm, strength in harms]

    told = []
    with ThreadPoolExecutor(usable_cores()) as pool:
        for done, rows in enumerate(pool.map(one, photos), start=1):
            told.append(rows)
            if on_progress:
                on_progress(done, len(photos))
    labels, threshold = labels_of(photos, problem.classes), clean.threshold
    of_harm = [Answers.told([rows[place] for rows in told], threshold) for place in range(len(harms))]
    held = iter(_held(s, a, labels, problem.costs) for (_, s), a in zip(harms, of_harm, strict=True))
    kinds = [
        Kind(name=name, unit=unit, unharmed=unharmed, strengths=[next(held) for _ in strengths])
        for name, (_, strengths, unit, unharmed) in _KINDS.items()
    ]
    return Robustness(
        photos=len(photos),
        clean=_held(0, clean.first(len(photos)), labels, problem.costs),
        kinds=kinds,
    )


def _held(strength: float, answers: Answers, labels: NDArray[np.integer], costs: Costs) -> Held:
    decisions = answers.decide(costs)
    right, cost = decisions.label == labels, incurred(labels, decisions, costs)
    return Held(
        strength=strength,
        accuracy=float(right.mean()),
        accuracy_interval=wilson(int(right.sum()), len(right)),
        expected_cost=float(cost.mean()),
        expected_cost_interval=bounded_mean(cost, largest_cost(costs)),
    )


def _blurred(image: Pixels, radius: float) -> Pixels:
    scaled = radius * len(image) / _USUAL_SIDE
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(scaled)))


def _noisy(image: Pixels, deviation: float) -> Pixels:
    return (image + deviation * _noise(len(image))).round().clip(0, 255).astype(np.uint8)


@cache
def _noise(side: int) -> NDArray[np.float32]:
    """[S, S, 3], the same for every photo and model, so that two models' curves can be compared."""
    return np.random.default_rng(0).standard_normal((side, side, 3), np.float32)


def _recompressed(image: Pixels, quality: float) -> Pixels:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=int(quality))
    return np.asarray(Image.open(stream).convert("RGB"))


def _turned(image: Pixels, degrees: float) -> Pixels:
    side = len(image)
    edge = side // 4  # mirrored around it, so that no black corner comes into view
    wide = Image.fromarray(np.pad(image, ((edge, edge), (edge, edge), (0, 0)), "reflect"))
    turned = wide.rotate(degrees, Image.Resampling.BILINEAR)
    return np.asarray(turned.crop((edge, edge, edge + side, edge + side)))


def _lit(image: Pixels, factor: float) -> Pixels:
    return np.asarray(ImageEnhance.Brightness(Image.fromarray(image)).enhance(factor))


# name: what does it, from mild to strong, the unit of its strength, the strength that changes nothing
_KINDS: Final[dict[str, tuple[Harm, tuple[float, ...], str, float]]] = {
    "blur": (_blurred, (1, 2, 3, 4, 6), "radius in pixels of 224", 0),
    "noise": (_noisy, (8, 16, 32, 48, 64), "deviation in grey levels of 255", 0),
    "JPEG": (_recompressed, (50, 30, 20, 10, 5), "quality of 100", 100),
    "rotation": (_turned, (5, 10, 20, 30, 45), "degrees", 0),
    "brightness": (_lit, (0.2, 0.4, 0.6, 1.5, 2.5), "factor", 1),
}
