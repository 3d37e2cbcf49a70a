"""From which probability on an answer is given: a threshold chosen on held-out questions, kept beside the run.

It is chosen so that the answers beyond it are right as often as asked for, on questions which the model was not trained
on and which no figure is reported of. `heed ask` abstains below it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from heed import seals
from heed.asking.respondent import Respondent
from heed.errors import CheckpointError, DataError
from heed.records.answers import TRUST, TrustFile
from heed.records.kept import DamagedError, read_record
from heed.report.calibration import abstention_threshold
from heed.report.numbers import format_percent
from heed.text.qa import Question


class Trust(TrustFile):
    """A threshold and what it was chosen by."""

    def sentence(self) -> str:
        """Return the threshold and what it came to where it was chosen, for people."""
        return (
            f"threshold: {format_percent(self.threshold)} for {format_percent(self.accuracy)} right answers; of "
            f"{self.total:,} held-out questions {self.answered:,} reach it, {self.right:,} of them right"
        )

    def save(self, folder: Path) -> None:
        """Write trust.json into a run folder."""
        seals.write_json(folder / TRUST, self.plain())

    @classmethod
    def load(cls, folder: Path) -> Trust | None:
        """Return the threshold of a run, None where it has none. Raises `CheckpointError` for a damaged file."""
        path = folder / TRUST
        if not path.exists():
            return None
        try:
            return read_record(cls, path)
        except (OSError, ValueError, DamagedError):
            raise CheckpointError(
                f"{path} is damaged: delete it, or choose the threshold again (heed eval --threshold-from)"
            ) from None


def choose_trust(
    respondent: Respondent, questions: Sequence[Question], evaluated: Collection[str], *, accuracy: float
) -> tuple[Trust | None, int]:
    """Ask held-out questions and return the lowest threshold beyond which the share `accuracy` is right.

    None: there is no such threshold. Questions that are `evaluated` (prompts) or stand among the fine-tuning ones are
    left out; the second value is how many. Raises `DataError` when a question has no answer or none is left, and what
    `Respondent.answer` and `abstention_threshold` raise.
    """
    trained = respondent.corpora.prompts if respondent.corpora is not None else frozenset[str]()
    kept = [one for one in questions if one.prompt not in evaluated and one.prompt not in trained]
    if not kept:
        raise DataError(
            f"{questions[0].path}: the model was trained on all of these questions, or they are the ones evaluated: "
            "a threshold needs others, so keep some apart"
        )
    answered = respondent.answer(kept)
    found = abstention_threshold(
        [one.probability for one in answered], [one.correct for one in answered], accuracy=accuracy
    )
    left_out = len(questions) - len(kept)
    if found is None:
        return None, left_out
    chosen = Trust(
        threshold=found.probability,
        accuracy=accuracy,
        answered=found.answered,
        right=found.right,
        total=found.total,
        questions=kept[0].path,
        decode=respondent.way.decode,
        checkpoint=respondent.checkpoint,
    )
    return chosen, left_out
