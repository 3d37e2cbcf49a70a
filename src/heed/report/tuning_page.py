"""The page of one tune: which arm to use, what each costs, how sure that is, and which examples are lost.

    read_tuning(folder) -> TuningRecord -> render(record) -> HTML        write_tuning(folder) does both, and the tables

It is written again after each run, so that a tune can be watched: what is not there yet is said.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from heed.report.confusions import MOST_CLASSES, commonest_confusions, confusion_figure
from heed.report.figure import Figure
from heed.report.numbers import MISSING, format_count, format_percent
from heed.report.parts import (
    TABLES,
    Banner,
    Details,
    ExampleList,
    Findings,
    GroupedPairs,
    Heading,
    Multiples,
    Page,
    PageSection,
    Pairs,
    Paragraph,
    Tabled,
    WideFigure,
    again,
    render_page,
    show_facts,
    show_value,
    write_with_tables,
)
from heed.report.tabular import TextCell, TextTable, words_table
from heed.report.tuning_advice import Gap, gaps_of, pairs_of, undertrained
from heed.report.tuning_arms import Arm
from heed.report.tuning_epochs import epochs_table
from heed.report.tuning_errors import exchanges, shared_errors, sure_errors
from heed.report.tuning_figures import PANELS, tuning_figures
from heed.report.tuning_findings import MANY_UNKNOWN, findings, leak_sentences, listed, mixed_schedules, verdict
from heed.report.tuning_record import TuningRecord, read_tuning
from heed.report.tuning_tables import (
    costs_table,
    data_table,
    every_table,
    pairs_table,
    results_table,
    seeds_done,
)

FEW = 200
"""Examples below which a banner says that they are few."""


def write_tuning(folder: str | Path) -> Path:
    """Write report.html, table.md and table.tex into the folder of a tune and return the path of the page.

    Raises `CheckpointError` when tune.json is missing or damaged, or the folder cannot be written to.
    """
    record = read_tuning(folder)
    return write_with_tables(folder, render(record), every_table(record))


def render(record: TuningRecord) -> str:
    """Return the page as HTML; equal records give equal bytes."""
    gaps, pairs = gaps_of(record), pairs_of(record)
    figures = tuning_figures(record, gaps)

    def some(*begins: str) -> list[Figure]:
        return [figure for name, figure in figures.items() if name.startswith(begins)]

    every = [
        Details(
            "Every pair of arms",
            [
                Tabled(
                    pairs_table(pairs, record.split, record.grading.pairs_caption), "Every pair; bold is a difference"
                )
            ],
        )
    ]
    facts = show_facts(record.machine)
    sections = [
        PageSection("accuracy", record.grading.called[0].upper() + record.grading.called[1:], [
            WideFigure(figures.get("accuracy")), Findings(findings(record, gaps, pairs)),
        ], quiet=True),
        PageSection("results", "Results", [Tabled(results_table(record, gaps), "Results of every arm"), TABLES]),
        PageSection("gaps", "Do they differ?", [WideFigure(figures.get("gaps")), *(every if pairs else [])]),
        PageSection("costs", f"What {record.grading.called} costs", [
            Multiples(some("front-")), WideFigure(figures.get("memory")),
            Tabled(costs_table(record, peaks=False), "Costs of every arm; bold is the least memory"),
        ]),
        PageSection("why", "Which examples, and why", _examples(record)),
        PageSection("classes", record.grading.apart, _confusions(record)),
        PageSection("trust", record.grading.trusted, [Multiples(some("reliability-"))]),
        PageSection("learning", "Training", [
            Multiples(some("rates", "sizes")),
            Paragraph(f"The {PANELS} best arms." if len(record.ran) > PANELS else "", "key small"),
            Tabled(epochs_table(record), f"Training and validation {record.grading.called} of every arm by epoch"),
            Multiples(some("curve-")),
        ] if some("rates", "sizes", "curve-") else []),
        PageSection("data", "Data", [
            Tabled(data_table(record), "The splits"),
            Findings([*leak_sentences(record), *(str(note) for note in record.data.get("notes") or [])]),
        ]),
        PageSection("setup", "Setup", [
            Pairs(setup(record)), Details("What each arm is", [GroupedPairs(arms(record))]),
            *([Details("Machine", [Pairs(facts)])] if facts else []),
            Details("Every run", [Tabled(runs(record), "Every run")]),
        ]),
        again(shlex.join(record.command)),
    ]  # fmt: skip
    files = "tune.json and the predictions of its runs"
    return render_page(
        Page("fine-tuning", record.name, verdict(record, gaps), sections, design(record), banners(record, gaps), files)
    )


def _examples(record: TuningRecord) -> list[Any]:
    """Return the examples that arms disagree about, and those that they get wrong, each kind to be opened."""
    shared, examples = shared_errors(record)
    found = []
    if examples:
        summary = f"{record.grading.shared.format(shared)}. Read their labels first"
        found.append(Details(summary, [ExampleList(examples, "judged")]))
    for one in exchanges(record):
        inside: list[Any] = []
        for name, items in ((one.arm, one.examples_won), (one.reference, one.examples_lost)):
            inside += [Heading(record.grading.alone.format(name)), ExampleList(items, "judged")] if items else []
        found.append(Details(f"{one.arm} against {one.reference}: {one.won} won, {one.lost} lost", inside))
    for name, count, items in sure_errors(record):
        if items:
            found.append(Details(f"{record.grading.mistakes} {name}, of {count}", [ExampleList(items, "judged")]))
    note = Paragraph("Each arm by its run with the lowest validation loss.", "key small")
    return [note, *found] if found else []


def _confusions(record: TuningRecord) -> list[Any]:
    """Return what each arm takes for what: shaded counts, or the commonest confusions of many classes."""
    each = [(arm.name, record.grading.each(arm.best_run.scores(record.split))) for arm in record.ran]
    found = [part for name, table in each if table for part in (Heading(name), Tabled(table, f"Labels of {name}"))]
    figures = [figure for arm in record.ran if (figure := confusions(record, arm)) is not None]
    if found or not figures:
        return found
    if len(record.target.names) <= MOST_CLASSES:
        return [Multiples(figures)]
    tables = [(arm.name, commonest(record, arm)) for arm in record.ran]
    return [part for name, table in tables if table for part in (Heading(name), Tabled(table, f"Confusions of {name}"))]


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
        f"at batch size {batch}; {sizes} examples {record.grading.of}. Rates and epochs are chosen on the "
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


def confusions(record: TuningRecord, arm: Arm) -> Figure | None:
    """Return how often the best run of an arm takes each class for which."""
    matrix = record.confusion(arm)
    if matrix is None:
        return None
    of = f"The run with the lowest validation loss, seed {arm.best_run.seed}."
    return confusion_figure(f"confusions-{record.ran.index(arm)}", arm.name, record.target.names, matrix, of)


def commonest(record: TuningRecord, arm: Arm) -> TextTable | None:
    """Return the commonest confusions of an arm that has many classes."""
    matrix = record.confusion(arm)
    return None if matrix is None else commonest_confusions(record.target.names, matrix)


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


def runs(record: TuningRecord) -> TextTable:
    """Return how each run ended, with a link to its page, by arm and seed."""
    found = []
    for arm in record.arms:
        by_seed = {run.seed: run for run in arm.runs}
        cells = []
        for seed in record.seeds:
            run = by_seed.get(seed)
            page = f"{run.folder}/report.html" if run is not None else ""
            link = f"./{quote(page)}" if page and (record.folder / page).is_file() else ""
            cells.append(TextCell(run.reason or "finished" if run is not None else seeds_done(record, arm), link=link))
        found.append((arm.name, *cells))
    head = ("arm", *(f"seed {seed}" for seed in record.seeds))
    return words_table(head, found, len(head))
