"""The attention layer: both paths agree, groups, masks, cache, and what is refused."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from heed.attention import (
    MECHANISMS,
    POSITIONS,
    Attention,
    Cache,
    Facts,
    RotaryPositions,
    Shape,
    Softmax,
    Wishes,
    find,
    make_mask,
    padding_mask,
    refuse_impossible,
)
from heed.errors import ConfigError


def layer(d_model=12, n_heads=3, seed=0, **settings):
    """A layer in float64 whose every weight is random."""
    made = Attention(d_model, n_heads, **settings).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(generator=generator)
    return made


@settings(max_examples=25, deadline=None)
@given(
    T=st.integers(1, 9),
    kv=st.sampled_from([1, 2, 4]),
    causal=st.booleans(),
    qk_norm=st.booleans(),
    start=st.none() | st.lists(st.integers(0, 9), min_size=2, max_size=2),
)
def test_fused_equals_reference_in_outputs_and_gradients(T, kv, causal, qk_norm, start):
    padding = None if start is None else padding_mask(torch.tensor(start), T)
    mask = make_mask(T, causal=causal, padding=padding)
    place = RotaryPositions(Shape(16, 4, 9)).at(slice(0, T))
    x = torch.randn(2, T, 16, dtype=torch.float64, requires_grad=True)
    results = []
    for path in ("fused", "reference"):
        made = layer(16, 4, n_kv_heads=kv, qk_norm=qk_norm, mechanism=Softmax(Shape(16, 4, 9, kv), path=path))
        y = made(x, mask, place)
        results.append([y, *torch.autograd.grad(y.square().sum(), [x, *made.parameters()])])
    for fused, reference in zip(*results, strict=True):
        assert fused.isfinite().all()
        torch.testing.assert_close(fused, reference, rtol=1e-9, atol=1e-9)  # sums in another order


def test_without_a_mask_everything_is_seen_and_rows_are_independent():
    made, x = layer(), torch.randn(2, 5, 12, dtype=torch.float64)
    y = made(x)
    torch.testing.assert_close(made(x[1:]), y[1:])
    moved = x.clone()
    moved[0, 4] += 1
    assert (made(moved)[0, 0] != y[0, 0]).any()
    assert torch.equal(made(moved)[1], y[1])


def test_grouped_layer_equals_the_full_one_with_repeated_heads():
    small = layer(8, 4, n_kv_heads=2)
    big = layer(8, 4)
    q, k, v = small.qkv.weight.split([8, 4, 4])
    bq, bk, bv = small.qkv.bias.split([8, 4, 4])

    def repeat(w):  # width 2 per head; each key/value head serves two query heads
        return w.unflatten(0, (2, 2)).repeat_interleave(2, 0).flatten(0, 1)

    with torch.no_grad():
        big.qkv.weight.copy_(torch.cat([q, repeat(k), repeat(v)]))
        big.qkv.bias.copy_(torch.cat([bq, repeat(bk), repeat(bv)]))
        big.out.load_state_dict(small.out.state_dict())
    x = torch.randn(2, 5, 8, dtype=torch.float64)
    torch.testing.assert_close(small(x, make_mask(5, causal=True)), big(x, make_mask(5, causal=True)))


def test_query_and_key_norms_make_the_scores_blind_to_scale():
    made = layer(bias=False, qk_norm=True)
    x = torch.randn(1, 4, 12, dtype=torch.float64)
    y = made(x)
    with torch.no_grad():
        made.qkv.weight[:24] *= 1000  # queries and keys, not values
    torch.testing.assert_close(made(x), y, rtol=1e-4, atol=1e-4)  # the epsilon inside the root is all that moves


@pytest.mark.parametrize("path", ["fused", "reference"])
def test_dropout_on_weights_is_honoured_while_training_and_keeps_the_mean(path):
    mechanism = Softmax(Shape(16, 8, 4), path=path, dropout=0.5)
    q = torch.zeros(64, 8, 4, 2)
    v = torch.ones(64, 8, 4, 2)
    y = mechanism(q, q, v, make_mask(4))
    # A weight of 1/4 is 0 or 1/2: the sum of four has the mean 1 and the variance 1/4. 2048 rows: sd of the mean 0.011.
    rows = y[..., 0]
    assert set(rows.flatten().tolist()) <= {0.0, 0.5, 1.0, 1.5, 2.0}
    assert abs(rows.mean().item() - 1) < 0.06
    assert abs(rows.var().item() - 0.25) < 0.06
    assert (mechanism.eval()(q, q, v, make_mask(4)) == 1).all()


def test_cache_grows_moves_keeps_rows_and_refuses_to_overflow():
    cache = Cache(
        [Softmax(Shape(2, 1, 4)).new_cache(2, 4, torch.float32, torch.device("cpu"))], 4, torch.tensor([0, 1])
    )
    k = torch.arange(12.0).view(2, 1, 3, 2)
    seen, _ = cache.layers[0].append(k, -k)
    assert torch.equal(seen, k)
    assert cache.used == 3
    cache.room_for(1)
    with pytest.raises(ConfigError, match="3 of 4 tokens, and 2 more"):
        cache.room_for(2)
    cache.drop_first(1)
    assert cache.used == 2
    cache.keep(torch.tensor([1, 1, 0]))
    assert cache.start.tolist() == [0, 0, -1]
    keys, values = cache.layers[0].append(torch.zeros(3, 1, 1, 2), torch.zeros(3, 1, 1, 2))
    assert keys[:, 0, 0].tolist() == [[8, 9], [8, 9], [2, 3]]
    assert values[:, 0, 0].tolist() == [[-8, -9], [-8, -9], [-2, -3]]


def test_unknown_names_are_refused_with_the_nearest_one():
    with pytest.raises(ConfigError, match=r"attention\.mechanism: unknown value 'sofmax', did you mean 'softmax'\?"):
        find(MECHANISMS, "sofmax", "attention.mechanism")
    with pytest.raises(ConfigError, match="did you mean 'rotary'"):
        find(POSITIONS, "rotery", "model.positions")


def test_heads_that_do_not_divide_are_refused():
    with pytest.raises(ConfigError, match="each must divide the one before"):
        Attention(10, 3)
    with pytest.raises(ConfigError, match="each must divide the one before"):
        Attention(12, 4, n_kv_heads=3)


def test_every_mechanism_declares_its_facts():
    for mechanism in MECHANISMS.values():
        assert isinstance(mechanism.facts, Facts)
        assert mechanism.facts.positions <= set(POSITIONS)


def test_impossible_wishes_are_refused_all_at_once():
    mixer = Facts(
        equation="y = E F x", source="nobody 2020", causal="never", differentiable="all", masks=frozenset(),
        positions=frozenset({"learned"}), time="T D", memory="T D", growth=(1, 1), cache="none", grouped=False,
        weights=False, inputs="v",
    )  # fmt: skip
    wishes = Wishes(
        causal=True, masks=frozenset({"causal"}), positions="rotary", score="dot", projection="shared-qk", grouped=True,
        qk_norm=True,
    )  # fmt: skip
    with pytest.raises(ConfigError) as raised:
        refuse_impossible("mixer", mixer, wishes)
    assert len(raised.value.problems) == 6
    refuse_impossible("mixer", mixer, Wishes(causal=False, masks=frozenset(), positions="learned"))


def test_query_and_key_norms_stay_in_bfloat16_under_autocast():
    """A float32 scale for bfloat16 queries warns (warnings are errors here) and leaves the fused kernel."""
    made = layer(qk_norm=True).float()
    x = torch.randn(2, 5, 12, generator=torch.Generator().manual_seed(1))
    exact = made(x)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = made(x)
    assert rounded.dtype == torch.bfloat16
    assert (rounded - exact).abs().max() < 0.03 * exact.abs().max()  # bfloat16 has 8 bits: 0.4% a rounding
    rounded.float().sum().backward()
    assert made.q_norm.grad.dtype == torch.float32
