"""Slices: what the photos are cut by, and that a model which fails one kind of photo is seen."""

from __future__ import annotations

import numpy as np
import pytest

from pawloop.decision import Costs
from tasks.answer import Answers
from tasks.manifest import STATISTICS, Photo
from tasks.mistakes import worst, worst_in_slices
from tasks.slices import sliced, slices

COSTS = Costs(((0.0, 1.0), (1.0, 0.0)), ask=0.5)
COUNT = 90


def photo(number: int) -> Photo:
    """Every other a dog; the first third small and from the web, all else alike."""
    is_small = number < COUNT // 3
    side, source = (50, "web") if is_small else (200 + number, "own")
    statistics = {name: float(number) for name in STATISTICS}
    return Photo(str(number), "", "", "cd"[number % 2], "test", source, side, side, statistics)


PHOTOS = [photo(number) for number in range(COUNT)]
LABELS = np.arange(COUNT) % 2


def answers(wrong: int) -> Answers:
    """The first photos are answered wrongly, the very first most surely."""
    answered = np.where(np.arange(COUNT) < wrong, 1 - LABELS, LABELS)
    sure = np.linspace(0.99, 0.9, COUNT)[:, None]
    return Answers.of(np.where(np.eye(2)[answered] > 0, sure, 1 - sure))


def test_photos_are_cut_by_class_source_size_and_statistics() -> None:
    found = slices(PHOTOS)
    assert {"label = c", "source = web", "low pixels", "high colourfulness", "low sharpness"} <= set(found)
    assert found["source = web"].sum() == 30
    assert found["low pixels"].tolist() == found["source = web"].tolist()


def test_what_all_photos_share_is_no_slice() -> None:
    same = [Photo("0", "", "", "c", "test", "own", 9, 9, dict.fromkeys(STATISTICS, 1.0))] * 5
    assert slices(same) == {}


def test_the_few_photos_beyond_a_size_that_most_share_are_a_slice() -> None:
    sizes = [200] * 80 + [400] * 10
    some = [Photo("0", "", "", "c", "test", "own", side, side, PHOTOS[0].statistics) for side in sizes]
    found = slices(some)
    assert found["high pixels"].tolist() == [side == 400 for side in sizes]
    assert "low pixels" not in found


def test_a_model_that_fails_small_photos_is_seen() -> None:
    found = sliced(answers(wrong=10), LABELS, slices(PHOTOS), COSTS)
    low_pixels = next(one for one in found if one.name == "low pixels")
    assert found[0].accuracy == low_pixels.accuracy == pytest.approx(20 / 30)
    assert low_pixels.expected_cost == pytest.approx(10 / 30)
    assert low_pixels.is_worse
    assert not next(one for one in found if one.name == "label = c").is_worse


def test_worst_mistakes_are_the_surest_ones() -> None:
    some = answers(wrong=5)
    assert worst(some, some.labels, LABELS, 3) == [0, 1, 2]
    none = answers(wrong=0)
    assert worst(none, none.labels, LABELS, 3) == []


def test_a_slice_without_a_mistake_shows_none() -> None:
    told, rows = answers(wrong=5), slices(PHOTOS)
    shown = worst_in_slices(told, told.labels, LABELS, rows, sliced(told, LABELS, rows, COSTS), each=2)
    assert shown["source = web"] == [0, 1]
    assert "source = own" not in shown
