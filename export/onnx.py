"""PyTorch to ONNX: one file that takes uint8 pixels and knows everything else.

Builds the graph in parts: a front (export.front), the traced blocks, a head with its temperature.
Knows graphs; knows nothing about photos, stores or training.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from torch import nn

from export.backbone import Architecture, Network, pool
from export.front import normalising
from pawloop import durable
from pawloop.errors import ExportError

OPSET = 17
NEIGHBOURS = 10
LEAST_LENGTH = 1e-12  # of an embedding, so that one of zeros is strange and not a NaN
_IR_VERSION = 10  # the newest that Triton's and OpenVINO's current releases read


class _Part(nn.Module):
    """Some blocks of a network, pooled if they are the last."""

    def __init__(self, blocks: nn.Sequential, is_pooled: bool) -> None:
        super().__init__()
        self.blocks = blocks
        self.is_pooled = is_pooled

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.blocks(x)
        return pool(y) if self.is_pooled else y


def trunk(network: Network, architecture: Architecture, size: int) -> ModelProto:
    """Graph of the blocks before the boundary: `image` uint8 [N, S, S, 3] to `trunk` [N, K, s, s]."""
    return normalising(_traced(_Part(network.trunk, False), size, "trunk"), architecture, size)


def extractor(network: Network, architecture: Architecture, size: int) -> ModelProto:
    """Graph of the whole backbone: `image` uint8 [N, S, S, 3] to `embedding` float32 [N, D]."""
    return normalising(core(network, size), architecture, size)


def core(network: Network, size: int) -> ModelProto:
    """Graph of the backbone alone: normalised `pixels` float32 [N, 3, S, S] to `embedding` [N, D]."""
    return _traced(_Part(network.blocks, True), size, "embedding")


def classifier(
    backbone: ModelProto,
    weight: NDArray[np.float32],
    bias: NDArray[np.float32],
    temperature: float = 1.0,
) -> ModelProto:
    """An extractor's graph with a linear head: outputs `probabilities` [N, C] and `embedding` [N, D].

    weight: [C, D]. bias: [C]. temperature: divides the logits before the softmax.
    """
    model = ModelProto()
    model.CopyFrom(backbone)
    graph = model.graph
    graph.initializer.extend(
        [
            numpy_helper.from_array(np.ascontiguousarray(weight, np.float32), "head.weight"),
            numpy_helper.from_array(np.asarray(bias, np.float32), "head.bias"),
            _temperature(temperature),
        ]
    )
    graph.node.extend(
        [
            helper.make_node("Gemm", ["embedding", "head.weight", "head.bias"], ["logits"], transB=1),
            helper.make_node("Div", ["logits", "temperature"], ["calibrated_logits"]),
            helper.make_node("Softmax", ["calibrated_logits"], ["probabilities"], axis=1),
        ]
    )
    embedding = graph.output[0]
    answer = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", len(bias)])
    del graph.output[:]
    graph.output.extend([answer, embedding])
    return model


def with_novelty(
    model: ModelProto,
    centre: NDArray[np.float32],
    bank: NDArray[np.float32],
    lengths: NDArray[np.float32],
    distances: NDArray[np.float32],
) -> ModelProto:
    """A classifier's graph with a third output, `novelty` float32 [N], from 0 to 1.

    It is the share of `distances` [Q], those of validation photos, that the photo's own exceeds. A
    photo's distance is one less its mean cosine to the ten nearest training photos, each the mean of two:
    seen from zero, and from `centre` [D]. bank: [M, D] of their embeddings at length one. lengths: [M].
    """
    graph = model.graph
    shifted = bank * lengths[:, None] - centre  # [M, D]
    away = np.maximum(np.linalg.norm(shifted, axis=1), LEAST_LENGTH)  # [M]
    constants = {
        "novelty.centre": centre.astype(np.float32)[None],
        "novelty.bank": np.ascontiguousarray(bank.T, np.float16),  # halves the file's growth
        "novelty.scale": (lengths / away)[None].astype(np.float32),
        "novelty.share": (1 / away)[None].astype(np.float32),
        "novelty.offset": (shifted @ centre / away)[None].astype(np.float32),
        "novelty.half": np.float32(0.5),
        "novelty.least": np.float32(LEAST_LENGTH),
        "novelty.distances": distances.astype(np.float32)[None],
        "novelty.k": np.array([min(NEIGHBOURS, len(bank))], np.int64),
        "novelty.one": np.float32(1.0),
        "novelty.axis": np.array([1], np.int64),
    }
    graph.initializer.extend(numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items())
    make = helper.make_node
    graph.node.extend(
        [
            *_both_cosines(),
            make("TopK", ["novelty.cosines", "novelty.k"], ["novelty.nearest", "novelty.which"], axis=1),
            make("ReduceMean", ["novelty.nearest"], ["novelty.cosine"], axes=[1], keepdims=0),
            make("Sub", ["novelty.one", "novelty.cosine"], ["novelty.distance"]),
            make("Unsqueeze", ["novelty.distance", "novelty.axis"], ["novelty.column"]),
            make("Greater", ["novelty.column", "novelty.distances"], ["novelty.exceeds"]),
            make("Cast", ["novelty.exceeds"], ["novelty.votes"], to=TensorProto.FLOAT),
            make("ReduceMean", ["novelty.votes"], ["novelty"], axes=[1], keepdims=0),
        ]
    )
    graph.output.append(helper.make_tensor_value_info("novelty", TensorProto.FLOAT, ["N"]))
    return model


def _both_cosines() -> list[NodeProto]:
    """Mean cosines [N, M] from zero and from the centre, of one product of embedding and bank.

    Where r is a row at length one, l its length, c the centre and a = |l r - c|, the product of e with that
    row's direction from the centre is (l / a) (e r) - (e c) / a.
    """
    make = helper.make_node
    return [
        make("Cast", ["novelty.bank"], ["novelty.rows"], to=TensorProto.FLOAT),
        make("MatMul", ["embedding", "novelty.rows"], ["novelty.products"]),
        *_length("embedding", "novelty.length"),
        make("Div", ["novelty.products", "novelty.length"], ["novelty.from_zero"]),
        make("Sub", ["embedding", "novelty.centre"], ["novelty.shifted"]),
        *_length("novelty.shifted", "novelty.away"),
        make("Mul", ["embedding", "novelty.centre"], ["novelty.by_centre"]),
        make("ReduceSum", ["novelty.by_centre", "novelty.axis"], ["novelty.onto_centre"], keepdims=1),
        make("Mul", ["novelty.products", "novelty.scale"], ["novelty.along"]),
        make("Mul", ["novelty.onto_centre", "novelty.share"], ["novelty.less"]),
        make("Sub", ["novelty.along", "novelty.less"], ["novelty.of_whole"]),
        make("Sub", ["novelty.of_whole", "novelty.offset"], ["novelty.of_shifted"]),
        make("Div", ["novelty.of_shifted", "novelty.away"], ["novelty.from_centre"]),
        make("Add", ["novelty.from_zero", "novelty.from_centre"], ["novelty.both"]),
        make("Mul", ["novelty.both", "novelty.half"], ["novelty.cosines"]),
    ]


def _length(values: str, out: str) -> list[NodeProto]:
    """Lengths [N, 1] of rows, of those of zeros not zero."""
    return [
        helper.make_node("ReduceL2", [values], [f"{out}.norm"], axes=[1], keepdims=1),
        helper.make_node("Max", [f"{out}.norm", "novelty.least"], [out]),
    ]


def set_temperature(model: ModelProto, temperature: float) -> None:
    """Write a fitted temperature into a classifier's graph, in place."""
    for tensor in model.graph.initializer:
        if tensor.name == "temperature":
            tensor.CopyFrom(_temperature(temperature))
            return
    raise ExportError("the graph has no temperature; it was not made by export.onnx.classifier")


