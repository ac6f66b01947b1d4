"""Accuracy, calibration and refusals over five folds, so that luck does not decide.

Every photo tests once, asked of a released file that has not seen it. Knows folds and files; knows nothing
about targets or pages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from bench import folds, reference, stages, strangers
from bench.apart import apart
from bench.folds import Labelled
from bench.reference import Epoch, Trial
from bench.sprint import samples
from bench.stages import Task
from bench.took import Took
from pawloop.settings import usable_cores
from tasks.answer import answers, log_probabilities
from tasks.intervals import Interval, wilson
from tasks.manifest import Dataset, labels_of

_TIMES: Final = 10  # as long as ours may the peer train


@dataclass(frozen=True)
class Share:
    """So many of so many."""

    part: int
    whole: int

    def __add__(self, other: Share) -> Share:
        return Share(self.part + other.part, self.whole + other.whole)

    @property
    def value(self) -> float:
        return self.part / self.whole if self.whole else float("nan")

    @property
    def interval(self) -> Interval:
        """Wilson's, 95 %."""
        return wilson(self.part, self.whole)


@dataclass(frozen=True)
class Fold:
    """One fold's answers. labels: [N], probabilities: [N, C] of the released file.

    frozen: right answers of the head on frozen features. refused: test photos called unfamiliar.
    strangers: the same of pictures of something else, by kind. took: the training with fine-tuning, by
    features that were there. before: the training without, which computed such as were not.
    """

    labels: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    frozen: Share
    refused: Share
    strangers: Mapping[str, Share]
    took: Took
    before: Took
    chosen: str

    @property
    def right(self) -> Share:
        """Right answers of the released file."""
        return _right(self.probabilities.argmax(1), self.labels)


@dataclass
class Pooled:
    """One backbone on one problem. peers: epochs of the usual recipe on the first fold's photos, by rate."""

    problem: str
    backbone: str
    folds: list[Fold] = field(default_factory=list)
    peers: dict[float, list[Epoch]] = field(default_factory=dict)

    def share(self, what: Callable[[Fold], Share]) -> Share:
        """Something of all folds together."""
        return sum((what(fold) for fold in self.folds), Share(0, 0))

    def strangers(self) -> dict[str, Share]:
        """Refused by kind, of all folds together."""
        kinds = dict.fromkeys(kind for fold in self.folds for kind in fold.strangers)
        none = Share(0, 0)
        return {kind: sum((fold.strangers.get(kind, none) for fold in self.folds), none) for kind in kinds}

    @property
    def log_loss(self) -> float:
        """Of the released files, in nats a photo."""
        return _log_loss(*self._pooled())

    @property
    def hindsight(self) -> float:
        """The same at the one temperature that would have been best on these very photos."""
        logits, labels = self._pooled()
        return _log_loss(logits / best_temperature(logits, labels), labels)

    def _pooled(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        logits = np.concatenate([log_probabilities(fold.probabilities) for fold in self.folds])
        return logits, np.concatenate([fold.labels for fold in self.folds])


def best_temperature(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """By which dividing logits [N, C] gives the lowest log-loss, found with the answers at hand."""
    found = minimize_scalar(
        lambda power: _log_loss(logits / np.exp(power), labels), bounds=(-3, 3), method="bounded"
    )
    return float(np.exp(found.x))


@dataclass(frozen=True)
class Exam:
    """What is asked. numbers: of the folds. others: pictures of something else for a fold, by kind.

    weights: of the peer, which trains on the first fold at each of `peer_rates`; None leaves it out.
    """

    name: str
    task: Task
    photos: Sequence[Labelled]
    numbers: Sequence[int]
    others: Callable[[int], Mapping[str, Sequence[bytes]]]
    weights: Path | None = None
    peer_rates: Sequence[float] = ()


def run(exam: Exam, place: Path, say: Callable[[str], None]) -> Pooled:
    """All folds, one after the other, in one store, which computes each photo's features once."""
    found = Pooled(exam.name, exam.task.backbone)
    for number in exam.numbers:
        listed = folds.written(folds.fold(exam.photos, number), place / f"{exam.name}-{number}.csv")
        task = replace(exam.task, source=str(listed))
        dataset = stages.version(task, place / "store")
        found.folds.append(_fold(exam, task, dataset, number, place))
        last = found.folds[-1]
        told = f"frozen {last.frozen.value:.4f}, released {last.right.value:.4f} ({last.chosen})"
        say(f"  fold {number}: {told}")
        if exam.weights and number == exam.numbers[0]:
            for rate in exam.peer_rates:
                found.peers[rate] = _peer(exam, exam.weights, rate, dataset, last)
                say(f"  the usual recipe at {rate:g}: {found.peers[rate]}")
    return found


def _fold(exam: Exam, task: Task, dataset: Dataset, number: int, place: Path) -> Fold:
    photos = dataset.photos("test")
    labels = labels_of(photos, task.classes)
    frozen = apart(stages.learn, task.frozen(), dataset)
    file, rule = stages.plain(frozen, frozen.trained.folder / "plain.onnx")
    right = _right(answers(file, rule, dataset, photos).labels, labels)
    lesson = apart(stages.learn, task, dataset)
    made = stages.released(task, lesson, dataset, place / f"{exam.name}-{task.backbone}-{number}")
    told = stages.asked(task, made, dataset, photos)
    return Fold(
        labels,
        told.probabilities,
        right,
        _share(told.novelty > told.threshold),
        {
            kind: _share(strangers.refused(made, contents, told.threshold))
            for kind, contents in exam.others(number).items()
        },
        lesson.took,
        frozen.took,
        f"{lesson.trained.story['candidates'][0]['name']}, {lesson.trained.net.name}",
    )


def _peer(exam: Exam, weights: Path, rate: float, dataset: Dataset, fold: Fold) -> list[Epoch]:
    """The usual recipe on the same photos, for ten times the time of ours, with features."""
    classes, ours_s = exam.task.classes, fold.before.wall_s + fold.took.wall_s
    trial = Trial(weights, len(classes), rate, 1000, _TIMES * ours_s, workers=usable_cores())
    learnt = samples(dataset, ("train", "validation"), classes)
    return apart(reference.train, learnt, samples(dataset, ("test",), classes), trial)


def _right(answered: NDArray[np.integer], labels: NDArray[np.integer]) -> Share:
    return _share(answered == labels)


def _share(is_so: NDArray[np.bool_]) -> Share:
    return Share(int(is_so.sum()), len(is_so))


def _log_loss(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    return float(-log_softmax(logits, axis=1)[np.arange(len(labels)), labels].mean())
