"""How good answers are: cost, accuracy, calibration, confusion, each with its interval.

Knows probabilities and true classes. Knows nothing about where they are from.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from sklearn.metrics import confusion_matrix

from pawloop.decision import Costs, incurred
from tasks import intervals
from tasks.answer import Answers
from tasks.curves import COVERAGES, areas, risk_area, risk_by_coverage
from tasks.intervals import Interval, wilson, wilson_all

LARGEST_LOG_LOSS: Final = 10.0  # of one photo, in nats, as far as intervals and the gate go
_LARGEST_BRIER: Final = 2.0
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


class Covered(BaseModel):
    """Error among the surest share of the photos, `coverage`."""

    model_config = ConfigDict(frozen=True)

    coverage: float
    error: float
    error_interval: Interval
    photos: int


class PerClass(BaseModel):
    """One class against all others; count: its test photos. None where they cannot tell."""

    model_config = ConfigDict(frozen=True)

    precision: float
    precision_interval: Interval
    recall: float
    recall_interval: Interval
    count: int
    roc_auc: float | None
    roc_auc_interval: Interval | None
    average_precision: float | None
    average_precision_interval: Interval | None


class Evaluation(BaseModel):
    """All numbers of one model on one side of one dataset version.

    accuracy, recall, precision and confusion are of the labels that the server gives, those of least expected
    cost, also on photos where it would rather ask; coverage, aurc, ece and areas are of the probabilities.
    abstained: share of all questions, unfamiliar: of those for that reason alone. aurc: area under the
    coverage-risk curve, coverage: points of it. Intervals are 95 %, each made as `tasks.intervals` says.
    ece_by_chance: the expected calibration error that a perfectly calibrated model would show at this size
    (95 % of the time below it).
    """

    model_config = ConfigDict(frozen=True)

    photos: int
    accuracy: float
    accuracy_interval: Interval
    balanced_accuracy: float
    balanced_accuracy_interval: Interval
    expected_cost: float
    expected_cost_interval: Interval
    abstained: float
    abstained_interval: Interval
    unfamiliar: float
    log_loss: float
    log_loss_interval: Interval
    brier: float
    brier_interval: Interval
    ece: float
    ece_by_chance: float
    aurc: float
    aurc_interval: Interval
    coverage: list[Covered]
    classes: dict[str, PerClass]
    confusion: list[list[int]]
    reliability: list[Bin]

    def for_card(self) -> dict[str, Any]:  # Any: numbers, intervals and tables as JSON
        """The evaluation as the model card holds it."""
        return self.model_dump(mode="json")


def evaluate(
    answers: Answers, labels: NDArray[np.integer], classes: tuple[str, ...], costs: Costs
) -> Evaluation:
    """Judge answers to N photos, one or more, against their true classes labels [N]."""
    probabilities, decisions = answers.probabilities, answers.decide(costs)
    count, class_count = probabilities.shape
    right = decisions.label == labels
    cost = incurred(labels, decisions, costs)
    surprise = -np.log(_proper(probabilities)[np.arange(count), labels])  # [N] in nats
    squares = ((probabilities - np.eye(class_count)[labels]) ** 2).sum(axis=1)  # [N]
    confusion = confusion_matrix(labels, decisions.label, labels=range(class_count))
    hits, held = np.diag(confusion), confusion.sum(axis=1)
    tested = held > 0
    sure = probabilities.max(axis=1).astype(np.float64)
    bins, ece, ece_by_chance = _reliability(sure, answers.labels == labels)
    aurc, aurc_interval = risk_area(probabilities, labels)
    return Evaluation(
        photos=count,
        accuracy=float(right.mean()),
        accuracy_interval=wilson(int(right.sum()), count),
        balanced_accuracy=float((hits[tested] / held[tested]).mean()),
        balanced_accuracy_interval=intervals.mean_of_proportions(hits[tested], held[tested]),
        expected_cost=float(cost.mean()),
        expected_cost_interval=intervals.bounded_mean(cost, largest_cost(costs)),
        abstained=float(decisions.abstained.mean()),
        abstained_interval=wilson(int(decisions.abstained.sum()), count),
        unfamiliar=float(np.mean([reason == "unfamiliar" for reason in decisions.reasons])),
        log_loss=float(surprise.mean()),
        log_loss_interval=_log_loss_interval(surprise),
        brier=float(squares.mean()),
        brier_interval=intervals.bounded_mean(squares, _LARGEST_BRIER),
        ece=ece,
        ece_by_chance=ece_by_chance,
        aurc=aurc,
        aurc_interval=aurc_interval,
        coverage=_coverage(probabilities, labels),
        classes=_per_class(probabilities, labels, classes, confusion),
        confusion=confusion.tolist(),
        reliability=bins,
    )


def _log_loss_interval(surprise: NDArray[np.float64]) -> Interval:
    low, high = intervals.bounded_mean(surprise.clip(max=LARGEST_LOG_LOSS), LARGEST_LOG_LOSS)
    return low, max(high, float(surprise.mean()))


def largest_cost(costs: Costs) -> float:
    """The dearest that one answer can be."""
    return max(costs.ask, float(costs.matrix.max()))


def _proper(probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
    values = np.clip(probabilities.astype(np.float64), 1e-15, 1.0)
    rows: NDArray[np.float64] = values / values.sum(axis=1, keepdims=True)
    return rows


def _coverage(probabilities: NDArray[np.floating], labels: NDArray[np.integer]) -> list[Covered]:
    risk = risk_by_coverage(probabilities, labels).y
    found = []
    for share in COVERAGES:
        count = max(1, round(share * len(risk)))
        error = float(risk[count - 1])
        found.append(
            Covered(coverage=share, error=error, error_interval=wilson(error * count, count), photos=count)
        )
    return found


def _per_class(
    probabilities: NDArray[np.floating],
    labels: NDArray[np.integer],
    classes: tuple[str, ...],
    confusion: NDArray[np.integer],
) -> dict[str, PerClass]:
    hits, held, answered = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    precise, recalled = wilson_all(hits, answered).tolist(), wilson_all(hits, held).tolist()
    return {
        name: PerClass(
            precision=float(hits[place] / max(answered[place], 1)),
            precision_interval=precise[place],
            recall=float(hits[place] / max(held[place], 1)),
            recall_interval=recalled[place],
            count=int(held[place]),
            **areas(probabilities[:, place], labels == place)._asdict(),
        )
        for place, name in enumerate(classes)
    }


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
