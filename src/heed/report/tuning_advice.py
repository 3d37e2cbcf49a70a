"""Which arm to use: the rule, and the intervals and differences that it goes by.

Accuracy stands here for the figure that arms are compared by: of other targets than classes it is another one, told by
`heed.report.gradings`.

The rule. The reference is the arm with the best mean accuracy on the validation split. A candidate is an arm that the
validation split shows to be at most `TOLERANCE` points below it: the lower end of the interval of the difference, not
its middle. (Of 100 examples an arm that is 3 points worse seems within a point of the best one time in three.) Of the
candidates and the reference the one with the least peak memory is advised, the faster of equal ones. The test split
chooses nothing: it says what the advice is worth. Without one, sentences say that they are about validation. Where no
arm is shown to beat always saying the commonest class, that is said and no advice given, nor where the arm of the rule
is not; an arm of few updates is called undertrained before it is compared.

Differences are paired over examples and over the seeds that both arms have (`heed.report.paired`), examples of one
group count together, and the test decides what is said.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from heed.report.paired import Paired, correct_pairs
from heed.report.statistics import Interval
from heed.report.tuning_arms import Arm, TunedSeed
from heed.report.tuning_predictions import Split
from heed.report.tuning_record import TuningRecord

TOLERANCE = 1.0
"""Points of accuracy that a cheaper arm may be below the best."""
FEW_UPDATES = 100
"""Updates below which an arm is called undertrained, unless it has learned its texts by then."""
LEARNED = 0.9
"""Accuracy on the training texts from which they are learned: more updates are not what is missing."""


@dataclass(frozen=True)
class Gap:
    """Accuracy of an arm less that of the reference, on the same examples."""

    pair: Paired
    """The arm is its b, the reference its a."""
    memory: float | None
    """Peak memory as a share of the reference's; None where it is not known."""
    time: float | None
    """Training time as a share of the reference's."""
    least: float
    """The lower end of the same difference on the validation split, which decides; points."""

    @property
    def arm(self) -> str:
        """Name of the arm."""
        return self.pair.b

    @property
    def reference(self) -> str:
        """Name of the reference."""
        return self.pair.a

    @property
    def points(self) -> float:
        """Of a hundred; below 0: the arm is worse."""
        return self.pair.points

    @property
    def interval(self) -> Interval:
        """95 %, points."""
        return 100 * self.pair.interval[0], 100 * self.pair.interval[1]

    @property
    def close(self) -> bool:
        """Whether the arm is a candidate."""
        return self.least >= -TOLERANCE


def gaps_of(record: TuningRecord) -> dict[str, Gap]:
    """Return the difference of each arm to the reference, by name, for those arms whose predictions are there."""
    reference = record.reference
    if reference is None:
        return {}
    found = {}
    for pair in pairs_of(record):
        if reference.name not in (pair.a, pair.b):
            continue
        pair = pair if pair.a == reference.name else pair.turned()
        arm = next(arm for arm in record.ran if arm.name == pair.b)
        memory = _ratio(arm.memory and arm.memory.peak, reference.memory and reference.memory.peak)
        least = -100.0
        if "validation" in arm.answered and "validation" in reference.answered:
            least = 100 * _compare(record, reference, arm, "validation").interval[0]
        found[arm.name] = Gap(pair, memory, _ratio(arm.seconds, reference.seconds), least)
    return {arm.name: found[arm.name] for arm in record.ran if arm.name in found}


def marks_of(arm: Arm, split: Split) -> np.ndarray:
    """Return the marks (S, n) of the runs of an arm, all of which must have predictions."""
    return np.array([run.answers[split].marks for run in arm.runs])


def advised(record: TuningRecord, gaps: Mapping[str, Gap]) -> Arm | None:
    """Return the arm that the rule of this module advises; None before any has run."""
    best = record.reference
    if best is None or best.memory is None:
        return best
    close = [arm for arm in record.ran if arm is best or (arm.name in gaps and gaps[arm.name].close)]
    known = [(arm.memory.peak, arm.seconds or 0.0, place) for place, arm in enumerate(close) if arm.memory is not None]
    return close[min(known)[2]]


def pairs_of(record: TuningRecord) -> list[Paired]:
    """Return the comparison of every pair of arms, with Holm's correction; the better arm is b.

    Arms that hold no predictions are in no pair.
    """
    split = record.split
    worst_first = sorted(record.answering(split), key=lambda arm: arm.mean(record.grading.order, split) or 0.0)
    return correct_pairs(
        [_compare(record, a, b, split) for place, a in enumerate(worst_first) for b in worst_first[place + 1 :]]
    )


def _compare(record: TuningRecord, a: Arm, b: Arm, split: Split) -> Paired:
    """Compare two arms over their seeds."""
    same = [run.seed for run in a.runs] == [run.seed for run in b.runs]
    answers = [(one.answers[split], other.answers[split]) for one, other in zip(a.runs, b.runs, strict=False)]
    equal = len(a.runs) == len(b.runs) and all(
        np.array_equal(one.probabilities, other.probabilities) for one, other in answers
    )
    said = [[run.answers[split] for run in arm.runs] for arm in (a, b)]
    paired = same and not a.soup and not b.soup
    return record.grading.compare(a.name, b.name, said[0], said[1], same_seeds=paired, equal=equal)


def interval_of(record: TuningRecord, arm: Arm, split: Split) -> Interval | None:
    """Return the interval of the mean figure of an arm, over its seeds, the examples and their groups."""
    if split in arm.answered:
        return record.grading.interval(marks_of(arm, split), arm.runs[0].answers[split].groups)
    found = [scores for run in arm.runs if (scores := run.scores(split)) is not None]
    return record.grading.interval_of_runs(found) if found else None


def beating(record: TuningRecord) -> list[Arm]:
    """Return the arms whose figure is above that of always the same answer with its whole interval."""
    base = record.baseline(record.split)
    intervals = [(arm, interval_of(record, arm, record.split)) for arm in record.ran]
    return [arm for arm, found in intervals if found is not None and (base is None or found[0] > base)]


def undertrained(record: TuningRecord) -> list[Arm]:
    """Return the arms that made few updates and have not learned their training texts, as far as that is known."""
    few = [arm for arm in record.ran if arm.steps is not None and arm.steps < FEW_UPDATES]
    return [arm for arm in few if not all(_learned(run) for run in arm.runs)]


def _learned(run: TunedSeed) -> bool:
    """Whether the training texts were mostly right at the end."""
    known = [share for point in run.curve if (share := point.figure("train")) is not None]
    return bool(known) and known[-1] >= LEARNED


def _ratio(value: float | None, base: float | None) -> float | None:
    return value / base if value is not None and base else None
