"""The attention-free transformer: on paper, against the equation, mistakes of others, huge keys, memory, decoding."""

import math
from contextlib import contextmanager

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from heed.attention import MECHANISMS, Shape, make_mask
from heed.attention.mechanisms import means
from heed.attention.mechanisms.aft import AFTFull, AFTLocal, AFTSimple
from heed.attention.mechanisms.means import exponential_mean, prefix_mean, running_sums
from heed.build import build_model
from heed.config import AttentionConfig, ModelConfig
from heed.errors import ConfigError
from reference.aft import REFERENCES

KINDS = [
    ("aft-full", {}),
    ("aft-full", {"rank": 3}),
    ("aft-simple", {}),
    ("aft-local", {"window": 1}),
    ("aft-local", {"window": 3}),
    ("aft-local", {"window": 20}),
    ("aft-local", {"window": 99}),
]
every_kind = pytest.mark.parametrize(("name", "options"), KINDS, ids=[f"{n} {o or ''}".strip() for n, o in KINDS])


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def built(name, *, path="auto", context=64, causal=True, spread=1.0, heads=2, width=3, **options):
    """A mechanism in float64 whose every w is N(0, spread^2); a product of factors has about that spread."""
    made = MECHANISMS[name](Shape(heads * width, heads, context, causal=causal), path=path, **options).double()
    with torch.no_grad():
        for i, parameter in enumerate(made.parameters()):
            parameter.copy_(spread ** (0.5 if "rank" in options else 1) * normal(*parameter.shape, seed=50 + i))
    return made


def inputs(B, T, heads=2, width=3, factor=1.0):
    """q, k and v with gradients; the keys are multiplied by `factor`."""
    q, k, v = (normal(B, heads, T, width, seed=seed) for seed in (1, 2, 3))
    return q.requires_grad_(), (factor * k).requires_grad_(), v.requires_grad_()


def results(mechanism, q, k, v, mask):
    """The output, and the gradients of a random sum of it."""
    y = mechanism(q, k, v, mask)
    return [y, *torch.autograd.grad((y * normal(*y.shape, seed=9)).sum(), [q, k, v, *mechanism.parameters()])]


# On paper: T = 3, one channel, exp(K) = 1, 2, 4 and V = 6, 3, -1.
EXP_K, V = (1.0, 2.0, 4.0), (6.0, 3.0, -1.0)
EXP_W = ((1.0, 7.0, 7.0), (3.0, 1.0, 7.0), (1.0, 0.5, 2.0))  # exp(w): the 7 are of the future


@pytest.mark.parametrize("path", ["auto", "reference"])
@pytest.mark.parametrize(
    ("name", "means"),
    [
        # full: 6; (3 * 6 + 2 * 3) / (3 + 2) = 24/5; (6 + 1 * 3 - 8) / (1 + 1 + 8) = 1/10
        ("aft-full", (6.0, 4.8, 0.1)),
        # simple: 6; (6 + 2 * 3) / 3 = 4; (6 + 6 - 4) / 7 = 8/7
        ("aft-simple", (6.0, 4.0, 8 / 7)),
        # local, window 2: as full, but w[2, 0] is not learned and counts as 0, which here it is: exp(w) = 1
        ("aft-local", (6.0, 4.8, 0.1)),
    ],
)
def test_three_tokens_on_paper(name, means, path):
    made = built(name, path=path, context=3, heads=1, width=1, **({"window": 2} if name == "aft-local" else {}))
    with torch.no_grad():
        if name == "aft-full":
            made.w.copy_(torch.tensor(EXP_W).log())
        if name == "aft-local":  # columns: the key before, the query's own
            made.w.copy_(torch.tensor([[7.0, 1.0], [3.0, 1.0], [0.5, 2.0]]).log())
    q = torch.tensor([0.0, math.log(3), -math.log(3)], dtype=torch.float64).view(1, 1, 3, 1)  # gates 1/2, 3/4, 1/4
    k, v = torch.tensor(EXP_K, dtype=torch.float64).log().view(1, 1, 3, 1), torch.tensor(V).double().view(1, 1, 3, 1)
    expected = torch.tensor([gate * mean for gate, mean in zip((0.5, 0.75, 0.25), means, strict=True)])
    y = made(q, k, v, make_mask(3, causal=True))[0, 0, :, 0]
    torch.testing.assert_close(y, expected.double(), rtol=1e-6, atol=1e-6)  # w was written in float32


