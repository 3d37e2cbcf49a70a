"""Fastformer: against the paper's loop, and each likely mistake shown to be another number."""

import math

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from heed.attention import Shape, Wishes, make_mask, refuse_impossible
from heed.attention.mechanisms.fastformer import Fastformer
from heed.config import AttentionConfig, ModelConfig
from heed.errors import ConfigError
from heed.models import Encoder
from reference.fastformer import fastformer


def made(H=3, K=4, seed=0, **options):
    mechanism = Fastformer(Shape(H * K, H, 9, causal=False), **options).double()
    mechanism.initialise(torch.Generator().manual_seed(seed))
    return mechanism


def inputs(B=2, H=3, T=7, K=4, seed=0, spread=2.0):
    generator = torch.Generator().manual_seed(seed)
    return [
        (spread * torch.randn(B, H, T, K, dtype=torch.float64, generator=generator)).requires_grad_() for _ in "qkv"
    ]


PADDING = {
    "none": None,
    "right": [[True] * 7, [True] * 4 + [False] * 3],
    "left": [[False] * 2 + [True] * 5, [True] * 7],
    "a row without a token": [[False] * 7, [True] * 7],
}


@pytest.mark.parametrize("padding", PADDING)
@pytest.mark.parametrize("path", ["auto", "reference"])
def test_equals_the_loop_in_outputs_and_gradients(path, padding):
    mechanism, (q, k, v) = made(path=path), inputs()
    real = None if PADDING[padding] is None else torch.tensor(PADDING[padding])
    ours = mechanism(q, k, v, make_mask(7, padding=real))
    allowed = [[[True] * 7] * 7 if real is None else [real[b].tolist()] * 7 for b in range(2)]
    slow = torch.stack([fastformer(mechanism, q[b], k[b], v[b], allowed[b]) for b in range(2)])
    torch.testing.assert_close(ours, slow, rtol=1e-12, atol=1e-12)  # float64: only the order of sums differs
    pull, leaves = torch.randn_like(ours), [q, k, v, *mechanism.parameters()]
    for mine, other in zip(
        torch.autograd.grad(ours, leaves, pull), torch.autograd.grad(slow, leaves, pull), strict=True
    ):
        assert mine.isfinite().all()
        torch.testing.assert_close(mine, other, rtol=1e-11, atol=1e-11)


def test_by_hand_with_one_token_and_with_equal_weights():
    mechanism = made(H=1, K=2)
    with torch.no_grad():
        mechanism.W_r.copy_(torch.tensor([[0.0, 1.0], [1.0, 0.0]]))  # swaps the two components
    q, k, v = (torch.tensor(x, dtype=torch.float64).view(1, 1, 1, 2) for x in ([2.0, 3.0], [5.0, 7.0], [11.0, 13.0]))
    # one token: all weight on it. p = (10, 21), u = (110, 273), swapped (273, 110), plus q
    assert mechanism(q, k, v, make_mask(1)).flatten().tolist() == [275.0, 113.0]
    with torch.no_grad():
        mechanism.w_q.zero_()
        mechanism.w_k.zero_()
    numbers = [2.0, 0, 4, 2], [1.0, 1, 3, 5], [1.0, 2, 3, 4]
    q, k, v = (torch.tensor(x, dtype=torch.float64).view(1, 1, 2, 2) for x in numbers)
    # plain means: qbar (3, 1), p (3, 1) and (9, 5), kbar (6, 3), u (6, 6) and (18, 12), swapped, plus q
    assert mechanism(q, k, v, make_mask(2)).flatten().tolist() == [8.0, 6.0, 16.0, 20.0]


def variant(mechanism, q, k, v, real, mistake):
    """Fastformer in whole tensors with one mistake in it ("" has none); real (B, T)."""
    B, H, T, K = q.shape
    width = H * K if mistake == "scaled by d_model" else K
    hidden = ~real[:, None, :, None]
    dim = -1 if mistake == "softmax over components" else -2

    def weigh(x, w):
        scores = x * w[:, None] if mistake == "softmax over components" else (x * w[:, None]).sum(-1, keepdim=True)
        scores = scores / math.sqrt(width)
        if mistake == "mask after the softmax":
            return scores.softmax(dim).masked_fill(hidden, 0)
        if mistake == "mask turned round":
            return scores.masked_fill(~hidden, -torch.inf).softmax(dim)
        if mistake == "a mean over padding too":
            return scores.softmax(dim)
        return scores.masked_fill(hidden, -1e300 if dim == -1 else -torch.inf).softmax(dim)

    query = (weigh(q, mechanism.w_q) * q).sum(-2, keepdim=True)
    p = query * k
    beta = weigh(p, mechanism.w_k)
    key = (beta * (k if mistake == "keys pooled instead of p" else p)).sum(-2, keepdim=True)
    u = key * (q if mistake == "values are the queries" else v)
    r = (u.transpose(1, 2).flatten(2) @ mechanism.W_r.T).view(B, T, H, K).transpose(1, 2)
    return r + {"query left out": 0, "value added": v}.get(mistake, q)


