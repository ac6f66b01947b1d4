"""int8: a core graph with quantised activations (u8) and weights (s8, per channel).

Static, QDQ, by onnxruntime's own quantiser. Knows graphs and calibration pixels; knows nothing about
whether the result is good enough, which is judged on validation photos like everything else.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from export.backbone import Architecture


def quantised(core: ModelProto, images: NDArray[np.uint8], architecture: Architecture) -> ModelProto:
    """The same graph in int8, its ranges taken from images [N, S, S, 3] of training photos.

    All operators are quantised: with the convolutions alone, what is saved in them is lost again in
    conversions between them.
    """
    with tempfile.TemporaryDirectory() as folder:
        plain, prepared, out = (Path(folder) / name for name in ("plain", "prepared", "int8"))
        onnx.save(core, plain)
        logging.getLogger().disabled = True  # it advises to do what the next line does
        try:
            quant_pre_process(plain, prepared, skip_symbolic_shape=True)
            quantize_static(
                prepared,
                out,
                _Pixels(images, architecture),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                # Percentiles were no better and took twice as long.
                calibrate_method=CalibrationMethod.MinMax,
            )
        finally:
            logging.getLogger().disabled = False
        model: ModelProto = onnx.load(out)
    return model


class _Pixels(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    """Images one by one, normalised as the front of the graph does it."""

    def __init__(self, images: NDArray[np.uint8], architecture: Architecture) -> None:
        self._feeds = self._normalised(images, architecture)

    def get_next(self) -> dict[str, Any] | None:  # Any: an array, in onnxruntime's words
        return next(self._feeds, None)

    @staticmethod
    def _normalised(images: NDArray[np.uint8], architecture: Architecture) -> Iterator[dict[str, Any]]:
        mean = np.asarray(architecture.mean, np.float32)
        std = np.asarray(architecture.std, np.float32)
        for image in images:
            pixels = (image.astype(np.float32) - mean) / std  # [S, S, 3]
            yield {"pixels": np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])}
