"""Bounds on a mean of paired differences that stay honest when no pair differs.

Knows numbers. Knows nothing about models, photos or costs.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import binomtest, norm

_MOST_PAIRS = 10_000_000
# Of a plan: a bound of 95 % is then within the margin in four of five samples, as z(0.95) + z(0.8) stand in
# the usual formula of a sample's size.
_PLANNED = float(norm.cdf(norm.ppf(0.95) + norm.ppf(0.8)))


def upper_bound(
    differences: NDArray[np.floating], largest: float, confidence: float = 0.95, repeats: float = 1.0
) -> float:
    """One-sided upper bound of the mean of `differences` [N], each within ±`largest`.

    A score interval: a mean is ruled out when the observed one is z standard errors below it, with
    the variance taken not from the sample but from the likeliest distribution that has that mean
    (nonparametric maximum likelihood, which may put weight on `largest` though it was never seen).
    For differences of -1, 0 and 1 it is Tango's interval (1998) for paired proportions; unlike a
    bootstrap it has a width when no pair differs, z²/(N + z²) of `largest`.

    repeats: pretend that every difference was seen so often, to plan a sample size.
    """
    values = differences.astype(np.float64)
    count, mean, z = len(values) * repeats, float(values.mean()), float(norm.ppf(confidence))

    def excess(delta: float) -> float:
        return (delta - mean) - z * math.sqrt(_variance(values, delta, largest) / count)

    top = largest * (1 - 1e-9)
    start = mean + 1e-12 * largest
    if start >= top or excess(top) <= 0:
        return largest
    return float(brentq(excess, start, top)) if excess(start) < 0 else start


def lower_bound(differences: NDArray[np.floating], largest: float, confidence: float = 0.95) -> float:
    """One-sided lower bound, the mirror image of `upper_bound`."""
    return -upper_bound(-differences, largest, confidence)


def by_group(values: NDArray[np.floating], groups: NDArray[np.generic]) -> tuple[NDArray[np.float64], float]:
    """One value for each group of `values` [N], with the same mean, and how many times as large one may be.

    Photos of one subject are right or wrong together: a bound that takes each for a draw of its own is too
    narrow. groups: [N], whose equal values are one group.
    """
    _, place, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    scale = len(sizes) / len(values)
    return scale * np.bincount(place, values).astype(np.float64), scale * float(sizes.max())


def enough(differences: NDArray[np.floating], largest: float, margin: float) -> int | None:
    """How many pairs that differ like these would show a mean within `margin` in four of five samples.

    None past ten millions. Of two that are equal, it is that of the differences and their opposites together.
    """

    def is_enough(count: int) -> bool:
        return upper_bound(differences, largest, _PLANNED, repeats=count / len(differences)) <= margin

    if not is_enough(_MOST_PAIRS):
        return None
    high = 1
    while not is_enough(high):
        high *= 2
    low = high // 2
    while high - low > max(1, high // 100):
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return high


def chance_of_worse(differences: NDArray[np.floating], largest: float) -> float:
    """p-value of a mean this large or larger where the true one is 0, each difference within ±`largest`.

    Where all that differ do so by `largest` it is McNemar's test, exact; else the level at which
    `lower_bound` leaves 0. Not a permutation of signs: a challenger that asks a little more often and errs a
    little less is as good, but its many small losses and few large gains, of which a slice may hold none, are
    not symmetric.
    """
    seen = differences[differences != 0]
    if len(seen) == 0:
        return 1.0
    if np.all(np.abs(seen) == largest):
        return float(binomtest(int((seen > 0).sum()), len(seen), alternative="greater").pvalue)
    values = differences.astype(np.float64)
    if values.mean() <= 0:
        return 1.0
    spread = math.sqrt(_variance(-values, 0.0, largest) / len(values))
    return float(norm.sf(values.mean() / spread))


def _variance(values: NDArray[np.float64], mean: float, largest: float) -> float:
    """Variance of the likeliest distribution on the values and `largest` that has this mean."""
    centred = values - mean
    steepest = -1 / (largest - mean)  # past it, weight moves to a value never seen

    def slope(tilt: float) -> float:
        return float((centred / (1 + tilt * centred)).mean())

    low = steepest * (1 - 1e-9)
    if centred.max() <= 0 or slope(low) < 0:
        weights = 1 / (len(values) * (1 + low * centred))
        unseen = max(0.0, 1 - float(weights.sum()))
        return float((weights * centred**2).sum()) + unseen * (largest - mean) ** 2
    tilt = brentq(slope, low, 0.0) if slope(0.0) < 0 else 0.0
    weights = 1 / (len(values) * (1 + tilt * centred))
    return float((weights * centred**2).sum())
