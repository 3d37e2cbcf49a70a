"""The figures of a study: differences to the baseline, learning curves, memory and speed, the search.

Each variant has one colour in every figure (Okabe and Ito 2008); the baseline has the ink of the page. With more than
seven variants the colours come again with dashed lines, and every line carries its name at its end. Variants that are
kept out of the ranking are in no curve, since their losses mean something else; the forest plot says why.
"""

from __future__ import annotations

from statistics import fmean, median
from typing import Any

from heed.report.figure import Figure, Line, Plane, Row, Scale, lines_figure, rows_figure
from heed.report.figure import paint as paint_of
from heed.report.numbers import clock_unit, format_perplexity, format_rate, human_bytes, human_count
from heed.report.record import number
from heed.report.statistics import Difference
from heed.report.study_findings import UNITS, MeanCurve, comparable_losses, curve, differences, show_difference
from heed.report.study_lengths_figure import lengths_figure
from heed.report.study_record import StudyRecord
from heed.report.study_speed import by_seed, show_ratio, speed_ratios, speed_title
from heed.report.ticks import short, shorten

AXES = {"steps": ("step", "steps"), "epochs": ("epoch", "epochs"), "time": ("seconds", "wall clock")}
"""Name of a horizontal axis -> the key of an event, and what it is called."""
BEGINNING = 0.2
"""The share of the training that curves leave out."""
SMALL = 240
"""Height of the figures of a search, in CSS pixels."""
FACTOR = 30
"""Values of a parameter over this factor and more stand on a log axis."""


def study_figures(record: StudyRecord) -> dict[str, Figure]:
    """Return every figure that the record has data for, by name: forest, validation-steps, train-time, speed, ..."""
    figures = [forest(record)]
    figures += [curves(record, what, axis) for axis in AXES for what in ("evaluation", "train", "perplexity")]
    figures += [lengths_figure(record, colours(record)), speed(record), memory(record), *search_figures(record)]
    return {figure.name: figure for figure in figures if figure is not None}


def colours(record: StudyRecord) -> dict[str, tuple[int, int]]:
    """Return (series, dash) of each variant: the baseline is series 0, the others follow in the order of the study."""
    others = [name for name in record.variants if name != record.baseline]
    given = {name: paint_of(i) for i, name in enumerate(others)}
    return {record.baseline: (0, 0), **given}


def forest(record: StudyRecord) -> Figure | None:
    """Difference of each variant to the baseline with its interval: the main figure."""
    if len(record.variants) < 2:
        return None
    found = sorted(differences(record), key=lambda d: -d.mean if record.higher_is_better else d.mean)
    paint = colours(record)
    rows = [_forest_row(d, paint[d.b][0]) for d in found]
    rows += [Row(name, f"left out: {reason}") for name, reason in record.left_out.items()]
    unit = UNITS[record.figure]
    sides = ("◂ worse", "better ▸") if record.higher_is_better else ("◂ better", "worse ▸")
    scale = Scale(f"difference to {shorten(record.baseline, 24)} ({unit}, {record.split})", sides=sides)
    title = forest_sentence(record, found)
    if not any(row.value is not None for row in rows):
        return None
    several = any(d.n > 1 for d in found)
    caption = (
        "Line: 95 % t interval of the mean difference, paired over seeds; strokes: the seeds. Filled mark: a "
        "difference after Holm's correction over all variants; open: none found. Shaded: an effect as large as it "
        "reaches would have been found four times in five, a smaller one less often."
        if several
        else "One seed: a mark without an interval, because nothing is known about noise."
    )
    return rows_figure("forest", title, caption, rows, scale, "intervals")


def forest_sentence(record: StudyRecord, found: list[Difference]) -> str:
    """Say how many variants differ from the baseline."""
    if not found or all(d.n < 2 for d in found):
        return f"Differences to {record.baseline} with one seed: no intervals"
    differ = [d for d in found if d.found]
    many = {0: "None", len(found): "All"}.get(len(differ), str(len(differ)))
    if len(found) == 1:
        return f"{found[0].b} {'differs' if differ else 'was not found to differ'} from {record.baseline}"
    return f"{many} of the {len(found)} variants {'differs' if len(differ) == 1 else 'differ'} from {record.baseline}"


