"""The page of a classifier, and of an encoder of hidden tokens: their own figures, and none that mean nothing there."""

import re

import pytest
from fake_runs import classified, figures, metrics, write_classifier, write_run

from heed.report.classes import MOST_COLUMNS, accuracy_headline, class_table
from heed.report.figures import run_figures
from heed.report.page import lead, passport_table, render, speed_facts
from heed.report.record import gather


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    return gather(write_classifier(tmp_path_factory.mktemp("runs") / "reviews"))


def test_accuracy_comes_first_with_its_interval():
    shown = [(item.label, item.value, item.unit) for item in accuracy_headline(classified(0.8))]
    assert shown == [
        ("Accuracy", "80.0 %", "75.0 to 84.0 % (95 %)"),
        ("Majority class", "50.0 %", "whoever always says the same"),
        ("Examples", "200", "classified"),
        ("Loss", "0.4000", "nats per example"),
    ]
    assert accuracy_headline({"accuracy": 0.8})[0].unit == "of the examples"


def test_the_classes_one_by_one():
    table = class_table({"test": {}, "validation": classified(0.8)})
    assert table["head"] == ["examples", "recall", "taken for bad", "taken for good", "taken for neither"]
    assert table["rows"] == [
        ("bad", ["100", "80.0 %", "80", "20", "0"]),
        ("good", ["100", "80.0 %", "20", "80", "0"]),
        ("neither", ["0", "–", "0", "0", "0"]),
    ]
    assert class_table({}) == class_table({"validation": figures(2.0)}) == {}


def test_many_classes_have_no_table_of_confusions():
    n = MOST_COLUMNS + 1
    values = {"recall": {str(i): 0.0 for i in range(n)}, "confusion": [[0] * n] * n}
    assert class_table({"validation": values})["head"] == ["examples", "recall"]


def test_the_page_counts_examples_and_shows_no_perplexity(record):
    page = render(record)
    assert lead(record).startswith("An encoder of 842 k parameters, trained on sst2 for 1,000 steps of 32 examples in")
    assert ("Training examples", "32,000") in speed_facts(record)
    assert [name for name, _ in passport_table(record)["figures"]] == ["accuracy", "majority class", "examples", "loss"]
    rows = dict(passport_table(record)["rows"])
    assert rows["examples"] == ["200", "200"]
    assert rows["words"] == rows["bytes"] == ["–", "–"]  # they were not counted
    for words in ("Class by class", "examples a second", "loss (nats per example)", "validation accuracy (%)"):
        assert words in page, words
    assert not re.search(r"erplexity|nats per token|What it writes", page)


def test_the_accuracy_is_where_the_loss_is_lowest(record):
    figure = run_figures(record)["accuracy-steps"]
    assert figure.title == "Where its loss is lowest, at step 1,000, 80.0 % are classified rightly"
    assert "majority 50.0 %" in figure.wide
    assert "accuracy-tokens" in run_figures(record)


def test_hidden_tokens_have_a_loss_of_their_own_name(tmp_path):
    values = figures(3.2)
    values = {"loss": 3.2, "passport": {**values["passport"], "unit": "masked token"}}
    events = [{**event, **values} if event["event"] == "evaluation" else event for event in metrics()]
    config = {"model": {"kind": "encoder"}}
    folder = write_run(tmp_path / "run", events=events, texts=[], evaluation={"validation": values}, config=config)
    page = render(gather(folder))
    assert "Masked-token loss" in page
    assert "loss (nats per masked token)" in page
    assert "tokens of context" in page
    assert not re.search(r"erplexity|its per byte|masked tokens of context", page)
