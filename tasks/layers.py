"""Layers as training on a CPU wants them: the same parameters, the same answers, less time (decision 8).

Knows tensors; knows nothing about networks or training.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

_WIDE: Final = ((5, 5), (1, 1), (2, 2))  # a layer's kernel, stride and padding


def quicken(module: nn.Module) -> None:
    """Replace a module's layers, in place; names and parameters stay as they are."""
    for name, child in module.named_children():
        setattr(module, name, _replaced(child))


def _replaced(layer: nn.Module) -> nn.Module:
    if isinstance(layer, nn.ReLU6):
        return _ReLU6()
    if not isinstance(layer, nn.Conv2d):
        quicken(layer)
    elif layer.kernel_size == layer.stride == (1, 1) and layer.groups == 1:
        return _Pointwise(layer)
    elif layer.groups == layer.in_channels:
        return _Wide(layer) if (layer.kernel_size, layer.stride, layer.padding) == _WIDE else _InFloat(layer)
    return layer


class _Convolution(nn.Module):
    """A convolution that runs as it likes; its parameters keep their names."""

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        self.weight, self.bias = layer.weight, layer.bias
        self._convolved = layer.forward


class _Pointwise(_Convolution):
    """Under autocast, a 1 x 1 convolution as a product of matrices of bfloat16, which is faster."""

    def forward(self, x: Tensor) -> Tensor:
        if not torch.is_autocast_enabled("cpu"):
            return self._convolved(x)
        y = functional.linear(x.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias)
        return y.permute(0, 3, 1, 2)


class _InFloat(_Convolution):
    """A depthwise convolution, always in float32: in bfloat16 its gradient takes up to 50 times as long."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            return self._convolved(x.float())


class _Wide(_Convolution):
    """A depthwise convolution by 5 x 5, in float32, whose weights learn in less time."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            y: Tensor = _ByColumns.apply(x.float(), self.weight, self.bias)  # type: ignore[no-untyped-call]  # torch's own
        return y


class _ByColumns(torch.autograd.Function):
    """The weights' gradient of 5 x 5 by columns: oneDNN has a fast way for at most three of them."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # Any: see _Clamped
        ctx.save_for_backward(x, weight)
        return functional.conv2d(x, weight, bias, padding=2, groups=len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # Any: see _Clamped
        x, weight = ctx.saved_tensors
        of_input, of_weight, of_bias = ctx.needs_input_grad
        wanted = [of_input, False, of_bias]
        inputs, _, biases = _gradients(gradient, x, weight, 2, wanted)
        return inputs, _by_columns(gradient, x, weight) if of_weight else None, biases


def _by_columns(gradient: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """The three in the middle, then the outer ones, each with what it sees: the photo moved by two pixels."""
    if x.shape[-1] <= 2:  # nothing is left of it when it is moved
        return _gradients(gradient, x, weight, 2)[1]
    middle, outer = weight[..., 1:4].contiguous(), weight[..., :1].contiguous()
    columns = (
        _gradients(gradient[..., 2:], x[..., :-2], outer, 0)[1],
        _gradients(gradient, x, middle, 1)[1],
        _gradients(gradient[..., :-2], x[..., 2:], outer, 0)[1],
    )
    return torch.cat(columns, dim=-1)


def _gradients(
    gradient: Tensor, x: Tensor, weight: Tensor, pad: int, wanted: Sequence[bool] = (False, True, False)
) -> tuple[Tensor, Tensor, Tensor]:
    """Of input, weight and bias of a depthwise convolution five rows high, so many columns padded."""
    found: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.convolution_backward(
        gradient, x, weight, [len(weight)], [1, 1], [2, pad], [1, 1], False, [0, 0], len(weight), wanted
    )
    return found


class _ReLU6(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        clamped: Tensor = _Clamped.apply(x)  # type: ignore[no-untyped-call]  # torch's own
        return clamped


class _Clamped(torch.autograd.Function):
    """ReLU6 whose gradient looks at what came out, which the next layer keeps anyway, not at what went in."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # Any: torch's own context has no types
        clamped = x.clamp(0, 6)
        ctx.save_for_backward(clamped)
        return clamped

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # Any: see above
        (clamped,) = ctx.saved_tensors
        passed: Tensor = torch.ops.aten.hardtanh_backward(gradient, clamped, 0.0, 6.0)
        return passed
