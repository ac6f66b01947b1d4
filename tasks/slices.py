"""Slices of test photos, so that a model that fails one kind of photo is seen.

The gate and the report cut the photos by this one definition. Knows photos' statistics and whether answers
were right; knows nothing about how they came about.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from pawloop.decision import Costs, incurred
from tasks.answer import Answers
from tasks.evaluate import largest_cost
from tasks.intervals import Interval, bounded_mean, wilson
from tasks.manifest import STATISTICS, Photo

_IS = " = "
CLASS_SLICE = f"label{_IS}"  # how the name of a class's slice begins
_SLICED = tuple(name for name in STATISTICS if name != "aspect")


class Slice(BaseModel):
    """How good a model is on one kind of photo. is_worse: its accuracy is surely below that of all photos.

    Surely: the upper end of its 95 % interval is below the whole's accuracy. Among twenty slices of an even
    model one may look so by chance; the gate, which decides, corrects for that.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    photos: int
    accuracy: float
    accuracy_interval: Interval
    expected_cost: float
    expected_cost_interval: Interval
    is_worse: bool


def slices(photos: Sequence[Photo]) -> dict[str, NDArray[np.bool_]]:
    """Rows of photos by class, by source, and the lowest and highest third of size and each statistic."""
    found: dict[str, NDArray[np.bool_]] = {}
    for name in ("label", "source"):
        values = np.array([getattr(photo, name) for photo in photos])
        found |= {f"{name}{_IS}{value}": values == value for value in np.unique(values)}
    measured = {name: [photo.statistics[name] for photo in photos] for name in _SLICED}
    measured["pixels"] = [float(photo.width * photo.height) for photo in photos]
    for name, numbers in measured.items():
        values = np.array(numbers)
        low, high = np.quantile(values, [1 / 3, 2 / 3])
        # Where a third holds the values of the next one, too, those beyond its border are still apart.
        found[f"low {name}"] = values <= low if low < high else values < low
        found[f"high {name}"] = values >= high if low < high else values > high
    return {name: rows for name, rows in found.items() if rows.any() and not rows.all()}


def sliced(
    answers: Answers,
    labels: NDArray[np.integer],
    slices: Mapping[str, NDArray[np.bool_]],
    costs: Costs,
) -> list[Slice]:
    """A line for each slice, that of the lowest upper bound of accuracy first.

    labels: [N] true classes. slices: [N] rows by name.
    """
    decisions = answers.decide(costs)
    right, cost = decisions.label == labels, incurred(labels, decisions, costs)
    whole, largest = float(right.mean()), largest_cost(costs)
    found = [_slice(name, right[rows], cost[rows], whole, largest) for name, rows in slices.items()]
    return sorted(found, key=lambda one: (one.accuracy_interval[1], one.accuracy))


def _slice(
    name: str, right: NDArray[np.bool_], cost: NDArray[np.float64], whole: float, largest: float
) -> Slice:
    interval = wilson(int(right.sum()), len(right))
    return Slice(
        name=name,
        photos=len(right),
        accuracy=float(right.mean()),
        accuracy_interval=interval,
        expected_cost=float(cost.mean()),
        expected_cost_interval=bounded_mean(cost, largest),
        is_worse=interval[1] < whole,
    )
