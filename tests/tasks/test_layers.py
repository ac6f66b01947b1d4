"""Layers for training on a CPU: PyTorch's own answers and gradients."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from export.backbone import ARCHITECTURES, Network
from pawloop.sections import BACKBONES, Backbone
from tasks.layers import quicken


def tail(backbone: Backbone) -> nn.Sequential:
    torch.manual_seed(0)
    return Network(ARCHITECTURES[backbone], 2).tail.eval()


def activations(backbone: Backbone) -> Tensor:
    torch.manual_seed(1)
    network = Network(ARCHITECTURES[backbone], 2).eval()
    with torch.no_grad():
        return network.trunk(torch.randn(4, 3, 96, 96)).contiguous(memory_format=torch.channels_last)


def quickened(plain: nn.Sequential) -> nn.Sequential:
    quick = copy.deepcopy(plain)
    quicken(quick)
    return quick


def learnt(layers: nn.Sequential, inputs: Tensor, bf16: bool = False) -> tuple[Tensor, dict[str, Tensor]]:
    """What comes out, and the gradient of each parameter."""
    torch.manual_seed(2)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        out = layers(inputs).float()
    (out * torch.randn(out.shape)).sum().backward()
    return out.detach(), {n: p.grad for n, p in layers.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("backbone", BACKBONES)
def test_answers_and_gradients_are_those_of_the_plain_layers(backbone: Backbone) -> None:
    plain, inputs = tail(backbone), activations(backbone)
    (wanted, gradients), (found, mine) = learnt(plain, inputs), learnt(quickened(plain), inputs)
    assert torch.allclose(found, wanted, rtol=1e-3, atol=1e-4 * float(wanted.abs().max()))
    assert mine.keys() == gradients.keys()
    for name, gradient in gradients.items():
        assert torch.allclose(mine[name], gradient, rtol=1e-2, atol=1e-3 * float(gradient.abs().max())), name


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("width", [1, 2, 3, 8])
def test_a_wide_depthwise_kernel_learns_the_same_from_inputs_of_any_size(width: int, bias: bool) -> None:
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(6, 6, 5, padding=2, groups=6, bias=bias))
    inputs = torch.randn(3, 6, 4, width)
    (wanted, gradients), (found, mine) = learnt(plain, inputs), learnt(quickened(plain), inputs)
    assert torch.equal(found, wanted)
    assert mine.keys() == gradients.keys()
    assert all(torch.allclose(mine[name], gradients[name], atol=1e-5) for name in gradients)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_in_bfloat16_they_are_near(backbone: Backbone) -> None:
    plain, inputs = tail(backbone), activations(backbone)
    (wanted, gradients), (found, mine) = learnt(plain, inputs), learnt(quickened(plain), inputs, bf16=True)
    assert torch.cosine_similarity(found.flatten(), wanted.flatten(), dim=0) > 0.99
    whole, near = (torch.cat([g[n].flatten() for n in gradients]) for g in (gradients, mine))
    assert torch.cosine_similarity(whole, near, dim=0) > 0.95
    assert all(one.dtype == torch.float32 for one in mine.values())


def test_names_stay_and_a_copy_is_a_network_of_its_own() -> None:
    plain, inputs = tail("efficientnet_lite0"), activations("efficientnet_lite0")
    quick = quickened(plain)
    assert quick.state_dict().keys() == plain.state_dict().keys()
    other = copy.deepcopy(quick)
    with torch.no_grad():
        before = quick(inputs)
        for parameter in other.parameters():
            parameter.zero_()
        assert torch.equal(quick(inputs), before)
        assert not torch.equal(other(inputs), before)
        other.load_state_dict(quick.state_dict())
        assert torch.equal(other(inputs), before)
