"""What a study picks out: the best figure, the way to a loss, and who generalises best, a sentence each."""

from __future__ import annotations

from statistics import fmean

from heed.report.numbers import said_number, said_p
from heed.report.statistics import compare_pairs
from heed.report.study_findings import comparable_losses, format_figure, ranking
from heed.report.study_record import StudyRecord
from heed.report.study_speed import fastest


def picks(record: StudyRecord) -> list[str]:
    """Return the best one, the times to a given loss and the best generalisation, a sentence each."""
    return [line for line in (best(record), fastest(record), generalisation(record)) if line]


def best(record: StudyRecord) -> str | None:
    """Say which mean is best, and whether its lead over the next one was shown."""
    ranks = ranking(record)
    if not ranks:
        return None
    first = ranks[0]
    rivals = [rank for rank in ranks[1:] if rank.seeds == first.seeds]
    clear = f"{first.seeds} seeds" if first.seeds > 1 else "one seed"
    clear += ", among those with as many" if any(rank.seeds < first.seeds for rank in ranks) else ""
    name = record.figure.replace("_", " ")
    said = f"Best {name} on the {record.split} split: {first.variant} with {format_figure(record, first)} ({clear})"
    if not rivals or first.seeds < 2:
        return f"{said}."
    values = [record.values(rank.variant) for rank in (rivals[0], first)]
    d = compare_pairs(rivals[0].variant, first.variant, *values, higher_is_better=record.higher_is_better)
    if d.same:
        return f"{said}; {d.a}, the next, is the same."
    p = "" if d.p_t is None else f" (p = {said_p(d.p_t)}, paired over seeds)"
    return f"{said}; its lead over {d.a}, the next, {'is' if d.found else 'was not'} shown{p}."


def generalisation(record: StudyRecord) -> str | None:
    """Say which variant has the lowest validation loss at the end of training, and the gap to training beside it.

    The gap is between two evaluations at one step, of validation and of a fixed part of the training text. By itself
    it says nothing: a model that learns nothing has none.
    """
    ends = {name: found for name in comparable_losses(record) if (found := _ends(record, name))}
    if len(ends) < 2:
        return None
    means = {name: fmean(loss for loss, _ in found) for name, found in ends.items()}
    gaps = {name: [gap for _, gap in found if gap is not None] for name, found in ends.items()}
    gaps = {name: fmean(found) for name, found in gaps.items() if found}
    first = min(means, key=means.__getitem__)
    said = f"Lowest validation loss at the end of training: {first}, {means[first]:.4f} nats"
    if first not in gaps:
        return f"{said}. Its gap to training was not measured (train.eval_train_tokens measures it)."
    least = min(gaps, key=gaps.__getitem__)
    gap = said_number(abs(gaps[first]), 3) + (" below" if gaps[first] < 0 else " above")
    other = said_number(gaps[least], 3, signed=True)
    other = "" if least == first else f"; the least gap, {other}, is that of {least} at {means[least]:.4f}"
    return f"{said}, {gap} its training loss measured in the same way{other}."


def _ends(record: StudyRecord, name: str) -> list[tuple[float, float | None]]:
    """Return the last validation loss of each seed and its gap to the training loss of the same evaluation, nats."""
    ends = [cell.losses[-1] for cell in record.cells_of(name) if cell.state == "finished" and cell.losses]
    return [(loss, None if train is None else loss - train) for _, loss, train in ends]