def set_metadata(model: ModelProto, properties: Mapping[str, str]) -> None:
    """Replace a model's `metadata_props`."""
    del model.metadata_props[:]
    helper.set_model_props(model, dict(properties))


def load(path: Path) -> ModelProto:
    """Read a model file. Raises ExportError when it is none."""
    try:
        return onnx.load(path)
    # protobuf's DecodeError lives in a private module that moves between its releases
    except Exception as error:
        raise ExportError(f"{path}: not an ONNX model: {error}") from error


def save(model: ModelProto, path: Path) -> None:
    """Check a model and write it whole. Raises ExportError when the checker refuses it."""
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"{path}: the exported graph is not valid ONNX: {error}") from error
    durable.write_bytes(path, model.SerializeToString(deterministic=True))


def _temperature(value: float) -> TensorProto:
    return numpy_helper.from_array(np.asarray(value, np.float32), "temperature")


def _traced(part: nn.Module, size: int, output: str) -> ModelProto:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracing exporter is deprecated, its successor needs more
        torch.onnx.export(
            part.eval(),
            (torch.zeros(1, 3, size, size),),
            buffer,  # type: ignore[arg-type]  # a file object is documented, its type says a path
            input_names=["pixels"],
            output_names=[output],
            dynamic_axes={"pixels": {0: "N"}, output: {0: "N"}},
            opset_version=OPSET,
            dynamo=False,
        )
    model: ModelProto = onnx.load_from_string(buffer.getvalue())
    model.ir_version = _IR_VERSION
    model.producer_name, model.producer_version = "pawloop", ""
    return model
