"""The backbones: MobileNets and EfficientNet-Lite0 as one shape of network, without weights.

A network is a row of blocks, pooled to an embedding, and a linear head. The blocks before `boundary`
keep their pretrained weights; those after it may be fine-tuned. Knows layers; knows nothing about
where weights, photos or ONNX files lie.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from export.vision import torchvision
from pawloop.sections import Backbone

IMAGENET_MEAN = (0.485 * 255, 0.456 * 255, 0.406 * 255)
IMAGENET_STD = (0.229 * 255, 0.224 * 255, 0.225 * 255)


@dataclass(frozen=True)
class Architecture:
    """How a backbone is made and what it wants to see.

    mean, std: of each RGB channel, in units of 0 to 255. embedding_size: width of the pooled
    features. boundary: first block that fine-tuning may change; its input is 14 x 14 at 224 pixels.
    multiply_adds: of one photo of 224 pixels, in millions, as published.
    """

    blocks: Callable[[], nn.Sequential]
    embedding_size: int
    boundary: int
    multiply_adds: int
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD


class Network(nn.Module):
    """blocks, pooling, head: normalised float32 [N, 3, S, S] to logits [N, C].

    Batch normalisation is folded into the convolutions before it. Transfer learning on a few hundred
    photos keeps ImageNet's statistics anyway, and a step of fine-tuning without it takes two thirds
    of the time and of the memory.
    """

    def __init__(self, architecture: Architecture, class_count: int) -> None:
        super().__init__()
        self.blocks = folded(architecture.blocks())
        self.boundary = architecture.boundary
        self.head = nn.Linear(architecture.embedding_size, class_count)

    def embed(self, images: Tensor) -> Tensor:
        """Pooled features [N, D] of normalised images [N, 3, S, S]."""
        return pool(self.blocks(images))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.embed(images))
        return logits

    @property
    def trunk(self) -> nn.Sequential:
        """The blocks that always stay as they were pretrained: images to [N, K, s, s]."""
        return nn.Sequential(*list(self.blocks)[: self.boundary])

    @property
    def tail(self) -> nn.Sequential:
        """The blocks that fine-tuning may change: [N, K, s, s] to [N, D, s', s']."""
        return nn.Sequential(*list(self.blocks)[self.boundary :])


def folded(blocks: nn.Sequential) -> nn.Sequential:
    """The blocks, each batch normalisation folded into the convolution that it follows; in place."""
    blocks.eval()
    for row in [module for module in blocks.modules() if isinstance(module, nn.Sequential)]:
        for index, (layer, after) in enumerate(pairwise(row)):
            if isinstance(layer, nn.Conv2d) and isinstance(after, nn.BatchNorm2d):
                row[index] = fuse_conv_bn_eval(layer, after)
                row[index + 1] = nn.Identity()
    return blocks


def pool(features: Tensor) -> Tensor:
    """Mean over positions: [N, D, s, s] to [N, D]."""
    return functional.adaptive_avg_pool2d(features, 1).flatten(1)


def _torchvision(name: str) -> Callable[[], nn.Sequential]:
    def blocks() -> nn.Sequential:
        network = torchvision.models.get_model(name, weights=None)
        features: nn.Sequential = network.features
        return features

    return blocks


class _SameConv(nn.Conv2d):
    """Convolution with TensorFlow's "same" padding, which at stride 2 pads one side more.

    The zero is named, since onnxruntime joins only a padding by a named value with the convolution after it:
    without that EfficientNet-Lite0 takes a fifth more time in float32 and a quarter more in int8.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, groups: int) -> None:
        pad = kernel // 2 if stride == 1 else 0
        super().__init__(inputs, outputs, kernel, stride, pad, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        if stride == 1:
            return super().forward(x)
        pads = []
        for size in (int(x.shape[-1]), int(x.shape[-2])):
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            pads += [total // 2, total - total // 2]
        padded: Tensor = self._conv_forward(functional.pad(x, pads, value=0.0), self.weight, self.bias)
        return padded


def _unit(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    return [
        _SameConv(inputs, outputs, kernel, stride, groups),
        nn.BatchNorm2d(outputs, eps=1e-3),
    ]


class _InvertedResidual(nn.Module):
    """MobileNetV2's block: expand, depthwise, project; ReLU6 on the wide side only."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expand: int) -> None:
        super().__init__()
        wide = inputs * expand
        layers = [*_unit(inputs, wide, 1), nn.ReLU6()] if expand > 1 else []
        layers += [*_unit(wide, wide, kernel, stride, groups=wide), nn.ReLU6()]
        layers += _unit(wide, outputs, 1)
        self.layers = nn.Sequential(*layers)
        self.is_residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return x + y if self.is_residual else y


# Rows of EfficientNet-B0 (Tan and Le 2019, table 1): repeats, kernel, stride, expansion, in, out.
_LITE0_ROWS = (
    (1, 3, 1, 1, 32, 16),
    (2, 3, 2, 6, 16, 24),
    (2, 5, 2, 6, 24, 40),
    (3, 3, 2, 6, 40, 80),
    (3, 5, 1, 6, 80, 112),
    (4, 5, 2, 6, 112, 192),
    (1, 3, 1, 6, 192, 320),
)


def _efficientnet_lite0() -> nn.Sequential:
    blocks: list[nn.Module] = [nn.Sequential(*_unit(3, 32, 3, 2), nn.ReLU6())]
    for repeats, kernel, stride, expand, inputs, outputs in _LITE0_ROWS:
        blocks.append(_InvertedResidual(inputs, outputs, kernel, stride, expand))
        blocks += [_InvertedResidual(outputs, outputs, kernel, 1, expand) for _ in range(repeats - 1)]
    blocks.append(nn.Sequential(*_unit(320, 1280, 1), nn.ReLU6()))
    return nn.Sequential(*blocks)


ARCHITECTURES: dict[Backbone, Architecture] = {
    "mobilenet_v3_large": Architecture(_torchvision("mobilenet_v3_large"), 960, 11, 219),
    "mobilenet_v3_small": Architecture(_torchvision("mobilenet_v3_small"), 576, 7, 56),
    "mobilenet_v2": Architecture(_torchvision("mobilenet_v2"), 1280, 11, 300),
    "efficientnet_lite0": Architecture(
        _efficientnet_lite0, 1280, 9, 407, mean=(127.0, 127.0, 127.0), std=(128.0, 128.0, 128.0)
    ),
}


def normalised(images: Tensor, architecture: Architecture) -> Tensor:
    """uint8 [N, S, S, 3] to the float32 [N, 3, S, S] that the blocks expect."""
    mean = torch.tensor(architecture.mean).view(1, 3, 1, 1)
    std = torch.tensor(architecture.std).view(1, 3, 1, 1)
    return (images.permute(0, 3, 1, 2).float() - mean) / std
