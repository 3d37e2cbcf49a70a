"""What a study means, in sentences whose facts are filled in: found, not to be seen, left out, and where it holds."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, stdev

from heed.report.numbers import human_count, said_effect, said_interval, said_p, said_size
from heed.report.statistics import Difference, deviation_range, power
from heed.report.study_findings import UNITS, differences, scale, show_difference
from heed.report.study_record import StudyRecord
from heed.report.study_speed import unequal_times

UNEQUAL = 1.05
"""Parameters that differ by more than this factor are said: the budget did not make them equal."""


def interpretation(record: StudyRecord) -> list[tuple[str, list[str]]]:
    """Return titles, each with its sentences; a title without sentences is left out."""
    found = differences(record)
    parts = [
        ("What was found", _found(record, found)),
        ("What could not have been seen", _unseen(record, found)),
        ("What was left out", _left_out(record)),
        ("Where it holds", _scope(record)),
    ]
    return [(title, lines) for title, lines in parts if lines]


def _found(record: StudyRecord, found: list[Difference]) -> list[str]:
    if not found:
        return ["Nothing yet: no variant can be held against the baseline."]
    base = scale(record) * fmean(record.values(record.baseline).values())
    tested = sum(d.p_holm is not None for d in found)
    lines = []
    for d in sorted(found, key=lambda d: -abs(d.mean)):
        if d.found and d.p_holm is not None:
            share = f", {said_size(100 * d.mean / base)} % of the baseline's {base:.3f}" if base else ""
            lines.append(
                f"{d.b} is {d.verdict} than {d.a}: {show_difference(d)} {UNITS[record.figure]}{share} "
                f"(p = {said_p(d.p_holm)} after Holm's correction over {tested})."
            )
    if all(d.n < 2 for d in found):
        lines.append("Each variant was trained once, so the differences above are observations and no findings.")
    elif not lines:
        lines.append(f"No variant was found to differ from {record.baseline}.")
    lines += [f"{d.b} is the same as {d.a} to the last digit: there is nothing to test." for d in found if d.same]
    return lines + [line for d in found if (line := _doubt(d, tested))]


def _doubt(d: Difference, tested: int) -> str:
    """Say where an outlier or the correction decides; empty where neither does."""
    bounds = d.bootstrap_interval
    if bounds is not None and d.found and bounds[0] <= 0 <= bounds[1]:
        return f"The bootstrap interval of {d.b} includes 0: an outlier may carry this difference."
    if d.only_uncorrected and d.p_t is not None and d.p_holm is not None:
        return (
            f"{d.b} would count alone (p = {said_p(d.p_t)}), and does not among {tested} comparisons "
            f"({said_p(d.p_holm)}): worth more seeds."
        )
    return ""


def _unseen(record: StudyRecord, found: Sequence[Difference]) -> list[str]:
    unit = UNITS[record.figure]
    told = [d for d in found if d.detectable]
    if not told:
        alone = bool(found) and all(d.n < 2 for d in found)
        return ["With one seed a difference of any size may be noise: run more seeds."] if alone else []
    least, most = (pick(told, key=lambda d: d.detectable or 0.0) for pick in (min, max))
    n = min(d.n for d in told)
    lines = [f"With {n} seeds, {said_effect(most.detectable or 0.0, unit)} for {most.b}"]
    other = said_size(least.detectable or 0.0)
    lines[0] += "." if other == said_size(most.detectable or 0.0) else f", and one of {other} for {least.b}."
    lines += [_smaller(most), _spread(most, unit)]
    for d in told:
        if d.t_interval is not None and not d.found:
            between = said_interval(*d.t_interval, signed=True)
            lines.append(f"{d.b} was not shown to equal {d.a}: anything from {between} {unit} fits.")
    return lines


def _smaller(d: Difference) -> str:
    """Say that a smaller effect is found less often, and not never."""
    size, spread = d.detectable or 0.0, stdev(d.differences)
    three, two = (f"{100 * power(share * size, spread, d.n, d.level):.0f} %" for share in (0.75, 0.5))
    return (
        f"It is no bound: three quarters of such an effect would have been found in {three} of such studies, half of "
        f"it in {two}."
    )


def _spread(d: Difference, unit: str) -> str:
    """Say how roughly an effect is known that rests on the standard deviation of few seeds."""
    low, high = deviation_range(d.n)
    size = d.detectable or 0.0
    return (
        f"It rests on the standard deviation of {d.n} differences, of which the true one may be {low:.2f} to "
        f"{high:.1f} times as large (95 %): {said_size(low * size)} to {said_size(high * size)} {unit} for {d.b}."
    )


def _left_out(record: StudyRecord) -> list[str]:
    lines = [f"{name}: {reason}." for name, reason in record.left_out.items()]
    for cell in record.cells:
        if cell.state not in ("finished", "leaks") and cell.variant not in record.left_out:
            why = f": {cell.message}" if cell.message else ""
            lines.append(f"{cell.variant}, seed {cell.seed}: {cell.state}{why}. Its seed is in no pair.")
    return lines


def _scope(record: StudyRecord) -> list[str]:
    lines = ["It holds for this text, this size of model and this budget; another budget may turn the order round."]
    if record.search is None:
        lines.append(
            "No variant was tuned by itself: all but what differs is the base configuration's, which may suit one "
            "variant better than another."
        )
    sizes = {v.name: v.parameters for v in record.variants.values() if v.parameters}
    if sizes and max(sizes.values()) > UNEQUAL * min(sizes.values()):
        least, most = min(sizes, key=sizes.__getitem__), max(sizes, key=sizes.__getitem__)
        lines.append(
            f"The models are not of equal size: {least} has {human_count(sizes[least])} parameters, {most} "
            f"{human_count(sizes[most])}."
        )
    unequal = unequal_times(record)
    return [*lines, unequal] if unequal else lines
