"""How often a model is right, how sure that is, and what so many items can tell at all.

The rounds (draws and orders of demonstrations) are to a prompt what seeds are to a training: the interval of the mean
is over rounds and items (`heed.report.accuracies`). An answer that could not be read counts as wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean, stdev

import numpy as np

from heed.prompting.record import PromptRecord
from heed.report.accuracies import accuracy_interval, how_sure
from heed.report.numbers import format_accuracy, said_p, said_shares
from heed.report.paired import Paired, compare_arms, power
from heed.report.statistics import POWER, Interval


@dataclass(frozen=True)
class PromptAccuracy:
    """The figures of a run that has references."""

    items: int
    rounds: int
    effective: float
    """As many independent items, asked in one round, would say as much."""
    mean: float
    interval: Interval
    each: tuple[float, ...]
    """Of each round."""
    unread: int
    """Answers that could not be read, of all rounds."""
    majority: tuple[str, float] | None
    """The commonest class and its share; None for texts."""
    beside_majority: Paired | None
    """This against always saying the commonest class, on the same items."""

    @property
    def deviation(self) -> float | None:
        """Standard deviation over rounds; None of one."""
        return stdev(self.each) if len(self.each) > 1 else None


def accuracy_of(record: PromptRecord) -> PromptAccuracy | None:
    """Return the figures of a run; None before it is done, or where items have no reference."""
    if not record.done or not record.marked:
        return None
    right = record.right
    majority = beside = None
    if record.file.kind == "classes":
        labels = [str(row["label"]) for row in record.items]
        name, count = Counter(labels).most_common(1)[0]
        majority = (name, count / len(labels))
        always = np.array([label == name for label in labels])
        beside = compare_arms(f"always {name}", record.file.model, always, right, record.groups)
    each = tuple(float(one.mean()) for one in right)
    mean = fmean(each)
    sure = how_sure(right.mean(axis=0), mean * (1 - mean), record.groups, [right.astype(float)])
    return PromptAccuracy(
        effective=sure.examples,
        items=right.shape[1], rounds=len(right), mean=mean, interval=accuracy_interval(right, record.groups),
        each=each, unread=int(record.unread.sum()), majority=majority, beside_majority=beside,
    )  # fmt: skip


def told_from(items: int, accuracy: float) -> tuple[float | None, float | None]:
    """Return the accuracies (below, above) that a second model must truly have to be told from one of `accuracy`.

    Told: McNemar's exact test on the same items finds it four times in five, where the two err independently of each
    other. None: no accuracy on that side would do.

    >>> below, above = told_from(30, 25 / 30)
    >>> below is not None and round(below, 2), above
    (0.46, None)
    """
    found = lambda other: power(items, _discordant(accuracy, other), abs(other - accuracy)) >= POWER
    return _edge(found, accuracy, 0.0), _edge(found, accuracy, 1.0)


def _discordant(p: float, q: float) -> float:
    """Return the share of items that only one of two independent models has right."""
    return p * (1 - q) + q * (1 - p)


def _edge(found: Callable[[float], bool], inside: float, outside: float) -> float | None:
    """Return where `found` begins to hold on the way to `outside`, by halving; None where it never does."""
    if inside == outside or not found(outside):
        return None
    for _ in range(30):
        middle = (inside + outside) / 2
        inside, outside = (inside, middle) if found(middle) else (middle, outside)
    return outside


def said_accuracy(one: PromptAccuracy) -> str:
    """Return an accuracy with what it is of, as in "83.3 % of 30 items (66.4 to 92.7 %)"."""
    rounds = f", in {one.rounds:,} rounds" if one.rounds > 1 else ""
    return f"{format_accuracy(one.mean)} of {one.items:,} items{rounds} ({said_shares(*one.interval)})"


def sentences(one: PromptAccuracy) -> list[str]:
    """Say what the figures mean."""
    found = [_beside(one)] if one.beside_majority is not None else []
    found += [_spread(one)] if one.rounds > 1 else []
    found.append(_tells(one))
    if one.unread:
        total = one.items * one.rounds
        found.append(
            f"{one.unread:,} of {total:,} answers could not be read, and count as wrong; they are shown below."
        )
    return found


def _beside(one: PromptAccuracy) -> str:
    """Say whether the model does better than always saying the commonest class."""
    assert one.majority is not None
    assert one.beside_majority is not None
    name, share = one.majority
    pair = one.beside_majority
    always = f"always saying {name!r} ({format_accuracy(share)})"
    if pair.p >= 0.05:
        return f"It is not shown to beat {always}: p = {said_p(pair.p)} on the same items."
    if pair.points < 0:
        return f"It does worse than {always}: p = {said_p(pair.p)} on the same items."
    return f"It beats {always}: p = {said_p(pair.p)} on the same items."


def _spread(one: PromptAccuracy) -> str:
    """Say how much hangs on which demonstrations stand there, and in which order."""
    assert one.deviation is not None
    low, high = min(one.each), max(one.each)
    return (
        f"From round to round (other demonstrations, or another order of them) accuracy goes from "
        f"{format_accuracy(low)} to {format_accuracy(high)}, with a standard deviation of {100 * one.deviation:.1f} "
        "points."
    )


def _tells(one: PromptAccuracy) -> str:
    """Say what so many items can tell."""
    below, above = told_from(max(1, int(one.effective)), one.mean)
    sides = [f"{word} {format_accuracy(p)}" for word, p in (("below", below), ("above", above)) if p is not None]
    if not sides:
        rest = "no second model, however good or bad, would be told from this one"
    else:
        rest = f"a second model is told from this one only if it is truly right {' or '.join(sides)} of the time"
        rest += " (no better one would be)" if above is None and one.mean < 1 else ""
    few = ""
    if one.effective < one.items - 0.5:
        few = f" (which say as much as {one.effective:,.0f} independent ones asked once)"
    return (
        f"{one.items:,} items{few} cannot say more than that the true accuracy lies between "
        f"{said_shares(*one.interval).replace(' to ', ' and ')}. On the same items {rest}: four times in five, by "
        "McNemar's exact test, if the two err independently."
    )