@contextmanager
def tiles(small=True):
    """Tiles, triangles and chunks of a few tokens, if asked for: the short sequences here then need many of them."""
    with pytest.MonkeyPatch.context() as patch:
        for name, size in (("LEAF", 5), ("TILE", 7), ("STEP", 3), ("CHUNK", 6), ("NUMBERS", 40)):
            patch.setattr(means, name, size if small else getattr(means, name))
        yield


every_size = pytest.mark.parametrize("small", [False, True], ids=["", "small tiles"])


@every_kind
@settings(max_examples=6, deadline=None)
@given(
    T=st.integers(1, 45),
    causal=st.booleans(),
    side=st.sampled_from(["none", "left", "right"]),
    spread=st.sampled_from([1.0, 300.0]),  # 300: beyond what products hold, so everything is written out
    factor=st.sampled_from([1.0, 1.0, 100.0]),  # 100: many keys are far above the first ones
    small=st.booleans(),
)
def test_fast_path_equals_the_equation_in_outputs_and_gradients(name, options, T, causal, side, spread, factor, small):
    start = torch.tensor([min(3, T), 0]) if side == "left" else None
    padding = torch.arange(T) < torch.tensor([[max(T - 4, 0)], [T]]) if side == "right" else None
    mask = make_mask(T, causal=causal, padding=padding, start=start)
    with tiles(small):
        fast, slow = (
            results(built(name, path=path, causal=causal, spread=spread, **options), *inputs(2, T, factor=factor), mask)
            for path in ("auto", "reference")
        )
    for one, other in zip(fast, slow, strict=True):
        assert one.isfinite().all()
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-11)  # sums in another order


@every_kind
@pytest.mark.parametrize("factor", [1.0, 100.0])
@pytest.mark.parametrize(("causal", "begin"), [(True, 0), (True, 300), (False, 0)])
def test_long_texts_fill_tiles_and_chunks_as_they_are(name, options, factor, causal, begin):
    """700 tokens: more than a tile, six triangles, three chunks; with padding of more than a chunk before them, too."""
    mask = make_mask(700, causal=causal, start=torch.tensor([begin]) if begin else None)
    fast, slow = (
        results(
            built(name, path=path, context=700, causal=causal, heads=1, width=2, **options),
            *inputs(1, 700, heads=1, width=2, factor=factor),
            mask,
        )
        for path in ("auto", "reference")
    )
    for one, other in zip(fast, slow, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-10)


@every_kind
def test_both_equal_the_loop_of_the_paper(name, options):
    made, (q, k, v) = built(name, **options), inputs(1, 19)
    mask = make_mask(19, causal=True)
    loop = REFERENCES[name](made, q[0], k[0], v[0], mask.dense().tolist())[None]
    gradients = torch.autograd.grad((loop * normal(*loop.shape, seed=9)).sum(), [q, k, v, *made.parameters()])
    for one, other in zip(results(made, q, k, v, mask), [loop, *gradients], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-11)


def aft_of_others(mistake, q, k, v, w):
    """Causal AFT (T, N) in one step, with one mistake (docs/attention/aft.md names code that makes it), or None."""
    T = len(q)
    future = torch.ones(T, T, dtype=torch.bool).triu(1)
    if mistake == "w multiplies the key":
        exponent = k[None] * w[..., None]
    elif mistake == "w is left out of the denominator":
        exponent = k[None] + w[..., None]
        weights = exponent.exp().masked_fill(future[..., None], 0.0)
        plain = k.exp().cumsum(0)
        return torch.sigmoid(q) * (weights * v).sum(1) / plain
    elif mistake == "one bias a key, not a pair":
        exponent = (k + w[0, :, None])[None].expand(T, -1, -1)
    elif mistake == "the maximum of w over the queries is subtracted":
        exponent = k[None] + (w - w.amax(0))[..., None]  # another number for each key: it does not cancel
    else:
        exponent = k[None] + w[..., None]
    weights = exponent.exp().masked_fill(future[..., None], 0.0)
    if mistake == "the denominator is the key's prefix":
        return torch.sigmoid(q) * (weights / weights.sum(1)[None] * v).sum(1)
    if mistake == "all keys are in the denominator":
        return torch.sigmoid(q) * (weights * v).sum(1) / exponent.exp().sum(1)
    if mistake == "a tanh gates":
        return torch.tanh(q) * (weights * v).sum(1) / weights.sum(1)
    if mistake == "a future weight of 1, not 0":
        weights = weights + future[..., None]
    return torch.sigmoid(q) * (weights * v).sum(1) / weights.sum(1)


