"""What a page says of a classifier: accuracy beside what a constant answer would get, and the classes one by one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from heed.report.numbers import MISSING, format_accuracy, format_count, format_loss, said_shares
from heed.report.record import number

MOST_COLUMNS = 12
"""Classes up to which the table of confusions is shown; it would be too wide to read."""


@dataclass(frozen=True)
class Headline:
    """A figure of the first screen."""

    label: str
    value: str
    unit: str


def accuracy_headline(values: Mapping[str, Any]) -> list[Headline]:
    """Return accuracy with its interval, the share of the commonest class, and the loss."""
    interval = values.get("accuracy_interval")
    between = "of the examples"
    if isinstance(interval, list) and len(interval) == 2:
        low, high = map(number, interval)
        between = MISSING if low is None or high is None else f"{said_shares(low, high)} (95 %)"
    if "questions" in values:
        return _answer_headline(values, between)
    examples = number(values.get("examples"))
    return [
        Headline("Accuracy", format_accuracy(number(values.get("accuracy"))), between),
        Headline("Majority class", format_accuracy(number(values.get("majority"))), "whoever always says the same"),
        Headline("Examples", format_count(None if examples is None else int(examples)), "classified"),
        Headline("Loss", format_loss(number(values.get("loss"))), "nats per example"),
    ]


def _answer_headline(values: Mapping[str, Any], between: str) -> list[Headline]:
    """Return the figures of questions: the right answers, the commonest one, and the loss of a whole answer."""
    correct, total = (format_count(int(number(values.get(key)) or 0)) for key in ("correct", "questions"))
    commonest = values.get("commonest")
    always = f"always “{commonest.get('answer')}”" if isinstance(commonest, Mapping) else "whoever always says the same"
    return [
        Headline("Right answers", f"{correct} of {total}", "letter for letter"),
        Headline("Accuracy", format_accuracy(number(values.get("accuracy"))), between),
        Headline("Commonest answer", format_accuracy(number(values.get("majority"))), always),
        Headline("Loss", format_loss(number(values.get("loss"))), "nats per answer"),
    ]


def class_table(evaluation: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the classes of the validation split (else of the first one) as a table; empty where there are none.

    `head` names the columns, `rows` holds the class, its examples, its recall and how often each class was answered.
    """
    split = "validation" if "validation" in evaluation else next(iter(evaluation), "")
    values = evaluation.get(split, {})
    recall, confusion = values.get("recall"), values.get("confusion")
    if not isinstance(recall, Mapping) or not isinstance(confusion, list) or len(confusion) != len(recall):
        return {}
    names = [str(name) for name in recall]
    answers = names if len(names) <= MOST_COLUMNS else []
    rows = []
    for name, found, row in zip(names, recall.values(), confusion, strict=True):
        share = MISSING if number(found) is None else format_accuracy(number(found))
        counts = [format_count(int(count)) for count in row]
        rows.append((name, [format_count(sum(row)), share, *(counts if answers else [])]))
    head = ["examples", "recall", *(f"taken for {name}" for name in answers)]
    return {"split": split, "head": head, "rows": rows}
