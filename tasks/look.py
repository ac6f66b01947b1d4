"""Looks at many photos: a few in threads, many in processes.

Measured on two free cores: threads stay near one core's speed, since small pieces of Python between the
decoder's work hold the interpreter's lock; two processes give 1.9 times as much, but take a second to
start and 70 MB each. Knows nothing about what the measurements are for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from joblib import Parallel, delayed  # type: ignore[import-untyped]  # scikit-learn's, it has no types
from joblib.externals.loky import get_reusable_executor  # type: ignore[import-untyped]  # as above

from pawloop import settings
from pawloop.errors import DatasetError, PhotoError, SourceError
from tasks.measure import Looks, measure
from tasks.place import read_photo

_WORTH_PROCESSES: Final = 4_000
_PART: Final = 50


class Place(NamedTuple):
    """Where a photo can be read. stored: SHA-256 of the bytes there."""

    location: str
    stored: str


def looks(places: Sequence[Place], store: Path) -> Iterator[Looks]:
    """Measurements in the order of the places, in small parts as they are done.

    Raises SourceError for a photo that changed or vanished.
    """
    # loky, not fork, which would leave locks held by a flow's other threads; nor multiprocessing's own
    # other ways, which run the caller's script again in each process.
    backend = "loky" if len(places) >= _WORTH_PROCESSES else "threading"
    work = Parallel(
        settings.usable_cores(), backend, return_as="generator", batch_size=1, pre_dispatch="4*n_jobs"
    )
    parts = (places[start : start + _PART] for start in range(0, len(places), _PART))
    try:
        yield from work(delayed(look)(part, store) for part in parts)
    except BrokenProcessPool:
        raise PhotoError(
            "a process that decodes photos died, perhaps for want of memory; what was measured so far is "
            "kept: run again, with less beside it"
        ) from None
    finally:
        if backend == "loky":
            get_reusable_executor().shutdown()


def look(places: Sequence[Place], store: Path) -> Looks:
    """Measurements of some photos, in this process."""
    return measure(_content(store, place) for place in places)


def joined(parts: Sequence[Looks]) -> Looks:
    """Parts as one."""
    return Looks(
        np.concatenate([part.numbers for part in parts]),
        np.concatenate([part.thumbs for part in parts]),
        [fault for part in parts for fault in part.faults],
    )


def _content(store: Path, place: Place) -> bytes:
    try:
        return read_photo(store, place.location, place.stored)
    except DatasetError as error:
        raise SourceError(
            f"{error} (it was there a moment ago: is somebody changing the photos now?)"
        ) from None
