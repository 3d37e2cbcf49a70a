"""Linear layers in bfloat16: copies of the weights as they are, gradients at the weights, float32 outside."""

import pytest
import torch
from torch import nn

from heed.attention.halves import Halves, Linear
from heed.build import build_model
from heed.config import ModelConfig
from heed.errors import ConfigError

SHAPE = {"n_layers": 2, "n_heads": 2, "d_model": 32, "context": 16}


def layer(bias=True):
    made = Linear(24, 8, bias=bias)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    return made


@pytest.mark.parametrize("bias", [True, False])
def test_product_and_gradients_are_those_of_float32_but_for_rounding(bias):
    torch.manual_seed(0)
    whole, x, dy = layer(bias), torch.randn(3, 5, 24), torch.randn(3, 5, 8)
    inputs = x.clone().requires_grad_()
    whole(inputs).backward(dy)
    exact = [inputs.grad, *(p.grad for p in whole.parameters())]
    halved, inputs = layer(bias), x.clone().requires_grad_()
    with Halves(halved):
        y = halved(inputs)
        y.backward(dy)
    assert y.dtype == torch.bfloat16
    for found, wanted in zip([inputs.grad, *(p.grad for p in halved.parameters())], exact, strict=True):
        assert found.dtype == torch.float32
        assert (found - wanted).norm() < 0.01 * wanted.norm()
    assert torch.equal(halved(x), whole(x))  # outside: float32 again


def test_entered_again_the_copies_are_of_the_weights_of_now():
    whole, x = layer(), torch.randn(2, 24)
    halves = Halves(whole)
    with halves:
        before = whole(x)
    with torch.no_grad():
        whole.weight.data.mul_(2)  # .data: no version is counted
        whole.bias.data.mul_(2)
    with halves:
        assert torch.equal(whole(x), 2 * before)


@pytest.mark.parametrize("kind", ["gpt", "encoder"])
def test_what_passes_between_the_layers_is_half_inside_and_whole_outside(kind):
    model = build_model(ModelConfig.model_validate({"kind": kind, "positions": "rotary", **SHAPE}), 50).train()
    ids = torch.randint(0, 50, (3, 16), generator=torch.Generator().manual_seed(2))
    outside = model.hidden(ids)
    with Halves(model):
        inside = model.hidden(ids)
    with pytest.raises(ConfigError), Halves(model):
        model.hidden(torch.zeros(1, 17, dtype=torch.int64))
    assert (inside.dtype, outside.dtype) == (torch.bfloat16, torch.float32)
    assert torch.equal(model.hidden(ids), outside)  # also after an error
    assert (inside.float() - outside).abs().max() < 0.1


def test_what_others_call_stream_or_half_stays_theirs():
    class Radio(nn.Module):
        stream = "news"

    part, radio = layer(), Radio()
    with Halves(nn.ModuleList([part, radio])):
        assert radio.stream == "news"
    assert radio.stream == "news"
    assert part.half().weight.dtype == torch.float16  # torch's own
