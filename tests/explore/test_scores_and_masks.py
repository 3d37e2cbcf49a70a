"""Scaling, hard attention, masks, low rank, random features: the figures of the plan, by the functions."""

import math

import numpy as np
import pytest
import torch

from heed.attention import Argmax, Attention, Shape, make_mask
from heed.errors import ConfigError
from heed.explore.arrays import softmax
from heed.explore.hard import hard_attention
from heed.explore.kernel import errors_over_features, estimate_kernel, stabiliser_leak
from heed.explore.layer_size import layer_size
from heed.explore.low_rank import project, rank_errors, spectrum_of
from heed.explore.masking import WAYS, compare_masks, hide, zeroed_keys
from heed.explore.scaling import jacobian_norm, saturation, scaling_table, score_moments
from heed.explore.wrong_masks import MECHANISM_OF, train_on_random_tokens


class TestScaling:
    def test_mean_and_variance_of_a_dot_product(self):
        found = score_moments([-1.0, 0.5, 2.0, 1.0], 0.5, draws=200_000)
        assert found.mean == pytest.approx(6.25)
        assert found.variance == pytest.approx(4 * 0.5**4 + 2 * 0.25 * 6.25)
        assert found.sampled_mean == pytest.approx(found.mean, rel=0.01)
        assert found.sampled_variance == pytest.approx(found.variance, rel=0.02)
        # sigma^2 = 2 and K = 4: 16, where the text that takes sigma for sigma^2 says 8
        assert score_moments([0.0] * 4, math.sqrt(2)).sampled_variance == pytest.approx(16, rel=0.03)

    def test_gradients_vanish_where_softmax_saturates(self):
        assert saturation(4).gradient == pytest.approx(0.29, abs=0.01)
        assert saturation(64).gradient == pytest.approx(0.038, abs=0.004)
        assert saturation(64).entropy < 0.2 < saturation(1).entropy

    def test_the_norm_is_that_of_the_jacobian(self):
        w = softmax([0.3, -1.0, 2.0])
        assert jacobian_norm(w) == pytest.approx(np.linalg.norm(np.diag(w) - np.outer(w, w)))

    def test_over_widths_only_the_plain_one_saturates(self):
        table = scaling_table((4, 64, 1024))
        assert [one.deviation for one in table.plain] == [2, 8, 32]
        assert table.plain[0].gradient > 2 * table.plain[2].gradient
        assert all(one.entropy == pytest.approx(math.log(128) - 0.48, abs=0.1) for one in table.scaled)
        with pytest.raises(ConfigError, match="widths: there is none"):
            scaling_table(())


class TestHard:
    KEYS, VALUES = [[0, 1, 2], [1, 1, 2], [-1, 1, -2], [0, -1, -2]], [[3, 2, -4], [3, -2, 4], [3, 2, 0], [3, 2, 4]]

    def test_the_exercise(self):
        found = hard_attention([-2, 1, 1], self.KEYS, self.VALUES)
        assert found.scores.tolist() == [3, 1, 1, -3]
        assert found.output.tolist() == [3, 2, -4]
        assert not found.hard.query.any()
        assert not found.hard.keys.any()
        assert found.hard.values.tolist() == [[1, 1, 1], [0] * 3, [0] * 3, [0] * 3]
        assert np.abs(found.straight_through.query).max() > 0.1

    @pytest.mark.parametrize("straight", [False, True])
    def test_gradients_are_those_of_autograd(self, straight):
        draw = np.random.default_rng(3)
        q, k, v, g = draw.normal(size=4), draw.normal(size=(5, 4)), draw.normal(size=(5, 4)), draw.normal(size=4)
        tensors = [torch.tensor(array[None, None]).requires_grad_() for array in (2 * q[None], k, v)]
        y = Argmax(Shape(4, 1, 5), straight_through=straight, path="reference")(*tensors, make_mask(1, 5))
        theirs = torch.autograd.grad((y * torch.tensor(g)).sum(), tensors, allow_unused=True)
        found = hard_attention(q, k, v, g)  # the mechanism divides by sqrt(4) = 2
        ours = found.straight_through if straight else found.hard
        for mine, other, factor in zip((ours.query, ours.keys, ours.values), theirs, (0.5, 1, 1), strict=True):
            expected = np.zeros_like(mine) if other is None else other.numpy().reshape(mine.shape)
            assert np.abs(factor * mine - expected).max() < 1e-12

    def test_a_tie_is_said(self):
        assert "equal" in hard_attention([1, 0], [[1, 0], [1, 5]], [[1], [2]]).explanation


