"""Finished runs are measured at further contexts, each length once, and what cannot be read says why."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from small_studies import plan_of, variant_of, write_study

from heed import objectives
from heed.errors import ConfigError
from heed.report.study_record import read_study
from heed.studies.compare import run_study
from heed.studies.estimate import estimate
from heed.studies.lengths import measure_lengths, missing_lengths, reason_of, why_it_ends
from heed.studies.prepare import prepare_texts
from heed.studies.worker import run_cell
from heed.training.run import Run, load_run

VARIANTS = {"learned": {}, "rotary": {"model.positions": "rotary"}}
"""The tiny base is trained on 16 tokens."""


def run(folder, lengths, **keys):
    """Run the study in this process, and return the names of the runs that were trained."""
    trained = []

    def cell(task):
        trained.append(variant_of(task))
        return run_cell(task.values)

    plan = plan_of(folder, lengths=lengths, variants=VARIANTS, seeds=1, **keys)
    assert run_study(plan, folder / "out", run_cell=cell)
    return trained


def lengths_of(folder, variant):
    return json.loads((folder / "out" / "runs" / variant / "seed-1" / "lengths.json").read_text())


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lengths")
    assert run(folder, [40, 8]) == ["learned", "rotary"]
    return folder


def test_each_length_has_its_figure_and_passport_or_the_reason_why_there_is_none(done):
    rotary, learned = lengths_of(done, "rotary"), lengths_of(done, "learned")
    assert list(rotary) == list(learned) == ["8", "40"]  # in order, whatever the file says
    passport = rotary["40"]["passport"]
    assert (passport["context"], passport["stride"], passport["split"], passport["partial"]) == (
        40, 40, "validation", False,
    )  # fmt: skip
    assert rotary["8"]["passport"]["tokens"] == passport["tokens"]  # the same text, all of it
    assert set(learned["40"]) == {"reason"}
    assert learned["40"]["reason"].startswith("model.positions learned ends at the 16 tokens of training")
    assert json.loads((done / "out" / "study.json").read_text())["lengths"] == [8, 40]


def test_the_figure_is_that_of_the_best_checkpoint_at_that_context(done):
    folder = done / "out" / "runs" / "rotary" / "seed-1"
    model, tokenizer, config = load_run(folder)
    tokens = objectives.open_text(config, tokenizer)["validation"]
    again = objectives.measure(model, tokenizer, tokens, config, context=40)
    assert again.loss == lengths_of(done, "rotary")["40"]["loss"]
    assert again.passport.context == 40


def test_lengths_may_be_added_and_only_they_are_measured(done, monkeypatch):
    kept = {name: (done / "out" / "runs" / name / "seed-1" / "evaluation.json").stat().st_mtime_ns for name in VARIANTS}
    measured = []
    whole = objectives.measure
    monkeypatch.setattr(objectives, "measure", lambda *a, **k: measured.append(k["context"]) or whole(*a, **k))
    assert run(done, [8, 24, 40]) == []  # nothing was trained
    assert measured == [24, 24]
    assert list(lengths_of(done, "rotary")) == ["8", "24", "40"]
    assert run(done, [8, 24, 40]) == []
    assert len(measured) == 2
    assert kept == {
        name: (done / "out" / "runs" / name / "seed-1" / "evaluation.json").stat().st_mtime_ns for name in VARIANTS
    }
    assert {cell.state for cell in read_study(done / "out").cells} == {"finished"}


def test_a_torn_file_and_a_failure_are_measured_again_and_a_reason_is_not(tmp_path):
    folder = tmp_path
    assert missing_lengths(folder, [8, 16]) == [8, 16]
    (folder / "lengths.json").write_text('{"8": {"los')
    assert missing_lengths(folder, [8]) == [8]
    kept = {"8": {"loss": 2.0}, "16": {"reason": "failed: ValueError: x"}, "32": {"reason": "does not fit: x"}}
    (folder / "lengths.json").write_text(json.dumps(kept))
    assert missing_lengths(folder, [8, 16, 32, 64]) == [16, 64]


def test_what_goes_wrong_at_a_length_is_its_reason_and_the_next_is_tried(done, monkeypatch):
    folder = done / "out" / "runs" / "rotary" / "seed-1"
    before = (folder / "lengths.json").read_text()
    whole = objectives.measure

    def measure(*args, context, **kwargs):
        if context == 11:
            raise MemoryError("no room")
        if context == 12:
            raise ValueError("odd\nmore")
        found = whole(*args, context=context, **kwargs)
        return replace(found, values={**found.values, "loss": math.nan}) if context == 13 else found

    monkeypatch.setattr(objectives, "measure", measure)
    log = []
    measure_lengths(folder, [11, 12, 13, 14], log.append)
    found = lengths_of(done, "rotary")
    assert found["11"] == {"reason": "does not fit: no room"}
    assert found["12"] == {"reason": "failed: ValueError: odd"}
    assert found["13"] == {"reason": "the loss is not finite"}
    assert found["14"]["loss"] > 0
    assert any("Traceback" in line for line in log)
    assert missing_lengths(folder, [11, 12, 13, 14]) == [12]
    (folder / "lengths.json").write_text(before)


def test_a_text_without_validation_says_so(tmp_path):
    plan = plan_of(tmp_path, lengths=[8], variants={"a": {}}, seeds=1, set={"data.validation_fraction": 0.0})
    assert run_study(plan, tmp_path / "out", run_cell=lambda task: run_cell(task.values))
    assert lengths_of(tmp_path, "a") == {"8": {"reason": "there is no validation split"}}


def test_a_run_that_trains_on_has_no_lengths_any_more(done, tmp_path):
    run_folder = Run.open(done / "out" / "runs" / "learned" / "seed-1")
    path = run_folder.folder / "lengths.json"
    before = path.read_text()
    run_folder.log_resume(6)
    assert not path.exists()
    path.write_text(before)


def test_what_could_not_be_read_is_known_before_anything_runs(tmp_path, monkeypatch):
    monkeypatch.setattr("heed.studies.estimate.start_seconds", lambda threads: 5.0)
    plan = plan_of(tmp_path, lengths=[8, 40], variants=VARIANTS)
    text = prepare_texts(plan, None, lambda line: None)["learned"]
    assert "learned ends at the 16 tokens" in why_it_ends(plan.config("learned"), text.vocabulary, None, 40)
    assert why_it_ends(plan.config("learned"), text.vocabulary, None, 16) == ""
    found = {one.variant: one.ends for one in estimate(plan, lambda line: None)}
    assert "learned ends" in found["learned"]
    assert found["rotary"] == ""
    assert [one.ends for one in estimate(plan_of(tmp_path, variants=VARIANTS), lambda line: None)] == ["", ""]


def test_reasons_are_one_line():
    assert reason_of(ConfigError("a", "b")) == "a; b"
    assert reason_of(RuntimeError("x\ny")) == "failed: RuntimeError: x"


@pytest.mark.slow
@pytest.mark.timeout(600)  # four processes that import torch
def test_a_study_that_is_killed_while_it_measures_goes_on_with_what_is_missing(tmp_path):
    """The record is kept before the lengths are measured, so nothing is trained again."""
    lengths = list(range(17, 67))
    file = write_study(tmp_path, lengths=lengths, variants={"rotary": {"model.positions": "rotary"}}, seeds=1)
    argv = [sys.executable, "-m", "heed", "compare", str(file), "--out", str(tmp_path / "out")]
    start = lambda: subprocess.Popen(
        argv, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    study, folder = start(), tmp_path / "out" / "runs" / "rotary" / "seed-1"
    while study.poll() is None and not (folder / "lengths.json").exists():
        time.sleep(0.01)
    study.send_signal(signal.SIGKILL)
    study.wait()
    first = json.loads((folder / "lengths.json").read_text())
    assert 0 < len(first) < len(lengths)
    record = (tmp_path / "out" / "records" / "rotary" / "seed-1.json").read_bytes()
    assert start().wait() == 0
    found = json.loads((folder / "lengths.json").read_text())
    assert list(map(int, found)) == lengths
    assert {key: found[key] for key in first} == first
    assert (tmp_path / "out" / "records" / "rotary" / "seed-1.json").read_bytes() == record
    assert '"resume"' not in (folder / "metrics.jsonl").read_text()
