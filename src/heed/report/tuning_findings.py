"""Which arm to use: the rule, the differences it goes by, and sentences that say what was found.

The rule. The reference is the arm with the best mean accuracy on the validation split. A candidate is an arm whose mean
accuracy there is at most `TOLERANCE` points below. (An interval that merely reaches so far proves nothing for an arm
that is 3 points worse on 100 examples.) Of the candidates and the reference the one with the least peak memory is
advised, the faster of equal ones. The test split chooses nothing: it says what the advice is worth. Without one,
sentences say that they are about validation.

The difference of two arms is paired: d_i is the share of b's seeds that have example i right less that of a's, and its
interval is the bootstrap's over examples (Efron 1979). It says what other examples would have changed; seeds are
averaged in it. McNemar's test needs one answer an example: there each arm is its run with the lowest validation loss.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from heed.report.mcnemar import McNemar, pairwise
from heed.report.numbers import format_accuracy, human_bytes, human_seconds
from heed.report.statistics import Interval, resampled_interval, wilson
from heed.report.tuning_arms import Arm
from heed.report.tuning_predictions import Split
from heed.report.tuning_record import TuningRecord

TOLERANCE = 1.0
"""Points of accuracy that a cheaper arm may be below the best."""
FEW_NAMES = 4
"""Names that a sentence lists."""


@dataclass(frozen=True)
class Gap:
    """Accuracy of an arm less that of the reference, on the same examples."""

    arm: str
    reference: str
    points: float
    """Of a hundred; below 0: the arm is worse."""
    interval: Interval
    """95 %, points."""
    examples: int
    memory: float | None
    """Peak memory as a share of the reference's; None where it is not known."""
    time: float | None
    """Training time as a share of the reference's."""
    validation: float
    """The same difference on the validation split, which decides; points."""

    @property
    def close(self) -> bool:
        """Whether the arm is a candidate."""
        return self.validation >= -TOLERANCE

    @property
    def half(self) -> float:
        """Half of the interval, points: smaller differences cannot be told."""
        return (self.interval[1] - self.interval[0]) / 2

    def sentence(self) -> str:
        """Say how far from the reference, and at what cost."""
        low, high = self.interval
        said = f"{abs(self.points):.1f} points {'above' if self.points > 0 else 'below'} {self.reference}"
        if abs(self.points) < 0.05:
            said = f"level with {self.reference}"
        elif self.points < 0:  # in the direction that the sentence names
            low, high = -high, -low
        shares = [(self.memory, "memory"), (self.time, "time")]
        costs = [f"{100 * share:.0f} % of its {what}" for share, what in shares if share is not None]
        between = f"{round(low, 1) + 0.0:.1f} to {round(high, 1) + 0.0:.1f}"  # never -0.0
        return f"{said} (95 % interval {between})" + (f" at {' and '.join(costs)}" if costs else "")


def gaps_of(record: TuningRecord) -> dict[str, Gap]:
    """Return the difference of each arm to the reference, by name, for those arms whose predictions are there."""
    reference = record.reference
    answering = record.answering(record.split)
    if reference is None or reference not in answering:
        return {}
    base = share_right(reference, record.split)
    found = {}
    for arm in answering:
        if arm is not reference:
            d = 100 * (share_right(arm, record.split) - base)
            interval = resampled_interval(lambda values: float(values.mean()), d)
            memory = _ratio(arm.memory and arm.memory.peak, reference.memory and reference.memory.peak)
            time = _ratio(arm.seconds, reference.seconds)
            own, best = (one.mean("accuracy", "validation") or 0.0 for one in (arm, reference))
            decides = 100 * (own - best)
            found[arm.name] = Gap(arm.name, reference.name, float(d.mean()), interval, len(d), memory, time, decides)
    return found


def share_right(arm: Arm, split: Split) -> np.ndarray:
    """Return the share of an arm's seeds that have each example right, (n,) float64."""
    return np.mean([run.answers[split].right for run in arm.runs], axis=0)


