"""The page of a hidden size: the singular values of what an API said, and where they fall into noise.

hidden_size.json -> render_size -> report.html        write_hidden_size(folder) does both
"""

from __future__ import annotations

import shlex
from pathlib import Path

from heed.errors import CheckpointError, why
from heed.records.hidden_size import HIDDEN_SIZE, HiddenSizeFile
from heed.records.kept import read_record
from heed.report.figure import Figure, Line, Plane
from heed.report.numbers import format_count, format_rate, human_seconds
from heed.report.parts import PAGE, Page, PageSection, Pairs, Paragraph, WideFigure, again, render_page, write_page

LEAST = 1e-12
"""Share of the largest singular value below which the others are drawn at the bottom."""


def write_hidden_size(folder: str | Path) -> Path:
    """Write report.html beside hidden_size.json and return its path.

    Raises `CheckpointError` when the record is missing or damaged, or the folder cannot be written to.
    """
    path = Path(folder) / HIDDEN_SIZE
    try:
        record = read_record(HiddenSizeFile, path)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {why(error)}; give heed recover again") from error
    return write_page(path.with_name(PAGE), render_size(record))


def render_size(record: HiddenSizeFile) -> str:
    """Return the page as HTML; equal records give equal bytes."""
    why_rank = (
        "Log-probabilities are W h - c, with h as many numbers as the model is wide. Those of many prompts, each less "
        "its mean, lie in a space of so many dimensions, and their singular values beyond it are noise (Carlini et al. "
        "2024; Finlayson et al. 2024). A layer norm without bias takes one dimension away."
    )
    spent = record.spent
    rows = [
        ("prompts", format_count(record.prompts)), ("tokens read after each", format_count(record.tokens)),
        ("error bar of a log-probability", f"{format_rate(record.error_median)} nats"),
        ("questions asked", format_count(record.asked)), ("at most, by the formula", format_count(record.formula)),
        ("tokens of prompts", format_count(int(spent.get("prompt_tokens") or 0))),
        ("time", human_seconds(record.seconds)), ("address", record.endpoint),
    ]  # fmt: skip
    sections = [
        PageSection("rank", "Singular values", [WideFigure(singular_figure(record)), Paragraph(why_rank)], quiet=True),
        PageSection("cost", "What it took", [Pairs(rows)]),
        again(shlex.join(record.command), "Answers that are kept in answers.jsonl are not asked for again."),
    ]
    title = f"How wide {record.model} is"
    return render_page(Page("hidden size", title, size_verdict(record), sections, sources=HIDDEN_SIZE))


def size_verdict(record: HiddenSizeFile) -> str:
    """Say the hidden size, or that there were too few prompts to tell."""
    if record.bounded:
        return (
            f"The rank is {record.rank:,}, as large as {record.prompts:,} prompts can show: the model is at least so "
            "wide. Take more prompts."
        )
    return (
        f"The hidden size is {record.rank:,}: the last singular value that counts is {record.gap:,.0f} times as large "
        "as the next one."
    )


def singular_figure(record: HiddenSizeFile) -> Figure:
    """Singular values in their order."""
    values = record.singular
    bottom = LEAST * values[0]
    line = Line("", list(range(1, len(values) + 1)), [max(value, bottom) for value in values], 1, dots=True)
    title = "They do not fall" if record.bounded else f"They fall after number {record.rank:,}"
    caption = f"Singular values of {record.prompts:,} x {record.tokens:,} log-probabilities; below the line is noise."
    axes = Plane("number", "singular value", log_y=True, rule=(record.floor, "noise"))
    return Figure("singular", title, caption, "lines", (line,), axes)
