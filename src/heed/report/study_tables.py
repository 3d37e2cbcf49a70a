"""The table of a study: one row a variant, for a terminal, Markdown, LaTeX and a page.

Rows are sorted by architecture, layers, optimizer and name. A figure is the mean over seeds with half of its 95 % t
interval, rounded to what the interval allows. The best of each architecture is bold, among the variants that may be
ranked. A figure whose passport is not the baseline's does not stand in the column: a note below says what differs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean, median

from heed.report.numbers import MISSING, format_count, human_bytes, human_count, human_seconds
from heed.report.statistics import said_mean
from heed.report.study_capacity import capacity_table
from heed.report.study_findings import (
    UNITS,
    budget,
    differences,
    scale,
    show_difference,
)
from heed.report.study_lengths import length_tables
from heed.report.study_record import StudyRecord, Variant
from heed.report.study_speed import by_seed
from heed.report.tabular import TextTable, to_text

FACTS = {
    "architecture": "model.kind",
    "layers": "model.n_layers",
    "optimizer": "train.optimizer",
}
"""Columns that a table is sorted by, and the settings that they show; one that is the same everywhere has no column."""
OTHER = "other passport"
"""What stands in the place of a figure that must not stand in the column."""


def table(record: StudyRecord) -> TextTable:
    """Return the table of a study; a study that is still running has gaps."""
    variants = sorted(record.variants.values(), key=_order)
    facts = {name: setting for name, setting in FACTS.items() if len({_shown(v, setting) for v in variants}) > 1}
    unit = record.figure.replace("_", " ") + (" (%)" if record.figure == "accuracy" else "")
    gap = f"{'Δ' if len(record.variants) > 1 else ''} {record.split}".strip()
    costs = ["parameters", "steps", "tokens/s", "steady", "peak", "time"]
    perplexities = [split for split in record.splits if record.figure == "loss" and _has_perplexity(record, split)]
    head = ["variant", "no.", *facts, "seeds", *(f"{split} {unit}" for split in record.splits), gap]
    head += [*(f"{split} perplexity" for split in perplexities), *costs]
    numbers = {name: str(number) for number, name in enumerate(record.variants, 1)}
    found = {d.b: d for d in differences(record)}
    rows = []
    for variant in variants:
        name = variant.name
        row = [name, numbers[name], *(_shown(variant, setting) for setting in facts.values()), _seeds(record, name)]
        row += [_figure(record, name, split) for split in record.splits]
        if name == record.baseline:
            row.append("baseline")
        elif name in found:
            row.append(show_difference(found[name]))
        else:
            row.append(MISSING)
        row += [_figure(record, name, split, "token_perplexity") for split in perplexities]
        rows.append((*row, *_costs(record, variant)))
    first = 3 + len(facts)
    return TextTable(
        tuple(head),
        tuple(rows),
        tuple(index == 1 or index >= first for index in range(len(head))),
        _best(record, variants, first),
        caption(record),
        notes(record),
    )


def caption(record: StudyRecord) -> str:
    """Say what the table shows and explain every symbol in it."""
    unit = UNITS[record.figure]
    seeds = f"{len(record.seeds)} seeds" if len(record.seeds) != 1 else "one seed"
    better = "higher" if record.higher_is_better else "lower"
    delta = f"Δ: difference to {record.baseline} in {unit} on the {record.split} split"
    interval = (
        f"±: half of the 95 % t interval of the mean over seeds. {delta}, paired over seeds, with its 95 % t interval. "
        if len(record.seeds) > 1
        else f"{delta}; with one seed nothing can be said about noise. "
    )
    first = next(iter(record.variants.values()))
    common = ", ".join(
        f"{name} {_shown(first, setting)}"
        for name, setting in FACTS.items()
        if len({_shown(v, setting) for v in record.variants.values()}) == 1 and _shown(first, setting) != MISSING
    )
    passport = record.passport(record.baseline, record.split)
    n = f"n = {passport.tokens:,} predicted {passport.unit}s on the {record.split} split. " if passport else ""
    leaking = "In brackets: of a model that leaks. " if any(map(record.leak, record.variants)) else ""
    return (
        f"{record.title}: {record.figure.replace('_', ' ')} ({better} is better) of {len(record.variants)} variants at "
        f"{budget(record)} each, {seeds}{f'; all: {common}' if common else ''}. {n}{interval}"
        "No.: the place in the file of the study. Bold: the best mean of each architecture among what may be ranked "
        "and has all seeds. Seeds: those that finished, of those planned. Steps: optimizer steps. Tokens/s: training "
        "tokens a second, without padding; the median of the logged steps but the first. Steady, peak: memory while "
        "training, and at most. Time: wall clock of training. Tokens/s and time: medians over seeds; steps and memory: "
        "means. "
        f"{leaking}{MISSING}: not known."
    )


def notes(record: StudyRecord) -> tuple[str, ...]:
    """Return what must be said below the table: leaks, other passports, cells that did not finish."""
    said = []
    for name, reason in record.left_out.items():
        said.append(f"{name}: {reason}.")
    for split in record.splits[1:]:
        for name in record.ranked:
            other = record.other_passport(name, split)
            if other:
                said.append(f"{name}, {split}: the passport differs: {'; '.join(other)}.")
    for cell in record.cells:
        if cell.state not in ("finished", "leaks") and cell.variant not in record.left_out:
            said.append(
                f"{cell.variant}, seed {cell.seed}: {cell.state}" + (f": {cell.message}." if cell.message else ".")
            )
    return tuple(said)


def every_table(record: StudyRecord) -> list[TextTable]:
    """Return every table of a study: the main one, and those of its lengths where there are any."""
    capacity = capacity_table(record)
    return [table(record), *([] if capacity is None else [capacity]), *length_tables(record)]


def terminal(record: StudyRecord, width: int | None = None) -> list[str]:
    """Return the tables as lines of plain text that fit into `width`; what is best, or was found, has a star."""
    main, *others = every_table(record)
    lines = to_text(main, width)
    for made in others:
        lines += ["", made.caption, "", *to_text(made, width)]
    return lines


def _order(variant: Variant) -> tuple[str, int, str, str]:
    kind, layers, optimizer = (variant.setting(setting) for setting in FACTS.values())
    return str(kind), layers if isinstance(layers, int) else 0, str(optimizer), variant.name


def _shown(variant: Variant, setting: str) -> str:
    value = variant.setting(setting)
    return MISSING if value is None else str(value)


def _seeds(record: StudyRecord, name: str) -> str:
    """Return how many seeds finished, of how many."""
    done = sum(cell.state in ("finished", "leaks") for cell in record.cells_of(name))
    if name in record.left_out:
        word = record.left_out[name].split(":")[0].split(" (")[0].split(",")[0]
        return word.upper() if word == "leaks" else word
    return str(done) if done == len(record.seeds) else f"{done} of {len(record.seeds)}"


def _has_perplexity(record: StudyRecord, split: str) -> bool:
    return any(record.values(name, split, "token_perplexity") for name in record.variants)


def _figure(record: StudyRecord, name: str, split: str, figure: str | None = None) -> str:
    if record.other_passport(name, split, figure):
        return OTHER
    factor = scale(record) if figure is None else 1
    values = [factor * value for value in record.values(name, split, figure).values()]
    if not values:
        return MISSING
    return f"({said_mean(values)})" if record.leak(name) else said_mean(values)


def _costs(record: StudyRecord, variant: Variant) -> list[str]:
    """Return parameters, steps, speed, memory and time of a variant."""
    cells = [cell for cell in record.cells_of(variant.name) if cell.state in ("finished", "leaks")]

    def mean(what: str) -> float | None:
        known = [value for cell in cells if (value := getattr(cell, what)) is not None]
        return fmean(known) if known else None

    steady, peak = mean("steady"), mean("peak")
    speed, seconds = (_median(by_seed(record, variant.name, what)) for what in ("speed", "seconds"))
    steps = mean("steps") if variant.steps is None else variant.steps  # a budget of time leaves them open
    return [
        human_count(variant.parameters),
        format_count(None if steps is None else round(steps)),
        human_count(speed),
        human_bytes(steady),
        human_bytes(peak),
        human_seconds(seconds),
    ]


def _median(by_seed: Mapping[int, float]) -> float | None:
    return median(by_seed.values()) if by_seed else None


def _best(record: StudyRecord, variants: Sequence[Variant], first: int) -> frozenset[tuple[int, int]]:
    """Return the places of the best mean of each architecture on each split, but for what was trained on."""
    places = set()
    most = max((len(record.values(name)) for name in record.ranked), default=0)
    held_out = [(column, split) for column, split in enumerate(record.splits, first) if split != "train"]
    for column, split in held_out:
        for kind in {_shown(variant, FACTS["architecture"]) for variant in variants}:
            means = {}
            for row, variant in enumerate(variants):
                values = record.values(variant.name, split)
                fits = variant.name in record.ranked and not record.other_passport(variant.name, split)
                fits = fits and len(values) == most
                if values and fits and _shown(variant, FACTS["architecture"]) == kind:
                    means[row] = fmean(values.values())
            if means:
                places.add(((max if record.higher_is_better else min)(means, key=means.__getitem__), column))
    return frozenset(places)
