"""What a study has found, in sentences: differences to the baseline, the ranking, and what was left out.

Each variant is held against the baseline over the seeds that both have (`heed.report.statistics`), with Holm's
correction over all variants. A variant that may not be compared is in `StudyRecord.left_out` and in no number here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from heed.report.numbers import human_count, human_seconds, said_difference, said_effect, said_half
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


@dataclass(frozen=True)
class Ranked:
    """A variant in the ranking."""

    variant: str
    mean: float
    interval: tuple[float, float] | None
    """The t interval of the mean over seeds; None with one seed."""
    seeds: int


@dataclass(frozen=True)
class MeanCurve:
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
    found = sorted(differences(record), key=lambda d: (not d.found, -abs(d.mean)))
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
    if all(d.n < 2 for d in found):
        best = ranking(record)[0].variant
        return f"One seed: {best} came out best, and nothing can be said about noise."
    several = [d for d in found if d.n > 1]
    words = ("better", "worse", "the same", "no difference found")
    by = {word: sorted((d for d in several if d.verdict == word), key=lambda d: -abs(d.mean)) for word in words}
    alone = [d for d in found if d.n < 2]
    parts = [f"{_some(by[word], most=True)} {_are(by[word])} {word}" for word in ("better", "worse") if by[word]]
    same = f"{_some(by['the same'])} {_are(by['the same'])} the same to the last digit" if by["the same"] else ""
    none = by["no difference found"]
    if not parts:
        largest = max((d.detectable or 0.0 for d in none), default=0.0)
        power = f"; with each, {said_effect(largest, UNITS[record.figure])}" if largest else ""
        said = f"No variant was found to differ from {record.baseline}{power}." if none else ""
        return " ".join(filter(None, (said, _sentence(f"against {record.baseline}, {same}") if same else "")))
    rest = f"; {same}" if same else ""
    rest += f"; for {_some(none)} no difference was found" if none else ""
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


def format_figure(record: StudyRecord, rank: Ranked) -> str:
    """Return a mean with half of its interval, as it is shown."""
    half = (rank.interval[1] - rank.interval[0]) / 2 if rank.interval else None
    return said_half(rank.mean, half) + (" %" if record.figure == "accuracy" else "")


def show_difference(d: Difference) -> str:
    """Return a difference with its interval, as every table and figure shows it."""
    return "the same" if d.same else said_difference(d.mean, d.t_interval)


def curve(
    record: StudyRecord, variant: str, x: str, what: str = "evaluation", figure: str = "loss"
) -> MeanCurve | None:
    """Return the mean loss of a variant over x ("step", "epoch", "tokens" or "seconds"), over the range of all seeds.

    `what` is evaluation (validation) or train. Seeds whose points lie elsewhere are read between their points.
    """
    cells = [cell for cell in record.cells_of(variant) if cell.run is not None and cell.state == "finished"]
    found = [points_of(cell.run, x, what, figure) for cell in cells if cell.run is not None]
    lines = [np.array(points).T for points in found if points]
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
    return MeanCurve(grid.tolist(), y.mean(axis=0).tolist(), low.tolist(), high.tolist(), len(lines))


def points_of(run: RunRecord, x: str, what: str, figure: str = "loss") -> list[tuple[float, float]]:
    """Return the points (x, figure) of the events `evaluation` or `train` of a run, by x."""
    events = run.evaluations if what == "evaluation" else run.train
    passed = (
        [(event.step, epoch) for event in run.train if (epoch := event.finite(x)) is not None] if x == "epoch" else []
    )
    steps, epochs = zip(*passed, strict=True) if passed else ((), ())
    points = []
    for event in events:
        at, value = event.finite(x), event.finite(figure)
        if at is None and passed:  # an evaluation knows its step only
            at = float(np.interp(event.step, steps, epochs))
        if at is not None and value is not None:
            points.append((at, value))
    return sorted(points)


def comparable_losses(record: StudyRecord) -> list[str]:
    """Return the ranked variants whose loss means the same as the baseline's."""
    return [name for name in record.ranked if not record.other_passport(name, record.split, "loss")]


def mixed_schedules(record: StudyRecord) -> str:
    """Say which runs an older heed made, where others of the same study are of this one; empty where all are alike.

    The sign: with train.final_fraction 0 its last update had the rate 0 and changed nothing, where now it has some.
    """
    old, new = [], []
    for cell in record.cells:
        run = cell.run
        if run is None or cell.state not in ("finished", "leaks"):
            continue
        if run.setting("train.final_fraction") != 0 or run.setting("train.schedule") == "constant":
            continue
        last = run.train[-1] if run.train else None
        if last is None or last.step != run.setting("train.steps"):
            continue
        if (rate := last.finite("learning_rate")) is not None:
            (new if rate > 0 else old).append(f"{cell.variant} with seed {cell.seed}")
    if not old or not new:
        return ""
    return (
        f"An older heed trained {', '.join(old[:4])}{f' and {len(old) - 4} more' if len(old) > 4 else ''}: the last "
        f"update there had the rate 0 and changed nothing. The other runs have a schedule that ends one update later."
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
