"""The linear head."""

from __future__ import annotations

import numpy as np
import pytest

from pawloop.errors import TrainingError
from tasks import head


def blobs(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    return rng.normal(0, 1, (count, 8)) + 6 * np.eye(3, 8)[labels], labels


def fitted(embeddings: np.ndarray, labels: np.ndarray) -> head.Head:
    return head.Fitting(embeddings, labels, 3).fit(0.01)


def test_separable_classes_are_separated() -> None:
    embeddings, labels = blobs(90)
    tried = head.path((embeddings, labels), blobs(60, seed=1), 3)
    assert tried[0].validation_loss == min(one.validation_loss for one in tried)
    assert (tried[0].head.logits(embeddings).argmax(1) == labels).all()


def test_the_fit_is_the_same_every_time() -> None:
    embeddings, labels = blobs(90)
    assert (fitted(embeddings, labels).weight == fitted(embeddings, labels).weight).all()


def test_a_fit_that_begins_at_another_ends_where_one_from_zero_does() -> None:
    embeddings, labels = blobs(90)
    fitting = head.Fitting(embeddings, labels, 3)
    fitting.fit(0.3)
    warm, cold = fitting.fit(0.01).logits(embeddings), fitted(embeddings, labels).logits(embeddings)
    assert np.allclose(warm, cold, atol=0.01)


def test_weaker_penalties_are_left_out_once_one_is_worse() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(60, 40)), rng.integers(0, 2, 60)
    told: list[tuple[int, int]] = []
    tried = head.path(
        noise, (rng.normal(size=(60, 40)), rng.integers(0, 2, 60)), 2, on_fit=lambda *of: told.append(of)
    )
    assert {one.head.l2 for one in tried} == {0.3, 0.1}
    assert told == [(1, len(head.L2_TRIED)), (2, 2)]


def test_features_in_other_units_give_the_same_answers() -> None:
    embeddings, labels = blobs(90)
    scales = np.logspace(-2, 2, 8)
    plain = fitted(embeddings, labels).logits(embeddings)
    scaled = fitted(embeddings * scales, labels).logits(embeddings * scales)
    assert np.allclose(plain, scaled, atol=0.05)


def test_features_that_are_no_numbers_are_an_error() -> None:
    embeddings, labels = blobs(30)
    embeddings[3, 3] = np.nan
    with pytest.raises(TrainingError, match="not a number"):
        fitted(embeddings, labels)
