"""A candidate: the ONNX files that may become a version, fresh from training.

From here on only the files themselves are asked, by onnxruntime. Knows networks and files; knows nothing
about the registry or about who is champion.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from export import onnx as graphs
from export.quantize import quantised
from export.verify import parity
from pawloop import durable
from pawloop.card import Precision, Variant
from pawloop.errors import ExportError
from pawloop.image import Resize, decode
from pawloop.problem import Problem
from pawloop.session import Session
from tasks.answer import TOLD
from tasks.manifest import Dataset, Photo
from tasks.provenance import code_version
from tasks.train import Trained
from tasks.weights import NETWORK_FILE

FILES: dict[Precision, str] = {"float32": "model.onnx", "int8": "model.int8.onnx"}
_CALIBRATED = "calibrated.json"
_PARITY_PHOTOS = 32
_RANGE_PHOTOS = 32  # from which int8 takes its ranges; more changed no probability noticeably


@dataclass(frozen=True)
class Candidate:
    """A folder with a file for each precision. parity: largest difference of float32 from PyTorch."""

    folder: Path
    rule: Resize
    parity: float

    def model(self, precision: Precision) -> Path:
        """The file of one precision."""
        return self.folder / FILES[precision]

    @property
    def network(self) -> str:
        """SHA-256 of its weights."""
        return durable.sha256(self.folder / NETWORK_FILE)

    @property
    def told(self) -> Path:
        """The folder of what its files answered, which hangs on them."""
        return self.folder.parent / TOLD


class Calibrated(BaseModel):
    """What is known of a run's finished files. parity: as `Candidate` has it. files: SHA-256 by name."""

    model_config = ConfigDict(frozen=True)

    parity: float
    variants: dict[Precision, Variant]
    files: dict[str, str]


def calibrated(run: Path) -> Calibrated | None:
    """The finished files of a run, if it got so far before it was killed and they are what they were."""
    try:
        found = Calibrated.model_validate_json((run / _CALIBRATED).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
    return found if _hashes(run / "candidate") == found.files else None


def keep_calibrated(candidate: Candidate, variants: Mapping[Precision, Variant]) -> None:
    """Note that the candidate's files are finished: from now on they are found, not made again."""
    files = _hashes(candidate.folder)
    found = Calibrated(parity=candidate.parity, variants=dict(variants), files=files)
    durable.write_bytes(candidate.folder.parent / _CALIBRATED, found.model_dump_json(indent=2).encode())


def _hashes(folder: Path) -> dict[str, str]:
    paths = (folder / name for name in (*FILES.values(), NETWORK_FILE))
    return {path.name: durable.sha256(path) for path in paths if path.is_file()}


def export(trained: Trained, dataset: Dataset, problem: Problem, run: Path) -> Candidate:
    """Write the trained network as ONNX, in float32 and int8, and hold the first to PyTorch.

    Files that a killed run finished of this very network are taken as they are; whatever else it left is
    cleared away.
    Raises ExportError when a probability of a real photo differs by more than the gate's `parity`.
    """
    network, architecture, rule = trained.network(), trained.net.architecture, trained.net.rule
    folder, properties = run / "candidate", _metadata(trained, dataset, problem, run.name)
    finished = calibrated(run)
    if finished and finished.files[NETWORK_FILE] == durable.sha256(trained.folder / NETWORK_FILE):
        return Candidate(folder, rule, finished.parity)
    _clear(run)
    images = _pixels(dataset, dataset.photos("train")[:_RANGE_PHOTOS], rule)
    int8 = quantised(graphs.core(network, rule.size), images, architecture)
    float32 = graphs.extractor(network, architecture, rule.size)
    for precision, graph in {"float32": float32, "int8": int8}.items():
        model = graphs.classifier(
            graph, network.head.weight.detach().numpy(), network.head.bias.detach().numpy()
        )
        graphs.set_metadata(model, properties | {"precision": precision})
        graphs.save(model, folder / FILES[precision])  # type: ignore[index]  # literals widen in a dict
    durable.write_bytes(folder / NETWORK_FILE, (trained.folder / NETWORK_FILE).read_bytes())
    held = _pixels(dataset, dataset.photos("validation")[:_PARITY_PHOTOS], rule)
    difference = parity(network, architecture, Session(folder / FILES["float32"], provider="cpu"), held)
    if not difference <= problem.gate.parity:  # also when it is not a number
        raise ExportError(
            f"{folder}: the float32 file differs from PyTorch by {difference:.1e} in a probability, "
            f"{problem.gate.parity:g} is the most allowed; keep the run's folder and report it"
        )
    return Candidate(folder, rule, difference)


def _clear(run: Path) -> None:
    """Remove what hangs on a candidate that is to be made again, but not the word that the run began."""
    (run / _CALIBRATED).unlink(missing_ok=True)
    for name in ("candidate", TOLD):
        shutil.rmtree(run / name, ignore_errors=True)


def _pixels(dataset: Dataset, photos: list[Photo], rule: Resize) -> NDArray[np.uint8]:
    return np.stack([decode(dataset.read(photo), rule) for photo in photos])


def _metadata(trained: Trained, dataset: Dataset, problem: Problem, run: str) -> dict[str, str]:
    net = trained.net
    return {
        "name": problem.name,
        # The run, not the registry's number: that is given after judging, and the file judged is the
        # file released, byte for byte.
        "version": run,
        "classes": json.dumps(list(problem.classes), ensure_ascii=False),
        "image_size": str(net.image_size),
        "resize": str(net.rule),
        "crop": f"{net.crop:g}",
        "decision_costs": json.dumps({"mistake": problem.costs.mistake, "ask": problem.costs.ask}),
        "dataset": dataset.id,
        "code_version": code_version(),
        "backbone": net.backbone,
    }
