"""Runs as a table for a terminal, as JSON and as CSV.

Every figure stands beside a letter, and the letter stands below the table with what was measured: two figures with the
same letter may be compared, others may not.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from heed.board.selecting import RunGroup, measured_on
from heed.board.summary import RunSummary
from heed.errors import one_line
from heed.report.figure_kinds import FIGURES
from heed.report.numbers import human_seconds

SHOWN = ("loss", "token_perplexity", "word_perplexity", "bits_per_byte", "accuracy")
"""The figures of the table, where any run has them."""


def letters(runs: Sequence[RunSummary]) -> dict[tuple[Any, ...], str]:
    """Return a letter for each kind of measurement, in the order in which they come; a letter says equal passports."""
    found: dict[tuple[Any, ...], str] = {}
    for run in runs:
        if (key := run.alike()) and run.figures and key not in found:
            found[key] = _letter(len(found))
    return found


def _letter(number: int) -> str:
    """Return the name of a kind of measurement.

    >>> _letter(0), _letter(25), _letter(26)
    ('a', 'z', 'aa')
    """
    return ("" if number < 26 else _letter(number // 26 - 1)) + "abcdefghijklmnopqrstuvwxyz"[number % 26]


def shown_cells(run: RunSummary, known: Mapping[tuple[Any, ...], str]) -> dict[str, Any]:
    """Return a run in words, with the letter of what it was measured on."""
    at = "" if run.measured_at is None else f" at {run.measured_at:,}"
    left = "" if run.left is None else f", {human_seconds(run.left)} left"
    return {
        "corpus": one_line(run.corpus),
        "model": one_line(run.model),
        "steps": f"{run.step:,}" if run.steps in (None, run.step) else f"{run.step:,}/{run.steps:,}",
        "figures": {name: FIGURES[name].written(value) for name, value in run.figures.items()},
        "of": f"{known.get(run.alike(), '?')}{at}" if run.figures else "",
        "measured": measured_on(run) or "without a passport, to be compared with nothing",
        "time": "" if run.seconds is None else human_seconds(run.seconds),
        "state": run.said_state + left,
        "notes": [one_line(note) for note in run.notes],
    }


def text_rows(groups: Sequence[RunGroup], sort: str | None = None) -> list[list[str]]:
    """Return the rows of the table, the head first; a row of two cells says what those below it are measured on."""
    runs = [run for group in groups for run in group.runs]
    known = letters(runs)
    shown = [name for name in SHOWN if name == sort or any(name in run.figures for run in runs)]
    if "loss" in shown and sort != "token_perplexity":  # which is exp(loss)
        shown = [name for name in shown if name != "token_perplexity"]
    rows = [["run", "corpus", "model", "steps", *(FIGURES[name].label for name in shown), "of", "time", "state"]]
    for group in groups:
        if len(groups) > 1:
            rows.append(["--", group.about])
        for run in group.runs:
            cells = shown_cells(run, known)
            figures = [cells["figures"].get(name, "") for name in shown]
            rows.append([one_line(run.name), *(cells[name] for name in ("corpus", "model", "steps")), *figures,
                         *(cells[name] for name in ("of", "time", "state"))])  # fmt: skip
    return rows


def legend(groups: Sequence[RunGroup]) -> list[str]:
    """Return what each letter of `text_rows` means, and what is wrong with runs that are damaged."""
    runs = [run for group in groups for run in group.runs]
    first = {run.alike(): run for run in reversed(runs)}
    lines = [f"{letter}: {one_line(measured_on(first[key]))}" for key, letter in letters(runs).items()]
    if any(run.figures and not run.alike() for run in runs):
        lines.append("?: without a passport, to be compared with nothing")
    return lines + [f"{one_line(run.name)}: {one_line(note)}" for run in runs for note in run.notes]


def plain_run(run: RunSummary) -> dict[str, Any]:
    """Return a run as JSON has it."""
    return {
        "run": run.name,
        "state": run.state,
        "leaks": run.leaks,
        "corpus": run.corpus,
        "model": run.model,
        "step": run.step,
        "steps": run.steps,
        "seconds": run.seconds,
        "seconds_left": run.left,
        "tokens": run.tokens,
        "begun": run.begun,
        "split": run.split,
        "figures": dict(run.figures),
        "measured_at": run.measured_at,
        "passport": None if run.passport is None else run.passport.as_dict(),
        "measured_on": measured_on(run),
        "settings": dict(run.settings),
        "notes": list(run.notes),
    }


def plain_groups(groups: Sequence[RunGroup]) -> dict[str, Any]:
    """Return groups as JSON has them; what may be compared has the same `group`."""
    return {
        "groups": [group.about for group in groups],
        "runs": [plain_run(run) | {"group": number} for number, group in enumerate(groups) for run in group.runs],
    }


def to_csv(groups: Sequence[RunGroup]) -> str:
    """Return a line for each run: what `plain_run` says, a column for each figure and for each setting."""
    runs = [(number, run) for number, group in enumerate(groups) for run in group.runs]
    settings = list(dict.fromkeys(name for _, run in runs for name in run.settings))
    kept = ("run", "state", "leaks", "corpus", "model", "step", "steps", "seconds", "tokens", "begun", "split")
    head = ["group", *kept, "measured_at", "measured_on", *FIGURES, *settings]
    output = io.StringIO()
    writer = csv.writer(output, lineterminator="\n")
    writer.writerow(head)
    for number, run in runs:
        values = plain_run(run) | {"group": number} | dict(run.figures)
        own = [values.get(name) for name in head[: len(head) - len(settings)]]
        writer.writerow([_cell(value) for value in (*own, *(run.settings.get(name) for name in settings))])
    return output.getvalue()


def _cell(value: Any) -> Any:
    """Return a value for a cell; a text that a spreadsheet would take for a formula is kept from that.

    >>> _cell("=1+1"), _cell(-2), _cell(None)
    ("'=1+1", -2, '')
    """
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return f"'{value}"
    return "" if value is None else value