def curves(record: StudyRecord, what: str, axis: str) -> Figure | None:
    """Mean loss of each variant over an axis, or the perplexity of its evaluations, with the range of its seeds."""
    key, _ = AXES[axis]
    perplexity = what == "perplexity"
    read = ("evaluation", "token_perplexity") if perplexity else (what, "loss")
    names = comparable_losses(record)
    trained_by = record.variants[record.baseline].setting("train.loss")
    if what == "train":  # a mean of sequences' means is another unit than a mean over tokens
        names = [name for name in names if record.variants[name].setting("train.loss") == trained_by]
    found = {name: curve(record, name, key, *read) for name in names}
    known = {name: line for name, line in found.items() if line is not None}
    if not known:
        return None
    known = {name: _later(line) for name, line in known.items()}
    factor, unit = _axis_unit(axis, max(line.x[-1] for line in known.values()))
    paint = colours(record)
    lines = [
        Line(
            name, [x * factor for x in c.x], c.mean, paint[name][0], c.low, c.high, dash=paint[name][1],
            noisy=what == "train",
        )
        for name, c in known.items()
    ]  # fmt: skip
    title = curve_sentence(known, what, axis)
    y_label = f"{'training' if what == 'train' else 'validation'} {'perplexity' if perplexity else 'loss (nats)'}"
    if what == "train" and trained_by == "sequence":
        y_label = "training loss (nats, mean of sequences' means)"
    axes = Plane(unit, y_label, log_y=perplexity)
    several = any(line.low for line in lines)
    caption = ("Mean over seeds; band: lowest to highest seed." if several else "One seed.") + " Shown"
    caption += " from a fifth of the training on, where differences can be seen." + (
        " Training loss as it was logged, with dropout where there is any." if what == "train" else ""
    )
    hidden = [name for name in record.variants if name not in known]
    if hidden and what != "perplexity":
        caption += f" Not drawn: {', '.join(hidden)}."
    return lines_figure(f"{'validation' if what == 'evaluation' else what}-{axis}", title, caption, lines, axes)


def _axis_unit(axis: str, top: float) -> tuple[float, str]:
    """Return the factor from the key of an event to an axis that reaches `top`, and the axis label."""
    if axis != "time":
        return 1.0, {"steps": "step", "epochs": "epochs"}[axis]
    size, name = clock_unit(top)
    return 1 / size, f"wall clock of training ({name})"


def curve_sentence(known: dict[str, MeanCurve], what: str, axis: str = "steps") -> str:
    """Say where the curves end; over the clock each ends where its fastest seed does, so that ends rank nothing."""
    ends = {name: line.mean[-1] for name, line in known.items()}
    low, high = min(ends, key=ends.__getitem__), max(ends, key=ends.__getitem__)
    kind = {"evaluation": "Validation loss", "train": "Training loss", "perplexity": "Validation perplexity"}[what]
    shown = {name: format_perplexity(end) if what == "perplexity" else f"{end:.3f}" for name, end in ends.items()}
    if axis == "time" and len(ends) > 1:
        return f"{kind} over the wall clock, as far as the fastest seed of each"
    if len(ends) == 1:
        return f"{kind} of {low} ends at {shown[low]}"
    if shown[low] == shown[high]:
        return f"{kind} ends at {shown[low]} for all"
    return f"{kind} ends lowest for {low} ({shown[low]}), highest for {high} ({shown[high]})"


def speed(record: StudyRecord) -> Figure | None:
    """Training tokens a second of each variant, its seeds as an interval from slowest to fastest."""
    paint, ratio = colours(record), {d.b: show_ratio(d) for d in speed_ratios(record) if d.n > 1}
    rows = []
    for name in record.variants:
        values = [value / 1e3 for value in by_seed(record, name, "speed").values()]
        if values:
            words = f"{human_count(1e3 * median(values))}/s" + (f", {ratio[name]} of it" if name in ratio else "")
            spread = (min(values), max(values)) if len(values) > 1 else None
            rows.append(Row(name, words, paint[name][0], median(values), spread))
    if not rows:
        return None
    caption = "Median of the logged steps, without the first, by wall clock: other work on the machine is in it."
    if ratio:
        caption += (
            f" Bar: median over seeds; stroke: slowest to fastest seed. In brackets: 95 % interval of the ratio to "
            f"{shorten(record.baseline, 24)}, paired over seeds."
        )
    else:
        caption += f" {_seeds(record)}"
    return rows_figure("speed", speed_title(record), caption, rows, Scale("thousand training tokens a second"))


