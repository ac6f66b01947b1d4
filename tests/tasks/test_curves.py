"""Curves and areas against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.curves import areas, precision_recall, risk_area, risk_by_coverage, roc

SCORES = np.array([0.9, 0.8, 0.3, 0.2])
IS_CLASS = np.array([True, False, True, False])
PROBABILITIES = np.c_[SCORES, 1 - SCORES]
LABELS = np.where(IS_CLASS, 0, 1)


def test_a_roc_curve_goes_up_for_each_of_the_class_and_right_for_each_other() -> None:
    assert list(zip(*roc(SCORES, IS_CLASS), strict=True)) == [(0, 0), (0, 0.5), (0.5, 0.5), (0.5, 1), (1, 1)]
    assert areas(SCORES, IS_CLASS).roc_auc == 0.75


def test_a_precision_recall_curve_goes_from_the_surest_to_all() -> None:
    curve = precision_recall(SCORES, IS_CLASS)
    assert curve.x[0] == 0.0
    assert (curve.x[-1], curve.y[-1]) == (1.0, 0.5)


def test_a_class_that_all_photos_or_none_are_has_no_area() -> None:
    assert areas(SCORES, np.ones(4, np.bool_)).roc_auc is None
    assert areas(SCORES, np.zeros(4, np.bool_)).average_precision is None


def test_risk_grows_as_the_less_sure_are_answered_too() -> None:
    # By certainty: 0.9 right, 0.8 wrong, 0.2 right, 0.3 wrong.
    curve = risk_by_coverage(PROBABILITIES, LABELS)
    assert curve.y.tolist() == [0, 1 / 2, 1 / 3, 1 / 2]
    area, (low, high) = risk_area(PROBABILITIES, LABELS)
    assert area == pytest.approx(curve.y.mean())
    assert low <= area <= high