class TestMasks:
    SCORES = (1.0, -0.5, 2.0, 0.3)

    def test_every_way_beside_the_right_one(self):
        found = {one.way: one for one in compare_masks(self.SCORES, [2])}
        assert list(found) == list(WAYS)
        assert {way for way, one in found.items() if one.right} == {"minus-infinity", "renormalised", "finite-fill"}
        assert found["minus-infinity"].weights == pytest.approx(found["renormalised"].weights)
        assert found["after-softmax"].total < 0.5
        assert found["after-softmax"].moved > 0.1
        assert found["zero-key"].hidden > 0.1
        assert found["zero-key"].moved == 0  # it leaks by its value, not by the denominator

    def test_a_key_of_zeros_keeps_its_weight(self):
        assert 0.14 < zeroed_keys().mean < 0.18
        assert hide([-13.0] * 4 + [5.0], [4], "zero-key").hidden == pytest.approx(0.99999, abs=1e-5)

    def test_a_finite_fill_loses_below_it(self):
        low = hide([-2e4, 0.0], [1], "finite-fill")
        assert low.weights.tolist() == [0, 1]
        assert not low.right
        assert hide([-2e4, 0.0], [1]).weights.tolist() == [1, 0]

    def test_printed_numbers_of_a_mask(self):
        assert softmax([-20, -12, 20, 25]) == pytest.approx([2.8e-20, 8.5e-17, 0.0067, 0.9933], rel=0.02)
        assert hide([-20, -12, 20, 25], [2, 3]).weights[:2] == pytest.approx([3.35e-4, 0.99966], rel=0.01)

    def test_a_hidden_score_far_above_does_not_divide_by_zero(self):
        assert hide([0.0, 2000.0], [1], "renormalised").weights.tolist() == [1, 0]

    @pytest.mark.parametrize(
        ("call", "why"),
        [
            (lambda: hide([1, 2], [0, 1]), "hidden: all keys are hidden"),
            (lambda: hide([1, 2], [0], "zero-keys"), "did you mean 'zero-key'"),
            (lambda: hide([1, math.inf], [0]), "scores: holds NaN or infinity"),
            (lambda: train_on_random_tokens("none"), "way: unknown value 'none'"),
        ],
    )
    def test_bad_input(self, call, why):
        with pytest.raises(ConfigError, match=why):
            call()

    def test_ways_are_the_same_in_both_files(self):
        assert set(WAYS) == set(MECHANISM_OF)

    @pytest.mark.parametrize("way", WAYS)
    def test_the_mechanism_gives_the_weights_of_its_way(self, way):
        scores = torch.tensor([*self.SCORES], dtype=torch.float64).expand(1, 1, 4, 4)
        weights = MECHANISM_OF[way](Shape(4, 1, 4), path="reference").weights(scores, make_mask(4, causal=True))
        for t in range(3):
            mine = hide(self.SCORES, range(t + 1, 4), way).weights
            assert np.abs(weights[0, 0, t].numpy() - mine).max() < 1e-12

    @pytest.mark.parametrize(("way", "leaks"), [("zero-key", True), ("minus-infinity", False)])
    def test_a_short_training_tells_already(self, way, leaks):
        found = train_on_random_tokens(way, steps=60)
        assert found.leaks == leaks
        assert (found.influence > 0) == leaks
        if not leaks:
            assert found.prefix_loss == pytest.approx(found.loss, abs=1e-4)

    @pytest.mark.slow
    def test_a_mask_after_the_softmax_reaches_what_no_model_can(self):
        naive, right = train_on_random_tokens("after-softmax"), train_on_random_tokens("minus-infinity")
        assert naive.entropy == pytest.approx(1.3863, abs=1e-4)
        assert naive.loss == pytest.approx(math.log(4) / 8, abs=0.02)  # 0.173: all but the last token are given away
        assert naive.prefix_loss > 4
        assert right.loss == pytest.approx(1.389, abs=0.004)
        assert right.prefix_loss == pytest.approx(right.loss, abs=1e-4)


