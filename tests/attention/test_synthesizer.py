"""Synthesizers: weights by hand, against the equation, what reads no text, dropout, decoding, memory."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from heed.attention import MECHANISMS, Attention, Shape, make_mask
from heed.attention.mechanisms.synthesizer import BLOCK, DenseSynthesizer, RandomSynthesizer
from heed.build import build_model
from heed.config import AttentionConfig, ModelConfig
from heed.errors import ConfigError
from reference.synthesizer import REFERENCES

KINDS = [
    ("synthesizer-dense", {}),
    ("synthesizer-random", {}),
    ("synthesizer-random", {"rank": 3}),
    ("synthesizer-random", {"trainable": False}),
]
every_kind = pytest.mark.parametrize(("name", "options"), KINDS, ids=[f"{n} {o or ''}".strip() for n, o in KINDS])


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def built(name, *, path="auto", context=64, causal=True, heads=2, width=3, dropout=0.0, **options):
    """A mechanism in float64 whose every number is N(0, 1)."""
    shape = Shape(heads * width, heads, context, causal=causal)
    made = MECHANISMS[name](shape, path=path, dropout=dropout, **options).double()
    with torch.no_grad():
        for i, part in enumerate((*made.parameters(), *made.buffers())):
            part.copy_(normal(*part.shape, seed=50 + i))
    return made


def results(mechanism, q, v, mask):
    """The output, and the gradients of a random sum of it; 0 where nothing is read."""
    y = mechanism(q, v, v, mask)
    known = [q, v, *mechanism.parameters()]
    gradients = torch.autograd.grad((y * normal(*y.shape, seed=9)).sum(), known, allow_unused=True)
    return [y, *(torch.zeros_like(x) if g is None else g for x, g in zip(known, gradients, strict=True))]


@pytest.mark.parametrize("path", ["auto", "reference"])
def test_dense_weights_on_paper(path):
    """One head of width 2; scores of the second query: relu(1, -5) = (1, 0) on the columns, and b2 on top."""
    made = DenseSynthesizer(Shape(2, 1, 3), path=path).double()
    with torch.no_grad():
        made.w2.copy_(torch.tensor([[[math.log(2), 9.0], [0.0, 9.0], [50.0, 50.0]]]))  # a row a position
        made.b2.copy_(torch.tensor([[0.0, math.log(3), 0.0]]))
    q = torch.tensor([[-1.0, -1.0], [1.0, -5.0], [0.0, 0.0]]).double().view(1, 1, 3, 2)
    v = torch.tensor([[10.0, 0.0], [0.0, 20.0], [0.0, 0.0]]).double().view(1, 1, 3, 2)
    y = made(q, v, v, make_mask(3, causal=True))[0, 0]
    # exp of the scores, future left out: (1), (2, 3), (1, 3, 1); the mask acts before the softmax, whatever 50 would do
    expected = torch.tensor([[10.0, 0.0], [4.0, 12.0], [2.0, 12.0]]).double()
    torch.testing.assert_close(y, expected, rtol=1e-6, atol=1e-6)  # W2 was written in float32


@pytest.mark.parametrize("path", ["auto", "reference"])
def test_random_weights_on_paper_whatever_the_text(path):
    made = RandomSynthesizer(Shape(1, 1, 2), path=path).double()
    with torch.no_grad():
        made.r.copy_(torch.tensor([[[0.0, 7.0], [math.log(3), 0.0]]]))
    for a, b in ((4.0, 8.0), (-1e9, 5.0)):
        v = torch.tensor([a, b]).double().view(1, 1, 2, 1)
        y = made(torch.tensor(torch.nan), v, v, make_mask(2, causal=True)).flatten()  # queries are not read
        torch.testing.assert_close(y, torch.tensor([a, (3 * a + b) / 4]).double())


@every_kind
@settings(max_examples=10, deadline=None)
@given(
    T=st.integers(1, 20),
    past=st.integers(0, 9),
    causal=st.booleans(),
    side=st.sampled_from(["none", "left", "right"]),
)
def test_fast_path_equals_the_equation_in_outputs_and_gradients(name, options, T, past, causal, side):
    S = T + past
    start = torch.tensor([min(3, S), 0]) if side == "left" else None
    padding = torch.arange(S) < torch.tensor([[max(S - 4, 0)], [S]]) if side == "right" else None
    mask = make_mask(T, S, causal=causal, padding=padding, start=start)
    q, v = normal(2, 2, T, 3, seed=1).requires_grad_(), normal(2, 2, S, 3, seed=2).requires_grad_()
    fast, slow = (
        results(built(name, path=path, causal=causal, **options), q, v, mask) for path in ("auto", "reference")
    )
    for one, other in zip(fast, slow, strict=True):
        assert one.isfinite().all()
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)  # sums in another order


@every_kind
def test_both_equal_the_loop_of_the_paper_behind_padding(name, options):
    made = built(name, **options)
    q, v = normal(2, 2, 11, 3, seed=1).requires_grad_(), normal(2, 2, 11, 3, seed=2).requires_grad_()
    mask = make_mask(11, causal=True, start=torch.tensor([0, 4]))
    loop = torch.stack([REFERENCES[name](made, q[b], v[b], v[b], mask.dense()[b, 0].tolist()) for b in range(2)])
    torch.testing.assert_close(made(q, v, v, mask), loop)


@pytest.mark.parametrize("T", [BLOCK - 1, BLOCK, 2 * BLOCK + 3])
def test_blocks_of_queries_join(T):
    q, v = normal(1, 2, T, 3), normal(1, 2, T, 3, seed=1).requires_grad_()
    for causal in (True, False):
        mask = make_mask(T, causal=causal)
        fast, slow = (results(built("synthesizer-random", context=T, path=p), q.requires_grad_(), v, mask) for p in
                      ("auto", "reference"))  # fmt: skip
        for one, other in zip(fast, slow, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_a_column_is_an_absolute_position_and_stays_one_behind_padding():
    made = built("synthesizer-dense")
    q, v = normal(1, 2, 5, 3), normal(1, 2, 5, 3, seed=1)
    alone = made(q, v, v, make_mask(5, causal=True))

    def behind(x):
        return torch.cat((torch.full_like(x[:, :, :3], 1e6), x), dim=2)

    moved = made(behind(q), behind(v), behind(v), make_mask(8, causal=True, start=torch.tensor([3])))
    torch.testing.assert_close(moved[:, :, 3:], alone)


@every_kind
def test_decoding_from_the_cache_equals_reading_at_once(name, options):
    made = built(name, **options)
    q, v = normal(3, 2, 9, 3), normal(3, 2, 9, 3, seed=1)
    start = torch.tensor([0, 2, 5])
    y = made(q, v, v, make_mask(9, causal=True, start=start))
    cache = made.new_cache(3, 9, torch.float64, torch.device("cpu"))
    parts = []
    for t in range(9):
        _, values = cache.append(v[:, :, t : t + 1], v[:, :, t : t + 1])
        parts.append(made(q[:, :, t : t + 1], values, values, make_mask(1, t + 1, causal=True, start=start)))
    for row, first in enumerate(start.tolist()):
        torch.testing.assert_close(torch.cat(parts, 2)[row, :, first:], y[row, :, first:])


@every_kind
@pytest.mark.parametrize("path", ["auto", "reference"])
def test_dropout_acts_on_the_weights_of_each_row_while_training(name, options, path):
    made = built(name, path=path, dropout=0.5, **options)
    q, v = torch.zeros(400, 2, 4, 3, dtype=torch.float64), torch.ones(400, 2, 4, 3, dtype=torch.float64)
    torch.manual_seed(0)
    y = made(q, v, v, make_mask(4))[..., 0]
    assert abs(y.mean().item() - 1) < 0.06  # 3,200 sums of weights that are 0 or double: sd below 1 each, 0.02 in all
    assert (y[0] != y[1]).any()
    torch.testing.assert_close(made.eval()(q, v, v, make_mask(4)), v)


def test_only_what_is_read_is_projected_and_only_what_is_learned_is_a_parameter():
    widths = {name: Attention(6, 2, mechanism=built(name)).qkv.out_features for name in REFERENCES}
    assert widths == {"synthesizer-dense": 12, "synthesizer-random": 6}
    fixed = RandomSynthesizer(Shape(6, 2, 8), trainable=False, rank=2)
    assert not list(fixed.parameters())
    assert set(fixed.state_dict()) == {"r1", "r2"}  # it is saved, for it was drawn


def test_it_starts_nearly_uniform_unless_it_is_never_learned():
    def spread(**options):
        made = RandomSynthesizer(Shape(8, 2, 64), **options)
        made.initialise(torch.Generator().manual_seed(0))
        return made.scores(make_mask(64), torch.device("cpu")).std().item()

    # a product of rank 16 has 2,048 independent numbers a head: sd of its sd some percent
    assert spread() == pytest.approx(0.02, rel=0.05)
    assert spread(rank=16) == pytest.approx(0.02, rel=0.15)
    assert spread(trainable=False) == pytest.approx(1.0, rel=0.05)
    assert spread(trainable=False, rank=16) == pytest.approx(1.0, rel=0.15)


def test_the_dense_synthesizer_keeps_no_square_of_the_length():
    T, D = 512, 32
    made = DenseSynthesizer(Shape(D, 2, T))
    made.initialise(torch.Generator().manual_seed(0))
    q, v = (torch.randn(1, 2, T, D // 2, requires_grad=True) for _ in range(2))
    kept = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes() // tensor.itemsize
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        made(q, v, v, make_mask(T, causal=True))
    assert sum(kept.values()) < 12 * T * D  # the weights would be 2 T T = 32 T D


def test_impossible_settings_are_refused_by_their_names():
    def model(name, positions="learned", **options):
        attention = AttentionConfig(mechanism=name, options=options)
        return build_model(
            ModelConfig(d_model=8, n_heads=2, n_layers=1, context=8, positions=positions, attention=attention), 16
        )

    with pytest.raises(ConfigError, match=r"model\.attention\.options\.rank: must be at least 1, or left out, not 0"):
        model("synthesizer-random", rank=0)
    with pytest.raises(ConfigError, match="cannot take positions 'rotary'"):
        model("synthesizer-dense", positions="rotary")
    with pytest.raises(ConfigError, match="9 tokens is longer than the 8 positions with weights"):
        built("synthesizer-dense", context=8)(*normal(3, 1, 2, 9, 3), make_mask(9, causal=True))
    mechanism = model("synthesizer-random", rank="4", trainable="false").blocks[0].attention.mechanism
    assert mechanism.r1.shape == (2, 8, 4)
    assert not mechanism.trainable
