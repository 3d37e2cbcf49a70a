"""Dropout from sixteen bits a number."""

import pytest
import torch

from heed.attention.dropout import dropout


@pytest.mark.parametrize("p", [0.001, 0.1, 0.5, 0.9, 0.999])
def test_share_mean_and_scale(p):
    torch.manual_seed(0)
    x = torch.ones(1_000_003)
    y = dropout(x, p)
    gone = (y == 0).double().mean().item()
    spread = (p * (1 - p) / len(x)) ** 0.5
    assert abs(gone - p) < 5 * spread + 2**-16
    assert y.max() == pytest.approx(1 / (1 - p), rel=0.02 if p == 0.999 else 1e-3)
    assert abs(y.double().mean().item() - 1) < 5 * spread / (1 - p)


def test_neighbours_and_calls_are_independent_and_a_seed_repeats_them():
    torch.manual_seed(1)
    first = dropout(torch.ones(400_000), 0.5) > 0
    second = dropout(torch.ones(400_000), 0.5) > 0
    for one, other in [(first[1:], first[:-1]), (first[4:], first[:-4]), (first, second)]:
        assert abs((one == other).double().mean().item() - 0.5) < 5 * 0.5 / 400_000**0.5
    for lane in range(4):  # four numbers share a draw
        assert abs(first[lane::4].double().mean().item() - 0.5) < 5 * 0.5 / 100_000**0.5
    torch.manual_seed(1)
    assert torch.equal(dropout(torch.ones(400_000), 0.5) > 0, first)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("shape", [(), (1,), (3, 5, 7)])
def test_gradient_is_the_mask_and_types_stay(dtype, shape):
    x = torch.randn(shape).to(dtype).requires_grad_()
    y = dropout(x, 0.4)
    y.sum().backward()
    assert y.dtype == dtype
    assert torch.equal(y, x * x.grad)
    assert bool(((x.grad == 0) | ((x.grad - 1 / 0.6).abs() < 0.01)).all())
