"""int8: a core graph with quantised activations (u8) and weights (s8, per channel), and its front.

Static, QDQ, by onnxruntime's own quantiser. Where the plain way answers too unlike float32, it tries weights
that no sum overflows behind an entry in float, then other ranges, then more blocks to leave in float, by what
each does to the output.
Knows graphs and calibration pixels; whether the result may serve is judged on validation photos like
everything else.
"""

from __future__ import annotations

import io
import logging
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from export import front
from export.backbone import Architecture

log = logging.getLogger(__name__)

# Mean distance of an embedding from float32's, by its length. The backbones have 0.03 to 0.11 with ImageNet
# weights, and lose 0.002 of their accuracy at 0.11.
TOLERANCE: Final = 0.2
_COMPARED: Final = 8  # images; a fifth of a second
_RANKED_WITH: Final = 8
_SEARCH_S: Final = 15.0  # after which no further way is tried; a night's time is for training
_BLOCKS: Final = 8  # of consecutive nodes; at most half of them stay in float, or little would be gained


def quantised(core: ModelProto, images: NDArray[np.uint8], architecture: Architecture) -> ModelProto:
    """The same graph in int8, from `image` uint8 [N, S, S, 3] on; its ranges are those of training photos.

    images: [N, S, S, 3].
    All operators are quantised where that answers as float32 does within `TOLERANCE`: with the convolutions
    alone, what is saved in them is lost again in conversions between them. Where it does not, weights
    that no sum overflows, behind an entry in float, and other ways to take the ranges are tried, and then the
    blocks that harm most stay in float; the closest found is given.
    """
    zero_point = front.zero_point(architecture)
    pixels = np.ascontiguousarray(images.astype(np.float32).transpose(0, 3, 1, 2)) - zero_point
    with tempfile.TemporaryDirectory() as folder, _told_nothing():
        prepared = _prepared(front.on_shifted_bytes(core, architecture), Path(folder))
        search = _Search(prepared, pixels, zero_point)
        return front.taking_bytes(search.closest(), architecture, images.shape[1])


@dataclass(frozen=True)
class _Way:
    """fitting: for processors without VNNI, with scales for the weights that keep sums of two products within
    16 bits, and all before the first expansion in float. There its few channels gain no time in int8.
    """

    method: CalibrationMethod = CalibrationMethod.MinMax
    fitting: bool = False


@dataclass(frozen=True)
class _Found:
    model: ModelProto
    error: float
    way: _Way

    @property
    def is_close(self) -> bool:
        return self.error <= TOLERANCE


