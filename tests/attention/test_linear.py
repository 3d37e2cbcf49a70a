"""Linear attention: chunks are the equation, nothing leaks, and running sums decode what a full pass computes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from heed.attention import POSITIONS, LayerCache, Shape, StateCache, Wishes, make_mask, refuse_impossible
from heed.attention.mechanisms import chunks as chunked
from heed.attention.mechanisms import sums
from heed.attention.mechanisms.features import FeatureMap
from heed.attention.mechanisms.linear import LinearAttention
from heed.attention.mechanisms.performer import Performer
from heed.config import ModelConfig
from heed.errors import ConfigError
from heed.generation import Sampling, generate
from heed.models import GPT
from reference.linear import linear

KINDS = {
    "linear": (LinearAttention, {}),
    "performer": (Performer, {"features": 32}),
    "trigonometric": (Performer, {"features": 32, "kind": "trigonometric"}),
}


def made(name="linear", shape=None, **options):
    kind, own = KINDS[name]
    mechanism = kind(shape or Shape(16, 4, 512, 2), **own, **options).double()
    mechanism.initialise(torch.Generator().manual_seed(1))
    return mechanism


def inputs(T, S=None, B=2, H=4, Hkv=2, K=4, seed=0, spread=1.0):
    generator = torch.Generator().manual_seed(seed)
    sizes = (B, H, T, K), (B, Hkv, S or T, K), (B, Hkv, S or T, K)
    return [(spread * torch.randn(s, dtype=torch.float64, generator=generator)).requires_grad_() for s in sizes]


def test_a_case_on_paper():
    """K = 1: phi(0) = 1, phi(1) = 2. The second query weighs the values 3 and 6 by 2 x 1 and 2 x 2."""
    q = torch.tensor([0.0, 1.0]).view(1, 1, 2, 1)
    v = torch.tensor([3.0, 6.0]).view(1, 1, 2, 1)
    y = LinearAttention(Shape(1, 1, 2))(q, q, v, make_mask(2, causal=True))
    assert y.flatten().tolist() == [3.0, 5.0]


def test_equals_the_loop_over_several_chunks(monkeypatch):
    monkeypatch.setattr(chunked, "CHUNK", 4)
    q, k, v = inputs(11, B=1, H=2, Hkv=1, K=2)
    mechanism = LinearAttention(Shape(4, 2, 11, 1))
    pull = torch.randn(1, 2, 11, 2, dtype=torch.float64)
    allowed = torch.ones(11, 11).tril().bool().tolist()
    ours = mechanism(q, k, v, make_mask(11, causal=True))
    slow = linear(mechanism, q[0], k[0], v[0], allowed)[None]
    torch.testing.assert_close(ours, slow, rtol=1e-12, atol=1e-12)  # the loop lacks SMALLEST, 1e-15
    for mine, other in zip(
        torch.autograd.grad(ours, (q, k, v), pull), torch.autograd.grad(slow, (q, k, v), pull), strict=True
    ):
        torch.testing.assert_close(mine, other, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("name", KINDS)
@settings(max_examples=12, deadline=None)
@given(
    sizes=st.sampled_from([(1, 1), (2, 2), (63, 63), (65, 65), (129, 129), (1, 66), (5, 70), (70, 131)]),
    causal=st.booleans(),
    padding=st.sampled_from([None, "left", "right"]),
    segment=st.sampled_from([1, 2**11, 2**18]),
)
def test_the_fast_path_is_the_equation_in_outputs_and_gradients(name, sizes, causal, padding, segment):
    T, S = sizes
    mask = make_mask(T, S, causal=causal)
    if padding == "left":
        mask = make_mask(T, S, causal=causal, start=torch.tensor([S // 2 + 1, 0]))
    if padding == "right":
        mask = make_mask(T, S, causal=causal, padding=torch.arange(S) < torch.tensor([[S], [S // 2]]))
    q, k, v = inputs(T, S, spread=0.7)  # trigonometric denominators come near zero where the spread is larger
    results, before = [], chunked.SEGMENT
    chunked.SEGMENT = segment
    try:
        for path in ("auto", "reference"):
            y = made(name, path=path)(q, k, v, mask)
            results.append([y, *torch.autograd.grad(y.sin().sum(), (q, k, v))])
    finally:
        chunked.SEGMENT = before
    for fast, slow in zip(*results, strict=True):
        assert fast.isfinite().all()
        # sums in another order; a denominator of 1e-3 of its terms makes 1e-15 to 1e-12, squared in the gradient
        torch.testing.assert_close(fast, slow, rtol=1e-8 if name == "trigonometric" else 1e-10, atol=1e-9)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("factor", [1e3, -1e3])
def test_a_huge_future_moves_no_bit_of_the_past(name, dtype, factor):
    """Within the chunk of the change and chunks before it: no maximum and no sum over the future, nowhere inf - inf."""
    mechanism = made(name).to(dtype)
    q, k, v = (x.detach().to(dtype) for x in inputs(200))
    mask = make_mask(200, causal=True)
    y = mechanism(q, k, v, mask)
    for t in (1, 70, 199):
        later = [x.clone() for x in (q, k, v)]
        for x in later:
            x[:, :, t:] *= factor
        moved = mechanism(*later, mask)
        assert torch.equal(moved[:, :, :t], y[:, :, :t])
        assert not torch.equal(moved[:, :, t:], y[:, :, t:])
        assert moved.isfinite().all()


@pytest.mark.parametrize("name", ["linear", "performer"])
def test_features_that_no_float_holds_still_give_a_mean_of_values(name):
    """All of q and k at -1e3 or 1e3: phi is 0 or infinite in float32, and 0 / 0 the easy answer."""
    mechanism = made(name).float()
    for sign in (-1e3, 1e3):
        q = torch.full((1, 4, 9, 4), sign).requires_grad_()
        k = torch.full((1, 2, 9, 4), -1e3).requires_grad_()
        v = torch.randn(1, 2, 9, 4)
        y = mechanism(q, k, v, make_mask(9, causal=True))
        expected = v.cumsum(2) / torch.arange(1, 10)[:, None]  # equal keys: the mean of the values so far
        torch.testing.assert_close(y, expected.repeat_interleave(2, 1), rtol=1e-5, atol=1e-5)
        assert all(g.isfinite().all() for g in torch.autograd.grad(y.sum(), (q, k)))


@pytest.mark.parametrize("name", KINDS)
def test_queries_without_any_key_get_zeros_and_no_gradient(name):
    q, k, v = inputs(6)
    y = made(name)(q, k, v, make_mask(6, causal=True, start=torch.tensor([6, 4])))
    assert (y[0] == 0).all()
    assert (y[1, :, :4] == 0).all()
    assert (y[1, :, 4:] != 0).all()
    for g in torch.autograd.grad(y.sum(), (q, k, v)):
        assert g.isfinite().all()
        assert (g[0] == 0).all()
        assert (g[1, :, :4] == 0).all()


@pytest.mark.parametrize("name", KINDS)
def test_running_sums_decode_what_a_full_pass_computes(name):
    mechanism = made(name)
    q, k, v = (x.detach() for x in inputs(150))
    start = torch.tensor([40, 0])
    full = mechanism(q, k, v, make_mask(150, causal=True, start=start))
    state = mechanism.new_cache(2, 150, torch.float64, torch.device("cpu"))
    assert isinstance(state, StateCache)
    assert not isinstance(state, LayerCache)
    parts, used = [], 0
    for T in (100, 1, 1, 30, 2, 1, 15):  # a prompt beyond a chunk, single tokens, several at once
        here = slice(used, used + T)
        mask = make_mask(T, used + T, causal=True, start=start)
        parts.append(mechanism.extend(q[:, :, here], k[:, :, here], v[:, :, here], mask, state))
        used += T
    assert state.used == 150
    torch.testing.assert_close(torch.cat(parts, 2), full, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", KINDS)
def test_rows_of_a_state_that_are_replaced_hold_what_the_new_ones_read(name):
    mechanism = made(name)
    q, k, v = (x.detach() for x in inputs(8))

    def read(rows, tokens, mask, state):
        return mechanism.extend(q[rows, :, tokens], k[rows, :, tokens], v[rows, :, tokens], mask, state)

    def new(rows):
        return mechanism.new_cache(rows, 8, torch.float64, torch.device("cpu"))

    both, fresh, one, nothing = new(2), new(1), slice(1, 2), slice(0, 2)
    read(nothing, slice(0, 4), make_mask(4, causal=True), both)
    read(one, slice(5, 7), make_mask(2, causal=True), fresh)
    both.replace([1], fresh, 2)
    y = read(nothing, slice(7, 8), make_mask(1, 5, causal=True, start=torch.tensor([0, 2])), both)
    alone = mechanism(q[1:, :, 5:], k[1:, :, 5:], v[1:, :, 5:], make_mask(3, causal=True))
    torch.testing.assert_close(y[1:], alone[:, :, 2:], rtol=1e-10, atol=1e-10)
    far = 30 * k  # with a scale far below that of a row of zeros, were these taken for a state
    both.replace([0, 1], fresh, 0)
    y = mechanism.extend(q[:, :, :1], far[:, :, :1], v[:, :, :1], make_mask(1, causal=True), both)
    torch.testing.assert_close(y, v[:, :, :1].repeat_interleave(2, 1), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["linear", "performer"])
def test_generated_text_is_the_same_with_the_cache_and_without(name):
    """Prompts of unequal length, texts that grow beyond the context and slide, each alone and in company."""
    config = ModelConfig.model_validate(
        {"n_layers": 2, "n_heads": 4, "n_kv_heads": 2, "d_model": 16, "context": 12, "attention": {"mechanism": name}}
    )
    model = GPT(config, 256).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(10)  # far from the uniform start, so that the argmax means something
    prompts = [[1, 2, 3], [4] * 9, [5, 6], list(range(40, 60))]
    sampling = Sampling(temperature=1.0)
    cached = generate(model, Bytes(), prompts, sampling, max_tokens=20)
    slow = generate(model, Bytes(), prompts, sampling, max_tokens=20, cache=False)
    assert [answer.ids for row in cached for answer in row] == [answer.ids for row in slow for answer in row]


class Bytes:
    end_id = None
    start_ids = ()

    def encode(self, text):
        return list(text.encode())

    def decode(self, ids):
        return bytes(ids).decode(errors="replace")

    def token_bytes(self, id):
        return bytes([id])


@pytest.mark.parametrize("name", KINDS)
def test_sums_are_float32_under_autocast(name):
    """bfloat16 has 8 bits: a sum of a thousand ones stops at 256."""
    mechanism = made(name).float()
    q, k = torch.zeros(1, 4, 1000, 4).bfloat16(), torch.zeros(1, 2, 1000, 4).bfloat16()
    v = torch.arange(1000.0).view(1, 1, -1, 1).expand(1, 2, -1, 4).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        y = mechanism(q, k, v, make_mask(1000, causal=True))
    assert y.dtype == torch.bfloat16
    assert (y[0, 0, -1] - 499.5).abs().max() < 2.5  # the mean of 0 ... 999; bfloat16 rounds at 500 by up to 1


def test_no_tensor_of_all_tokens_and_all_features_is_kept():
    """Saved for the gradient: q, k, v, y and divisors, T (4 K + 1) a head, beside a few sums."""
    kept = []
    mechanism = Performer(Shape(16, 1, 8192), features=512)
    mechanism.initialise(torch.Generator())
    q = torch.randn(1, 1, 8192, 16, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.numel()) or x, lambda x: x):
        mechanism(q, q, q, make_mask(8192, causal=True))
    assert max(kept) == 8192 * 16
    assert sum(kept) <= 8192 * (4 * 16 + 1)


class Lifted(FeatureMap):
    """phi(x) = x + 10: its slope is 1 also where a key is hidden and its phi is therefore 0."""

    def forward(self, x):
        return x + 10, None

    def gradient(self, x, phi, g):
        return g


def test_hidden_keys_get_no_gradient_whatever_the_features():
    q, k, v = inputs(70, Hkv=4)
    absent = torch.arange(70).lt(5).view(1, 1, -1, 1).expand(2, 1, 70, 1)
    y, _ = chunked.causal(Lifted(), q, k, v, absent, sums.no_sums(v, 4))
    keys = sums.hide(sums.Keys(Lifted()(k)[0], v), absent)
    slow = sums.quadratic(Lifted()(q)[0], keys, torch.ones(70, 70).tril().bool() & ~absent.transpose(2, 3))
    torch.testing.assert_close(y, slow)
    fast, slow = (torch.autograd.grad(out.sin().sum(), (q, k, v)) for out in (y, slow))
    assert (fast[1][:, :, :5] == 0).all()
    for mine, other in zip(fast, slow, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-9, atol=1e-9)


def test_what_cannot_be_is_refused():
    q, k, v = inputs(4)
    with pytest.raises(ConfigError, match="'linear' forms no scores to hide or to bias"):
        made()(q, k, v, make_mask(4, causal=True), torch.zeros(4, 4, 4))
    with pytest.raises(ConfigError, match="it knows causal and padding masks"):
        made("performer")(q, k, v, make_mask(4, window=2))
    for positions in ("rotary", "alibi", "relative"):
        wishes = Wishes(causal=True, masks=frozenset({"causal"}), positions=positions)
        with pytest.raises(ConfigError, match="cannot take positions"):
            refuse_impossible("linear", LinearAttention.facts, wishes)
    assert LinearAttention.facts.positions <= set(POSITIONS)


def test_second_derivatives_are_refused_and_not_wrong():
    q, k, v = inputs(4)
    (g,) = torch.autograd.grad(made()(q, k, v, make_mask(4, causal=True)).sin().sum(), q, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        g.sum().backward()
