"""A real tune of a tiny encoder, with groups: what its page says, from the predictions and weights on the disk."""

import csv
import json
import re

import pytest
from safetensors.numpy import load_file
from small import labelled, make_plan, read_tune

from heed.report.accuracies import accuracy_interval
from heed.report.tuning_page import write_tuning
from heed.studies.tune import tune
from heed.tuning.measure import short_group

BERT = "bert-base-uncased"


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny):
    base = tmp_path_factory.mktemp("tune")
    with (base / "films.csv").open("w", encoding="utf-8", newline="") as file:
        rows = [(text, label, f"author {i // 4}") for i, (text, label) in enumerate(labelled(80))]
        csv.writer(file).writerows([("text", "label", "author"), *rows])
    plan = make_plan(
        base / "films.csv",
        tiny(BERT),
        "head",
        "lora",
        seeds=(1, 2),
        memory=True,
        sections={"data": {"group": "author"}},
    )
    assert tune(plan, base / "out", lambda line: None)
    write_tuning(base / "out")
    return base / "out"


def table(folder, number):
    """Return a table of table.md as dictionaries."""
    blocks = re.findall(r"(?:^\|.*\n)+", (folder / "table.md").read_text(), flags=re.MULTILINE)
    rows = [
        [cell.strip().replace("**", "") for cell in line.strip("|").split("|")] for line in blocks[number].split("\n")
    ]
    return [dict(zip(rows[0], row, strict=True)) for row in rows[2:] if len(row) == len(rows[0])]


def predictions(folder, run):
    return [json.loads(line) for line in (folder / run["folder"] / "predictions-test.jsonl").read_text().splitlines()]


def test_groups_go_from_the_column_to_the_predictions(folder):
    """Each text has the group that its row names; no author is in two splits."""
    authors = {text: f"author {i // 4}" for i, (text, _) in enumerate(labelled(80))}
    for arm in read_tune(folder)["arms"]:
        for run in arm["runs"]:
            rows = predictions(folder, run)
            assert [row["group"] for row in rows] == [short_group(authors[row["text"]]) for row in rows]
            assert 1 < len({row["group"] for row in rows}) < len(rows)


def test_intervals_are_over_groups_and_seeds(folder):
    results = {row["arm"]: row for row in table(folder, 0)}
    for arm in read_tune(folder)["arms"]:
        right = [[row["label"] == row["predicted"] for row in predictions(folder, run)] for run in arm["runs"]]
        names = [row["group"] for row in predictions(folder, arm["runs"][0])]
        low, high = accuracy_interval(right, [sorted(set(names)).index(name) for name in names])
        printed = [float(number) for number in re.findall(r"[\d.]+", results[arm["name"]]["95 % interval"])]
        assert printed == pytest.approx([100 * low, 100 * high], abs=0.051)


def test_trained_parameters_are_those_on_the_disk(folder):
    costs = {row["arm"]: row for row in table(folder, 1)}
    html = (folder / "report.html").read_text()
    for arm in read_tune(folder)["arms"]:
        for run in arm["runs"]:
            (best,) = (folder / run["folder"] / "checkpoints").glob("*/model.safetensors")
            count = sum(tensor.size for tensor in load_file(best).values())
            assert arm["trained_parameters"] == count
            assert costs[arm["name"]]["trained"].split(" (")[0] == f"{count:,}"
            assert f"{count:,}" in html


def test_updates_are_counted_and_few_are_called_so(folder):
    for arm in read_tune(folder)["arms"]:
        steps = max(
            event["step"]
            for run in arm["runs"]
            for line in (folder / run["folder"] / "metrics.jsonl").read_text().splitlines()
            if (event := json.loads(line))["event"] == "train"
        )
        assert arm["steps"] == steps
    assert "Undertrained" in (folder / "report.html").read_text()


def test_the_memory_of_the_page_adds_up(folder):
    for arm in read_tune(folder)["arms"]:
        memory = arm["memory"]
        whole = memory["gradients"] + memory["activations"]
        assert memory["gradients"] <= memory["all_gradients"] == 4 * arm["trained_parameters"]
        assert memory["forward_peak"] <= whole
