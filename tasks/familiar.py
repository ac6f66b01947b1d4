"""What a model has seen: the embeddings that tell a familiar photo from an unfamiliar one.

A softmax of cat and dog calls a car a dog. Mean cosine to the nearest training photos, seen from zero and
from their centre, tells them apart (a k-nearest-neighbour detector; Sun et al. 2022, "Out-of-Distribution
Detection with Deep Nearest Neighbors"). Knows embeddings; knows nothing about graphs or files.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from export.onnx import LEAST_LENGTH

MOST_ROWS = 1000  # of the bank: 2.6 megabytes of the file at 1,280 features
MOST_DISTANCES = 500


@dataclass(frozen=True)
class Bank:
    """What a model remembers of its training photos.

    centre: [D], the mean of their embeddings. rows: [M, D], those at length one, of sixteen bits as the file
    has them. lengths: [M], which they had. So a photo's cosines from both places come of one product with
    the rows.
    """

    centre: NDArray[np.float32]
    rows: NDArray[np.float32]
    lengths: NDArray[np.float32]

    @classmethod
    def of(cls, embeddings: NDArray[np.floating]) -> Bank:
        """The bank of training photos' embeddings [M, D]."""
        values = embeddings.astype(np.float32)
        centre = values.mean(axis=0, dtype=np.float64).astype(np.float32)
        rows = _at_length_one(values).astype(np.float16).astype(np.float32)
        return cls(centre, rows, np.linalg.norm(values, axis=1))

    @property
    def embeddings(self) -> NDArray[np.float32]:
        """[M, D], as far as sixteen bits hold them."""
        return self.rows * self.lengths[:, None]


def directions(embeddings: NDArray[np.floating], centre: NDArray[np.float32]) -> NDArray[np.float32]:
    """Embeddings [N, D] seen from zero, then seen from `centre`, each at length one: [N, 2 D].

    From zero a blank sheet looks strange, from the centre a hand does (decision 7).
    """
    values = embeddings.astype(np.float32)
    return np.concatenate([_at_length_one(values), _at_length_one(values - centre)], axis=1)


def distances(embeddings: NDArray[np.floating], bank: Bank, neighbours: int) -> NDArray[np.float32]:
    """[N] one less the mean cosine to the nearest rows of the bank, seen from both sides."""
    known = directions(bank.embeddings, bank.centre)
    cosines: NDArray[np.float32] = directions(embeddings, bank.centre) @ known.T  # [N, M], of both added
    nearest = np.sort(cosines, axis=1)[:, -min(neighbours, len(bank.rows)) :]
    away: NDArray[np.float32] = (1.0 - nearest.mean(axis=1) / 2).astype(np.float32)
    return away


def spread(values: NDArray[np.floating], most: int = MOST_DISTANCES) -> NDArray[np.float32]:
    """Sorted values, thinned to at most `most` quantiles of them."""
    chosen = np.sort(values)
    if len(values) > most:
        chosen = np.quantile(values, (np.arange(most) + 0.5) / most)
    return np.asarray(chosen, np.float32)


def _at_length_one(values: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.maximum(np.linalg.norm(values, axis=1, keepdims=True), LEAST_LENGTH)
    rows: NDArray[np.float32] = (values / lengths).astype(np.float32)
    return rows
