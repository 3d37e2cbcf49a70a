"""What a run folder holds goes through its classes and comes out as it was: names, order, numbers to the last digit."""

import json
import math
from pathlib import Path

import pytest

from heed.records.answers import AnswerLine
from heed.records.events import EndEvent, EvaluationEvent, ResumeEvent, TrainEvent, hold, read_event
from heed.records.figures import KeptFigures
from heed.records.run import EnvironmentFile, EvaluationFile, LengthsFile

OLD = Path(__file__).parents[1] / "golden" / "old-run"


def lines_of(name):
    return (OLD / name).read_text(encoding="utf-8").splitlines()


def test_events_of_an_old_run_are_written_as_they_were_read():
    lines = lines_of("metrics.jsonl")
    events = [read_event(json.loads(line)) for line in lines]
    assert {event.KIND for event in events} == {"train", "evaluation", "sample", "checkpoint", "end"}
    assert [json.dumps(event.plain(), ensure_ascii=False) for event in events] == lines


@pytest.mark.parametrize(("name", "kind"), [("environment.json", EnvironmentFile), ("evaluation.json", EvaluationFile)])
def test_files_of_an_old_run_are_written_as_they_were_read(name, kind):
    content = json.loads((OLD / name).read_text(encoding="utf-8"))
    assert json.dumps(kind.model_validate(content).plain()) == json.dumps(content)


def test_unknown_names_stay_where_they_stood():
    given = {"zeta": 1, "loss": 2, "alpha": {"b": 1}, "train": {"own": 3, "loss": 1.5}}
    event = read_event({"event": "evaluation", "step": 4, **given})
    assert json.dumps(event.plain()) == json.dumps({"event": "evaluation", "step": 4, **given})
    assert (event.train.loss, event.finite("zeta"), event.finite("alpha"), event.finite("nothing")) == (
        1.5,
        1,
        None,
        None,
    )


def test_what_is_no_number_is_none_and_nan_is_no_finite_one():
    found = KeptFigures.model_validate({"loss": math.nan, "accuracy": "0.5", "majority": True, "passport": [1]})
    assert math.isnan(found.loss)
    assert (found.finite("loss"), found.accuracy, found.majority, found.passport) == (None, None, None, None)


@pytest.mark.parametrize(
    "line",
    [5, [], {}, {"event": "train"}, {"event": "train", "step": "1"}, {"event": "train", "step": True},
     {"event": "dance", "step": 1}, {"event": ["train"], "step": 1}],
)  # fmt: skip
def test_what_is_no_event_is_none(line):
    assert read_event(line) is None


def test_a_damaged_value_costs_that_value_alone():
    event = read_event({"event": "evaluation", "step": 2.0, "loss": 1.0, "train": 7, "accuracy_interval": "wide"})
    assert (event.step, event.loss, event.train, event.accuracy_interval) == (2, 1.0, None, None)


def test_a_resumption_voids_an_end_whatever_its_step():
    events = [TrainEvent(step=1), EvaluationEvent(step=2), EndEvent(step=1, reason="interrupted"), ResumeEvent(step=1)]
    found, resumed = hold([*events, TrainEvent(step=2)])
    assert ([(one.KIND, one.step) for one in found], resumed) == ([("train", 1), ("train", 2)], [1])


def test_splits_and_lengths_pass_over_what_is_something_else():
    assert list(EvaluationFile.model_validate({"LEAKS": "yes", "test": {"loss": 1.0}}).splits) == ["test"]
    found = LengthsFile.model_validate({"64": {"loss": 1.0}, "x": {"loss": 2.0}, "128": 3, "256": {"reason": "ends"}})
    assert {length: one.reason for length, one in found.lengths.items()} == {64: None, 256: "ends"}


def test_an_answer_is_read_as_it_was_written():
    line = {
        "prompt": "q", "gold": "a", "answer": "b", "probability": 1.0000001, "finished": True, "correct": False,
        "seen": None, "passage": {"text": "t", "line": 3, "holds_answer": True}, "runners_up": [["c", 0.25]],
    }  # fmt: skip
    found = AnswerLine.model_validate_json(json.dumps(line))
    assert json.loads(json.dumps(found.plain())) == line
    assert found.holds_answer
