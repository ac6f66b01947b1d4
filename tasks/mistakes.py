"""Which photos were answered wrongly, the most confident first, and where that happens most.

Knows answers and true classes. Knows nothing about how mistakes are shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from tasks.answer import Answers
from tasks.slices import Slice


def worst(answers: Answers, said: NDArray[np.integer], labels: NDArray[np.integer], count: int) -> list[int]:
    """Rows of the `count` most confident mistakes; said, labels: [N] answered and true classes."""
    confidence = answers.probabilities[np.arange(len(said)), said]
    wrong = np.flatnonzero(said != labels)
    rows: list[int] = wrong[np.argsort(-confidence[wrong], kind="stable")][:count].tolist()
    return rows


def worst_in_slices(
    answers: Answers,
    said: NDArray[np.integer],
    labels: NDArray[np.integer],
    slices: Mapping[str, NDArray[np.bool_]],
    found: Sequence[Slice],
    each: int,
) -> dict[str, list[int]]:
    """Rows of the `each` most confident mistakes in each slice of `found`, those without one left out.

    slices: [N] rows by name.
    """
    wrong = worst(answers, said, labels, len(labels))
    rows = {one.name: [row for row in wrong if slices[one.name][row]][:each] for one in found}
    return {name: inside for name, inside in rows.items() if inside}
