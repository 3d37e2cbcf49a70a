"""Learning-rate schedules, computed by hand."""

import math

import pytest

from heed.config import TrainConfig
from heed.training.schedules import SCHEDULES, learning_rate_share


def shares(at, /, **settings):
    plan = TrainConfig(**({"steps": 10, "warmup_steps": 4, "final_fraction": 0.1} | settings))
    return [learning_rate_share(step, plan) for step in at]


def test_every_setting_has_its_schedule():
    assert set(SCHEDULES) == set(TrainConfig.model_fields["schedule"].annotation.__args__)


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_warm_up_is_linear_and_reaches_the_peak_at_its_last_step(name):
    assert shares([1, 2, 3, 4], schedule=name) == [0.25, 0.5, 0.75, 1.0]


@pytest.mark.parametrize("name", ["cosine", "linear", "wsd"])
def test_the_last_step_has_the_final_fraction(name):
    assert shares([10], schedule=name) == [pytest.approx(0.1, abs=1e-15)]
    assert shares([10], schedule=name, final_fraction=0.0) == [pytest.approx(0.0, abs=1e-15)]


def test_constant():
    assert shares([5, 10], schedule="constant") == [1, 1]


def test_linear():
    assert shares([5, 7, 9], schedule="linear") == pytest.approx([1 - 0.9 / 6, 0.55, 1 - 0.9 * 5 / 6])


def test_cosine():
    # half-way (7): 0.1 + 0.9 * 1/2; a third of the way (6): cos 60 degrees = 1/2, so 0.1 + 0.9 * 3/4
    assert shares([6, 7, 8], schedule="cosine") == pytest.approx([0.775, 0.55, 0.1 + 0.9 * 0.25])


def test_wsd_is_stable_until_its_decay():
    # the last 20 % of 20 steps: 16 is the last stable one, then down by 0.9 / 4 a step
    assert shares([16, 17, 18, 20], schedule="wsd", steps=20, decay_fraction=0.2) == pytest.approx(
        [1, 0.775, 0.55, 0.1]
    )
    # a decay that would begin inside the warm-up begins at its end
    assert shares([4, 7, 10], schedule="wsd", decay_fraction=1.0) == pytest.approx([1, 0.55, 0.1])


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize(("steps", "warmup"), [(1, 0), (1, 1), (5, 5), (7, 0)])
def test_short_runs_are_defined(name, steps, warmup):
    values = shares(range(1, steps + 1), schedule=name, steps=steps, warmup_steps=warmup)
    assert all(0 < value <= 1 and math.isfinite(value) for value in values)
