"""Bounds on paired differences: known values, and coverage by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.paired import by_group, chance_of_worse, enough, lower_bound, upper_bound

Z = 1.6448536


def differences(worse: int, better: int, count: int) -> np.ndarray:
    return np.r_[np.ones(worse), -np.ones(better), np.zeros(count - worse - better)]


@pytest.mark.parametrize("count", [20, 200, 5000])
def test_without_a_disagreement_the_bound_is_tangos(count: int) -> None:
    expected = Z**2 / (count + Z**2)
    assert upper_bound(np.zeros(count), 1.0) == pytest.approx(expected, rel=1e-3)


def test_the_bound_scales_with_the_largest_possible_difference() -> None:
    assert upper_bound(np.zeros(100), 5.0) == pytest.approx(5 * upper_bound(np.zeros(100), 1.0), rel=1e-3)


def test_the_bounds_mirror_each_other() -> None:
    values = differences(3, 7, 200)
    assert lower_bound(values, 1.0) == pytest.approx(-upper_bound(-values, 1.0))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 20), st.integers(0, 20), st.integers(60, 400))
def test_the_bound_lies_above_the_mean_and_within_what_is_possible(
    worse: int, better: int, count: int
) -> None:
    values = differences(worse, better, count)
    assert values.mean() < upper_bound(values, 1.0) <= 1.0


@pytest.mark.parametrize(
    ("count", "worse", "better", "sizes"),
    [
        (200, 0.02, 0.02, (1.0,)),
        (200, 0.005, 0.005, (1.0,)),
        (300, 0.03, 0.02, (1.0, 0.75, 0.25)),
        (200, 0.02, 0.01, (5.0, 0.2)),
    ],
)
def test_the_bound_covers_the_true_mean_95_times_in_100(
    count: int, worse: float, better: float, sizes: tuple[float, ...]
) -> None:
    rng = np.random.default_rng(7)
    true_mean = (worse - better) * float(np.mean(sizes))
    nights, covered = 400, 0
    for _ in range(nights):
        place, size = rng.random(count), rng.choice(sizes, count)
        values = np.where(place < worse, size, np.where(place < worse + better, -size, 0.0))
        covered += upper_bound(values, max(sizes)) >= true_mean
    assert covered / nights >= 0.93  # 0.95 less two standard errors of 400 nights


def test_enough_photos_are_enough_in_four_of_five_samples() -> None:
    values, rng = differences(2, 2, 100), np.random.default_rng(0)
    needed = enough(values, 1.0, 0.02)
    assert needed
    shown = [upper_bound(rng.choice(values, needed), 1.0) <= 0.02 for _ in range(200)]
    assert sum(shown) >= 148  # 160 asked for


def test_photos_that_fail_together_are_no_draws_of_their_own() -> None:
    rng, groups = np.random.default_rng(0), np.repeat(np.arange(100), 10)
    passed = {"photos": 0, "groups": 0}
    for _ in range(200):  # worse by 0.04, twice the margin
        values = np.repeat((rng.random(100) < 0.07) - 1.0 * (rng.random(100) < 0.03), 10)
        drawn, factor = by_group(values, groups)
        assert drawn.mean() == pytest.approx(values.mean())
        passed["photos"] += upper_bound(values, 1.0) <= 0.02
        passed["groups"] += upper_bound(drawn, factor) <= 0.02
    assert passed["groups"] <= 10 < passed["photos"]


def test_groups_of_one_photo_change_nothing() -> None:
    values = differences(3, 2, 50)
    drawn, factor = by_group(values, np.arange(50))
    assert factor == 1.0
    assert drawn.tolist() == values.tolist()


def test_no_number_of_photos_shows_what_is_not_so() -> None:
    assert enough(differences(12, 2, 100), 1.0, 0.02) is None


def test_chance_is_known_from_harm() -> None:
    assert chance_of_worse(differences(1, 1, 100), 1.0) > 0.5
    assert chance_of_worse(differences(12, 0, 100), 1.0) == pytest.approx(0.5**12)
    assert chance_of_worse(np.zeros(50), 1.0) == 1.0
    assert chance_of_worse(-differences(12, 0, 100), 1.0) == 1.0


@pytest.mark.parametrize("count", [40, 200])
def test_harm_on_every_photo_is_told_among_thousands_of_slices(count: int) -> None:
    worse = np.where(np.arange(count) % 20 == 0, 0.75, 1.0)
    assert chance_of_worse(worse, 1.0) < 0.01 / 10_000


def test_the_chance_is_that_at_which_the_bound_leaves_nought() -> None:
    values = np.r_[np.full(20, 0.25), np.full(3, -1.0), np.zeros(277)] + 0.01
    chance = chance_of_worse(values, 1.01)
    assert lower_bound(values, 1.01, 1 - 1.01 * chance) > 0 > lower_bound(values, 1.01, 1 - 0.99 * chance)


@pytest.mark.parametrize("count", [100, 300, 1000])
def test_many_small_losses_beside_few_large_gains_are_no_harm(count: int) -> None:
    rng = np.random.default_rng(3)
    nights = [rng.choice([-1.0, 0.0, 0.25], count, p=[0.02, 0.90, 0.08]) for _ in range(400)]
    assert sum(chance_of_worse(values, 1.0) < 0.01 for values in nights) <= 4
