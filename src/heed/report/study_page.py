"""One page about one study: a single HTML file that needs no network, no script and no mouse.

    read_study(folder) -> StudyRecord -> render(record) -> HTML        write_study(folder) does both, and the tables

It has the look and the security policy of the page of a run (`heed.report.page`). It is written again after each cell,
so that a study can be watched: what is not there yet is said.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from heed.report.numbers import MISSING, human_count
from heed.report.page import Banner, load_template, show_facts, show_value, write_page
from heed.report.record import flatten
from heed.report.samples import Sample, texts_to_show
from heed.report.study_capacity import capacity_sentences, capacity_table
from heed.report.study_figures import AXES, study_figures
from heed.report.study_findings import budget, mixed_schedules
from heed.report.study_interpretation import interpretation
from heed.report.study_lengths import length_sentences, length_tables
from heed.report.study_record import Cell, StudyRecord, read_study
from heed.report.study_tables import latex, markdown, picks, sentences, table, verdict

__all__ = ["read_study", "render", "write_study"]

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


@dataclass(frozen=True)
class Run:
    """A link to the page of one cell."""

    seed: int
    state: str
    link: str
    """Relative address; empty where there is no page."""
    message: str


def write_study(folder: str | Path) -> Path:
    """Write report.html, table.md and table.tex into a study folder and return the path of the page.

    Raises `CheckpointError` when the folder holds no study or cannot be written to, `DataError` when study.json is
    broken.
    """
    record = read_study(folder)
    path = Path(folder) / "report.html"
    files = {"report.html": render(record), "table.md": markdown(record), "table.tex": latex(record)}
    for name, content in files.items():
        write_page(path.with_name(name), content)
    return path


def render(record: StudyRecord) -> str:
    """Return the page of a study as HTML; equal records give equal bytes."""
    figures = study_figures(record)
    settings = differing(record)
    return load_template("study.html").render(
        title=record.title,
        verdict=verdict(record),
        design=design(record),
        banners=banners(record),
        sentences=sentences(record),
        figures=figures,
        lengths=length_sentences(record),
        length_tables=length_tables(record),
        axes=[(axis, shown) for axis, (_, shown) in AXES.items() if f"validation-{axis}" in figures],
        small=[figures[name] for name in ("speed", "memory") if name in figures],
        search=[figure for name, figure in figures.items() if name.startswith("search-")],
        searched=searched(record),
        setup=setup(record),
        settings=settings,
        machine=show_facts(record.machine),
        command=record.command,
        table=table(record),
        capacity=capacity_table(record),
        capacities=capacity_sentences(record),
        picks=picks(record),
        interpretation=interpretation(record),
        samples=samples(record),
        seeds=record.seeds,
        runs=runs(record),
        base=[(section, list_rows(values)) for section, values in record.base.items() if isinstance(values, dict)],
    )


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
        found = [cell.run.environment.get("audit") for cell in record.cells_of(name) if cell.run is not None]
        said[name] = next((str(one) for one in found if one), "")
    if not any(said.values()):
        return ""
    parts = []
    for verdict_ in ("causal", "could not tell", "leaks", ""):
        names = [name for name, one in said.items() if one.split(":")[0] == verdict_]
        parts += [f"{verdict_ or 'not audited'}: {', '.join(names)}"] if names else []
    tried = re.search(r"\((in up to [^)]*)\)", said.get(record.baseline, ""))
    return "; ".join(parts) + (f". Tried of {record.baseline}: {tried[1]}." if tried else ".")


def differing(record: StudyRecord) -> dict[str, Any]:
    """Return the settings in which variants differ: names of settings, and a row of values a variant."""
    names = list(dict.fromkeys(name for variant in record.variants.values() for name in variant.changes))
    rows = []
    for variant in record.variants.values():
        cells = [(show_value(variant.setting(name)), name in variant.changes) for name in names]
        rows.append((variant.name, cells, MISSING if variant.parameters is None else f"{variant.parameters:,}"))
    return {"names": names, "rows": rows}


def searched(record: StudyRecord) -> str:
    """Say how hyper-parameters were searched; empty when they were not."""
    if not record.search:
        return ""
    trials = record.search.get("trials")
    many = len(trials) if isinstance(trials, list) else 0
    names = record.search.get("parameters")
    what = ", ".join(map(str, names)) if isinstance(names, Mapping | list) else "hyper-parameters"
    return f"{record.search.get('method', 'search')} over {what}: {many} trials."


def samples(record: StudyRecord) -> list[tuple[str, int, Sample]]:
    """Return one text of each variant: (variant, seed, text), of the first seed that has one."""
    found = []
    for name in record.variants:
        for cell in record.cells_of(name):
            texts = texts_to_show(cell.run.samples, cell.run.drafts)[0] if cell.run else []
            if texts:
                found.append((name, cell.seed, texts[0]))
                break
    return found


def runs(record: StudyRecord) -> list[tuple[str, list[Run]]]:
    """Return a link to the page of each run, by variant and seed."""
    rows = []
    for name in record.variants:
        cells = {cell.seed: cell for cell in record.cells_of(name)}
        rows.append((name, [_link(record, seed, cells.get(seed)) for seed in record.seeds]))
    return rows


def list_rows(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return nested settings as pairs of a dotted name and a value."""
    return [(name, show_value(value)) for name, value in flatten(settings)]


def _link(record: StudyRecord, seed: int, cell: Cell | None) -> Run:
    if cell is None:
        return Run(seed, "not run yet", "", "")
    page = record.folder / cell.folder / "report.html"
    link = f"./{quote(cell.folder)}/report.html" if cell.folder and page.is_file() else ""
    return Run(seed, cell.state, link, cell.message)
