"""From probabilities to an answer: the least expected cost, or a question to a person.

The server and the evaluation call this very function. Knows nothing about models or photos.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Reason = Literal["cost", "unfamiliar"]


@dataclass(frozen=True)
class Costs:
    """mistake: [C][C] cost by true class and predicted class, 0 on the diagonal. ask: cost of asking."""

    mistake: tuple[tuple[float, ...], ...]
    ask: float

    @cached_property
    def matrix(self) -> NDArray[np.float64]:
        """`mistake` as an array [C, C]."""
        return np.asarray(self.mistake, dtype=np.float64)


@dataclass(frozen=True)
class Decisions:
    """label: [N] class of least expected cost. expected: [N] that cost. reasons: why a person is asked."""

    label: NDArray[np.intp]
    expected: NDArray[np.float64]
    reasons: tuple[Reason | None, ...]

    @property
    def abstained(self) -> NDArray[np.bool_]:
        """[N] whether a person is asked instead."""
        return np.array([reason is not None for reason in self.reasons], dtype=np.bool_)


def decide(
    probabilities: NDArray[np.floating],
    costs: Costs,
    novelty: NDArray[np.floating] | None = None,
    novelty_threshold: float = 1.0,
) -> Decisions:
    """Answer each row with the class of least expected cost, or abstain (Chow 1970).

    probabilities: [N, C], rows sum to 1. novelty: [N] in 0 to 1, where the model tells it; a photo
    past `novelty_threshold` is unlike all training photos, so that its probabilities mean nothing.
    """
    expected = probabilities.astype(np.float64).dot(costs.matrix)  # [N, C] by answer
    label, least = expected.argmin(axis=1), expected.min(axis=1)
    unfamiliar = [False] * len(least) if novelty is None else (novelty > novelty_threshold).tolist()
    reasons: list[Reason | None] = [
        "unfamiliar" if new else "cost" if cost > costs.ask else None
        for new, cost in zip(unfamiliar, least.tolist(), strict=True)
    ]
    return Decisions(label, least, tuple(reasons))


def incurred(true: NDArray[np.integer], decisions: Decisions, costs: Costs) -> NDArray[np.float64]:
    """[N] what each answer cost, now that the true class [N] is known; a question costs `costs.ask`."""
    paid = costs.matrix[true, decisions.label]
    return np.where(decisions.abstained, costs.ask, paid)
