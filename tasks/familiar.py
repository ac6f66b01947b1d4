"""What a model has seen: the embeddings that tell a familiar photo from an unfamiliar one.

A softmax of cat and dog calls a car a dog. Mean cosine to the nearest training photos (a k-nearest-
neighbour detector on unit vectors; Sun et al. 2022, "Out-of-Distribution Detection with Deep Nearest
Neighbors") tells them apart. Knows embeddings; knows nothing about graphs or files.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MOST_ROWS = 500  # of the bank: one megabyte of the file at 1,280 features
MOST_DISTANCES = 500


def unit(embeddings: NDArray[np.floating]) -> NDArray[np.float32]:
    """Rows [N, D] at length one."""
    values = embeddings.astype(np.float32)
    lengths = np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
    rows: NDArray[np.float32] = (values / lengths).astype(np.float32)
    return rows


def distances(
    embeddings: NDArray[np.floating], bank: NDArray[np.float32], neighbours: int
) -> NDArray[np.float32]:
    """[N] one less the mean cosine to the nearest rows of `bank` [M, D], which have length one."""
    stored: NDArray[np.float32] = bank.astype(np.float16).astype(np.float32)  # as the file has it
    cosines: NDArray[np.float32] = unit(embeddings) @ stored.T  # [N, M]
    nearest = np.sort(cosines, axis=1)[:, -min(neighbours, len(bank)) :]
    away: NDArray[np.float32] = (1.0 - nearest.mean(axis=1)).astype(np.float32)
    return away


def spread(values: NDArray[np.floating], most: int = MOST_DISTANCES) -> NDArray[np.float32]:
    """Sorted values, thinned to at most `most` quantiles of them."""
    chosen = np.sort(values)
    if len(values) > most:
        chosen = np.quantile(values, (np.arange(most) + 0.5) / most)
    return np.asarray(chosen, np.float32)
