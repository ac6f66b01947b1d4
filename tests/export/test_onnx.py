"""The exported graph against PyTorch, for every backbone."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from export import onnx as graphs
from export.backbone import ARCHITECTURES, Network, normalised
from export.quantize import quantised
from export.verify import parity
from pawloop.card import self_test_images
from pawloop.errors import ExportError
from pawloop.sections import BACKBONES, Backbone
from pawloop.session import Session
from tasks import familiar

SIZE = 96


def network(backbone: Backbone) -> Network:
    torch.manual_seed(0)
    made = Network(ARCHITECTURES[backbone], 3).eval()
    with torch.no_grad():  # untrained weights answer the same to everything
        made.head.weight.normal_(0, 30)
    return made


def file(made: Network, backbone: Backbone, folder: Path, temperature: float = 1.0) -> Path:
    graph = graphs.extractor(made, ARCHITECTURES[backbone], SIZE)
    weight, bias = made.head.weight.detach().numpy(), made.head.bias.detach().numpy()
    path = folder / "model.onnx"
    graphs.save(graphs.classifier(graph, weight, bias, temperature), path)
    return path


@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_backbone_exports_to_a_file_that_agrees_with_pytorch(
    backbone: Backbone, tmp_path: Path
) -> None:
    made = network(backbone)
    session = Session(file(made, backbone, tmp_path))
    assert session.outputs == ("probabilities", "embedding")
    images = self_test_images(SIZE)
    with torch.inference_mode():
        expected = made.embed(normalised(torch.from_numpy(images), ARCHITECTURES[backbone])).numpy()
    embedding = session.run(images, ("embedding",))["embedding"]
    assert np.allclose(embedding, expected, atol=1e-4, rtol=1e-3)
    assert parity(made, ARCHITECTURES[backbone], session, self_test_images(SIZE)) <= 1e-4


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_trunk_and_the_tail_together_are_the_backbone(backbone: Backbone) -> None:
    made = network(backbone)
    trunk = Session(graphs.trunk(made, ARCHITECTURES[backbone], SIZE).SerializeToString())
    images = self_test_images(SIZE)
    activations = torch.from_numpy(trunk.run(images)["trunk"])
    with torch.inference_mode():
        expected = made.blocks(normalised(torch.from_numpy(images), ARCHITECTURES[backbone]))
        assert torch.allclose(made.tail(activations), expected, atol=1e-4, rtol=1e-3)


def test_any_number_of_photos_goes_through_at_once(tmp_path: Path) -> None:
    session = Session(file(network("mobilenet_v3_small"), "mobilenet_v3_small", tmp_path))
    images = self_test_images(SIZE)
    together = session.run(images)["probabilities"]
    alone = np.concatenate([session.run(images[i : i + 1])["probabilities"] for i in range(4)])
    assert together.shape == (4, 3)
    assert np.allclose(together, alone, atol=1e-5)


def test_a_temperature_sharpens_nothing_but_the_probabilities(tmp_path: Path) -> None:
    path = file(network("mobilenet_v3_small"), "mobilenet_v3_small", tmp_path)
    plain = Session(path).run(self_test_images(SIZE))
    model = graphs.load(path)
    graphs.set_temperature(model, 4.0)
    graphs.save(model, path)
    soft = Session(path).run(self_test_images(SIZE))
    assert (plain["embedding"] == soft["embedding"]).all()
    assert soft["probabilities"].max() < plain["probabilities"].max()


def test_the_input_is_bytes_as_a_decoder_gives_them(tmp_path: Path) -> None:
    path = file(network("mobilenet_v2"), "mobilenet_v2", tmp_path)
    declared = onnx.load(path).graph.input[0].type.tensor_type
    assert declared.elem_type == onnx.TensorProto.UINT8
    assert [d.dim_param or d.dim_value for d in declared.shape.dim] == ["N", SIZE, SIZE, 3]


def test_a_file_that_is_no_model_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"not a model")
    with pytest.raises(ExportError, match="not an ONNX model"):
        graphs.load(tmp_path / "x.onnx")


def test_novelty_in_the_graph_is_what_the_training_side_worked_out(tmp_path: Path) -> None:
    made = network("mobilenet_v3_small")
    path = file(made, "mobilenet_v3_small", tmp_path)
    rng = np.random.default_rng(0)
    seen = Session(path).run(rng.integers(0, 256, (12, SIZE, SIZE, 3), dtype=np.uint8))["embedding"]
    bank = familiar.Bank.of(seen)
    spread = familiar.spread(familiar.distances(seen[::-1] * 1.1, bank, graphs.NEIGHBOURS))
    graphs.save(graphs.with_novelty(graphs.load(path), bank.centre, bank.rows, bank.lengths, spread), path)
    told = Session(path).run(self_test_images(SIZE))
    away = familiar.distances(told["embedding"], bank, graphs.NEIGHBOURS)
    assert told["novelty"] == pytest.approx((away[:, None] > spread[None]).mean(axis=1), abs=1e-6)
    assert set(Session(path).outputs) == {"probabilities", "embedding", "novelty"}
    assert familiar.distances(np.zeros_like(seen[:1]), bank, graphs.NEIGHBOURS) > away.max()


def test_int8_answers_much_as_float32_and_weighs_a_third(tmp_path: Path) -> None:
    made, architecture = network("mobilenet_v2"), ARCHITECTURES["mobilenet_v2"]
    images = self_test_images(SIZE)
    graphs.save(quantised(graphs.core(made, SIZE), images, architecture), tmp_path / "int8.onnx")
    graphs.save(graphs.extractor(made, architecture, SIZE), tmp_path / "float32.onnx")
    small, whole = (
        Session(tmp_path / f"{kind}.onnx").run(images)["embedding"] for kind in ("int8", "float32")
    )
    cosine = (small * whole).sum(1) / np.linalg.norm(small, axis=1) / np.linalg.norm(whole, axis=1)
    assert cosine.min() > 0.9
    sizes = [(tmp_path / f"{kind}.onnx").stat().st_size for kind in ("int8", "float32")]
    assert sizes[0] < 0.4 * sizes[1]


def operators(path: Path, folder: Path) -> Counter[str]:
    """What onnxruntime makes of a file on this machine, counted by operator."""
    options = ort.SessionOptions()
    options.optimized_model_filepath, options.log_severity_level = str(folder / "optimised.onnx"), 3
    ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(folder / "optimised.onnx").graph.node)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_padding_becomes_part_of_the_convolutions(backbone: Backbone, tmp_path: Path) -> None:
    found = operators(file(network(backbone), backbone, tmp_path), tmp_path)
    assert "Pad" not in found
    assert found["Conv"] >= 49


@pytest.mark.parametrize("backbone", ["mobilenet_v2", "efficientnet_lite0"])
@pytest.mark.parametrize("overflows", [False, True])
def test_int8_works_on_bytes_from_the_photo_or_the_first_expansion_to_the_embedding(
    backbone: Backbone, overflows: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = iter([1.0, 0.0] if overflows else [0.0])  # whatever this processor is
    monkeypatch.setattr("export.quantize._distance", lambda *_: next(told))
    made, architecture = network(backbone), ARCHITECTURES[backbone]
    graph = quantised(graphs.core(made, SIZE), self_test_images(SIZE), architecture)
    graphs.save(graph, tmp_path / "int8.onnx")
    found = operators(tmp_path / "int8.onnx", tmp_path)
    assert {"Pad", "Add"}.isdisjoint(found)
    assert found["Conv"] + found["FusedConv"] == (3 if overflows else 0)
    assert found["QuantizeLinear"] == (1 if overflows else 0)
    assert found["QLinearConv"] >= 46
    assert found["DequantizeLinear"] <= 2 + overflows  # the embedding's, and the photo's


def test_a_file_is_made_of_what_it_needs_alone(tmp_path: Path) -> None:
    made, architecture = network("mobilenet_v3_small"), ARCHITECTURES["mobilenet_v3_small"]
    graph = quantised(graphs.core(made, SIZE), self_test_images(SIZE), architecture).graph
    needed = {name for node in graph.node for name in node.input}
    assert {one.name for one in graph.initializer} <= needed
