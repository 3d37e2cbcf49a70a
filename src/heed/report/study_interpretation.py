"""What a study means, in sentences whose facts are filled in: found, not to be seen, left out, and where it holds."""

from __future__ import annotations

from statistics import fmean

from heed.report.numbers import human_count, human_seconds
from heed.report.statistics import Difference, no_spread
from heed.report.study_findings import UNITS, differences, format_interval, scale
from heed.report.study_record import StudyRecord

UNEQUAL = 1.05
"""Parameters or times that differ by more than this factor are said: the budget did not make them equal."""


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
    lines = []
    for d in sorted(found, key=lambda d: -abs(d.mean)):
        if d.verdict == "no difference found":
            continue
        share = f", {abs(d.mean) / abs(base):.1%} of the baseline's {base:.3f}".replace("%", " %") if base else ""
        p = f"p = {d.p_holm:.2g} after Holm's correction over {len(found)}" if d.p_holm is not None else ""
        lines.append(f"{d.b} is {d.verdict} than {d.a} by {_size(d)} {UNITS[record.figure]}{share} ({p}).")
    if not lines and any(d.t_interval for d in found):
        lines.append(f"No variant was found to differ from {record.baseline}.")
    if all(d.t_interval is None for d in found):
        lines.append("Each variant was trained once, so the differences above are observations and no findings.")
    for d in found:
        if d.bootstrap_interval is None or d.t_interval is None:
            continue
        if d.verdict != "no difference found" and d.bootstrap_interval[0] <= 0 <= d.bootstrap_interval[1]:
            lines.append(f"The bootstrap interval of {d.b} includes 0: an outlier may carry this difference.")
        elif d.only_uncorrected:
            lines.append(
                f"{d.b} would count alone (p = {d.p_t:.2g}), and does not among {len(found)} comparisons "
                f"({d.p_holm:.2g}): worth more seeds."
            )
    return lines


def _unseen(record: StudyRecord, found: list[Difference]) -> list[str]:
    known = {d.b: d.detectable for d in found if d.detectable}  # 0: the same with every seed, which tells no noise
    if not known and any(d.t_interval is not None for d in found):
        return []
    if not known:
        return ["With one seed a difference of any size may be noise: run more seeds."] if found else []
    low, high = min(known, key=known.__getitem__), max(known, key=known.__getitem__)
    unit = UNITS[record.figure]
    sizes = f"{known[high]:.2g} {unit} ({high})"
    if len(known) > 1 and f"{known[low]:.2g}" != f"{known[high]:.2g}":
        sizes = f"{known[low]:.2g} ({low}) to {sizes}"
    lines = [
        f"With {min(d.n for d in found if d.n > 1)} seeds, a true difference smaller than {sizes} would have been "
        "missed more than once in five."
    ]
    for d in found:
        if d.verdict == "no difference found" and d.t_interval is not None and not no_spread(d.differences):
            low_end, high_end = d.t_interval
            lines.append(
                f"{d.b} was not shown to equal {d.a}: anything from {low_end:+.2g} to {high_end:+.2g} {unit} fits."
            )
    return lines


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
    times = {}
    for name in record.ranked:
        known = [cell.seconds for cell in record.cells_of(name) if cell.state == "finished" and cell.seconds]
        if known:
            times[name] = fmean(known)
    if len(times) > 1 and record.budget.get("kind") != "seconds":
        least, most = min(times, key=times.__getitem__), max(times, key=times.__getitem__)
        if times[most] > UNEQUAL * times[least]:
            lines.append(
                f"The budget is not time: {least} took {human_seconds(times[least])}, {most} "
                f"{human_seconds(times[most])}."
            )
    return lines


def _size(d: Difference) -> str:
    half = (d.t_interval[1] - d.t_interval[0]) / 2 if d.t_interval else None
    return format_interval(abs(d.mean), half)