class _Search:
    """The ways to quantise one graph, from the cheapest on, until one is close to float32."""

    def __init__(self, prepared: Path, pixels: NDArray[np.float32], zero_point: NDArray[np.uint8]) -> None:
        model = onnx.load(prepared)
        self._prepared = prepared
        self._pixels = pixels  # [N, 3, S, S]
        self._wanted = _outputs(model, pixels[:_COMPARED])  # [K, D]
        self._names = [node.name for node in model.graph.node]
        self._fitting = _fitting_scales(model)
        self._entry = self._names[: _first_expansion(model)]
        # So that a byte stays itself, whatever the photos' darkest and brightest ones are.
        self._byte = {"scale": np.ones((), np.float32), "zero_point": zero_point}
        self._until = time.monotonic() + _SEARCH_S

    def closest(self) -> ModelProto:
        best = self._tried(_Way())
        # Percentiles took twice as long and were no better where the plain way was good.
        for change in (
            {"fitting": True},
            {"method": CalibrationMethod.Percentile},
            {"method": CalibrationMethod.Entropy},
        ):
            if best.is_close or self._is_over:
                return best.model
            best = min(best, self._tried(replace(best.way, **change)), key=lambda found: found.error)
        if best.is_close:
            return best.model
        return self._with_blocks_in_float(best).model

    def _with_blocks_in_float(self, best: _Found) -> _Found:
        in_float: list[str] = []
        for block in self._by_harm(best.way)[: _BLOCKS // 2]:
            found = self._tried(best.way, [*in_float, *block])
            if found.error < best.error:
                best, in_float = found, [*in_float, *block]
            if best.is_close or self._is_over:
                break
        log.info("%d of %d nodes stay in float, error %.3f", len(in_float), len(self._names), best.error)
        return best

    @property
    def _is_over(self) -> bool:
        return time.monotonic() > self._until

    def _by_harm(self, way: _Way) -> list[list[str]]:
        """Blocks of nodes, first the one that moves the output most when it alone is quantised."""
        size = -(-len(self._names) // _BLOCKS)
        blocks = [self._names[start : start + size] for start in range(0, len(self._names), size)]
        harm = {
            number: self._tried(way, sorted({*self._names} - {*block}), _RANKED_WITH).error
            for number, block in enumerate(blocks)
            if not self._is_over
        }
        return [blocks[number] for number in sorted(harm, key=lambda number: -harm[number])]

    def _tried(self, way: _Way, in_float: Sequence[str] = (), images: int | None = None) -> _Found:
        overrides: dict[str, list[dict[str, Any]]] = {front.PIXELS: [self._byte]}  # Any: onnxruntime's words
        if way.fitting:
            overrides |= self._fitting
            in_float = sorted({*self._entry, *in_float})
        out = self._prepared.with_name("int8")
        quantize_static(
            self._prepared,
            out,
            _Reader(self._pixels[:images]),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=way.method,
            nodes_to_exclude=list(in_float),
            extra_options={"TensorQuantOverrides": overrides},
        )
        model = onnx.load(out)
        return _Found(model, _distance(_outputs(model, self._pixels[:_COMPARED]), self._wanted), way)


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    """Pixels [N, 3, S, S] one by one."""

    def __init__(self, pixels: NDArray[np.float32]) -> None:
        self._rest = iter(pixels)

    def get_next(self) -> dict[str, Any] | None:  # Any: an array, in onnxruntime's words
        one = next(self._rest, None)
        return None if one is None else {front.PIXELS: one[None]}


def _prepared(core: ModelProto, folder: Path) -> Path:
    """The graph folded and with its shapes, every node with a name to be left out by."""
    plain, prepared = folder / "plain", folder / "prepared"
    onnx.save(core, plain)
    quant_pre_process(plain, prepared, skip_symbolic_shape=True)
    model = onnx.load(prepared)
    for number, node in enumerate(model.graph.node):
        node.name = node.name or f"node-{number}"
    onnx.save(model, prepared)
    return prepared


def _fitting_scales(model: ModelProto) -> dict[str, list[dict[str, Any]]]:  # Any: onnxruntime's words
    """For the weights of each convolution but depthwise ones, a scale for each channel that comes out.

    Processors without VNNI add two neighbouring products of u8 and s8 in 16 bits, which weights that fill
    eight bits overflow (Intel's intrinsics guide, `_mm256_maddubs_epi16`; onnxruntime's page on quantisation
    advises weights of seven bits). Here a channel gives up only as much as its own neighbours ask for.
    """
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    scales = {}
    for name in {node.input[1] for node in model.graph.node if node.op_type == "Conv"}:
        weight = numpy_helper.to_array(constants[name])  # [out, in, H, W]
        if weight.shape[1] > 1:
            scales[name] = [
                {"axis": 0, "scale": scale, "zero_point": np.zeros((), np.int8)}
                for scale in _largest_sums(weight) / np.float32(127)
            ]
    return scales


def _first_expansion(model: ModelProto) -> int:
    """Where among the nodes the first pointwise convolution stands that widens; 0 where there is none."""
    shapes = {tensor.name: tensor.dims for tensor in model.graph.initializer}
    for number, node in enumerate(model.graph.node):
        if node.op_type == "Conv":
            outputs, inputs, *kernel = shapes[node.input[1]]  # inputs of a group: 1 where it is depthwise
            if 1 < inputs < outputs and kernel == [1, 1]:
                return number
    return 0


def _largest_sums(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """[out] of weights [out, in, H, W], the largest |w| or |sum of two neighbours| in the order of NHWC."""
    summed = weight.transpose(0, 2, 3, 1).reshape(len(weight), -1)
    pairs = np.pad(summed, ((0, 0), (0, summed.shape[1] % 2))).reshape(len(weight), -1, 2)
    largest = np.maximum(np.abs(pairs).max((1, 2)), np.abs(pairs.sum(2)).max(1))
    return np.where(largest > 0, largest, 1).astype(np.float32)


def _outputs(model: ModelProto, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """[K, D] what a core graph puts out for pixels [K, 3, S, S]."""
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {front.PIXELS: one[None]})[0] for one in pixels])


def _distance(found: NDArray[np.float32], wanted: NDArray[np.float32]) -> float:
    lengths = np.maximum(np.linalg.norm(wanted, axis=1), 1e-9)  # [K]
    return float((np.linalg.norm(found - wanted, axis=1) / lengths).mean())


@contextmanager
def _told_nothing() -> Iterator[None]:
    """The quantiser warns of what was done already, on the root logger, and prints how it calibrates."""
    logging.getLogger().disabled = True
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.getLogger().disabled = False
