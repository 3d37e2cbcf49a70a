"""The chunked cross-entropy against torch's on whole logits, values and gradients, in float64."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from heed.models import loss as loss_module
from heed.models.loss import class_loss, linear_cross_entropy


def problem(N=7, D=4, V=11, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    hidden, weight, bias = (
        torch.randn(*shape, generator=generator, dtype=dtype).requires_grad_() for shape in ((N, D), (V, D), (V,))
    )
    return hidden, weight, bias, torch.randint(0, V, (N,), generator=generator)


def whole(hidden, weight, bias, target, mask, reduction):
    """The same by torch, with all logits in memory."""
    losses = F.cross_entropy(hidden @ weight.T + (0 if bias is None else bias), target, reduction="none")
    counts = torch.ones_like(losses) if mask is None else mask.to(losses)
    total = (losses * counts).sum()
    return {"none": losses * counts, "sum": total, "mean": total / counts.sum()}[reduction]


@settings(max_examples=60, deadline=None)
@given(
    reduction=st.sampled_from(["mean", "sum", "none"]),
    has_bias=st.booleans(),
    masked=st.booleans(),
    N=st.integers(1, 13),
    chunk=st.sampled_from([1, 11, 25, 40, 10_000]),  # one row at a time, 2, 3, ... and all at once
)
def test_equals_torch_for_any_chunk(reduction, has_bias, masked, N, chunk):
    hidden, weight, bias, target = problem(N)
    bias = bias if has_bias else None
    mask = torch.arange(N) % 3 != 1 if masked else None
    ours = linear_cross_entropy(hidden, weight, target, bias=bias, mask=mask, reduction=reduction, chunk_logits=chunk)
    theirs = whole(hidden, weight, bias, target, mask, reduction)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)  # float64: another order of sums
    learned = [hidden, weight] if bias is None else [hidden, weight, bias]
    pull = torch.randn_like(ours)
    for mine, other in zip(
        torch.autograd.grad(ours, learned, pull), torch.autograd.grad(theirs, learned, pull), strict=True
    ):
        torch.testing.assert_close(mine, other, rtol=1e-11, atol=1e-12)
    with torch.no_grad():
        again = linear_cross_entropy(
            hidden, weight, target, bias=bias, mask=mask, reduction=reduction, chunk_logits=chunk
        )
    torch.testing.assert_close(again, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("chunk", [22, 10_000], ids=["chunks", "whole"])
def test_uniform_logits_cost_the_logarithm_of_the_vocabulary(chunk):
    loss = linear_cross_entropy(
        torch.zeros(2, 3, 4),
        torch.zeros(11, 4, requires_grad=True),
        torch.zeros(2, 3, dtype=torch.long),
        chunk_logits=chunk,
    )
    assert loss.item() == pytest.approx(math.log(11))


@pytest.mark.parametrize("chunk", [22, 10_000], ids=["chunks", "whole"])
def test_what_does_not_count_may_hold_any_filler(chunk):
    hidden, weight, _, target = problem()
    mask = torch.tensor([True] * 5 + [False] * 2)
    filled = target.where(mask, -100)
    ours = linear_cross_entropy(hidden, weight, filled, mask=mask, chunk_logits=chunk)
    torch.testing.assert_close(ours, linear_cross_entropy(hidden[:5], weight, target[:5]))
    rows = linear_cross_entropy(hidden, weight, filled, mask=mask, reduction="none", chunk_logits=chunk)
    assert rows[5:].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("chunk", [22, 10_000], ids=["chunks", "whole"])
@pytest.mark.parametrize("strange", [-100, 11])
def test_a_target_that_is_no_token_is_an_error_not_a_silent_gap(chunk, strange):
    hidden, weight, _, target = problem()
    target[3] = strange
    with pytest.raises((IndexError, RuntimeError)):
        linear_cross_entropy(hidden, weight, target, chunk_logits=chunk)


def test_extreme_logits_stay_finite():
    hidden = torch.tensor([[1000.0], [-1000.0]], requires_grad=True)
    weight = torch.tensor([[1.0], [-1.0]], requires_grad=True)
    loss = linear_cross_entropy(hidden, weight, torch.tensor([0, 0]), reduction="none", chunk_logits=2)
    assert loss.tolist() == [0.0, 2000.0]
    total = linear_cross_entropy(hidden, weight, torch.tensor([0, 0]), reduction="sum", chunk_logits=2)
    total.backward()
    assert hidden.grad.tolist() == [[0.0], [-2.0]]


def test_bfloat16_autocast_keeps_float32_gradients_near_the_exact_ones():
    hidden, weight, _, target = problem(N=64, D=32, V=50, dtype=torch.float32)
    exact = torch.autograd.grad(linear_cross_entropy(hidden, weight, target, chunk_logits=500), (hidden, weight))
    with torch.autocast("cpu", torch.bfloat16):
        loss = linear_cross_entropy(hidden.bfloat16(), weight, target, chunk_logits=500)
        plain = linear_cross_entropy(hidden, weight, target, chunk_logits=10**9)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, plain, rtol=2e-2, atol=0)  # bfloat16 keeps 8 bits: 0.4 % a product
    for ours, true in zip(torch.autograd.grad(loss, (hidden, weight)), exact, strict=True):
        assert ours.dtype == torch.float32
        assert (ours - true).norm() < 0.02 * true.norm()


def test_gradients_of_gradients_are_refused():
    hidden, weight, _, target = problem()
    loss = linear_cross_entropy(hidden, weight, target, chunk_logits=22)
    (first,) = torch.autograd.grad(loss * loss, hidden, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


@pytest.mark.parametrize("learns", [True, False], ids=["training", "evaluation"])
def test_never_holds_all_logits(learns, monkeypatch):
    hidden, weight, _, target = problem(N=100, V=50)
    seen = []
    linear = F.linear
    monkeypatch.setattr(F, "linear", lambda *inputs: seen.append(linear(*inputs)) or seen[-1])
    with torch.set_grad_enabled(learns):
        linear_cross_entropy(hidden, weight, target, chunk_logits=500)
    assert max(logits.numel() for logits in seen) == 500
    assert len(seen) == 10


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_padding_is_not_computed_on_the_cpu(reduction, monkeypatch):
    hidden, weight, _, target = problem(9)
    rows = []
    linear = F.linear

    def watched(x, *rest):
        rows.append(len(x))
        return linear(x, *rest)

    monkeypatch.setattr(F, "linear", watched)
    mask = torch.tensor([True, False, False] * 3)
    linear_cross_entropy(hidden, weight, target, mask=mask, reduction=reduction, chunk_logits=22)
    with torch.no_grad():
        linear_cross_entropy(hidden, weight, target, mask=mask, reduction=reduction, chunk_logits=22)
    assert sum(rows) == 2 * 3


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_bfloat16_products_come_in_few_shapes(reduction, monkeypatch):
    hidden, weight, _, target = problem(N=300, D=8, V=50, dtype=torch.float32)
    rows = set()
    linear = F.linear
    monkeypatch.setattr(F, "linear", lambda x, *rest: rows.add(len(x)) or linear(x, *rest))
    for counted in (1, 100, 127, 128, 129, 200, 256, 257, 299, 300):
        mask = torch.randperm(300, generator=torch.Generator().manual_seed(counted)) < counted
        goals = target.where(mask, -100)
        ways = []
        for like in (128, 1):
            monkeypatch.setattr(loss_module, "LIKE_SHAPES", like)
            with torch.autocast("cpu", torch.bfloat16):
                loss = linear_cross_entropy(hidden, weight, goals, mask=mask, reduction=reduction, chunk_logits=10**6)
            ways.append((loss, *torch.autograd.grad(loss.sum(), (hidden, weight))))
            if like == 128:
                assert rows <= {128, 256, 300}
            rows.clear()
        for ours, exact in zip(*ways, strict=True):
            torch.testing.assert_close(ours, exact, rtol=2e-2, atol=1e-3)
        assert not ways[0][1][~mask].any()  # what was added learns nothing
    assert not loss_module.rounded(torch.zeros(300, dtype=torch.bool)).any()
    assert int(loss_module.rounded(mask & (target > 3)).sum()) == int((mask & (target > 3)).sum())  # float32: as it is


def test_nothing_that_counts_is_still_no_number():
    hidden, weight, _, target = problem(4)
    none = torch.zeros(4, dtype=torch.bool)
    assert linear_cross_entropy(hidden, weight, target, mask=none).isnan()
    assert linear_cross_entropy(hidden, weight, target, mask=none, reduction="none").tolist() == [0.0] * 4


@settings(max_examples=60, deadline=None)
@given(
    reduction=st.sampled_from(["mean", "sum", "none"]),
    has_bias=st.booleans(),
    weights=st.sampled_from([None, "mask", "numbers"]),
    N=st.integers(1, 13),
    smoothing=st.sampled_from([0.0, 0.1, 0.9]),
    chunk=st.sampled_from([1, 11, 25, 40, 10_000]),
)
def test_smoothed_targets_have_torchs_gradient_and_the_plain_value(reduction, has_bias, weights, N, smoothing, chunk):
    """torch's F.cross_entropy(label_smoothing=...) for the gradients, F.cross_entropy for the values."""
    hidden, weight, bias, target = problem(N)
    bias = bias if has_bias else None
    mask = {None: None, "mask": torch.arange(N) % 3 != 1, "numbers": torch.arange(1.0, N + 1).double() / N}[weights]
    how = {"bias": bias, "mask": mask, "reduction": reduction, "chunk_logits": chunk}
    ours = linear_cross_entropy(hidden, weight, target, smoothing=smoothing, **how)
    torch.testing.assert_close(ours, whole(hidden, weight, bias, target, mask, reduction), rtol=1e-12, atol=1e-12)
    logits = hidden @ weight.T + (0 if bias is None else bias)
    counts = torch.ones(N, dtype=torch.float64) if mask is None else mask.double()
    theirs = F.cross_entropy(logits, target, reduction="none", label_smoothing=smoothing) * counts
    if reduction != "none":
        theirs = theirs.sum() / (counts.sum() if reduction == "mean" else 1)
    learned = [hidden, weight] if bias is None else [hidden, weight, bias]
    pull = torch.randn_like(ours)
    for mine, other in zip(
        torch.autograd.grad(ours, learned, pull), torch.autograd.grad(theirs, learned, pull), strict=True
    ):
        torch.testing.assert_close(mine, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_classes_are_smoothed_as_torch_does(weighted, masked):
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(6, 3, generator=generator, requires_grad=True)
    target = torch.tensor([0, 1, 2, 0, 1, 2])
    weight = torch.tensor([0.5, 1.0, 2.0]) if weighted else None
    mask = torch.tensor([1, 1, 0, 1, 0, 1]).bool() if masked else None
    ours = class_loss(logits, target, mask, "mean", weight, smoothing=0.2)
    torch.testing.assert_close(ours, class_loss(logits, target, mask, "mean", weight), rtol=0, atol=0)
    each = F.cross_entropy(logits, target, weight=weight, reduction="none", label_smoothing=0.2)
    theirs = each.mean() if mask is None else each[mask].sum() / mask.sum()
    torch.testing.assert_close(*(torch.autograd.grad(loss, logits)[0] for loss in (ours, theirs)))
    assert not torch.allclose(torch.autograd.grad(class_loss(logits, target, None, "mean"), logits)[0], torch.zeros(1))


def test_a_chunk_has_rows_enough_for_what_it_reads_of_the_output_matrix(monkeypatch):
    monkeypatch.setattr(loss_module, "CHUNK_LOGITS", {"cpu": 10, "other": 10})
    products = []
    linear = F.linear
    monkeypatch.setattr(loss_module.F, "linear", lambda h, *rest: products.append(len(h)) or linear(h, *rest))
    hidden, weight = torch.randn(500, 3, requires_grad=True), torch.randn(7, 3, requires_grad=True)
    linear_cross_entropy(hidden, weight, torch.zeros(500, dtype=torch.int64))
    assert products == [192, 192, 116]
