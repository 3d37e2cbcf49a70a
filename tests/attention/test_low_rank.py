"""Singular values of attention: against the definition, numbers on paper, and what a cut does to causality."""

import math

import pytest
import torch

from heed.attention import causal_mask, steps
from heed.attention.low_rank import Spectrum, low_rank, low_rank_mix, score_projections, spectrum


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_by_hand():
    found = Spectrum(torch.tensor([4.0, 3.0]))  # squares 16 and 9 of 25
    torch.testing.assert_close(found.errors, torch.tensor([1.0, 0.6, 0.0]))
    assert [found.rank_for(energy).item() for energy in (0.5, 0.64, 0.65, 1.0)] == [1, 1, 2, 2]
    assert spectrum(torch.eye(5)).effective_rank.item() == pytest.approx(5)  # every token looks at itself
    mean = spectrum(torch.full((5, 5), 0.2))  # every token looks at all
    assert mean.effective_rank.item() == pytest.approx(1, abs=1e-9)
    assert mean.errors[1].item() < 1e-15


def test_errors_are_those_of_the_best_matrix_of_each_rank():
    weights = steps.weigh(normal(2, 3, 7, 5))
    errors = spectrum(weights).errors
    assert errors.shape == (2, 3, 6)
    norm = torch.linalg.matrix_norm(weights)
    for rank in range(6):
        u, s, vt = low_rank(weights, rank)
        off = torch.linalg.matrix_norm(weights - u @ (s[..., None] * vt)) / norm
        # the norm of a difference of numbers of size 1: below 1e-15 nothing can be told
        torch.testing.assert_close(off, errors[..., rank], atol=1e-14, rtol=0)
        other = (u * s[..., None, :] + 0.01 * normal(2, 3, 7, rank)) @ (vt + 0.01 * normal(2, 3, rank, 5, seed=1))
        assert (torch.linalg.matrix_norm(weights - other) / norm >= off - 1e-14).all()


def test_mixing_from_the_factors_equals_mixing_with_the_matrix():
    weights, v = steps.weigh(normal(2, 7, 9)), normal(2, 9, 4)
    u, s, vt = low_rank(weights, 3)
    torch.testing.assert_close(low_rank_mix(weights, v, 3), u @ torch.diag_embed(s) @ vt @ v, atol=1e-13, rtol=0)
    torch.testing.assert_close(low_rank_mix(weights, v, 7), weights @ v, atol=1e-13, rtol=0)


@pytest.mark.parametrize(("T", "S"), [(9, 9), (5, 11), (3, 2)])
def test_scores_mix_through_projections_of_keys_and_values(T, S):
    q, k, v = normal(2, T, 4), normal(2, S, 4, seed=1), normal(2, S, 6, seed=2)
    scores = steps.scale(steps.similarities(q, k), 4)
    C, D = score_projections(q, k)
    full = min(T, S, 4)
    assert C.shape == D.shape == (2, full, S)
    torch.testing.assert_close(q @ (C @ k).transpose(-2, -1) @ (D @ v), scores @ v, atol=1e-12, rtol=0)
    torch.testing.assert_close(C @ C.transpose(-2, -1), torch.eye(full).double().expand(2, -1, -1), atol=1e-13, rtol=0)
    for rank in range(1, full):
        C, D = score_projections(q, k, rank)
        ours = q @ (C @ k).transpose(-2, -1) @ (D @ v)
        torch.testing.assert_close(ours, low_rank_mix(scores, v, rank), atol=1e-12, rtol=0)


def test_projections_are_the_right_singular_vectors_and_their_share_of_the_root():
    q, k = normal(9, 4), normal(9, 4, seed=1)
    C, D = score_projections(q, k)
    vt = low_rank(steps.scale(steps.similarities(q, k), 4), 4)[2]
    torch.testing.assert_close((C * vt).sum(-1).abs(), torch.ones(4).double())  # up to the sign of each
    assert torch.equal(D, C / math.sqrt(4))


def test_the_softmax_of_scores_of_low_rank_is_not_of_low_rank():
    q, k = normal(64, 8), normal(64, 8, seed=1)
    scores = steps.scale(steps.similarities(q, k), 8)
    before, after = spectrum(scores), spectrum(steps.weigh(scores))
    assert before.errors[8].item() < 1e-14
    assert after.errors[8].item() > 0.3
    assert torch.linalg.matrix_rank(scores).item() == 8
    assert torch.linalg.matrix_rank(steps.weigh(scores)).item() == 64


def test_a_cut_of_causal_weights_sees_the_future():
    q, k, v = normal(16, 4), normal(16, 4, seed=1), normal(16, 4, seed=2)

    def first_token(k, v, rank):
        weights = steps.weigh(steps.mask_scores(steps.scale(steps.similarities(q, k), 4), causal_mask(16)))
        return low_rank_mix(weights, v, rank)[0]

    later = (torch.arange(16) >= 8)[:, None]
    for cut, moves in ((16, False), (4, True)):
        here = first_token(k, v, cut)
        for other in (first_token(torch.where(later, -k, k), v, cut), first_token(k, torch.where(later, -v, v), cut)):
            assert ((other - here).abs().max() > 1e-3) == moves


def test_the_table_of_the_page():
    """docs/attention/low-rank.md, one row: 128 tokens, width 32, scores of deviation 1."""
    q, k = normal(2, 50, 128, 32)
    scores = steps.scale(steps.similarities(q, k), 32)
    full, causal = spectrum(steps.weigh(scores)), spectrum(steps.weigh(steps.mask_scores(scores, causal_mask(128))))
    assert full.rank_for(0.99).double().mean().item() == pytest.approx(74, abs=0.6)
    assert causal.rank_for(0.99).double().mean().item() == pytest.approx(59, abs=0.6)
    assert full.errors[:, 32].mean().item() == pytest.approx(0.31, abs=0.005)
