"""Positions against the equation of the paper, and against what they promise."""

import math

import pytest
import torch
from transformers import LlamaConfig, T5Config
from transformers.models.bloom.modeling_bloom import build_alibi_tensor
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb
from transformers.models.mpt.modeling_mpt import build_mpt_alibi_tensor
from transformers.models.t5.modeling_t5 import T5Attention

from generation.generation_doubles import Bytes
from heed.attention import (
    AlibiPositions,
    LearnedPositions,
    NoPositions,
    RelativePositions,
    RotaryPositions,
    Shape,
    SinusoidalPositions,
)
from heed.attention.positions import alibi_slopes, relative_buckets, rotate
from heed.config import AttentionConfig, ModelConfig
from heed.generation import Sampling, generate
from heed.models import GPT, count_parameters
from reference import attention as reference


def test_rotary_equals_the_loop_at_every_position():
    q, k = torch.randn(2, 3, 9, 6, dtype=torch.float64), torch.randn(2, 1, 9, 6, dtype=torch.float64)
    turned, turned_k = RotaryPositions(Shape(18, 3, 20), base=100.0).double().at(slice(5, 14))(q, k)
    for t in range(9):
        # the tables are kept in float32: 6e-8 of relative rounding
        torch.testing.assert_close(turned[1, 2, t], reference.rotary(q[1, 2, t], 5 + t, 100.0), rtol=0, atol=1e-6)
        torch.testing.assert_close(turned_k[0, 0, t], reference.rotary(k[0, 0, t], 5 + t, 100.0), rtol=0, atol=1e-6)


def test_a_turned_dot_product_depends_on_the_distance_only():
    torch.manual_seed(0)
    q, k = torch.randn(8, dtype=torch.float64), torch.randn(8, dtype=torch.float64)
    products = [reference.rotary(q, p + 3, 10.0) @ reference.rotary(k, p, 10.0) for p in (0, 5, 50)]
    torch.testing.assert_close(products[1], products[0])
    torch.testing.assert_close(products[2], products[0])
    scheme = RotaryPositions(Shape(8, 1, 60), base=10.0).double()
    near = [scheme.at(slice(p, p + 4))(q.view(1, 1, 1, 8).expand(1, 1, 4, 8), k.view(1, 1, 1, 8).expand(1, 1, 4, 8))
            for p in (0, 50)]  # fmt: skip
    ours = [(a[0, 0, 3] @ b[0, 0, 0]).item() for a, b in near]
    assert abs(ours[0] - ours[1]) < 1e-5  # float32 tables
    assert abs(ours[0] - products[0].item()) < 1e-5


def test_a_quarter_turn_by_hand():
    x = torch.tensor([[[[1.0, 0.0]]]])
    assert rotate(x, torch.tensor([0.0, 0.0]), torch.tensor([-1.0, 1.0])).flatten().tolist() == [0.0, 1.0]


def test_rows_with_their_own_positions_are_turned_each_by_its_own():
    scheme = RotaryPositions(Shape(4, 1, 8))
    q = torch.randn(2, 1, 3, 4)
    index = torch.tensor([[0, 1, 2], [3, 4, 5]])
    both, _ = scheme.at(index)(q, q)
    torch.testing.assert_close(both[1:], scheme.at(slice(3, 6))(q[1:], q[1:])[0])


def test_rotary_tables_are_not_saved():
    assert RotaryPositions(Shape(4, 1, 8)).state_dict() == {}


def test_learned_positions_are_added_and_turn_nothing():
    scheme = LearnedPositions(Shape(2, 1, 4))
    torch.nn.init.constant_(scheme.weight, 0.0)
    with torch.no_grad():
        scheme.weight[2] = torch.tensor([1.0, 2.0])
    assert scheme.add(torch.zeros(1, 2, 2), slice(1, 3)).tolist() == [[[0, 0], [1, 2]]]
    assert scheme.add(torch.zeros(1, 2, 2), torch.tensor([[2, 0]])).tolist() == [[[1, 2], [0, 0]]]
    assert scheme.at(slice(0, 2)) is None


