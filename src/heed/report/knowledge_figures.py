"""The figures of an experiment with knowledge: accuracy of each run, reliability, risk and coverage, learning curves.

A group of runs (a variant with its pretraining) has one colour in all figures. Those that would be crowded show the
best run of each group, at most `MOST` of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from heed.report.calibration import reliability
from heed.report.calibration_figure import reliability_figure, risk_figure
from heed.report.figure import Figure, Line, Plane, Row, Scale, lines_figure, rows_figure
from heed.report.figure import paint as paint_of
from heed.report.figures import finite_points, stretches
from heed.report.knowledge_record import AskedRun, KnowledgeRecord
from heed.report.numbers import clock_unit, format_accuracy
from heed.report.record import RunRecord
from heed.report.statistics import wilson
from heed.report.ticks import shorten

MOST = 6


def knowledge_figures(record: KnowledgeRecord) -> dict[str, Figure]:
    """Return every figure that the record has data for: accuracy, reliability-0.., risk, pretraining, fine-tuning."""
    shown = sure_runs(record)
    figures: list[Figure | None] = [accuracy_figure(record)]
    figures += [reliability_of(record, one, place) for place, one in enumerate(shown)]
    if shown:
        curves = {one.name: one.risk for one in shown if one.risk is not None}
        figures.append(risk_figure("risk", curves, colours(record), shown[0].name))
    figures += stage_figures(record)
    return {figure.name: figure for figure in figures if figure is not None}


def colours(record: KnowledgeRecord) -> dict[str, tuple[int, int]]:
    """Return (series, dash) of each run, by its group."""
    given = {}
    for i, runs in enumerate(record.groups.values()):
        given |= dict.fromkeys((one.name for one in runs), paint_of(i))
    return given


def sure_runs(record: KnowledgeRecord) -> list[AskedRun]:
    """Return the runs that the figures of trust show: the best of each group that has probabilities."""
    first = [runs[0] for runs in record.groups.values()]
    return [one for one in first if one.sure[0]][:MOST]


def accuracy_figure(record: KnowledgeRecord) -> Figure:
    """Accuracy of every run with its interval, beside the commonest answer."""
    paint = colours(record)
    rows = []
    for one in record.asked:
        low, high = wilson(one.right, one.total)
        text = f"{format_accuracy(one.accuracy)} ({one.right} of {one.total})"
        rows.append(Row(one.name, text, paint[one.name][0], 100 * one.accuracy, (100 * low, 100 * high)))
    base = record.best.baseline
    label = "right answers (%)"
    rule = None
    if base is not None:
        rule = 100 * base[1] / record.best.total
        label += f"; stroke: always “{shorten(base[0], 16)}”, {rule:.1f}"
    caption = (
        f"Share of {record.best.total:,} questions that are answered exactly (white space at the ends apart), with "
        "Wilson's 95 % interval."
    )
    return rows_figure("accuracy", accuracy_sentence(record), caption, rows, Scale(label, rule=rule))


def accuracy_sentence(record: KnowledgeRecord) -> str:
    """Say how far pretraining carries."""
    without = [one for one in record.asked if one.pretraining == "none"]
    having = [one for one in record.asked if one.pretraining not in ("none", "not known")]
    best = record.best
    if not without or not having:
        more = "the most right answers, " if len(record.asked) > 1 else ""
        return f"{best.name} has {more}{format_accuracy(best.accuracy)}{'' if more else ' right'}"
    return (
        f"At best {format_accuracy(without[0].accuracy)} without pretraining, "
        f"{format_accuracy(having[0].accuracy)} with it"
    )


def reliability_of(record: KnowledgeRecord, one: AskedRun, place: int) -> Figure | None:
    """Return the reliability figure of a run; None without probabilities."""
    if one.calibration is None:
        return None
    name, bins = shorten(one.name, 30), reliability(*one.sure)
    return reliability_figure(f"reliability-{place}", name, bins, one.calibration, colours(record)[one.name])


def stage_figures(record: KnowledgeRecord) -> list[Figure | None]:
    """Return the training losses of the runs that learnt text, and of those that learnt questions."""
    paint = colours(record)
    first = [one for group in record.groups.values() for one in group[:1]]
    runs: list[tuple[str, RunRecord]] = [(one.name, one.run) for one in first if one.run is not None]
    for i, stage in enumerate(record.stages):
        after = next((one.name for one in record.asked if one.before is stage), None)
        # a pretraining has the colour of the runs that came of it
        paint[stage.name] = paint[after] if after else (paint_of(len(runs) + i)[0], 1)
        runs.append((stage.name, stage))
    on_answers = [pair for pair in runs if pair[1].setting("data.objective") == "answers"]
    on_text = [pair for pair in runs if pair not in on_answers]
    return [
        stage_figure("pretraining", on_text, paint, "Learning the text"),
        stage_figure("fine-tuning", on_answers, paint, "Learning to answer"),
    ]


def stage_figure(
    name: str, runs: Sequence[tuple[str, RunRecord]], paint: dict[str, tuple[int, int]], doing: str
) -> Figure | None:
    """Return the training losses of some runs over wall clock; None where nothing was logged."""
    lines = []
    clock = (event.finite("seconds") for _, run in runs for event in run.train)
    size, unit = clock_unit(max((seconds for seconds in clock if seconds is not None), default=0.0))
    for label, run in runs:
        x, y = finite_points(run.train, "seconds", "loss", 1 / size)
        if x:
            x, y, _, _ = stretches(x, y, most=60)
            lines.append(Line(label, x, y, paint[label][0], dash=paint[label][1], noisy=True))
    lines = lines[:MOST]
    if not lines:
        return None
    low = min(lines, key=lambda line: line.y[-1])
    title = f"{doing}: {low.label} ends at {low.y[-1]:.2f} nats"
    caption = "Training loss over its counted tokens, means of stretches, by wall clock of training."
    if len(runs) > len(lines):
        caption += f" The first {len(lines)} of {len(runs)} runs."
    axes = Plane(f"wall clock of training ({unit})", "training loss (nats per token)")
    return lines_figure(name, title, caption, lines, axes)
