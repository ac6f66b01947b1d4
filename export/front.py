"""The front of a graph: from the bytes of pixels, uint8 [N, S, S, 3], to what the blocks take.

A graph in float gets normalised pixels; one in int8 takes the bytes as they are, and its first convolution
knows mean and deviation. Knows graphs; knows nothing about photos or quantisers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from export.backbone import Architecture
from pawloop.errors import ExportError

_ONE: Final[NDArray[np.generic]] = np.ones((), np.float32)

PIXELS: Final = "pixels"  # what the blocks' graph takes, float32 [N, 3, S, S]


def normalising(model: ModelProto, architecture: Architecture, size: int) -> ModelProto:
    """Put uint8 NHWC input and normalisation before a graph that takes normalised `pixels`; in place.

    Transposing bytes and one per-channel DequantizeLinear cost nearly nothing, where casting,
    subtracting and dividing in float cost a tenth of the whole inference. The zero point is a whole
    number, so what it rounds away of the mean is added; added, not folded into the first
    convolution, whose padding must stay zero *after* normalisation.
    """
    mean, std = np.asarray(architecture.mean), np.asarray(architecture.std)
    zero_point = np.rint(mean).astype(np.uint8)
    residue = ((zero_point - mean) / std).astype(np.float32).reshape(1, 3, 1, 1)
    is_exact = not residue.any()
    nodes = [_dequantized(PIXELS if is_exact else "shifted")]
    constants = {"front.scale": (1 / std).astype(np.float32), "front.zero_point": zero_point}
    if not is_exact:
        nodes.append(helper.make_node("Add", ["shifted", "front.residue"], [PIXELS]))
        constants["front.residue"] = residue
    return _fronted(model, nodes, constants, size)


def zero_point(architecture: Architecture) -> NDArray[np.uint8]:
    """The byte, of shape [], that stands for zero where a graph takes bytes: the mean of all channels."""
    return np.asarray(np.rint(np.mean(architecture.mean)), np.uint8)


def on_shifted_bytes(core: ModelProto, architecture: Architecture) -> ModelProto:
    """The same graph, its `pixels` being bytes less `zero_point` in the place of normalised pixels.

    Mean and deviation go into the first convolution's weights and bias. Its padding is then the mean colour
    of all channels, not each channel's own (at most 11 of 255 apart): less than what int8 itself changes.
    Raises ExportError where the first layer is no convolution.
    """
    model = ModelProto()
    model.CopyFrom(core)
    node = _first_convolution(model)
    tensors = {one.name: one for one in model.graph.initializer}
    weight = numpy_helper.to_array(tensors[node.input[1]])  # [O, 3, K, K]
    per_byte = weight / np.asarray(architecture.std).reshape(1, 3, 1, 1)
    shift = (float(zero_point(architecture)) - np.asarray(architecture.mean)).reshape(1, 3, 1, 1)
    bias = (per_byte * shift).sum(axis=(1, 2, 3))  # [O]
    if len(node.input) > 2:
        bias += numpy_helper.to_array(tensors[node.input[2]])
    del node.input[1:]
    node.input.extend(["front.weight", "front.bias"])
    _add(model, {"front.weight": per_byte.astype(np.float32), "front.bias": bias.astype(np.float32)})
    _drop_unused(model)
    return model


def taking_bytes(model: ModelProto, architecture: Architecture, size: int) -> ModelProto:
    """Put uint8 NHWC input before a graph that takes bytes less `zero_point`; in place.

    A graph that quantises them first, with scale one and that zero point, gets the bytes themselves:
    through float and back costs a quarter of an int8 network's time.
    """
    graph = model.graph
    constants = {"front.scale": _ONE, "front.zero_point": zero_point(architecture)}
    quantizer = next((n for n in graph.node if n.op_type == "QuantizeLinear" and n.input[0] == PIXELS), None)
    if quantizer is None:
        return _fronted(model, [_dequantized(PIXELS)], constants, size)
    graph.node.remove(quantizer)
    return _fronted(model, [], {}, size, quantizer.output[0])


def _first_convolution(model: ModelProto) -> NodeProto:
    takers: dict[str, NodeProto] = {name: node for node in model.graph.node for name in node.input}
    node = takers[PIXELS]
    if node.op_type == "Pad":
        node = takers[node.output[0]]
    if node.op_type != "Conv":
        raise ExportError(f"the first layer is {node.op_type}; int8 needs a network that starts with Conv")
    return node


def _drop_unused(model: ModelProto) -> None:
    needed = {name for node in model.graph.node for name in node.input}
    kept = [one for one in model.graph.initializer if one.name in needed]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)


def _dequantized(output: str) -> NodeProto:
    return helper.make_node(
        "DequantizeLinear", ["bytes", "front.scale", "front.zero_point"], [output], axis=1
    )


def _fronted(
    model: ModelProto,
    nodes: list[NodeProto],
    constants: Mapping[str, NDArray[np.generic]],
    size: int,
    transposed: str = "bytes",
) -> ModelProto:
    graph = model.graph
    first = helper.make_node("Transpose", ["image"], [transposed], perm=[0, 3, 1, 2])
    rest = list(graph.node)
    del graph.node[:]
    graph.node.extend([first, *nodes, *rest])
    _add(model, constants)
    del graph.input[:]
    graph.input.append(helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", size, size, 3]))
    return model


def _add(model: ModelProto, constants: Mapping[str, NDArray[np.generic]]) -> None:
    tensors = (numpy_helper.from_array(value, name) for name, value in constants.items())
    model.graph.initializer.extend(tensors)
