"""A candidate's files made ready to serve and judged: temperature, novelty, admission, test answers.

Every number here is onnxruntime's from the very file. Knows files and photos; knows nothing about the
registry or about who is champion.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export import onnx as graphs
from pawloop import durable
from pawloop.card import Precision, Variant, self_test_images
from pawloop.decision import incurred
from pawloop.errors import ExportError
from pawloop.problem import Problem
from pawloop.session import Session
from tasks import familiar
from tasks.answer import Answers, answers, kept, load, log_probabilities, outputs, save
from tasks.calibrate import fit_temperature
from tasks.candidate import FILES, Candidate, calibrated, keep_calibrated
from tasks.evaluate import Evaluation, evaluate, largest_cost
from tasks.familiar import Bank
from tasks.manifest import Dataset, Photo, labels_of
from tasks.mistakes import worst
from tasks.occlusion import Occlusion, occlusions
from tasks.paired import by_group, upper_bound
from tasks.robustness import Robustness, robustness
from tasks.slices import Slice, sliced, slices

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Judged:
    """A file's answers to the test photos, on disk, and what they amount to.

    slices, robustness, occlusions: of float32 alone, since they cost time.
    """

    path: Path
    evaluation: Evaluation
    slices: list[Slice] = field(default_factory=list)
    robustness: Robustness | None = None
    occlusions: list[Occlusion] = field(default_factory=list)

    def metrics(self) -> dict[str, Any]:  # Any: numbers, intervals and tables as JSON
        """All numbers as the model card holds them."""
        numbers = self.evaluation.for_card()
        if self.slices:
            numbers["slices"] = [one.model_dump(mode="json") for one in self.slices]
        if self.robustness:
            numbers["robustness"] = self.robustness.model_dump(mode="json")
        return numbers

    def answers(self) -> Answers:
        """In the order of the dataset's test photos."""
        return load(self.path)[0]

    def labels(self) -> NDArray[np.int64]:
        """[N] true classes."""
        return load(self.path)[1]["labels"].astype(np.int64)


def calibrate(
    candidate: Candidate, dataset: Dataset, problem: Problem, on_progress: Progress
) -> dict[Precision, Variant]:
    """Fit each file's temperature and novelty on its own answers, and admit int8 where it is as good.

    Both are written into the files, once: what a killed run finished is found again. int8 is admitted when
    on validation photos the 95 % bound of its extra cost against float32 is within the problem's margin.
    """
    known = calibrated(candidate.folder.parent)
    if known:
        return known.variants
    bank = _bank(candidate, dataset, on_progress)
    reference, float32 = _calibrated("float32", candidate, dataset, problem, bank, on_progress)
    told, int8 = _calibrated("int8", candidate, dataset, problem, bank, on_progress)
    labels = labels_of(dataset.photos("validation"), problem.classes)
    dearer = [incurred(labels, one.decide(problem.costs), problem.costs) for one in (told, reference)]
    extra, each = by_group(dearer[0] - dearer[1], dataset.groups("validation"))
    bound = upper_bound(extra, each * largest_cost(problem.costs))
    if bound > problem.gate.margin:
        reason = f"its extra cost may reach {bound:.4f} on validation photos, more than the margin"
        int8 = int8.model_copy(update={"admitted": False, "reason": reason})
    variants: dict[Precision, Variant] = {"float32": float32, "int8": int8}
    keep_calibrated(candidate, variants)
    return variants


def judge(
    candidate: Candidate,
    variants: Mapping[Precision, Variant],
    dataset: Dataset,
    problem: Problem,
    on_progress: Progress,
) -> dict[Precision, Judged]:
    """Each file's answers to the test photos, judged and kept in the run's folder.

    What a killed run left there is not asked again. Raises ExportError for a file whose answers are not
    numbers.
    """
    found: dict[Precision, Judged] = {}
    for precision in variants:
        path = kept(candidate.folder.parent, precision)
        if not path.exists():
            _ask(precision, candidate, dataset, problem, path, on_progress)
        told, columns = load(path)
        labels = columns["labels"].astype(np.int64)
        found[precision] = Judged(path, evaluate(told, labels, problem.classes, problem.costs))
    return found | {"float32": _probed(found["float32"], candidate, dataset, problem, on_progress)}


