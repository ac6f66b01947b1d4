"""Temperature scaling."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax

from tasks.calibrate import fit_temperature


def drawn(count: int, temperature: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits and labels of a model whose right temperature is known."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (count, 3))
    chances = softmax(logits / temperature, axis=1)
    labels = np.array([rng.choice(3, p=row) for row in chances])
    return logits, labels


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_that_made_the_labels_is_found(temperature: float) -> None:
    logits, labels = drawn(3000, temperature)
    assert fit_temperature(logits, labels) == pytest.approx(temperature, rel=0.15)


def test_a_side_without_a_mistake_does_not_ask_for_certainty() -> None:
    logits = np.array([[4.0, 0.0], [0.0, 4.0]] * 20)
    labels = np.array([0, 1] * 20)
    assert fit_temperature(logits, labels) > 0.2


def test_a_constant_added_to_a_row_changes_nothing() -> None:
    logits, labels = drawn(200, 1.5)
    moved = logits + np.arange(200)[:, None]
    assert fit_temperature(moved, labels) == pytest.approx(fit_temperature(logits, labels), rel=1e-4)
