"""One page about one tune: which arm to use, what each costs, how sure that is, and which examples are lost.

    read_tuning(folder) -> TuningRecord -> render(record) -> HTML        write_tuning(folder) does both, and the tables

It has the look and the security policy of the page of a run (`heed.report.page`): one file, no network, no script. It
is written again after each run, so that a tune can be watched: what is not there yet is said.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from heed.report.numbers import MISSING, format_count, format_percent
from heed.report.page import Banner, load_template, show_facts, show_value, write_page
from heed.report.tuning_advice import Gap, gaps_of, pairs_of, undertrained
from heed.report.tuning_epochs import epochs_table
from heed.report.tuning_errors import exchanges, shared_errors, sure_errors
from heed.report.tuning_figures import PANELS, tuning_figures
from heed.report.tuning_findings import MANY_UNKNOWN, findings, leak_sentences, listed, mixed_schedules, verdict
from heed.report.tuning_record import TuningRecord, read_tuning
from heed.report.tuning_tables import (
    costs_table,
    data_table,
    pairs_table,
    results_table,
    seeds_done,
    tuning_latex,
    tuning_lines,
    tuning_markdown,
)

__all__ = ["read_tuning", "render", "tuning_latex", "tuning_lines", "tuning_markdown", "write_tuning"]

PAGE = "report.html"
MOST_CLASSES = 8
"""Classes up to which a confusion matrix is shown whole; of more, the commonest confusions."""
CONFUSIONS = 8
"""Confusions that are listed of an arm with many classes."""
FEW = 200
"""Examples below which a banner says that they are few."""
SHADES = (0.02, 0.1, 0.25)
"""Shares of a class from which a cell of confusions is shaded more and more."""


@dataclass(frozen=True)
class Confusions:
    """The confusions of one arm: a matrix, or where there are many classes the commonest of them."""

    arm: str
    seed: int
    rows: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
    """(class, cells of (count, kind)) of each class; kind is "right" or p0 to p3, the shade."""
    pairs: tuple[tuple[str, str, str, str], ...]
    """(class, taken for, count, share of the class)."""


def write_tuning(folder: str | Path) -> Path:
    """Write report.html, table.md and table.tex into the folder of a tune and return the path of the page.

    Raises `CheckpointError` when tune.json is missing or damaged, or the folder cannot be written to.
    """
    record = read_tuning(folder)
    files = {PAGE: render(record), "table.md": tuning_markdown(record), "table.tex": tuning_latex(record)}
    for name, content in files.items():
        write_page(Path(folder) / name, content)
    return Path(folder) / PAGE


def render(record: TuningRecord) -> str:
    """Return the page as HTML; equal records give equal bytes."""
    gaps, pairs = gaps_of(record), pairs_of(record)
    figures = tuning_figures(record, gaps)
    names = list(figures)
    shared, shared_examples = shared_errors(record)
    return load_template("tuning.html").render(
        title=record.name,
        verdict=verdict(record, gaps),
        design=design(record),
        banners=banners(record, gaps),
        figures=figures,
        findings=findings(record, gaps, pairs),
        results=results_table(record, gaps),
        costs=costs_table(record, peaks=False),
        fronts=[figures[name] for name in ("front-memory", "front-time") if name in figures],
        pairs=pairs_table(pairs, record.split) if pairs else None,
        exchanges=exchanges(record),
        errors=sure_errors(record),
        shared=shared,
        shared_examples=shared_examples,
        confusions=confusions(record),
        classes=[str(name) for name in record.classes],
        reliability=[figures[name] for name in names if name.startswith("reliability-")],
        curves=[figures[name] for name in names if name.startswith("curve-")],
        panels=PANELS if len(record.ran) > PANELS else 0,
        epochs=epochs_table(record),
        searched=[figures[name] for name in ("rates", "sizes") if name in figures],
        data=data_table(record),
        data_notes=[*leak_sentences(record), *(str(note) for note in record.data.get("notes") or [])],
        setup=setup(record),
        arms=arms(record),
        runs=runs(record),
        seeds=record.seeds,
        machine=show_facts(record.machine),
        command=shlex.join(record.command),
    )


def design(record: TuningRecord) -> str:
    """Say in a sentence how it was compared."""
    trained = [arm for arm in record.arms if not arm.is_soup]
    many, seeds = len(trained), len(record.seeds)
    done = sum(len(arm.runs) for arm in trained)
    splits = record.data.get("splits")
    counts = [(name, one.get("examples")) for name, one in splits.items()] if isinstance(splits, Mapping) else []
    sizes = ", ".join(f"{format_count(count)} {name}" for name, count in counts)
    planned = sum(seeds for arm in trained if not arm.failed or arm.runs)
    epochs = show_value(record.settings.get("epochs"))
    sizes_of_steps = sorted({arm.batch_size for arm in trained if arm.batch_size})
    batch = show_value(sizes_of_steps or record.settings.get("batch_size"))
    steps = sorted({arm.steps for arm in trained if arm.steps})
    updates = f" ({' to '.join(f'{n:,}' for n in dict.fromkeys((steps[0], steps[-1])))} updates a run)" if steps else ""
    return (
        f"{many} arm{'s' if many != 1 else ''} × {seeds} seed{'s' if seeds != 1 else ''} of {epochs} epochs{updates} "
        f"at batch size {batch}; {sizes} examples in {len(record.classes)} classes. Rates and epochs are chosen on the "
        f"validation split, and the {record.split} split is reported. {done} of {planned} runs have finished."
    )


def banners(record: TuningRecord, gaps: Mapping[str, Gap]) -> list[Banner]:
    """Return what a reader must know before any figure, the gravest first."""
    found = []
    for arm in record.arms:
        if arm.failed:
            what = "has no result and is shown as 0"
            if arm.runs:
                what = f"is shown by {seeds_done(record, arm)} seeds"
            text = f"{arm.name} {what}" + (f": {arm.reason}." if arm.reason else ".")
            found.append(Banner("error", arm.status.capitalize(), text))
    leaks = leak_sentences(record)
    if leaks:
        text = f"{' '.join(leaks)} A model can know these by heart."
        found.append(Banner("warning", "The same examples in two splits", text))
    if record.unfinished:
        text = f"Runs are missing of {listed(record.unfinished)}. What is below is what there is so far."
        found.append(Banner("warning", "Still running, or cut off", text))
    if record.ran and record.split == "validation":
        text = "These figures are of the validation split, which also chose rates and epochs: they flatter a little."
        found.append(Banner("warning", "No test split", text))
    if unknown := {name: share for name, share in record.unknown_shares().items() if share >= MANY_UNKNOWN}:
        shares = [f"{format_percent(share)} of the tokens are unknown to {name}" for name, share in unknown.items()]
        found.append(Banner("warning", "Texts that the encoder cannot read", f"{'; '.join(shares)}."))
    if few := undertrained(record):
        names = listed([f"{arm.name} ({arm.steps:,})" for arm in few])
        text = f"So few updates teach little: {names}. A comparison needs more --epochs."
        found.append(Banner("warning", "Undertrained", text))
    examples = next((scores.examples for arm in record.ran if (scores := arm.best_run.scores(record.split))), None)
    if examples is not None and examples < FEW:
        text = f"{examples} examples on the {record.split} split: intervals are wide."
        found.append(Banner("warning", "Few examples", text))
    if len(record.seeds) == 1 and len(record.arms) > 1:
        text = "Each arm is trained once: a difference between arms may be one between seeds."
        found.append(Banner("warning", "One seed", text))
    if len(record.ran) > 1 and len(gaps) < len(record.ran) - 1:
        text = "Some predictions are missing (see the end of the page): those arms are in no paired comparison."
        found.append(Banner("warning", "Not all can be paired", text))
    if old := mixed_schedules(record):
        found.append(Banner("warning", "Two schedules", " ".join(old)))
    if record.notes:
        found.append(Banner("note", "About the files", " ".join(record.notes)))
    return found


def confusions(record: TuningRecord) -> list[Confusions]:
    """Return the confusions of each arm, each by its best run."""
    found = []
    for arm in record.ran:
        matrix = record.confusion(arm)
        if matrix is None:
            continue
        rows, pairs = [], []
        for place, counts in enumerate(matrix.tolist()):
            total = sum(counts) or 1
            cells = tuple(
                (format_count(n), "right" if k == place else f"p{sum(n / total >= edge for edge in SHADES)}")
                for k, n in enumerate(counts)
            )
            rows.append((record.classes[place], cells))
            pairs += [(n, place, k, n / total) for k, n in enumerate(counts) if n and k != place]
        pairs.sort(key=lambda pair: (-pair[0], pair[1], pair[2]))
        listed_pairs = [
            (record.classes[a], record.classes[b], format_count(n), format_percent(share)) for n, a, b, share in pairs
        ]
        whole = len(record.classes) <= MOST_CLASSES
        found.append(
            Confusions(
                arm.name, arm.best_run.seed, tuple(rows) if whole else (),
                () if whole else tuple(listed_pairs[:CONFUSIONS]),
            )
        )  # fmt: skip
    return found


def setup(record: TuningRecord) -> list[tuple[str, str]]:
    """Return encoders and how arms were trained, as pairs."""
    rows = []
    for name, facts in record.encoders.items():
        shown = {key.replace("_", " "): show_value(value) for key, value in facts.items() if key != "read"}
        said = ", ".join(f"{key} {value}" for key, value in shown.items())
        rows.append((f"encoder {name}", said))
    for key, value in record.settings.items():
        shown = ", ".join(f"{k} {show_value(v)}" for k, v in value.items()) if isinstance(value, dict) else None
        rows.append((key.replace("_", " "), shown if shown is not None else show_value(value)))
    rows.append(("data fingerprint", str(record.data.get("fingerprint", MISSING))))
    return rows


def arms(record: TuningRecord) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return what each arm is, as pairs."""
    found = []
    for arm in record.arms:
        rows = [("encoder", arm.encoder), ("method", arm.method), ("pooling", arm.pooling or MISSING)]
        rows += [("optimizer", arm.optimizer)] if arm.optimizer else []
        rows += [("batch size", show_value(arm.batch_size))] if arm.batch_size else []
        rows += [(key, show_value(value)) for key, value in arm.options.items()]
        counted = f"{format_count(arm.trained_parameters)} = {arm.formula}"
        rows.append(("trained", counted if arm.formula else format_count(arm.trained_parameters)))
        found.append((arm.name, rows))
    return found


def runs(record: TuningRecord) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return (arm, cells of (words, link)) by seed."""
    found = []
    for arm in record.arms:
        by_seed = {run.seed: run for run in arm.runs}
        cells = []
        for seed in record.seeds:
            run = by_seed.get(seed)
            page = f"{run.folder}/report.html" if run is not None else ""
            link = f"./{quote(page)}" if page and (record.folder / page).is_file() else ""
            cells.append((run.reason or "finished" if run is not None else seeds_done(record, arm), link))
        found.append((arm.name, cells))
    return found
