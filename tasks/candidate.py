"""A candidate: the ONNX file that may become a version, from export to its test answers.

From here on only the file itself is asked, by onnxruntime. Knows files and stages; knows nothing
about the registry or about who is champion.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export import onnx as graphs
from export.backbone import ARCHITECTURES
from export.verify import parity
from pawloop import durable
from pawloop.card import SELF_TEST_COUNT, Variant, self_test_images
from pawloop.errors import ExportError
from pawloop.image import Resize, decode
from pawloop.problem import Problem
from pawloop.session import Session
from tasks.answer import answers, log_probabilities
from tasks.calibrate import fit_temperature
from tasks.evaluate import Evaluation, evaluate
from tasks.gate import PARITY
from tasks.manifest import Dataset, Photo
from tasks.provenance import code_version
from tasks.train import Trained
from tasks.weights import NETWORK_FILE

MODEL_FILE = "model.onnx"
_PARITY_PHOTOS = 64
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Candidate:
    """A folder with `model.onnx`, and what is known of it. parity: largest difference from PyTorch."""

    folder: Path
    rule: Resize
    parity: float

    @property
    def model(self) -> Path:
        """The float32 file."""
        return self.folder / MODEL_FILE


@dataclass(frozen=True)
class Judged:
    """A model's answers to one side's photos, on disk, and what they amount to."""

    answers: Path
    evaluation: Evaluation

    @property
    def probabilities(self) -> NDArray[np.float32]:
        """[N, C], in the order of the dataset's photos of that side."""
        return self._array("probabilities")

    @property
    def labels(self) -> NDArray[np.int64]:
        """[N] true classes."""
        return self._array("labels")

    def _array(self, name: str) -> NDArray[Any]:  # Any: floats or whole numbers, by name
        with np.load(self.answers) as arrays:
            array: NDArray[Any] = arrays[name]
            return array


def export(trained: Trained, dataset: Dataset, problem: Problem, run: Path) -> Candidate:
    """Write the trained network as ONNX and hold it to PyTorch on real photos.

    Raises ExportError when a probability differs by more than 1e-4.
    """
    recipe, network = trained.recipe, trained.network()
    architecture, rule = ARCHITECTURES[recipe.backbone], Resize(recipe.image_size, recipe.crop)
    graph = graphs.extractor(network, architecture, recipe.image_size)
    head = network.head
    model = graphs.classifier(graph, head.weight.detach().numpy(), head.bias.detach().numpy())
    graphs.set_metadata(model, _metadata(trained, dataset, problem, run.name))
    folder = run / "candidate"
    graphs.save(model, folder / MODEL_FILE)
    durable.write_bytes(folder / NETWORK_FILE, (trained.folder / NETWORK_FILE).read_bytes())
    photos = dataset.photos("validation")[:_PARITY_PHOTOS]
    images = np.stack([decode(dataset.read(photo), rule) for photo in photos])
    difference = parity(network, architecture, Session(folder / MODEL_FILE), images)
    if difference > PARITY:
        raise ExportError(
            f"{folder / MODEL_FILE}: differs from PyTorch by {difference:.1e} in a probability, "
            f"{PARITY:g} is the most allowed; keep the run's folder and report it"
        )
    return Candidate(folder, rule, difference)


def calibrate(
    candidate: Candidate,
    dataset: Dataset,
    classes: tuple[str, ...],
    on_progress: Progress | None = None,
) -> Variant:
    """Fit the temperature on the file's own answers to validation photos and write it into the file."""
    model = graphs.load(candidate.model)
    graphs.set_temperature(model, 1.0)
    graphs.save(model, candidate.model)
    photos = dataset.photos("validation")
    probabilities = answers(candidate.model, candidate.rule, dataset, photos, on_progress)
    temperature = fit_temperature(log_probabilities(probabilities), labels_of(photos, classes))
    graphs.set_temperature(model, temperature)
    graphs.save(model, candidate.model)
    session = Session(candidate.model, provider="cpu")
    images = self_test_images(candidate.rule.size)[:SELF_TEST_COUNT]
    return Variant(
        file=MODEL_FILE,
        admitted=True,
        temperature=temperature,
        bytes=candidate.model.stat().st_size,
        self_test=session.run(images, ["probabilities"])["probabilities"].tolist(),
    )


def judged(
    model: Path,
    rule: Resize,
    dataset: Dataset,
    problem: Problem,
    out: Path,
    on_progress: Progress | None = None,
) -> Judged:
    """A model file's answers to the test photos, judged and kept as `out` (.npz)."""
    photos = dataset.photos("test")
    labels = labels_of(photos, problem.classes)
    probabilities = answers(model, rule, dataset, photos, on_progress)
    buffer = io.BytesIO()
    np.savez(buffer, probabilities=probabilities, labels=labels, photos=[p.id for p in photos])
    durable.write_bytes(out, buffer.getvalue())
    return Judged(out, evaluate(probabilities, labels, problem.classes, problem.costs))


def labels_of(photos: list[Photo], classes: tuple[str, ...]) -> NDArray[np.int64]:
    """[N] each photo's class as its place among the classes."""
    place = {name: index for index, name in enumerate(classes)}
    return np.array([place[photo.label] for photo in photos], np.int64)


def _metadata(trained: Trained, dataset: Dataset, problem: Problem, run: str) -> dict[str, str]:
    recipe = trained.recipe
    return {
        "name": problem.name,
        # The run, not the registry's number: that is given after judging, and the file judged is the
        # file released, byte for byte.
        "version": run,
        "classes": json.dumps(list(problem.classes), ensure_ascii=False),
        "image_size": str(recipe.image_size),
        "resize": str(Resize(recipe.image_size, recipe.crop)),
        "crop": f"{recipe.crop:g}",
        "decision_costs": json.dumps({"mistake": problem.costs.mistake, "ask": problem.costs.ask}),
        "dataset": dataset.id,
        "code_version": code_version(),
        "backbone": recipe.backbone,
    }
