"""What a study has found, in sentences: differences to the baseline, the ranking, and what was left out.

Each variant is held against the baseline over the seeds that both have (`heed.report.statistics`), with Holm's
correction over all variants. A variant that may not be compared is in `StudyRecord.left_out` and in no number here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from heed.report.numbers import human_count, human_seconds
from heed.report.record import RunRecord, number
from heed.report.statistics import Difference, compare_pairs, correct, t_interval
from heed.report.study_record import StudyRecord

UNITS = {
    "loss": "nats",
    "sequence_mean_loss": "nats",
    "bits_per_byte": "bits per byte",
    "accuracy": "percentage points",
    "token_perplexity": "points of token perplexity",
    "word_perplexity": "points of word perplexity",
}
"""What a difference of a figure is counted in."""
POINTS = 100
"""An accuracy is a share; its differences are told in percentage points."""
LAST_SHARE = 0.1
"""The training loss at the end is the mean over this share of the logged steps."""


@dataclass(frozen=True)
class Ranked:
    """A variant in the ranking."""

    variant: str
    mean: float
    interval: tuple[float, float] | None
    """The t interval of the mean over seeds; None with one seed."""
    seeds: int


@dataclass(frozen=True)
class Curve:
    """The mean over seeds of something logged, with the lowest and the highest seed."""

    x: list[float]
    mean: list[float]
    low: list[float]
    high: list[float]
    seeds: int


def scale(record: StudyRecord) -> float:
    """Return by what a figure is multiplied before it is shown."""
    return POINTS if record.figure == "accuracy" else 1


def differences(record: StudyRecord, split: str | None = None) -> list[Difference]:
    """Return each ranked variant against the baseline, corrected together, in the unit of `UNITS`."""
    if record.baseline not in record.ranked:
        return []
    factor = scale(record)
    values = {
        name: {seed: factor * value for seed, value in record.values(name, split).items()} for name in record.ranked
    }
    base = values[record.baseline]
    found = [
        compare_pairs(record.baseline, name, base, values[name], higher_is_better=record.higher_is_better)
        for name in record.ranked
        if name != record.baseline and base.keys() & values[name].keys()
        if not record.other_passport(name, split or record.split)
    ]
    return correct(found)


def sentences(record: StudyRecord) -> list[str]:
    """Return what was found of each variant, the surest first, then what was left out and why."""
    found = sorted(differences(record), key=lambda d: (d.verdict == "no difference found", -abs(d.mean)))
    lines = [_sentence(d.sentence(UNITS[record.figure])) for d in found]
    if record.baseline in record.left_out:
        lines.append(f"Nothing can be compared yet: the baseline {record.baseline} {_was(record, record.baseline)}.")
    elif len(record.variants) == 1:
        lines.append("There is one variant: nothing to compare it with.")
    elif not found:
        lines.append(f"Nothing can be compared yet: no variant has a seed in common with {record.baseline}.")
    return lines + [
        _sentence(f"{name} is left out of ranking and statistics: it {_was(record, name)}")
        for name in record.left_out
        if name != record.baseline and record.left_out[name] != "not run yet"
    ]


def verdict(record: StudyRecord) -> str:
    """Say in one sentence what the study comes to."""
    found = differences(record)
    if not found:
        return "Nothing can be compared yet."
    if all(d.t_interval is None for d in found):
        best = ranking(record)[0].variant
        return f"One seed: {best} came out best, and nothing can be said about noise."
    by = {word: [d for d in found if d.verdict == word] for word in ("better", "worse", "no difference found")}
    none = [d for d in by["no difference found"] if d.t_interval is not None]
    alone = [d for d in found if d.t_interval is None]
    by["better"].sort(key=lambda d: -abs(d.mean))
    by["worse"].sort(key=lambda d: -abs(d.mean))
    parts = [f"{_some(by[word], most=True)} {_are(by[word])} {word}" for word in ("better", "worse") if by[word]]
    if not parts:
        largest = max((d.detectable or 0.0) for d in found)
        missed = f"; differences under {largest:.2g} {UNITS[record.figure]} would have been missed" if largest else ""
        return f"No variant was found to differ from {record.baseline}{missed}."
    rest = f"; for {_some(none)} no difference was found" if none else ""
    rest += f"; {_some(alone)} {'has' if len(alone) == 1 else 'have'} one seed so far" if alone else ""
    return _sentence(f"against {record.baseline}, {' and '.join(parts)}{rest}")


def ranking(record: StudyRecord) -> list[Ranked]:
    """Return the variants that may be ranked, the best first; those that still lack seeds come last.

    A mean over fewer seeds is no fair neighbour: seeds differ by more than variants often do.
    """
    ranks = []
    for name in record.ranked:
        values = [scale(record) * value for value in record.values(name).values()]
        interval = t_interval(values) if len(values) > 1 else None
        ranks.append(Ranked(name, fmean(values), interval, len(values)))
    sign = -1 if record.higher_is_better else 1
    return sorted(ranks, key=lambda rank: (-rank.seeds, sign * rank.mean))


def picks(record: StudyRecord) -> list[str]:
    """Return the best one, the fastest to a given loss and the best generalisation, a sentence each."""
    ranks = ranking(record)
    chosen = []
    if ranks:
        first = ranks[0]
        clear = f" ({first.seeds} seeds)" if first.seeds > 1 else " (one seed)"
        if any(rank.seeds < first.seeds for rank in ranks):
            clear += ", among those with as many seeds"
        name = record.figure.replace("_", " ")
        chosen.append(
            f"Best {name} on the {record.split} split: {first.variant} with {format_figure(record, first)}{clear}."
        )
    return [*chosen, *filter(None, (fastest(record), generalisation(record)))]


def format_figure(record: StudyRecord, rank: Ranked) -> str:
    """Return a mean with half of its interval, as it is shown."""
    half = (rank.interval[1] - rank.interval[0]) / 2 if rank.interval else None
    return format_interval(rank.mean, half) + (" %" if record.figure == "accuracy" else "")


def format_interval(mean: float, half: float | None) -> str:
    """Return mean ± half, rounded to what the interval allows: two digits of it where the first is 1, else one.

    Four decimals at most: with few seeds an interval may be narrow by chance.

    >>> format_interval(1.23456, 0.0123), format_interval(1.23456, 0.0456), format_interval(68.7, 3.0)
    ('1.235 ± 0.012', '1.23 ± 0.05', '69 ± 3')
    >>> format_interval(1.23456, None), format_interval(1.5, 0.0), format_interval(2.400386, 0.000093)
    ('1.235', '1.5000 ± 0.0000', '2.4004 ± 0.0001')
    """
    if half is None:
        return f"{mean:.3f}" if abs(mean) < 100 else f"{mean:.1f}"
    if half == 0:
        return f"{mean:.4f} ± 0.0000"
    exponent = int(np.floor(np.log10(half)))
    places = min(4, max(0, -exponent + (1 if half / 10.0**exponent < 1.95 else 0)))
    return f"{mean:.{places}f} ± {half:.{places}f}"


def show_difference(d: Difference) -> str:
    """Return a difference with its interval, rounded to what the interval allows."""
    if d.t_interval is None:
        return f"{d.mean:+.4f}"
    places = _places(d.t_interval)
    return f"{d.mean:+.{places}f} ({d.t_interval[0]:+.{places}f} to {d.t_interval[1]:+.{places}f})"


def _places(interval: tuple[float, float]) -> int:
    """Return how many decimals an interval deserves: as many as half of it has digits that count."""
    shown = format_interval(0.0, (interval[1] - interval[0]) / 2).split(" ± ")[1]
    return len(shown.partition(".")[2])


def curve(record: StudyRecord, variant: str, x: str, what: str = "evaluation", figure: str = "loss") -> Curve | None:
    """Return the mean of a figure of a variant over x ("step", "epoch", "tokens" or "seconds"), where all seeds are.

    `what` is evaluation (validation) or train. Seeds whose points lie elsewhere are read between their points.
    """
    lines = []
    for cell in record.cells_of(variant):
        if cell.run is None or cell.state != "finished":
            continue
        events = cell.run.evaluations if what == "evaluation" else cell.run.train
        steps = [number(event.get("step")) for event in cell.run.train]
        epochs = [number(event.get("epoch")) for event in cell.run.train]
        known = [(s, e) for s, e in zip(steps, epochs, strict=True) if s is not None and e is not None]
        points = []
        for event in events:
            at, value = number(event.get(x)), number(event.get(figure))
            if x == "epoch" and at is None and known:  # an evaluation knows its step only
                at = float(np.interp(event["step"], [s for s, _ in known], [e for _, e in known]))
            if at is not None and value is not None:
                points.append((at, value))
        if points:
            lines.append(np.array(sorted(points)).T)
    if not lines:
        return None
    begin, end = max(line[0][0] for line in lines), min(line[0][-1] for line in lines)
    grid = np.array([at for at in lines[0][0] if begin <= at <= end])
    if not len(grid):
        return None
    # the range ends where the shortest seed ends: its last point counts as well
    grid = np.append(grid, end) if grid[-1] < end else grid
    y = np.array([np.interp(grid, *line) for line in lines])
    low, high = (y.min(axis=0), y.max(axis=0)) if len(lines) > 1 else (np.array([]), np.array([]))
    return Curve(grid.tolist(), y.mean(axis=0).tolist(), low.tolist(), high.tolist(), len(lines))


def comparable_losses(record: StudyRecord) -> list[str]:
    """Return the ranked variants whose loss means the same as the baseline's."""
    return [name for name in record.ranked if not record.other_passport(name, record.split, "loss")]


