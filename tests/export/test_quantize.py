"""int8 where the plain way is good, and where one layer is made sensitive on purpose."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from export import front, quantize
from export.backbone import ARCHITECTURES
from pawloop.errors import ExportError

SIZE = 32
ARCHITECTURE = ARCHITECTURES["mobilenet_v2"]
LAYERS = 9
DEPTHWISE = 7


def core(outlier: float = 1.0) -> onnx.ModelProto:
    """Nine convolutions; one channel between the fourth and the fifth is `outlier` times as large.

    The fifth takes it back, so that in float the answer is the same whatever it is. The eighth is depthwise.
    """
    rng = np.random.default_rng(0)
    nodes, constants, before, channels = [], [], "pixels", 3
    for number in range(LAYERS):
        groups = channels if number == DEPTHWISE else 1
        weight = rng.normal(0, np.sqrt(2 / channels), (8, channels // groups, 1, 1)).astype(np.float32)
        if number == 3:
            weight[0] = np.abs(weight[0]) * outlier  # never cut off by the Relu
        elif number == 4:
            weight[:, 0] /= outlier
        constants.append(numpy_helper.from_array(weight, f"w{number}"))
        names = [before, f"w{number}"]
        nodes.append(helper.make_node("Conv", names, [f"c{number}"], f"conv{number}", group=groups))
        nodes.append(helper.make_node("Relu", [f"c{number}"], [f"r{number}"], f"relu{number}"))
        before, channels = f"r{number}", 8
    nodes.append(helper.make_node("GlobalAveragePool", [before], ["pooled"], "pool"))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["embedding"], "flat"))
    graph = helper.make_graph(
        nodes,
        "core",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["N", 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["N", 8])],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def images(count: int = 12, seed: int = 1) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)


def error(model: onnx.ModelProto, plain: onnx.ModelProto) -> float:
    asked = {"image": images(8, seed=2)}
    whole = front.normalising(onnx.load_from_string(plain.SerializeToString()), ARCHITECTURE, SIZE)
    mine, theirs = (
        ort.InferenceSession(one.SerializeToString()).run(None, asked)[0] for one in (model, whole)
    )
    return float((np.linalg.norm(mine - theirs, axis=1) / np.linalg.norm(theirs, axis=1)).mean())


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many nodes were left in float, a number for each time that the quantiser ran."""
    made: list[int] = []
    real = quantize.quantize_static

    def counted(*given: object, **named: object) -> None:
        made.append(len(named["nodes_to_exclude"]))  # type: ignore[arg-type]  # a list
        real(*given, **named)

    monkeypatch.setattr(quantize, "quantize_static", counted)
    return made


def test_where_the_plain_way_is_good_nothing_else_is_tried(attempts: list[int]) -> None:
    plain = core()
    assert error(quantize.quantised(plain, images(), ARCHITECTURE), plain) < quantize.TOLERANCE
    assert attempts == [0]


def test_where_eight_bits_answer_otherwise_no_sum_of_two_products_leaves_sixteen(
    attempts: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, first = quantize._distance, iter([1.0])  # as on a processor whose sums overflow
    monkeypatch.setattr(quantize, "_distance", lambda *given: next(first, None) or real(*given))
    plain = core()
    found = quantize.quantised(plain, images(), ARCHITECTURE)
    assert attempts == [0, 0]
    assert error(found, plain) < quantize.TOLERANCE
    weights = [numpy_helper.to_array(one) for one in found.graph.initializer if len(one.dims) == 4]
    assert sum(weight.shape[1] == 1 for weight in weights) == 1
    for weight in weights:
        if weight.shape[1] > 1:
            pairs = np.pad(weight.astype(int), ((0, 0), (0, weight.shape[1] % 2), (0, 0), (0, 0)))
            sums = pairs[:, 0::2] + pairs[:, 1::2]
            assert 255 * sums.max() < 2**15
            assert 255 * sums.min() >= -(2**15)
        else:
            assert np.abs(weight).max() == 127


def test_a_sensitive_layer_stays_in_float_and_the_rest_does_not(attempts: list[int]) -> None:
    plain = core(outlier=3000)
    found = quantize.quantised(plain, images(), ARCHITECTURE)
    assert error(found, plain) < quantize.TOLERANCE
    weights = {one.name: one.data_type for one in found.graph.initializer}
    in_float = {f"w{n}" for n in range(LAYERS) if weights.get(f"w{n}") == TensorProto.FLOAT}
    assert "w4" in in_float  # reads the channel
    assert len(in_float) <= LAYERS // 2
    assert 1 + 3 <= len(attempts) <= 1 + 3 + quantize._BLOCKS + quantize._BLOCKS // 2


def test_a_search_without_time_left_gives_the_closest_so_far(
    attempts: list[int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(quantize, "_SEARCH_S", -1.0)
    quantize.quantised(core(outlier=3000), images(), ARCHITECTURE)
    assert attempts == [0]
    assert capsys.readouterr().out == ""


def test_a_front_in_float_gives_what_normalised_pixels_give() -> None:
    plain = core()
    on_bytes = front.taking_bytes(front.on_shifted_bytes(plain, ARCHITECTURE), ARCHITECTURE, SIZE)
    assert error(on_bytes, plain) < 1e-5


def test_a_network_that_starts_otherwise_is_refused() -> None:
    plain = core()
    plain.graph.node[0].op_type = "MatMul"
    with pytest.raises(ExportError, match="starts with Conv"):
        quantize.quantised(plain, images(), ARCHITECTURE)
