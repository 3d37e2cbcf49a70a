"""The equations against torch's own multi-head attention, against loops, and against numbers on paper."""

import pytest
import torch
import torch.nn.functional as F

from heed.attention import steps
from reference import attention as reference


def by_torch(x, weights, n_heads, allowed):
    """torch's multi_head_attention_forward on x (B, T, D); its boolean masks say where one may not look."""
    qkv_weight, qkv_bias, out_weight, out_bias = weights
    x = x.transpose(0, 1)
    y, _ = F.multi_head_attention_forward(
        x, x, x, x.shape[-1], n_heads, qkv_weight, qkv_bias, None, None, False, 0.0, out_weight, out_bias,
        attn_mask=None if allowed is None else ~allowed, need_weights=False,
    )  # fmt: skip
    return y.transpose(0, 1)


@pytest.mark.parametrize("n_heads", [1, 3], ids=["one head", "three heads"])
@pytest.mark.parametrize("causal", [False, True], ids=["plain", "causal"])
def test_self_attention_equals_torch_in_outputs_and_gradients(causal, n_heads):
    torch.manual_seed(0)
    x = torch.randn(2, 7, 12, dtype=torch.float64, requires_grad=True)
    shapes = (36, 12), (36,), (12, 12), (12,)
    weights = [torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    allowed = steps.causal_mask(7) if causal else None
    qkv_weight, qkv_bias, out_weight, out_bias = weights
    ours = steps.self_attention(
        x, qkv_weight, out_weight, n_heads=n_heads, qkv_bias=qkv_bias, out_bias=out_bias, allowed=allowed
    )
    theirs = by_torch(x, weights, n_heads, allowed)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)  # float64: only rounding is left
    pull = torch.randn_like(ours)
    for mine, other in zip(
        torch.autograd.grad(ours, [x, *weights], pull), torch.autograd.grad(theirs, [x, *weights], pull), strict=True
    ):
        torch.testing.assert_close(mine, other, rtol=1e-11, atol=1e-11)


def test_attend_equals_the_loop_with_a_row_that_sees_nothing():
    torch.manual_seed(1)
    q, k, v = (torch.randn(n, 3, dtype=torch.float64, requires_grad=True) for n in (4, 5, 5))
    allowed = torch.rand(4, 5) < 0.5
    allowed[2] = False
    ours, slow = steps.attend(q, k, v, allowed), reference.softmax_attention(q, k, v, allowed.tolist())
    torch.testing.assert_close(ours, slow, rtol=1e-12, atol=1e-12)
    assert ours[2].tolist() == [0.0, 0.0, 0.0]
    for mine, other in zip(
        torch.autograd.grad(ours.sum(), (q, k, v)), torch.autograd.grad(slow.sum(), (q, k, v)), strict=True
    ):
        assert mine.isfinite().all()
        torch.testing.assert_close(mine, other, rtol=1e-12, atol=1e-12)


def test_split_heads_gives_each_head_neighbouring_components():
    x = torch.arange(2 * 5 * 12).view(2, 5, 12)
    y = steps.split_heads(x, 3)  # 3 heads of width 4: where h * n_heads + i would differ
    for b, h, t, i in torch.cartesian_prod(*map(torch.arange, y.shape)).tolist():
        assert y[b, h, t, i] == x[b, t, h * 4 + i]
    assert torch.equal(steps.merge_heads(y), x)


def test_scores_are_divided_by_the_root_of_the_width_per_head():
    scores = steps.similarities(torch.ones(1, 16), torch.ones(1, 16))
    assert steps.scale(scores, 16).item() == 4.0


def test_a_weight_masked_before_the_softmax_is_zero_and_the_others_sum_to_one():
    allowed = torch.tensor([[True, False, True]])
    weights = steps.weigh(steps.mask_scores(torch.tensor([[0.0, 50.0, 0.0]]), allowed))
    assert weights.tolist() == [[0.5, 0.0, 0.5]]


def test_a_finite_fill_would_lose_to_scores_below_it():
    scores = torch.tensor([[-20_000.0, 0.0]])
    allowed = torch.tensor([[True, False]])
    assert steps.weigh(steps.mask_scores(scores, allowed)).tolist() == [[1.0, 0.0]]
    assert steps.weigh(scores.masked_fill(~allowed, -1e4)).tolist() == [[0.0, 1.0]]


def test_grouped_heads_repeat_neighbours():
    kv = torch.tensor([[[[1.0]], [[2.0]]]])  # two key/value heads for six query heads
    assert steps.share_heads(kv, 6).flatten().tolist() == [1, 1, 1, 2, 2, 2]
