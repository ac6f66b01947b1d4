"""The usual recipe: torchvision's reference for training classifiers, as a peer, in our own words.

What its `references/classification/train.py` does by default: every layer trained by SGD with momentum at one
rate that falls to a tenth every 30 epochs, random crops and flips, float32, batches of 32 from loading
processes; judged after each epoch on centre crops. Knows files, labels and PyTorch; knows nothing of Pawloop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader, Dataset

from bench.took import Clock, Took
from export.vision import torchvision

DEFAULT_RATE: Final = 0.1
_BATCH: Final = 32
_MOMENTUM: Final = 0.9
_WEIGHT_DECAY: Final = 1e-4
_STEP_EPOCHS: Final = 30
_GAMMA: Final = 0.1
_SIZE: Final = 224
_WIDE: Final = 256  # what judging resizes to before it cuts
_MEAN: Final = (0.485, 0.456, 0.406)
_STD: Final = (0.229, 0.224, 0.225)
_DEVICE: Final = "cuda" if torch.cuda.is_available() else "cpu"  # as ours


Samples = Sequence[tuple[str, int]]  # photos in files, and the number of each one's class


@dataclass(frozen=True)
class Trial:
    """What is asked for.

    weights: a state dict of torchvision's `mobilenet_v2`. limit_s: no epoch starts later.
    workers: loading processes, and threads that compute.
    """

    weights: Path
    class_count: int
    rate: float
    epochs: int
    limit_s: float = float("inf")
    workers: int = 2
    seed: int = 0


@dataclass(frozen=True)
class Epoch:
    """How far it was at the end of an epoch.

    took: all training since it asked for the first batch, with its loading processes; judging is left out.
    accuracy: on held-out photos.
    """

    took: Took
    accuracy: float


def train(samples: Samples, held: Samples, trial: Trial) -> list[Epoch]:
    """Fine-tune by the recipe, and judge after every epoch."""
    torch.manual_seed(trial.seed)
    torch.set_num_threads(max(1, trial.workers))
    network = model(trial.weights, trial.class_count).to(_DEVICE)
    optimiser = torch.optim.SGD(
        network.parameters(), lr=trial.rate, momentum=_MOMENTUM, weight_decay=_WEIGHT_DECAY
    )
    schedule = StepLR(optimiser, step_size=_STEP_EPOCHS, gamma=_GAMMA)
    loader = DataLoader(_Photos(samples, is_training=True), _BATCH, shuffle=True, num_workers=trial.workers)
    judging = DataLoader(_Photos(held, is_training=False), _BATCH, num_workers=trial.workers)
    epochs: list[Epoch] = []
    took = Took(0.0, 0.0)
    while len(epochs) < trial.epochs and took.wall_s < trial.limit_s:
        clock = Clock()
        _epoch(network, optimiser, loader)
        schedule.step()
        took += clock.took()
        epochs.append(Epoch(took, _accuracy(network, judging)))
    return epochs


def model(weights: Path, class_count: int) -> nn.Module:
    """torchvision's MobileNetV2 with pretrained weights and a new classifier."""
    network: nn.Module = torchvision.models.get_model("mobilenet_v2", weights=None)
    network.load_state_dict(load_file(weights))
    classifier = network.get_submodule("classifier")
    assert isinstance(classifier, nn.Sequential)
    last = classifier[-1]
    assert isinstance(last, nn.Linear)
    classifier[-1] = nn.Linear(last.in_features, class_count)
    return network


def _epoch(
    network: nn.Module, optimiser: torch.optim.Optimizer, loader: DataLoader[tuple[Tensor, int]]
) -> None:
    network.train()
    criterion = nn.CrossEntropyLoss()
    for images, labels in loader:
        loss = criterion(network(images.to(_DEVICE)), labels.to(_DEVICE))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def _accuracy(network: nn.Module, loader: DataLoader[tuple[Tensor, int]]) -> float:
    network.eval()
    right = count = 0
    with torch.inference_mode():
        for images, labels in loader:
            right += int((network(images.to(_DEVICE)).argmax(1).cpu() == labels).sum())
            count += len(labels)
    return right / count


class _Photos(Dataset[tuple[Tensor, int]]):
    def __init__(self, samples: Samples, *, is_training: bool) -> None:
        self._samples = samples
        ways = torchvision.transforms
        cut = (
            [ways.RandomResizedCrop(_SIZE, antialias=True), ways.RandomHorizontalFlip(0.5)]
            if is_training
            else [ways.Resize(_WIDE, antialias=True), ways.CenterCrop(_SIZE)]
        )
        as_tensor = [ways.PILToTensor(), ways.ConvertImageDtype(torch.float), ways.Normalize(_MEAN, _STD)]
        self._transform = ways.Compose([*cut, *as_tensor])

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        path, label = self._samples[index]
        with Image.open(path) as photo:
            pixels: Tensor = self._transform(photo.convert("RGB"))
        return pixels, label
