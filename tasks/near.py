"""Near-duplicate photos by perceptual hash, without comparing every pair.

Knows hashes and thumbnails. Knows nothing about files, labels or why somebody asks.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

LARGEST_RADIUS: Final = 6
# Two photos of a hand before the same wall have like hashes and unlike thumbnails: of 171 such pairs
# within 6 bits among 1,862 photos one correlates so well, and so did all of 250 copies cropped by 2 %.
LIKENESS: Final = 0.95
_MOST_EQUAL: Final = 2_000
_PLACES: Final = list(itertools.combinations(range(8), 2))  # any two of the eight bytes


def alike(thumb: NDArray[np.uint8], others: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """[K] whether a thumbnail [256] of grey levels is like each of the others [K, 256], too."""
    return likeness(thumb[None], others) >= LIKENESS


def pairs(hashes: NDArray[np.uint64], radius: int) -> NDArray[np.int64]:
    """Pairs [P, 2] of rows within `radius` bits of each other, the smaller row first, sorted.

    hashes: [N] 64-bit perceptual hashes. radius: 0 to 6.
    Two hashes that differ in six bits at most agree in two of their eight bytes at least, so sorted by each
    two bytes in turn they stand among few others (Manku, Jain, Sarma 2007, section 3).
    Raises ValueError for another radius.
    """
    if not 0 <= radius <= LARGEST_RADIUS:
        raise ValueError(f"radius={radius} is not within 0 to {LARGEST_RADIUS} bits")
    distinct, row_of, counts = np.unique(hashes, return_inverse=True, return_counts=True)
    near = [found for place in _PLACES for found in _side_by_side(distinct, place, radius)]
    repeated = np.flatnonzero(counts > 1)
    equal = np.stack([repeated, repeated], 1)
    return _rows(np.concatenate([equal, *near]), row_of, counts)


def likeness(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Correlation [P] of thumbnails [P, 256] with each other, row by row; 1 where one is flat.

    Either may be a single one, [1, 256].
    """
    a, b = (rows - rows.mean(1, keepdims=True) for rows in (one.astype(np.float32), other.astype(np.float32)))
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    product: NDArray[np.float32] = (a * b).sum(1) / np.maximum(norms, 1e-6)
    return np.where(norms < 1e-6, np.float32(1), product)


def _side_by_side(
    hashes: NDArray[np.uint64], place: tuple[int, int], radius: int
) -> Iterator[NDArray[np.int64]]:
    """Pairs [P, 2] within `radius` among the hashes whose bytes at these two places are the first to agree.

    A pair that agrees in more bytes is thus found once. The two bytes are sorted by counting.
    """
    octets = hashes.view(np.uint8).reshape(-1, 8)
    keys = octets[:, place[0]].astype(np.uint16) << np.uint16(8) | octets[:, place[1]]
    order = np.argsort(keys, kind="stable")
    keys, hashes = keys[order], hashes[order]
    first = np.flatnonzero(keys[:-1] == keys[1:])
    for step in itertools.count(1):
        differs = hashes[first] ^ hashes[first + step]
        is_near = np.bitwise_count(differs) <= radius
        agrees = differs[is_near].view(np.uint8).reshape(-1, 8) == 0
        near = first[is_near][agrees[:, : place[1]].sum(1) == 1]  # at place[0], and nowhere before the second
        if len(near):
            yield np.sort(np.stack([order[near], order[near + step]], 1), axis=1)
        first = first[: np.searchsorted(first, len(keys) - step - 1)]
        first = first[keys[first] == keys[first + step + 1]]
        if not len(first):
            return


def _rows(near: NDArray[np.int64], row_of: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Pairs of rows, sorted, from pairs of distinct hashes. row_of: each row's hash, counts: its rows."""
    order = np.argsort(row_of, kind="stable")
    ends = np.cumsum(counts)

    def rows(one: int) -> NDArray[np.int64]:
        return order[ends[one] - counts[one] : ends[one]]

    is_single = (counts[near] == 1).all(1)
    several = [
        _among(rows(a)) if a == b else _between(rows(a), rows(b)) for a, b in near[~is_single].tolist()
    ]
    single = np.sort(order[ends[near[is_single]] - 1], axis=1)
    found = np.concatenate([single, *several])
    return found[np.argsort(found[:, 0] * len(order) + found[:, 1])]


def _among(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Each two of the rows; so many that it would fill the memory are only paired with their first."""
    if len(rows) > _MOST_EQUAL:
        return _between(rows[:1], rows[1:])
    return rows[np.stack(np.triu_indices(len(rows), 1), 1)]


def _between(some: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.int64]:
    found = np.stack([np.repeat(some, len(others)), np.tile(others, len(some))], 1)
    return np.sort(found, axis=1)
