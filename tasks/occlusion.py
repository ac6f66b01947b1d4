"""Which regions of a photo carried an answer: occlusion maps (Zeiler, Fergus 2014, section 4.2).

A grey patch slides over the photo; where it lowers the probability of the answered class most, the model
had looked. Knows files and pixels; knows nothing about which photos are worth it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pawloop.image import decode
from pawloop.session import Session
from pawloop.settings import usable_cores
from tasks.candidate import Candidate
from tasks.manifest import Dataset

_STEPS: Final = 7  # places of the patch along a side
_PATCH: Final = 2  # its side, in steps, so that neighbours overlap by half
_GREY: Final = 128


@dataclass(frozen=True)
class Occlusion:
    """What a test photo was taken for, and by how much each patch lowers that class's probability.

    row: of the test photos. image: [S, S, 3] as the model saw it. drop: [7, 7].
    """

    row: int
    label: int
    probability: float
    image: NDArray[np.uint8]
    drop: NDArray[np.float32]


def occlusions(candidate: Candidate, dataset: Dataset, rows: Sequence[int]) -> list[Occlusion]:
    """A map of each of some test photos by the float32 file, 50 answers each, on all cores."""
    if not rows:
        return []
    session = Session(candidate.model("float32"), threads=1, provider="cpu")
    photos = dataset.photos("test")

    def one(row: int) -> Occlusion:
        image = decode(dataset.read(photos[row]), candidate.rule)
        return _mapped(session, row, image)

    with ThreadPoolExecutor(usable_cores()) as pool:
        return list(pool.map(one, rows))


def _mapped(session: Session, row: int, image: NDArray[np.uint8]) -> Occlusion:
    def told(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        row: NDArray[np.float32] = session.run(pixels[None], ["probabilities"])["probabilities"][0]  # [C]
        return row

    whole = told(image)
    label = int(whole.argmax())
    # One at a time: a batch of 50 does not fit the processor's caches and takes 1.6 times as long.
    drop = [whole[label] - told(covered)[label] for covered in _covered(image)]
    return Occlusion(row, label, float(whole[label]), image, np.reshape(drop, (_STEPS, _STEPS)))


def _covered(image: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    """The image [S, S, 3] under each patch, row by row."""
    edges = np.linspace(0, len(image), _STEPS + _PATCH).round().astype(int)
    for row in range(_STEPS):
        for column in range(_STEPS):
            covered = image.copy()
            covered[edges[row] : edges[row + _PATCH], edges[column] : edges[column + _PATCH]] = _GREY
            yield covered
