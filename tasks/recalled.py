"""What a version in service says of photos, asked once: a night asks it about the new ones alone.

Knows files of answers in the store. Knows nothing about who is compared with whom.
"""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pawloop import durable
from pawloop.image import Resize
from tasks.answer import outputs, write_arrays
from tasks.manifest import Dataset, Photo
from tasks.provenance import view_version

log = logging.getLogger(__name__)

_IDS: Final = "photo"
_TOLD: Final = ("probabilities", "novelty")
_Columns = dict[str, NDArray[np.generic]]


def recalled(
    model: Path,
    rule: Resize,
    dataset: Dataset,
    photos: Sequence[Photo],
    on_progress: Callable[[int, int], None] | None = None,
) -> dict[str, NDArray[np.float32]]:
    """Probabilities and novelty of photos, as by `tasks.answer.outputs`, which computes those not known yet.

    Known is what the same file said by the same code and libraries. What is kept afterwards are these photos'
    answers, where there were new ones. Raises as `outputs` does, and OSError where they cannot be kept.
    """
    key = durable.content_key(durable.sha256(model), str(rule), view_version())
    path = dataset.store / "answers" / f"{key}.npz"
    known = _known(path)
    have = set(known[_IDS].tolist()) if known else set()
    news = [photo for photo in photos if photo.id not in have]
    if news:
        told = outputs(model, rule, dataset, news, on_progress)
        found: _Columns = {name: told[name] for name in _TOLD if name in told}
        found[_IDS] = np.array([photo.id for photo in news])
        known = {name: np.concatenate([known[name], found[name]]) for name in found} if known else found
    rows = {id: row for row, id in enumerate(known[_IDS].tolist())}
    order = [rows[photo.id] for photo in photos]
    answered = {name: values[order] for name, values in known.items()}
    if news:
        write_arrays(path, **answered)
    del answered[_IDS]
    return {name: values.astype(np.float32) for name, values in answered.items()}


def _known(path: Path) -> _Columns:
    """What is kept there; nothing where there is none, or it is damaged."""
    try:
        with np.load(path) as arrays:
            return {name: arrays[name] for name in (_IDS, *arrays)}
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        log.warning("%s: is not as it was written (%s); these photos are asked about again", path, error)
        return {}
