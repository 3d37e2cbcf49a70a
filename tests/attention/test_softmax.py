"""Softmax attention: which kernel runs, a bias on the fused path, groups, rows that see nothing."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from heed.attention import SCORES, AlibiPositions, Shape, Softmax, find_score, make_mask
from reference import attention as reference

DOTS = sorted(set(SCORES) - {"additive"})


def inputs(T=7, S=7, H=4, kv=2, K=3, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    sizes = (2, H, T, K), (2, kv, S, K), (2, kv, S, K)
    return [torch.randn(size, generator=generator, dtype=dtype, requires_grad=True) for size in sizes]


@pytest.mark.parametrize("kv", [4, 2, 1], ids=["multi-head", "grouped-query", "multi-query"])
def test_every_head_equals_the_loop(kv):
    q, k, v = inputs(kv=kv)
    allowed = make_mask(7, causal=True).dense().tolist()
    for path in ("fused", "reference"):
        y = Softmax(Shape(12, 4, 7, kv), path=path)(q, k, v, make_mask(7, causal=True))
        for b in range(2):
            for h in range(4):
                group = h // (4 // kv)
                slow = reference.softmax_attention(q[b, h], k[b, group], v[b, group], allowed)
                torch.testing.assert_close(y[b, h], slow, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("masked", ["causal", "nothing", "padding", "alibi"])
@pytest.mark.parametrize("score", DOTS)
def test_the_kernel_that_holds_no_weights_takes_every_dot_product(score, masked):
    """With flash attention as the only choice, torch raises where it cannot run: another width of v would do that."""
    shape = Shape(64, 4, 32, 2)
    made = find_score(score)(shape)
    made.initialise(torch.Generator().manual_seed(0))
    q, k, v = inputs(32, 32, K=16, dtype=torch.float32)
    start = torch.tensor([0, 3]) if masked == "padding" else None
    mask = make_mask(32, causal=masked != "nothing", start=start)
    bias = AlibiPositions(shape).bias(32, 32) if masked == "alibi" else None
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        fused = Softmax(shape, score=made)(q, k, v, mask, bias)
    steps = Softmax(shape, score=made, path="reference")(q, k, v, mask, bias)
    torch.testing.assert_close(fused, steps, rtol=1e-4, atol=1e-5)  # float32


@pytest.mark.parametrize("biased", [False, True])
def test_a_row_that_may_look_nowhere_gets_zeros_and_passes_no_gradient(biased):
    """Rows of padding, on both paths: a plain softmax gives NaN there, which reaches every weight."""
    mask = make_mask(7, causal=True, start=torch.tensor([0, 3]))
    for path in ("fused", "reference"):
        q, k, v = inputs()
        bias = torch.randn(4, 7, 7, dtype=torch.float64, requires_grad=True) if biased else None
        y = Softmax(Shape(12, 4, 7, 2), path=path)(q, k, v, mask, bias)
        assert (y[1, :, :3] == 0).all()
        y.sum().backward()
        for leaf in (q, k, v, *([bias] if bias is not None else [])):
            assert leaf.grad.isfinite().all()
        assert (q.grad[1, :, :3] == 0).all()
        assert (k.grad[1, :, :3] == 0).all()
