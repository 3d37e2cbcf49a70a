"""What a study has found at other contexts than that of training: figures, paired differences, sentences, tables.

Two questions, each paired over seeds. Against the baseline at each length: which variant is better there? Against
itself at the length of training: does it hold when it is read further? (Press et al. 2022: extrapolation.) Holm's
correction is over all differences of a table, and over all variants that are held against themselves.

Windows do not overlap, so a longer one also spares tokens with little context: a loss that stays the same has already
lost what more context would have given.
"""

from __future__ import annotations

from statistics import fmean
from typing import Any

from heed.report.numbers import MISSING, said_half
from heed.report.passport import differences as passport_differences
from heed.report.record import passport_of
from heed.report.statistics import Difference, compare_pairs, correct, said_mean
from heed.report.study_findings import UNITS, scale, show_difference
from heed.report.study_record import StudyRecord
from heed.report.tabular import TextTable


def length_values(record: StudyRecord, variant: str, length: int) -> dict[int, float]:
    """Return the finite figures of a variant at a length, by seed, in the unit of `UNITS`."""
    found = {}
    for cell in record.cells_of(variant):
        value = cell.lengths[length].finite(record.figure) if length in cell.lengths else None
        if value is not None:
            found[cell.seed] = scale(record) * value
    return found


def reason_at(record: StudyRecord, variant: str, length: int) -> str:
    """Say why a variant has no figure at a length; empty where it has one, or has not been measured yet."""
    if length_values(record, variant, length):
        return ""
    found = (cell.lengths[length] for cell in record.cells_of(variant) if length in cell.lengths)
    return next((one.reason for one in found if one.reason), "")


def measured_at(record: StudyRecord, variant: str) -> list[int]:
    """Return the lengths of the study at which a ranked variant has figures that mean what the baseline's mean."""
    if variant not in record.ranked:
        return []
    lengths = [length for length in record.lengths if length_values(record, variant, length)]
    return [length for length in lengths if not other_passport_at(record, variant, length)]


def ended_at(record: StudyRecord, variant: str) -> tuple[int, str] | None:
    """Return (the first length beyond its figures, why) of a variant that could not be read to the end."""
    last = max(measured_at(record, variant), default=0)
    beyond = ((length, reason_at(record, variant, length)) for length in record.lengths if length > last)
    return next(((length, reason) for length, reason in beyond if reason), None) if last else None


def trained_on(record: StudyRecord, variant: str) -> int | None:
    """Return the context that a variant was trained with, in tokens."""
    context = record.variants[variant].setting("model.context")
    return context if type(context) is int else None


def other_passport_at(record: StudyRecord, variant: str, length: int) -> list[str]:
    """Return the fields in which a variant's passports at a length are not the baseline's and move the figure."""
    own, base = (
        [found for cell in record.cells_of(name) if (found := passport_of(cell.lengths.get(length)))]
        for name in (variant, record.baseline)
    )
    fields = (passport_differences(base[0], passport, record.figure) for passport in own if base)
    return list(dict.fromkeys(name for names in fields for name in names if name != "leaks"))


def length_differences(record: StudyRecord) -> dict[tuple[str, int], Difference]:
    """Return each variant against the baseline, by variant and length, corrected together."""
    found = {}
    for length in measured_at(record, record.baseline):
        base = length_values(record, record.baseline, length)
        for name in record.ranked:
            values = length_values(record, name, length)
            if name != record.baseline and length in measured_at(record, name) and base.keys() & values.keys():
                found[name, length] = compare_pairs(
                    record.baseline, name, base, values, higher_is_better=record.higher_is_better
                )
    return dict(zip(found, correct(list(found.values())), strict=True))


def extrapolations(record: StudyRecord) -> dict[str, Difference]:
    """Return each variant at its longest length against itself at that of training (or the next below), corrected."""
    found = {}
    for name in record.ranked:
        trained, lengths = trained_on(record, name), measured_at(record, name)
        within = [length for length in lengths if trained is not None and length <= trained]
        if not within or lengths[-1] == within[-1]:
            continue
        near, far = (length_values(record, name, length) for length in (within[-1], lengths[-1]))
        if near.keys() & far.keys():
            a, b = (f"{name} at {length:,} tokens" for length in (within[-1], lengths[-1]))
            found[name] = compare_pairs(a, b, near, far, higher_is_better=record.higher_is_better)
    return dict(zip(found, correct(list(found.values())), strict=True))


def length_sentences(record: StudyRecord) -> list[str]:
    """Return what became of each variant beyond its training, the largest change first.

    What could not be measured, and why, is in the notes of `length_tables`.
    """
    found = sorted(extrapolations(record).values(), key=lambda d: -abs(d.mean))
    lines = [f"{d.sentence(UNITS[record.figure])}." for d in found]
    return [line[0].upper() + line[1:] if line.startswith("no difference") else line for line in lines]


