"""What a candidate's file weighs: megabytes, and milliseconds beside the champion's file.

Knows ONNX files and clocks. Knows nothing about how good the answers are.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pawloop.card import self_test_images
from pawloop.session import Session
from tasks.bars import FileFacts
from tasks.candidate import Candidate

_ROUNDS = 15  # medians of 15 in turn agree to 3 % on a machine with a busy neighbour


def weigh(candidate: Candidate, champion: Path | None) -> FileFacts:
    """The facts of the float32 file that the gate asks for. champion: its file, where there is one."""
    model = candidate.model("float32")
    megabytes = model.stat().st_size / 1e6
    if champion is None:
        return FileFacts(candidate.parity, megabytes)
    return FileFacts(candidate.parity, megabytes, *in_turn([model, champion]))


def in_turn(models: Sequence[Path], rounds: int = _ROUNDS) -> list[float]:
    """Median milliseconds of each file for one image of its own input size, on one thread.

    Every round asks each file once, so that a busy machine is unfair to none. Raises DamagedVersionError
    for a file that cannot be loaded.
    """
    sessions = [Session(model, threads=1, provider="cpu") for model in models]
    images = [self_test_images(int(session.input_shape[1]))[:1] for session in sessions]
    taken = np.empty((rounds, len(models)))
    for number in range(-2, rounds):  # the first two warm caches
        for place, (session, image) in enumerate(zip(sessions, images, strict=True)):
            started = time.perf_counter()
            session.run(image, ["probabilities"])
            taken[max(number, 0), place] = time.perf_counter() - started
    medians: list[float] = (1000 * np.median(taken, axis=0)).tolist()
    return medians
