"""The page of a task that was asked: how often it was right, what that tells, each mistake, and the exact prompts.

read_prompt(folder) -> PromptRecord -> render(record) -> HTML        write_prompt_page(folder) does both
"""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from heed.errors import HeedError
from heed.prompting.accuracy import PromptAccuracy, accuracy_of, said_accuracy, sentences
from heed.prompting.against import Rival, compared, own_name, rivals_of
from heed.prompting.record import PromptRecord, read_prompt
from heed.prompting.scoring import EMPTY
from heed.report.figure import Columns, Figure, HeatRow, Row, Scale, rows_figure
from heed.report.numbers import MISSING, format_accuracy, format_count, format_percent, said_shares
from heed.report.parts import (
    PAGE,
    Banner,
    Command,
    Details,
    ExampleList,
    Findings,
    Page,
    PageSection,
    Pairs,
    Paragraph,
    Tabled,
    WideFigure,
    again,
    list_rows,
    render_page,
    write_page,
)
from heed.report.tabular import TextTable, words_table
from heed.report.tuning_errors import Shown, cut
from heed.report.tuning_findings import pair_sentences
from heed.report.tuning_tables import pairs_table

SHOWN = 20
"""Items of a kind that are shown."""
LETTERS = 4000
"""Characters of a prompt that are shown whole."""
FEW = 100
"""Items below which a banner says that they are few."""
HOW = {
    "text": "By the text of the answer: it must begin with a word of the class.",
    "first-token": "By the likeliest tokens in the first place of the answer: those that begin a word of one class.",
    "logprob": "By the log-probability of each class's word behind the prompt, summed over its tokens: not normalised "
    "for length.",
    "logprob-per-token": "By the log-probability of each class's word behind the prompt, a token of it: normalised for "
    "length.",
}


def write_prompt_page(folder: str | Path) -> Path:
    """Write report.html into a run folder and return its path. Raises `CheckpointError` where that cannot be done."""
    record = read_prompt(folder)
    return write_page(Path(folder) / PAGE, render(record))


def render(record: PromptRecord) -> str:
    """Return the page as HTML; equal records give equal bytes."""
    file, figures = record.file, accuracy_of(record)
    rivals, missing = _rivals(record)
    pairs = compared(record, rivals) if rivals else []
    sections = [
        PageSection("accuracy", "Accuracy", [
            WideFigure(accuracy_figure(record, figures, rivals)),
            Findings([*(sentences(figures) if figures else []), *pair_sentences(record.grading, pairs)]),
        ], quiet=True),
        PageSection("pairs", "Against others, on the same items", [
            Tabled(
                pairs_table(pairs, str(file.data.get("split", "")), record.grading.pairs_caption),
                "Pairs; bold is a difference",
            ) if pairs else Findings([]),
        ]),
        PageSection("rounds", "Demonstrations", [
            Tabled(rounds_table(record), "Every round") if record.done else Findings([]),
            *_demonstrations(record),
        ]),
        PageSection("classes", "What was taken for what", [WideFigure(confusion_figure(record))]),
        PageSection("items", "Which items", _items(record)),
        PageSection("prompt", "The prompt, as it was sent", _prompts(record)),
        PageSection("setup", "Setup", [
            Pairs(_setup(record)), Findings([str(note) for note in file.data.get("notes", [])]),
            Details("Every setting", [Pairs(list_rows(file.settings))]),
        ]),
        again(shlex.join(file.command)),
    ]  # fmt: skip
    banners = _banners(record, figures, missing)
    return render_page(
        Page(
            "prompting",
            f"{file.name}, {file.model}",
            verdict(record, figures),
            sections,
            _design(record),
            banners,
            "prompt.json and items.jsonl",
            plain=figures is None,
        )
    )


def verdict(record: PromptRecord, figures: PromptAccuracy | None) -> str:
    """Say in a sentence what came of it."""
    if not record.done:
        return "Not all items have been answered yet."
    if figures is None:
        return f"{record.file.model} answered {len(record.items):,} items, for which nothing says what is right."
    said = f"{record.file.model} is right for {said_accuracy(figures)}"
    return said + (
        f"; always {figures.majority[0]!r}: {format_accuracy(figures.majority[1])}." if figures.majority else "."
    )