def fastest(record: StudyRecord) -> str | None:
    """Say which mean validation curve first passes the loss that all of them reach, in wall clock of training."""
    found = {name: curve(record, name, "seconds") for name in comparable_losses(record)}
    curves = {name: line for name, line in found.items() if line is not None}
    if len(curves) < 2:
        return None
    goal = max(min(line.mean) for line in curves.values())
    times = {name: first_below(line.x, line.mean, goal) for name, line in curves.items()}
    first, *others = sorted(times, key=times.__getitem__)
    shown = ", ".join(f"{name} {human_seconds(times[name])}" for name in others[:3])
    more = f" and {len(others) - 3} more later" if len(others) > 3 else ""
    return (
        f"Fastest to a validation loss of {goal:.3f} nats, which all reach: {first} after "
        f"{human_seconds(times[first])} of training ({shown}{more})."
    )


def first_below(x: Sequence[float], y: Sequence[float], goal: float) -> float:
    """Return where a line of points first comes down to `goal`, which it reaches.

    >>> first_below([0, 10, 20], [4.0, 3.0, 1.0], 2.0)
    15.0
    """
    at = next(i for i, value in enumerate(y) if value <= goal)
    if at == 0:
        return float(x[0])
    part = (y[at - 1] - goal) / (y[at - 1] - y[at])
    return float(x[at - 1] + part * (x[at] - x[at - 1]))


