"""What a page says of a classifier: accuracy beside what a constant answer would get, and the classes one by one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from heed.records.figures import KeptFigures
from heed.report.figure import Columns, Figure, HeatRow, Row, Scale
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


def accuracy_headline(values: KeptFigures) -> list[Headline]:
    """Return accuracy with its interval, the share of the commonest class, and the loss."""
    between = "of the examples"
    if len(values.accuracy_interval or ()) == 2:
        low, high = map(number, values.accuracy_interval or ())
        between = MISSING if low is None or high is None else f"{said_shares(low, high)} (95 %)"
    if "questions" in (values.model_extra or {}):
        return _answer_headline(values, between)
    examples = values.finite("examples")
    return [
        Headline("Accuracy", format_accuracy(values.finite("accuracy")), between),
        Headline("Majority class", format_accuracy(values.finite("majority")), "whoever always says the same"),
        Headline("Examples", format_count(None if examples is None else int(examples)), "classified"),
        Headline("Loss", format_loss(values.finite("loss")), "nats per example"),
    ]


def _answer_headline(values: KeptFigures, between: str) -> list[Headline]:
    """Return the figures of questions: the right answers, the commonest one, and the loss of a whole answer."""
    correct, total = (format_count(int(values.finite(key) or 0)) for key in ("correct", "questions"))
    commonest = values.commonest
    always = "whoever always says the same" if commonest is None else f"always “{commonest.get('answer')}”"
    return [
        Headline("Right answers", f"{correct} of {total}", "letter for letter"),
        Headline("Accuracy", format_accuracy(values.finite("accuracy")), between),
        Headline("Commonest answer", format_accuracy(values.finite("majority")), always),
        Headline("Loss", format_loss(values.finite("loss")), "nats per answer"),
    ]


def class_figure(evaluation: Mapping[str, KeptFigures]) -> Figure | None:
    """Return the classes of the validation split (else of the first one): how often each was taken for which.

    None where there are none. Of many classes the recall alone, as bars.
    """
    split = "validation" if "validation" in evaluation else next(iter(evaluation), "")
    values = evaluation.get(split, KeptFigures())
    recall, confusion = values.recall, values.confusion
    if recall is None or confusion is None or len(confusion) != len(recall):
        return None
    names = [str(name) for name in recall]
    shares = {
        name: share for name, found in zip(names, recall.values(), strict=True) if (share := number(found)) is not None
    }
    worst = min(shares, key=shares.__getitem__, default="")
    title = (
        f"{worst} is found least often: {format_accuracy(shares[worst])} of its examples"
        if worst
        else "No class has examples"
    )
    caption = f"On the {split} split; recall is the share of the examples of a class that is found."
    if len(names) > MOST_COLUMNS:
        rows = [
            Row(name, f"{_recall(found)} of {sum(row):,}", 1, 100 * (number(found) or 0.0))
            for name, found, row in zip(names, recall.values(), confusion, strict=True)
        ]
        return Figure("recall", title, caption, "bars", tuple(rows), Scale("recall (%)"))
    rows = [
        HeatRow(f"{name}: {_recall(found)} of {sum(map(int, row)):,}", tuple(map(int, row)), place)
        for place, (name, found, row) in enumerate(zip(names, recall.values(), confusion, strict=True))
    ]
    caption += " Rows: the class and its recall; columns: what it was taken for; darker: a larger share of the class."
    return Figure("confusions", title, caption, "heat", tuple(rows), Columns("class: recall", tuple(names)))


def _recall(share: Any) -> str:
    return MISSING if number(share) is None else format_accuracy(number(share))
