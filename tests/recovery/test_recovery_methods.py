"""Each method against a simulated API whose distribution is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from heed.errors import ApiError
from heed.recovery.anchor import anchor_calls
from heed.recovery.bisection import bisection_calls
from heed.recovery.forced import forced_calls
from heed.recovery.methods import METHODS, RecoveryWish, expected_calls, recover
from heed.recovery.oracle import ApiLimits
from heed.recovery.probe import probe
from heed.recovery.readings import Distribution
from recovery.simulated_api import SimulatedApi, log_softmax, some_logits


def recovered(api: SimulatedApi, limits: ApiLimits, wish: RecoveryWish) -> Distribution:
    return recover(api, limits, wish)[1]


def worst(found: Distribution, truth: np.ndarray) -> float:
    return float(np.nanmax(np.abs(found.log_p - truth)))


def assert_bars_hold(found: Distribution, truth: np.ndarray) -> None:
    seen = found.seen
    over = np.abs(found.log_p - truth)[seen] - found.error[seen]
    assert over.max() <= 0, f"{int((over > 0).sum())} bars fail, by {over.max():.3g} nats"


@pytest.mark.parametrize("top", [2, 5, 20])
@pytest.mark.parametrize("vocabulary", [2_000, pytest.param(50_257, marks=pytest.mark.slow)])
def test_anchor_reads_every_token_in_float32(vocabulary, top):
    api = SimulatedApi(some_logits(vocabulary), top=top, dtype=np.float32)
    found = recovered(api, api.limits, RecoveryWish())
    assert found.method == "anchor"
    assert found.seen.all()
    assert worst(found, api.log_p) <= 1e-5
    assert_bars_hold(found, api.log_p)
    assert found.error.max() < 2e-5
    assert api.calls == found.calls == anchor_calls(vocabulary, top) + 1  # the third call of the probe
    assert found.unseen_mass == 0
    assert found.seen_mass[0] == pytest.approx(1, abs=1e-5)
    if top == 2:
        assert found.calls <= vocabulary + 1


def test_float64_answers_give_float64_values():
    api = SimulatedApi(some_logits(300).astype(np.float64))
    found = recovered(api, api.limits, RecoveryWish())
    assert worst(found, api.log_p) < 1e-13
    assert_bars_hold(found, api.log_p)


@pytest.mark.parametrize(("step", "bar"), [(0.125, 0.19), (1e-4, 2e-4), (0.0, 1e-4)])
def test_bars_hold_under_rounding(step, bar):
    for seed in range(5):
        api = SimulatedApi(some_logits(300, seed), top=3, dtype=np.float32, step=step)
        found = recovered(api, api.limits, RecoveryWish())
        assert found.seen.all()
        assert_bars_hold(found, api.log_p)
        assert found.error.max() < bar


def test_bars_hold_in_float16():
    api = SimulatedApi(some_logits(300, 4), top=3, dtype=np.float32, printed=np.float16)
    found = recovered(api, api.limits, RecoveryWish())
    assert_bars_hold(found, api.log_p)
    assert 0.001 < worst(found, api.log_p) < 0.02


def test_a_coarse_rounding_is_known_even_where_the_probe_shows_whole_numbers():
    logits = log_softmax(np.concatenate([[0.0, -1.0], -np.linspace(3, 12, 60)]))
    logits = np.concatenate([logits[:2].round(), logits[2:]])  # -0.1 and -1.1 become 0 and -1
    api = SimulatedApi(logits, step=0.125)
    found = recovered(api, api.limits, RecoveryWish())
    assert_bars_hold(found, api.log_p)


@pytest.mark.parametrize("top", [2, 5])
def test_forced_reading_of_an_api_whose_probabilities_do_not_move(top):
    api = SimulatedApi(some_logits(500), top=top, mode="raw", dtype=np.float32)
    found = recovered(api, api.limits, RecoveryWish())
    assert found.method == "forced"
    assert found.seen.all()
    assert worst(found, api.log_p) <= 1e-5
    assert_bars_hold(found, api.log_p)
    assert found.calls == api.calls == forced_calls(500, top) + 1


def test_bisection_where_no_probability_is_shown():
    api = SimulatedApi(some_logits(120), mode="nothing", dtype=np.float32)
    wish = RecoveryWish(accuracy=0.05)
    found = recovered(api, api.limits, wish)
    assert found.method == "bisection"
    assert found.seen.all()
    assert_bars_hold(found, api.log_p)
    assert found.error.max() < 0.06
    assert api.calls == bisection_calls(120, 100, 0.05) + 3  # the probe: one more plain one, and two with a bias
    assert np.exp(found.log_p).sum() == pytest.approx(1)


@pytest.mark.parametrize(("mode", "top", "step"), [("biased", 2, 0.0), ("biased", 5, 0.0), ("raw", 5, 0.0)])
def test_nucleus_reads_the_likeliest_until_they_are_enough(mode, top, step):
    api = SimulatedApi(some_logits(500, 3), top=top, mode=mode, dtype=np.float32, step=step)
    found = recovered(api, api.limits, RecoveryWish(method="nucleus", top_p=0.9))
    p = np.exp(api.log_p)
    needed = int(np.searchsorted(np.cumsum(np.sort(p)[::-1]), 0.9)) + 1
    assert needed <= found.seen.sum() < needed + top
    assert set(np.argsort(-p)[:needed]) <= set(np.flatnonzero(found.seen))
    assert_bars_hold(found, api.log_p)
    assert worst(found, api.log_p) < 1e-5
    assert 0 < found.unseen_mass < 0.1
    assert found.unseen_mass == pytest.approx(1 - p[found.seen].sum(), abs=1e-5)
    calls = (needed - top) if mode == "raw" else -(-(needed - top) // top)
    assert abs(api.calls - 3 - calls) <= 1


def test_nucleus_bars_hold_under_coarse_rounding_and_say_where_it_ends():
    api = SimulatedApi(some_logits(500, 3), top=5, dtype=np.float32, step=0.125)
    found = recovered(api, api.limits, RecoveryWish(method="nucleus", top_p=0.99))
    assert_bars_hold(found, api.log_p)
    assert found.seen_mass[0] < 0.99


def test_nucleus_ends_where_no_more_may_be_banned():
    api = SimulatedApi(np.zeros(400), top=2, biased=40)
    found = recovered(api, api.limits, RecoveryWish(method="nucleus", top_p=0.9))
    assert found.seen.sum() == 42
    assert found.unseen_mass == pytest.approx(1 - 42 / 400)


def test_ties_are_read_like_anything_else():
    api = SimulatedApi(np.repeat([2.0, 1.0, -3.0], 20), top=2)
    found = recovered(api, api.limits, RecoveryWish())
    assert worst(found, api.log_p) < 1e-12


@pytest.mark.parametrize("top", [2, 5])
@pytest.mark.parametrize("mode", ["biased", "raw"])
def test_what_cannot_be_biased_is_said_to_be_missing(mode, top):
    fixed = frozenset([0, 7, 99])
    api = SimulatedApi(some_logits(200), top=top, mode=mode, dtype=np.float32, fixed=fixed)
    assert not set(np.argsort(-api.log_p)[:top]) & fixed
    found = recovered(api, api.limits, RecoveryWish())
    assert set(np.flatnonzero(~found.seen)) == fixed
    assert worst(found, api.log_p) <= 1e-5
    assert_bars_hold(found, api.log_p)
    assert np.isinf(found.error[list(fixed)]).all()
    assert found.unseen_mass == pytest.approx(np.exp(api.log_p[list(fixed)]).sum(), abs=1e-5)


@pytest.mark.parametrize("top", [2, 5])
def test_the_likeliest_token_cannot_be_biased(top):
    logits = some_logits(200)
    api = SimulatedApi(logits, top=top, dtype=np.float32, fixed=frozenset([int(logits.argmax())]))
    found = recovered(api, api.limits, RecoveryWish())
    assert found.seen.all()
    assert worst(found, api.log_p) <= 1e-5


def test_a_tie_with_a_token_that_cannot_be_biased_is_not_read_as_biased():
    logits = some_logits(200).astype(np.float64)
    second, low = np.argsort(-logits)[1], int(logits.argmin())
    logits[low] = logits[second]
    fixed = int(max(second, low))  # comes after the other, so the plain call does not show it
    later = logits.copy()
    later[fixed] += 1e-9  # and before it from then on
    api = SimulatedApi(logits, top=2, fixed=frozenset([fixed]), later=later, changes_at=2)
    found = recovered(api, api.limits, RecoveryWish())
    assert list(np.flatnonzero(~found.seen)) == [fixed]


def test_very_unlikely_tokens_are_asked_for_again():
    logits = np.concatenate([[0.0, -1.0], np.full(30, -60.0), np.full(30, -5.0)])
    api = SimulatedApi(logits)
    found = recovered(api, api.limits, RecoveryWish())
    assert found.seen.all()
    assert worst(found, api.log_p) < 1e-12
    assert api.calls == anchor_calls(62, 2) + 1 + 30


def test_a_bias_that_changes_nothing_is_an_error():
    api = SimulatedApi(some_logits(50), fixed=frozenset(range(50)))
    with pytest.raises(ApiError, match="changes neither"):
        probe(api, api.limits)


def test_a_method_that_the_api_does_not_allow_is_refused():
    api = SimulatedApi(some_logits(50), mode="raw")
    with pytest.raises(ApiError, match="before the bias, so anchor reads nothing"):
        recovered(api, api.limits, RecoveryWish(method="anchor"))


def head(vocabulary: int, columns: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    matrix = random.normal(size=(vocabulary, columns)).astype(np.float32) / np.sqrt(columns)
    return matrix, (3 * random.normal(size=columns)).astype(np.float32)


@pytest.mark.parametrize("mode", ["biased", "raw", "nothing"])
def test_a_known_output_matrix_saves_calls(mode):
    matrix, hidden = head(1_000, 24)
    bias = np.linspace(-1, 1, 1_000)
    api = SimulatedApi(matrix @ hidden + bias, top=5, mode=mode, dtype=np.float64)
    wish = RecoveryWish(method="low-rank", matrix=matrix, matrix_bias=bias, accuracy=0.001)
    found = recovered(api, api.limits, wish)
    assert found.seen.all()
    assert_bars_hold(found, api.log_p)
    assert worst(found, api.log_p) < (0.01 if mode == "nothing" else 1e-5)
    shows = {"biased": "biased", "raw": "raw", "nothing": "nothing"}[mode]
    assert api.calls <= expected_calls("low-rank", api.limits, shows, wish) + 3
    assert found.facts["columns"] == 24


def test_another_models_matrix_is_refused():
    matrix, hidden = head(1_000, 24)
    api = SimulatedApi(matrix @ hidden, top=5, dtype=np.float32)
    with pytest.raises(ApiError, match="does not fit what the API says"):
        recovered(api, api.limits, RecoveryWish(method="low-rank", matrix=head(1_000, 24, seed=1)[0]))


@pytest.mark.slow
def test_gpt2s_sizes_take_384_calls():
    matrix, hidden = head(50_257, 768)
    api = SimulatedApi(matrix @ hidden, top=5, dtype=np.float32)
    found = recovered(api, api.limits, RecoveryWish(method="low-rank", matrix=matrix))
    assert found.calls == 384 + 1
    assert worst(found, api.log_p) < 1e-4
    assert_bars_hold(found, api.log_p)


def test_every_method_has_a_bill():
    limits = replace(SimulatedApi(some_logits(50)).limits, top=2)
    wish = RecoveryWish(matrix=np.zeros((50, 4)))
    assert all(expected_calls(name, limits, "biased", wish) > 0 for name in METHODS)


class OnlyTaken(SimulatedApi):
    """Shows the probability of the token that it takes, and of no other."""

    def answer(self, question):
        return replace(super().answer(question), top=())


def test_an_api_that_shows_the_token_it_takes_is_read_by_force():
    api = OnlyTaken(some_logits(100), mode="raw", dtype=np.float32)
    found = recovered(api, replace(api.limits, top=0), RecoveryWish())
    assert found.method == "forced"
    assert found.seen.all()
    assert worst(found, api.log_p) <= 1e-5
    assert_bars_hold(found, api.log_p)


@pytest.mark.parametrize("top", [0, 1])
@pytest.mark.parametrize("tall", [0.0, 12.0])
def test_what_a_token_has_by_force_is_not_taken_for_its_own(top, tall):
    logits = some_logits(60)
    logits[5] = tall  # where it is so likely, a bias of its own does not move it much
    kind = OnlyTaken if top == 0 else SimulatedApi
    for seed in range(4):
        api = kind(logits, top=1, dtype=np.float32, seed=seed)
        found = recovered(api, replace(api.limits, top=top), RecoveryWish(accuracy=0.1))
        assert found.method == "bisection"
        assert_bars_hold(found, api.log_p)


def test_a_nucleus_where_a_likely_token_cannot_be_banned():
    logits = some_logits(200, 3)
    likeliest = int(logits.argmax())
    api = SimulatedApi(logits, top=5, dtype=np.float32, fixed=frozenset([likeliest]))
    found = recovered(api, api.limits, RecoveryWish(method="nucleus", top_p=0.9))
    assert found.seen_mass[0] >= 0.9
    assert_bars_hold(found, api.log_p)


def test_probabilities_that_do_not_add_up_are_no_result():
    class Filtered(SimulatedApi):
        """Shows each token twice as likely as it is, once it was probed."""

        def show(self, value):
            return float(value) + (0.7 if self.calls > 6 else 0.0)

    api = Filtered(some_logits(60), mode="raw")
    with pytest.raises(ApiError, match="add up to"):
        recovered(api, api.limits, RecoveryWish())
