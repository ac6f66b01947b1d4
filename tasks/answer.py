"""What a released file answers to a dataset's photos.

The same decoder and session as the server's, so that what is judged is what is served. Knows ONNX
files and photos; knows nothing about right and wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pawloop.image import Resize, decode
from pawloop.session import Session
from pawloop.settings import usable_cores
from tasks.manifest import Dataset, Photo


def answers(
    model: Path,
    rule: Resize,
    dataset: Dataset,
    photos: Sequence[Photo],
    on_progress: Callable[[int, int], None] | None = None,
) -> NDArray[np.float32]:
    """probabilities [N, C] of `model` for photos, in their order, on all cores.

    Raises DatasetError for a photo that changed since its version was made, DamagedVersionError for a
    file that cannot be loaded.
    """
    session = Session(model, threads=1, provider="cpu")

    def one(photo: Photo) -> NDArray[np.float32]:
        pixels = decode(dataset.read(photo), rule)
        row: NDArray[np.float32] = session.run(pixels[None], ["probabilities"])["probabilities"][0]
        return row

    found = []
    with ThreadPoolExecutor(usable_cores()) as pool:
        for done, row in enumerate(pool.map(one, photos), start=1):
            found.append(row)
            if on_progress:
                on_progress(done, len(photos))
    return np.stack(found)


def log_probabilities(probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
    """Logits up to a constant a row, which no softmax notices; [N, C]."""
    return np.log(np.clip(probabilities.astype(np.float64), 1e-30, 1.0))
