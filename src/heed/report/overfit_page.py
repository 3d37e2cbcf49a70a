"""The page of a check by heart: how the accuracy on a few training texts rises, and which texts are not learned.

overfit.json -> render -> report.html        write_overfit(folder) does both
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from heed import seals
from heed.errors import CheckpointError
from heed.report.figure import Figure, Line, Plane, paint
from heed.report.numbers import format_accuracy, format_rate
from heed.report.parts import (
    PAGE,
    Multiples,
    Page,
    PageSection,
    Pairs,
    Tabled,
    again,
    render_page,
    show_facts,
    write_page,
)
from heed.report.tabular import TextTable, words_table

FILE = "overfit.json"


def write_overfit(folder: str | Path) -> Path:
    """Write report.html beside overfit.json and return its path.

    Raises `CheckpointError` when overfit.json is missing or damaged, or the folder cannot be written to.
    """
    path = Path(folder) / FILE
    try:
        page = render(seals.read_json(path))
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}): run heed tune --overfit again") from error
    return write_page(path.with_name(PAGE), page)


def render(record: dict[str, Any]) -> str:
    """Return the page as HTML; equal records give equal bytes."""
    arms, texts, data = record["arms"], record["texts"], record["data"]
    design = (
        f"{len(texts)} training texts in {len(data['classes'])} classes, all in every step, without dropout and weight "
        f"decay, for at most {record['most_steps']:,} steps. Accuracy is on the same texts."
    )
    figures = [curve_figure(arms, key) for key in ("accuracy", "loss")]
    sections = [
        PageSection("curves", "Learning by heart", [
            Multiples(figures), Tabled(arms_table(arms), "What each arm came to"),
        ], quiet=True),
        PageSection("texts", "The texts", [Tabled(texts_table(record), "The texts and what they were taken for")]),
        PageSection("setup", "Machine", [Pairs(show_facts(record["machine"]))]),
        again(shlex.join(record["command"])),
    ]  # fmt: skip
    title = f"{data['name']}: {len(texts)} texts by heart"
    return render_page(Page("texts by heart", title, verdict(record), sections, design, sources=FILE))


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
            series, dots=True, dash=dash,
        )
        for arm, (series, dash) in zip(arms, map(paint, range(len(arms))), strict=True)
    ]  # fmt: skip
    best = max(arms, key=lambda arm: arm["accuracy"])
    last = best["curve"][-1]
    title = f"{best['name']} has {format_accuracy(best['accuracy'])} right after {last['step']:,} steps"
    if key == "loss":
        title = f"The loss of {best['name']} goes from {best['curve'][0]['loss']:.3g} to {last['loss']:.3g}"
    caption = "On the texts that are trained on, in evaluation mode, before training and every few steps."
    return Figure(key, title, caption, "lines", tuple(lines), Plane("step", label, zero=key == "loss"))


def arms_table(arms: list[dict[str, Any]]) -> TextTable:
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
    return words_table(head, rows, 2, caption)


def texts_table(record: dict[str, Any]) -> TextTable:
    """Return the texts with their labels, and which arms say something else."""
    rows = []
    for place, one in enumerate(record["texts"]):
        wrong = [f"{arm['name']}: {arm['predicted'][place]}" for arm in record["arms"]
                 if arm["predicted"][place] != one["label"]]  # fmt: skip
        text = one["text"] if one["pair"] is None else f"{one['text']} | {one['pair']}"
        rows.append((one["place"], text if len(text) <= 200 else f"{text[:199]}…", one["label"], ", ".join(wrong)))
    head = ("place", "text", "label", "taken for something else by")
    return words_table(head, rows, 4, "Every text, and the arms that have it wrong.")
