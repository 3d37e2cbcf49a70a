"""FAVOR+: an estimate of softmax attention whose statistics are those of the paper, and which never looks ahead."""

import math
import warnings
from itertools import pairwise

import pytest
import torch

from heed.attention import Shape, make_mask
from heed.attention.mechanisms.features import Positive, Trigonometric
from heed.attention.mechanisms.performer import (
    Performer,
    default_features,
    draw,
)
from heed.config import ModelConfig
from heed.errors import ConfigError
from heed.models import GPT
from heed.training.fit import fit
from heed.training.run import Run
from heed.training.streams import Streams
from reference.performer import performer
from training.doubles import LENGTH, VOCAB, Figure, Windows, new_run, outcome, plan

with warnings.catch_warnings():  # it imports distutils and torch.cuda.amp, which are deprecated
    warnings.simplefilter("ignore")
    from performer_pytorch import performer_pytorch as peer

K, T, M = 16, 32, 128
FEATURES = {"positive": Positive, "trigonometric": Trigonometric}


def made(shape, seed=0, **options):
    mechanism = Performer(shape, **options).double()
    mechanism.initialise(torch.Generator().manual_seed(seed))
    return mechanism


def normal(*size, generator):
    return torch.randn(*size, dtype=torch.float64, generator=generator)


def estimate(kind, q, k, w):
    """The estimated kernel (T, S) of queries (T, K) and keys (S, K)."""
    phi_q, scale_q = FEATURES[kind](w)(q)
    phi_k, scale_k = FEATURES[kind](w)(k)
    return phi_q @ phi_k.T * (scale_q + scale_k.T).exp()


