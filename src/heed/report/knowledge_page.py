"""The page of an experiment with knowledge: what models answered, where it comes from, how far to trust it.

read_knowledge(folder) -> KnowledgeRecord -> render(record) -> HTML        write_knowledge(folder) does both
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from heed.records.answers import AnswerLine
from heed.report.knowledge_figures import knowledge_figures, sure_runs
from heed.report.knowledge_findings import findings, verdict
from heed.report.knowledge_record import AskedRun, KnowledgeRecord, read_knowledge
from heed.report.knowledge_tables import areas, results, seeds, support, thresholds, trust
from heed.report.numbers import format_percent
from heed.report.parts import (
    Banner,
    Details,
    ExampleList,
    Findings,
    GroupedPairs,
    Heading,
    Multiples,
    Page,
    PageSection,
    Tabled,
    WideFigure,
    render_page,
    show_value,
    write_page,
)

PAGE = "knowledge.html"
NAMED = {
    "pretraining": "named in the pretraining text",
    "fine-tuning only": "named in the fine-tuning questions only",
    "never": "never named",
}
"""What is said of a question by where its name was seen."""
EXAMPLES = 4
"""Answers shown of each kind."""


@dataclass(frozen=True)
class Example:
    """An answer as the page shows it."""

    prompt: str
    answer: str
    gold: str
    correct: bool
    how: str
    """Probability, next best answers, where the name was seen."""
    source: str
    """What the corpus says, in words."""
    passage: tuple[tuple[str, bool], ...]
    """The passage in pieces, each with whether it is the answer."""


def write_knowledge(folder: str | Path) -> Path:
    """Write knowledge.html into a folder of runs that were asked and return its path.

    Raises `CheckpointError` when no run below the folder holds answers, or the folder cannot be written to.
    """
    return write_page(Path(folder) / PAGE, render(read_knowledge(folder)))


def render(record: KnowledgeRecord) -> str:
    """Return the page as HTML; equal records give equal bytes."""
    figures = knowledge_figures(record)
    sure, best = sure_runs(record), record.best
    reliability = [figure for name, figure in figures.items() if name.startswith("reliability-")]
    groups = settings(record)
    sections = [
        PageSection("accuracy", "Right answers", [
            WideFigure(figures["accuracy"]), Findings(findings(record)),
        ], quiet=True),
        PageSection("results", "Variants and pretraining", [
            Tabled(results(record), "Results of every run"), Tabled(seeds(record), "Means over seeds"),
        ]),
        PageSection("trust", "Does 70 % mean 70 %?", [
            Multiples(reliability), Tabled(trust(sure), "Measures of trust"),
        ] if reliability else []),
        PageSection("abstain", "When to say nothing", [
            WideFigure(figures.get("risk")), Tabled(areas(sure), "Area under risk and coverage"),
            Tabled(thresholds(sure), "Thresholds"),
        ] if reliability else []),
        PageSection("support", "Where answers come from", [Tabled(support(best), "Accuracy by support")]),
        PageSection("examples", f"Answers of {best.name}", [
            part for heading, items in examples(best) for part in (Heading(heading), ExampleList(items, "answered"))
        ]),
        PageSection("learning", "Training", [
            Multiples([figures[name] for name in ("pretraining", "fine-tuning") if name in figures]),
        ]),
        PageSection("settings", "Runs", [
            Details("What each run learnt from, and how", [GroupedPairs(groups)]),
        ] if groups else []),
    ]  # fmt: skip
    files = "answers.jsonl, evaluation-qa.json and the run folders"
    return render_page(
        Page(
            "questions and answers",
            record.folder.name,
            verdict(record),
            sections,
            design(record),
            banners(record),
            files,
        )
    )


def design(record: KnowledgeRecord) -> str:
    """Say in a sentence what was asked and how."""
    many, best = len(record.asked), record.best
    source = best.summary.questions
    sentence = f"{best.total:,} questions" + (f" of {Path(str(source)).name}" if isinstance(source, str) else "")
    sentence += f", put to {many} model{'s' if many != 1 else ''}"
    decodes = sorted({str(one.summary.decode) for one in record.asked if one.summary.decode})
    sentence += f"; answers by {', '.join(decodes)} decoding" if decodes else ""
    return sentence + "; right is what equals the expected answer exactly."


def banners(record: KnowledgeRecord) -> list[Banner]:
    """Return what a reader must know before any figure, the gravest first."""
    found = []
    leaking = [one.name for one in record.asked if one.run is not None and one.run.leaks]
    if leaking:
        text = (
            f"{', '.join(leaking)}: the model sees the tokens that it should predict, so its training loss means "
            "nothing. It answers without them, so its accuracy stands."
        )
        found.append(Banner("error", "Leaks", text))
    if record.apart:
        names = ", ".join(f"{one.name} ({one.total:,})" for one in record.apart)
        text = f"{names}: asked other questions than the rest, so these are in no table and no figure below."
        found.append(Banner("warning", "Not the same questions", text))
    if len({str(one.summary.decode) for one in record.asked}) > 1:
        text = "The answers were found in different ways (see the table): a difference may be one of decoding."
        found.append(Banner("warning", "Not decoded alike", text))
    silent = [one.name for one in record.asked if not one.sure[0]]
    if silent:
        found.append(Banner("warning", "Without probabilities", f"{', '.join(silent)}: nothing can be said of trust."))
    if record.best.total < 100:
        text = f"{record.best.total} questions: intervals are wide, and calibration says little."
        found.append(Banner("warning", "Few questions", text))
    if record.notes:
        found.append(Banner("note", "About the files", " ".join(record.notes)))
    return found


def examples(one: AskedRun) -> list[tuple[str, list[Example]]]:
    """Return some answers of a run under headings: the surest right and wrong ones, and some right ones of little."""
    order = sorted(one.answers, key=lambda answer: (-(answer.probability or 0), answer.prompt))
    right, wrong = [answer for answer in order if answer.correct], [answer for answer in order if not answer.correct]
    kinds = [
        ("Right, and surest", right[:EXAMPLES]),
        ("Wrong, and surest: what a threshold does not catch", wrong[:EXAMPLES]),
        ("Right, and least sure: what a threshold costs", right[EXAMPLES:][-EXAMPLES // 2 :]),
    ]
    return [(heading, [show_example(answer) for answer in some]) for heading, some in kinds if some]


def show_example(one: AnswerLine) -> Example:
    """Return an answer as the page shows it."""
    how = [] if one.probability is None else [f"probability {format_percent(min(1.0, one.probability))}"]
    if one.runners_up:
        how.append("then " + ", ".join(f"{text} {format_percent(p)}" for text, p in one.runners_up[:3]))
    if one.seen:
        how.append(NAMED.get(one.seen, one.seen))
    made_up = "a guess" if one.correct else "made up"
    gold, passage = one.gold or "", one.passage
    if passage is None:
        source = f"No support in the corpus: {made_up}."
        return Example(one.prompt, one.answer, gold, one.correct, ", ".join(how), source, (("", False),))
    where = "The nearest passage" if passage.line is None else f"Line {passage.line:,} of the corpus"
    source = f"{where} holds the answer:" if one.holds_answer else f"{where} does not hold the answer ({made_up}):"
    pieces = split_at(passage.text, one.answer) if one.holds_answer else ((passage.text, False),)
    return Example(one.prompt, one.answer, gold, one.correct, ", ".join(how), source, pieces)


def split_at(passage: str, answer: str) -> tuple[tuple[str, bool], ...]:
    """Return a passage in pieces, each with whether it is the answer.

    >>> split_at("Born in Rome, left Rome.", "Rome")
    (('Born in ', False), ('Rome', True), (', left ', False), ('Rome', True), ('.', False))
    """
    pieces = (
        re.split(rf"(?<!\w)({re.escape(answer)})(?!\w)", passage, flags=re.IGNORECASE) if answer.strip() else [passage]
    )
    return tuple((piece, index % 2 == 1) for index, piece in enumerate(pieces) if piece)


def settings(record: KnowledgeRecord) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return for each run what it learnt from and how, as pairs."""
    names = (
        "data.source", "data.objective", "data.plain_share", "data.questions", "data.questions_share",
        "model.start_from", "model.n_layers", "model.d_model", "model.context", "tokenizer.kind",
        "tokenizer.vocab_size", "train.steps", "train.batch_size", "train.optimizer", "train.learning_rate",
    )  # fmt: skip
    runs = [(one.name, one.run) for one in record.asked if one.run] + [(run.name, run) for run in record.stages]
    return [
        (name, [(key, show_value(run.setting(key))) for key in names if run.setting(key) is not None])
        for name, run in runs
    ]
