"""The frozen graphs that features come from, and every photo's embedding by one of them.

A graph is built once and named after all that decides its output. Knows recipes and weights; knows
nothing about how features are kept (see `features`) or what learns from them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from export import onnx as graphs
from export.backbone import ARCHITECTURES, Network
from pawloop import durable
from pawloop.image import Resize
from tasks.features import Extractor, Progress, Wanted, features
from tasks.manifest import SIDES, Dataset
from tasks.weights import Pretrained

if TYPE_CHECKING:
    from pathlib import Path

    from tasks.train import Recipe

Output = Literal["embedding", "trunk"]


def frozen_extractor(network: Network, recipe: Recipe, output: Output, store: Path) -> Extractor:
    """The graph of a recipe's frozen blocks, built unless it is there."""
    size = recipe.image_size
    facts = [recipe.backbone, recipe.weights_sha256, size, recipe.crop, output]
    if recipe.weights_sha256 is None:
        facts.append(recipe.seed)
    key = durable.content_key(*facts, graphs.OPSET, network.boundary)
    path = store / "extractors" / f"{key}.onnx"
    if not path.exists():
        build = graphs.trunk if output == "trunk" else graphs.extractor
        graphs.save(build(network, ARCHITECTURES[recipe.backbone], size), path)
    return Extractor(path, key, output, Resize(size, recipe.crop))


def embeddings(
    dataset: Dataset, recipe: Recipe, weights: Pretrained, on_progress: Progress | None = None
) -> NDArray[np.float32] | None:
    """[N, D] of all photos that a version keeps, in the order of their ids, by the pretrained blocks.

    They are the ones that training starts from, so whoever asks first computes them for both. None where
    the weights are random and mean nothing.
    """
    photos = sorted((photo for side in SIDES for photo in dataset.photos(side)), key=lambda one: one.id)
    if weights.sha256 is None or not photos:
        return None
    network = Network(ARCHITECTURES[recipe.backbone], len(recipe.classes))
    network.blocks.load_state_dict(weights.blocks)
    frozen = frozen_extractor(network.eval(), recipe, "embedding", dataset.store)
    rows = features(frozen, dataset, [Wanted(photo, 0) for photo in photos], on_progress)
    return rows.astype(np.float32)