def accuracy_figure(
    record: PromptRecord, figures: PromptAccuracy | None, rivals: Sequence[Rival] = ()
) -> Figure | None:
    """Return accuracy with its interval, beside that of others and the commonest class."""
    if figures is None:
        return None
    split = record.file.data.get("split", "")
    rows = [_row(own_name(record), figures.mean, figures.interval, 1)]
    rows += [_row(one.name, one.mean, one.interval, 2 + place % 5) for place, one in enumerate(rivals)]
    label, rule = f"accuracy (%), {split}", None
    if figures.majority is not None:
        rule = 100 * figures.majority[1]
        label += f"; stroke: always {figures.majority[0]}, {rule:.1f}"
    over = "rounds and items" if figures.rounds > 1 else "items"
    caption = (
        f"Of {figures.items:,} items, with a 95 % interval over {over}. An answer that could not be read is wrong."
    )
    best = max([(figures.mean, own_name(record)), *((one.mean, one.name) for one in rivals)])
    title = f"{own_name(record)} is right for {format_accuracy(figures.mean)}"
    if rivals:
        title = f"{best[1]} is right most often here, for {format_accuracy(best[0])}"
    return rows_figure("accuracy", title, caption, rows, Scale(label, rule=rule))


def confusion_figure(record: PromptRecord) -> Figure | None:
    """Return how often each class was taken for which, over all rounds; unread answers have a column of their own."""
    classes = tuple(record.file.classes)
    if not record.done or not classes:
        return None
    counts = Counter((str(row["label"]), row["predicted"]) for row in record.rows)
    names = (*classes, "not read") if record.unread.any() else classes
    rows = tuple(
        HeatRow(name, tuple(counts[name, None if other == "not read" else other] for other in names), place)
        for place, name in enumerate(classes)
    )
    said = Counter(row["predicted"] for row in record.rows if row["predicted"] is not None)
    title = "No answer could be read"
    if said:
        name, count = said.most_common(1)[0]
        title = f"Says {name!r} for {format_percent(count / len(record.rows))} of the items"
    caption = "Rows: the label. Columns: what was said. Darker: a larger share of the class. All rounds together."
    return Figure("confusions", title, caption, "heat", rows, Columns("label", names))


def rounds_table(record: PromptRecord) -> TextTable:
    """Return each round: its demonstrations, accuracy, and answers that could not be read."""
    rows = []
    for number, one in enumerate(record.file.rounds):
        answers = ", ".join(str(shot.get("answer")) for shot in one.demonstrations) or "none"
        accuracy = format_accuracy(float(record.right[number].mean())) if record.marked else MISSING
        empty = ", ".join(f"{name} {p:.2f}" for name, p in (one.empty or {}).items())
        rows.append((f"{one.draw + 1}", f"{one.order + 1}", answers, *([empty] if empty else []), accuracy,
                     format_count(one.unread)))  # fmt: skip
    calibrated = any(one.empty for one in record.file.rounds)
    head = ("draw", "order", "answers of the demonstrations", *(["without content"] if calibrated else []),
            "accuracy", "not read")  # fmt: skip
    caption = "Draw: other demonstrations. Order: the same in another sequence."
    if calibrated:
        caption += f" Without content: what was said of {', '.join(map(repr, EMPTY))}, by which items were calibrated."
    return words_table(head, rows, len(head) - 2, caption)


def _rivals(record: PromptRecord) -> tuple[list[Rival], str]:
    """Return whom it is held against, and why somebody could not be read."""
    if not record.done or not record.marked:
        return [], ""
    try:
        return rivals_of(record, record.file.against), ""
    except HeedError as error:
        return [], str(error)


def _row(name: str, mean: float, interval: tuple[float, float], series: int) -> Row:
    low, high = interval
    return Row(name, f"{format_accuracy(mean)} ({said_shares(low, high)})", series, 100 * mean, (100 * low, 100 * high))


def _demonstrations(record: PromptRecord) -> list[Any]:
    """Return the demonstrations of each draw, to be opened."""
    found = []
    for one in record.file.rounds:
        if one.order == 0 and one.demonstrations:
            shots = [
                Shown(str(d.get("place", "")), cut(str(d.get("text", ""))), cut(str(d.get("pair") or "")),
                      str(d.get("answer")), ())
                for d in one.demonstrations
            ]  # fmt: skip
            found.append(Details(f"Demonstrations of draw {one.draw + 1}", [ExampleList(shots, "judged")]))
    return found


