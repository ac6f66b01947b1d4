"""Slices of test photos, so that a model that fails one kind of photo is seen.

Knows photos' statistics. Knows nothing about models.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tasks.manifest import STATISTICS, Photo

_SLICED = tuple(name for name in STATISTICS if name != "aspect")


def slices(photos: Sequence[Photo]) -> dict[str, NDArray[np.bool_]]:
    """Rows of photos by class, by source, and the lowest and highest third of each statistic."""
    found: dict[str, NDArray[np.bool_]] = {}
    for name in ("label", "source"):
        values = np.array([getattr(photo, name) for photo in photos])
        found |= {f"{name} = {value}": values == value for value in np.unique(values)}
    for name in _SLICED:
        measured = np.array([photo.statistics[name] for photo in photos])
        low, high = np.quantile(measured, [1 / 3, 2 / 3])
        found[f"low {name}"] = measured <= low
        found[f"high {name}"] = measured >= high
    return {name: rows for name, rows in found.items() if not rows.all()}
