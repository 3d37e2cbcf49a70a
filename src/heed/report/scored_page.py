"""The page of a run on a new labelled file: figures beside those of its test split, drift, confusions, trust, mistakes.

ScoredFile ──render──> HTML        write_scored(path, scored, command) does both
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from heed.records.scores import AnyScores
from heed.report.confusions import MOST_CLASSES, commonest_confusions, confusion_figure
from heed.report.numbers import MISSING, format_accuracy, format_count
from heed.report.parts import (
    Banner,
    Details,
    ExampleList,
    Findings,
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
from heed.report.scored import Marked, ScoredFile, said_apart, said_distance, said_found, said_least
from heed.report.tabular import TextTable, words_table
from heed.report.tuning_errors import SUREST, Shown, cut

FEW = 200
"""Texts below which a banner says that they are few."""
TOLD = 50
"""Rows without figures that a page names."""
CANNOT = (
    "What this can tell: that figures, labels or answers are others than on the test split. It cannot tell why; nor "
    "whether texts have changed whose labels and answers are distributed as before. Where no difference is found there "
    "may be one."
)


def write_scored(path: Path, scored: ScoredFile, command: Sequence[str]) -> Path:
    """Write the page and return its path. Raises `CheckpointError` where it cannot be written."""
    return write_page(path, render(scored, command))


def render(scored: ScoredFile, command: Sequence[str]) -> str:
    """Return the page as HTML; equal results give equal bytes."""
    grading = scored.grading
    trust = grading.trust("reliability-new", scored.new.answers, "The run", (1, 0))
    sections = [
        PageSection("figures", "Figures", [
            Tabled(figures_table(scored), "Figures on the new file and on the test split"),
            Findings(scored.more()),
        ], quiet=True),
        PageSection("drift", "Is it like the test split?", [
            Tabled(drift_table(scored), "How the new file differs from the test split"),
            Findings(_powers(scored)),
            Paragraph(CANNOT if scored.drift is not None else "", "key small"),
        ]),
        PageSection("classes", grading.apart, _confusions(scored)),
        PageSection("trust", grading.trusted, [Multiples([] if trust is None else [trust])]),
        PageSection("mistakes", "Mistakes", _mistakes(scored)),
        PageSection("left-out", "Rows in no figure", _left_out(scored)),
        PageSection("setup", "Setup", [Pairs(_setup(scored))]),
        again(shlex.join(command)),
    ]  # fmt: skip
    title = f"{Path(scored.run).name} on {Path(scored.file).name}"
    sources = f"{scored.file} and the predictions of the run on its test split"
    return render_page(
        Page("new labelled texts", title, scored.verdict(), sections, scored.passport, _banners(scored), sources)
    )


def figures_table(scored: ScoredFile) -> TextTable:
    """Return the figures of both, a row each."""
    own = {} if scored.test is None else dict(scored.test.figures.lines())
    rows = [(name, said, own.get(name, MISSING)) for name, said in scored.new.figures.lines()]
    counts = [format_count(len(one.answers.labels)) if one else MISSING for one in (scored.new, scored.test)]
    caption = "In brackets: 95 % intervals" + (", over groups. " if scored.new.answers.groups is not None else ". ")
    return words_table(("figure", "new file", "test split"), [*rows, ("texts", *counts)], 1, caption)


def drift_table(scored: ScoredFile) -> TextTable | None:
    """Return what was compared and what came of it."""
    drift, grading = scored.drift, scored.grading
    if drift is None:
        return None
    figure, sure = drift.figure, drift.confidence
    both = [format_accuracy(one) for one in (figure.new, figure.test)]
    rows = [(grading.called, *both, said_apart(figure, "points", 100), said_found(figure))]
    if sure is not None:
        both = [format_accuracy(one) for one in (sure.new, sure.test)]
        rows.append(("mean probability of what is said", *both, said_apart(sure, "points", 100), said_found(sure)))
    for name, one in (("labels", drift.labels), ("answers", drift.answers)):
        rows.append((name, MISSING, MISSING, said_distance(one), said_found(one)))
    caption = f"In brackets: 95 % interval. Distance: {grading.moved}; p by exchanging texts between both at random."
    return words_table(("what", "new file", "test split", "apart", "found"), rows, 1, caption)


def _powers(scored: ScoredFile) -> list[str]:
    """Say what would have been found where nothing was."""
    if scored.drift is None:
        return []
    whole = [(scored.grading.called, scored.drift.figure), ("the mean probability", scored.drift.confidence)]
    said = [(name, said_least(one, "points", 100)) for name, one in whole if one is not None]
    return [f"Of {name}, {least}." for name, least in said if least]


def _confusions(scored: ScoredFile) -> list[Any]:
    """Return what is taken for what: shaded counts, or the commonest confusions of many classes; or of labels each."""
    values, names = scored.new.figures.as_dict(), scored.grading.target.names
    each = scored.grading.each(TypeAdapter(AnyScores).validate_python(values))
    if each is not None:
        return [Tabled(each, "Every label")]
    if "confusion" not in values:
        return []
    matrix = np.array(values["confusion"])
    if len(names) <= MOST_CLASSES:
        return [Multiples([confusion_figure("confusions-new", "The run", names, matrix)])]
    return [Tabled(commonest_confusions(names, matrix), "The commonest confusions")]


def _mistakes(scored: ScoredFile) -> list[Any]:
    """Return the gravest mistakes."""
    answers = scored.new.answers
    wrong = np.flatnonzero(~answers.right)
    first = wrong[np.argsort(-answers.sure[wrong], kind="stable")][:SUREST]
    if not len(first):
        return []
    name = Path(scored.run).name
    items = [_shown(scored.new, scored, name, int(place)) for place in first]
    return [Paragraph(f"{scored.grading.mistakes} {name}, of {len(wrong):,}."), ExampleList(items, "judged")]


def _shown(marked: Marked, scored: ScoredFile, name: str, i: int) -> Shown:
    said, sure = scored.grading.says(marked.answers, i)
    examples = marked.examples
    label = scored.grading.label(examples.labels, i)
    place = examples.places[i].removeprefix(f"{Path(scored.file).parent}/")
    whole = (cut(examples.texts[i]), cut(examples.pairs[i] or ""))
    return Shown(place, *whole, label, ((name, said, sure, bool(marked.answers.right[i])),))


def _left_out(scored: ScoredFile) -> list[Any]:
    """Return why rows are in no figure."""
    if not scored.left_out:
        return []
    rest = len(scored.left_out) - TOLD
    more = [f"and {rest:,} more"] if rest > 0 else []
    return [
        Details(f"{len(scored.left_out):,} of {scored.rows:,} rows", [Findings([*scored.left_out[:TOLD], *more])]),
    ]


def _setup(scored: ScoredFile) -> list[tuple[str, str]]:
    calibrated = "no"
    if scored.temperature is not None:
        calibrated = f"at temperature {scored.temperature:.4g}, chosen on {scored.chosen_on:,} validation texts"
    return [
        ("run", scored.run),
        ("file", scored.file),
        ("SHA-256 of the file", scored.sha256),
        ("column of the labels", scored.column),
        ("target", scored.grading.target.said),
        ("tokens read of a text", format_count(scored.max_length)),
        ("calibrated", calibrated),
    ]


def _banners(scored: ScoredFile) -> list[Banner]:
    """Return what a reader must know before any figure."""
    found = []
    if scored.test is None:
        found.append(
            Banner("warning", "No test split", "The run was not tested: there is nothing to hold this against.")
        )
    if scored.left_out:
        text = f"{len(scored.left_out):,} of {scored.rows:,} rows are in no figure; the end of the page says why."
        found.append(Banner("warning", "Rows left out", text))
    count = len(scored.new.answers.labels)
    if count < FEW:
        found.append(Banner("warning", "Few texts", f"{count:,} texts: intervals are wide."))
    return found
