"""The page of a classifier, and of an encoder of hidden tokens: their own figures, and none that mean nothing there."""

import re

import pytest
from fake_runs import classified, figures, metrics, write_classifier, write_run

from heed.records.figures import KeptFigures
from heed.report.classes import MOST_COLUMNS, accuracy_headline, class_figure
from heed.report.drawing import draw
from heed.report.figures import run_figures
from heed.report.page import lead, passport_table, render, speed_facts, splits_table
from heed.report.record import gather


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    return gather(write_classifier(tmp_path_factory.mktemp("runs") / "reviews"))


def test_accuracy_comes_first_with_its_interval():
    shown = [
        (item.label, item.value, item.unit) for item in accuracy_headline(KeptFigures.model_validate(classified(0.8)))
    ]
    assert shown == [
        ("Accuracy", "80.0 %", "75.0 to 84.0 % (95 %)"),
        ("Majority class", "50.0 %", "whoever always says the same"),
        ("Examples", "200", "classified"),
        ("Loss", "0.4000", "nats per example"),
    ]
    assert accuracy_headline(KeptFigures(accuracy=0.8))[0].unit == "of the examples"


def test_the_classes_one_by_one():
    figure = class_figure({"test": KeptFigures(), "validation": KeptFigures.model_validate(classified(0.8))})
    assert figure.kind == "heat"
    assert figure.axes.names == ("bad", "good", "neither")
    assert [(row.label, row.counts) for row in figure.marks] == [
        ("bad: 80.0 % of 100", (80, 20, 0)),
        ("good: 80.0 % of 100", (20, 80, 0)),
        ("neither: – of 0", (0, 0, 0)),
    ]
    assert figure.title == "bad is found least often: 80.0 % of its examples"
    cells = re.findall(r'<td class="n (\w+)">(\d+)', draw(figure))
    assert cells[:3] == [("right", "80"), ("p2", "20"), ("p0", "0")]
    assert class_figure({}) is class_figure({"validation": KeptFigures.model_validate(figures(2.0))}) is None


def test_many_classes_have_bars_of_their_recall():
    n = MOST_COLUMNS + 1
    values = {"recall": {str(i): i / n for i in range(n)}, "confusion": [[0] * n] * n}
    figure = class_figure({"validation": KeptFigures.model_validate(values)})
    assert [row.value for row in figure.rows] == [pytest.approx(100 * i / n) for i in range(n)]


def test_the_page_counts_examples_and_shows_no_perplexity(record):
    page = render(record)
    assert lead(record).startswith("An encoder of 842 k parameters, trained on sst2 for 1,000 steps of 32 examples in")
    assert ("Training examples", "32,000") in speed_facts(record)
    assert splits_table(record).head == ("split", "accuracy", "majority class", "examples", "loss")
    assert ("examples", "200", "200") in passport_table(record).rows
    assert ("words", "–", "–") in passport_table(record).rows  # they were not counted
    assert ("bytes", "–", "–") in passport_table(record).rows
    for words in ("Class by class", "examples a second", "loss (nats per example)", "validation accuracy (%)"):
        assert words in page, words
    assert not re.search(r"erplexity|nats per token|What it writes", page)


def test_the_accuracy_is_where_the_loss_is_lowest(record):
    figure = run_figures(record)["accuracy-steps"]
    assert figure.title == "Where its loss is lowest, at step 1,000, 80.0 % are classified rightly"
    assert figure.axes.rule == (50.0, "majority 50.0 %")
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
