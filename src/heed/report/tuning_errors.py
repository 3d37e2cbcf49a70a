"""Ask why: which examples are won and lost between arms, which mistakes an arm is sure of, and which all arms share.

Each arm is its run with the lowest validation loss. What all arms get wrong, and surely, is often labelled wrongly:
look at those examples first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from heed.report.tuning_arms import Arm
from heed.report.tuning_record import TuningRecord

EXCHANGED, SUREST = 5, 10
"""Examples shown of each kind: won or lost between two arms, and errors of an arm or of all of them."""
LETTERS = 300
"""Characters of a text that a page shows."""


@dataclass(frozen=True)
class Shown:
    """An example as the page shows it."""

    place: str
    text: str
    pair: str
    """The second text; empty where there is none."""
    label: str
    said: tuple[tuple[str, str, str, bool], ...]
    """(arm, predicted, how sure, whether it is right) of each arm that is shown."""


@dataclass(frozen=True)
class Exchange:
    """What an arm wins and loses against the reference."""

    arm: str
    reference: str
    won: int
    lost: int
    examples_won: tuple[Shown, ...]
    examples_lost: tuple[Shown, ...]


def exchanges(record: TuningRecord) -> list[Exchange]:
    """Return what each arm wins and loses against the reference, with the examples that they differ most about.

    They differ most where one is near and the other far: of classes, where the probabilities of the label differ most.
    """
    having = _answering(record)
    if len(having) < 2 or having[0] is not record.reference:
        return []
    reference, *others = having
    base, grading = reference.best_run.answers[record.split], record.grading
    found = []
    for arm in others:
        own = arm.best_run.answers[record.split]
        gain = own.close - base.close
        won, lost = np.flatnonzero(grading.wins(own, base)), np.flatnonzero(grading.wins(base, own))
        shown = [
            tuple(_show(record, int(i), (arm, reference)) for i in which[np.argsort(order, kind="stable")][:EXCHANGED])
            for which, order in ((won, -gain[won]), (lost, gain[lost]))
        ]
        found.append(Exchange(arm.name, reference.name, len(won), len(lost), shown[0], shown[1]))
    return found


def sure_errors(record: TuningRecord) -> list[tuple[str, int, tuple[Shown, ...]]]:
    """Return (arm, its errors, the surest of them) of each arm."""
    found = []
    for arm in _answering(record):
        own = arm.best_run.answers[record.split]
        wrong = np.flatnonzero(~own.right)
        first = wrong[np.argsort(-own.sure[wrong], kind="stable")][:SUREST]
        found.append((arm.name, len(wrong), tuple(_show(record, int(i), (arm,)) for i in first)))
    return found


def shared_errors(record: TuningRecord) -> tuple[int, tuple[Shown, ...]]:
    """Return how many examples every arm gets wrong, and those that they are furthest from."""
    having = _answering(record)
    if len(having) < 2:
        return 0, ()
    answers = [arm.best_run.answers[record.split] for arm in having]
    wrong = np.flatnonzero(~np.any([one.right for one in answers], axis=0))
    close = np.mean([one.close[wrong] for one in answers], axis=0)
    first = wrong[np.argsort(close, kind="stable")][:SUREST]
    return len(wrong), tuple(_show(record, int(i), having[:1]) for i in first)


def cut(text: str, letters: int = LETTERS) -> str:
    """Return text on one line of at most so many characters.

    >>> cut("a  long\\ntext", 6), cut("short")
    ('a lon…', 'short')
    """
    text = " ".join(text.split())
    return text if len(text) <= letters else f"{text[: letters - 1]}…"


def _answering(record: TuningRecord) -> list[Arm]:
    """Return the arms whose best run has predictions, the best arm first."""
    return [arm for arm in record.ran if record.split in arm.best_run.answers]


def _show(record: TuningRecord, i: int, arms: Sequence[Arm]) -> Shown:
    examples = record.examples[record.split]
    said = []
    for arm in arms:
        own = arm.best_run.answers[record.split]
        name, sure = record.grading.says(own, i)
        said.append((arm.name, name, sure, bool(own.right[i])))
    pair = examples.pairs[i]
    label = record.grading.label(examples.labels, i)
    return Shown(examples.places[i], cut(examples.texts[i]), cut(pair or ""), label, tuple(said))
