"""What a study says of speed and time: medians, ratios paired over seeds with intervals, and who is first to a loss.

    speed of a run     median of the tokens a second of its logged steps, without the first of them (it warms up)
    ratio of b to a    exp of the mean over seeds of log(speed of b / speed of a), and of the ends of its t interval

Seeds run one after the other, and whatever else the machine does falls on some of them: without an interval that
excludes 1, after Holm's correction where there are several, no sentence names a winner.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from statistics import median

from heed.report.numbers import human_seconds, said_ratio
from heed.report.statistics import Difference, compare_pairs, correct
from heed.report.study_findings import comparable_losses, points_of
from heed.report.study_record import StudyRecord, StudyRun

WARM_UP = 0.1
"""Share of the logged steps that are left out at the beginning; one at least, where there are several."""


def speed_of(cell: StudyRun) -> float | None:
    """Return the training tokens a second of a run; of one without a log, those of all its steps together."""
    logged = [] if cell.run is None else [event.finite("tokens_per_second") for event in cell.run.train]
    known = [value for value in logged if value is not None and value > 0]
    steady = known[max(1, round(WARM_UP * len(known))) :] or known
    return median(steady) if steady else cell.tokens_per_second


def by_seed(record: StudyRecord, name: str, what: str) -> dict[int, float]:
    """Return `speed` or `seconds` of a variant's trained runs, those above 0."""
    cells = [cell for cell in record.cells_of(name) if cell.state in ("finished", "leaks")]
    found = {cell.seed: speed_of(cell) if what == "speed" else cell.seconds for cell in cells}
    return {seed: value for seed, value in found.items() if value}


def ratios(pairs: Sequence[tuple[str, str, Mapping[int, float], Mapping[int, float]]]) -> list[Difference]:
    """Return log(b / a) of pairs (a, b, values of a, values of b) over the seeds that both have, corrected together."""
    logs = lambda values: {seed: math.log(value) for seed, value in values.items()}
    return correct([compare_pairs(a, b, logs(x), logs(y)) for a, b, x, y in pairs if x.keys() & y.keys()])


def speed_ratios(record: StudyRecord) -> list[Difference]:
    """Return the speed of each variant to the baseline's, as logarithms."""
    base = by_seed(record, record.baseline, "speed")
    others = [name for name in record.variants if name != record.baseline]
    return ratios([(record.baseline, name, base, by_seed(record, name, "speed")) for name in others])


def show_ratio(d: Difference) -> str:
    """Return a ratio with its interval.

    >>> show_ratio(compare_pairs("a", "b", {1: 0.0, 2: 0.0}, {1: 0.693, 2: 0.694}))
    '2.001 (1.988 to 2.013)'
    """
    low, high = d.t_interval or (d.mean, d.mean)
    ratio, low, high = (math.exp(max(-700.0, min(700.0, value))) for value in (d.mean, low, high))
    return said_ratio(ratio, None if d.t_interval is None else (low, high))


def speed_title(record: StudyRecord) -> str:
    """Say which variant trains fastest beside the baseline, or slowest, where an interval shows it."""
    found = speed_ratios(record)
    if not found or all(d.n < 2 for d in found):
        return "Training speed with one seed: nothing is said of who is faster"
    told = sorted((d for d in found if d.found), key=lambda d: -d.mean)
    if not told:
        return f"No variant was found to train faster or slower than {record.baseline}"
    d = told[0] if told[0].mean > 0 else told[-1]
    ratio, _, between = show_ratio(d).partition(" ")
    between = f", 95 % interval {between[1:-1]}" if between else " with every seed"
    return f"{d.b} trains {ratio} times as fast as {d.a}{between}"


def fastest(record: StudyRecord) -> str | None:
    """Say how long each variant trains until it is at the loss that all of them reach with every seed.

    A variant is named first only where it is before every other one, paired over seeds, with Holm's correction.
    """
    times = times_to(record)
    if times is None:
        return None
    goal, found = times
    order = sorted(found, key=lambda name: median(found[name].values()))
    shown = ", ".join(f"{name} {human_seconds(median(found[name].values()))}" for name in order[:4])
    shown += f" and {len(order) - 4} more later" if len(order) > 4 else ""
    many = len(record.variants)
    who = f"all {many}" if len(found) == many else f"the {len(found)} of {many} variants with comparable curves all"
    several = any(len(each) > 1 for each in found.values())
    how = "medians over seeds" if several else "one seed, which shows no order"
    said = f"Time of training until a validation loss of {goal:.3f} nats, which {who} reach: {shown} ({how})."
    if not several:
        return said
    first, second, *_ = order
    compared = ratios([(first, name, found[first], found[name]) for name in order[1:]])
    if len(compared) == len(order) - 1 and all(d.found and d.mean > 0 for d in compared):
        return f"{said} {first} is first: {second} takes {show_ratio(compared[0])} times as long."
    return f"{said} None was shown to be first."


def times_to(record: StudyRecord) -> tuple[float, dict[str, dict[int, float]]] | None:
    """Return the lowest loss that every seed of every comparable variant reaches, and when, in seconds of training.

    None where fewer than two variants have curves.
    """
    lines = {}
    for name in comparable_losses(record):
        runs = {cell.seed: cell.run for cell in record.cells_of(name) if cell.state == "finished" and cell.run}
        known = {seed: points for seed, run in runs.items() if (points := points_of(run, "seconds", "evaluation"))}
        if known:
            lines[name] = known
    if len(lines) < 2:
        return None
    goal = max(min(y for _, y in points) for known in lines.values() for points in known.values())
    found = {
        name: {
            seed: first_below([x for x, _ in points], [y for _, y in points], goal) for seed, points in known.items()
        }
        for name, known in lines.items()
    }
    return goal, found


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


def unequal_times(record: StudyRecord) -> str | None:
    """Say which variants took less and more time than all others, where that was shown of these two."""
    times = {name: known for name in record.ranked if (known := by_seed(record, name, "seconds"))}
    if len(times) < 2 or record.budget.get("kind") == "seconds":
        return None
    order = sorted(times, key=lambda name: median(times[name].values()))
    least, most = order[0], order[-1]
    # the two were picked by their times: the correction is over every pair that could have been
    every = ratios([(a, b, times[a], times[b]) for a, b in combinations(order, 2)])
    d = next((d for d in every if (d.a, d.b) == (least, most)), None)
    if d is None or not d.found or d.mean <= 0:
        return None
    a, b = (human_seconds(median(times[name].values())) for name in (least, most))
    return f"The budget is not time: {least} took {a}, {most} {b}, {show_ratio(d)} times as long (medians over seeds)."
