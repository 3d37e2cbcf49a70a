"""A model that changes half-way is noticed; one whose answers tremble is not, and its error bars say so."""

from __future__ import annotations

import numpy as np
import pytest

from heed.errors import ApiError
from heed.recovery.control import Controlled, control_calls, distance
from heed.recovery.methods import RecoveryWish, recover
from heed.recovery.oracle import BiasQuestion, BiasReply
from recovery.simulated_api import SimulatedApi, some_logits


def controlled(api: SimulatedApi, wish: RecoveryWish | None = None):
    control = Controlled(api)

    def noise() -> float:
        control.finish()
        return control.noise

    return control, *recover(control, api.limits, wish or RecoveryWish(), noise=noise)


def test_a_steady_model_costs_one_call_in_a_hundred():
    api = SimulatedApi(some_logits(500), dtype=np.float32)
    control, _, found = controlled(api)
    assert control.controls == control_calls(found.calls) == 6
    assert api.calls == found.calls + 6
    assert control.noise == 0


@pytest.mark.parametrize("changes_at", [7, 250, 499])
@pytest.mark.parametrize("mode", ["biased", "raw"])
def test_a_model_that_changes_is_noticed_within_a_hundred_calls(mode, changes_at):
    api = SimulatedApi(some_logits(500), mode=mode, later=some_logits(500, 1), changes_at=changes_at)
    with pytest.raises(ApiError, match="the model behind the API has changed") as error:
        controlled(api)
    assert api.calls <= changes_at + 102
    assert "\n" not in str(error.value)


def test_a_small_change_of_one_likely_token_is_noticed():
    later = some_logits(500)
    later[later.argmax()] += 0.05
    api = SimulatedApi(some_logits(500), later=later, changes_at=250)
    with pytest.raises(ApiError, match="changed"):
        controlled(api)


def test_a_change_shows_where_no_probabilities_do():
    later = some_logits(60)
    later[np.argsort(-later)[:2]] += 1.0  # the likeliest stays so, and lies higher
    api = SimulatedApi(some_logits(60), mode="nothing", later=later, changes_at=300)
    with pytest.raises(ApiError, match="takes another token"):
        controlled(api)
    assert api.calls < 450


def test_answers_that_tremble_make_wider_bars():
    class Trembling(SimulatedApi):
        def show(self, value):
            return float(value) + float(self.random.uniform(-0.002, 0.002))

    api = Trembling(some_logits(500))
    control, traits, found = controlled(api)
    assert 0.001 < control.noise <= 0.004
    assert traits.resolution.noise == control.noise
    assert np.all(np.abs(found.log_p - api.log_p) <= found.error)


def test_a_rounding_that_flips_is_no_noise():
    class Flipping(SimulatedApi):
        def show(self, value):
            return super().show(np.float64(value) + self.random.uniform(-1e-6, 1e-6))

    logits = np.concatenate([[0.0, -0.5625 + 0.0], -np.linspace(3, 12, 400)])
    control, _, _ = controlled(Flipping(logits, top=5, step=0.125))
    assert control.noise == 0


def test_distance_of_lists():
    assert distance({1: -0.5}, {}) == float("inf")
    assert distance({1: -0.5, 2: -2.0}, {1: -0.5, 2: -2.0}) == 0


def test_controls_are_asked_anew():
    asked: list[BiasQuestion] = []

    def ask(questions):
        asked.extend(questions)
        return [BiasReply(0, -0.1, ((0, -0.1), (1, -2.4))) for _ in questions]

    control = Controlled(ask)
    control([BiasQuestion()])
    control.finish()
    control.finish()
    assert [question.again for question in asked] == [0, 1, 2]
