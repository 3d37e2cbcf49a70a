"""What size did: training and validation loss of variants that differ in nothing but how large they are.

A larger net fits its training text better; where its validation loss does not follow, it overfits. Both losses are of
an evaluation (`train.eval_train_tokens` measures the training split beside each), at the end and not at the best
checkpoint, so that a validation loss that has risen again is seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from heed.report.numbers import MISSING, format_loss, human_count
from heed.report.statistics import Difference, compare_pairs, correct
from heed.report.study_findings import comparable_losses, show_difference
from heed.report.study_record import StudyRecord, StudyRun
from heed.report.tabular import TextTable

SIZES = ("model.n_layers", "model.d_model", "model.d_hidden", "model.n_heads", "model.n_kv_heads")
"""Settings that make a model larger."""


@dataclass(frozen=True)
class End:
    """What the evaluations of a cell come to, nats."""

    validation: float
    """At the end."""
    train: float | None
    """On a part of the training split, at the end; None where it was not measured."""
    lowest: float
    step: int
    """Where the validation loss was lowest."""

    @property
    def gap(self) -> float | None:
        """Validation above training loss."""
        return None if self.train is None else self.validation - self.train


def groups(record: StudyRecord) -> list[list[str]]:
    """Return the variants of one kind that differ in size only, the smallest first; groups of one are left out."""
    found: dict[str, list[str]] = {}
    for name in comparable_losses(record):
        variant = record.variants[name]
        if variant.parameters is not None:
            others = {setting: value for setting, value in variant.changes.items() if setting not in SIZES}
            found.setdefault(repr(sorted(others.items())), []).append(name)

    def size(name: str) -> int:
        return record.variants[name].parameters or 0

    return [sorted(names, key=size) for names in found.values() if len(set(map(size, names))) > 1]


def ends(record: StudyRecord, name: str) -> dict[int, End]:
    """Return what the evaluations of each finished seed come to."""
    found = {cell.seed: _end(cell) for cell in record.cells_of(name) if cell.state == "finished"}
    return {seed: end for seed, end in found.items() if end is not None}


def capacity_table(record: StudyRecord) -> TextTable | None:
    """Return the table of sizes; None where no variants differ in size only."""
    rows = [_row(record, name) for names in groups(record) for name in names if ends(record, name)]
    if not rows:
        return None
    return TextTable(
        ("variant", "parameters", "train loss", "validation loss", "gap", "lowest validation", "at step"),
        tuple(rows),
        (False, *[True] * 6),
        frozenset(),
        "Size and overfitting: losses in nats at the end of training, means over seeds. Train: a part of the training "
        "split, measured as validation is. Gap: validation above train. Lowest validation: of all evaluations, and the "
        f"step where it was (median over seeds). {MISSING}: not measured (train.eval_train_tokens).",
        (),
        "",
    )


def capacity_sentences(record: StudyRecord) -> list[str]:
    """Say for each group what the largest does beside the smallest, and which validation losses have risen again."""
    gaps = {name: _gaps(record, name) for names in groups(record) for name in names}
    pairs = [(names[0], names[-1]) for names in groups(record) if gaps[names[0]].keys() & gaps[names[-1]].keys()]
    found = correct([compare_pairs(small, large, gaps[small], gaps[large]) for small, large in pairs])
    return [_widening(record, d, gaps) for d in found] + [line for name in gaps if (line := _rise(record, name))]


def _widening(record: StudyRecord, d: Difference, gaps: Mapping[str, Mapping[int, float]]) -> str:
    """Say whether the gap of a group's largest variant is wider than that of its smallest."""
    sizes = " to ".join(human_count(record.variants[name].parameters or 0) for name in (d.a, d.b))
    word = {"better": "narrows", "worse": "widens"}.get(d.verdict, "was not found to change")
    before, after = (fmean(gaps[name].values()) for name in (d.a, d.b))
    return (
        f"From {d.a} to {d.b} ({sizes} parameters) the gap between training and validation loss {word}: "
        f"{before:+.3f} and {after:+.3f} nats, a difference of {show_difference(d)}."
    )


def _rise(record: StudyRecord, name: str) -> str | None:
    """Say how far a variant's validation loss has risen again; None where it has not, to three decimals."""
    found = list(ends(record, name).values())
    rise = fmean(end.validation - end.lowest for end in found) if found else 0.0
    if rise < 0.0005:
        return None
    step = median(end.step for end in found)
    return f"{name} ends {rise:.3f} nats above its lowest validation loss, which was at step {step:,.0f}."


def _end(cell: StudyRun) -> End | None:
    losses = cell.losses
    if not losses:
        return None
    last, (lowest, step) = losses[-1], min((loss, step) for step, loss, _ in losses)
    return End(last[1], last[2], lowest, step)


def _gaps(record: StudyRecord, name: str) -> dict[int, float]:
    return {seed: end.gap for seed, end in ends(record, name).items() if end.gap is not None}


def _row(record: StudyRecord, name: str) -> tuple[str, ...]:
    found = list(ends(record, name).values())

    def mean(values: Sequence[float | None]) -> str:
        known = [value for value in values if value is not None]
        return format_loss(fmean(known)) if known else MISSING

    gaps = [end.gap for end in found if end.gap is not None]
    return (
        name,
        human_count(record.variants[name].parameters or 0),
        mean([end.train for end in found]),
        mean([end.validation for end in found]),
        f"{fmean(gaps):+.3f}" if gaps else MISSING,
        mean([end.lowest for end in found]),
        f"{median(end.step for end in found):,.0f}",
    )
