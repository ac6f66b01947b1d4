"""95 % intervals of the numbers that a model is judged by, and p values of several questions at once.

Closed forms where one covers and has a width even when nothing went wrong, a bootstrap for the others.
Knows numbers. Knows nothing about models or photos.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.stats import norm

from tasks.paired import upper_bound

Interval = tuple[float, float]

_ONE_SIDE = 0.975
_Z = float(norm.ppf(_ONE_SIDE))
_DRAWS = 500


def wilson(successes: float, count: float, z: float = _Z) -> Interval:
    """Of a proportion (Wilson 1927); successes may be a fraction of a photo. Without a photo 0 to 1."""
    low, high = wilson_all([successes], [count], z)[0].tolist()
    return low, high


def wilson_all(successes: ArrayLike, counts: ArrayLike, z: float = _Z) -> NDArray[np.float64]:
    """[K, 2] the intervals of K proportions."""
    good, count = np.asarray(successes, np.float64), np.asarray(counts, np.float64)
    some = np.maximum(count, 1e-12)
    share = good / some
    middle = share + z * z / (2 * some)
    reach = z * np.sqrt(share * (1 - share) / some + z * z / (4 * some**2))
    scale = 1 + z * z / some
    # Rounding alone could put an end at 0 or 1 past the share itself.
    low = np.minimum((middle - reach) / scale, share).clip(0.0, 1.0)
    high = np.maximum((middle + reach) / scale, share).clip(0.0, 1.0)
    both = np.stack([low, high], axis=1)
    both[count == 0] = (0.0, 1.0)
    return both


def mean_of_proportions(successes: ArrayLike, counts: ArrayLike) -> Interval:
    """Of the plain mean of independent proportions, such as balanced accuracy.

    Each one's own Wilson interval decides how far the mean may reach (MOVER: Zou, Donner 2008).
    """
    good, count = np.asarray(successes, np.float64), np.asarray(counts, np.float64)
    shares, ends = good / count, wilson_all(good, count)
    down, up = (np.sqrt(((shares - ends[:, side]) ** 2).sum()) / len(shares) for side in (0, 1))
    return max(0.0, float(shares.mean() - down)), min(1.0, float(shares.mean() + up))


def bounded_mean(values: NDArray[np.floating], largest: float) -> Interval:
    """Of the mean of `values` [N], each 0 to `largest`; has a width also when all are 0."""
    if largest == 0:
        return 0.0, 0.0
    low = largest - upper_bound(largest - values, largest, _ONE_SIDE)
    return max(0.0, low), upper_bound(values, largest, _ONE_SIDE)


def resampled(count: int, statistic: Callable[[NDArray[np.intp]], float]) -> Interval:
    """Of a statistic of N photos, by bootstrap. statistic: from how often each photo was drawn, [N]."""
    rng = np.random.default_rng(0)
    drawn = [statistic(np.bincount(rng.integers(0, count, count), minlength=count)) for _ in range(_DRAWS)]
    low, high = np.quantile(drawn, [1 - _ONE_SIDE, _ONE_SIDE])
    return float(low), float(high)


def roc_area(area: float, positives: int, negatives: int) -> Interval:
    """Of the area under a ROC curve: a score interval (Newcombe 2006, method 5).

    Its variance is Hanley's and McNeil's at the area that is doubted, so a perfect curve has a width too.
    """
    half = (positives + negatives) / 2 - 1

    def doubt(true: float) -> float:
        variance = true * (1 - true) * (1 + half * (1 - true) / (2 - true) + half * true / (1 + true))
        return abs(area - true) - _Z * math.sqrt(max(variance, 0.0) / (positives * negatives))

    below, above = area - 1e-9, area + 1e-9  # at the area itself the doubt is 0
    low = brentq(doubt, 0.0, below) if below > 0 else 0.0
    high = brentq(doubt, above, 1.0) if above < 1 else 1.0
    return float(low), float(high)


def average_precision(area: float, positives: int) -> Interval:
    """Of the area under a precision-recall curve, as if a proportion of the positives.

    Boyd, Eng, Page 2013, section 4: among six the binomial one covers best beside the logit one, which has
    no width at 1.
    """
    return wilson(area * positives, positives)


def holm(p: list[float]) -> list[float]:
    """p values corrected for their number, in the order given (Holm 1979)."""
    order = np.argsort(p)
    steps = np.array(p)[order] * (len(p) - np.arange(len(p)))
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(1, np.maximum.accumulate(steps))
    return [float(value) for value in corrected]
