"""Learning-rate schedules, computed by hand."""

import hashlib
import math
import struct

import pytest

from heed.config import TrainConfig
from heed.training.schedules import SCHEDULES, learning_rate_share

FORMER = {
    "constant": "b0f276a45959d917",
    "cosine": "e92dd6e3e3ce60dc",
    "linear": "e9b34c1775b12dae",
    "wsd": "eabee4eb948000c7",
}
"""Of each schedule, the hash of many shares as they were before an end at 0 was put off by a step."""


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


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("warmup", [0, 1, 4])
@pytest.mark.parametrize("steps", [4, 5, 10, 160, 1000])
def test_no_update_is_made_at_a_rate_of_0(name, steps, warmup):
    """One that ends at 0 is there after its last update, whatever the schedule, the warm-up and the steps."""
    given = {"schedule": name, "steps": steps, "warmup_steps": warmup, "final_fraction": 0.0, "decay_fraction": 1.0}
    values = shares(range(1, steps + 1), **given)
    assert min(values) > 0
    assert values[-1] == min(values[warmup:], default=1.0)
    after = shares([steps + 1], **given)
    assert after == [1.0] if name == "constant" else after == [pytest.approx(0.0, abs=1e-15)]


def test_the_end_at_0_by_hand():
    zero = {"steps": 4, "warmup_steps": 0, "final_fraction": 0.0}
    assert shares([1, 2, 3, 4], schedule="linear", **zero) == pytest.approx([0.8, 0.6, 0.4, 0.2])
    # 1/5 ... 4/5 of half a cosine: (1 + cos 36 k degrees) / 2
    assert shares([1, 2, 3, 4], schedule="cosine", **zero) == pytest.approx(
        [0.9045085, 0.6545085, 0.3454915, 0.0954915]
    )
    # of ten steps the last two fall: from 1 at step 8 to 0 at step 11
    assert shares([8, 9, 10], schedule="wsd", final_fraction=0.0) == pytest.approx([1, 2 / 3, 1 / 3])
    assert shares([4, 5, 10], schedule="linear", final_fraction=0.0) == pytest.approx([1, 6 / 7, 1 / 7])


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_single_step_learns(name):
    assert shares([1], schedule=name, steps=1, warmup_steps=0, final_fraction=0.0)[0] >= 0.5


@pytest.mark.parametrize(("name", "digest"), FORMER.items())
def test_schedules_that_do_not_end_at_0_have_the_bits_that_they_had(name, digest):
    values = [
        share
        for steps, warmup, final in [(10, 0, 0.1), (10, 4, 0.1), (1, 0, 0.1), (1000, 100, 0.1), (997, 13, 1e-9)]
        for share in shares(range(1, steps + 1), schedule=name, steps=steps, warmup_steps=warmup, final_fraction=final)
    ]
    assert hashlib.sha256(struct.pack(f"<{len(values)}d", *values)).hexdigest()[:16] == digest


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