def advised(record: TuningRecord, gaps: Mapping[str, Gap]) -> Arm | None:
    """Return the arm that the rule of this module advises; None before any has run."""
    best = record.reference
    if best is None or best.memory is None:
        return best
    close = [arm for arm in record.ran if arm is best or (arm.name in gaps and gaps[arm.name].close)]
    known = [(arm.memory.peak, arm.seconds or 0.0, place) for place, arm in enumerate(close) if arm.memory is not None]
    return close[min(known)[2]]


def pairs_of(record: TuningRecord) -> list[McNemar]:
    """Return McNemar's test of every pair of arms, each by its best run, with Holm's correction; the better arm is b.

    Arms that hold no predictions are in no pair.
    """
    split = record.split
    having = [arm for arm in record.ran if split in arm.best_run.answers]
    worst_first = sorted(having, key=lambda arm: int(arm.best_run.answers[split].right.sum()))
    return pairwise({arm.name: arm.best_run.answers[split].right for arm in worst_first})


def accuracy_interval(arm: Arm, split: Split) -> Interval | None:
    """Return Wilson's interval of the mean accuracy of an arm, for so many examples as one run has."""
    correct, examples = arm.mean("correct", split), arm.mean("examples", split)
    return None if correct is None or not examples else wilson(round(correct), round(examples))


def verdict(record: TuningRecord, gaps: Mapping[str, Gap]) -> str:
    """Say in one sentence which arm to use."""
    best, use = record.reference, advised(record, gaps)
    if best is None or use is None:
        return "No arm has been measured yet."
    so_far = "So far: use" if record.unfinished else "Use"
    where = f"on the {record.split} split"
    if use is not best:
        return f"{so_far} {use.name}: {gaps[use.name].sentence()}, {where}."
    others = [arm for arm in record.ran if arm is not best]
    if not others:
        return f"{best.name} has {said_accuracy(record, best)}; there is no other arm to hold it against."
    close = [name for name, gap in gaps.items() if gap.close]
    reason = "no other arm comes within 1 point of it on the validation split"
    if close:
        come = "come" if len(close) > 1 else "comes"
        reason = f"{listed(close)} {come} within 1 point of it on the validation split, but not for less memory"
    elif not gaps:
        reason = "predictions are missing, so nothing can be paired with it"
    return f"{so_far} {best.name}: {said_accuracy(record, best)}; {reason}."


def said_accuracy(record: TuningRecord, arm: Arm) -> str:
    """Return the accuracy of an arm with its interval, beside the commonest class."""
    split = record.split
    interval = accuracy_interval(arm, split) or (0.0, 0.0)
    between = f"95 % interval {100 * interval[0]:.1f} to {format_accuracy(interval[1])}"
    return (
        f"{format_accuracy(arm.mean('accuracy', split))} on the {split} split ({between}; always the commonest class: "
        f"{format_accuracy(record.majority(split))})"
    )


def findings(record: TuningRecord, gaps: Mapping[str, Gap], pairs: Sequence[McNemar]) -> list[str]:
    """Return what else a reader must know, the most important first."""
    use, best = advised(record, gaps), record.reference
    if use is None or best is None:
        return []
    said = []
    if use is not best:
        own = format_accuracy(use.mean("accuracy", record.split))
        first = f"{best.name}, the best on the validation split, has {said_accuracy(record, best)}"
        said.append(f"{first}; {use.name} {own}.")
    said += [*blind_sentence(record, use), *width_sentence(record, gaps, use)]
    said += [*pair_sentences(pairs), *cost_sentences(record)]
    if all(len(arm.runs) == 1 for arm in record.ran):
        said.append(
            "Each arm was trained once: the intervals are about the examples, and say nothing of what another seed "
            "would have come to."
        )
    return said


def blind_sentence(record: TuningRecord, use: Arm) -> list[str]:
    """Say so, where nothing shows that the advised arm beats always saying the commonest class."""
    interval, majority = accuracy_interval(use, record.split), record.majority(record.split)
    if interval is None or majority is None or interval[0] > majority:
        return []
    return [
        f"By accuracy nothing shows that {use.name} beats always saying the commonest class "
        f"({format_accuracy(majority)}): more texts, epochs or rates may help; of unequal classes macro F1 tells more."
    ]