def _items(record: PromptRecord) -> list[Any]:
    """Return the items that could not be read, of all rounds, and those that were wrong or right in the first one."""
    if not record.done:
        return []
    unread = [row for row in record.rows if row["predicted"] is None]
    wrong = [row for row in record.items if row["predicted"] is not None and row["right"] is False]
    open_ = [row for row in record.items if row["predicted"] is not None and row["right"] is None]
    wrong.sort(key=lambda row: -((row.get("probabilities") or {}).get(row["predicted"], 0.0)))
    right = [row for row in record.items if row["right"]]
    found: list[Any] = []
    for title, rows in (("Could not be read", unread), ("Wrong", wrong), ("Answered", open_), ("Right", right)):
        if rows:
            some = "" if len(rows) <= SHOWN else f", {SHOWN} of them"
            shown = [_shown(record, row) for row in rows[:SHOWN]]
            found.append(Details(f"{title}: {len(rows):,}{some}", [ExampleList(shown, "judged")]))
    note = "Of the first round; what could not be read, of all rounds." if record.rounds > 1 else ""
    return [Paragraph(note, "key small"), *found]


def _shown(record: PromptRecord, row: Mapping[str, Any]) -> Shown:
    """Return an item as the page shows it, with what was said."""
    chance = (row.get("probabilities") or {}).get(row["predicted"])
    how = format_percent(chance) if chance is not None else cut(repr(row.get("answer", "")), 120)
    said = str(row["predicted"]) if row["predicted"] is not None else f"not read ({row.get('problem')})"
    label = MISSING if row.get("label") is None else str(row["label"])
    answer = (record.file.model, cut(said, 200), how, bool(row["right"]))
    return Shown(str(row["place"]), cut(str(row["text"])), cut(str(row.get("pair") or "")), label, (answer,))


def _prompts(record: PromptRecord) -> list[Any]:
    """Return the first prompt whole; all of them are in items.jsonl."""
    if not record.done:
        return []
    prompt = record.items[0].get("prompt")
    text = prompt if isinstance(prompt, str) else json.dumps(prompt, ensure_ascii=False, indent=1)
    some = text if len(text) <= LETTERS else f"{text[:LETTERS]}..."
    return [Details("That of the first item; those of all items are in items.jsonl", [Command(some)])]


def _setup(record: PromptRecord) -> list[tuple[str, str]]:
    """Return who was asked what, and what it cost."""
    file, plan = record.file, record.file.settings.get("plan", {})
    rows = [("model", file.model), ("asked at", file.endpoint), ("read", HOW.get(str(plan.get("how")), ""))]
    if file.kind == "text":
        rows[2] = ("read", "The answer is the text, held against the reference.")
    rows += [("calibration", "contextual (Zhao et al. 2021)")] if plan.get("calibrate") else []
    rows += [("data", f"{file.data.get('name')}, {file.data.get('split')}")]
    if file.spent:
        rows.append(("spent", str(file.spent.get("said", ""))))
    return rows


def _design(record: PromptRecord) -> str:
    """Say in a sentence how it was asked."""
    file, plan = record.file, record.file.settings.get("plan", {})
    shots = int(plan.get("shots", 0))
    count = file.data.get("items", len(record.items))
    how = f"{shots} demonstrations before each" if shots else "no demonstration before them"
    rounds = f"; {plan.get('draws')} draws of them in {plan.get('orders')} orders" if record.rounds > 1 else ""
    sentence = f"{file.description or file.name}: {count:,} items, {how}{rounds}."
    balanced = shots and file.kind == "classes"
    return sentence + (" Of each class as many, in turns; none of them is tested." if balanced else "")


def _banners(record: PromptRecord, figures: PromptAccuracy | None, missing: str) -> list[Banner]:
    """Return what a reader must know before any figure."""
    found = []
    if not record.done:
        text = "The command, given again, goes on where it was: what was answered is kept."
        found.append(Banner("warning", "Still asking, or cut off", text))
    if figures is not None and figures.unread > 0.1 * figures.items * figures.rounds:
        share = format_percent(figures.unread / figures.items / figures.rounds)
        text = f"{share} of the answers begin with no word of a class: they count as wrong. See the items below."
        found.append(Banner("warning", "Many answers could not be read", text))
    if figures is not None and figures.items < FEW:
        text = f"{figures.items} items: the interval is wide, and most differences cannot be told."
        found.append(Banner("warning", "Few items", text))
    if missing:
        found.append(Banner("warning", "Not held against others", missing))
    return found
