"""Argmax attention: the worked example of SCIENCE section 1, ties, gradients, and chunks of queries."""

import pytest
import torch

from heed.attention import Argmax, Shape, Softmax, make_mask, steps
from heed.attention.mechanisms import argmax as module
from heed.errors import ConfigError

KEYS = torch.tensor([[0.0, 1, 2], [1, 1, 2], [-1, 1, -2], [0, -1, -2]]).view(1, 1, 4, 3)
VALUES = torch.tensor([[3.0, 2, -4], [3, -2, 4], [3, 2, 0], [3, 2, 4]]).view(1, 1, 4, 3)
QUERY = torch.tensor([-2.0, 1, 1]).view(1, 1, 1, 3)
BOTH = pytest.mark.parametrize("path", ["auto", "reference"])


def inputs(T=7, S=7, H=4, kv=2, K=3, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    sizes = (2, H, T, K), (2, kv, S, K), (2, kv, S, K)
    return [torch.randn(size, generator=generator, dtype=dtype, requires_grad=True) for size in sizes]


@BOTH
def test_the_worked_example(path):
    assert steps.similarities(QUERY, KEYS).flatten().tolist() == [3, 1, 1, -3]
    y = Argmax(Shape(3, 1, 4), path=path)(QUERY, KEYS, VALUES, make_mask(1, 4))
    assert y.flatten().tolist() == [3, 2, -4]


@BOTH
def test_of_equal_keys_the_first_is_taken(path):
    y = Argmax(Shape(3, 1, 4), path=path)(QUERY, KEYS[:, :, :1].expand(-1, -1, 4, -1), VALUES, make_mask(1, 4))
    assert y.flatten().tolist() == [3, 2, -4]


def test_it_is_the_limit_of_softmax_for_large_queries():
    q, k, v = inputs()
    mask = make_mask(7, causal=True)
    # the nearest two of these scores are 3e-3 apart: 1e5 times that leaves a weight below exp(-300)
    torch.testing.assert_close(
        Argmax(Shape(12, 4, 7, 2))(q, k, v, mask), Softmax(Shape(12, 4, 7, 2))(1e5 * q, k, v, mask)
    )


@BOTH
def test_gradients_reach_the_values_and_nothing_else(path):
    q, k, v = inputs()
    y = Argmax(Shape(12, 4, 7, 2), path=path)(q, k, v, make_mask(7, causal=True))
    y.sum().backward()
    assert q.grad is None
    assert k.grad is None
    # 2 rows x 4 heads x 7 queries each pull one value of 3 numbers
    assert v.grad.sum() == 2 * 4 * 7 * 3
    assert set(v.grad.unique().tolist()) <= set(map(float, range(15)))


def test_straight_through_changes_no_output_and_gives_the_gradients_of_softmax():
    q, k, v = inputs()
    mask, shape = make_mask(7, causal=True), Shape(12, 4, 7, 2)
    hard, through, soft = (kind(q, k, v, mask) for kind in (
        Argmax(shape), Argmax(shape, straight_through=True), Softmax(shape, path="reference"),
    ))  # fmt: skip
    assert torch.equal(hard, through)
    pull = torch.randn_like(hard)
    ours, theirs = (torch.autograd.grad(y, (q, k), pull) for y in (through, soft))
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.abs().max() > 0.1
        torch.testing.assert_close(mine, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("start", [None, [0, 3]])
@pytest.mark.parametrize("T", [1, 5, 7])
def test_chunks_of_queries_choose_what_all_at_once_choose(T, start, monkeypatch):
    monkeypatch.setattr(module, "ROWS", 2)
    q, k, v = inputs(T)
    bias = torch.randn(4, T, 7, dtype=torch.float64)
    padding = None if start is None else torch.tensor(start)
    for causal in (True, False):
        mask = make_mask(T, 7, causal=causal, start=padding)
        for added in (None, bias):
            chunks, whole = (Argmax(Shape(12, 4, 7, 2), path=p)(q, k, v, mask, added) for p in ("auto", "reference"))
            assert torch.equal(chunks, whole)


def test_a_query_that_may_look_nowhere_gets_zeros():
    q, k, v = inputs()
    y = Argmax(Shape(12, 4, 7, 2))(q, k, v, make_mask(7, causal=True, start=torch.tensor([0, 3])))
    assert (y[1, :, :3] == 0).all()
    assert (y[1, :, 3:] != 0).all()


def test_dropout_drops_whole_values_while_training():
    v = torch.ones(64, 2, 8, 4)
    y = Argmax(Shape(8, 2, 8), dropout=0.5)(v, v, v, make_mask(8))
    assert set(y.unique().tolist()) == {0.0, 2.0}
    assert abs(y.mean().item() - 1) < 0.1  # 1024 coins: the standard deviation of the mean is 0.03


def test_its_option_comes_from_a_configuration():
    from heed.config import AttentionConfig, ModelConfig
    from heed.models import GPT

    def gpt(**options):
        attention = AttentionConfig(mechanism="argmax", options=options)
        return GPT(ModelConfig(n_layers=1, n_heads=2, d_model=8, context=8, attention=attention), 5)

    assert gpt(straight_through="true").blocks[0].attention.mechanism.straight_through is True
    with pytest.raises(ConfigError, match=r"options\.straight: unknown option of 'argmax', did you mean"):
        gpt(straight=True)
