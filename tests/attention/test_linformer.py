"""Linformer: against the paper's loop, against softmax where nothing is lost, against another implementation."""

import pytest
import torch
from linformer import LinformerSelfAttention
from torch.utils.flop_counter import FlopCounterMode

from heed.attention import Attention, Shape, Wishes, make_mask, refuse_impossible
from heed.attention.mechanisms.linformer import Linformer, without_padding
from heed.config import AttentionConfig, ModelConfig
from heed.errors import ConfigError
from heed.models import Encoder
from reference.linformer import linformer


def made(shape, seed=0, **options):
    mechanism = Linformer(shape, **options).double()
    mechanism.initialise(torch.Generator().manual_seed(seed))
    return mechanism


def inputs(B, H, Hkv, T, K, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(B, h, T, K, dtype=torch.float64, generator=generator).requires_grad_() for h in (H, Hkv, Hkv)]


PADDING = {
    "none": None,
    "right": [[True] * 7, [True] * 4 + [False] * 3],
    "left": [[False] * 2 + [True] * 5, [True] * 7],
    "both": [[False] + [True] * 3 + [False] * 3, [True] * 6 + [False]],
    "a row without a token": [[False] * 7, [True] * 7],
}


@pytest.mark.parametrize("padding", PADDING)
@pytest.mark.parametrize("share", ["headwise", "kv", "none"])
@pytest.mark.parametrize("path", ["auto", "reference"])
def test_equals_the_loop_in_outputs_and_gradients(path, share, padding):
    mechanism = made(Shape(12, 4, 9, 2, causal=False), rank=3, share=share, path=path)
    q, k, v = inputs(2, 4, 2, 7, 3)
    real = None if PADDING[padding] is None else torch.tensor(PADDING[padding])
    ours = mechanism(q, k, v, make_mask(7, padding=real))
    allowed = [[[True] * 7] * 7 if real is None else [row.tolist()] * 7 for row in (real if real is not None else q)]
    slow = torch.stack([linformer(mechanism, q[b], k[b], v[b], allowed[b]) for b in range(2)])
    torch.testing.assert_close(ours, slow, rtol=1e-12, atol=1e-12)  # float64: only the order of sums differs
    pull = torch.randn_like(ours)
    leaves = [q, k, v, *mechanism.parameters()]
    for mine, other in zip(
        torch.autograd.grad(ours, leaves, pull), torch.autograd.grad(slow, leaves, pull), strict=True
    ):
        torch.testing.assert_close(mine, other, rtol=1e-11, atol=1e-12)


def test_with_identities_for_e_and_f_it_is_softmax_attention():
    shape = Shape(12, 3, 5, causal=False)
    mechanism = made(shape, rank=5)
    with torch.no_grad():
        mechanism.E.copy_(torch.eye(5))
        mechanism.F.copy_(torch.eye(5))
    q, k, v = inputs(2, 3, 3, 5, 4)
    expected = torch.nn.functional.scaled_dot_product_attention(q, k, v)
    torch.testing.assert_close(mechanism(q, k, v, make_mask(5)), expected, rtol=1e-12, atol=1e-12)


def test_a_padded_row_is_the_row_cut_short_wherever_the_padding_stands():
    mechanism = made(Shape(6, 2, 8, causal=False), rank=3)
    q, k, v = inputs(1, 2, 2, 8, 3)
    alone = mechanism(q[:, :, :5], k[:, :, :5], v[:, :, :5], make_mask(5))
    for shift in (0, 1, 3):
        moved = [x.roll(shift, 2) for x in (q, k, v)]
        padding = (torch.arange(8) >= shift) & (torch.arange(8) < shift + 5)
        y = mechanism(*moved, make_mask(8, padding=padding[None]))[:, :, shift : shift + 5]
        # not bit for bit: a sum of 8 numbers, 3 of them zeros, is added up in another order than one of 5
        torch.testing.assert_close(y, alone, rtol=1e-13, atol=1e-13)


def test_nothing_of_padding_remains_however_large():
    mechanism = made(Shape(6, 2, 8, causal=False), rank=3)
    q, k, v = inputs(2, 2, 2, 8, 3)
    for mask in (make_mask(8, start=torch.tensor([3, 0])), make_mask(8, padding=torch.arange(8).ge(3).expand(2, 8))):
        y = mechanism(q, k, v, mask)
        hidden = ~mask.padding[:, None, :, None]
        noisy = [torch.where(hidden, torch.full_like(x, 1e30), x) for x in (k, v)]
        assert torch.equal(mechanism(q, *noisy, mask), y)


def test_padding_left_in_the_sum_would_be_another_number():
    """What the popular code does, which takes no mask; hiding some of the r slots afterwards could not mend it."""
    mechanism = made(Shape(6, 2, 8, causal=False), rank=3)
    q, k, v = inputs(1, 2, 2, 8, 3)
    hidden = mechanism(q, k, v, make_mask(8, padding=torch.arange(8).lt(5)[None]))
    assert (mechanism(q, k, v, make_mask(8)) - hidden)[:, :, :5].abs().max() > 0.1


