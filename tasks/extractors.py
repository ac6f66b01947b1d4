"""The frozen graphs that features come from, and every photo's embedding by one of them.

A graph is built once and named after all that decides its output. Knows pretrained weights and input
sizes; knows nothing about how features are kept (see `features`) or what learns from them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from export import onnx as graphs
from export.backbone import ARCHITECTURES, Architecture, Network
from pawloop import durable
from pawloop.image import CropMode, Resize
from pawloop.sections import Backbone
from tasks.features import Extractor, Progress, Wanted, features
from tasks.manifest import SIDES, Dataset
from tasks.provenance import view_version
from tasks.weights import Pretrained

if TYPE_CHECKING:
    from pathlib import Path

Output = Literal["embedding", "trunk"]


@dataclass(frozen=True)
class Net:
    """A pretrained backbone at one input size, and how photos are cut for it.

    weights_sha256: None where they are random. crop, crop_mode: as `Resize` has them.
    """

    backbone: Backbone
    weights_sha256: str | None
    image_size: int
    crop: float
    crop_mode: CropMode = "center"

    @property
    def name(self) -> str:
        """Such as "mobilenet_v2 at 224" or "mobilenet_v2 at 224, squashed"."""
        squashed = ", squashed" if self.crop_mode == "squash" else ""
        return f"{self.backbone} at {self.image_size}{squashed}"

    @property
    def cost(self) -> float:
        """Millions of multiply-adds a photo, by which candidates are tried from the cheapest on."""
        return self.architecture.multiply_adds * (self.image_size / 224) ** 2

    @property
    def architecture(self) -> Architecture:
        """How its backbone is made."""
        return ARCHITECTURES[self.backbone]

    @property
    def rule(self) -> Resize:
        """From a photo to its input."""
        return Resize(self.image_size, self.crop, self.crop_mode)

    def network(self, weights: Pretrained, class_count: int, seed: int) -> Network:
        """The backbone with its weights and a new head, in evaluation mode."""
        torch.manual_seed(seed)
        network = Network(self.architecture, class_count)
        network.blocks.load_state_dict(weights.blocks)
        return network.eval()


def frozen_extractor(net: Net, network: Network, output: Output, store: Path) -> Extractor:
    """The graph of the frozen blocks of `network`, built unless it is there."""
    facts = [net.backbone, net.weights_sha256, net.image_size, str(net.rule), output, view_version()]
    key = durable.content_key(*facts, graphs.OPSET, network.boundary)
    path = store / "extractors" / f"{key}.onnx"
    if not path.exists():
        build = graphs.trunk if output == "trunk" else graphs.extractor
        graphs.save(build(network, net.architecture, net.image_size), path)
    return Extractor(path, key, output, net.rule)


def embeddings(
    dataset: Dataset, net: Net, weights: Pretrained, on_progress: Progress | None = None
) -> NDArray[np.float16] | None:
    """[N, D] of all photos that a version keeps, in the order of their ids, by the pretrained blocks.

    They are the ones that training starts from, so whoever asks first computes them for both. None where
    the weights are random and mean nothing.
    """
    photos = sorted((photo for side in SIDES for photo in dataset.photos(side)), key=lambda one: one.id)
    if net.weights_sha256 is None or not photos:
        return None
    network = net.network(weights, 2, seed=0)
    frozen = frozen_extractor(net, network, "embedding", dataset.store)
    return features(frozen, dataset, [Wanted(photo, 0) for photo in photos], on_progress)
