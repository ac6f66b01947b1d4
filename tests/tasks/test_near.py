"""Near duplicates: the same answer as comparing every pair."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from tasks.measure import measure
from tasks.near import alike, likeness, pairs
from tasks.verdict import stepped_aside
from tests.tasks.albums import photo, picture
from tests.tasks.test_tags import opened

bits = st.integers(0, 2**64 - 1)


def every_pair(hashes: NDArray[np.uint64], radius: int) -> list[tuple[int, int]]:
    near = np.bitwise_count(hashes[:, None] ^ hashes[None]) <= radius
    return [(a, b) for a, b in np.argwhere(np.triu(near, 1)).tolist()]


flipped_bits = st.tuples(st.integers(0, 99), st.sets(st.integers(0, 63), max_size=8))


@settings(max_examples=60, deadline=None)
@given(st.lists(bits, max_size=30), st.lists(flipped_bits, max_size=30), st.integers(0, 6))
def test_pairs_are_those_that_comparing_all_would_find(
    originals: list[int], flips: list[tuple[int, set[int]]], radius: int
) -> None:
    values = list(originals)
    for which, flipped in flips if originals else []:
        values.append(originals[which % len(originals)] ^ sum(1 << bit for bit in flipped))
    hashes = np.array(values, np.uint64)

    assert [tuple(pair) for pair in pairs(hashes, radius).tolist()] == every_pair(hashes, radius)


@pytest.mark.parametrize("radius", [-1, 7])
def test_a_radius_that_cannot_be_covered_is_refused(radius: int) -> None:
    with pytest.raises(ValueError, match="not within 0 to 6 bits"):
        pairs(np.zeros(2, np.uint64), radius)


@pytest.mark.parametrize("change", ["smaller", "recompressed", "cropped"])
def test_a_changed_copy_is_a_twin_and_another_photo_is_not(change: str) -> None:
    original = opened(photo(1, (256, 192)))
    copies = {
        "smaller": original.resize((180, 135)),
        "recompressed": opened(photo(1, (256, 192), quality=40)),
        "cropped": original.crop((2, 2, 253, 190)),
    }
    looks = measure([photo(1, (256, 192)), png(copies[change]), png(picture(2, (256, 192)))])

    assert [0, 1] in pairs(looks.numbers["hash"], 6).tolist()
    assert alike(looks.thumbs[0], looks.thumbs).tolist() == [True, True, False]


def test_flat_thumbnails_are_alike() -> None:
    flat = np.zeros((1, 256), np.uint8)

    assert likeness(flat, flat).tolist() == [1.0]


def test_bridging_twins_take_nobody_else_with_them() -> None:
    same = np.arange(256, dtype=np.uint8)[None].repeat(3, 0)
    assert stepped_aside(np.array([(0, 1), (1, 2)]), same) == [(1, 0)]  # 2 is like 1 only, and 1 has gone
    assert stepped_aside(np.array([(0, 1), (1, 2), (0, 2)]), same) == [(1, 0), (2, 0)]
    assert stepped_aside(np.empty((0, 2), np.int64), same) == []


def test_rows_that_are_near_and_not_alike_both_stay() -> None:
    thumbs = np.stack([np.arange(256), np.arange(256)[::-1], np.arange(256)]).astype(np.uint8)
    assert stepped_aside(np.array([(0, 1), (0, 2), (1, 2)]), thumbs) == [(2, 0)]


def png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()
