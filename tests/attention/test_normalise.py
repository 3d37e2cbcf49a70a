"""Layer norm and rms norm and their way back, against the equations in float64."""

import pytest
import torch

from heed.attention.normalise import layer_norm, rms_norm


def by_equations(x, weight, bias, kind):
    x = x - x.mean(dim=-1, keepdim=True) if kind == "layer" else x
    y = x / torch.sqrt((x * x).mean(dim=-1, keepdim=True) + 1e-5) * weight
    return y if bias is None else y + bias


def computed(x, weight, bias, kind):
    return layer_norm(x, weight, bias, 1e-5) if kind == "layer" else rms_norm(x, weight, 1e-5)


CASES = [("layer", True), ("layer", False), ("rms", False)]


def gradients(of, kind, biased, dtype, shape=(4, 5, 6, 32)):
    made = torch.Generator().manual_seed(3)
    x, dy = (torch.randn(shape, generator=made, dtype=torch.float64).to(torch.bfloat16) for _ in range(2))
    weight = torch.rand(shape[-1], generator=made, dtype=torch.float64) + 0.5
    bias = torch.randn(shape[-1], generator=made, dtype=torch.float64) if biased else None
    wide = torch.promote_types(dtype, torch.float32)  # the weights are never half
    leaves = [x.to(dtype).requires_grad_(), *(p.to(wide).requires_grad_() for p in (weight, bias) if p is not None)]
    y = of(*leaves, *([None] if bias is None else []), kind)
    y.backward(dy.to(y.dtype))
    return [y.detach(), *(leaf.grad for leaf in leaves)]


@pytest.mark.parametrize(("kind", "biased"), CASES)
@pytest.mark.parametrize(("dtype", "near"), [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 2**-8)])
def test_against_the_equations(kind, biased, dtype, near):
    exact = gradients(by_equations, kind, biased, torch.float64)
    for found, wanted in zip(gradients(computed, kind, biased, dtype), exact, strict=True):
        assert (found.double() - wanted).norm() < near * wanted.norm()


@pytest.mark.parametrize(("kind", "biased"), CASES)
def test_sums_over_many_vectors_are_float32(kind, biased):
    shape = (20_000, 16)
    exact = gradients(by_equations, kind, biased, torch.float64, shape)
    found = gradients(computed, kind, biased, torch.bfloat16, shape)
    for one, wanted in zip(found[2:], exact[2:], strict=True):
        assert one.dtype == torch.float32
        assert (one.double() - wanted).norm() < 0.01 * wanted.norm()


@pytest.mark.parametrize(("kind", "biased"), CASES)
def test_gradients_with_a_common_part_lose_no_more_than_their_own_rounding(kind, biased):
    made = torch.Generator().manual_seed(4)
    x, dy = ((torch.randn(500, 64, generator=made) + 5).bfloat16() for _ in range(2))
    weight, bias = torch.rand(64, generator=made) + 0.5, torch.zeros(64) if biased else None
    found = []
    for of, dtype in ((computed, torch.bfloat16), (by_equations, torch.float64)):
        wide = torch.promote_types(dtype, torch.float32)
        leaf, scale = (tensor.clone().requires_grad_() for tensor in (x.to(dtype), weight.to(wide)))
        of(leaf, scale, None if bias is None else bias.to(wide), kind).backward(dy.to(dtype))
        found.append([leaf.grad.double(), scale.grad.double()])
    for one, wanted, near in zip(*found, (2**-8, 1e-4), strict=True):
        assert (one - wanted).norm() < near * wanted.norm()


@pytest.mark.parametrize(("kind", "biased"), CASES)
def test_vectors_that_lie_apart_in_memory(kind, biased):
    """Gradients of a transposed x are those of its copy."""
    x, weight = torch.randn(4, 8, 6).bfloat16().transpose(1, 2), torch.rand(8)
    bias = torch.zeros(8) if biased else None
    found = []
    for given in (x, x.contiguous()):
        leaf, scale = given.detach().requires_grad_(), weight.clone().requires_grad_()
        computed(leaf, scale, bias, kind).square().sum().backward()
        found.append((leaf.grad, scale.grad))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.allclose(found[0][1], found[1][1], rtol=0.01)


@pytest.mark.parametrize("kind", ["layer", "rms"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_model_that_is_half_throughout(kind, dtype):
    x, weight = torch.randn(3, 8).to(dtype).requires_grad_(), torch.ones(8, dtype=dtype).requires_grad_()
    computed(x, weight, None, kind).sum().backward()
    assert (x.grad.dtype, weight.grad.dtype) == (dtype, dtype)


@pytest.mark.parametrize(("kind", "biased"), CASES)
def test_sums_over_vectors_that_do_not_learn_themselves(kind, biased):
    """As where the layers before are frozen, or the embeddings."""
    made = torch.Generator().manual_seed(5)
    x, dy = (torch.randn(20_000, 16, generator=made).bfloat16() for _ in range(2))
    found = []
    for of, dtype in ((computed, torch.bfloat16), (by_equations, torch.float64)):
        wide = torch.promote_types(dtype, torch.float32)
        leaves = [torch.ones(16, dtype=wide).requires_grad_() for _ in range(1 + biased)]
        of(x.to(dtype), *leaves, *([] if biased else [None]), kind).backward(dy.to(dtype))
        found.append([leaf.grad.double() for leaf in leaves])
    for one, wanted in zip(*found, strict=True):
        assert (one - wanted).norm() < 0.01 * wanted.norm()


@pytest.mark.parametrize("shape", [(0, 8), (1, 8), (2, 0, 8)])
def test_nothing_and_one_vector(shape):
    x = torch.randn(shape).requires_grad_()
    rms_norm(x, torch.ones(8), 1e-5).sum().backward()
    assert x.grad.shape == shape
