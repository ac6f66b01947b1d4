"""Numbers of a model against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from pawloop.decision import Costs
from tasks.answer import Answers
from tasks.evaluate import evaluate

COSTS = Costs(((0.0, 1.0), (4.0, 0.0)), ask=0.3)
EVEN = Costs(((0.0, 1.0), (1.0, 0.0)), ask=0.3)
PROBABILITIES = np.array([[0.9, 0.1], [0.6, 0.4], [0.05, 0.95], [0.99, 0.01]], np.float32)
LABELS = np.array([0, 0, 1, 1])


def test_accuracy_confusion_and_recall_count_every_label() -> None:
    found = evaluate(Answers.of(PROBABILITIES), LABELS, ("cat", "dog"), EVEN)
    assert found.accuracy == 0.75
    assert found.confusion == [[2, 0], [1, 1]]
    assert found.classes["dog"].recall == 0.5
    assert found.balanced_accuracy == 0.75


def test_accuracy_confusion_and_recall_are_of_the_labels_that_the_server_gives() -> None:
    found = evaluate(Answers.of(PROBABILITIES), LABELS, ("cat", "dog"), COSTS)
    # By 0.6 it is a cat, but calling a dog one is four times as dear.
    assert found.confusion == [[1, 1], [1, 1]]
    assert found.accuracy == found.classes["cat"].recall == found.classes["cat"].precision == 0.5
    assert found.ece == evaluate(Answers.of(PROBABILITIES), LABELS, ("cat", "dog"), EVEN).ece


def test_intervals_of_log_loss_and_brier_cover_where_a_mistake_is_rare_and_sure() -> None:
    rng, sure, true = np.random.default_rng(0), 0.999, 0.99
    rows = np.array([[sure, 1 - sure], [1 - sure, sure]], np.float32)
    loss = -true * np.log(sure) - (1 - true) * np.log(1 - sure)
    brier = 2 * (true * (1 - sure) ** 2 + (1 - true) * sure**2)
    covered = np.zeros(2)
    for _ in range(200):
        labels = (rng.random(80) > true).astype(int)  # eight in twenty such sets hold no mistake
        found = evaluate(Answers.of(rows[np.zeros(80, int)]), labels, ("cat", "dog"), EVEN)
        ends = ((loss, found.log_loss_interval), (brier, found.brier_interval))
        covered += [low <= value <= high for value, (low, high) in ends]
    assert (covered >= 184).all()  # 190 expected


def test_expected_cost_is_that_of_the_decisions_also_of_questions() -> None:
    found = evaluate(Answers.of(PROBABILITIES), LABELS, ("cat", "dog"), COSTS)
    # Answers: ask (4 x 0.1 is dearer), ask, dog, cat though it is a dog.
    assert found.abstained == 0.5
    assert found.expected_cost == pytest.approx((0.3 + 0.3 + 0.0 + 4.0) / 4)


def test_another_cost_matrix_changes_no_probability_based_number() -> None:
    dear = evaluate(Answers.of(PROBABILITIES), LABELS, ("cat", "dog"), COSTS)
    even = evaluate(Answers.of(PROBABILITIES), LABELS, ("cat", "dog"), EVEN)
    assert (dear.log_loss, dear.brier, dear.ece) == (even.log_loss, even.brier, even.ece)
    assert dear.expected_cost != even.expected_cost


def test_areas_are_those_that_pairs_of_photos_give_when_counted() -> None:
    found = evaluate(Answers.of(PROBABILITIES), LABELS, ("cat", "dog"), COSTS)
    # Of the four pairs of a dog and a cat, two give the dog the higher probability.
    assert found.classes["dog"].roc_auc == found.classes["cat"].roc_auc == 0.5
    # The surest dog is one; the other comes after both cats.
    assert found.classes["dog"].average_precision == pytest.approx(1 / 2 * 1 + 1 / 2 * 2 / 4)


def test_every_number_lies_in_its_interval_and_a_perfect_model_has_widths() -> None:
    perfect = evaluate(Answers.of(np.eye(2)[LABELS]), LABELS, ("cat", "dog"), COSTS)
    for found in (perfect, evaluate(Answers.of(PROBABILITIES), LABELS, ("cat", "dog"), COSTS)):
        numbers = [found.model_dump(), *(one.model_dump() for one in found.classes.values())]
        numbers += [one.model_dump() for one in found.coverage]
        for one in numbers:
            for name in [name for name in one if f"{name}_interval" in one]:
                low, high = one[f"{name}_interval"]
                assert low <= one[name] <= high, name
    assert perfect.expected_cost_interval[1] > 0.5
    assert perfect.aurc_interval[1] > 0.4
    assert perfect.classes["dog"].roc_auc_interval == pytest.approx((0.34, 1.0), abs=0.1)


def test_a_class_without_test_photos_has_no_areas_and_spoils_no_mean() -> None:
    probabilities = np.c_[PROBABILITIES, np.zeros(4)]
    costs = Costs(((0.0, 1.0, 1.0), (1.0, 0.0, 1.0), (1.0, 1.0, 0.0)), 0.3)
    found = evaluate(Answers.of(probabilities), LABELS, ("cat", "dog", "fox"), costs)
    assert found.classes["fox"].roc_auc is None
    assert found.classes["fox"].recall_interval == (0.0, 1.0)
    assert found.balanced_accuracy == 0.75


def test_chance_alone_explains_the_calibration_error_of_a_calibrated_model() -> None:
    explained = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        confidence = rng.uniform(0.5, 1.0, 300)
        labels = (rng.random(300) > confidence).astype(int)
        found = evaluate(Answers.of(np.c_[confidence, 1 - confidence]), labels, ("cat", "dog"), COSTS)
        explained += found.ece < found.ece_by_chance
    assert explained >= 16  # 19 expected