def length_title(record: StudyRecord) -> str:
    """Say in a sentence who is best and worst at the longest length, and how far beyond the training it is."""
    at = {name: lengths[-1] for name in record.ranked if (lengths := measured_at(record, name))}
    longest = max(at.values())
    means = {name: fmean(length_values(record, name, longest).values()) for name, last in at.items() if last == longest}
    contexts = {trained_on(record, name) for name in at}
    trained = contexts.pop() if len(contexts) == 1 else None
    how = f"Trained on {trained:,} tokens, read up to {longest:,}" if trained else f"Read up to {longest:,} tokens"
    low, high = min(means, key=means.__getitem__), max(means, key=means.__getitem__)
    figure = record.figure.replace("_", " ")
    if len(means) == 1:
        return f"{how}: {figure} of {low} is {means[low]:.3f}"
    return f"{how}: {figure} is lowest for {low} ({means[low]:.3f}), highest for {high} ({means[high]:.3f})"


def length_rows(record: StudyRecord) -> list[dict[str, Any]]:
    """Return what is known of each variant at each length as plain values, for programs."""
    found = length_differences(record)
    rows = []
    for name in record.variants:
        for length in record.lengths:
            d = found.get((name, length))
            rows.append(
                {
                    "variant": name,
                    "context": length,
                    "values": length_values(record, name, length),
                    "reason": reason_at(record, name, length) or None,
                    "difference": None if d is None else d.mean,
                    "interval": None if d is None else d.t_interval,
                    "p_holm": None if d is None else d.p_holm,
                }
            )
    return rows


def length_tables(record: StudyRecord) -> list[TextTable]:
    """Return the table of figures by length, and that of differences to the baseline; none where nothing is known."""
    names = [name for name in record.ranked if measured_at(record, name)]
    if not names:
        return []
    found = length_differences(record)
    several = len({trained_on(record, name) for name in names}) > 1
    trained = trained_on(record, record.baseline)
    head = tuple(f"{n:,}" + (" (trained)" if n == trained and not several else "") for n in record.lengths)
    numeric = (False, *(True for _ in head))
    notes = tuple(_notes(record, names))
    own = TextTable(
        ("variant", *head),
        tuple((name, *(_figure(record, name, length) for length in record.lengths)) for name in names),
        numeric,
        _lowest(record, names),
        f"{record.figure.replace('_', ' ').capitalize()} on the validation split by context in tokens, in windows that "
        "do not overlap. Mean over seeds ± half of its 95 % t interval. Bold: the best mean at a length, among those "
        f"with most seeds. {MISSING}: no figure.",
        () if found else notes,
        "the best at this length",
    )
    if not found:
        return [own]
    others = [name for name in names if name != record.baseline]
    kept = frozenset(
        (row, column)
        for row, name in enumerate(others)
        for column, length in enumerate(record.lengths, 1)
        if (name, length) in found and found[name, length].found
    )
    deltas = TextTable(
        ("variant", *head),
        tuple(
            (name, *(_delta(found[name, n]) if (name, n) in found else MISSING for n in record.lengths))
            for name in others
        ),
        numeric,
        kept,
        f"Δ: difference to {record.baseline} in {UNITS[record.figure]} at the same context, paired over seeds, ± half "
        f"of its 95 % t interval. Bold: found after Holm's correction over the {len(found)} differences of this table. "
        f"{MISSING}: nothing to compare.",
        notes,
        "a difference that was found",
    )
    return [own, deltas]


def _figure(record: StudyRecord, name: str, length: int) -> str:
    values = list(length_values(record, name, length).values()) if length in measured_at(record, name) else []
    return said_mean(values) if values else MISSING


def _delta(d: Difference) -> str:
    """Return a difference with half of its interval, which many columns have room for."""
    if d.t_interval is None:
        return show_difference(d)
    return said_half(d.mean, (d.t_interval[1] - d.t_interval[0]) / 2, signed=True)


def _lowest(record: StudyRecord, names: list[str]) -> frozenset[tuple[int, int]]:
    """Return the places of the best mean at each length, among the variants with most seeds."""
    places = set()
    for column, length in enumerate(record.lengths, 1):
        known = {
            row: values
            for row, name in enumerate(names)
            if length in measured_at(record, name) and (values := length_values(record, name, length))
        }
        most = max(map(len, known.values()), default=0)
        means = {row: fmean(values.values()) for row, values in known.items() if len(values) == most}
        if means:
            places.add(((max if record.higher_is_better else min)(means, key=means.__getitem__), column))
    return frozenset(places)


def _notes(record: StudyRecord, names: list[str]) -> list[str]:
    """Say why a place has no figure."""
    said = []
    for name in names:
        for length in record.lengths:
            if length in measured_at(record, name):
                continue
            other = other_passport_at(record, name, length)
            reason = reason_at(record, name, length) or (
                f"the passport differs in {', '.join(other)}" if other else "not measured yet"
            )
            said.append((name, length, reason))
    reasons = dict.fromkeys((name, reason) for name, _, reason in said)
    at = {pair: [f"{length:,}" for name, length, reason in said if (name, reason) == pair] for pair in reasons}
    return [f"{name} at {', '.join(lengths)}: {reason}." for (name, reason), lengths in at.items()]
