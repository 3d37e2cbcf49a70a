"""BigBird: the sparse path equals exact attention under its dense mask and the loops; padding, cache, Hugging Face."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from heed.attention import SCORES, BigBird, Shape, make_mask
from heed.errors import ConfigError
from reference.bigbird import bigbird


def draw(*shapes, seed=0):
    """Random tensors in float64 that want gradients."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, dtype=torch.float64, generator=generator).requires_grad_() for shape in shapes]


def made(causal=True, heads=4, context=64, seed=0, **settings):
    """An initialised mechanism; short blocks, so that short sequences have many."""
    mechanism = BigBird(Shape(4 * heads, heads, context, causal=causal), **{"block": 2, **settings})
    mechanism.initialise(torch.Generator().manual_seed(seed))
    return mechanism


def paddings(S, sizes):
    """Real keys (B, S) between `left` and `right` tokens of padding."""
    index = torch.arange(S)
    return torch.stack([(index >= left) & (index < S - right) for left, right in sizes])


@settings(max_examples=60, deadline=None)
@given(
    T=st.integers(1, 40),
    block=st.integers(1, 4),
    window=st.sampled_from([1, 3, 5]),
    shared=st.integers(0, 3),
    random=st.integers(0, 3),
    kv=st.sampled_from([4, 2, 1]),
    causal=st.booleans(),
    padding=st.none() | st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=2, max_size=2),
)
def test_block_sparse_equals_the_dense_mask(T, block, window, shared, random, kv, causal, padding):
    mask = make_mask(T, causal=causal, padding=None if padding is None else paddings(T, padding))
    inputs = draw((2, 4, T, 4), (2, kv, T, 4), (2, kv, T, 4))
    mechanism = made(causal, block=block, window_blocks=window, global_blocks=shared, random_blocks=random)
    results = []
    for path in ("fused", "reference"):
        mechanism.path = path
        y = mechanism(*inputs, mask)
        results.append([y, *torch.autograd.grad(y.square().sum(), inputs)])
    for fused, reference in zip(*results, strict=True):
        assert fused.isfinite().all()
        torch.testing.assert_close(fused, reference, rtol=1e-10, atol=1e-10)  # sums in another order


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("padding", [None, (0, 0), (5, 0), (0, 4), (3, 3), (21, 0)])
@pytest.mark.parametrize("path", ["fused", "reference"])
def test_equals_the_loops(causal, padding, path):
    q, k, v = draw((1, 4, 21, 4), (1, 2, 21, 4), (1, 2, 21, 4))
    real = None if padding is None else paddings(21, [padding])
    mask = make_mask(21, causal=causal, padding=real)
    seen = torch.ones(21, 21).tril() if causal else torch.ones(21, 21)
    allowed = (seen.bool() if real is None else seen.bool() & real[0]).tolist()
    mechanism = made(causal, path=path, random_blocks=2)
    torch.testing.assert_close(mechanism(q, k, v, mask)[0], bigbird(mechanism, q[0], k[0], v[0], allowed))


@pytest.mark.parametrize(
    "settings", [{"window_blocks": 41}, {"global_blocks": 20}, {"random_blocks": 20}, {"block": 64}]
)
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("path", ["fused", "reference"])
def test_with_everything_visible_it_is_softmax(settings, causal, path):
    q, k, v = draw(*[(2, 4, 39, 4)] * 3)
    expected = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal)
    found = made(causal, path=path, **settings)(q, k, v, make_mask(39, causal=causal))
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def test_the_future_changes_no_bit_of_the_past():
    q, k, v = (x.detach() for x in draw(*[(1, 4, 50, 4)] * 3))
    mechanism, mask = made(block=3), make_mask(50, causal=True)
    y = mechanism(q, k, v, mask)
    for moved in (1, 23, 49):
        for factor in (1e3, -1e3):
            changed = [x.clone() for x in (q, k, v)]
            for x in changed:
                x[:, :, moved:] *= factor
            assert torch.equal(mechanism(*changed, mask)[:, :, :moved], y[:, :, :moved])


@pytest.mark.parametrize("causal", [True, False])
def test_padding_on_either_side_changes_nothing_for_real_tokens(causal):
    q, k, v = draw(*[(1, 4, 27, 4)] * 3)
    mechanism = made(causal, block=2)
    alone = mechanism(q, k, v, make_mask(27, causal=causal))
    for left, right in ((4, 0), (0, 7), (3, 2)):
        wide = [torch.nn.functional.pad(x, (0, 0, left, right), value=9.0) for x in (q, k, v)]
        mask = make_mask(27 + left + right, causal=causal, padding=paddings(27 + left + right, [(left, right)]))
        y = mechanism(*wide, mask)
        torch.testing.assert_close(y[:, :, left : left + 27], alone, rtol=1e-10, atol=1e-10)
        assert not y[:, :, :left].any()
        assert not y[:, :, left + 27 :].any()


def test_padding_between_real_tokens_is_honoured():
    q, k, v = draw(*[(2, 4, 30, 4)] * 3)
    real = torch.rand(2, 30, generator=torch.Generator().manual_seed(0)) < 0.7
    for causal in (True, False):
        mechanism, mask = made(causal), make_mask(30, causal=causal, padding=real)
        fused = mechanism(q, k, v, mask)
        mechanism.path = "reference"
        torch.testing.assert_close(fused, mechanism(q, k, v, mask))


@pytest.mark.parametrize("start", [None, [0, 5]])
@pytest.mark.parametrize("T", [1, 4])
def test_decoding_equals_the_full_forward(start, T):
    q, k, v = draw(*[(2, 4, 33, 4)] * 3)
    start = None if start is None else torch.tensor(start)
    mechanism = made(block=3)
    full = mechanism(q, k, v, make_mask(33, causal=True, start=start))
    for S in range(T, 34):
        y = mechanism(q[:, :, S - T : S], k[:, :, :S], v[:, :, :S], make_mask(T, S, causal=True, start=start))
        torch.testing.assert_close(y, full[:, :, S - T : S], rtol=1e-10, atol=1e-10)


