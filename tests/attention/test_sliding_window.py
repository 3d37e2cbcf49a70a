"""Sliding window: blocks equal the dense mask and the loops, exactly causal, linear memory, any length and padding."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from heed.attention import SCORES, Shape, SlidingWindow, make_mask, window_mask
from heed.errors import ConfigError
from reference.sliding_window import sliding_window


def draw(*shapes, seed=0):
    """Random tensors in float64 that want gradients."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, dtype=torch.float64, generator=generator).requires_grad_() for shape in shapes]


def made(window, path="auto", block=None, **settings):
    """A mechanism whose blocks are short, so that short sequences have many."""
    mechanism = SlidingWindow(Shape(16, 4, 64), window=window, path=path, **settings)
    mechanism.block = block or mechanism.block
    return mechanism


@settings(max_examples=60, deadline=None)
@given(
    T=st.integers(1, 23),
    more=st.sampled_from([0, 0, 1, 9]),
    window=st.integers(1, 9),
    block=st.integers(1, 5),
    heads=st.sampled_from([(4, 4), (4, 2), (4, 1)]),
    causal=st.booleans(),
    padding=st.none() | st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=2, max_size=2),
)
def test_blocks_equal_the_dense_mask_in_outputs_and_gradients(T, more, window, block, heads, causal, padding):
    S = T + more
    real = None
    if padding is not None:  # on both sides at once, and rows without a single real key among them
        index = torch.arange(S)
        real = torch.stack([(index >= left) & (index < S - right) for left, right in padding])
    mask = make_mask(T, S, causal=causal, padding=real)
    (H, Hkv) = heads
    inputs = draw((2, H, T, 4), (2, Hkv, S, 4), (2, Hkv, S, 4))
    results = []
    for path in ("fused", "reference"):
        y = made(window, path, block)(*inputs, mask)
        results.append([y, *torch.autograd.grad(y.square().sum(), inputs)])
    for fused, reference in zip(*results, strict=True):
        assert fused.isfinite().all()
        torch.testing.assert_close(fused, reference, rtol=1e-10, atol=1e-10)  # sums in another order


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(("T", "S"), [(11, 11), (3, 11)])
def test_equals_the_loops(causal, T, S):
    q, k, v = draw((1, 4, T, 4), (1, 2, S, 4), (1, 2, S, 4))
    allowed = [[not causal or s <= t + S - T for s in range(S)] for t in range(T)]
    mechanism = made(4, block=2)
    expected = sliding_window(mechanism, q[0], k[0], v[0], allowed)
    torch.testing.assert_close(mechanism(q, k, v, make_mask(T, S, causal=causal))[0], expected)


