"""Attention by products of whole matrices, against the equations step by step."""

import pytest
import torch

from heed.attention import make_mask, steps
from heed.attention.dropout import keep
from heed.attention.written_out import LONGEST, _WrittenOut, write_out


def given(T, S=None, dtype=torch.float64, B=2, H=3, K=8):
    made = torch.Generator().manual_seed(T)
    sizes = [T, S or T, S or T, T]
    q, k, v, dy = (torch.randn(B, n, H, K, generator=made, dtype=torch.float64).to(dtype) for n in sizes)
    return [x.transpose(1, 2).detach().requires_grad_() for x in (q, k, v)], dy.transpose(1, 2)


def through(y, leaves, dy):
    for leaf in leaves:
        leaf.grad = None
    y.backward(dy)
    return [y.detach(), *(leaf.grad.clone() for leaf in leaves)]


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("T", [1, 2, 37, 128, 129, 300])
def test_against_the_steps(T, causal):
    leaves, dy = given(T)
    found = through(_WrittenOut.apply(*leaves, causal, 0.0), leaves, dy)
    exact = through(steps.attend(*leaves, steps.causal_mask(T) if causal else None), leaves, dy)
    for one, wanted in zip(found, exact, strict=True):
        assert (one - wanted).abs().max() < 1e-11


def test_in_pieces_of_some_heads(monkeypatch):
    leaves, dy = given(200, B=3)
    whole = through(_WrittenOut.apply(*leaves, True, 0.0), leaves, dy)
    monkeypatch.setattr("heed.attention.written_out.AT_A_TIME", 128 * 200 * 2 // torch.get_num_threads())
    for one, wanted in zip(through(_WrittenOut.apply(*leaves, True, 0.0), leaves, dy), whole, strict=True):
        assert (one - wanted).abs().max() < 1e-12


@pytest.mark.parametrize("causal", [True, False])
def test_dropout_falls_on_the_weights(causal):
    T, p = 150, 0.3
    leaves, dy = given(T)
    torch.manual_seed(5)
    found = through(_WrittenOut.apply(*leaves, causal, p), leaves, dy)
    torch.manual_seed(5)
    mask = torch.zeros(6, T, T, dtype=torch.float64)
    for begin, end in ((0, 128), (128, T)):
        seen = end if causal else T
        mask[:, begin:end, :seen] = keep(torch.Size((6, end - begin, seen)), p, torch.float64)
    q, k, v = leaves
    weights = steps.weigh(
        steps.mask_scores(steps.scale(steps.similarities(q, k), 8), steps.causal_mask(T) if causal else None)
    )
    exact = through(steps.mix(weights * mask.view(2, 3, T, T), v), leaves, dy)
    for one, wanted in zip(found, exact, strict=True):
        assert (one - wanted).abs().max() < 1e-11


def test_bfloat16_is_as_near_as_bfloat16_can_be():
    leaves, dy = given(300, dtype=torch.bfloat16, K=32)
    found = through(write_out(*leaves, make_mask(300, causal=True), 0.0), leaves, dy)
    wide = [leaf.detach().double().requires_grad_() for leaf in leaves]
    exact = through(steps.attend(*wide, steps.causal_mask(300)), wide, dy.double())
    for one, wanted in zip(found, exact, strict=True):
        assert one.dtype == torch.bfloat16
        assert (one.double() - wanted).norm() < 0.01 * wanted.norm()


@pytest.mark.parametrize("kv_heads", [1, 2])
def test_fewer_keys_than_queries(kv_heads):
    (q, k, v), dy = given(140, H=4)
    k, v = (x[:, :kv_heads].detach().requires_grad_() for x in (k, v))
    torch.manual_seed(6)
    found = through(write_out(q, k, v, make_mask(140, causal=True), 1e-9), (q, k, v), dy)  # so little drops nothing
    many = [x.repeat_interleave(4 // kv_heads, dim=1) for x in (k, v)]
    exact = through(steps.attend(q, *many, steps.causal_mask(140)), (q, k, v), dy)
    for one, wanted in zip(found, exact, strict=True):
        assert (one - wanted).abs().max() < 1e-11


def test_where_the_fused_attention_is_taken():
    half, whole = given(16, dtype=torch.bfloat16)[0], given(16, dtype=torch.float32)[0]
    causal = make_mask(16, causal=True)
    assert write_out(*half, causal, 0.0) is not None
    assert write_out(*whole, causal, 0.0) is None
    assert write_out(*whole, causal, 0.1) is not None  # the fused attention has no dropout on a CPU
    long = given(LONGEST + 1, dtype=torch.bfloat16, B=1, H=1)[0]
    assert write_out(*long, make_mask(LONGEST + 1, causal=True), 0.0) is None  # slower, and T x S weights
    assert write_out(*long, make_mask(LONGEST + 1, causal=True), 0.1) is not None
    padded = make_mask(16, causal=True, padding=torch.ones(2, 16, dtype=torch.bool))
    assert write_out(*half, padded, 0.0) is None
    with torch.no_grad():
        assert write_out(*half, causal, 0.0) is None
    assert write_out(*(x.detach() for x in half), causal, 0.0) is None
