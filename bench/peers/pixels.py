"""What every peer does to a photo: decoded, resized and cropped with Pillow as its tutorial has it.

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
CROP = 0.875  # of the shorter side
OUR_DECODER = "BENCH_OUR_DECODER" in os.environ


def decoded(content: bytes) -> np.ndarray:
    """Pixels [1, S, S, 3] of an encoded photo."""
    return squared(Image.open(io.BytesIO(content)))


def squared(photo: Image.Image) -> np.ndarray:
    """Pixels [1, S, S, 3] of an open photo."""
    return (_as_ours(photo) if OUR_DECODER else _as_told(photo))[None]


def _as_told(photo: Image.Image) -> np.ndarray:
    """The whole photo decoded, then resized, then cropped, as tutorials have it; [S, S, 3]."""
    photo = photo.convert("RGB")
    scale = SIZE / (min(photo.size) * CROP)
    photo = photo.resize((round(photo.width * scale), round(photo.height * scale)), Image.Resampling.BILINEAR)
    left, top = (photo.width - SIZE) // 2, (photo.height - SIZE) // 2
    return np.asarray(photo.crop((left, top, left + SIZE, top + SIZE)))


def _as_ours(photo: Image.Image) -> np.ndarray:
    """Scaled while it is decoded, and one resize of the centre square, as pawloop.image does; [S, S, 3]."""
    scale = SIZE / (min(photo.size) * CROP)
    photo.draft("RGB", (int(photo.width * scale) + 1, int(photo.height * scale) + 1))
    photo = photo.convert("RGB")
    side = min(photo.size) * CROP
    left, top = (photo.width - side) / 2, (photo.height - side) / 2
    box = (left, top, left + side, top + side)
    return np.asarray(photo.resize((SIZE, SIZE), Image.Resampling.BILINEAR, box, reducing_gap=2.0))


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
