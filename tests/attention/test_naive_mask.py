"""The naive mask leaks, and dividing each row by what is left mends it."""

import math

import pytest
import torch
import torch.nn.functional as F

from heed.attention import NaiveMask, RenormalisedMask, Shape, Softmax, make_mask, steps
from heed.config import AttentionConfig, ModelConfig
from heed.models import GPT

SHAPE = Shape(12, 4, 9, 2)


def inputs(T=9, seed=0, scale=1.0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    sizes = (2, 4, T, 3), (2, 2, 9, 3), (2, 2, 9, 3)
    return [(scale * torch.randn(size, generator=generator, dtype=dtype)).requires_grad_() for size in sizes]


def test_a_weight_zeroed_after_the_softmax_is_missing_in_its_row():
    """Scores 0, 0 and a hidden ln 2: the two weights are 1/4 each, and say that something of 1/2 is hidden."""
    scores = torch.tensor([0.0, math.log(2)]).view(1, 1, 1, 2).expand(1, 1, 2, 2)
    weights = NaiveMask(Shape(1, 1, 2)).weights(scores, make_mask(2, causal=True))
    torch.testing.assert_close(weights[0, 0], torch.tensor([[1 / 3, 0], [1 / 3, 2 / 3]]))
    mended = RenormalisedMask(Shape(1, 1, 2)).weights(scores, make_mask(2, causal=True))
    torch.testing.assert_close(mended[0, 0], torch.tensor([[1, 0], [1 / 3, 2 / 3]]))


@pytest.mark.parametrize("factor", [1.0, 1e3, -1e3])
@pytest.mark.parametrize(("kind", "leaks"), [(NaiveMask, True), (RenormalisedMask, False), (Softmax, False)])
def test_the_naive_mask_leaks_the_future_and_the_others_do_not(kind, leaks, factor):
    q, k, v = inputs()
    mask = make_mask(9, causal=True)
    for path in ("auto", "reference"):
        mechanism = kind(SHAPE, path=path)
        before = mechanism(q, k, v, mask)
        moved_k, moved_v = k.detach().clone(), v.detach().clone()
        moved_k[:, :, 6:], moved_v[:, :, 6:] = factor * (moved_k[:, :, 6:] + 1), factor * moved_v[:, :, 6:]
        after = mechanism(q, moved_k, moved_v, mask)
        assert torch.equal(after[:, :, :6], before[:, :, :6]) is not leaks  # bit for bit


def test_the_naive_mask_honours_padding_before_the_softmax():
    q, k, v = inputs()
    start = torch.tensor([0, 4])
    padded = NaiveMask(SHAPE)(q, k, v, make_mask(9, causal=True, start=start))
    alone = NaiveMask(SHAPE)(q[1:, :, 4:], k[1:, :, 4:], v[1:, :, 4:], make_mask(5, causal=True))
    torch.testing.assert_close(padded[1:, :, 4:], alone, rtol=1e-12, atol=1e-12)
    assert (padded[1, :, :4] == 0).all()


@pytest.mark.parametrize("scale", [1.0, 40.0])
@pytest.mark.parametrize("start", [None, [0, 4]])
@pytest.mark.parametrize("T", [1, 4, 9])
def test_renormalised_weights_are_softmax_with_a_mask_in_outputs_and_gradients(T, start, scale):
    """Also where a hidden score is thousands above all that are seen (scale 40)."""
    q, k, v = inputs(T, scale=scale)
    mask = make_mask(T, 9, causal=True, start=None if start is None else torch.tensor(start))
    results = []
    for mechanism in (
        RenormalisedMask(SHAPE, path="reference"),
        RenormalisedMask(SHAPE),
        Softmax(SHAPE, path="reference"),
    ):
        y = mechanism(q, k, v, mask)
        results.append((y, *torch.autograd.grad(y.square().sum(), (q, k, v))))
    for stepwise, fused, softmax in zip(*results, strict=True):
        assert stepwise.isfinite().all()
        # gradients are of size scale^4
        torch.testing.assert_close(stepwise, softmax, rtol=1e-10, atol=1e-10 * scale**3)
        torch.testing.assert_close(fused, softmax, rtol=1e-10, atol=1e-10 * scale**3)


@pytest.mark.parametrize(("dtype", "gap"), [(torch.float32, 110.0), (torch.float64, 750.0)])
def test_the_literal_form_loses_rows_below_a_high_hidden_score(dtype, gap):
    scores = torch.tensor([[0.0, gap], [0.0, gap]], dtype=dtype)
    allowed = steps.causal_mask(2)
    literal = torch.softmax(scores, -1) * allowed
    assert (literal / literal.sum(-1, keepdim=True))[0].isnan().any()  # 0 / 0
    ours = RenormalisedMask(Shape(1, 1, 2)).weights(scores[None, None], make_mask(2, causal=True))
    assert ours[0, 0].tolist() == [[1.0, 0.0], [0.0, 1.0]]


def honest_loss(model, ids):
    """Loss of the last token of each prefix, read alone: nothing can leak from what is not there."""
    return sum(
        F.cross_entropy(model(ids[:, :t])[:, -1], ids[:, t]).item() for t in range(1, ids.shape[1])
    ) / (ids.shape[1] - 1)  # fmt: skip


@pytest.mark.slow
def test_a_naive_mask_reaches_a_loss_that_no_model_can_have():
    """Independent uniform tokens over 4 symbols: nothing is there to be learned, the entropy is ln 4 = 1.386 nats.

    Of 8 tokens the naive mask gives away all but the last, which has no future: ln 4 / 8 = 0.173.
    """
    losses = {}
    for name in ("naive-mask", "softmax"):
        attention = AttentionConfig(mechanism=name, path="reference")
        model = GPT(ModelConfig(n_layers=1, n_heads=4, d_model=32, context=8, attention=attention), 4)
        optimizer = torch.optim.AdamW(model.parameters())
        generator = torch.Generator().manual_seed(0)
        for step in range(600):
            optimizer.param_groups[0]["lr"] = 1e-2 * (1 - step / 600)
            ids = torch.randint(4, (64, 9), generator=generator)
            optimizer.zero_grad()
            model.loss(ids[:, :-1], ids[:, 1:]).backward()
            optimizer.step()
        ids = torch.randint(4, (512, 9), generator=generator)
        with torch.no_grad():
            losses[name] = model.loss(ids[:, :-1], ids[:, 1:]).item(), honest_loss(model, ids)
    usual, honest = losses["naive-mask"]
    assert abs(usual - math.log(4) / 8) < 0.02
    assert honest > 2.5
    usual, honest = losses["softmax"]
    assert 1.37 < usual < 1.41
    assert abs(honest - usual) < 1e-4
