"""A map of photos by their embeddings: who lies beside whom, and who lies alone.

Knows vectors and classes. Knows nothing about photos' pixels or how a map is drawn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_limits

MOST_POINTS: Final = 2_000
_NEIGHBOURS: Final = 6
_FEWEST: Final = 30
_PART: Final = 4_096  # photos whose neighbours are looked for at once


@dataclass(frozen=True)
class Atlas:
    """rows [M]: which photos are on the map. places [M, 2]: where, from 0 to 1.

    outliers: rows of the photos that are farthest from their nearest neighbours, the loneliest first.
    """

    rows: NDArray[np.int64]
    places: NDArray[np.float32]
    outliers: NDArray[np.int64]


def atlas(embeddings: NDArray[np.floating], outlier_count: int = 24, seed: int = 0) -> Atlas | None:
    """A map of embeddings [N, D], of 2,000 of them where there are more; None where there are too few."""
    if len(embeddings) < _FEWEST:
        return None
    rows = np.sort(np.random.default_rng(seed).permutation(len(embeddings))[:MOST_POINTS])
    shown = _unit(embeddings[rows])
    near = NearestNeighbors(n_neighbors=_NEIGHBOURS).fit(shown)
    parts = (embeddings[start : start + _PART] for start in range(0, len(embeddings), _PART))
    away = np.concatenate([near.kneighbors(_unit(part))[0] for part in parts])  # [N, 6], nearest first
    is_shown = np.isin(np.arange(len(away)), rows)  # such a photo is its own first neighbour
    loneliness = np.where(is_shown, away[:, 1:].mean(1), away[:, :-1].mean(1))
    outliers = np.argsort(-loneliness, kind="stable")[:outlier_count]
    return Atlas(rows, _flat(shown, seed), outliers)


def _unit(embeddings: NDArray[np.floating]) -> NDArray[np.float32]:
    """Rows [M, D] at length one."""
    values = embeddings.astype(np.float32)
    unit: NDArray[np.float32] = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-6)
    return unit


def _flat(vectors: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    """[M, 2] within 0 to 1: neighbours stay neighbours (t-SNE of the 30 strongest directions)."""
    strongest = PCA(min(30, *vectors.shape), random_state=seed).fit_transform(vectors)
    near = min(30, len(vectors) / 4)
    with threadpool_limits(1):  # 2.4 s of CPU for 2,000 photos; twice that with two threads, no sooner
        flat = TSNE(perplexity=near, angle=0.8, max_iter=350, random_state=seed).fit_transform(strongest)
    low, high = flat.min(0), flat.max(0)
    places: NDArray[np.float32] = (flat - low) / np.maximum(high - low, 1e-6)
    return places
