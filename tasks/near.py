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


def alike(thumbs: NDArray[np.uint8], pairs: NDArray[np.int64]) -> NDArray[np.bool_]:
    """[P] whether the thumbnails of each pair are alike, too. thumbs: [N, 256] grey levels. pairs: [P, 2]."""
    found = [likeness(thumbs[part[:, 0]], thumbs[part[:, 1]]) >= LIKENESS for part in _parts(pairs)]
    return np.concatenate([np.empty(0, np.bool_), *found])


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
    near = [found for keys in _keys(distinct) for found in _side_by_side(distinct, keys, radius)]
    repeated = np.flatnonzero(counts > 1)
    equal = np.stack([repeated, repeated], 1)
    return _rows(np.unique(np.concatenate([equal, *near]), axis=0), row_of, counts)


def likeness(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Correlation [P] of thumbnails [P, 256] with each other, row by row; 1 where both are flat."""
    a, b = (rows - rows.mean(1, keepdims=True) for rows in (one.astype(np.float32), other.astype(np.float32)))
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    product: NDArray[np.float32] = np.einsum("pd,pd->p", a, b) / np.maximum(norms, 1e-6)
    return np.where(norms < 1e-6, np.float32(1), product)


def _keys(hashes: NDArray[np.uint64]) -> Iterator[NDArray[np.uint16]]:
    """Each two of the eight bytes of every hash, [N] a pair of bytes; 16 bits are sorted by counting."""
    octets = hashes.view(np.uint8).reshape(-1, 8).T.astype(np.uint16)
    for one, other in itertools.combinations(range(8), 2):
        yield octets[one] << np.uint16(8) | octets[other]


def _side_by_side(
    hashes: NDArray[np.uint64], keys: NDArray[np.uint16], radius: int
) -> Iterator[NDArray[np.int64]]:
    """Pairs [P, 2] within `radius` among the hashes that have the same key."""
    order = np.argsort(keys, kind="stable")
    keys, hashes = keys[order], hashes[order]
    first = np.flatnonzero(keys[:-1] == keys[1:])
    for step in itertools.count(1):
        near = first[np.bitwise_count(hashes[first] ^ hashes[first + step]) <= radius]
        if len(near):
            yield np.sort(np.stack([order[near], order[near + step]], 1), axis=1)
        first = first[: np.searchsorted(first, len(keys) - step - 1)]
        first = first[keys[first] == keys[first + step + 1]]
        if not len(first):
            return


def _rows(near: NDArray[np.int64], row_of: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Pairs of rows from pairs of distinct hashes; row_of: each row's hash, counts: each hash's rows."""
    order = np.argsort(row_of, kind="stable")
    ends = np.cumsum(counts)

    def rows(one: int) -> NDArray[np.int64]:
        return order[ends[one] - counts[one] : ends[one]]

    found = [_among(rows(a)) if a == b else _between(rows(a), rows(b)) for a, b in near.tolist()]
    return np.unique(np.concatenate([np.empty((0, 2), np.int64), *found]), axis=0)


def _among(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Each two of the rows; so many that it would fill the memory are only paired with their first."""
    if len(rows) > _MOST_EQUAL:
        return _between(rows[:1], rows[1:])
    return rows[np.stack(np.triu_indices(len(rows), 1), 1)]


def _between(some: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.int64]:
    found = np.stack([np.repeat(some, len(others)), np.tile(others, len(some))], 1)
    return np.sort(found, axis=1)


def _parts(found: NDArray[np.int64], size: int = 10_000) -> Iterator[NDArray[np.int64]]:
    return (found[start : start + size] for start in range(0, len(found), size))
