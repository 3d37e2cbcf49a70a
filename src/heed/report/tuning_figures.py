"""The figures of a tune: accuracy, differences, memory, what accuracy costs, training, rates, calibration, sizes.

Accuracy stands for what arms are compared by: of other targets than classes it is another figure.

An arm has one colour in every figure, by its place in the command, so that it keeps it while the tune goes on. An arm
that failed or did not fit is drawn as 0 and marked; an arm without runs yet is named and has no bar.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Literal

from heed.records.tune import CurvePoint
from heed.report.figure import Figure, Line, Plane, Row, Scale, lines_figure, rows_figure
from heed.report.figure import paint as paint_of
from heed.report.numbers import format_accuracy, format_rate, human_bytes, human_seconds, said_difference, said_shares
from heed.report.ticks import log_ticks, shorten
from heed.report.tuning_advice import TOLERANCE, Gap, interval_of
from heed.report.tuning_arms import Arm
from heed.report.tuning_findings import examples_and_seeds, front_caption, in_order, listed, most_right, test_of
from heed.report.tuning_record import TuningRecord

PANELS = 12
"""Arms that have a panel of curves, the best first."""
RELIABLE = 6
"""Arms that have a reliability figure, the best first."""
PANEL = 240
"""Height of a panel of curves, in CSS pixels."""
PARTS = {"weights": 1, "gradients": 6, "optimizer": 4, "activations": 5}
"""Part of the memory -> its colour, as in the figure of `heed memory`."""


def tuning_figures(record: TuningRecord, gaps: Mapping[str, Gap]) -> dict[str, Figure]:
    """Return every figure that the record has data for: accuracy, gaps, memory, front-memory, curve-0.., rates, ..."""
    found = [accuracy_figure(record), gaps_figure(record, gaps), memory_figure(record)]
    found += [front_figure(record, "memory"), front_figure(record, "time"), rates_figure(record)]
    for place, arm in enumerate(_trained(record)):
        found += [curve_figure(record, arm, place), accuracy_curve(record, arm, place)]
    found += [sizes_figure(record), *reliability_figures(record)]
    return {figure.name: figure for figure in found if figure is not None}


def colours(record: TuningRecord) -> dict[str, tuple[int, int]]:
    """Return (series, dash) of each arm."""
    return {arm.name: paint_of(i) for i, arm in enumerate(record.arms)}


def accuracy_figure(record: TuningRecord) -> Figure | None:
    """Accuracy (or what stands in its place) of each arm with its interval, beside always the same answer."""
    if not record.ran and not any(arm.broken for arm in record.arms):
        return None
    paint, split = colours(record), record.split
    rows = []
    for arm in in_order(record):
        mean, interval = record.mean(arm, split), interval_of(record, arm, split)
        if mean is not None and interval is not None:
            text = f"{format_accuracy(mean)} ({said_shares(*interval)})"
            low, high = interval
            rows.append(Row(arm.name, text, paint[arm.name][0], 100 * mean, (100 * low, 100 * high)))
        else:
            rows.append(Row(arm.name, f"0: {arm.status}", 0, 0.0) if arm.broken else Row(arm.name, "not run yet"))
    base, grading = record.baseline(split), record.grading
    label = f"{split} {grading.called} (%)"
    rule = None if base is None else 100 * base
    label += "" if base is None else f"; stroke: {grading.always.removeprefix('the ')}, {100 * base:.1f}"
    title = most_right(record)
    called = f"{grading.called[0].upper()}{grading.called[1:]}"
    caption = f"{called}, mean over seeds, with a 95 % interval over {examples_and_seeds(record)}."
    if any(arm.broken for arm in record.arms):
        caption += f" 0: the arm failed or did not fit into memory; it has no {grading.called}."
    return rows_figure("accuracy", title, caption, rows, Scale(label, rule=rule))


def gaps_figure(record: TuningRecord, gaps: Mapping[str, Gap]) -> Figure | None:
    """Difference of each arm to the reference, on the same examples."""
    if not gaps or record.reference is None:
        return None
    paint, name = colours(record), record.reference.name
    rows = []
    for gap in sorted(gaps.values(), key=lambda gap: -gap.points):
        text = said_difference(gap.points, gap.interval)
        colour, found = paint[gap.arm][0], gap.pair.differs
        rows.append(Row(gap.arm, text, colour, gap.points, gap.interval, zone=TOLERANCE, filled=found))
    kinds = [("found worse", False, True), ("found better", True, True), ("no difference found", None, False)]
    parts = []
    for words, better, told in kinds:
        arms = [g.arm for g in gaps.values() if g.pair.differs == told and better in (None, g.points > 0)]
        parts += [f"{words}: {listed(arms)}"] if arms else []
    title = f"Against {name}, {'; '.join(parts)}"
    test = test_of([gap.pair for gap in gaps.values()])
    kind = record.grading.interval_kind
    caption = (
        f"Line: 95 % {kind} interval over the same examples{' and seeds' if 'seeds' in test else ''}. Filled: "
        f"{test[0].lower() + test[1:] if test.startswith('The') else test} finds a difference, after Holm's "
        "correction; open: none found, whatever the line shows. Shaded: within 1 point."
    )
    label = f"difference to {shorten(name, 24)} (points of {record.grading.called}, {record.split})"
    scale = Scale(label, sides=("◂ worse", "better ▸"))
    return rows_figure("gaps", title, caption, rows, scale, "intervals")


def memory_figure(record: TuningRecord) -> Figure | None:
    """Peak memory of a training step of each arm, by what holds it."""
    having = [(arm, arm.memory) for arm in in_order(record) if arm.memory is not None and not arm.broken]
    if not having:
        return None
    unit = 2.0**20
    rows = []
    for arm, memory in having:
        peaks = [(memory.forward_peak, "forward"), (memory.backward_peak, "backward")]
        said = ", ".join(f"{what} {human_bytes(value)}" for value, what in peaks if value is not None)
        parts = tuple((getattr(memory, part) / unit, series) for part, series in PARTS.items())
        total = human_bytes(memory.peak)
        rows.append(Row(arm.name, f"{total} ({said})" if said else total, 0, memory.peak / unit, parts=parts))
    for arm in record.arms:
        if arm.broken:
            rows.append(Row(arm.name, f"0: {arm.status}", 0, 0.0))
    peaks = {arm.name: memory.peak for arm, memory in having}
    most, least = max(peaks, key=peaks.__getitem__), min(peaks, key=peaks.__getitem__)
    title = f"{least} needs {human_bytes(peaks[least])}" + (
        f", {most} {human_bytes(peaks[most])}" if most != least else ""
    )
    sizes = {(memory.batch_size, memory.tokens) for _, memory in having if memory.batch_size and memory.tokens}
    caption = "Memory of one training step" + (
        f" of {' or '.join(f'{batch} rows of {tokens} tokens' for batch, tokens in sorted(sizes))}." if sizes else "."
    )
    caption += f" {memory_caption(record)}"
    return rows_figure("memory", title, caption, rows, Scale("memory (MiB)", key=tuple(PARTS.items())))


def memory_caption(record: TuningRecord) -> str:
    """Say what the parts of the memory are, and the peaks of forward and backward."""
    if any(arm.memory is not None and arm.memory.subtracted for arm in record.arms):
        return (
            "An older heed measured this: its activations are the peak less all gradients, although these need not "
            "exist yet, and its backward is the whole step. Only totals and forward can be compared."
        )
    return (
        "Parts: what is alive at the moment of the peak. Forward: its own peak, beside weights and optimizer state; "
        "backward: its peak above all that is held when it begins."
    )


def front(costs: Mapping[str, float], accuracies: Mapping[str, float]) -> list[str]:
    """Return the names that no other beats: none costs no more and is right more often; the cheapest first.

    >>> front({"a": 1, "b": 2, "c": 3}, {"a": 0.8, "b": 0.7, "c": 0.9})
    ['a', 'c']

    What is level at both beats nothing.

    >>> front({"a": 1, "b": 1, "c": 1}, {"a": 0.8, "b": 0.8, "c": 0.7})
    ['a', 'b']
    """
    kept: list[str] = []
    for name in sorted(costs, key=lambda name: (costs[name], -accuracies[name])):
        level = bool(kept) and (costs[name], accuracies[name]) == (costs[kept[-1]], accuracies[kept[-1]])
        if not kept or level or accuracies[name] > accuracies[kept[-1]]:
            kept.append(name)
    return kept


def front_figure(record: TuningRecord, what: str) -> Figure | None:
    """Accuracy against peak memory, or against training time, with the arms that no other beats joined."""
    costs = {
        arm.name: cost
        for arm in record.ran
        if (cost := arm.seconds if what == "time" else arm.memory and arm.memory.peak)
    }
    if len(costs) < 2:
        return None
    right = {arm.name: 100 * (record.mean(arm, record.split) or 0.0) for arm in record.ran}
    kept, paint = front(costs, right), colours(record)
    unit, word = _cost_unit(what, max(costs.values()))
    corners = [(costs[kept[0]] / unit, right[kept[0]])]
    for name in kept[1:]:
        corners += [(costs[name] / unit, corners[-1][1]), (costs[name] / unit, right[name])]
    lines = [Line("", [x for x, _ in corners], [y for _, y in corners], 0, dash=1)] if len(kept) > 1 else []
    lines += [Line(name, [cost / unit], [right[name]], paint[name][0], stroke=False) for name, cost in costs.items()]
    beaten = [name for name in costs if name not in kept]
    show = human_seconds if what == "time" else human_bytes
    called = record.grading.called
    title = f"{kept[-1]} has the highest {called} for {show(costs[kept[-1]])} of {what}"
    if len(kept) > 1:
        title = f"What {called} costs in {what}: from {kept[0]}, {show(costs[kept[0]])}, to {kept[-1]}, "
        title += show(costs[kept[-1]])
    caption = front_caption(kept, beaten)
    axes = Plane(word, f"{called} (%, {record.split})")
    return lines_figure(f"front-{what}", title, caption, lines, axes, "points")


def curve_figure(record: TuningRecord, arm: Arm, place: int) -> Figure | None:
    """Training and validation loss of an arm over epochs, means over seeds with their range."""
    measured = any(point.train_measured_loss is not None for run in arm.runs for point in run.curve)
    training = "train_measured_loss" if measured else "train_loss"
    curves = [run.curve for run in arm.runs]
    found = [
        ("training", mean_curve(curves, training), 1), ("validation", mean_curve(curves, "validation_loss"), 2)
    ]  # fmt: skip
    lines = _curves(arm, found)
    if not lines:
        return None
    how = "a fixed part of its texts, measured as validation is" if measured else "the mean of its steps' losses"
    caption = f"{_of_seeds(arm)} Training: {how}."
    axes = Plane("epoch", f"loss ({record.grading.unit})", height=PANEL)
    return lines_figure(f"curve-{place}", curve_sentence(arm.name, lines[-1]), caption, lines, axes)


def accuracy_curve(record: TuningRecord, arm: Arm, place: int) -> Figure | None:
    """Training and validation accuracy of an arm over epochs, means over seeds with their range."""
    curves, called = [run.curve for run in arm.runs], record.grading.called
    found = [("training", mean_figure(curves, "train"), 1), ("validation", mean_figure(curves, "validation"), 2)]
    lines = _curves(arm, found, 100.0)
    if len(lines) < 2:
        return None
    ends = [f"{line.label} {line.y[-1]:.1f} %" for line in lines]
    title = f"{arm.name}: {called} ends at {' and '.join(ends)}"
    caption = f"{_of_seeds(arm)} Training: a fixed part of its texts, measured as validation is."
    axes = Plane("epoch", f"{called} (%)", height=PANEL)
    return lines_figure(f"curve-{place}-accuracy", title, caption, lines, axes)


def _curves(arm: Arm, found: Sequence[tuple[str, tuple[list[float], ...], int]], times: float = 1.0) -> list[Line]:
    """Return a line for each (label, epochs with mean, lowest and highest value, series) that has points."""
    lines = []
    for label, (x, *values), series in found:
        if x:
            y, low, high = ([times * value for value in some] for some in values)
            lines.append(Line(label, x, y, series, *((low, high) if len(arm.runs) > 1 else ((), ())), dots=len(x) < 12))
    return lines


def _of_seeds(arm: Arm) -> str:
    return f"Mean of {len(arm.runs)} seeds; band: lowest to highest." if len(arm.runs) > 1 else "One seed."


def curve_sentence(name: str, line: Line) -> str:
    """Say where the validation loss is lowest, and what comes after.

    >>> curve_sentence("lora", Line("validation", [1, 2, 3], [0.4, 0.25, 0.31], 2))
    'lora: validation loss is lowest at epoch 2 (0.250), then rises to 0.310'
    """
    low = min(line.y)
    at, last = line.x[list(line.y).index(low)], line.y[-1]
    end = f", then rises to {last:.3f}" if last > low else ""
    return f"{name}: {line.label} loss is lowest at epoch {at:g} ({low:.3f}){end}"


def mean_curve(curves: Sequence[Sequence[CurvePoint]], key: str) -> tuple[list[float], ...]:
    """Return epochs, mean, lowest and highest value over those epochs that every curve has."""
    return _over_epochs([[(point.epoch, getattr(point, key)) for point in curve] for curve in curves])


def mean_figure(
    curves: Sequence[Sequence[CurvePoint]], split: Literal["train", "validation"]
) -> tuple[list[float], ...]:
    """Return the same of the accuracy on a split, or of what stands in its place."""
    return _over_epochs([[(point.epoch, point.figure(split)) for point in curve] for curve in curves])


def _over_epochs(curves: Sequence[Sequence[tuple[float, float | None]]]) -> tuple[list[float], ...]:
    tables = [{round(epoch, 3): value for epoch, value in curve if value is not None} for curve in curves]
    shared = sorted(set.intersection(*(set(table) for table in tables))) if tables else []
    columns = [[table[epoch] for table in tables] for epoch in shared]
    return shared, [fmean(column) for column in columns], [min(c) for c in columns], [max(c) for c in columns]


def rates_figure(record: TuningRecord) -> Figure | None:
    """Validation accuracy over the rates that were searched, the chosen one ringed."""
    paint, lines, chosen = colours(record), [], {}
    for arm in record.arms:
        trials = sorted((one for one in arm.search if one.value is not None), key=lambda one: one.learning_rate)
        if trials:
            x, y = [one.learning_rate for one in trials], [100 * (one.value or 0.0) for one in trials]
            ring = next(((a, b, "") for one, a, b in zip(trials, x, y, strict=True) if one.chosen), None)
            chosen |= {arm.name: ring[0]} if ring else {}
            lines.append(Line(arm.name, x, y, paint[arm.name][0], dots=True, ring=ring, dash=paint[arm.name][1]))
    across = sorted({x for line in lines for x in line.x})
    if len(across) < 2:
        return None
    low, high = (pick(chosen, key=chosen.__getitem__, default="") for pick in (min, max))
    called = f"{record.grading.called[0].upper()}{record.grading.called[1:]}"
    title = f"{called} over the learning rates that were searched"
    if low and high:
        title = f"The chosen rates go from {format_rate(chosen[low])} ({low}) to {format_rate(chosen[high])} ({high})"
        if chosen[low] == chosen[high]:
            title = f"Every arm chose the rate {format_rate(chosen[low])}"
    lost = sum(one.value is None for arm in record.arms for one in arm.search)
    caption = (
        f"{called} on the validation split after the steps of the search; ring: the rate of the lowest "
        f"{record.grading.criterion.replace('validation ', '')}."
    )
    caption += f" {lost} trials broke down and are not drawn." if lost else ""
    ends = [f"{arm.name} ({arm.edge})" for arm in record.arms if arm.edge is not None]
    caption += f" At the end of what was tried, and better ones may lie beyond: {listed(ends)}." if ends else ""
    ticks = tuple(log_ticks(across[0], across[-1]))
    axes = Plane("learning rate (log)", f"validation {record.grading.called} (%)", log_x=True, x_ticks=ticks)
    return lines_figure("rates", title, caption, lines, axes)


def sizes_figure(record: TuningRecord) -> Figure | None:
    """Accuracy over the number of training examples."""
    paint, lines = colours(record), []
    split = "test" if any(size.test is not None for size in record.sizes) else "validation"
    for name in dict.fromkeys(size.arm for size in record.sizes):
        found: dict[int, list[float]] = {}
        for size in record.sizes:
            scores = size.test if split == "test" else size.validation
            if size.arm == name and scores is not None:
                found.setdefault(size.examples, []).append(100 * getattr(scores, record.grading.figure))
        x = sorted(found)
        low, high = ([pick(found[n]) for n in x] for pick in (min, max))
        series, dash = paint.get(name, (0, 0))
        if x:
            lines.append(Line(name, x, [fmean(found[n]) for n in x], series, low, high, dots=True, dash=dash))
    if not lines or len({x for line in lines for x in line.x}) < 2:
        return None
    best = max(lines, key=lambda line: line.y[-1])
    title = (
        f"{best.label} has {record.grading.right(f'{best.y[0]:.1f} %')} after {best.x[0]:,.0f} examples, "
        f"{best.y[-1]:.1f} % after "
        f"{best.x[-1]:,.0f}"
    )
    several = any(tuple(line.low) != tuple(line.high) for line in lines)
    caption = "Mean over seeds; band: lowest to highest." if several else "One seed at each size."
    ticks = tuple(float(x) for x in sorted({x for line in lines for x in line.x}))
    axes = Plane("training examples (log)", f"{record.grading.called} (%, {split})", log_x=True, x_ticks=ticks)
    return lines_figure("sizes", title, caption, lines, axes)


def reliability_figures(record: TuningRecord) -> list[Figure]:
    """Return how far the probabilities of each arm can be trusted, each by its best run."""
    paint, having = colours(record), [arm for arm in record.ran if record.split in arm.best_run.answers]
    found = [
        record.grading.trust(
            f"reliability-{place}", arm.best_run.answers[record.split], shorten(arm.name, 30), paint[arm.name]
        )
        for place, arm in enumerate(having[:RELIABLE])
    ]
    return [figure for figure in found if figure is not None]


def _trained(record: TuningRecord) -> list[Arm]:
    """Return the arms that have a panel of curves."""
    return [arm for arm in record.ran if any(run.curve for run in arm.runs)][:PANELS]


def _cost_unit(what: str, most: float) -> tuple[float, str]:
    """Return the unit of a cost that reaches `most`, and the label of its axis."""
    if what == "memory":
        return (2.0**30, "peak memory (GiB)") if most >= 2**32 else (2.0**20, "peak memory (MiB)")
    sizes = ((7200, 3600.0, "hours"), (120, 60.0, "minutes"), (0, 1.0, "seconds"))
    unit, word = next((unit, word) for least, unit, word in sizes if most >= least)
    return unit, f"training time of a run ({word})"
