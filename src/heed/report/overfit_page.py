"""One page about a check by heart: how the accuracy on a few training texts rises, and which texts are not learned.

overfit.json -> render -> report.html        write_overfit(folder) does both
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

from heed.errors import CheckpointError
from heed.files import write_text
from heed.report.figures import NARROW, WIDE, Figure
from heed.report.numbers import format_accuracy, format_rate
from heed.report.page import load_template, show_facts
from heed.report.svg import DASHES, Axes2D, Line, draw, named
from heed.report.tabular import Table

FILE, PAGE = "overfit.json", "report.html"
SERIES = 6


def write_overfit(folder: str | Path) -> Path:
    """Write report.html beside overfit.json and return its path.

    Raises `CheckpointError` when overfit.json is missing or damaged, or the folder cannot be written to.
    """
    path = Path(folder) / FILE
    try:
        page = render(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}): run heed tune --overfit again") from error
    target = path.with_name(PAGE)
    try:
        write_text(target, page)
    except OSError as error:
        raise CheckpointError(f"{target} cannot be written: {error.strerror}; make room or check rights") from error
    return target


def render(record: dict[str, Any]) -> str:
    """Return the page as HTML; equal records give equal bytes."""
    arms, texts = record["arms"], record["texts"]
    return load_template("overfit.html").render(
        title=f"{record['data']['name']}: {len(texts)} texts by heart",
        verdict=verdict(record),
        design=(
            f"{len(texts)} training texts in {len(record['data']['classes'])} classes, all in every step, without "
            f"dropout and weight decay, for at most {record['most_steps']:,} steps. Accuracy is on the same texts."
        ),
        banners=[],
        figures=[curve_figure(arms, key) for key in ("accuracy", "loss")],
        arms=arms_table(arms),
        texts=texts_table(record),
        machine=show_facts(record["machine"]),
        command=shlex.join(record["command"]),
    )


def verdict(record: dict[str, Any]) -> str:
    """Say who knows the texts by heart, and who does not.

    >>> verdict({"texts": [1] * 10, "arms": [{"name": "full", "accuracy": 1.0}, {"name": "head", "accuracy": 0.7}]})
    'full knows all 10 texts by heart; head does not (70.0 %).'
    """
    able = [arm["name"] for arm in record["arms"] if arm["accuracy"] == 1]
    unable = [f"{arm['name']} ({format_accuracy(arm['accuracy'])})" for arm in record["arms"] if arm["accuracy"] < 1]
    count = len(record["texts"])
    if not unable:
        return f"{', '.join(able)}: all {count} texts by heart."
    if not able:
        return (
            f"Nothing learned the {count} texts by heart: {', '.join(unable)}. Look at the texts and the rates first."
        )
    many = "know" if len(able) > 1 else "knows"
    if len(unable) == 1:
        name, share = unable[0].rsplit(" (", 1)
        return f"{', '.join(able)} {many} all {count} texts by heart; {name} does not ({share}."
    return f"{', '.join(able)} {many} all {count} texts by heart; these do not: {', '.join(unable)}."


def curve_figure(arms: list[dict[str, Any]], key: str) -> Figure:
    """Accuracy (or loss) on the texts over steps."""
    times, label = (100.0, "accuracy on the texts (%)") if key == "accuracy" else (1.0, "loss on the texts (nats)")
    lines = [
        Line(
            arm["name"], [point["step"] for point in arm["curve"]], [times * point[key] for point in arm["curve"]],
            1 + place % SERIES, dots=True, dash=place // SERIES % len(DASHES),
        )
        for place, arm in enumerate(arms)
    ]  # fmt: skip
    best = max(arms, key=lambda arm: arm["accuracy"])
    last = best["curve"][-1]
    title = f"{best['name']} has {format_accuracy(best['accuracy'])} right after {last['step']:,} steps"
    if key == "loss":
        title = f"The loss of {best['name']} goes from {best['curve'][0]['loss']:.3g} to {last['loss']:.3g}"
    caption = "On the texts that are trained on, in evaluation mode, before training and every few steps."
    axes = Axes2D("step", label, zero=key == "loss")
    wide = draw(f"{key}-wide", named(lines, 22), axes, WIDE, title, values=True)
    return Figure(key, title, caption, wide, draw(f"{key}-narrow", named(lines, 14), axes, NARROW, title, values=False))


def arms_table(arms: list[dict[str, Any]]) -> Table:
    """Return the arms with their rates and what they came to."""
    head = ("arm", "optimizer", "rate", "steps", "accuracy", "loss")
    rows = [
        (
            arm["name"], arm["optimizer"], format_rate(arm["learning_rate"]), f"{arm['curve'][-1]['step']:,}",
            format_accuracy(arm["accuracy"]), f"{arm['curve'][-1]['loss']:.3g}",
        )
        for arm in arms
    ]  # fmt: skip
    caption = "Steps: until all texts were right, or at most. Accuracy and loss in nats: on these texts at the end."
    return Table(head, tuple(rows), (False, False, True, True, True, True), frozenset(), caption, ())


def texts_table(record: dict[str, Any]) -> Table:
    """Return the texts with their labels, and which arms say something else."""
    rows = []
    for place, one in enumerate(record["texts"]):
        wrong = [f"{arm['name']}: {arm['predicted'][place]}" for arm in record["arms"]
                 if arm["predicted"][place] != one["label"]]  # fmt: skip
        text = one["text"] if one["pair"] is None else f"{one['text']} | {one['pair']}"
        rows.append((one["place"], text if len(text) <= 200 else f"{text[:199]}…", one["label"], ", ".join(wrong)))
    head = ("place", "text", "label", "taken for something else by")
    return Table(head, tuple(rows), (False,) * 4, frozenset(), "Every text, and the arms that have it wrong.", ())