def test_no_positions_do_nothing():
    x = torch.randn(1, 2, 4)
    scheme = NoPositions(Shape(4, 1, 8))
    assert scheme.add(x, slice(0, 2)) is x
    assert scheme.at(slice(0, 2)) is None


@pytest.mark.parametrize(
    ("T", "S", "causal"), [(7, 7, True), (1, 200, True), (3, 300, True), (250, 250, False), (2, 9, False)]
)
def test_relative_bias_equals_that_of_t5(T, S, causal):
    theirs = T5Attention(T5Config(d_model=12, d_kv=4, num_heads=3, is_decoder=causal), has_relative_attention_bias=True)
    ours = RelativePositions(Shape(12, 3, 300, causal=causal))
    with torch.no_grad():
        ours.weight.normal_()
        theirs.relative_attention_bias.weight.copy_(ours.weight)
        expected = theirs.compute_bias(S, S)[0, :, S - T :]
    made = ours.bias(T, S)
    assert made.shape == (3, T, S)
    assert torch.equal(made, expected)
    made.sum().backward()
    counts = (
        relative_buckets(torch.arange(S) - torch.arange(S - T, S)[:, None], causal=causal)
        .flatten()
        .bincount(minlength=32)
    )
    assert torch.equal(ours.weight.grad, counts[:, None].expand(32, 3).float())


def test_buckets_equal_those_of_t5_at_every_distance():
    distances = torch.arange(-1000, 1001)
    for causal in (True, False):
        theirs = T5Attention._relative_position_bucket(distances, bidirectional=not causal)
        assert torch.equal(relative_buckets(distances, causal=causal), theirs)


@pytest.mark.parametrize("n_heads", [1, 2, 3, 4, 6, 8, 12, 16, 20])
def test_alibi_slopes_equal_those_of_bloom_and_mpt(n_heads):
    bloom = build_alibi_tensor(torch.ones(1, 5), n_heads, torch.float32)[:, 0]  # slope x position of the key
    torch.testing.assert_close(bloom[:, 1], torch.tensor(alibi_slopes(n_heads)))
    ours = AlibiPositions(Shape(8 * n_heads, n_heads, 5)).bias(5, 5)
    # they add slope s and we add slope (s - t): the same for all keys of a row
    torch.testing.assert_close(ours[:, 4] - ours[:, 4, :1], bloom)
    if n_heads & (n_heads - 1) == 0:  # else MPT takes the slopes in another order
        torch.testing.assert_close(ours[:, 4], build_mpt_alibi_tensor(n_heads, 5)[:, 0])


def test_alibi_by_hand():
    bias = AlibiPositions(Shape(8, 2, 5)).bias(2, 3)
    first, second = 1 / 16, 1 / 256
    assert bias.tolist() == [
        [[-first, 0, -first], [-2 * first, -first, 0]],
        [[-second, 0, -second], [-2 * second, -second, 0]],
    ]


@pytest.mark.parametrize("kind", [AlibiPositions, RelativePositions])
def test_the_bias_of_the_last_queries_is_the_end_of_the_whole(kind):
    scheme = kind(Shape(12, 3, 40))
    for parameter in scheme.parameters():
        torch.nn.init.normal_(parameter)
    whole = scheme.bias(40, 40)
    for T, S in ((1, 40), (7, 40)):
        assert torch.equal(scheme.bias(T, S), whole[:, 40 - T :])
    assert torch.equal(scheme.bias(3, 9), whole[:, 6:9, :9])


@pytest.mark.parametrize("width", [8, 7])
def test_sinusoidal_equals_the_paper(width):
    scheme = SinusoidalPositions(Shape(width, 1, 50)).double()
    x = torch.randn(1, 9, width, dtype=torch.float64)
    made = scheme.add(x, slice(40, 49)) - math.sqrt(width) * x
    expected = torch.tensor([[reference.sinusoidal(t, width) for t in range(40, 49)]], dtype=torch.float64)
    torch.testing.assert_close(made, expected, rtol=0, atol=1e-7)  # the table is kept in float32
    rows = scheme.add(x[:, :2], torch.tensor([[40, 3]])) - math.sqrt(width) * x[:, :2]
    torch.testing.assert_close(rows[0, 0], expected[0, 0], rtol=0, atol=1e-7)