def width_sentence(record: TuningRecord, gaps: Mapping[str, Gap], use: Arm) -> list[str]:
    """Say that the examples are too few, where the interval of the advised arm or the nearest rival is wide."""
    rival = gaps.get(use.name) or max(gaps.values(), key=lambda gap: gap.points, default=None)
    if rival is None or rival.half <= TOLERANCE:
        return []
    return [
        f"{rival.examples:,} examples cannot tell differences under {rival.half:.1f} points: {rival.arm} and "
        f"{rival.reference} may differ by more than it seems, or not at all."
    ]


def pair_sentences(pairs: Sequence[McNemar]) -> list[str]:
    """Say which arms McNemar's test tells apart."""
    if not pairs:
        return []
    told = [one for one in pairs if one.differs]
    same = [f"{one.b} – {one.a}" for one in pairs if not one.differs]
    if len(pairs) == 1:
        one = pairs[0]
        found = f"{one.b} is better than {one.a}" if told else f"No difference found between {one.b} and {one.a}"
        return [f"{found}: {one.gained} examples gained, {one.lost} lost (McNemar p = {one.p:.2g})."]
    if not told:
        return [f"McNemar's test tells none of the {len(pairs)} pairs of arms apart (after Holm's correction)."]
    if not same:
        return [f"McNemar's test tells all {len(pairs)} pairs of arms apart (after Holm's correction)."]
    return [
        f"McNemar's test tells {len(told)} of {len(pairs)} pairs of arms apart (after Holm's correction); no "
        f"difference was found between {listed(same)}."
    ]


def cost_sentences(record: TuningRecord) -> list[str]:
    """Say which arm needs least memory, and which least time."""
    sized = [arm for arm in record.ran if arm.memory is not None]
    if len(record.ran) < 2 or not sized:
        return []
    small = min(sized, key=lambda arm: arm.memory.peak if arm.memory else 0)
    quick = min(record.ran, key=lambda arm: arm.seconds or 0.0)
    peak = human_bytes(small.memory.peak if small.memory else 0)
    right = format_accuracy(small.mean("accuracy", record.split))
    if small is quick:
        return [f"Least memory and least time: {small.name} with {peak} and {_time(small)}, at {right}."]
    return [
        f"Least memory: {small.name} with {peak}, at {right}. Least time: {quick.name} with {_time(quick)}, at "
        f"{format_accuracy(quick.mean('accuracy', record.split))}."
    ]


def leak_sentences(record: TuningRecord) -> list[str]:
    """Say which examples stand in two splits."""
    found = record.data.get("leakage")
    said = []
    for one in found if isinstance(found, list) else []:
        places = [str(place) for place in one.get("places", [])]
        more = one["examples"] - len(places)
        where = f" ({', '.join(places)}{f' and {more} more' if more > 0 else ''})" if places else ""
        verb = "stands" if one["examples"] == 1 else "stand"
        noun = "example" if one["examples"] == 1 else "examples"
        said.append(f"{one['examples']:,} {noun} of {one['of']} {verb} in {one['in']} as well{where}.")
    return said


def in_order(record: TuningRecord) -> list[Arm]:
    """Return the arms that ran, the best first, then the others in the order of the command."""
    return [*record.ran, *(arm for arm in record.arms if arm not in record.ran)]


def listed(names: Sequence[str]) -> str:
    """Join names as in a sentence; beyond a few, their number.

    >>> listed(["a"]), listed(["a", "b", "c"]), listed(list("abcdefg"))
    ('a', 'a, b and c', 'a, b, c, d and 3 more')
    """
    if len(names) > FEW_NAMES + 1:
        return f"{', '.join(names[:FEW_NAMES])} and {len(names) - FEW_NAMES} more"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _time(arm: Arm) -> str:
    return human_seconds(arm.seconds or 0.0)


def _ratio(value: float | None, base: float | None) -> float | None:
    return value / base if value is not None and base else None