def _ask(
    precision: Precision,
    candidate: Candidate,
    dataset: Dataset,
    problem: Problem,
    path: Path,
    on_progress: Progress,
) -> None:
    photos, counted = dataset.photos("test"), _counted(on_progress, f"test photos by {precision}")
    model = candidate.model(precision)
    told = answers(model, candidate.rule, dataset, photos, problem.cost.unfamiliar, counted)
    if not np.isfinite(told.probabilities).all():
        raise ExportError(f"{model}: its probabilities are not numbers; keep the run's folder and report it")
    ids = np.array([photo.id for photo in photos])
    save(path, told, labels=labels_of(photos, problem.classes), photos=ids)


def _probed(
    judged: Judged, candidate: Candidate, dataset: Dataset, problem: Problem, on_progress: Progress
) -> Judged:
    """With what shows where the file fails, and why."""
    told, labels = judged.answers(), judged.labels()
    rows = worst(told, told.labels, labels, problem.evaluate.occlusion_photos)
    return replace(
        judged,
        slices=sliced(told, labels, slices(dataset.photos("test")), problem.costs),
        robustness=_robustness(candidate, dataset, problem, told, on_progress),
        occlusions=occlusions(candidate, dataset, rows),
    )


def _robustness(
    candidate: Candidate, dataset: Dataset, problem: Problem, clean: Answers, on_progress: Progress
) -> Robustness | None:
    path = candidate.told / "robustness.json"
    if path.exists():
        return Robustness.model_validate_json(path.read_bytes())
    found = robustness(candidate, dataset, problem, clean, _counted(on_progress, "robustness, photos"))
    if found:
        durable.write_bytes(path, found.model_dump_json().encode())
    return found


def _bank(candidate: Candidate, dataset: Dataset, on_progress: Progress) -> Bank:
    photos = _of_each_class(dataset.photos("train"), familiar.MOST_ROWS)
    told = outputs(
        candidate.model("float32"), candidate.rule, dataset, photos, _counted(on_progress, "training photos")
    )
    return Bank.of(told["embedding"])


def _of_each_class(photos: Sequence[Photo], most: int) -> list[Photo]:
    """So many of them, at random, since ids are hashes, but enough neighbours of each class first.

    A class that the bank hardly knows would be called unfamiliar for ever: with 0, 1, 2 and 3 photos of it
    among 500, 93, 43, 3 and 0 % of such photos were.
    """
    seen: Counter[str] = Counter()
    ranks = []
    for photo in photos:
        ranks.append(min(seen[photo.label], graphs.NEIGHBOURS))
        seen[photo.label] += 1
    order = sorted(range(len(photos)), key=ranks.__getitem__)
    return [photos[place] for place in order[:most]]


def _calibrated(
    precision: Precision,
    candidate: Candidate,
    dataset: Dataset,
    problem: Problem,
    bank: Bank,
    on_progress: Progress,
) -> tuple[Answers, Variant]:
    path, photos = candidate.model(precision), dataset.photos("validation")
    counted = _counted(on_progress, f"validation photos by {precision}")
    told = outputs(path, candidate.rule, dataset, photos, counted)
    logits = log_probabilities(told["probabilities"])
    temperature = fit_temperature(logits, labels_of(photos, problem.classes))
    away = familiar.distances(told["embedding"], bank, graphs.NEIGHBOURS)
    spread = familiar.spread(away)
    model = graphs.load(path)
    graphs.set_temperature(model, temperature)
    graphs.save(graphs.with_novelty(model, bank.centre, bank.rows, bank.lengths, spread), path)
    scaled = np.exp(logits / temperature)
    novelty = (away[:, None] > spread[None]).mean(axis=1)
    own = Answers(
        (scaled / scaled.sum(axis=1, keepdims=True)).astype(np.float32),
        novelty.astype(np.float32),
        problem.cost.unfamiliar,
    )
    return own, _variant(precision, path, candidate.rule.size, temperature)


def _variant(precision: Precision, path: Path, size: int, temperature: float) -> Variant:
    session = Session(path, provider="cpu")
    images = self_test_images(size)
    rows = [session.run(image[None], ["probabilities"])["probabilities"][0] for image in images]
    return Variant(
        file=FILES[precision],
        admitted=True,
        temperature=temperature,
        bytes=path.stat().st_size,
        self_test=np.stack(rows).tolist(),
    )


def _counted(on_progress: Progress, what: str) -> Callable[[int, int], None]:
    return lambda done, total: on_progress(what, done, total)