def test_dropout_acts_on_the_weights_of_the_slots_and_keeps_the_mean():
    mechanism = made(Shape(2, 1, 4, causal=False), rank=4, dropout=0.5)
    with torch.no_grad():
        mechanism.E.zero_()  # equal scores: four weights of 1/4
        mechanism.F.copy_(torch.eye(4))
    q, ones = torch.zeros(500, 1, 4, 2, dtype=torch.float64), torch.ones(500, 1, 4, 2, dtype=torch.float64)
    y = mechanism(q, q, ones, make_mask(4))[..., 0]
    assert set(y.flatten().tolist()) == {0.0, 0.5, 1.0, 1.5, 2.0}
    assert abs(y.mean().item() - 1) < 0.06  # 2,000 rows of variance 1/4: the mean has a deviation of 0.011
    assert (mechanism.eval()(q, q, ones, make_mask(4)) == 1).all()


def test_what_cannot_be_is_refused():
    mechanism = made(Shape(6, 2, 8, causal=False), rank=3)
    q, k, v = inputs(1, 2, 2, 8, 3)
    with pytest.raises(ConfigError, match="'linformer' mixes all positions and cannot be causal"):
        mechanism(q, k, v, make_mask(8, causal=True))
    with pytest.raises(ConfigError, match="cannot be causal: use it in an encoder"):
        refuse_impossible(
            "linformer", Linformer.facts, Wishes(causal=True, masks=frozenset({"causal"}), positions="learned")
        )
    with pytest.raises(ConfigError, match="it knows padding only"):
        mechanism(q, k, v, make_mask(8), torch.zeros(2, 8, 8))
    long = inputs(1, 2, 2, 9, 3)
    with pytest.raises(ConfigError, match="9 tokens is longer than the 8 that linformer has columns for"):
        mechanism(*long, make_mask(9))
    with pytest.raises(ConfigError, match=r"options\.rank: 0 keys would be left"):
        Linformer(Shape(6, 2, 8), rank=0)
    with pytest.raises(ConfigError, match=r"options\.share: unknown value 'layerwise'"):
        Linformer(Shape(6, 2, 8), share="layerwise")


@pytest.mark.parametrize("share", ["headwise", "kv", "none"])
def test_flops_are_those_that_torch_counts(share):
    shape = Shape(12, 4, 32, 2, causal=False)
    mechanism = made(shape, rank=5, share=share, path="reference")
    q, k, v = inputs(1, 4, 2, 32, 3)
    with FlopCounterMode(display=False) as counter:
        mechanism(q, k, v, make_mask(32))
    assert counter.get_total_flops() == 32 * mechanism.flops(32)


def by_package(layer, **settings):
    """The package's layer with the weights of ours (no bias but that of the output)."""
    mechanism, D, kv = layer.mechanism, layer.out.weight.shape[0], layer.n_kv_heads * layer.width
    theirs = LinformerSelfAttention(D, mechanism.shape.context, k=mechanism.rank, heads=layer.n_heads, **settings)
    theirs = theirs.double()
    with torch.no_grad():
        theirs.to_q.weight.copy_(layer.qkv.weight[:D])
        theirs.to_k.weight.copy_(layer.qkv.weight[D : D + kv])
        theirs.proj_k.copy_(mechanism.E.T)
        if not settings.get("share_kv"):
            theirs.to_v.weight.copy_(layer.qkv.weight[D + kv :])
            theirs.proj_v.copy_(mechanism.F.T)
        theirs.to_out.load_state_dict(layer.out.state_dict())
    return theirs


def our_layer(n_kv_heads=4, projection="separate", **options):
    mechanism = made(Shape(16, 4, 11, n_kv_heads, causal=False), rank=3, **options)
    layer = Attention(16, 4, n_kv_heads=n_kv_heads, mechanism=mechanism, projection=projection).double()
    with torch.no_grad():
        for weight in (layer.qkv.weight, layer.out.weight, layer.out.bias):
            weight.normal_(generator=torch.Generator().manual_seed(1))
        layer.qkv.bias.zero_()
    return layer


@pytest.mark.parametrize("T", [1, 7, 11])
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({}, {}),
        ({"n_kv_heads": 1}, {"one_kv_head": True}),
        # their share_kv shares the key and value *matrices* too, so that each key is its value; the paper's E = F only
        ({"share": "kv", "projection": "shared-kv"}, {"share_kv": True}),
    ],
    ids=["headwise", "one key head", "share_kv"],
)
def test_agrees_with_the_package_linformer(ours, theirs, T):
    layer = our_layer(**ours)
    x = torch.randn(2, T, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(layer(x), by_package(layer, **theirs)(x), rtol=1e-11, atol=1e-11)


def test_real_tokens_come_to_the_front():
    x = torch.arange(1.0, 9.0).view(2, 1, 4, 1)
    padding = torch.tensor([[False, True, True, False], [True, False, False, True]])
    moved = without_padding(x, make_mask(4, padding=padding))
    assert moved.flatten().tolist() == [2, 3, 0, 0, 5, 0, 0, 8]


def test_learns_in_an_encoder_and_does_not_see_padding():
    config = ModelConfig(
        kind="encoder", n_layers=1, n_heads=2, d_model=16, context=9, norm="rms",
        attention=AttentionConfig(mechanism="linformer", options={"rank": 4}),
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
