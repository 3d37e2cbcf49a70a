"""Norms and the feed-forward layer against their equations."""

import math

import pytest
import torch

from heed.models.feedforward import ACTIVATIONS, FeedForward, default_width
from heed.models.norms import LayerNorm, RMSNorm


def test_layer_norm_divides_by_the_biased_variance():
    norm = LayerNorm(2, epsilon=0.0)
    torch.nn.init.ones_(norm.weight)
    torch.nn.init.zeros_(norm.bias)
    assert norm(torch.tensor([1.0, 3.0])).tolist() == [-1.0, 1.0]  # with D - 1 it would be 0.707


@pytest.mark.parametrize("bias", [True, False])
def test_norms_equal_their_equations(bias):
    torch.manual_seed(0)
    x = torch.randn(3, 5, dtype=torch.float64)
    layer, rms = LayerNorm(5, 1e-3, bias).double(), RMSNorm(5, 1e-3, bias).double()
    for parameter in (*layer.parameters(), *rms.parameters()):
        torch.nn.init.normal_(parameter)
    centred = x - x.mean(-1, keepdim=True)
    expected = centred / (centred.square().mean(-1, keepdim=True) + 1e-3).sqrt() * layer.weight
    torch.testing.assert_close(layer(x), expected + (layer.bias if bias else 0))
    torch.testing.assert_close(rms(x), x / (x.square().mean(-1, keepdim=True) + 1e-3).sqrt() * rms.weight)


def gelu(x):
    return x * 0.5 * (1 + math.erf(x / math.sqrt(2)))


def gelu_tanh(x):
    return 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


BY_HAND = {
    "gelu": gelu,
    "gelu-tanh": gelu_tanh,
    "relu": lambda x: max(x, 0.0),
    "relu2": lambda x: max(x, 0.0) ** 2,
    "swiglu": lambda x: x / (1 + math.exp(-x)) * 3 * x,  # the value row is 3 times the gate row
}


@pytest.mark.parametrize("activation", BY_HAND)
def test_each_activation_by_hand(activation):
    layer = FeedForward(1, 1, activation, bias=False).double()
    with torch.no_grad():
        layer.up.weight.copy_(torch.tensor([[1.0], [3.0]][: layer.up.weight.shape[0]]))
        layer.down.weight.fill_(2.0)
    for x in (-1.7, -0.3, 0.0, 0.4, 2.5):
        assert layer(torch.tensor([x], dtype=torch.float64)).item() == pytest.approx(2 * BY_HAND[activation](x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("shape", [(7, 33), (0, 4), (), (2, 3, 5)])
def test_the_way_back_of_relu2_has_the_bits_of_torchs_own(dtype, shape):
    generator = torch.Generator().manual_seed(3)
    x, gradient = (torch.randn(shape, generator=generator).to(dtype) for _ in range(2))
    found = []
    for of in (ACTIVATIONS["relu2"], lambda x: torch.relu(x).square()):
        leaf = x.clone().requires_grad_()
        y = of(leaf)
        y.backward(gradient)
        found.append((y.detach(), leaf.grad))
    for one, wanted in zip(*found, strict=True):
        assert one.dtype == dtype
        assert torch.equal(one, wanted)
    with torch.no_grad():
        assert torch.equal(ACTIVATIONS["relu2"](x), found[0][0])


def test_swiglu_costs_what_the_others_cost():
    for width in (96, 384, 768):
        gated, plain = 3 * width * default_width(width, "swiglu"), 2 * width * default_width(width, "gelu")
        assert gated == pytest.approx(plain, rel=0.05)
