"""The feature store: what a frozen graph says of a photo's views, computed once and kept.

`<store>/features/<extractor>/part-*.parquet`, immutable, one row a photo and view, float16. The
extractor's name is the hash of the exact graph, so features of two graphs never mix. Knows graphs,
photos and Parquet; knows nothing about classes.
"""

from __future__ import annotations

import logging
import math
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pawloop import durable
from pawloop.errors import DamagedVersionError, TrainingError
from pawloop.image import Resize
from pawloop.session import Session
from pawloop.settings import usable_cores
from tasks.augment import view as augmented
from tasks.manifest import Dataset, Photo

log = logging.getLogger(__name__)

_PART_ROWS = 512
_JOB_ROWS = 8  # to hand every row to a thread by itself costs more than the last job's wait
Progress = Callable[[int, int], None]


class UnfinishedError(TrainingError):
    """The time was out; the parts that are written are kept, so that the next night goes on from there."""


@dataclass(frozen=True)
class Wanted:
    """One row: a photo and the number of its view (0 is the plain one)."""

    photo: Photo
    view: int

    @property
    def key(self) -> tuple[str, int]:
        """What the row is stored under."""
        return self.photo.id, self.view


@dataclass(frozen=True)
class Extractor:
    """A frozen graph with its input rule. key: hash of all that decides its output."""

    graph: Path
    key: str
    output: str
    rule: Resize


def features(
    extractor: Extractor,
    dataset: Dataset,
    wanted: Sequence[Wanted],
    on_progress: Progress | None = None,
    until: float = math.inf,
) -> NDArray[np.float16]:
    """Rows [N, …] in the order wanted: those kept are read, the others computed and kept.

    A part is written every 512 rows, so a run that is killed goes on from there. until: time of
    `time.monotonic` after which no further photo is begun. Raises UnfinishedError then, with what is done
    kept, and DatasetError for a photo that has changed since its version was made.
    """
    folder = dataset.store / "features" / extractor.key
    known = _known(folder, {row.key for row in wanted})
    missing = list({row.key: row for row in wanted if row.key not in known}.values())
    if missing:
        folder.mkdir(parents=True, exist_ok=True)
        done = 0
        for part in _computed(extractor, dataset, missing, until):
            if part:
                _write(folder, part)
                known.update(part)
            done += len(part)
            if on_progress:
                on_progress(done, len(missing))
            if len(part) < _PART_ROWS and done < len(missing):
                raise UnfinishedError(f"the time was out after {done:,} of {len(missing):,} photos' features")
    return np.stack([known[row.key] for row in wanted])


_Rows = dict[tuple[str, int], NDArray[np.float16]]


def _computed(extractor: Extractor, dataset: Dataset, rows: list[Wanted], until: float) -> Iterator[_Rows]:
    session = _opened(extractor.graph)

    def one(row: Wanted) -> NDArray[np.float16]:
        pixels = augmented(dataset.read(row.photo), row.photo.id, row.view, extractor.rule)
        answer: NDArray[np.float32] = session.run(pixels[None], [extractor.output])[extractor.output][0]
        return answer.astype(np.float16)

    def some(job: Sequence[Wanted]) -> _Rows:
        return {} if time.monotonic() > until else {row.key: one(row) for row in job}

    pool = ThreadPoolExecutor(usable_cores())
    try:
        yield from _parts(pool, some, rows)
    finally:
        pool.shutdown(cancel_futures=True)


def _parts(pool: Executor, some: Callable[[Sequence[Wanted]], _Rows], rows: list[Wanted]) -> Iterator[_Rows]:
    """Parts of the rows, each given while the next is computed, so that nobody waits for the disk."""
    before: Iterator[_Rows] | None = None
    todo = iter(rows)
    while batch := list(islice(todo, _PART_ROWS)):
        jobs = [batch[start : start + _JOB_ROWS] for start in range(0, len(batch), _JOB_ROWS)]
        values = pool.map(some, jobs)
        if before:
            yield _joined(before)
        before = values
    if before:
        yield _joined(before)


def _joined(jobs: Iterable[_Rows]) -> _Rows:
    return {key: value for job in jobs for key, value in job.items()}


def _opened(graph: Path) -> Session:
    try:
        return Session(graph, threads=1)
    except DamagedVersionError as error:
        graph.unlink()
        raise TrainingError(f"{error}. It is removed now; run again, which makes it anew") from None


def _write(folder: Path, rows: _Rows) -> None:
    values = np.stack(list(rows.values()))
    flat = values.reshape(len(values), -1)
    table = pa.table(
        {
            "photo": [photo for photo, _ in rows],
            "view": pa.array([view for _, view in rows], pa.int16()),
            "values": pa.FixedSizeListArray.from_arrays(pa.array(flat.ravel()), flat.shape[1]),
        }
    )
    table = table.replace_schema_metadata({"shape": "x".join(map(str, values.shape[1:]))})
    path = folder / f"part-{uuid.uuid4().hex}.parquet"
    with durable.aside(path) as draft:
        pq.write_table(table, draft, compression="zstd", write_page_checksum=True)


def _known(folder: Path, keys: set[tuple[str, int]]) -> _Rows:
    found: _Rows = {}
    for path in sorted(folder.glob("part-*.parquet")):
        try:
            found.update(_of_part(path, keys))
        except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # the disk's or its rights' trouble, which says nothing of the file
            log.warning("%s: is not as it was written (%s); its rows are computed again", path, error)
            path.unlink()
    return found


def _of_part(path: Path, keys: set[tuple[str, int]]) -> _Rows:
    names = pq.read_table(path, columns=["photo", "view"], page_checksum_verification=True).to_pydict()
    rows = list(zip(names["photo"], names["view"], strict=True))
    if keys.isdisjoint(rows):
        return {}
    values = pq.read_table(path, columns=["values"], page_checksum_verification=True)
    shape = [int(n) for n in values.schema.metadata[b"shape"].split(b"x")]
    column = values["values"].combine_chunks()
    array = column.flatten().to_numpy().reshape(len(rows), *shape)
    return {key: array[i] for i, key in enumerate(rows) if key in keys}