MISTAKES = [
    "w multiplies the key",
    "w is left out of the denominator",
    "one bias a key, not a pair",
    "the maximum of w over the queries is subtracted",
    "the denominator is the key's prefix",
    "all keys are in the denominator",
    "a tanh gates",
    "a future weight of 1, not 0",
]


@pytest.mark.parametrize("mistake", [None, *MISTAKES])
def test_common_mistakes_are_told_from_the_equation(mistake):
    made, (q, k, v) = built("aft-full", context=9, heads=1, width=4), inputs(1, 9, heads=1, width=4)
    y = made(q, k, v, make_mask(9, causal=True))[0, 0]
    theirs = aft_of_others(mistake, q[0, 0], k[0, 0], v[0, 0], made.w)
    apart = (y - theirs).abs().max()
    assert apart < 1e-12 if mistake is None else apart > 0.1, f"{apart}: outputs are of order 1"


@pytest.mark.parametrize("window", [1, 3])
def test_beyond_the_window_keys_take_part_and_only_w_ends(window):
    made, (q, k, v) = built("aft-local", window=window), inputs(1, 12)
    mask = make_mask(12, causal=True)
    y = made(q, k, v, mask)
    moved = v.detach().clone()
    moved[0, :, 0] += 1.0
    last = (made(q, k, moved, mask) - y)[0, :, 11]
    weight = torch.softmax(k + made._dense(made.w[:12], mask)[11, :, None], dim=2)[0, :, 0]
    torch.testing.assert_close(last, torch.sigmoid(q)[0, :, 11] * weight)  # the first of 12 keys: far beyond
    assert (last > 1e-3).all()


def test_a_window_as_long_as_the_context_is_aft_full_and_a_w_of_zero_aft_simple():
    full, local = built("aft-full", context=13), built("aft-local", context=13, window=13)
    q, k, v = inputs(2, 13)
    mask = make_mask(13, causal=True)
    with torch.no_grad():
        full.w.copy_(local._dense(local.w, mask))
    torch.testing.assert_close(full(q, k, v, mask), local(q, k, v, mask))
    with torch.no_grad():
        full.w.zero_()
    torch.testing.assert_close(full(q, k, v, mask), built("aft-simple")(q, k, v, mask))


def test_all_channels_share_w_so_that_heads_make_no_difference():
    one, many = built("aft-full", heads=1, width=6), built("aft-full", heads=3, width=2)
    q, k, v = inputs(2, 7, heads=3, width=2)

    def merged(x):
        return x.transpose(1, 2).flatten(2)[:, None]

    mask = make_mask(7, causal=True)
    torch.testing.assert_close(merged(many(q, k, v, mask)), one(merged(q), merged(k), merged(v), mask))


