"""Numbers of a model against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from pawloop.decision import Costs
from tasks.answer import Answers
from tasks.evaluate import evaluate, wilson

COSTS = Costs(((0.0, 1.0), (4.0, 0.0)), ask=0.3)
PROBABILITIES = np.array([[0.9, 0.1], [0.6, 0.4], [0.05, 0.95], [0.99, 0.01]], np.float32)
LABELS = np.array([0, 0, 1, 1])


def test_accuracy_confusion_and_recall_count_every_label() -> None:
    found = evaluate(Answers.of(PROBABILITIES), LABELS, ("cat", "dog"), COSTS)
    assert found.accuracy == 0.75
    assert found.confusion == [[2, 0], [1, 1]]
    assert found.classes["dog"].recall == 0.5
    assert found.balanced_accuracy == 0.75


def test_expected_cost_is_that_of_the_decisions_also_of_questions() -> None:
    found = evaluate(Answers.of(PROBABILITIES), LABELS, ("cat", "dog"), COSTS)
    # Answers: ask (4 x 0.1 is dearer), ask, dog, cat though it is a dog.
    assert found.abstained == 0.5
    assert found.expected_cost == pytest.approx((0.3 + 0.3 + 0.0 + 4.0) / 4)


def test_another_cost_matrix_changes_no_probability_based_number() -> None:
    dear = evaluate(Answers.of(PROBABILITIES), LABELS, ("cat", "dog"), COSTS)
    even = evaluate(Answers.of(PROBABILITIES), LABELS, ("cat", "dog"), Costs(((0.0, 1.0), (1.0, 0.0)), 0.3))
    assert (dear.log_loss, dear.brier, dear.ece) == (even.log_loss, even.brier, even.ece)
    assert dear.expected_cost != even.expected_cost


def test_wilsons_interval_has_a_width_without_a_mistake() -> None:
    low, high = wilson(100, 100)
    assert low == pytest.approx(0.963, abs=1e-3)
    assert high == pytest.approx(1.0)


def test_chance_alone_explains_the_calibration_error_of_a_calibrated_model() -> None:
    explained = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        confidence = rng.uniform(0.5, 1.0, 300)
        labels = (rng.random(300) > confidence).astype(int)
        found = evaluate(Answers.of(np.c_[confidence, 1 - confidence]), labels, ("cat", "dog"), COSTS)
        explained += found.ece < found.ece_by_chance
    assert explained >= 16  # 19 expected
