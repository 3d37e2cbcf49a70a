"""How each arm of a tune learned by epoch: accuracy on what it trained on beside validation, and when each was best.

Training accuracy is that of a fixed part of the training texts, in evaluation mode, at the same moments as validation
and in the same way (`train.eval_train_tokens`); what each step had right while it learned is another figure.
"""

from __future__ import annotations

from statistics import fmean

from heed.report.numbers import MISSING, format_accuracy
from heed.report.tabular import TextTable
from heed.report.tuning_arms import Arm
from heed.report.tuning_figures import mean_figure
from heed.report.tuning_record import TuningRecord

HEAD = (
    "arm", "training at the end", "best epoch", "training there", "validation at the end", "best epoch",
    "validation there", "training of what was kept",
)  # fmt: skip


def epochs_table(record: TuningRecord) -> TextTable | None:
    """Return the figures of each arm at the end and at their best epoch; None where training was not measured."""
    rows = [(arm.name, *cells) for arm in record.ran if (cells := _cells(record, arm)) is not None]
    if not rows:
        return None
    called = record.grading.called
    caption = (
        f"{record.name}: {called} by epoch, means over seeds. Training: on a fixed part of the training texts, in "
        f"evaluation mode, at the same moments as validation. Best epoch: the first with the highest mean {called}. "
        f"Kept: the weights with the lowest {record.grading.criterion}, which are those of the other tables."
    )
    return TextTable(HEAD, tuple(rows), (False, *[True] * (len(HEAD) - 1)), frozenset(), caption, ())


def _cells(record: TuningRecord, arm: Arm) -> tuple[str, ...] | None:
    """Return what an arm has in the table, in the order of `HEAD`."""
    cells: list[str] = []
    for split in ("train", "validation"):
        epochs, mean, _, _ = mean_figure([run.curve for run in arm.runs], split)
        if not epochs:
            return None
        best = mean.index(max(mean))
        cells += [format_accuracy(mean[-1]), f"{epochs[best]:g}", format_accuracy(mean[best])]
    figure = record.grading.figure
    kept = [getattr(run.train, figure) for run in arm.runs if run.train is not None]
    return (*cells, format_accuracy(fmean(kept)) if kept else MISSING)