def test_by_hand_each_query_is_the_mean_of_its_window():
    q = torch.zeros(1, 1, 5, 1)
    v = torch.tensor([1.0, 2, 4, 8, 16]).view(1, 1, 5, 1)
    for block in (1, 2, 32):
        y = made(2, block=block)(q, q, v, make_mask(5, causal=True)).flatten()
        assert y.tolist() == [1, 1.5, 3, 6, 12]
        y = made(2, block=block)(q, q, v, make_mask(5)).flatten()
        torch.testing.assert_close(y, torch.tensor([1.5, 7 / 3, 14 / 3, 28 / 3, 12]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_future_changes_no_bit_of_the_past_and_the_window_hides_what_is_far(dtype):
    q, k, v = (x.detach().to(dtype) for x in draw(*[(1, 4, 70, 4)] * 3))
    mechanism, mask = made(8, block=5), make_mask(70, causal=True)
    y = mechanism(q, k, v, mask)
    assert y.dtype == dtype
    for moved in (1, 33, 69):
        for factor in (1e3, -1e3):
            q2, k2, v2 = (x.clone() for x in (q, k, v))
            for x in (q2, k2, v2):
                x[:, :, moved] *= factor
            z = mechanism(q2, k2, v2, mask)
            assert torch.equal(z[:, :, :moved], y[:, :, :moved])
            assert torch.equal(z[:, :, moved + 8 :], y[:, :, moved + 8 :])
            assert (z[:, :, moved : moved + 8] != y[:, :, moved : moved + 8]).any()


def test_a_window_over_everything_is_softmax():
    q, k, v = draw(*[(2, 4, 13, 4)] * 3)
    expected = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    torch.testing.assert_close(made(13, block=2)(q, k, v, make_mask(13, causal=True)), expected)


def test_a_mask_with_a_shorter_window_wins():
    q, k, v = draw(*[(1, 4, 20, 4)] * 3)
    short = made(3, block=4)(q, k, v, make_mask(20, causal=True))
    for path in ("fused", "reference"):
        torch.testing.assert_close(made(9, path, block=4)(q, k, v, make_mask(20, window=3)), short)


@pytest.mark.parametrize("name", sorted(SlidingWindow.facts.scores))
def test_scores_that_are_dot_products_run_in_blocks(name):
    score = SCORES[name](Shape(16, 4, 64)).double()
    score.initialise(torch.Generator().manual_seed(0))
    q, k, v = draw((1, 4, 20, 4), (1, 2, 20, 4), (1, 2, 20, 4))
    mask = make_mask(20, causal=True)
    fused, reference = (made(5, path, 4, score=score)(q, k, v, mask) for path in ("fused", "reference"))
    torch.testing.assert_close(fused, reference, rtol=1e-10, atol=1e-10)


def test_what_cannot_be_honoured_is_refused():
    q, k, v = draw(*[(1, 4, 5, 4)] * 3)
    with pytest.raises(ConfigError, match=r"options\.window: must be at least 1"):
        made(0)
    with pytest.raises(ConfigError, match="adds no bias"):
        made(2)(q, k, v, make_mask(5, causal=True), torch.zeros(4, 5, 5))
    with pytest.raises(ConfigError, match="needs a score that is a dot product"):
        made(2, score=SCORES["additive"](Shape(16, 4, 64)))(q, k, v, make_mask(5, causal=True))


def test_dropout_acts_on_the_weights_while_training():
    q = torch.zeros(16, 4, 64, 4)
    v = torch.ones(16, 4, 64, 4)
    for path in ("fused", "reference"):
        mechanism = made(4, path, 8, dropout=0.5)
        y = mechanism(q, q, v, make_mask(64, causal=True))[:, :, 3:, 0]
        # Four weights of 1/4, each 0 or 1/2: mean 1, variance 1/4; 3904 rows, sd of the mean 0.008.
        assert set(y.flatten().tolist()) <= {0.0, 0.5, 1.0, 1.5, 2.0}
        assert abs(y.mean().item() - 1) < 0.05
        assert (mechanism.eval()(q, q, v, make_mask(64, causal=True)) == 1).all()


def test_memory_grows_with_the_length_and_not_with_its_square():
    largest = []
    for T in (1024, 4096):
        x = torch.randn(1, 2, T, 8, requires_grad=True)
        mechanism = made(32)
        with torch.profiler.profile(profile_memory=True) as profile:
            mechanism(x, x, x, make_mask(T, causal=True)).sum().backward()
        largest.append(max(event.cpu_memory_usage for event in profile.events()))
    assert largest[1] < 5 * largest[0]  # 4 times the tokens; T x T would be 16
    assert largest[1] < 4096 * 4096


def test_flops_stop_growing_at_the_window():
    assert made(8).flops(4) == 4 * 16 * 4
    assert made(8).flops(1000) == 4 * 16 * 8
    assert SlidingWindow(Shape(16, 4, 64, causal=False), window=8).flops(1000) == 4 * 16 * 15


def test_transformers_counts_the_window_of_mistral_the_same_way():
    from transformers import masking_utils as masking

    sees = masking.sliding_window_causal_mask_function(3)
    index = torch.arange(7)
    assert torch.equal(sees(0, 0, index[:, None], index), window_mask(7, 7, 3))