def memory(record: StudyRecord) -> Figure | None:
    """Peak memory of each variant, with the steady one in words."""
    steady = {name: _mean(record, name, "steady") for name in record.variants}

    def words(name: str, value: float) -> str:
        kept = steady[name]
        return human_bytes(value) + (f" (steady {human_bytes(kept)})" if kept is not None else "")

    rows, values = _bars(record, "peak", lambda value: "", 2.0**20)
    if not rows:
        return None
    rows = [Row(row.label, words(row.label, values[row.label]), row.series, row.value) for row in rows]
    most, least = max(values, key=values.__getitem__), min(values, key=values.__getitem__)
    title = f"{most} needs most memory, {human_bytes(values[most])}; {least} least, {human_bytes(values[least])}"
    if human_bytes(values[most]) == human_bytes(values[least]):
        title = f"All need {human_bytes(values[most])} of memory at most"
    return rows_figure("memory", title, f"Measured while training. {_seeds(record)}", rows, Scale("peak memory (MiB)"))


def search_figures(record: StudyRecord) -> list[Figure]:
    """Return one figure for each searched parameter: its values against the figure they came to."""
    trials = (record.search or {}).get("trials")
    done = (
        [t for t in trials if isinstance(t, dict) and number(t.get("figure")) is not None]
        if isinstance(trials, list)
        else []
    )
    done = [trial for trial in done if isinstance(trial.get("values"), dict)]
    if not done:
        return []
    pick = max if record.higher_is_better else min
    best = pick(done, key=lambda trial: trial["figure"])
    names = list(dict.fromkeys(name for trial in done for name in trial["values"]))
    return [_search_figure(record, str(name), done, best, place) for place, name in enumerate(names)]


def _search_figure(
    record: StudyRecord, name: str, done: list[dict[str, Any]], best: dict[str, Any], place: int
) -> Figure:
    """Return one parameter against the figure; a parameter that is no number takes the places of its names."""
    having = [trial for trial in done if name in trial["values"]]
    numbers = [number(trial["values"][name]) for trial in having]
    known = [value for value in numbers if value is not None]
    words = sorted({str(trial["values"][name]) for trial in having}) if len(known) < len(having) else []
    across = [float(words.index(str(trial["values"][name]))) for trial in having] if words else known
    lines = []
    for filled in (True, False):
        points = sorted(
            (x, float(trial["figure"])) for x, trial in zip(across, having, strict=True)
            if (str(trial.get("state")) != "pruned") == filled
        )  # fmt: skip
        ring = next((p for p in points if filled and p[1] == best["figure"] and name in best["values"]), None)
        if points:
            x, y = zip(*points, strict=True)
            lines.append(
                Line("", x, y, 1, dots=True, stroke=False, filled=filled, ring=(*ring, "") if ring else None)
            )  # fmt: skip
    value = best["values"].get(name)
    shown = format_rate(value) if number(value) is not None else str(value)
    title = f"Best at {name} {shown}: {short(float(best['figure']))}"
    caption = f"{len(having)} trials; the ring is the best one, open marks were pruned."
    log = not words and min(across) > 0 and max(across) / min(across) >= FACTOR
    axes = Plane(
        name, f"{record.figure.replace('_', ' ')} ({record.split})", log_x=log, words=tuple(words), height=SMALL
    )  # fmt: skip
    return Figure(f"search-{place}", title, caption, "points", tuple(lines), axes)


def _forest_row(d: Difference, series: int) -> Row:
    """Return the row of a difference, its numbers rounded to what the interval allows."""
    dots = d.differences if d.n > 1 else ()
    return Row(d.b, show_difference(d), series, d.mean, d.t_interval, dots, d.detectable, filled=d.found)


def _later(line: MeanCurve) -> MeanCurve:
    """Leave out the beginning of a curve: its high losses would press the rest together."""
    i = next(i for i, x in enumerate(line.x) if x >= BEGINNING * line.x[-1])
    return MeanCurve(line.x[i:], line.mean[i:], line.low[i:], line.high[i:], line.seeds)


def _mean(record: StudyRecord, name: str, what: str) -> float | None:
    values = [
        v
        for cell in record.cells_of(name)
        if cell.state in ("finished", "leaks") and (v := getattr(cell, what)) is not None
    ]
    return fmean(values) if values else None


def _bars(record: StudyRecord, what: str, words: Any, unit: float) -> tuple[list[Row], dict[str, float]]:
    """Return a bar a variant of what its cells say, and the values."""
    paint = colours(record)
    values = {name: value for name in record.variants if (value := _mean(record, name, what)) is not None}
    rows = [Row(name, words(value), paint[name][0], value / unit) for name, value in values.items()]
    return rows, values


def _seeds(record: StudyRecord) -> str:
    return "Mean over seeds." if len(record.seeds) > 1 else "One seed."
