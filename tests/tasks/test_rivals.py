"""Whom a challenger is compared with, and when it becomes the one to beat."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pawloop.decision import Costs
from tasks.answer import Answers, save
from tasks.rivals import Rivals

COSTS = Costs(((0.0, 1.0), (1.0, 0.0)), ask=0.5)
LABELS = np.array([0, 0, 1, 1])


def told(*answered: int) -> Answers:
    return Answers.of(np.where(np.eye(2)[list(answered)] > 0, 0.9, 0.1))


def kept(folder: Path, answers: Answers) -> Path:
    path = folder / "rival.npz"
    save(path, answers, labels=LABELS, seen=np.zeros(4, np.bool_))
    return path


def test_the_first_model_is_the_anchor() -> None:
    assert Rivals().is_best(told(0, 0, 0, 0), COSTS)


def test_only_a_better_model_becomes_the_anchor(tmp_path: Path) -> None:
    path = kept(tmp_path, told(0, 0, 1, 0))
    rivals = Rivals({"champion (version 1)": path}, [], path)
    assert rivals.is_best(told(0, 0, 1, 1), COSTS)
    assert not rivals.is_best(told(0, 0, 1, 0), COSTS)
    assert not rivals.is_best(told(1, 0, 1, 0), COSTS)
    assert rivals.accuracies() == {"champion (version 1)": 0.75}
