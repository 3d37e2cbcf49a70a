"""Mistakes that are often made with attention, each with its number: heed must not make them.

Told in docs/attention/mistakes.md. What other files hold is not repeated here: the page names them.
"""

import math

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from heed.attention import MECHANISMS, Attention, Shape, Softmax, causal_mask, make_mask, steps
from heed.build import build_model
from heed.config import AttentionConfig, ModelConfig
from heed.errors import ConfigError

PATHS = pytest.mark.parametrize("path", ["auto", "reference"])


def softmax(path, K, H=1, T=8):
    return Softmax(Shape(H * K, H, T), path=path).double()


def weights_of(mechanism, q, k, mask):
    """The weights (..., T, S) of a mechanism: what it makes of unit vectors as values; width = S."""
    v = torch.eye(k.shape[-2], dtype=q.dtype).expand(*k.shape[:-2], -1, -1)
    return mechanism(q, k, v, mask)


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@PATHS
def test_scores_are_divided_by_the_root_of_the_width_per_head_and_not_of_the_model(path):
    q = torch.tensor([2.0, 0, 0, 0], dtype=torch.float64).expand(1, 3, 1, 4)  # three heads of width 4
    k = torch.stack([q[..., 0, :], torch.zeros_like(q[..., 0, :])], dim=-2)  # q.k = 4 and 0
    v = torch.tensor([[1.0], [0.0]], dtype=torch.float64).expand(1, 3, 2, 4)
    weight = softmax(path, 4, H=3)(q, k, v, make_mask(1, 2))
    torch.testing.assert_close(weight, torch.full_like(weight, 1 / (1 + math.exp(-4 / 2))))  # 0.881
    assert 1 / (1 + math.exp(-4 / math.sqrt(12))) == pytest.approx(0.760, abs=1e-3)  # what d_model would give


def test_a_head_is_made_of_neighbouring_components_in_the_layer_too():
    layer = Attention(12, 3, bias=False).double()
    with torch.no_grad():
        layer.qkv.weight.copy_(torch.eye(12).repeat(3, 1))  # q = k = v = x
        layer.out.weight.copy_(torch.eye(12))
    x = normal(2, 5, 12)
    for part in layer.project(x):
        for h in range(3):
            assert torch.equal(part[:, h], x[..., 4 * h : 4 * h + 4])  # the other order would be x[..., h::3]
    torch.testing.assert_close(layer(x[:, :1]), x[:, :1])  # one token looks at itself: heads come back in their places


@PATHS
def test_a_hidden_key_has_no_weight_where_a_zeroed_key_has_one(path):
    q, k = normal(4_000, 1, 1, 5), normal(4_000, 1, 5, 5, seed=1)
    padding = (torch.arange(5) < 4).expand(4_000, 5)
    weights = weights_of(softmax(path, 5), q, k, make_mask(1, 5, padding=padding))
    assert (weights[..., 4] == 0).all()
    zeroed = steps.weigh(steps.scale(steps.similarities(q, k * padding[:, None, :, None]), 5))[..., 4]
    assert zeroed.mean().item() == pytest.approx(0.166, abs=0.01)  # of five keys: nearly its fair share of 1/5
    # and nearly all of it where the other logits are negative
    q, k = torch.full((1, 1, 1, 5), 1.0), torch.full((1, 1, 5, 5), -13 / math.sqrt(5))
    k[..., 4, :] = 0
    assert steps.weigh(steps.scale(steps.similarities(q, k), 5))[..., 4].item() == pytest.approx(0.99999, abs=1e-5)
    assert weights_of(softmax(path, 5), q, k, make_mask(1, 5, padding=padding[:1]))[..., 4].item() == 0


@PATHS
@pytest.mark.parametrize("hides", ["causal", "padding"])
def test_what_is_hidden_stays_hidden_below_any_finite_fill(path, hides):
    """A fill of -1e4 loses against scores of -2e4: the future would get all the weight."""
    mask = make_mask(2, causal=True) if hides == "causal" else make_mask(2, padding=torch.tensor([[True, False]]))
    q = torch.tensor([[1.0, 0.0], [1.0, 0.0]], dtype=torch.float64).view(1, 1, 2, 2)
    k = torch.tensor([[-2e4 * math.sqrt(2), 0.0], [0.0, 0.0]], dtype=torch.float64).view(1, 1, 2, 2)
    assert weights_of(softmax(path, 2), q, k, mask)[0, 0, 0].tolist() == [1.0, 0.0]
    scores = steps.scale(steps.similarities(q, k), 2)
    filled = scores.masked_fill(~causal_mask(2), -1e4).softmax(-1)
    assert filled[0, 0, 0].tolist() == [0.0, 1.0]