def generalisation(record: StudyRecord) -> str | None:
    """Say which variant has the smallest gap between its training and its validation loss at the end."""
    gaps = {}
    for name in comparable_losses(record):
        found = [
            gap for cell in record.cells_of(name) if cell.state == "finished" and (gap := _gap(cell.run)) is not None
        ]
        if found:
            gaps[name] = fmean(found)
    if len(gaps) < 2:
        return None
    best = min(gaps, key=gaps.__getitem__)
    widest = max(gaps, key=gaps.__getitem__)
    if f"{gaps[best]:.3f}" == f"{gaps[widest]:.3f}":
        return f"All generalise alike: validation ends {gaps[best]:+.3f} nats from training."
    return (
        f"Best generalisation: {best}, whose validation loss ends {gaps[best]:+.3f} nats from its training loss "
        f"(widest: {widest}, {gaps[widest]:+.3f})."
    )


def budget(record: StudyRecord) -> str:
    """Say what each cell was given.

    >>> from types import SimpleNamespace
    >>> budget(SimpleNamespace(budget={"kind": "tokens", "amount": 2000000}))
    '2.00 M training tokens'
    """
    kind, amount = record.budget.get("kind"), number(record.budget.get("amount"))
    if amount is None or not kind:
        return "a budget that is not known"
    if kind == "seconds":
        return f"{human_seconds(amount)} of training"
    if kind == "steps":
        return f"{amount:,.0f} optimizer steps"
    return f"{human_count(amount)} {'training tokens' if kind == 'tokens' else 'FLOPs'}"


def _gap(run: RunRecord | None) -> float | None:
    """Return validation minus training loss at the end of a run, nats."""
    if run is None:
        return None
    train = [loss for event in run.train if (loss := number(event.get("loss"))) is not None]
    held_out = [loss for event in run.evaluations if (loss := number(event.get("loss"))) is not None]
    if not train or not held_out:
        return None
    return held_out[-1] - fmean(train[-max(1, round(LAST_SHARE * len(train))) :])


def _was(record: StudyRecord, name: str) -> str:
    """Turn a reason into words that follow "it"."""
    reason = record.left_out[name]
    starts = {"failed": "failed", "not run yet": "has not run yet", "no finite": "has no finite"}
    starts |= {"does not fit": "did not fit into memory", "broke down": "broke down", "interrupted": "was interrupted"}
    start = next((known for known in starts if reason.startswith(known)), None)
    return reason if start is None else starts[start] + reason[len(start) :]


def _sentence(text: str) -> str:
    """End a sentence. It may begin with the name of a variant, which keeps its letters."""
    text = text if text.endswith(".") else f"{text}."
    starts = ("no difference", "against ")
    return text[0].upper() + text[1:] if text.startswith(starts) else text


def _listed(names: Sequence[str]) -> str:
    """Join names as in a sentence.

    >>> _listed(["a"]), _listed(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _some(found: Sequence[Difference], *, most: bool = False) -> str:
    """Name up to three variants, or say how many they are, and where `most` the first of them."""
    if len(found) <= 3:
        return _listed([d.b for d in found])
    return f"{len(found)} variants" + (f" (most of all {found[0].b})" if most else "")


def _are(found: Sequence[Difference]) -> str:
    return "is" if len(found) == 1 else "are"
