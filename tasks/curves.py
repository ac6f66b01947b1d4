"""The curves behind a model's numbers, and the areas under them: ROC, precision-recall, coverage-risk.

Knows probabilities and true classes. Knows nothing about drawing.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

from tasks.intervals import Interval, average_precision, resampled, roc_area, wilson

COVERAGES = (0.5, 0.8, 0.9, 0.95, 1.0)


class Curve(NamedTuple):
    """x, y: [K] points of a line from left to right."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]


class Areas(NamedTuple):
    """Of one class against all others; None where the test photos are all of it, or none is."""

    roc_auc: float | None
    roc_auc_interval: Interval | None
    average_precision: float | None
    average_precision_interval: Interval | None


def areas(scores: NDArray[np.floating], is_class: NDArray[np.bool_]) -> Areas:
    """Areas under both curves of one class, by its probability [N] and whether each photo is one [N]."""
    count = int(is_class.sum())
    if not 0 < count < len(is_class):
        return Areas(None, None, None, None)
    roc = float(roc_auc_score(is_class, scores))
    precise = float(average_precision_score(is_class, scores))
    return Areas(roc, roc_area(roc, count, len(is_class) - count), precise, average_precision(precise, count))


def roc(scores: NDArray[np.floating], is_class: NDArray[np.bool_]) -> Curve:
    """Recall of the class by the share of the others that is taken for it."""
    others, recall, _ = roc_curve(is_class, scores)
    return Curve(others, recall)


def precision_recall(scores: NDArray[np.floating], is_class: NDArray[np.bool_]) -> Curve:
    """Precision by recall."""
    precision, recall, _ = precision_recall_curve(is_class, scores, drop_intermediate=True)
    return Curve(recall[::-1], precision[::-1])


def risk_by_coverage(probabilities: NDArray[np.floating], labels: NDArray[np.integer]) -> Curve:
    """Error among the photos answered, if only the surest share of them were (El-Yaniv, Wiener 2010)."""
    wrong = _wrong_by_certainty(probabilities, labels)
    answered = np.arange(1, len(wrong) + 1)
    return Curve(answered / len(wrong), np.cumsum(wrong) / answered)


def risk_area(probabilities: NDArray[np.floating], labels: NDArray[np.integer]) -> tuple[float, Interval]:
    """Area under `risk_by_coverage` (AURC: Geifman, El-Yaniv 2017): small when the sure are right.

    Where no photo is wrong a bootstrap has no width: the bound of the error itself stands for it.
    """
    wrong = _wrong_by_certainty(probabilities, labels)
    count = len(wrong)

    def area(drawn: NDArray[np.integer]) -> float:
        answered = np.cumsum(drawn)
        errors = np.cumsum(drawn * wrong)
        return float((drawn * errors / np.maximum(answered, 1)).sum() / count)

    if not wrong.any():
        return 0.0, (0.0, wilson(0, count)[1])
    return area(np.ones(count, np.intp)), resampled(count, area)


def _wrong_by_certainty(
    probabilities: NDArray[np.floating], labels: NDArray[np.integer]
) -> NDArray[np.bool_]:
    """[N] whether the answer is wrong, the surest answer first."""
    order = np.argsort(-probabilities.max(axis=1), kind="stable")
    wrong: NDArray[np.bool_] = (probabilities.argmax(axis=1) != labels)[order]
    return wrong
