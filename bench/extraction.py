"""How fast features of photos come into the store, against a bare loop that only decodes and runs.

Both take the same graph and files, in turn, in fresh processes that have loaded their modules before the
clock starts. Knows extractors and processes; knows nothing about training.
"""

from __future__ import annotations

import io
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from multiprocessing import get_context
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np
import onnxruntime as ort
from PIL import Image

from bench.apart import apart
from bench.took import Clock, Took
from pawloop.settings import usable_cores
from tasks.features import Extractor, Wanted, features
from tasks.manifest import Dataset, Photo


@dataclass(frozen=True)
class Speeds:
    """What extracting all photos took in each round: into the store, and by the bare loop."""

    backbone: str
    photo_count: int
    ours: Sequence[Took]
    bare: Sequence[Took]

    @property
    def ratio(self) -> float:
        """Photos a second, ours by bare; the median of the rounds."""
        return statistics.median(bare.wall_s / ours.wall_s for ours, bare in zip(self.ours, self.bare))

    @property
    def cpu_ratio(self) -> float:
        """The same by time of the processor."""
        return statistics.median(bare.cpu_s / ours.cpu_s for ours, bare in zip(self.ours, self.bare))


def measured(
    backbone: str,
    extractor: Extractor,
    dataset: Dataset,
    photos: Sequence[Photo],
    paths: Sequence[Path],
    rounds: int,
) -> Speeds:
    """The store and the bare loop in turn. paths: the files of `photos`."""
    ours, bare = [], []
    apart(_ours, extractor, dataset, photos[:8])  # so that the first round finds the files in memory, too
    for number in range(rounds):
        fresh = replace(extractor, key=f"{extractor.key}-{number}")  # a store that knows none of them
        bare.append(_bare(extractor.graph, paths, extractor.rule.size))
        ours.append(apart(_ours, fresh, dataset, photos))
    return Speeds(backbone, len(photos), ours, bare)


def _ours(extractor: Extractor, dataset: Dataset, photos: Sequence[Photo]) -> Took:
    clock = Clock()
    features(extractor, dataset, [Wanted(photo, 0) for photo in photos])
    return clock.took()


def _bare(graph: Path, paths: Sequence[Path], size: int) -> Took:
    """A process a core, all begun at once; the last to end counts."""
    context, count = get_context("spawn"), usable_cores()
    barrier, told = context.Barrier(count), context.SimpleQueue()
    processes = [
        context.Process(target=_loop, args=(graph, paths[start::count], size, barrier, told))
        for start in range(count)
    ]
    for process in processes:
        process.start()
    each: list[Took] = [told.get() for _ in processes]
    for process in processes:
        process.join()
    return Took(max(one.wall_s for one in each), sum(one.cpu_s for one in each))


def _loop(graph: Path, paths: Sequence[Path], size: int, barrier: Barrier, told: SimpleQueue[Took]) -> None:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(graph), options, ["CPUExecutionProvider"])
    barrier.wait()
    clock = Clock()
    for path in paths:
        photo = Image.open(io.BytesIO(path.read_bytes())).convert("RGB")
        side = min(photo.size)
        left, top = (photo.width - side) // 2, (photo.height - side) // 2
        square = photo.resize((size, size), Image.Resampling.BILINEAR, (left, top, left + side, top + side))
        session.run(None, {"image": np.asarray(square)[None]})
    told.put(clock.took())