class TestLowRank:
    def test_softmax_of_rank_5_has_rank_40(self):
        draw = np.random.default_rng(0)
        found = rank_errors(draw.normal(size=(40, 5)), draw.normal(size=(40, 5)))
        assert (found.score_rank, found.weight_rank) == (5, 40)
        assert found.score_errors[5] < 1e-12
        assert found.weight_errors[5] > 0.1
        assert 1 < found.rank_for_99 <= 40

    def test_projections_are_exact_without_softmax_only(self):
        draw = np.random.default_rng(1)
        Q, K, V = (draw.normal(size=(30, 6)) for _ in range(3))
        found = project(Q, K, V)
        assert found.C.shape == (6, 30)
        assert found.error < 5e-14
        assert found.softmax_error > 0.05
        assert np.abs(found.C / math.sqrt(6) - found.D).max() < 1e-15
        assert project(Q, K, V, 3).error > 0.1
        assert found.operations[0] < found.operations[1]

    def test_spectrum_of_weights_of_ones_own(self):
        assert spectrum_of(np.full((6, 6), 1 / 6)).rank_for_99 == 1
        assert spectrum_of(np.eye(6)).effective_rank == pytest.approx(6)

    def test_size_of_a_layer(self):
        found = layer_size(64, 12, 64)
        assert found.parameters == 2_362_368
        assert found.parameters == sum(p.numel() for p in Attention(768, 12).parameters())
        assert found.projections == 8 * 64 * 768**2
        assert layer_size(1536, 12, 64).projections == layer_size(1536, 12, 64).mixing


class TestKernel:
    def test_trigonometric_features_are_negative_and_err_more(self):
        pairs = [[estimate_kernel(m, kind, draws=30) for kind in ("positive", "trigonometric")] for m in (64, 256)]
        for positive, other in pairs:
            assert positive.negative == 0
            assert 0.04 < other.negative < 0.19
            assert 1.8 < other.kernel_error / positive.kernel_error < 4

    def test_orthogonal_features_err_less_and_more_features_too(self):
        few, many = (estimate_kernel(m, spread=0.3, draws=40) for m in (64, 512))
        assert few.kernel_error > 2 * many.kernel_error  # 2.8 by the root
        assert few.kernel_error < estimate_kernel(64, orthogonal=False, spread=0.3, draws=40).kernel_error
        assert [one.features for one in errors_over_features((16, 32), spread=0.3)] == [16, 32]

    def test_a_maximum_over_the_whole_sequence_leaks(self):
        found = stabiliser_leak()
        assert found.each_key == 0
        assert found.whole_sequence > 0.01
        assert stabiliser_leak(growth=1.0).whole_sequence == 0

    def test_a_second_exponential_is_no_estimate(self):
        found = estimate_kernel(1024, spread=0.3, draws=10)
        assert found.kernel_error < 0.1
        assert found.second_exponential > math.e - 1.1

    @pytest.mark.parametrize(
        ("call", "why"),
        [
            (lambda: estimate_kernel(3, "trigonometric"), "sines and cosines come in pairs"),
            (lambda: estimate_kernel(4, "cosine"), "unknown value 'cosine'"),
            (lambda: estimate_kernel(spread=-1), "spread: -1 must be"),
        ],
    )
    def test_bad_input(self, call, why):
        with pytest.raises(ConfigError, match=why):
            call()