@every_kind
@every_size
@pytest.mark.parametrize("factor", [1e3, 30.0, -1e3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_huge_future_key_leaves_the_past_as_it_was_bit_for_bit(name, options, factor, dtype, small):
    made, (q, k, v) = built(name, **options).to(dtype), (x.detach().to(dtype) for x in inputs(1, 40))
    mask = make_mask(40, causal=True)
    with tiles(small):
        y = made(q, k, v, mask)
        assert y.isfinite().all()
        for t in (1, 8, 17, 39):
            later = k.clone().requires_grad_()
            with torch.no_grad():
                later[:, :, t:] = factor * k[:, :, t:].abs()
            moved = made(q, later, v, mask)
            assert torch.equal(moved[:, :, :t], y[:, :, :t])
            (gradient,) = torch.autograd.grad(moved.sum(), later)
            assert moved.isfinite().all()
            assert gradient.isfinite().all()


@every_kind
@every_size
@pytest.mark.parametrize(("factor", "spread"), [(1e3, 1.0), (30.0, 5.0), (1.0, 1e3), (1e3, 1e3)])
def test_float32_is_as_good_as_the_equation_with_keys_and_biases_of_a_thousand(name, options, factor, spread, small):
    mask = make_mask(33, causal=True)
    q, k, v = (x.detach().float() for x in inputs(2, 33, factor=factor))
    slow = built(name, path="reference", spread=spread, **options).float().double()
    exact = slow(q.double(), k.double(), v.double(), mask)
    with tiles(small):
        fast = built(name, spread=spread, **options).float()(q, k, v, mask)
    # An exponent of 4,000 is rounded to 2e-4 in float32, and the weights with it.
    torch.testing.assert_close(fast.double(), exact, rtol=0, atol=2e-3)


@every_kind
def test_gradients_are_those_of_finite_differences(name, options):
    made, (q, k, v) = built(name, context=21, heads=1, width=2, **options), inputs(1, 21, heads=1, width=2)
    mask = make_mask(21, causal=True)
    parameters = list(made.parameters())
    direction = [normal(*x.shape, seed=i) for i, x in enumerate((q, k, v, *parameters))]

    def moved(step):
        with torch.no_grad():
            for parameter, d in zip(parameters, direction[3:], strict=True):
                parameter.add_(step * d)
            y = made(*(x + step * d for x, d in zip((q, k, v), direction, strict=False)), mask).square().sum().item()
            for parameter, d in zip(parameters, direction[3:], strict=True):
                parameter.sub_(step * d)
        return y

    gradients = torch.autograd.grad(made(q, k, v, mask).square().sum(), [q, k, v, *parameters])
    slope = sum((g * d).sum().item() for g, d in zip(gradients, direction, strict=True))
    # central differences are off by about step^2 = 1e-10 and by rounding, 1e-16 / step = 1e-11
    assert slope == pytest.approx((moved(1e-5) - moved(-1e-5)) / 2e-5, rel=1e-6)


@every_kind
@pytest.mark.parametrize("size", [1, 4])
def test_decoding_equals_reading_at_once_also_behind_padding(name, options, size):
    made, (q, k, v) = built(name, **options), inputs(3, 17)
    start = torch.tensor([0, 2, 5])
    y = made(q, k, v, make_mask(17, causal=True, start=start))
    cache = made.new_cache(3, 17, torch.float64, torch.device("cpu"))
    parts = []
    for begin in range(0, 17, size):
        end = min(begin + size, 17)
        now = (x[:, :, begin:end] for x in (q, k, v))
        mask = make_mask(end - begin, end, causal=True, start=start)
        if made.facts.cache == "state":
            parts.append(made.extend(*now, mask, cache))
            assert cache.used == end
        else:
            a, b, c = now
            with torch.no_grad():
                keys, values = cache.append(b, c)
            parts.append(made(a, keys, values, mask))
    for row, first in enumerate(start.tolist()):
        torch.testing.assert_close(torch.cat(parts, 2)[row, :, first:], y[row, :, first:], rtol=1e-11, atol=1e-12)


def test_the_state_of_nothing_is_zero_and_tells_nothing_even_beside_small_keys():
    made, (q, k, v) = built("aft-simple"), inputs(2, 5, factor=1e3)
    state = made.new_cache(2, 5, torch.float64, torch.device("cpu"))
    assert all((part == 0).all() for part in state.sums)
    with torch.no_grad():
        k -= 5e4  # exp(k) is 0 in float64: beside a key of 0, which nothing must not be, all would be lost
        y = made.extend(q, k, v, make_mask(5, causal=True), state)
        torch.testing.assert_close(y, made(q, k, v, make_mask(5, causal=True)))


@every_size
@pytest.mark.parametrize("factor", [1.0, 100.0])
def test_running_sums_are_those_of_the_exponentials(factor, small):
    k, values = factor * normal(2, 40, 3), normal(4, 2, 40, 3, seed=1)
    k[0, :8] = -torch.inf  # the first row begins with hidden tokens, more than a small chunk of them
    k[1, 5:9] = -torch.inf
    with tiles(small):
        unit, sums = running_sums(k, values)
    expected = (k.exp() * values).cumsum(2)
    torch.testing.assert_close(unit.exp() * sums, expected)
    assert (sums[:, 0, :8] == 0).all()
    highest = k.cummax(1).values
    assert (highest - unit <= means.LIMIT)[highest.isfinite()].all()


def test_a_mean_of_nothing_is_zero_and_its_weight_minus_infinity():
    y, z = prefix_mean(torch.full((1, 2, 1), -torch.inf), torch.ones(1, 2, 1))
    assert (y == 0).all()
    assert z.isneginf().all()
    w = torch.zeros(1, 2, 2)
    y, z = exponential_mean(torch.full((1, 2, 1), -torch.inf), torch.zeros(1, 2, 1), w, causal=True, bounds=(0.0, 0.0))
    assert (y == 0).all()
    assert z.isneginf().all()


@pytest.mark.parametrize("kind", [AFTFull, AFTSimple, AFTLocal])
def test_memory_does_not_hold_the_square_of_the_length_for_each_channel(kind):
    """Autograd keeps a few numbers a token and channel; T x T x D would be 256 x 256 x 64 = 4,194,304."""
    T, D = 256, 64
    made = kind(Shape(D, 4, T))
    made.initialise(torch.Generator().manual_seed(0))
    q, k, v = (torch.randn(1, 4, T, D // 4, requires_grad=True) for _ in range(3))
    kept = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes() // tensor.itemsize
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        made(q, k, v, make_mask(T, causal=True))
    square = T * T if kind is AFTFull else 0
    assert sum(kept.values()) < square + 24 * T * D


def test_initial_means_are_nearly_plain_and_factors_make_the_same_spread():
    for rank in (None, 4, 128):
        made = AFTFull(Shape(8, 2, 64), rank=rank)
        made.initialise(torch.Generator().manual_seed(0))
        w = made.biases(make_mask(64, causal=True), torch.device("cpu"))
        # 4,096 numbers; a product of rank 4 has 2 * 64 * 4 independent ones: sd of its sd about 6 %
        assert w.std().item() == pytest.approx(0.02, rel=0.2)


def test_bfloat16_computes_in_float32_and_gives_bfloat16():
    made, (q, k, v) = built("aft-local", window=3).float(), (x.detach().bfloat16() for x in inputs(1, 20))
    mask = make_mask(20, causal=True)
    exact = made(q.float(), k.float(), v.float(), mask)
    y = made(q, k, v, mask)
    assert y.dtype == torch.bfloat16
    assert (y - exact).abs().max() < 0.01 * exact.abs().max()  # the gate, the product and the result: 0.2% a rounding
    with torch.autocast("cpu", torch.bfloat16):
        made(q, k, v, mask).float().sum().backward()
    assert made.w.grad.dtype == torch.float32


def test_impossible_settings_are_refused_by_their_names():
    def model(name, positions="learned", **options):
        attention = AttentionConfig(mechanism=name, options=options)
        return build_model(
            ModelConfig(d_model=8, n_heads=2, n_layers=1, context=8, positions=positions, attention=attention), 16
        )

    with pytest.raises(ConfigError, match=r"model\.attention\.options\.window: must be at least 1, not 0"):
        model("aft-local", window="0")
    with pytest.raises(ConfigError, match=r"model\.attention\.options\.rank: must be at least 1, or left out, not 0"):
        model("aft-full", rank=0)
    with pytest.raises(ConfigError, match="cannot take positions 'rotary'"):
        model("aft-simple", positions="rotary")
    with pytest.raises(ConfigError, match="9 tokens is longer than the 8 positions that w has"):
        built("aft-full", context=8)(*inputs(1, 9), make_mask(9, causal=True))
    assert model("aft-full", rank="4").blocks[0].attention.mechanism.u.shape == (8, 4)
    assert model("aft-local", window="99").blocks[0].attention.mechanism.w.shape == (8, 8)
