"""One photo's answer: decode, infer, decide, a step each, on one thread.

Knows the model in service and the shape of an answer. Knows nothing about queues or HTTP.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pawloop import image
from pawloop.decision import Reason, decide
from serve.jobs import Steps
from serve.loading import Serving


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model says of one photo. probabilities: [C]. The times are seconds."""

    id: str
    serving: Serving
    label: str
    probabilities: tuple[float, ...]
    reason: Reason | None
    decode_s: float
    inference_s: float

    def as_dict(self) -> dict[str, object]:
        """The answer as the API gives it."""
        classes = self.serving.classes
        return {
            "id": self.id,
            "label": self.label,
            "probability": self.probabilities[classes.index(self.label)],
            "probabilities": dict(zip(classes, self.probabilities, strict=True)),
            "abstained": self.reason is not None,
            "reason": self.reason,
            "model": self.serving.model,
        }


def answer(serving: Serving, photo: bytes, max_pixels: int) -> Answer:
    """Answer one encoded photo. Raises PhotoError or a child of it for what cannot be read."""
    steps = answering(serving, photo, max_pixels)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            made: Answer = end.value
            return made


def answering(serving: Serving, photo: bytes, max_pixels: int) -> Steps[Answer]:
    """As `answer`, in steps."""
    made, _ = yield from examining(serving, photo, max_pixels, serving.outputs)
    return made


def examining(
    serving: Serving, photo: bytes, max_pixels: int, outputs: tuple[str, ...]
) -> Steps[tuple[Answer, dict[str, NDArray[np.float32]]]]:
    """As `answering`, and what the model put out, each with one row. outputs: at least those it takes."""
    started = time.perf_counter()
    pixels = image.decode(photo, serving.rule, max_pixels)
    decode_s = time.perf_counter() - started
    yield
    started = time.perf_counter()
    raw = serving.session.run(pixels[None], outputs)
    inference_s = time.perf_counter() - started
    yield
    probabilities = raw["probabilities"]  # [1, C]
    decisions = decide(probabilities, serving.costs, raw.get("novelty"), serving.novelty_threshold)
    made = Answer(
        id=new_id(),
        serving=serving,
        label=serving.classes[int(decisions.label[0])],
        probabilities=tuple([round(p, 6) for p in probabilities[0].tolist()]),
        reason=decisions.reasons[0],
        decode_s=decode_s,
        inference_s=inference_s,
    )
    return made, raw


def new_id() -> str:
    """A UUID of version 7 (RFC 9562): unique, and sorted by the millisecond it was made in."""
    value = time.time_ns() // 1_000_000 << 80 | int.from_bytes(os.urandom(10))
    value = value & ~(0xF << 76) | 7 << 76  # version
    value = value & ~(0x3 << 62) | 2 << 62  # variant
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
