"""Intervals: those of the literature where one can be looked up, else how often they cover."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, norm
from sklearn.metrics import roc_auc_score

from tasks import intervals


@pytest.mark.parametrize(("successes", "count"), [(0, 10), (3, 17), (99, 100), (100, 100)])
def test_a_proportions_interval_is_wilsons(successes: int, count: int) -> None:
    known = binomtest(successes, count).proportion_ci(0.95, method="wilson")
    assert intervals.wilson(successes, count) == pytest.approx((known.low, known.high), abs=1e-9)


def test_nothing_counted_tells_nothing() -> None:
    assert intervals.wilson(0, 0) == (0.0, 1.0)


def test_what_was_perfect_has_a_width() -> None:
    assert intervals.wilson(100, 100)[0] == pytest.approx(0.963, abs=1e-3)
    assert intervals.mean_of_proportions([10, 10], [10, 10])[0] < 0.9
    assert intervals.bounded_mean(np.zeros(100), 1.0)[1] == pytest.approx(0.037, abs=1e-3)
    assert intervals.roc_area(1.0, 30, 30)[0] < 0.95
    assert intervals.average_precision(1.0, 30)[0] < 0.95


def test_a_mean_of_noughts_and_ones_is_a_proportion() -> None:
    values = np.repeat([0.0, 1.0], [90, 10])
    assert intervals.bounded_mean(values, 1.0) == pytest.approx(intervals.wilson(10, 100), abs=1e-6)


def test_costs_that_are_all_nought_leave_nothing_to_doubt() -> None:
    assert intervals.bounded_mean(np.zeros(5), 0.0) == (0.0, 0.0)


def test_the_interval_of_a_roc_area_covers_the_true_one() -> None:
    rng = np.random.default_rng(0)
    is_class, true = np.repeat([True, False], [30, 40]), float(norm.cdf(2 / np.sqrt(2)))
    covered = 0
    for _ in range(300):
        low, high = intervals.roc_area(roc_auc_score(is_class, rng.normal(2 * is_class, 1)), 30, 40)
        covered += low <= true <= high
    assert covered >= 276  # 285 expected


def test_the_interval_of_balanced_accuracy_covers_the_true_one() -> None:
    rng = np.random.default_rng(0)
    shares, counts = np.array([0.95, 0.8, 0.6]), np.array([40, 30, 20])
    found = [intervals.mean_of_proportions(rng.binomial(counts, shares), counts) for _ in range(500)]
    assert sum(low <= shares.mean() <= high for low, high in found) >= 465  # 475 expected


def test_a_bootstrap_covers_the_true_mean() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(100):
        values = rng.exponential(1.0, 200)
        low, high = intervals.resampled(200, lambda drawn, v=values: float((drawn * v).mean()))  # type: ignore[misc]
        covered += low <= 1.0 <= high
    assert covered >= 90  # 95 expected


@given(st.lists(st.floats(0, 1), min_size=0, max_size=8))
def test_holm_never_makes_a_p_value_smaller_and_keeps_their_order(p: list[float]) -> None:
    corrected = intervals.holm(p)

    assert all(one >= raw and one <= 1 for one, raw in zip(corrected, p))
    assert sorted(range(len(p)), key=p.__getitem__) == sorted(
        range(len(p)), key=lambda n: (corrected[n], p[n], n)
    )
