"""Time to accuracy: ours and the usual recipe on the same photos, from the same weights, on the same cores.

Each training runs in a fresh process. The clock of ours starts when training asks for its first photo, that
of the peer when it asks for its first batch; curating, building networks and judging are left out of both.
Knows trainings and clocks; knows nothing about targets or pages.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, get_args

from bench import folds, reference, stages
from bench.apart import apart
from bench.folds import Labelled
from bench.reference import Epoch, Trial
from bench.stages import Lesson, Task
from bench.took import Took
from pawloop.settings import usable_cores
from tasks.answer import answers
from tasks.extractors import Output
from tasks.manifest import Dataset, Side, labels_of
from tasks.place import path_of

_NEW: Final = 0.05


@dataclass(frozen=True)
class Point:
    """One of our trainings from its photos on: what it took, and its accuracy on held-out photos."""

    name: str
    took: Took
    accuracy: float


@dataclass
class Sprint:
    """again: with 5 % of the photos new since the last training. peers: epochs by learning rate.

    Those of ours that take a second are the median of some rounds.
    """

    photo_count: int
    held_count: int
    first: list[Point] = field(default_factory=list)
    again: list[Point] = field(default_factory=list)
    peers: dict[float, list[Epoch]] = field(default_factory=dict)

    @property
    def peer(self) -> list[Epoch]:
        """The epochs of the better rate."""
        return max(self.peers.values(), key=best)

    def targets(self) -> list[float]:
        """Accuracies to be reached, the last of them the best of the peer's."""
        top = best(self.peer)
        return [target for target in (0.9, 0.95, 0.96, 0.97, 0.975, 0.98, 0.985) if target < top] + [top]


def best(epochs: Sequence[Epoch]) -> float:
    """The highest accuracy of any epoch."""
    return max((one.accuracy for one in epochs), default=0.0)


def soonest(points: Sequence[Point | Epoch], target: float) -> Took | None:
    """What it takes until an accuracy is reached, None where it is not."""
    reached = [one.took for one in points if one.accuracy >= target]
    return min(reached, key=lambda took: took.wall_s, default=None)


@dataclass(frozen=True)
class Course:
    """What is run. each: photos of a class to learn from. epochs: of the peer, by rate.

    held: photos held out at most. rounds: of those of our trainings that take a second.
    """

    task: Task
    photos: Sequence[Labelled]
    each: int
    held: int
    weights: Path
    epochs: Mapping[float, int]
    rounds: int


def run(course: Course, place: Path, say: Callable[[str], None]) -> Sprint:
    """Ours and the peer, one after the other."""
    sides = _sides(course)
    listed = str(folds.written(sides, place / "few.csv"))
    task = replace(course.task, source=listed)
    warm = place / "warm"
    for output in get_args(Output):
        apart(stages.extractor, task, warm, output)
    dataset = stages.version(task, warm)
    known = dataset.photos("train") + dataset.photos("validation")
    found = Sprint(len(known), len(dataset.photos("test")))
    for name, one in _efforts(task).items():
        rounds = range(course.rounds if one.fine_tune == "never" else 1)
        found.first.append(_middle([_first(name, one, warm, place / f"{name} {n}") for n in rounds]))
        say(f"  ours, {name}: {found.first[-1]}")
    found.again.append(_middle([_again(task, sides, warm, place, n) for n in range(course.rounds)]))
    say(f"  ours again: {found.again[-1]}")
    learnt = samples(dataset, ("train", "validation"), task.classes)
    held = samples(dataset, ("test",), task.classes)
    for rate, epochs in course.epochs.items():
        trial = Trial(course.weights, len(task.classes), rate, epochs, workers=usable_cores())
        found.peers[rate] = apart(reference.train, learnt, held, trial)
        say(f"  the usual recipe, rate {rate:g}: {found.peers[rate]}")
    return found


def samples(dataset: Dataset, sides: Sequence[Side], classes: tuple[str, ...]) -> reference.Samples:
    """A version's photos as the peer takes them."""
    photos = [photo for side in sides for photo in dataset.photos(side)]
    return [
        (str(path_of(photo.location, dataset.store)), int(number))
        for photo, number in zip(photos, labels_of(photos, classes))
    ]


def _efforts(task: Task) -> dict[str, Task]:
    return {
        "a head on frozen features": task.frozen(views=0),
        "with an augmented view": task.frozen(),
        f"fine-tuned within {task.budget_s:g} s": replace(task, fine_tune="always"),
    }


def _sides(course: Course) -> dict[Labelled, Side]:
    sides = folds.few(course.photos, course.each)
    held = set([one for one, side in sides.items() if side == "test"][: course.held])
    return {one: side for one, side in sides.items() if side != "test" or one in held}


def _fresh(warm: Path, store: Path) -> Path:
    """A store that holds these graphs and nothing else."""
    shutil.copytree(warm / "extractors", store / "extractors")
    return store


def _middle(points: Sequence[Point]) -> Point:
    """The one of median time."""
    return sorted(points, key=lambda one: one.took.wall_s)[len(points) // 2]


def _first(name: str, task: Task, warm: Path, store: Path) -> Point:
    return Point(name, *_learnt(task, stages.version(task, _fresh(warm, store))))


def _again(task: Task, sides: dict[Labelled, Side], warm: Path, place: Path, number: int) -> Point:
    """The night before knew all but every twentieth photo to learn from."""
    store = _fresh(warm, place / f"again-{number}")
    learnt = [one for one, side in sides.items() if side != "test"]
    step = round(1 / _NEW)
    new = set(learnt[number % step :: step])
    task = task.frozen(views=0)
    before = {one: side for one, side in sides.items() if one not in new}
    old = replace(task, source=str(folds.written(before, place / f"before-{number}.csv")))
    apart(stages.learn, old, stages.version(old, store))
    return Point(f"{len(new)} new photos", *_learnt(task, stages.version(task, store)))


def _learnt(task: Task, dataset: Dataset) -> tuple[Took, float]:
    lesson = apart(stages.learn, task, dataset)
    return lesson.took, _accuracy(task, lesson, dataset)


def _accuracy(task: Task, lesson: Lesson, dataset: Dataset) -> float:
    file, rule = stages.plain(lesson, lesson.trained.folder / "plain.onnx")
    photos = dataset.photos("test")
    told = answers(file, rule, dataset, photos)
    return float((told.labels == labels_of(photos, task.classes)).mean())
