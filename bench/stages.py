"""Pawloop's stages in a row, without Prefect: listed photos to a version, a training and a released file.

Knows the order of the stages and what they took. Knows nothing about targets or peers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from bench.took import Clock, Took
from export import onnx as graphs
from pawloop.image import CropMode, Resize
from pawloop.problem import Problem
from pawloop.sections import Backbone
from tasks import candidate, variants
from tasks.answer import Answers, answers
from tasks.candidate import Candidate
from tasks.collect import collect
from tasks.curate import curate
from tasks.extractors import Output, frozen_extractor
from tasks.features import Extractor
from tasks.manifest import Dataset, Photo
from tasks.provenance import code_version
from tasks.recipe import plan
from tasks.split import split
from tasks.train import Trained, train
from tasks.weights import pretrained_all


@dataclass(frozen=True)
class Task:
    """A problem to be learnt: which photos, by which backbone, with how much effort.

    source: a list of photos, or any other source. init: where the backbone's weights are from. size: of the
    input in pixels; sizes: tried beside it. crop_modes: how photos may be cut.
    """

    classes: tuple[str, ...]
    source: str
    backbone: Backbone
    init: str = "imagenet"
    fine_tune: Literal["auto", "always", "never"] = "auto"
    budget_s: float = 60.0
    views: int = 1
    size: int = 224
    sizes: tuple[int, ...] = ()
    crop_modes: tuple[CropMode, ...] = get_args(CropMode)

    @property
    def problem(self) -> Problem:
        """As a problem file would have it."""
        value = {
            "name": "bench",
            "classes": self.classes,
            "data": {"sources": [self.source]},
            "model": {"backbone": self.backbone, "init": self.init, "image_size": self.size},
            "train": {
                "fine_tune": self.fine_tune,
                "budget_s": self.budget_s,
                "views": self.views,
                "image_sizes": self.sizes,
                "crop_modes": self.crop_modes,
            },
        }
        return Problem.model_validate(value)

    def frozen(self, views: int = 1) -> Task:
        """The same with a head on frozen features alone, of plain photos and so many augmented views.

        Of the centre square alone.
        """
        return replace(self, fine_tune="never", views=views, sizes=(), crop_modes=("center",))


@dataclass(frozen=True)
class Lesson:
    """A training, and what it took from its first photo on."""

    trained: Trained
    took: Took


def version(task: Task, store: Path) -> Dataset:
    """Collected, curated and split."""
    problem = task.problem
    return split(curate(collect(problem, store).path, problem, store).path, problem, store)


def learn(task: Task, dataset: Dataset) -> Lesson:
    """Train; reading the pretrained weights is left out of the clock."""
    problem = task.problem
    weights = pretrained_all(problem, dataset.store)[:1]
    recipe = plan(problem, weights, seed=0)
    key = recipe.key(dataset, code_version())
    clock = Clock()
    trained = train(dataset, recipe, weights, key)
    return Lesson(trained, clock.took())


def extractor(task: Task, store: Path, output: Output = "embedding") -> Extractor:
    """The graph that its features come from, built unless it is there."""
    weights = pretrained_all(task.problem, store)[0]
    net = plan(task.problem, [weights], seed=0).nets[0]
    return frozen_extractor(net, net.network(weights, len(task.classes), 0), output, store)


def released(task: Task, lesson: Lesson, dataset: Dataset, folder: Path) -> Candidate:
    """The files that would be served: exported, their temperature and novelty fitted."""
    found = candidate.export(lesson.trained, dataset, task.problem, folder)
    variants.calibrate(found, dataset, task.problem, lambda *_: None)
    return found


def plain(lesson: Lesson, path: Path) -> tuple[Path, Resize]:
    """The trained network as a file without temperature or novelty, and its rule: all that accuracy needs."""
    network, net = lesson.trained.network(), lesson.trained.net
    graph = graphs.extractor(network, net.architecture, net.image_size)
    head = network.head
    graphs.save(graphs.classifier(graph, head.weight.detach().numpy(), head.bias.detach().numpy()), path)
    return path, net.rule


def asked(task: Task, made: Candidate, dataset: Dataset, photos: list[Photo]) -> Answers:
    """What the released float32 file says of photos."""
    return answers(made.model("float32"), made.rule, dataset, photos, task.problem.cost.unfamiliar)
