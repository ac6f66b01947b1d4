"""The absolute bars: each can refuse, and says what was asked and what it got."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pawloop.card import Bar
from pawloop.decision import Costs
from pawloop.sections import Gate
from tasks.answer import Answers
from tasks.bars import FileFacts, absolute, recall
from tasks.evaluate import Evaluation, PerClass, evaluate
from tasks.gate import Challenger, judge

CLASSES = ("cat", "dog", "fox")
COSTS = Costs(((0.0, 1.0, 1.0), (1.0, 0.0, 1.0), (1.0, 1.0, 0.0)), ask=0.5)
LABELS = np.repeat([0, 1, 2], [60, 60, 3])
FINE = FileFacts(parity=1e-6, megabytes=14.0, latency_ms=6.0, champion_ms=5.0)


def told(answered: NDArray[np.int64]) -> Answers:
    """Confident answers."""
    return Answers.of(np.where(np.eye(3)[answered] > 0, 0.98, 0.01))


def judged(answered: NDArray[np.int64] = LABELS) -> Evaluation:
    return evaluate(told(answered), LABELS, CLASSES, COSTS)


GOOD = judged()


def judged_of(classes: dict[str, PerClass]) -> Evaluation:
    return GOOD.model_copy(update={"classes": classes})


def failed(bars: list[Bar]) -> list[str]:
    return [bar.name for bar in bars if bar.passed is False]


def test_a_good_model_passes_every_bar_that_is_asked_for() -> None:
    asked = Gate(maximum_expected_cost=0.1, maximum_log_loss=0.1, maximum_megabytes=20)
    bars = absolute(judged(), FINE, asked)
    assert failed(bars) == []
    assert len(bars) == 7


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ({"maximum_log_loss": 0.01}, "log-loss"),
        ({"maximum_megabytes": 13}, "size of the file"),
        ({"maximum_latency_ratio": 1.1}, "latency against the champion"),
        ({"parity": 1e-7}, "parity with PyTorch"),
    ],
)
def test_each_bar_can_refuse(asked: dict[str, Any], name: str) -> None:
    assert failed(absolute(judged(), FINE, Gate(**asked))) == [name]


def test_a_bound_on_cost_refuses_a_model_whose_mistakes_are_dear() -> None:
    answered = LABELS.copy()
    answered[:12] = 1
    assert failed(absolute(judged(answered), FINE, Gate(maximum_expected_cost=0.05))) == ["expected cost"]


def test_a_file_that_is_not_a_number_away_from_pytorch_fails() -> None:
    assert failed(absolute(judged(), FileFacts(float("nan"), 14.0), Gate())) == ["parity with PyTorch"]


def test_a_first_model_has_no_champion_to_be_slower_than() -> None:
    names = [bar.name for bar in absolute(judged(), FileFacts(0.0, 14.0), Gate())]
    assert names == ["accuracy", "recall of each class", "parity with PyTorch"]


def test_a_class_whose_photos_are_never_answered_right_promotes_nothing() -> None:
    answered = LABELS.copy()
    answered[LABELS == 2] = 0  # three photos, wrongly labelled say: 97.6 % are still right
    challenger = Challenger(told(answered), judged(answered), FINE)
    verdict = judge(challenger, LABELS, [], {}, COSTS, Gate(minimum_accuracy=0.9))
    assert verdict.outcome == "refuse"
    assert verdict.summary == "refused: recall of fox"
    [bar] = [bar for bar in verdict.bars if bar.passed is False]
    assert bar.got == "fox 0.000, at most 0.474 (3 photos)"


def test_two_photos_of_a_class_are_too_few_to_refuse_by() -> None:
    labels = LABELS[:-1]
    answered = np.where(labels == 2, 0, labels)
    found = evaluate(told(answered), labels, CLASSES, COSTS)
    assert failed(absolute(found, FINE, Gate())) == []


def test_a_class_without_a_test_photo_is_not_judged() -> None:
    labels = LABELS[:-3]
    assert failed(absolute(evaluate(told(labels), labels, CLASSES, COSTS), FINE, Gate())) == []


@pytest.mark.parametrize(("count", "photos", "right"), [(37, 4, 0.7), (100, 4, 0.8), (100, 8, 0.7)])
def test_of_many_classes_the_unluckiest_refuses_in_at_most_one_night_in_twenty(
    count: int, photos: int, right: float
) -> None:
    rng = np.random.default_rng(0)
    one, refused = GOOD.classes["cat"], 0
    for _ in range(200):
        found = rng.binomial(photos, right, size=count)
        update = {
            str(n): one.model_copy(update={"recall": k / photos, "count": photos})
            for n, k in enumerate(found)
        }
        night = judged_of(update).model_copy(update={"accuracy": found.mean() / photos})
        refused += recall(night, 0.5).passed is False
    assert refused <= 10


def test_equally_good_classes_are_refused_in_at_most_one_night_in_a_hundred() -> None:
    rng = np.random.default_rng(0)
    one, refused = GOOD.classes["cat"], 0
    for _ in range(500):
        right = rng.binomial(6, 0.9, size=10)  # ten classes of six test photos
        classes = {str(n): one.model_copy(update={"recall": k / 6, "count": 6}) for n, k in enumerate(right)}
        refused += recall(judged_of(classes), 0.5).passed is False
    assert refused <= 5
