"""The marks of a set of answers: how many are right, beside the commonest answer, by origin, and how well calibrated.

Written beside the run as `answers.jsonl`, a line a question, and `evaluation-qa.json`, which `heed report` reads.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heed import seals
from heed.asking.answering import AnsweredQuestion
from heed.errors import DataError, why
from heed.files import make_folder, write_text
from heed.records.answers import ANSWERS, SUMMARY
from heed.report.calibration import Calibration, calibration, risk_coverage
from heed.report.numbers import format_accuracy, format_percent, said_shares
from heed.report.statistics import Interval, wilson
from heed.text.qa import commonest_answer, normalise
from heed.text.support import Seen

NAMED: dict[Seen, str] = {
    "pretraining": "named in the text",
    "fine-tuning only": "named in fine-tuning questions only",
    "never": "never named",
}
"""What is said of a person by where the name stands, in the order that it is shown."""


@dataclass(frozen=True)
class Marks:
    """The figures of a set of answers."""

    correct: int
    total: int
    baseline: tuple[str, int]
    """The commonest of the expected answers, and how often it is right."""
    by_seen: dict[Seen, tuple[int, int]]
    """Right answers and all, by where the name was seen; empty where no corpus was searched."""
    calibration: Calibration
    risk_area: float
    """Mean share of wrong answers over all shares that can be given, the surest first (AURC)."""
    unfinished: int
    """Answers that were cut off."""

    @property
    def interval(self) -> Interval:
        """Wilson's 95 % interval of the share of right answers."""
        return wilson(self.correct, self.total)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for evaluation-qa.json."""
        return {
            "correct": self.correct,
            "total": self.total,
            "accuracy": self.correct / self.total,
            "accuracy_interval": list(self.interval),
            "baseline": {"answer": self.baseline[0], "correct": self.baseline[1]},
            "by_seen": {seen: {"correct": right, "total": asked} for seen, (right, asked) in self.by_seen.items()},
            "ece": self.calibration.error,
            "ece_interval": list(self.calibration.interval),
            "ece_by_chance": self.calibration.chance,
            "risk_area": self.risk_area,
            "unfinished": self.unfinished,
        }

    def lines(self) -> list[str]:
        """Return the figures as people read them."""
        answer, common = self.baseline
        error = self.calibration
        lines = [
            f"correct: {share_of(self.correct, self.total)}, 95 % interval {said_shares(*self.interval)}",
            f"always {answer!r}: {share_of(common, self.total)}",
            *(f"{NAMED[seen]}: {share_of(right, asked)}" for seen, (right, asked) in self.by_seen.items()),
            f"expected calibration error: {format_percent(error.error)}, 95 % interval {said_shares(*error.interval)}; "
            f"noise alone {format_percent(error.chance)}: {error.verdict}",
        ]
        return lines + ([f"cut off before the closing mask: {self.unfinished}"] if self.unfinished else [])


def mark(answered: Sequence[AnsweredQuestion]) -> Marks:
    """Return the marks of answers whose expected ones are known. Raises `DataError` when there is none."""
    questions = [one.question for one in answered]
    flags, sure = [one.correct for one in answered], [one.probability for one in answered]
    asked, right = Counter(one.seen for one in answered), Counter(one.seen for one in answered if one.correct)
    return Marks(
        correct=sum(flags),
        total=len(flags),
        baseline=commonest_answer(questions),
        by_seen={seen: (right[seen], asked[seen]) for seen in NAMED if asked[seen]},
        calibration=calibration(sure, flags),
        risk_area=risk_coverage(sure, flags).area,
        unfinished=sum(not one.answers[0].finished for one in answered),
    )


def share_of(right: int, total: int) -> str:
    """Return a count as people read it.

    >>> share_of(135, 500), share_of(0, 0)
    ('135 of 500 (27.0 %)', '0 of 0')
    """
    return f"{right} of {total} ({format_accuracy(right / total)})" if total else "0 of 0"


def write_marks(folder: Path, answered: Sequence[AnsweredQuestion], summary: Mapping[str, Any]) -> None:
    """Write answers.jsonl and evaluation-qa.json. Raises `DataError` where they cannot be written."""
    lines = (json.dumps(one.line().plain(), ensure_ascii=False) + "\n" for one in answered)
    try:
        make_folder(folder)
        seals.write_text(folder / ANSWERS, "".join(lines))
        seals.write_json(folder / SUMMARY, summary)
    except OSError as error:
        raise DataError(f"{folder} cannot hold the answers: {why(error)}") from error


def write_predictions(path: Path, answered: Sequence[AnsweredQuestion]) -> None:
    """Write the likeliest answers, a line each (CS224N, assignment 5). Raises `DataError` where that cannot be."""
    lines = (" ".join(normalise(one.text).split()) + "\n" for one in answered)  # an answer with a line end is one line
    try:
        make_folder(path.parent)
        write_text(path, "".join(lines))
    except OSError as error:
        raise DataError(f"{path} cannot be written: {why(error)}") from error
