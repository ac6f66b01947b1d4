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


def test_separable_classes_are_separated() -> None:
    embeddings, labels = blobs(90)
    tried = head.path((embeddings, labels), blobs(60, seed=1), 3)
    assert tried[0].validation_loss == min(one.validation_loss for one in tried)
    assert (tried[0].head.logits(embeddings).argmax(1) == labels).all()


def test_the_fit_is_the_same_every_time() -> None:
    embeddings, labels = blobs(90)
    assert (
        head.fit(embeddings, labels, 3, 0.01).weight == head.fit(embeddings, labels, 3, 0.01).weight
    ).all()


def test_features_in_other_units_give_the_same_answers() -> None:
    embeddings, labels = blobs(90)
    scales = np.logspace(-2, 2, 8)
    plain = head.fit(embeddings, labels, 3, 0.01).logits(embeddings)
    scaled = head.fit(embeddings * scales, labels, 3, 0.01).logits(embeddings * scales)
    assert np.allclose(plain, scaled, atol=0.05)


def test_features_that_are_no_numbers_are_an_error() -> None:
    embeddings, labels = blobs(30)
    embeddings[3, 3] = np.nan
    with pytest.raises(TrainingError, match="not a number"):
        head.fit(embeddings, labels, 3, 0.01)
