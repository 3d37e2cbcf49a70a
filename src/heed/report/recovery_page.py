"""The page of a recovered distribution: rank against probability, with the truth where it is known, and what it took.

recovery.json, distribution.npz -> render -> report.html        write_recovery(folder) does both
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from heed.records.recovery import RECOVERY, RecoveryFile
from heed.report.figure import Figure, Line, Plane
from heed.report.numbers import format_count, format_percent, format_rate, human_seconds
from heed.report.parts import (
    PAGE,
    Banner,
    Details,
    Multiples,
    Page,
    PageSection,
    Pairs,
    Paragraph,
    Tabled,
    again,
    render_page,
    write_page,
)
from heed.report.recovery_record import DISTRIBUTION, RecoveredTokens, read_recovery
from heed.report.tabular import TextCell, TextTable, words_table

POINTS, LIKELIEST, NAMED = 300, 20, 200
"""Ranks of the figures, evenly spread over their logarithm; rows of the table; tokens that are named at most."""
LEAST = 1e-9
"""Nats below which a difference is drawn at the bottom of its figure."""
SHOWS = {
    "biased": "the probabilities after the bias",
    "raw": "the probabilities before the bias",
    "nothing": "no probabilities",
}
HOW = {
    "anchor": "The likeliest token and a few unseen ones were biased alike in each call, which keeps their ratios",
    "forced": "Each token was forced by a large bias, and the API told the probability that it had without",
    "bisection": "For each token the bias was found at which it becomes the likeliest",
    "nucleus": "What had been seen was banned, so that the next ones showed",
    "low-rank": "Some tokens were read, and the others follow from the model's output matrix by least squares",
}


def write_recovery(folder: str | Path) -> Path:
    """Write report.html beside recovery.json and return its path.

    Raises `CheckpointError` when a file is missing or damaged, or the folder cannot be written to.
    """
    return write_page(Path(folder) / PAGE, render(*read_recovery(folder)))


def render(record: RecoveryFile, tokens: RecoveredTokens) -> str:
    """Return the page as HTML; equal records give equal bytes."""
    figures = [rank_figure(record, tokens), error_figure(record, tokens)]
    unseen = ", ".join(f"{token} {shown(tokens.names[token])}" for token in record.unseen[:NAMED])
    more = f" and {len(record.unseen) - NAMED:,} more" if len(record.unseen) > NAMED else ""
    sections = [
        PageSection("distribution", "The distribution", [
            Multiples([figure for figure in figures if figure]),
            Tabled(likeliest_table(tokens), "The likeliest tokens"),
        ], quiet=True),
        PageSection("unseen", "Never seen", [
            Details(f"{len(record.unseen):,} tokens were asked for and not seen", [Paragraph(unseen + more)]),
        ] if record.unseen else []),
        PageSection("api", "How the API behaves", [Pairs(api_rows(record))]),
        PageSection("cost", "What it took", [Pairs(cost_rows(record))]),
        again(shlex.join(record.command), "Answers that are kept in answers.jsonl are not asked for again."),
    ]  # fmt: skip
    prompt = record.prompt if len(record.prompt) <= 80 else f"…{record.prompt[-79:]}"
    title = f"What {record.model} says after “{prompt}”"
    design = f"{HOW.get(record.method, record.method)} (method {record.method})."
    return render_page(
        Page(
            "recovered distribution", title, verdict(record), sections, design, banners(record),
            sources=f"{RECOVERY}, {DISTRIBUTION}",
        )
    )  # fmt: skip


def verdict(record: RecoveryFile) -> str:
    """Say how much of the distribution is known, and how well."""
    bars = "" if record.error_worst is None else f", each log-probability within {format_rate(record.error_worst)} nats"
    calls = f"{record.asked + record.controls:,} calls"
    if record.method == "nucleus":
        return (
            f"The {record.seen:,} likeliest tokens have {format_percent(record.seen_mass)} of the probability, read in "
            f"{calls}{bars}."
        )
    if record.seen == record.vocabulary:
        if record.method == "low-rank":
            return f"All {record.vocabulary:,} tokens are known after {calls}{bars}."
        return f"All {record.vocabulary:,} tokens were read in {calls}{bars}."
    return (
        f"{record.seen:,} of {record.wanted:,} tokens were read in {calls}{bars}; the others have "
        f"{format_percent(record.unseen_mass)} of the probability."
    )


def banners(record: RecoveryFile) -> list[Banner]:
    """Return what a reader must know first."""
    found = [Banner("note", "Note", note) for note in record.notes]
    truth = record.truth
    if truth is not None and truth.outside:
        text = f"{truth.outside:,} tokens are further from {truth.name} than their error bars: it may be another model."
        found.insert(0, Banner("warning", "The truth is another one", text))
    return found


def ranks(count: int) -> list[int]:
    """Return ranks from 1 to `count`, evenly spread over their logarithm.

    >>> ranks(5), ranks(100_000)[-2:]
    ([1, 2, 3, 4, 5], [96223, 100000])
    """
    spread = np.geomspace(1, count, POINTS) if count else np.zeros(0)
    return sorted({round(float(rank)) for rank in spread})


def rank_figure(record: RecoveryFile, tokens: RecoveredTokens) -> Figure | None:
    """Probability over rank, both on logarithms."""
    order = tokens.order
    if not order.size:
        return None
    at = ranks(len(order))
    rows = order[np.array(at) - 1]
    value, error = tokens.log_p[rows], tokens.error[rows]
    wide = bool(error.max() > 0.005)
    low, high = (_p(value - error), _p(value + error)) if wide else ((), ())
    lines = [Line("recovered" if tokens.truth is not None else "", at, _p(value), 1, low=low, high=high)]
    if tokens.truth is not None:
        best = np.sort(tokens.truth)[::-1]
        there = ranks(len(best))
        lines.append(Line("truth", there, _p(best[np.array(there) - 1]), 0, dash=1))
    half = int(np.searchsorted(np.cumsum(np.exp(tokens.log_p[order])), 0.5)) + 1
    title = f"Half of the probability lies in {'one token' if half == 1 else f'{half:,} tokens'}"
    if half > len(order):
        title = f"The {len(order):,} tokens that were read have less than half of the probability"
    band = " The band is the error bar." if wide else " Error bars are narrower than the line."
    caption = f"Probability of each token of {format_count(record.vocabulary)} by its rank.{band}"
    axes = Plane("rank", "probability", log_x=True, log_y=True)
    return Figure("rank", title, caption, "lines", tuple(lines), axes)


def error_figure(record: RecoveryFile, tokens: RecoveredTokens) -> Figure | None:
    """Differences to the truth beside the error bars, over rank."""
    if tokens.truth is None or record.truth is None or not tokens.order.size:
        return None
    at = ranks(len(tokens.order))
    rows = tokens.order[np.array(at) - 1]
    off = np.maximum(np.abs(tokens.log_p[rows] - tokens.truth[rows]), LEAST)
    bars = np.maximum(tokens.error[rows], LEAST)
    lines = (
        Line("difference", at, off.tolist(), 1, stroke=False, dots=True),
        Line("error bar", at, bars.tolist(), 0, dash=1),
    )
    held = "No difference is larger than its error bar" if not record.truth.outside else (
        f"{record.truth.outside:,} differences are larger than their error bars"
    )  # fmt: skip
    caption = (
        f"Recovered log-probabilities less those of {record.truth.name}; the largest {record.truth.worst:.2g} nats."
    )
    return Figure("error", held, caption, "lines", lines, Plane("rank", "nats", log_x=True, log_y=True))


def likeliest_table(tokens: RecoveredTokens) -> TextTable:
    """Return the likeliest tokens with their probabilities and error bars."""
    truth = tokens.truth
    head = ("token", "id", "probability", "log-probability", "error bar", *(() if truth is None else ("truth",)))
    rows = []
    for token in tokens.order[:LIKELIEST].tolist():
        value = float(tokens.log_p[token])
        rows.append((
            TextCell(shown(tokens.names[token]), code=True), str(token), format_percent(float(np.exp(value))),
            f"{value:.6f}", f"{tokens.error[token]:.2g}", *(() if truth is None else (f"{truth[token]:.6f}",)),
        ))  # fmt: skip
    return words_table(head, rows, 1, f"The likeliest tokens; {DISTRIBUTION} has all of them. Logarithms in nats.")


def api_rows(record: RecoveryFile) -> list[tuple[str, str]]:
    """Return what the probe found, as pairs."""
    rows = [
        ("address", record.endpoint), ("model", record.model), ("it shows", SHOWS.get(record.shows, record.shows)),
        ("likeliest tokens shown", format_count(record.top)), ("largest bias", f"{record.bias:g}"),
        ("log-probabilities are printed in", record.resolution),
    ]  # fmt: skip
    if record.noise:
        rows.append(("equal questions differ by", f"{format_rate(record.noise)} nats"))
    return [*rows, *((name, f"{value:.6g}") for name, value in record.facts.items())]


def cost_rows(record: RecoveryFile) -> list[tuple[str, str]]:
    """Return calls, tokens and money as pairs."""
    spent = record.spent
    rows = [
        ("calls by the formula", format_count(record.formula)), ("questions asked", format_count(record.asked)),
        ("controls for a change", format_count(record.controls)),
        ("calls of the last time, tries that failed included", format_count(int(spent.get("calls") or 0))),
        ("tokens of prompts", format_count(int(spent.get("prompt_tokens") or 0))),
        ("tokens of answers", format_count(int(spent.get("completion_tokens") or 0))),
        ("time", human_seconds(record.seconds)),
    ]  # fmt: skip
    if (dollars := spent.get("dollars")) is not None:
        rows.append(("cost", f"${dollars:.4f}"))
    mass = f"{record.seen_mass:.7g} ± {record.seen_mass_error:.1g}"
    return [*rows, ("probabilities add up to", mass), ("tokens never seen", format_count(len(record.unseen)))]


def shown(name: object) -> str:
    """Return a token so that its blanks and line ends can be seen.

    >>> shown(" the"), shown("a\\n")
    ("' the'", "'a\\\\n'")
    """
    return repr(str(name))


def _p(log_p: np.ndarray) -> Sequence[float]:
    return np.exp(log_p).tolist()
