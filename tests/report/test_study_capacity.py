"""Size and overfitting: every number again, from the raw events, by a plain loop."""

import json
import re
from statistics import fmean, median, stdev

import pytest
from fake_studies import study, write_study_folder
from scipy import stats

from heed.report.study_capacity import capacity_sentences, capacity_table, groups
from heed.report.study_page import render
from heed.report.study_record import read_study
from heed.report.study_tables import every_table, table
from heed.report.tabular import all_markdown

LAYERS = {"lstm-1": 1, "lstm-20": 2, "lstm-400": 4}
TRAIN = {"lstm-1": 2.3, "lstm-20": 2.2, "lstm-400": 1.9, "gpt": 2.0, "lstm-1-sgd": 2.4}


def ends(name, seed):
    """Validation losses of three evaluations, and the training loss of the last."""
    last = 2.5 + 0.01 * seed + (0.06 if name == "lstm-400" else 0.0)
    dip = 0.05 if name == "lstm-400" else 0.0
    return [last + 0.3, last - dip, last], TRAIN[name] + 0.003 * seed * seed * len(name)


@pytest.fixture
def folder(tmp_path):
    effects = dict.fromkeys(TRAIN, 0.0)
    content = study(effects, figure="loss")
    for name, variant in content["variants"].items():
        kind = "gpt" if name == "gpt" else "lstm"
        variant["changes"] = {"model.kind": kind}
        if name in LAYERS:
            variant["changes"] |= {"model.n_layers": LAYERS[name]}
        if name == "lstm-1-sgd":
            variant["changes"] |= {"train.optimizer": "sgd"}
        variant["parameters"] = 1_000_000 + 250_000 * LAYERS.get(name, 1)
    write_study_folder(tmp_path, content)
    for each in content["cells"]:
        losses, train = ends(each["variant"], each["seed"])
        path = tmp_path / each["folder"] / "metrics.jsonl"
        events = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        found = [event for event in events if event["event"] == "evaluation"]
        places = {event["step"]: i for i, event in enumerate(found[-3:])}
        for event in found:
            at = places.get(event["step"])
            event["loss"] = 3.5 if at is None else losses[at]
            event["train"] = {"loss": train}
        path.write_text("".join(json.dumps(event) + "\n" for event in events), encoding="utf-8")
        each["steps"] = [event["step"] for event in found[-3:]]
    return tmp_path, content


def test_only_size_may_differ_within_a_group(folder):
    assert groups(read_study(folder[0])) == [[*LAYERS]]


def test_the_table_is_that_of_a_plain_loop(folder):
    path, content = folder
    made = capacity_table(read_study(path))
    steps = content["cells"][0]["steps"]
    for row, name in zip(made.rows, LAYERS, strict=True):
        losses = [ends(name, seed) for seed in (1, 2, 3)]
        lowest = median(steps[min(range(3), key=found[0].__getitem__)] for found in losses)
        assert row == (
            name,
            f"{1 + 0.25 * LAYERS[name]:.2f} M",
            f"{fmean(train for _, train in losses):.4f}",
            f"{fmean(found[-1] for found, _ in losses):.4f}",
            f"{fmean(found[-1] - train for found, train in losses):+.3f}",
            f"{fmean(min(found) for found, _ in losses):.4f}",
            f"{lowest:,.0f}",
        )
    assert "Size and overfitting" in all_markdown(every_table(read_study(path)))


def test_the_sentences_are_those_of_a_plain_loop(folder):
    wider, risen = capacity_sentences(read_study(folder[0]))
    gaps = {name: [ends(name, seed)[0][-1] - ends(name, seed)[1] for seed in (1, 2, 3)] for name in LAYERS}
    by = [b - a for a, b in zip(gaps["lstm-1"], gaps["lstm-400"], strict=True)]
    assert "From lstm-1 to lstm-400 (1.25 M to 2.00 M parameters)" in wider
    assert f"widens: {fmean(gaps['lstm-1']):+.3f} and {fmean(gaps['lstm-400']):+.3f} nats" in wider
    low, high = stats.t.interval(0.95, 2, loc=fmean(by), scale=stdev(by) / 3**0.5)
    shown = [float(number) for number in re.findall(r"[+-]\d+\.\d+", wider)][2:]
    assert shown == pytest.approx([fmean(by), low, high], abs=0.006)  # two decimals are shown
    assert "lstm-400 ends 0.050 nats above its lowest validation loss" in risen


def test_a_gap_that_noise_explains_is_not_called_one(folder):
    path, content = folder
    for place, each in enumerate(content["cells"]):
        file = path / each["folder"] / "metrics.jsonl"
        events = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        for event in events:
            if event["event"] == "evaluation":
                event["train"] = {"loss": 2.4 + 0.1 * (place * place % 7)}
        file.write_text("".join(json.dumps(event) + "\n" for event in events), encoding="utf-8")
    record = read_study(path)
    line = capacity_sentences(record)[0]
    train = {
        name: [2.4 + 0.1 * (place * place % 7) for place, cell in enumerate(content["cells"])
               if cell["variant"] == name] for name in LAYERS
    }  # fmt: skip
    by = [
        (ends("lstm-400", s)[0][-1] - b) - (ends("lstm-1", s)[0][-1] - a)
        for s, a, b in zip((1, 2, 3), train["lstm-1"], train["lstm-400"], strict=True)
    ]
    low, high = stats.t.interval(0.95, 2, loc=fmean(by), scale=stdev(by) / 3**0.5)
    assert low < 0 < high
    assert "was not found to change" in line


def test_without_training_figures_the_table_says_what_to_set(folder):
    path, content = folder
    for each in content["cells"]:
        file = path / each["folder"] / "metrics.jsonl"
        file.write_text(file.read_text(encoding="utf-8").replace('"train": {', '"other": {'), encoding="utf-8")
    made = capacity_table(read_study(path))
    assert {(row[2], row[4]) for row in made.rows} == {("–", "–")}
    assert "not measured (train.eval_train_tokens)" in made.caption


def test_a_study_of_other_things_has_no_such_section(tmp_path):
    record = read_study(write_study_folder(tmp_path))
    assert capacity_table(record) is None
    assert capacity_sentences(record) == []
    assert "Size and overfitting" not in render(record)


def test_a_study_of_losses_shows_perplexities_too(folder):
    record = read_study(folder[0])
    made = table(record)
    place = made.head.index("validation perplexity")
    for row in made.rows:
        values = [cell.finite_figure("validation", "token_perplexity") for cell in record.cells_of(row[0])]
        mean = float(row[place].split(" ± ")[0])
        assert mean == pytest.approx(fmean(values), rel=0.05)
    page = render(record)
    assert page.count("Validation perplexity ends lowest for") >= 3
    assert "Size and overfitting" in page
