"""What a released file answers to a dataset's photos.

The same decoder and session as the server's, so that what is judged is what is served. Knows ONNX
files and photos; knows nothing about right and wrong.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pawloop import durable
from pawloop.decision import Costs, Decisions, decide
from pawloop.image import Resize, decode
from pawloop.session import Session
from pawloop.settings import usable_cores
from tasks.manifest import Dataset, Photo

TOLD: Final = "told"  # the folder in a run's of what its files answered


@dataclass(frozen=True)
class Answers:
    """probabilities: [N, C]; novelty: [N], 0 to 1, zeros where the model does not tell it.

    threshold: past it the model calls a photo unfamiliar.
    """

    probabilities: NDArray[np.float32]
    novelty: NDArray[np.float32]
    threshold: float = 1.0

    @classmethod
    def of(cls, probabilities: NDArray[np.floating]) -> Answers:
        """Answers of a model that tells no novelty."""
        return cls(probabilities.astype(np.float32), np.zeros(len(probabilities), np.float32))

    @classmethod
    def by(cls, told: Mapping[str, NDArray[np.float32]], threshold: float | None) -> Answers:
        """Answers by a model's outputs, each [N, …]. threshold: None where its card has none."""
        probabilities = told["probabilities"]
        novelty = told.get("novelty", np.zeros(len(probabilities), np.float32))
        return cls(probabilities, novelty, 1.0 if threshold is None else threshold)

    @classmethod
    def told(cls, rows: Sequence[Mapping[str, NDArray[np.float32]]], threshold: float) -> Answers:
        """Answers from a model's outputs, one mapping of [1, …] a photo."""
        return cls.by({name: np.concatenate([row[name] for row in rows]) for name in rows[0]}, threshold)

    def first(self, count: int) -> Answers:
        """The answers to the first photos alone."""
        return Answers(self.probabilities[:count], self.novelty[:count], self.threshold)

    @property
    def labels(self) -> NDArray[np.intp]:
        """[N] the likeliest class of each; where mistakes cost unequally the server may say another."""
        likeliest: NDArray[np.intp] = self.probabilities.argmax(axis=1)
        return likeliest

    def decide(self, costs: Costs) -> Decisions:
        """What the server would answer, at these costs."""
        return decide(self.probabilities, costs, self.novelty, self.threshold)


def answers(
    model: Path,
    rule: Resize,
    dataset: Dataset,
    photos: Sequence[Photo],
    threshold: float | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Answers:
    """What `model` says of photos, in their order, on all cores.

    threshold: of novelty, from the model's card. Raises DatasetError for a photo that changed since
    its version was made, DamagedVersionError for a file that cannot be loaded.
    """
    return Answers.by(outputs(model, rule, dataset, photos, on_progress), threshold)


def outputs(
    model: Path,
    rule: Resize,
    dataset: Dataset,
    photos: Sequence[Photo],
    on_progress: Callable[[int, int], None] | None = None,
) -> dict[str, NDArray[np.float32]]:
    """Every output of `model` for photos, by name, each [N, …]."""
    session = Session(model, threads=1, provider="cpu")

    def one(photo: Photo) -> dict[str, NDArray[np.float32]]:
        return session.run(decode(dataset.read(photo), rule)[None])

    found: dict[str, list[NDArray[np.float32]]] = {name: [] for name in session.outputs}
    with ThreadPoolExecutor(usable_cores()) as pool:
        for done, row in enumerate(pool.map(one, photos), start=1):
            for name, value in row.items():
                found[name].append(value)
            if on_progress:
                on_progress(done, len(photos))
    return {name: np.concatenate(rows) for name, rows in found.items()}


def kept(run: Path, precision: str) -> Path:
    """Where a run keeps what one of its files answered to the test photos."""
    return run / TOLD / f"answers-{precision}.npz"


def save(path: Path, told: Answers, **columns: NDArray[np.generic]) -> None:
    """Keep answers and what is known of their photos, each column [N]; whole or not at all."""
    write_arrays(
        path,
        probabilities=told.probabilities,
        novelty=told.novelty,
        threshold=np.array(told.threshold),
        **columns,
    )


def write_arrays(path: Path, **arrays: NDArray[np.generic]) -> None:
    """Arrays by name in one file (.npz); whole or not at all."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    durable.write_bytes(path, buffer.getvalue())


def load(path: Path) -> tuple[Answers, dict[str, NDArray[np.generic]]]:
    """What `save` kept: the answers and the columns."""
    with np.load(path) as arrays:
        columns = dict(arrays)
    told = Answers(columns.pop("probabilities"), columns.pop("novelty"), float(columns.pop("threshold")))
    return told, columns


def log_probabilities(probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
    """Logits up to a constant a row, which no softmax notices; [N, C]."""
    return np.log(np.clip(probabilities.astype(np.float64), 1e-30, 1.0))