MISTAKES = [
    "softmax over components",
    "keys pooled instead of p",
    "values are the queries",
    "query left out",
    "value added",
    "scaled by d_model",
    "mask after the softmax",
    "mask turned round",
    "a mean over padding too",
]


@pytest.mark.parametrize("mistake", ["", *MISTAKES])
def test_popular_mistakes_are_other_numbers(mistake):
    mechanism, (q, k, v) = made(), inputs()
    real = torch.arange(7) < torch.tensor([[5], [6]])
    apart = mechanism(q, k, v, make_mask(7, padding=real)) - variant(mechanism, q, k, v, real, mistake)
    apart = apart.abs().masked_select(real[:, None, :, None]).max()
    assert apart > 0.01 if mistake else apart < 1e-12


def test_padding_changes_nothing_of_real_tokens_and_may_be_cut_off():
    mechanism, (q, k, v) = made(), inputs()
    real = torch.arange(7).lt(5).expand(2, 7)
    y = mechanism(q, k, v, make_mask(7, padding=real))[:, :, :5]
    noisy = [torch.where(real[:, None, :, None], x, torch.full_like(x, 1e30)) for x in (q, k, v)]
    assert torch.equal(mechanism(*noisy, make_mask(7, padding=real))[:, :, :5], y)
    cut = mechanism(*(x[:, :, :5] for x in (q, k, v)), make_mask(5))
    torch.testing.assert_close(y, cut, rtol=1e-13, atol=1e-13)


def test_rows_are_independent_and_one_far_token_reaches_the_first():
    mechanism, (q, k, v) = made(), inputs()
    y = mechanism(q, k, v, make_mask(7))
    moved = k.detach().clone()
    moved[0, :, 6] += 1
    again = mechanism(q, moved, v, make_mask(7))
    assert torch.equal(again[1], y[1])
    assert (again[0, :, 0] - y[0, :, 0]).abs().max() > 1e-3  # so it can never be causal


def test_what_cannot_be_is_refused():
    mechanism, (q, k, v) = made(), inputs()
    with pytest.raises(ConfigError, match="'fastformer' mixes all positions and cannot be causal"):
        mechanism(q, k, v, make_mask(7, causal=True))
    with pytest.raises(ConfigError, match="it knows padding only"):
        mechanism(q, k, v, make_mask(7), torch.zeros(3, 7, 7))
    with pytest.raises(ConfigError, match="1 queries of 7 are not enough"):
        mechanism(q[:, :, :1], k, v, make_mask(1, 7))
    wishes = Wishes(causal=True, masks=frozenset({"causal"}), positions="rotary", score="dot", grouped=True)
    with pytest.raises(ConfigError) as raised:
        refuse_impossible("fastformer", Fastformer.facts, wishes)
    assert len(raised.value.problems) == 4


def test_flops_are_those_that_torch_counts_in_matrix_products():
    mechanism, (q, k, v) = made(H=3, K=4), inputs(B=1, T=9)
    with FlopCounterMode(display=False) as counter:
        mechanism(q, k, v, make_mask(9))
    # torch counts products of matrices; the product of components u and the sum with q are 2 D of the formula
    assert 9 * mechanism.flops(9) - counter.get_total_flops() == 9 * 2 * 12


def test_learns_in_an_encoder_and_does_not_see_padding():
    config = ModelConfig(
        kind="encoder", n_layers=1, n_heads=2, d_model=16, context=9, norm="rms",
        attention=AttentionConfig(mechanism="fastformer", options={}),
    )  # fmt: skip
    model = Encoder(config, 5, classes=2)
    ids = torch.randint(5, (64, 8), generator=torch.Generator().manual_seed(0))
    classes = (ids == 3).any(dim=1).long()  # whether a token is there at all
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    losses = []
    for _ in range(60):
        losses.append(model.loss(ids, classes))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.1 < 0.5 < losses[0]
    padded = torch.cat([ids, torch.full((64, 1), model.pad_id)], dim=1)
    torch.testing.assert_close(model(padded), model(ids), rtol=1e-4, atol=1e-5)  # float32, sums in another order
