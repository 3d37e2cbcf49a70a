"""Scores against loops over single numbers, on both paths, with every position scheme and the cache."""

import math
import sys
from itertools import product

import pytest
import torch

from heed.attention import POSITIONS, SCORES, Shape, Softmax, find_score, make_mask, pairwise
from heed.config import AttentionConfig, ModelConfig
from heed.errors import ConfigError
from heed.models import GPT
from reference import attention as reference

DOTS = sorted(set(SCORES) - {"additive"})


def manhattan(q, k):
    return -(q - k).abs().sum()


def two_numbers(q, k):
    return q[:2] * k[:2]


def looks(q, k):
    return q.sum() if q.sum().item() > 0 else k.sum()


HERE = "attention_scores_of_a_user"
sys.modules[HERE] = sys.modules[__name__]  # a module that a configuration can name


def made(name, shape, seed=0):
    """The score, every parameter random so that each matters."""
    score = find_score(name)(shape).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in score.parameters():
            parameter.normal_(generator=generator)
    return score


def vectors(T=5, S=5, H=4, kv=2, K=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    sizes = (2, H, T, K), (2, kv, S, K), (2, kv, S, K)
    return [torch.randn(size, generator=generator, dtype=torch.float64, requires_grad=True) for size in sizes]


@pytest.mark.parametrize("kv", [1, 2, 4])
@pytest.mark.parametrize("name", [*SCORES, f"{HERE}:manhattan"])
def test_a_score_equals_its_equation_number_by_number_in_values_and_gradients(name, kv):
    q, k, _ = vectors(3, 4, kv=kv)
    score = made(name, Shape(12, 4, 9, kv))
    ours = score(q, k)
    places = product(range(2), range(4), range(3), range(4))
    slow = torch.stack([reference.score(score, h, q[b, h, t], k[b, h * kv // 4, s]) for b, h, t, s in places])
    slow = slow.view(2, 4, 3, 4)
    torch.testing.assert_close(ours, slow, rtol=1e-12, atol=1e-12)
    pull = torch.randn_like(slow)
    leaves = [q, k, *score.parameters()]
    for mine, other in zip(
        torch.autograd.grad(ours, leaves, pull), torch.autograd.grad(slow, leaves, pull), strict=True
    ):
        torch.testing.assert_close(mine, other, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("start", [None, [0, 2]])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("kv", [1, 2, 4])
@pytest.mark.parametrize("name", DOTS)
def test_the_fused_path_equals_the_equation_in_outputs_and_gradients(name, kv, biased, start):
    for T, S, causal in ((5, 5, True), (5, 5, False), (2, 5, True), (1, 1, True)):
        q, k, v = vectors(T, S, kv=kv)
        shape = Shape(12, 4, 9, kv)
        score = made(name, shape)
        bias = torch.randn(4, T, S, dtype=torch.float64, requires_grad=True) if biased else None
        mask = make_mask(T, S, causal=causal, start=None if start is None else torch.tensor(start))
        leaves = [q, k, v, *score.parameters(), *([bias] if biased else [])]
        results = []
        for path in ("fused", "reference"):
            y = Softmax(shape, path=path, score=score)(q, k, v, mask, bias)
            results.append([y, *torch.autograd.grad(y.square().sum(), leaves, allow_unused=True)])
        for fused, steps in zip(*results, strict=True):
            assert fused.isfinite().all()
            torch.testing.assert_close(fused, steps, rtol=1e-10, atol=1e-10)  # sums in another order


@pytest.mark.parametrize("name", DOTS)
def test_what_is_a_dot_product_runs_fused(name, monkeypatch):
    q, k, v = vectors()
    mechanism = Softmax(Shape(12, 4, 9, 2), score=made(name, Shape(12, 4, 9, 2)))
    monkeypatch.setattr(Softmax, "by_steps", None)
    assert mechanism(q, k, v, make_mask(5, causal=True)).shape == (2, 4, 5, 3)


def test_negative_distance_is_the_scaled_dot_product_for_keys_of_equal_length():
    q, k, v = vectors()
    k = torch.nn.functional.normalize(k, dim=-1)
    shape, mask = Shape(12, 4, 9, 2), make_mask(5, causal=True)
    far, dot = (Softmax(shape, score=made(name, shape))(q, k, v, mask) for name in ("negative-distance", "scaled-dot"))
    torch.testing.assert_close(far, dot, rtol=1e-12, atol=1e-12)


def test_by_hand():
    q, k = torch.tensor([[[[1.0, 0, 0, 0]]]]), torch.tensor([[[[3.0, 4, 0, 0]]]])
    shape = Shape(4, 1, 1)
    numbers = {}
    for name in SCORES:
        score = find_score(name)(shape)
        score.initialise(torch.Generator().manual_seed(0))
        numbers[name] = score(q, k).item()
    del numbers["additive"]  # random
    # 1.5 = 3 / sqrt(4); 6 = 10 cos; -5 = -(2^2 + 4^2) / (2 * 2); bilinear begins as the scaled dot product
    expected = {"scaled-dot": 1.5, "dot": 3, "cosine": 6, "negative-distance": -5, "bilinear": 1.5}
    assert numbers == pytest.approx(expected, abs=1e-6)


def test_a_cosine_is_blind_to_lengths_and_survives_a_vector_of_zeros():
    shape = Shape(12, 4, 9)
    score = made("cosine", shape)
    q, k, _ = vectors(kv=4)
    torch.testing.assert_close(score(1000 * q, 0.001 * k), score(q, k))
    zero = torch.zeros(1, 4, 1, 3, dtype=torch.float64, requires_grad=True)
    score(zero, zero).sum().backward()
    assert zero.grad.isfinite().all()


def test_every_score_with_every_scheme_of_positions_learns_and_decodes_with_its_cache():
    """A step of training moves the score's own parameters; prompts of unequal length are padded on the left."""
    names = ["softmax", "argmax", "renormalised-mask"]
    pairs = product([*SCORES, f"{HERE}:manhattan"], POSITIONS)
    for i, (score, positions) in enumerate(pairs):
        attention = AttentionConfig(mechanism=names[i % 3], score=score)
        config = ModelConfig(
            n_layers=2, n_heads=4, d_model=16, context=12, n_kv_heads=2, positions=positions, attention=attention,
            init_std=0.4,
        )  # fmt: skip
        model = GPT(config, 13, torch.Generator().manual_seed(1)).double()
        assert_learns(model)
        assert_decodes(model.eval(), f"{attention.mechanism} {score} {positions}")


def assert_learns(model):
    ids = torch.randint(13, (2, 13), generator=torch.Generator().manual_seed(0))
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model.loss(ids[:, :-1], ids[:, 1:]).backward()
    optimizer.step()
    hard = model.config.attention.mechanism == "argmax"
    for name, parameter in model.named_parameters():
        assert parameter.isfinite().all()
        if not (hard and ("score" in name or (model.positions.biased and name == "positions.weight"))):
            assert not torch.equal(parameter, before[name]), name


def assert_decodes(model, what):
    ids = torch.randint(13, (2, 12), generator=torch.Generator().manual_seed(2))
    start = torch.tensor([0, 3])
    with torch.no_grad():
        cache = model.new_cache(2, 12, start)
        parts = [model(ids[:, a:b], cache) for a, b in ((0, 5), (5, 6), (6, 9), (9, 10), (10, 12))]
        together = torch.cat(parts, 1)
        for row, skip in enumerate(start.tolist()):
            alone = model(ids[row : row + 1, skip:])
            torch.testing.assert_close(together[row : row + 1, skip:], alone, rtol=1e-9, atol=1e-9, msg=what)


def test_a_function_of_two_vectors_is_found_by_its_name():
    assert find_score("dot") is SCORES["dot"]
    score = find_score(f"{HERE}:manhattan")(Shape(12, 4, 9))
    q, k, v = vectors(kv=4)
    assert torch.equal(score(q, k), pairwise(manhattan)(q, k))
    lambdas = Softmax(Shape(12, 4, 9), score=pairwise(lambda q, k: q @ k / math.sqrt(3)))
    torch.testing.assert_close(lambdas(q, k, v, make_mask(5)), Softmax(Shape(12, 4, 9))(q, k, v, make_mask(5)))


def test_a_module_as_function_is_trained_with_the_model():
    class Weighted(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64))

        def forward(self, q, k):
            return (self.weight * q * k).sum()

    score = pairwise(Weighted())
    q, k, _ = vectors(kv=4)
    score(q, k).sum().backward()
    torch.testing.assert_close(score.function.weight.grad, torch.einsum("bhti,bhsi->i", q, k))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("cosin", "unknown value 'cosin', did you mean 'cosine'"),
        ("no_such_module:f", "cannot import no_such_module: ModuleNotFoundError: No module named"),
        (f"{HERE}:absent", "has no 'absent'"),
        (f"{HERE}:HERE", "is no function: it is of type str"),
        (f"{HERE}:two_numbers", r"must return one number for two vectors, not a tensor \(2,\)"),
        (f"{HERE}:looks", "fails on two vectors of 4 numbers: RuntimeError"),
        (":f", "':f' is not of the form package.module:function"),
    ],
)
def test_a_score_that_cannot_be_is_refused_in_one_line(name, says):
    with pytest.raises(ConfigError, match=says) as raised:
        GPT(ModelConfig(n_layers=1, n_heads=2, d_model=8, context=8, attention=AttentionConfig(score=name)), 5)
    assert "\n" not in str(raised.value)


def test_a_score_says_what_it_costs():
    def flops(name):
        shape = Shape(64, 4, 9)
        return Softmax(shape, score=None if name is None else find_score(name)(shape)).flops(100)

    assert flops(None) == flops("dot") == 4 * 64 * 100
    assert flops("bilinear") == 4 * 64 * 100 + 2 * 64 * 16
    assert flops("additive") == 6 * 64 * 100 + 4 * 64 * 16
