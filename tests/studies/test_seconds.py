"""A training that ends by the clock: in time, with a last evaluation, and with its schedule run down."""

import pytest
from small_studies import make_text

from heed import experiment
from heed.config import TrainConfig, make_config
from heed.errors import ConfigError
from heed.training.schedules import learning_rate_share


def test_the_schedule_goes_by_the_share_of_the_time():
    plan = TrainConfig(steps=1000, seconds=10, schedule="linear", warmup_steps=10, final_fraction=0.1)
    assert [round(learning_rate_share(500, plan, used), 3) for used in (0.0, 0.5, 1.0, 1.2)] == [1.0, 0.55, 0.1, 0.1]
    assert learning_rate_share(5, plan, 0.5) == pytest.approx(0.55 / 2)  # the warm-up goes by steps, and multiplies
    stable = TrainConfig(seconds=10, schedule="wsd", decay_fraction=0.2, final_fraction=0.0, warmup_steps=0)
    assert [round(learning_rate_share(5, stable, used), 3) for used in (0.7, 0.8, 0.9, 1.0)] == [1.0, 1.0, 0.5, 0.0]


def test_a_run_ends_when_its_seconds_are_used(tmp_path):
    values = {
        "data": {"source": str(make_text(tmp_path / "t.txt")), "workers": 1},
        "tokenizer": {"kind": "char"},
        "model": {"n_layers": 1, "n_heads": 2, "d_model": 16, "context": 16},
        "train": {"batch_size": 4, "steps": 10**9, "seconds": 0.5, "final_fraction": 0.0, "eval_every": 10**6},
        "run": {"folder": str(tmp_path), "name": "timed", "device": "cpu", "threads": 1},
    }
    outcome = experiment.train(make_config(values))
    assert outcome.fit.reason == "finished"
    assert outcome.fit.seconds >= 0.5
    assert outcome.fit.best_step == outcome.fit.step  # it was evaluated at its end
    events = experiment.Run.open(tmp_path / "timed").read_metrics()
    last = [event for event in events if event.KIND == "train"][-1]
    assert last.step == outcome.fit.step
    assert 0 < last.finite("learning_rate") < 1e-4  # of a peak of 1e-3: run down, and made


def test_averaging_over_a_share_of_the_steps_needs_steps():
    with pytest.raises(ConfigError, match=r"train\.average_fraction: is a share of the steps"):
        make_config({"train": {"seconds": 3, "average_fraction": 0.5}})