def trials(spread, kind="positive", m=M, orthogonal=True, draws=50, seed=0):
    """Mean squared errors of kernel and output over q, k ~ N(0, spread^2), draw by draw; share of negative weights."""
    generator = torch.Generator().manual_seed(seed)
    q, k = spread * normal(T, K, generator=generator), spread * normal(T, K, generator=generator)
    v = normal(T, K, generator=generator)
    exact = (q @ k.T / math.sqrt(K)).exp()
    kernel, output, negative = [], [], 0.0
    for _ in range(draws):
        w = draw(m if kind == "positive" else m // 2, K, orthogonal, generator)
        A = estimate(kind, q, k, w)
        kernel.append((A - exact).square().mean())
        y = A @ v / A.sum(-1, keepdim=True)
        output.append((y - exact @ v / exact.sum(-1, keepdim=True)).square().mean())
        negative += (A < 0).double().mean().item() / draws
    return torch.stack(kernel), torch.stack(output), negative


class TestVectors:
    def test_orthogonal_blocks_have_right_angles_and_the_norms_of_gaussian_vectors(self):
        w = draw(5 * K, K, generator=torch.Generator().manual_seed(0))
        for block in w.split(K):
            gram = block @ block.T
            assert (gram - gram.diag().diag()).abs().max() < 1e-12
        assert draw(5, 3).shape == (5, 3)
        # |w|^2 of chi-squared with K degrees has mean K and variance 2 K; 16,000 of them: sd of the mean 0.045
        squares = draw(16_000, K, generator=torch.Generator().manual_seed(0)).square().sum(1)
        assert abs(squares.mean().item() - K) < 0.2
        assert abs(squares.var().item() / (2 * K) - 1) < 0.1

    def test_directions_are_uniform_with_no_memory_of_the_signs_that_qr_prefers(self):
        """LAPACK leaves a negative diagonal in R: without the correction the first component is never positive."""
        first = draw(40_000, 2, generator=torch.Generator().manual_seed(0))
        assert abs((first > 0).double().mean(0) - 0.5).max() < 0.01  # sd 0.0025
        assert abs(first.mean(0)).max() < 0.025  # sd 0.005

    def test_default_is_k_log_k(self):
        for width in (8, 32, 64, 128):
            assert 0 <= default_features(width) - width * math.log(width) < 16
        assert Performer(Shape(128, 4, 8)).w.shape == (112, 32)
        assert default_features(1) == 16

    @pytest.mark.parametrize("kind", FEATURES)
    def test_one_seed_makes_the_same_bits_and_nothing_is_drawn_at_construction(self, kind):
        before = torch.get_rng_state()
        first, second = (made(Shape(16, 2, 8), 3, kind=kind) for _ in range(2))
        assert torch.equal(first.w, second.w)
        assert torch.equal(torch.get_rng_state(), before)
        assert not torch.equal(first.w, made(Shape(16, 2, 8), 4, kind=kind).w)


class TestEstimate:
    @pytest.mark.parametrize("kind", FEATURES)
    @pytest.mark.parametrize("orthogonal", [True, False])
    def test_the_kernel_is_unbiased(self, kind, orthogonal):
        generator = torch.Generator().manual_seed(0)
        q, k = 0.5 * normal(4, K, generator=generator), 0.5 * normal(4, K, generator=generator)
        exact = (q @ k.T / math.sqrt(K)).exp()
        n = 1_500
        many = torch.stack([estimate(kind, q, k, draw(K, K, orthogonal, generator)) for _ in range(n)])
        error, sd = many.mean(0) - exact, many.std(0) / math.sqrt(n)
        assert (error.abs() < 4 * sd).all()  # 16 means of 1,500: beyond 4 deviations once in 1,000 such tests
        assert sd.max() < 0.1 * exact.max()

    @pytest.mark.parametrize("kind", FEATURES)
    def test_variance_of_independent_features_is_that_of_lemma_2(self, kind):
        """Of one vector w: e^p SM^2 (1 - e^-p) for positive features, e^p (1 - e^-n)^2 / (2 SM^2) for the others."""
        generator = torch.Generator().manual_seed(0)
        q, k = 0.3 * normal(4, K, generator=generator), 0.3 * normal(4, K, generator=generator)
        SM = ((q * k).sum(-1) / math.sqrt(K)).exp()
        p, n = ((q + sign * k).square().sum(-1) / math.sqrt(K) for sign in (1, -1))
        w = draw(200_000, K, False, generator)
        (phi_q, scale_q), (phi_k, scale_k) = (FEATURES[kind](w)(x) for x in (q, k))
        terms = phi_q * phi_k * (scale_q + scale_k).exp() * len(w)
        if kind == "trigonometric":  # the sine and the cosine of one w belong together
            terms = terms.unflatten(-1, (2, -1)).sum(-2)
        expected = p.exp() * SM.square() * (1 - (-p).exp())
        if kind == "trigonometric":
            expected = p.exp() / SM.square() * (1 - (-n).exp()).square() / 2
        torch.testing.assert_close(terms.var(-1), expected, rtol=0.1, atol=0)  # heavy tails: 200,000 terms, 1 to 4 %

    def test_error_falls_as_the_root_of_the_number_of_features(self):
        """At |q|, |k| small enough that exp(|q+k|^2), the variance of one feature, is well below m."""
        sizes = [64, 128, 256, 512, 1024, 2048]
        errors = [[trials(0.3, m=m, draws=50, seed=1)[i].mean().sqrt() for m in sizes] for i in (0, 1)]
        x = torch.tensor(sizes).double().log()
        for rms in errors:
            y = torch.stack(rms).log()
            slope = ((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum()
            assert abs(slope.item() + 0.5) < 0.05  # an error of 10 % at one end of a factor of 32 turns it by 0.03

    @pytest.mark.parametrize("spread", [0.3, 0.5])
    def test_orthogonal_features_err_less_than_independent_ones(self, spread):
        for of in (0, 1):  # kernel, output
            orthogonal, independent = (trials(spread, orthogonal=choice)[of].mean() for choice in (True, False))
            assert orthogonal < 0.9 * independent

    def test_trigonometric_features_are_worse_where_weights_differ_and_better_where_they_hardly_do(self):
        """Medians over 50 draws: a denominator near zero makes a mean say nothing."""
        _, positive, none = trials(0.8)
        _, trigonometric, negative = trials(0.8, "trigonometric")
        assert none == 0
        assert 0.04 < negative < 0.19
        assert 2 < (trigonometric.median() / positive.median()).sqrt() < 3
        _, positive, none = trials(0.5)
        _, trigonometric, negative = trials(0.5, "trigonometric")
        assert negative < 0.01
        assert (trigonometric.median() / positive.median()).sqrt() < 0.7

    @pytest.mark.parametrize("kind", FEATURES)
    def test_attention_comes_near_to_exact_attention(self, kind):
        generator = torch.Generator().manual_seed(0)
        q, k, v = (0.4 * normal(1, 2, 100, 16, generator=generator) for _ in range(3))
        exact = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        y = made(Shape(32, 2, 100), features=4096, kind=kind)(q, k, v, make_mask(100, causal=True))
        assert (y - exact).square().mean().sqrt() < 0.05 * exact.square().mean().sqrt()


class TestMechanism:
    @pytest.mark.parametrize("kind", FEATURES)
    def test_equals_the_loop_in_outputs_and_gradients(self, kind):
        mechanism = made(Shape(6, 2, 9, 1), features=8, kind=kind)
        generator = torch.Generator().manual_seed(0)
        q, k, v = ((0.5 * normal(1, h, 7, 3, generator=generator)).requires_grad_() for h in (2, 1, 1))
        allowed = torch.ones(7, 7).tril().bool().tolist()
        ours = mechanism(q, k, v, make_mask(7, causal=True))
        slow = performer(mechanism, q[0], k[0], v[0], allowed)[None]
        pull = normal(1, 2, 7, 3, generator=generator)
        torch.testing.assert_close(ours, slow, rtol=1e-10, atol=1e-10)  # other order of sums, other units
        for mine, other in zip(
            torch.autograd.grad(ours, (q, k, v), pull), torch.autograd.grad(slow, (q, k, v), pull), strict=True
        ):
            torch.testing.assert_close(mine, other, rtol=1e-9, atol=1e-9)

    def test_keys_of_very_different_size_need_no_common_scale(self):
        """Keys whose features are e^-3000 stand before ordinary ones: in float32 with one scale, one half is lost."""
        mechanism = made(Shape(8, 1, 200), features=64)
        generator = torch.Generator().manual_seed(0)
        q, k, v = (normal(1, 1, 200, 8, generator=generator) for _ in range(3))
        k[:, :, :90] *= 40
        mask = make_mask(200, causal=True)
        exact = mechanism(q, k, v, mask)
        y = mechanism.float()(q.float(), k.float(), v.float(), mask)
        late = (y[:, :, 90:] - exact[:, :, 90:]).abs().max()
        assert late < 1e-4
        assert y.isfinite().all()

    def test_denominators_of_trigonometric_features_are_held_off_zero(self):
        mechanism = made(Shape(2, 1, 4), features=2, kind="trigonometric")
        mechanism.w.copy_(torch.tensor([[1.0, 0.0]]))
        q = torch.tensor([math.pi / 2 * 2**0.25, 0.0], dtype=torch.float64).view(
            1, 1, 1, 2
        )  # cos(w (q - k)) = 0 for k = 0
        v = torch.ones(1, 1, 1, 2, dtype=torch.float64)
        y = mechanism(q, 0 * q, v, make_mask(1))
        assert y.abs().max() < 1e-9  # 6e-17 / 1e-3: without the guard it would be exactly 1, out of rounding noise

    def test_a_denominator_that_is_held_has_no_gradient_on_either_path(self):
        generator = torch.Generator().manual_seed(0)
        q, k, v = (normal(1, 1, 3, 2, generator=generator) for _ in range(3))
        q[..., 0], k[:, :, 0] = torch.tensor([math.pi / 2 * 2**0.25 + 1e-4, 0.3, 0.4]), 0.0  # the first is held
        results = []
        for path in ("auto", "reference"):
            mechanism = made(Shape(2, 1, 4), features=2, kind="trigonometric", path=path)
            mechanism.w.copy_(torch.tensor([[1.0, 0.0]]))
            leaves = [x.clone().requires_grad_() for x in (q, k, v)]
            y = mechanism(*leaves, make_mask(3, causal=True))
            results.append([y, *torch.autograd.grad(y.sum(), leaves)])
        assert results[0][0][0, 0, 0].abs().max() < 0.5 * v[0, 0, 0].abs().max()  # not v, as one key alone would give
        for fast, slow in zip(*results, strict=True):
            torch.testing.assert_close(fast, slow, rtol=1e-9, atol=1e-9)

    def test_impossible_options_are_refused_all_at_once(self):
        with pytest.raises(ConfigError) as raised:
            Performer(Shape(8, 1, 4), features=7, kind="trigonometric", redraw=0)
        assert raised.value.problems == (
            "model.attention.options.features: sines and cosines come in pairs, take 8",
            "model.attention.options.redraw: 0 is too few training passes, it must be at least 1 or left out",
        )
        with pytest.raises(ConfigError, match=r"options\.features: 0 is too few"):
            Performer(Shape(8, 1, 4), features=0)
        with pytest.raises(ConfigError, match=r"options\.kind: unknown value 'sine', choose positive or"):
            Performer(Shape(8, 1, 4), kind="sine")  # pyright: ignore[reportArgumentType]


class TestRedraw:
    def test_vectors_are_drawn_anew_after_so_many_training_passes_and_never_in_evaluation(self):
        mechanism = made(Shape(8, 2, 6), redraw=3)
        x = torch.randn(1, 2, 6, 4, dtype=torch.float64)

        def passes(n):
            seen = []
            for _ in range(n):
                mechanism(x, x, x, make_mask(6, causal=True))
                seen.append(mechanism.w.clone())
            return seen

        first = passes(7)
        changed = [not torch.equal(a, b) for a, b in pairwise(first)]
        assert changed == [False, False, True, False, False, True]
        state = torch.get_rng_state()
        mechanism.eval()
        assert all(torch.equal(w, first[-1]) for w in passes(5))
        mechanism.train()
        with torch.no_grad():
            assert all(torch.equal(w, first[-1]) for w in passes(5))
        assert torch.equal(torch.get_rng_state(), state)

    def test_an_older_pass_keeps_the_gradient_of_its_own_vectors(self):
        mechanism = made(Shape(8, 2, 100), redraw=1)
        x = torch.randn(1, 2, 100, 4, dtype=torch.float64, requires_grad=True)
        mask = make_mask(100, causal=True)
        first = mechanism(x, x, x, mask).square().sum()
        still = made(Shape(8, 2, 100))
        expected = torch.autograd.grad(still(x, x, x, mask).square().sum(), x)[0]
        second = mechanism(x, x, x, mask).square().sum()
        assert first != second
        torch.testing.assert_close(torch.autograd.grad(first, x)[0], expected, rtol=0, atol=0)

    def test_a_resumed_run_is_bit_for_bit_the_unbroken_one(self, tmp_path):
        def train(folder, steps, resume=False):
            config = ModelConfig.model_validate(
                {
                    "n_layers": 1, "n_heads": 2, "d_model": 8, "context": LENGTH, "dropout": 0.1,
                    "attention": {"mechanism": "performer", "options": {"redraw": 3}},
                }
            )  # fmt: skip
            run = Run.open(folder) if resume else new_run(folder)
            streams = Streams(1)
            model = GPT(config, VOCAB, streams["initialisation"])
            drawn = model.blocks[0].attention.mechanism.w.clone()
            settings = plan(steps=steps, schedule="constant", accumulation=2, checkpoint_every=4)
            fit(model, Windows(), settings, run, streams=streams, resume=resume, log_every=1,
                validation=lambda: Figure(0.0))  # fmt: skip
            return drawn, model.blocks[0].attention.mechanism

        drawn, unbroken = train(tmp_path / "unbroken", 12)
        train(tmp_path / "cut", 4)
        _, resumed = train(tmp_path / "cut", 12, resume=True)
        assert not torch.equal(drawn, unbroken.w)
        assert torch.equal(unbroken.w, resumed.w)
        assert unbroken.age == resumed.age == 3  # 24 passes, drawn anew before passes 4, 7 ... 22
        whole, cut = outcome(tmp_path / "unbroken"), outcome(tmp_path / "cut")
        assert whole["model"] == cut["model"]
        assert whole["optimizer"] == cut["optimizer"]


class TestPeer:
    """performer-pytorch 1.1.4, given our random vectors."""

    def setup_method(self):
        self.ours = made(Shape(16, 2, 128), features=24)
        generator = torch.Generator().manual_seed(2)
        self.q, self.k, self.v = (normal(1, 2, 128, 8, generator=generator) for _ in range(3))

    def features(self, q, k, eps):
        w = self.ours.w
        return (
            peer.softmax_kernel(q, projection_matrix=w, is_query=True, eps=eps),
            peer.softmax_kernel(k, projection_matrix=w, is_query=False, eps=eps),
        )

    def test_features_are_the_same_up_to_its_scales(self):
        theirs_q, theirs_k = self.features(self.q, self.k, 0.0)
        (phi, _), (keys, scale) = (self.ours.feature_map()(x) for x in (self.q, self.k))
        ratio = theirs_k / (keys * scale.exp())  # one number for a whole head: its maximum over the sequence
        torch.testing.assert_close(ratio, ratio[..., :1, :1].expand_as(ratio))
        ratio = theirs_q / phi  # one number a query, which cancels
        torch.testing.assert_close(ratio, ratio[..., :1].expand_as(ratio))

    def test_bidirectional_output_is_the_same_without_its_epsilon(self):
        y = self.ours(self.q, self.k, self.v, make_mask(128))
        theirs = peer.linear_attention(*self.features(self.q, self.k, 0.0), self.v)
        torch.testing.assert_close(y, theirs, rtol=1e-10, atol=1e-10)
        attention = peer.FastAttention(8, nb_features=24).double()
        attention.projection_matrix.copy_(self.ours.w)
        with_epsilon = attention(self.q, self.k, self.v)  # it adds 1e-4 to every feature
        assert 0.01 < (with_epsilon - theirs).abs().max() < 0.1

    def test_causal_output_is_the_same_without_its_epsilon(self):
        y = self.ours(self.q, self.k, self.v, make_mask(128, causal=True))
        theirs = peer.causal_linear_attention_noncuda(*self.features(self.q, self.k, 0.0), self.v, eps=0.0)
        torch.testing.assert_close(y, theirs, rtol=1e-10, atol=1e-10)

    def test_its_causal_form_leaks_through_the_maximum_over_all_keys_and_ours_does_not(self, capsys):
        attention = peer.FastAttention(8, nb_features=24, causal=True).double()
        assert "will default to the memory inefficient non-cuda version" in capsys.readouterr().out
        attention.projection_matrix.copy_(self.ours.w)
        w = self.ours.w
        later = self.k.clone()
        later[:, :, -1] = 3 * w[0]  # one key, the last one, with a feature that is larger than all before it
        theirs = [attention(self.q, k, self.v)[:, :, :-1] for k in (self.k, later)]
        ours = [self.ours(self.q, k, self.v, make_mask(128, causal=True))[:, :, :-1] for k in (self.k, later)]
        assert (theirs[0] - theirs[1]).abs().max() > 0.1
        assert torch.equal(*ours)
