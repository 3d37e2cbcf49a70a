import json
from typing import Any

import pytest
from fake_runs import figures, metrics, samples, write_run, write_state

from heed.errors import CheckpointError, ConfigError
from heed.records.events import hold, read_event
from heed.report.record import gather
from heed.report.samples import describe, read_sample, texts_to_show


def train(step, loss=1.0):
    return {"event": "train", "step": step, "loss": loss}


def test_a_whole_run_is_read(tmp_path):
    record = gather(write_run(tmp_path / "run"))
    assert record.name == "run"
    assert len(record.train) == 200
    assert len(record.evaluations) == 8
    assert (record.steps, record.planned_steps, record.state) == (1000, 1000, "finished")
    assert set(record.evaluation) == {"validation", "test"}
    assert record.environment.machine.cores == 2
    assert record.notes == ()


def test_an_edited_setting_is_told_by_the_checkpoints_alone(tmp_path):
    """Without hashes.json: what a figure depends on is refused, how the training goes on is noted."""
    run = write_run(tmp_path / "run")
    (run / "hashes.json").unlink()
    write_state(run, train={"clip": 0.5})
    assert gather(run).notes == ("config.yaml: train.clip is 1.0, and the run was trained with 0.5.",)
    with (run / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"event": "resume", "step": 1000, "changed": {"train.clip": [0.5, 1.0]}}) + "\n")
    assert gather(run).notes == ()  # it was resumed so, and has no checkpoint since
    write_state(run, 1010, model={"norm_epsilon": 1e-3})
    with pytest.raises(CheckpointError, match=r"config\.yaml: model\.norm_epsilon is 1e-05, and .* with 0\.001"):
        gather(run)


def test_resume_voids_what_was_done_again():
    lines = [train(1), train(2), train(3, 9.0), {"event": "resume", "step": 2}, train(3, 3.0), train(4)]
    events, resumed = hold(event for line in lines if (event := read_event(line)) is not None)
    assert [(event.step, event.plain()["loss"]) for event in events] == [(1, 1.0), (2, 1.0), (3, 3.0), (4, 1.0)]
    assert resumed == [2]


def test_resume_voids_an_earlier_end_and_later_resumptions():
    lines = [
        train(1), train(2), {"event": "resume", "step": 2}, train(3), {"event": "end", "reason": "interrupted"},
        {"event": "resume", "step": 1}, train(2),
    ]  # fmt: skip
    events, resumed = hold(event for line in lines if (event := read_event(line)) is not None)
    assert [event.step for event in events] == [1, 2]
    assert resumed == [1]


def test_a_killed_run_loses_its_cut_line_alone(tmp_path):
    folder = write_run(tmp_path / "run", end=None)
    path = folder / "metrics.jsonl"
    path.write_text(path.read_text()[:-25], encoding="utf-8")
    record = gather(folder)
    assert len(record.train) + len(record.evaluations) == 208  # all: the line cut off was that of a checkpoint
    assert record.state == "unfinished"
    assert record.notes == ("The last line of metrics.jsonl is cut off: the run was killed while it wrote.",)


def test_a_broken_line_in_the_middle_is_named(tmp_path):
    folder = write_run(tmp_path / "run")
    lines = (folder / "metrics.jsonl").read_text().split("\n")
    lines[3] = "{broken"
    (folder / "metrics.jsonl").write_text("\n".join(lines))
    assert gather(folder).notes == ("Line 4 of metrics.jsonl is no JSON object and was left out.",)


def test_line_separators_inside_a_text_do_not_cut_it(tmp_path):
    folder = write_run(tmp_path / "run")
    line = json.dumps({**samples(), "text": "a\u2028b"}, ensure_ascii=False)
    (folder / "samples.jsonl").write_text(line + "\n", encoding="utf-8")
    assert gather(folder).samples[0]["text"] == "a\u2028b"


def test_missing_files_are_named(tmp_path):
    folder = write_run(tmp_path / "run")
    for name in ("environment.json", "evaluation.json", "samples.jsonl", "metrics.jsonl"):
        (folder / name).unlink()
    record = gather(folder)
    assert record.steps == 0
    assert [note.split()[0] for note in record.notes] == ["environment.json", "evaluation.json", "metrics.jsonl"]


def test_what_is_no_run_folder_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="is no run folder"):
        gather(tmp_path)
    (tmp_path / "config.yaml").write_text("a: [", encoding="utf-8")
    with pytest.raises(ConfigError, match="not valid YAML"):
        gather(tmp_path)


