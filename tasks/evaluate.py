"""How good answers are: cost, accuracy, calibration, confusion, each with its interval.

Knows probabilities and true classes. Knows nothing about where they are from.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from scipy.stats import binomtest, bootstrap
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, log_loss
from sklearn.metrics import precision_recall_fscore_support as precision_recall

from pawloop.decision import Costs, incurred
from tasks.answer import Answers

_BINS = 10
_DRAWS = 500


class Bin(BaseModel):
    """One bar of a reliability diagram. low, high: the band that chance alone gives."""

    model_config = ConfigDict(frozen=True)

    confidence: float
    accuracy: float
    count: int
    low: float
    high: float


class PerClass(BaseModel):
    """Precision and recall of one class; count: its test photos."""

    model_config = ConfigDict(frozen=True)

    precision: float
    recall: float
    count: int


class Evaluation(BaseModel):
    """All numbers of one model on one side of one dataset version.

    accuracy counts every label, also of photos on which the model would rather ask. abstained: share
    of all questions, unfamiliar: of those for that reason alone. Intervals are
    95 %: Wilson's for proportions, bootstrap for the others. ece_by_chance: the expected calibration
    error that a perfectly calibrated model would show at this size (95 % of the time below it).
    """

    model_config = ConfigDict(frozen=True)

    photos: int
    accuracy: float
    accuracy_interval: tuple[float, float]
    balanced_accuracy: float
    expected_cost: float
    expected_cost_interval: tuple[float, float]
    abstained: float
    unfamiliar: float
    log_loss: float
    brier: float
    ece: float
    ece_by_chance: float
    classes: dict[str, PerClass]
    confusion: list[list[int]]
    reliability: list[Bin]

    def for_card(self) -> dict[str, Any]:  # Any: numbers, intervals and tables as JSON
        """The evaluation as the model card holds it."""
        return self.model_dump(mode="json")


def evaluate(
    answers: Answers, labels: NDArray[np.integer], classes: tuple[str, ...], costs: Costs
) -> Evaluation:
    """Judge answers to N photos against their true classes labels [N]."""
    probabilities = answers.probabilities
    count, class_count = probabilities.shape
    predicted, decisions = answers.labels, answers.decide(costs)
    right = predicted == labels
    cost = incurred(labels, decisions, costs)
    one_hot = np.eye(class_count)[labels]
    everything = list(range(class_count))
    precision, recall, _, support = precision_recall(labels, predicted, labels=everything, zero_division=0.0)
    bins, ece, ece_by_chance = _reliability(probabilities.max(axis=1).astype(np.float64), right)
    return Evaluation(
        photos=count,
        accuracy=float(right.mean()),
        accuracy_interval=wilson(int(right.sum()), count),
        balanced_accuracy=float(balanced_accuracy_score(labels, predicted)),
        expected_cost=float(cost.mean()),
        expected_cost_interval=_bootstrapped(cost),
        abstained=float(decisions.abstained.mean()),
        unfamiliar=float(np.mean([reason == "unfamiliar" for reason in decisions.reasons])),
        log_loss=float(log_loss(labels, _proper(probabilities), labels=everything)),
        brier=float(((probabilities - one_hot) ** 2).sum(axis=1).mean()),
        ece=ece,
        ece_by_chance=ece_by_chance,
        classes={
            name: PerClass(precision=float(p), recall=float(r), count=int(n))
            for name, p, r, n in zip(classes, precision, recall, support, strict=True)
        },
        confusion=confusion_matrix(labels, predicted, labels=everything).tolist(),
        reliability=bins,
    )


def wilson(successes: int, count: int) -> tuple[float, float]:
    """95 % interval of a proportion (Wilson 1927)."""
    interval = binomtest(successes, count).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


def _proper(probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
    values = np.clip(probabilities.astype(np.float64), 1e-15, 1.0)
    rows: NDArray[np.float64] = values / values.sum(axis=1, keepdims=True)
    return rows


def _bootstrapped(values: NDArray[np.float64]) -> tuple[float, float]:
    if len(values) < 2 or np.ptp(values) == 0:
        return float(values.mean()), float(values.mean())
    found = bootstrap((values,), np.mean, n_resamples=2000, method="percentile", rng=np.random.default_rng(0))
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def _reliability(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> tuple[list[Bin], float, float]:
    edges = np.linspace(0, 1, _BINS + 1)
    place = np.clip(np.digitize(confidence, edges) - 1, 0, _BINS - 1)
    draws = np.random.default_rng(0).random((_DRAWS, len(confidence))) < confidence  # if calibrated
    bins, gaps, chance = [], np.zeros(_BINS), np.zeros((_DRAWS, _BINS))
    for index in range(_BINS):
        inside = place == index
        if not inside.any():
            continue
        mean, accuracy = confidence[inside].mean(), right[inside].mean()
        drawn = draws[:, inside].mean(axis=1)
        low, high = np.quantile(drawn, [0.025, 0.975])
        share = inside.mean()
        gaps[index] = share * abs(mean - accuracy)
        chance[:, index] = share * abs(mean - drawn)
        bins.append(
            Bin(
                confidence=float(mean),
                accuracy=float(accuracy),
                count=int(inside.sum()),
                low=float(low),
                high=float(high),
            )
        )
    return bins, float(gaps.sum()), float(np.quantile(chance.sum(axis=1), 0.95))
