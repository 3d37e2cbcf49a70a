"""What a study would take: a dry run is cheap, and its numbers are those of a whole step."""

import doctest

import numpy as np
import pytest
from studies import plan_of

from heed.lab import estimate
from heed.lab.prepare import Text

TEXT = Text(30, None, None)


def test_examples():
    assert doctest.testmod(estimate).failed == 0


def timed(monkeypatch, config, *, fixed, a_row):
    """Return the estimate for a machine with these costs, and the rows of every step that was made for it."""
    clock, sizes = [0.0], []

    def update(self, number, batches):
        rows = sum(len(batch.source) for batch in batches)
        sizes.append(rows)
        clock[0] += fixed + a_row * rows

    monkeypatch.setattr(estimate.Updater, "update", update)
    monkeypatch.setattr(estimate.time, "perf_counter", lambda: clock[0])
    return estimate.step_seconds(config, TEXT), sizes


@pytest.mark.parametrize(("batch", "accumulation"), [(16, 1), (4, 4), (1, 16)])
def test_a_long_step_is_worked_out_from_few_rows(tmp_path, monkeypatch, batch, accumulation):
    plan = plan_of(tmp_path, set={"train.batch_size": batch, "train.accumulation": accumulation})
    seconds, sizes = timed(monkeypatch, plan.config("pre", 5), fixed=0.1, a_row=0.5)
    assert seconds == pytest.approx(0.1 + 16 * 0.5)
    assert sum(sizes) <= 8  # and not 32, as two whole steps have


def test_a_step_that_would_not_fit_is_told_without_being_tried(tmp_path, monkeypatch):
    plan = plan_of(tmp_path, set={"train.batch_size": 16})
    monkeypatch.setattr(estimate, "peak_bytes", lambda step, device: step() or 1 << 30)
    monkeypatch.setattr(estimate, "available_memory", lambda device: 1 << 29)
    seconds, sizes = timed(monkeypatch, plan.config("pre", 5), fixed=0.1, a_row=0.5)
    assert seconds is None
    assert max(sizes) < 16


def test_a_step_that_is_too_long_even_for_one_row(tmp_path, monkeypatch):
    plan = plan_of(tmp_path, set={"train.batch_size": 16})
    seconds, sizes = timed(monkeypatch, plan.config("pre", 5), fixed=0.0, a_row=50.0)
    assert (seconds, sizes) == (pytest.approx(800.0), [1, 1, 3])


def test_a_short_step_is_timed_whole(tmp_path, monkeypatch):
    seconds, sizes = timed(monkeypatch, plan_of(tmp_path).config("pre", 5), fixed=0.001, a_row=0.001)
    assert seconds == pytest.approx(0.005)
    assert sizes == [1, 1, 4, 4, 4, 4, 4]


def test_a_row_of_an_encoder_hides_something(tmp_path):
    config = plan_of(tmp_path, base={"model": {"kind": "encoder", "context": 2}}).config("pre", 5)
    mask = estimate._random_batch(config, TEXT, 1).mask
    assert mask is not None
    assert np.asarray(mask).any()


def test_a_step_that_fails_is_told(tmp_path, monkeypatch):
    def fails(self, number, batches):
        raise MemoryError

    monkeypatch.setattr(estimate.Updater, "update", fails)
    assert estimate.step_seconds(plan_of(tmp_path).config("pre", 5), TEXT) is None