@pytest.mark.parametrize(
    ("reason", "state"),
    [
        ("finished", "finished"), ("patience", "early"), ("loss is NaN at step 7", "nan"),
        ("loss is not finite", "nan"), ("interrupted", "interrupted"),
    ],
)  # fmt: skip
def test_the_state_follows_the_reason(tmp_path, reason, state):
    assert gather(write_run(tmp_path / "run", end=reason)).state == state


@pytest.mark.parametrize("place", ["evaluation", "split", "metrics"])
def test_a_leak_is_found_wherever_it_is_flagged(tmp_path, place):
    evaluation: dict[str, Any] = {"validation": figures(2.0)}
    events = metrics(steps=8)
    if place == "evaluation":
        evaluation["LEAKS"] = "position 3 sees position 5"
    elif place == "split":
        evaluation["validation"]["leaks"] = "position 3 sees position 5"
    else:
        events.append({"event": "evaluation", "step": 8, "loss": 1.0, "LEAKS": "position 3 sees position 5"})
    assert (
        gather(write_run(tmp_path / "run", events=events, evaluation=evaluation)).leaks == "position 3 sees position 5"
    )


def test_an_event_without_a_leak_is_none(tmp_path):
    evaluation = {"validation": {**figures(2.0), "leaks": False}}
    assert gather(write_run(tmp_path / "run", evaluation=evaluation)).leaks is None


def test_prompt_tokens_are_told_from_drawn_ones():
    tokens = [{"text": "de", "logprob": -1.0, "rank": 2}, {"text": "f", "logprob": -9.0, "rank": 90}]
    drawn = {"text": " x", "logprob": -0.1, "rank": 1}
    line = {"step": 5, "prompt": "def", "prompt_tokens": 2, "text": "def x", "sampling": {"temperature": 1.0}}
    with_prompt = read_sample({**line, "tokens": [*tokens, drawn]})
    without = read_sample({**line, "tokens": [drawn]})
    assert with_prompt == without
    assert [token.text for token in without.tokens] == [" x"]
    assert without.text == " x"
    assert without.tokens[0].title == "“ x” · probability 90 % · rank 1"


def test_surprises_come_first_by_probability():
    line = {"tokens": [{"text": str(n), "logprob": -n, "rank": n} for n in (1, 3, 2)], "prompt": "", "prompt_tokens": 0}
    assert [token.text for token in read_sample(line, most_surprises=2).surprises] == ["3", "2"]


def test_texts_of_the_finished_model_come_first_and_drafts_by_step():
    drafts = [samples(step) for step in range(100, 2100, 100)]
    first, earlier = texts_to_show([samples(500), samples(500)], drafts)
    assert [text.step for text in first] == [500, 500]
    assert len(earlier) == 8
    assert (earlier[0].step, earlier[-1].step) == (100, 2000)


def test_the_latest_drafts_stand_in_for_a_finished_model():
    first, earlier = texts_to_show([], [samples(100), samples(200), samples(200)])
    assert [text.step for text in first] == [200, 200]
    assert [text.step for text in earlier] == [100]
    assert texts_to_show([], []) == ([], [])


def test_drafts_are_read_from_the_metrics(tmp_path):
    record = gather(write_run(tmp_path / "run", events=metrics(steps=80)))
    assert [draft["step"] for draft in record.drafts] == [10, 20, 30, 40, 50, 60, 70, 80]
    lines = [{"event": "sample", "step": 3, "texts": ["plain text"]}]
    assert gather(write_run(tmp_path / "plain", events=lines)).drafts == ({"text": "plain text", "step": 3},)


def test_a_damaged_sample_is_still_shown():
    assert read_sample({"text": "only text", "tokens": None}).text == "only text"
    assert describe("greedy") == ""


def test_what_came_last_may_be_an_evaluation(tmp_path):
    """Where patience ends a run, its last step is no multiple of those that are logged."""
    events = [
        {"event": "train", "step": 10, "loss": 3.0, "tokens": 1280, "seconds": 0.05, "epoch": 0.02},
        {"event": "evaluation", "step": 10, "loss": 3.0, "tokens": 1280, "seconds": 0.05},
        {"event": "evaluation", "step": 15, "loss": 2.9, "tokens": 1920, "seconds": 0.075},
    ]
    last = gather(write_run(tmp_path / "run", events=events)).last
    assert (last.step, last.tokens, last.seconds) == (15, 1920, 0.075)
    assert last.epoch == pytest.approx(0.03)
