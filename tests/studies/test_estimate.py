"""What a study would take: a dry run is cheap, and its numbers are those of a whole step."""

import doctest

import numpy as np
import pytest
from small_studies import TINY, make_text, plan_of

from heed.studies import estimate, overhead
from heed.studies.compare import shares_of
from heed.studies.overhead import wall_seconds
from heed.studies.prepare import Text, all_facts, prepare_texts
from heed.studies.study import Study
from heed.studies.worker import run_cell

TEXT = Text(30, None, None)


def test_examples():
    assert doctest.testmod(estimate).failed == 0
    assert doctest.testmod(overhead).failed == 0


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


def test_a_step_that_is_too_long_even_for_one_row(tmp_path, monkeypatch):
    plan = plan_of(tmp_path, set={"train.batch_size": 16})
    seconds, sizes = timed(monkeypatch, plan.config("pre", 5), fixed=0.0, a_row=50.0)
    assert (seconds, sizes) == (pytest.approx(800.0), [1, 1, 3])


def test_a_short_step_is_timed_whole(tmp_path, monkeypatch):
    seconds, sizes = timed(monkeypatch, plan_of(tmp_path).config("pre", 5), fixed=0.001, a_row=0.001)
    assert seconds == pytest.approx(0.005)
    assert sizes == [1, 4, 4, 4, 4, 4]


def test_after_some_time_only_kinds_of_models_are_timed_that_were_not(tmp_path, monkeypatch):
    asked = []

    def step_seconds(config, text, *, glance=False, width=None):
        asked.append((config.model.kind, config.model.n_layers, glance))
        return 2.0

    monkeypatch.setattr(estimate, "step_seconds", step_seconds)
    monkeypatch.setattr(estimate, "PATIENCE", 0.0)
    monkeypatch.setattr(estimate, "start_seconds", lambda threads: 5.0)
    variants = {"gpt": {}, "deep": {"model.n_layers": 4}, "lstm": {"model.kind": "lstm"}}
    base = {k: v for k, v in TINY.items() if k != "model"} | {"model": {"n_layers": 1, "d_model": 16, "context": 16}}
    plan = plan_of(tmp_path, variants=variants, base=base | {"data": {"source": str(make_text(tmp_path / "a.txt"))}})
    found = {one.variant: one for one in estimate.estimate(plan, lambda line: None)}
    assert asked == [("gpt", 1, False), ("gpt", 4, True), ("lstm", 1, False)]
    assert [one.timed for one in found.values()] == [True, False, True]
    assert found["deep"].seconds == pytest.approx(12.0 * found["deep"].flops / found["gpt"].flops)


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


@pytest.mark.parametrize(("asked", "expected"), [(None, 4), ("1", 1)])
def test_steps_are_timed_on_the_threads_that_a_run_would_have(tmp_path, monkeypatch, asked, expected):
    """Two at a time on eight cores have four each, or what OMP_NUM_THREADS asks for; run.threads comes first."""
    taken = []
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if asked is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", asked)
    monkeypatch.setattr("heed.training.devices.cores", lambda: 8)
    monkeypatch.setattr(estimate, "take_threads", taken.append)
    monkeypatch.setattr(estimate, "start_seconds", lambda threads: 5.0)
    monkeypatch.setattr(estimate, "step_seconds", lambda *arguments, **options: 0.1)
    base = {**TINY, "data": {"source": str(make_text(tmp_path / "animals.txt")), "workers": 1}, "run": {}}
    plan = plan_of(tmp_path, base=base, variants={"pre": {}, "one": {"run.threads": 3}})
    estimate.estimate(plan, lambda line: None, shares_of(plan, 2).threads)
    assert taken == [expected, 3]


def test_padding_is_no_token_and_the_tokens_are_those_of_the_record(tmp_path, monkeypatch):
    monkeypatch.setattr(estimate, "start_seconds", lambda threads: 5.0)
    source = tmp_path / "texts"
    source.mkdir()
    for place in range(60):  # from 3 to 62 characters, of which a row has room for 16
        (source / f"{place:02d}.txt").write_text(("abcdefgh " * 7)[: 3 + place % 12])
    base = {**TINY, "data": {"source": str(source), "layout": "padded", "workers": 1}}
    plan = plan_of(tmp_path, base=base, variants={"pre": {}}, seeds=[1], budget={"steps": 30})
    (found,) = estimate.estimate(plan, lambda line: None)
    assert found.places == pytest.approx(30 * 4 * 16, rel=0.1)
    texts = prepare_texts(plan, tmp_path / "study", lambda line: None)
    study = Study(plan, tmp_path / "study", texts, all_facts(plan, texts), 1, "", {})
    made = run_cell(study.task("pre", 1).values)
    assert made.state == "finished"
    assert found.tokens == pytest.approx(made.tokens, rel=0.1)
    assert made.tokens < 0.7 * found.places
    assert found.besides > 5.0  # evaluations and texts beside the start of a process


def test_runs_side_by_side_end_with_the_last():
    assert wall_seconds([10.0, 1.0], 2, 1) == 22.0
    assert wall_seconds([10.0, 10.0, 10.0], 1, 2) == 20.0


@pytest.mark.slow
def test_a_run_takes_its_process_too():
    assert overhead.start_seconds(1) > 1.0
