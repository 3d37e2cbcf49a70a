"""The page of one study: what differs from the baseline, the table, the setup, and everything that was looked at.

    read_study(folder) -> StudyRecord -> render(record) -> HTML        write_study(folder) does both, and the tables

A study that still runs has one too (heed compare FOLDER --report): what is not there yet is said.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from heed.config import flatten
from heed.report.figure import Figure
from heed.report.numbers import MISSING, human_count
from heed.report.parts import (
    PAGE,
    TABLES,
    Banner,
    Details,
    Findings,
    GroupedPairs,
    Heading,
    Multiples,
    Page,
    PageSection,
    Pairs,
    Paragraph,
    Samples,
    Switch,
    Tabled,
    WideFigure,
    again,
    render_page,
    setting_groups,
    show_facts,
    show_value,
    write_with_tables,
)
from heed.report.samples import Sample, texts_to_show
from heed.report.study_capacity import capacity_sentences, capacity_table
from heed.report.study_figures import AXES, study_figures
from heed.report.study_findings import budget, mixed_schedules, sentences, verdict
from heed.report.study_interpretation import interpretation
from heed.report.study_lengths import length_sentences, length_tables
from heed.report.study_picks import picks
from heed.report.study_record import StudyRecord, StudyRun, read_study
from heed.report.study_tables import every_table, table
from heed.report.tabular import TextCell, TextTable, words_table

SHOWN = {
    "text": ("data.source", "data.validation", "data.test", "data.label"),
    "tokenizer": ("tokenizer.kind", "tokenizer.vocab_size", "tokenizer.file"),
    "model": ("model.kind", "model.n_layers", "model.n_heads", "model.d_model", "model.context", "model.positions"),
    "training": (
        "train.optimizer",
        "train.learning_rate",
        "train.schedule",
        "train.batch_size",
        "train.accumulation",
        "train.precision",
    ),
}
"""What the setup says of the base configuration, by line."""


def write_study(folder: str | Path, record: StudyRecord | None = None) -> Path:
    """Write report.html, table.md and table.tex into a study folder and return the path of the page.

    `record` is what was read of the folder, where that is known already.

    Raises `CheckpointError` when the folder holds no study or cannot be written to, `DataError` when study.json is
    broken.
    """
    record = record or read_study(folder)
    return write_with_tables(folder, render(record), every_table(record))


def render(record: StudyRecord) -> str:
    """Return the page of a study as HTML; equal records give equal bytes."""
    figures = study_figures(record)
    tables = length_tables(record)
    capacity = capacity_table(record)
    search = [figure for name, figure in figures.items() if name.startswith("search-")]
    sections = [
        PageSection("found", "Difference to the baseline", [
            WideFigure(figures.get("forest")), Findings(sentences(record)),
        ], quiet=True),
        PageSection("results", "Results", [
            Findings(picks(record)), Tabled(table(record), "Results of every variant"), TABLES,
        ]),
        PageSection("setup", "Setup", _setup(record)),
        PageSection("lengths", "Beyond the training length", [
            WideFigure(figures.get("lengths")), Findings(length_sentences(record), "block"),
            *(Tabled(made, f"By context; bold is {made.starred}") for made in tables),
        ] if tables else []),
        PageSection("capacity", "Size and overfitting", [
            Findings(capacity_sentences(record)), Tabled(capacity, "Losses by size"),
        ] if capacity else []),
        PageSection("learning", "Learning", [Switch(panels(figures))]),
        PageSection("costs", "Speed and memory", [
            Multiples([figures[n] for n in ("speed", "memory") if n in figures]),
        ]),
        PageSection("search", "Search", [Paragraph(searched(record)), Multiples(search)] if search else []),
        PageSection("meaning", "Interpretation", [
            part for title, lines in interpretation(record) for part in (Heading(title), Findings(lines))
        ]),
        PageSection("samples", "What each writes", [Samples(samples(record), "Drawn from each model")]),
        PageSection("runs", "Every run", [Tabled(runs(record), "Pages of the runs")]),
        again(record.command, "What has finished is not run again."),
    ]  # fmt: skip
    files = "study.json and the run folders of this study"
    return render_page(
        Page("study", record.title, verdict(record), sections, design(record), banners(record), files)
    )  # fmt: skip


def panels(figures: Mapping[str, Figure]) -> list[tuple[str, str, list[Figure]]]:
    """Return the learning curves over each axis: validation, training, and what the loss means."""
    kinds = ("validation", "train", "perplexity")
    return [
        (axis, shown, [figures[name] for kind in kinds if (name := f"{kind}-{axis}") in figures])
        for axis, (_, shown) in AXES.items()
        if f"validation-{axis}" in figures
    ]


def _setup(record: StudyRecord) -> list[Any]:
    """Return how the study was set up: what all variants share, what differs, and the machine."""
    facts, base = show_facts(record.machine), setting_groups(record.base)
    parts = [Pairs(setup(record)), Tabled(differing(record), "What differs between the variants")]
    parts += [Details("Machine", [Pairs(facts)])] if facts else []
    return parts + ([Details("Every setting of the base", [GroupedPairs(base)])] if base else [])


def design(record: StudyRecord) -> str:
    """Say in a sentence how it was compared."""
    many = len(record.variants)
    done = sum(cell.state in ("finished", "leaks") for cell in record.cells)
    seeds = f"{len(record.seeds)} seeds" if len(record.seeds) != 1 else "one seed"
    source = record.base.get("data", {}).get("source") if isinstance(record.base.get("data"), dict) else None
    name = record.figure.replace("_", " ")
    return (
        f"{many} variant{'s' if many != 1 else ''} × {seeds} at {budget(record)} each"
        + (f" on {source}" if source else "")
        + f"; {name} on the {record.split} split, {'higher' if record.higher_is_better else 'lower'} is better. "
        f"{done} of {many * max(1, len(record.seeds))} runs have finished."
    )


def banners(record: StudyRecord) -> list[Banner]:
    """Return what a reader must know before any figure, the gravest first."""
    found = []
    leaking = [name for name in record.variants if record.leak(name)]
    if leaking:
        text = (
            f"{', '.join(leaking)}: the model sees the tokens that it should predict, so its losses mean nothing. "
            "It is kept out of ranking, statistics and curves."
        )
        found.append(Banner("error", "Leaks", text))
    if record.baseline in record.left_out:
        reason = record.left_out[record.baseline]
        found.append(Banner("error", "No baseline", f"{record.baseline}: {reason}. Without it nothing is compared."))
    missing = record.missing
    if missing:
        first = ", ".join(f"{name} with seed {seed}" for name, seed in missing[:4])
        more = f" and {len(missing) - 4} more" if len(missing) > 4 else ""
        text = f"Not done yet: {first}{more}. What is below is what there is so far."
        found.append(Banner("warning", "Still running, or cut off", text))
    if len(record.seeds) == 1 and len(record.variants) > 1:
        text = "Each variant was trained once: nothing can be said about noise, and any order below may be chance."
        found.append(Banner("warning", "One seed", text))
    if old := mixed_schedules(record):
        found.append(Banner("warning", "Two schedules", old))
    if record.notes:
        found.append(Banner("note", "About the files", " ".join(record.notes)))
    return found


def setup(record: StudyRecord) -> list[tuple[str, str]]:
    """Return how the study was set up, as pairs; what variants change is left to the table of their differences."""
    changed = {name for variant in record.variants.values() for name in variant.changes}
    values = {name: value for name, value in flatten(record.base) if name not in changed}
    if values.get("tokenizer.file") is not None:  # which has a kind and a size of its own
        values |= {"tokenizer.kind": None, "tokenizer.vocab_size": None}
    rows = []
    for what, names in SHOWN.items():
        parts = [
            f"{name.split('.')[1].replace('_', ' ')} {show_value(values[name])}"
            for name in names
            if values.get(name) is not None
        ]
        if parts:
            rows.append((what, ", ".join(parts)))
    sizes = [variant.parameters for variant in record.variants.values() if variant.parameters is not None]
    if sizes:
        low, high = human_count(min(sizes)), human_count(max(sizes))
        rows.append(("parameters", low if low == high else f"{low} to {high}"))
    places = ", counted in places: rows × context, padding included" if record.budget.get("kind") == "tokens" else ""
    rows.append(("budget", f"{budget(record)} for each run{places}"))
    rows.append(("seeds", ", ".join(map(str, record.seeds)) or "none"))
    rows.append(("baseline", record.baseline))
    passport = record.passport(record.baseline, record.split)
    rows.append(("figures", passport.sentence() if passport else "without a passport: compare them with nothing else"))
    rows += [("audit for leaks", said)] if (said := audits(record)) else []
    return rows


def audits(record: StudyRecord) -> str:
    """Say what the audit found of each variant before it was trained, and how much it tried of the baseline.

    Empty where nothing is recorded.
    """
    said = {}
    for name in record.variants:
        found = [cell.run.environment.audit for cell in record.cells_of(name) if cell.run is not None]
        said[name] = next((str(one) for one in found if one), "")
    if not any(said.values()):
        return ""
    parts = []
    for verdict_ in ("causal", "could not tell", "leaks", ""):
        names = [name for name, one in said.items() if one.split(":")[0] == verdict_]
        parts += [f"{verdict_ or 'not audited'}: {', '.join(names)}"] if names else []
    tried = re.search(r"\((in up to [^)]*)\)", said.get(record.baseline, ""))
    return "; ".join(parts) + (f". Tried of {record.baseline}: {tried[1]}." if tried else ".")


def differing(record: StudyRecord) -> TextTable | None:
    """Return the settings in which variants differ, a row a variant; None where they differ in none."""
    names = list(dict.fromkeys(name for variant in record.variants.values() for name in variant.changes))
    rows = []
    for variant in record.variants.values():
        cells = [TextCell(show_value(variant.setting(name)), strong=name in variant.changes) for name in names]
        rows.append((variant.name, *cells, MISSING if variant.parameters is None else f"{variant.parameters:,}"))
    head = ("variant", *(TextCell(name, code=True) for name in names), "parameters")
    text = "What differs between the variants; everything else is the same. Bold: changed from the base."
    return words_table(head, rows, 1 + len(names), text) if names else None


def searched(record: StudyRecord) -> str:
    """Say how hyper-parameters were searched; empty when they were not."""
    if not record.search:
        return ""
    trials = record.search.get("trials")
    many = len(trials) if isinstance(trials, list) else 0
    names = record.search.get("parameters")
    what = ", ".join(map(str, names)) if isinstance(names, Mapping | list) else "hyper-parameters"
    return f"{record.search.get('method', 'search')} over {what}: {many} trials."


def samples(record: StudyRecord) -> list[tuple[str, Sample]]:
    """Return one text of each variant under its name, of the first seed that has one."""
    found = []
    for name in record.variants:
        for cell in record.cells_of(name):
            texts = texts_to_show(cell.run.samples, cell.run.drafts)[0] if cell.run else []
            if texts:
                found.append((f"{name}, seed {cell.seed}", texts[0]))
                break
    return found


def runs(record: StudyRecord) -> TextTable:
    """Return a link to the page of each run, by variant and seed."""
    rows = []
    for name in record.variants:
        cells = {run.seed: run for run in record.cells_of(name)}
        rows.append((name, *(_link(record, cells.get(seed)) for seed in record.seeds)))
    head = ("variant", *(f"seed {seed}" for seed in record.seeds))
    return words_table(head, rows, len(head))


def _link(record: StudyRecord, cell: StudyRun | None) -> TextCell:
    if cell is None:
        return TextCell("not run yet")
    page = record.folder / cell.folder / PAGE
    link = f"./{quote(cell.folder)}/{PAGE}" if cell.folder and page.is_file() else ""
    return TextCell(cell.state, link=link, hint=cell.message)
