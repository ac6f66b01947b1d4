"""What every peer does to a photo: one resize of the centre square, as our own decoder does.

Needs nothing but Pillow and NumPy, since a peer lives in an environment of its own.
"""

# What it imports is in an environment of its own.
# mypy: ignore-errors

from __future__ import annotations

import io
import os

import numpy as np
from PIL import Image

MODEL = os.environ.get("BENCH_MODEL", "")  # model.onnx
TORCH_MODEL = os.environ.get("BENCH_TORCH_MODEL", "")  # the same network, traced
PORT = int(os.environ.get("BENCH_PORT", "0"))
WORKERS = int(os.environ.get("BENCH_WORKERS", "1"))
CLASSES = ("cat", "dog")
SIZE = 224


def decoded(content: bytes) -> np.ndarray:
    """Pixels [1, S, S, 3] of an encoded photo."""
    return squared(Image.open(io.BytesIO(content)))


def squared(photo: Image.Image) -> np.ndarray:
    """Pixels [1, S, S, 3] of an open photo."""
    width, height = photo.size
    scale = SIZE / (min(width, height) * 0.875)
    photo.draft("RGB", (int(width * scale) + 1, int(height * scale) + 1))
    photo = photo.convert("RGB")
    width, height = photo.size
    side = min(width, height) * 0.875
    left, top = (width - side) / 2, (height - side) / 2
    box = (left, top, left + side, top + side)
    small = photo.resize((SIZE, SIZE), Image.Resampling.BILINEAR, box, reducing_gap=2.0)
    return np.asarray(small)[None]


def answer(probabilities: np.ndarray) -> dict:
    """What is answered. probabilities: [C]."""
    best = int(probabilities.argmax())
    named = dict(zip(CLASSES, map(float, probabilities)))
    return {"label": CLASSES[best], "probability": float(probabilities[best]), "probabilities": named}


def session(threads: int | None):
    """The ONNX file in onnxruntime; threads: inside one run, None for its default."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    if threads is not None:
        options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(MODEL, options, ["CPUExecutionProvider"])