def test_rotary_equals_that_of_llama():
    config = LlamaConfig(hidden_size=24, num_attention_heads=3, num_key_value_heads=1, head_dim=8)
    q, k = torch.randn(2, 3, 6, 8), torch.randn(2, 1, 6, 8)
    cos, sin = LlamaRotaryEmbedding(config)(q, torch.arange(40, 46)[None])
    ours = RotaryPositions(Shape(24, 3, 60)).at(slice(40, 46))(q, k)
    for mine, other in zip(ours, apply_rotary_pos_emb(q, k, cos, sin), strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=2e-5)  # theirs has angles in float32: 40 x 6e-8 rad


@pytest.mark.parametrize("mechanism", ["softmax", "argmax", "naive-mask", "renormalised-mask"])
@pytest.mark.parametrize("positions", ["sinusoidal", "alibi", "relative"])
def test_prompts_of_unequal_length_are_continued_as_each_alone_without_cache(positions, mechanism):
    config = ModelConfig(
        n_layers=2, n_heads=4, d_model=16, context=24, positions=positions, init_std=0.4,
        attention=AttentionConfig(mechanism=mechanism),
    )  # fmt: skip
    model = GPT(config, 256, torch.Generator().manual_seed(1)).double().eval()
    prompts = ["a", "hello", "the quick brown f"]
    # 20 tokens pass the context of 24: a row moves its window
    together = generate(model, Bytes(), prompts, Sampling(temperature=0), max_tokens=20)
    for prompt, answers in zip(prompts, together, strict=True):
        [[alone]] = generate(model, Bytes(), [prompt], Sampling(temperature=0), max_tokens=20, cache=False)
        assert answers[0].ids == alone.ids
    assert len({tuple(answers[0].ids) for answers in together}) == 3


@pytest.mark.parametrize("positions", ["sinusoidal", "alibi", "relative"])
def test_order_matters_and_the_past_does_not_depend_on_the_future(positions):
    config = ModelConfig(n_layers=1, n_heads=4, d_model=16, context=24, positions=positions, init_std=0.4)
    model = GPT(config, 13, torch.Generator().manual_seed(1)).double().eval()
    ids = torch.arange(12)[None]
    swapped, later = ids.clone(), ids.clone()
    swapped[0, :2] = torch.tensor([1, 0])
    later[0, 8:] = 12
    y = model(ids)
    assert (model(swapped)[0, 5] - y[0, 5]).abs().max() > 1e-3  # without positions, one layer could not tell
    assert torch.equal(model(later)[0, :8], y[0, :8])
    assert model.parameter_count() == count_parameters(config, 13)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_turn_and_its_way_back_are_those_of_the_equations(dtype):
    scheme, generator = RotaryPositions(Shape(12, 2, 9)), torch.Generator().manual_seed(1)
    x, gradient = (torch.randn(2, 2, 5, 6, generator=generator).to(dtype) for _ in range(2))
    leaf = x.clone().requires_grad_()
    y, _ = scheme.at(slice(3, 8))(leaf, leaf.detach())
    y.backward(gradient)
    wide = x.double().requires_grad_()
    turned = torch.stack([torch.stack([torch.stack([reference.rotary(v, t, 10_000.0) for t, v in enumerate(head, 3)])
                                       for head in row]) for row in wide])  # fmt: skip
    turned.backward(gradient.double())
    close = {"rtol": 0, "atol": 1e-6 if dtype == torch.float32 else 3e-2}
    torch.testing.assert_close(y.double(), turned, **close)
    torch.testing.assert_close(leaf.grad.double(), wide.grad, **close)
    with torch.no_grad():
        assert torch.equal(scheme.at(slice(3, 8))(x, x)[1], y)
