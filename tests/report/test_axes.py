"""Every axis of every page: a line ends, in the unit that its axis names, where the record ends.

Each is read three times: from the figure's data, from the drawing, and from the table under it.
"""

import json
import re

import pytest
from drawn import read_figure
from fake_knowledge import write_experiment
from fake_runs import metrics, write_run
from fake_studies import study, write_study_folder

from heed.report.figures import loss_figure, perplexity_figure, run_figures, speed_figure
from heed.report.knowledge_figures import stage_figures
from heed.report.knowledge_record import read_knowledge
from heed.report.record import gather
from heed.report.study_figures import curves
from heed.report.study_record import read_study

UNITS = {
    "seconds": 1.0, "minutes": 60.0, "hours": 3600.0, "days": 86_400.0,
    "thousand": 1e3, "million": 1e6, "thousand million": 1e9,
    "bytes": 1.0, "KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30,
}  # fmt: skip
DURATIONS = [0.9, 59.0, 61.0, 119.0, 120.5, 144.0, 3599.0, 3601.0, 7199.0, 7300.0, 20_000.0, 400_000.0]


def unit_of(label):
    """The factor that the brackets of a label name; 1 where they name none."""
    words = re.findall(r"\(([^)]*)\)", label)
    return UNITS[words[-1]] if words and words[-1] in UNITS else 1.0


def stretched(seconds=None, tokens=None):
    """The events of a run whose clock and count of tokens end elsewhere."""
    events = metrics(400, 20)
    last = max(event.get("seconds", 0) for event in events), max(event.get("tokens", 0) for event in events)
    for event in events:
        for key, top, end in (("seconds", last[0], seconds), ("tokens", last[1], tokens)):
            if end is not None and key in event:
                event[key] = event[key] * end / top
    return events


def ends(folder, key, kind):
    """The last value of a key in metrics.jsonl."""
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [line[key] for line in lines if line["event"] == kind and key in line][-1]


def check(figure, expected):
    """Every line of a figure ends where the record does; `expected` in the unit of the events."""
    drawn = read_figure(figure)
    unit = unit_of(drawn.x_label)
    assert len(drawn.lines) == len({line.series for line in figure.lines if len(line.x) > 1}) > 0
    assert max(points[-1][0] for points in drawn.lines.values()) * unit == pytest.approx(expected, rel=2e-3)
    assert max(line.x[-1] for line in figure.lines) * unit == pytest.approx(expected, rel=1e-9)
    assert max(rows[-1][0] for rows in drawn.values.values()) * unit == pytest.approx(expected, rel=1e-5)
    for line in figure.lines:  # each line, at each of its points
        shown = drawn.lines.get(f"series-{line.series}", [])
        height = max(max(each.y) for each in figure.lines) - min(0, *(min(each.y) for each in figure.lines))
        wide = max(line.x) - min(0, *line.x)
        for (x, y), a, b in zip(shown, line.x, line.y, strict=True):
            assert x == pytest.approx(a, abs=2e-3 * wide)
            assert y == pytest.approx(b, abs=2e-3 * height, rel=2e-3)
        rows = drawn.values[line.label]
        assert [row[:2] for row in rows] == [
            [pytest.approx(a, rel=1e-5), pytest.approx(b, rel=1e-5)] for a, b in zip(line.x, line.y, strict=True)
        ]


@pytest.mark.parametrize("seconds", DURATIONS)
def test_the_clock_of_a_run_ends_where_the_run_did(tmp_path, seconds):
    run = write_run(tmp_path / "run", events=stretched(seconds=seconds))
    assert ends(run, "seconds", "train") == pytest.approx(seconds)
    record = gather(run)
    for figure in (loss_figure(record, "time"), perplexity_figure(record, "time"), speed_figure(record)):
        check(figure, seconds)


@pytest.mark.parametrize("tokens", [800, 1500, 999_000, 1_200_000, 3_000_000_000])
def test_the_tokens_of_a_run_end_where_the_run_did(tmp_path, tokens):
    record = gather(write_run(tmp_path / "run", events=stretched(tokens=tokens)))
    for draw in (loss_figure, perplexity_figure):
        check(draw(record, "tokens"), tokens)


def test_steps_and_heights_of_a_run_are_those_of_the_record(tmp_path):
    run = write_run(tmp_path / "run", events=metrics(400, 20))
    drawn = run_figures(gather(run))
    for name in ("loss-steps", "perplexity-steps", "memory", "learning-rate", "gradient-norm"):
        check(drawn[name], 400)
    held_out = read_figure(drawn["loss-steps"]).lines["series-2"]
    assert held_out[-1][1] == pytest.approx(ends(run, "loss", "evaluation"), abs=0.02)
    rate = read_figure(drawn["learning-rate"]).lines["series-1"]
    assert rate[-1][1] == pytest.approx(ends(run, "learning_rate", "train"), rel=0.02)
    speed = read_figure(drawn["speed"]).lines["series-3"]
    assert 1000 * speed[-1][1] == pytest.approx(ends(run, "tokens_per_second", "train"), rel=0.02)
    label = drawn["memory"].axes.y_label
    assert label in read_figure(drawn["memory"]).written
    held = read_figure(drawn["memory"]).lines["series-4"]
    assert held[-1][1] * UNITS[label] == pytest.approx(ends(run, "memory_bytes", "train"), rel=0.02)


@pytest.mark.parametrize("seconds", [0.9, 119.0, 144.0, 3601.0, 7300.0])
def test_the_axes_of_a_study_end_where_its_runs_did(tmp_path, seconds):
    content = study({"pre-norm": 0.0, "post-norm": 0.06}, seeds=(1,))
    folder = write_study_folder(tmp_path / "study", content, runs=False)
    for each in content["cells"]:
        write_run(folder / each["folder"], events=stretched(seconds=seconds), evaluation=each["figures"])
    record, run = read_study(folder), folder / content["cells"][0]["folder"]
    for kind in ("evaluation", "train"):
        check(curves(record, kind, "time"), seconds)
        if seconds == 144:
            check(curves(record, kind, "epochs"), ends(run, "epoch", "train"))
            check(steps := curves(record, kind, "steps"), 400)
            shown = read_figure(steps).lines["series-0"]
            assert shown[-1][1] == pytest.approx(ends(run, "loss", kind), abs=0.02)


@pytest.mark.parametrize("seconds", [3.0, 144.0, 7300.0])
def test_the_stages_of_an_experiment_end_where_its_runs_did(tmp_path, seconds):
    folder = write_experiment(tmp_path)
    for run in {file.parent for file in folder.rglob("metrics.jsonl")}:
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        top = max(line.get("seconds", 0.0) for line in lines)
        for line in lines:
            if "seconds" in line:
                line["seconds"] *= seconds / top
        (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    drawn = stage_figures(read_knowledge(folder))
    assert all(drawn)
    for figure in drawn:
        check(figure, seconds)