def test_random_blocks_are_drawn_from_the_generator_and_saved():
    one, same, other = made(seed=1), made(seed=1), made(seed=2)
    assert torch.equal(one.rank, same.rank)
    assert not torch.equal(one.rank, other.rank)
    other.load_state_dict(one.state_dict())
    q, k, v = draw(*[(1, 4, 60, 4)] * 3)
    mask = make_mask(60, causal=True)
    assert torch.equal(one(q, k, v, mask), other(q, k, v, mask))
    assert torch.equal(one.rank.sort(dim=-1).values, torch.arange(32).expand(4, 32, 32).short())
    counts = one.pattern(32, causal=True)[:, 10:].sum(-1)
    assert (counts == 2 + 2 + 3).all()  # two global, itself and the one before, three random


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("name", sorted(BigBird.facts.scores))
def test_scores_that_are_dot_products_run_in_blocks(name, causal):
    score = SCORES[name](Shape(16, 4, 64)).double()
    score.initialise(torch.Generator().manual_seed(0))
    q, k, v = draw((1, 4, 40, 4), (1, 2, 40, 4), (1, 2, 40, 4))
    mask, mechanism = make_mask(40, causal=causal), made(causal, score=score)
    fused = mechanism(q, k, v, mask)
    mechanism.path = "reference"
    torch.testing.assert_close(fused, mechanism(q, k, v, mask), rtol=1e-10, atol=1e-10)


def test_what_cannot_be_honoured_is_refused():
    q, k, v = draw(*[(1, 4, 5, 4)] * 3)
    with pytest.raises(ConfigError) as raised:
        made(block=0, window_blocks=2, global_blocks=-1, random_blocks=-1)
    assert len(raised.value.problems) == 4
    mask = make_mask(5, causal=True)
    with pytest.raises(ConfigError, match="adds no bias"):
        made()(q, k, v, mask, torch.zeros(4, 5, 5))
    with pytest.raises(ConfigError, match="longer than the context of 4"):
        made(context=4)(q, k, v, mask)
    with pytest.raises(ConfigError, match="needs a score that is a dot product"):
        made(score=SCORES["additive"](Shape(16, 4, 64)))(q, k, v, mask)


@pytest.mark.parametrize("causal", [True, False])
def test_memory_grows_with_the_length_and_not_with_its_square(causal):
    largest = []
    for T in (1024, 4096):
        x = torch.randn(1, 2, T, 8, requires_grad=True)
        mechanism = made(causal, 2, T, block=16)
        with torch.profiler.profile(profile_memory=True) as profile:
            mechanism(x, x, x, make_mask(T, causal=causal)).sum().backward()
        largest.append(max(event.cpu_memory_usage for event in profile.events()))
    assert largest[1] < 6 * largest[0]  # 4 times the tokens; T x T would be 16
    assert largest[1] < 4096 * 4096


@pytest.fixture(scope="module")
def hugging_face():
    """transformers' block-sparse attention, 2 heads, blocks of 4, against ours with the same random blocks."""
    import numpy as np
    from transformers import BigBirdConfig
    from transformers.models.big_bird.modeling_big_bird import BigBirdBlockSparseAttention, BigBirdModel

    def compare(n, random, *, training, padding=0):
        config = BigBirdConfig(hidden_size=8, num_attention_heads=2, block_size=4, num_random_blocks=random)
        theirs = BigBirdBlockSparseAttention(config, seed=3).double().train(training)
        T = 4 * n
        x = torch.randn(2, T, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        real = torch.ones(2, T, dtype=torch.bool)
        real[1, T - padding :] = False
        blocked, band, rows, columns = BigBirdModel.create_masks_for_block_sparse_attn(real.double(), 4)
        expected = theirs(x, band, rows, columns, blocked, blocked)[0].view(2, T, 2, 4).transpose(1, 2)
        np.random.seed(3)
        drawn = theirs._bigbird_block_rand_mask_with_head(T, T, 4, 4, 2, *theirs._get_rand_attn_plan(T, 4, random))
        ours = made(causal=False, heads=2, context=T, block=4, random_blocks=random)
        for h in range(2):
            for i in range(1, n - 1):
                ours.rank[h, i] = 100
                ours.rank[h, i, torch.tensor(drawn[h][i - 1])] = 0
        q, k, v = (part(x).view(2, T, 2, 4).transpose(1, 2) for part in (theirs.query, theirs.key, theirs.value))
        return ours(q, k, v, make_mask(T, padding=real if padding else None)), expected, drawn

    return compare


@pytest.mark.parametrize(("n", "random"), [(10, 2), (12, 1), (20, 3)])
def test_agrees_with_hugging_face(hugging_face, n, random):
    found, expected, _ = hugging_face(n, random, training=True)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_where_hugging_face_differs(hugging_face):
    """Its eval mode draws no random blocks and counts block 0 again for each; its last global block may be padding."""
    found, expected, drawn = hugging_face(12, 2, training=False)
    assert not any(part.any() for part in drawn)
    torch.testing.assert_close(found[:, :, :4], expected[:, :, :4])  # a global block
    assert (found - expected)[:, :, 4:-4].abs().amax() > 0.01
    found, expected, _ = hugging_face(12, 2, training=True, padding=6)
    torch.testing.assert_close(found[0], expected[0])  # no padding in this row
    assert (found - expected)[1, :, 4:32].abs().amax() > 0.01