@PATHS
def test_the_future_does_not_move_the_past_where_zeroing_weights_does(path):
    q, k, v = (normal(1, 1, 8, 4, seed=seed) for seed in range(3))
    loud = k.clone()
    loud[..., 7, :] = 20 * q[..., 0, :]  # the last key shouts at the first query
    mask, allowed = make_mask(8, causal=True), causal_mask(8)
    mechanism = softmax(path, 4)
    assert torch.equal(mechanism(q, loud, v, mask)[..., :7, :], mechanism(q, k, v, mask)[..., :7, :])

    def zeroed(k):  # the denominator has seen everything
        return steps.weigh(steps.scale(steps.similarities(q, k), 4)) * allowed

    def renormalised(k):
        return zeroed(k) / zeroed(k).sum(-1, keepdim=True)

    assert zeroed(k)[..., 0, 0].item() > 0.05
    assert zeroed(loud)[..., 0, 0].item() < 1e-4  # the first token knows what the last one is
    torch.testing.assert_close(renormalised(loud)[..., :7, :] @ v, mechanism(q, k, v, mask)[..., :7, :])


def test_scores_have_deviation_one_at_any_width_and_the_softmax_would_saturate_without():
    for width in (16, 4096):
        scores = steps.similarities(normal(200, width), normal(200, width, seed=1))
        assert scores.std().item() == pytest.approx(math.sqrt(width), rel=0.05)  # 4 and 64
        assert steps.scale(scores, width).std().item() == pytest.approx(1, rel=0.05)
    norms = {}
    for deviation in (4, 64):
        weights = steps.weigh(deviation * normal(20_000, 128))
        # Jacobian diag(w) - w w^T: its squared Frobenius norm is sum w^2 - 2 sum w^3 + (sum w^2)^2
        squares = weights.square().sum(-1)
        norms[deviation] = (squares - 2 * weights.pow(3).sum(-1) + squares.square()).clamp(min=0).sqrt().mean().item()
    assert norms[4] == pytest.approx(0.296, abs=0.004)  # 128 keys, mean over draws
    assert norms[64] == pytest.approx(0.038, abs=0.003)


def test_the_norm_of_the_jacobian_is_that_of_autograd():
    scores = normal(6)
    weights = steps.weigh(scores)
    squares = weights.square().sum()
    jacobian = torch.autograd.functional.jacobian(steps.weigh, scores)
    expected = (squares - 2 * weights.pow(3).sum() + squares.square()).sqrt()
    torch.testing.assert_close(torch.linalg.matrix_norm(jacobian), expected)


def test_the_variance_of_a_dot_product_with_a_mean():
    """Var[q.k] = K sigma^4 + 2 sigma^2 |mu|^2: with a mean, the root of the width is not enough."""
    K, sigma = 8, 0.5
    mu = torch.linspace(-1, 2, K, dtype=torch.float64)
    q, k = (mu + sigma * normal(200_000, K, seed=seed) for seed in (0, 1))
    dots = (q * k).sum(-1)
    square = mu.square().sum().item()
    assert dots.mean().item() == pytest.approx(square, rel=0.01)
    assert dots.var().item() == pytest.approx(K * sigma**4 + 2 * sigma**2 * square, rel=0.02)  # 5.6, of which 0.5 K


def test_copying_needs_a_gap_of_the_logarithm_of_the_other_keys():
    n, eps = 1001, 0.01
    scores = torch.zeros(n, dtype=torch.float64)
    scores[0] = math.log((n - 1) / eps)  # 11.5
    assert 1 - eps <= steps.weigh(scores)[0].item() < 1 - eps + 1e-3
    scores[:] = 5
    scores[0] = 10  # twice as much as each other, and yet
    assert steps.weigh(scores)[0].item() == pytest.approx(0.129, abs=5e-4)


def test_parameters_of_a_layer_count_biases_and_the_output_matrix():
    m, d = 12, 64
    layer = Attention(m * d, m)
    assert sum(p.numel() for p in layer.parameters()) == 4 * m * d * (m * d + 1) == 2_362_368


@pytest.mark.parametrize("T", [16, 64])
def test_the_cost_of_a_layer_is_n_n_h_and_n_h_h(T):
    D, H = 24, 3
    mechanism = Softmax(Shape(D, H, T), path="reference")
    layer, x = Attention(D, H, mechanism=mechanism), normal(1, T, D).float()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
    with FlopCounterMode(display=False) as counter:
        layer(x)
    projections, mixing = 8 * T * D * D, 4 * T * T * D  # four matrices; scores and mean
    assert counter.get_total_flops() == projections + mixing
    assert T * mechanism.flops(T) == mixing


@pytest.mark.parametrize("name", [name for name, kind in MECHANISMS.items() if kind.facts.causal == "never"])
def test_what_mixes_all_positions_is_refused_in_a_causal_model(name):
    config = ModelConfig(n_layers=1, n_heads=2, d_model=8, context=8, attention=AttentionConfig(mechanism=name))
    with pytest.raises(ConfigError, match=f"'{name}' mixes all positions and cannot be causal"):
        build_model(config, 11)
