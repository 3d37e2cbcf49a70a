"""The data report as lines of a terminal and as a page.

Survey -> survey_lines                    Survey -> render -> HTML
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from heed.records.survey import SplitSurvey, Survey
from heed.report.figure import Figure, Line, Plane, Row, Scale, paint, rows_figure
from heed.report.numbers import format_percent, human_bytes, human_seconds
from heed.report.parts import (
    Banner,
    Findings,
    Multiples,
    Page,
    PageSection,
    Tabled,
    WideFigure,
    again,
    render_page,
)
from heed.report.tabular import TextTable, to_text, words_table

MOST = 12
"""Languages and writing systems that have a bar each."""
SHORT = "few letters"
"""What is told of a passage that is too short for a language."""
FEW = 0.005
"""Share of the letters below which a second writing system is not told."""


def survey_lines(found: Survey, width: int | None = None) -> list[str]:
    """Return the report as lines of plain text; tables fit into `width`."""
    lines = [verdict(found), "", *to_text(sizes_table(found), width), ""]
    lines += [*to_text(lengths_table(found), width), ""]
    lines += [*sentences(found), *(f"note: {note}" for note in found.notes)]
    size = sum(split.bytes for split in found.splits.values())
    lines.append(
        f"{human_bytes(size)} in {human_seconds(found.seconds)} ({human_bytes(size / max(found.seconds, 1e-9))}/s)"
    )
    return lines


def render(found: Survey, command: Sequence[str]) -> str:
    """Return the page as HTML."""
    lines = long_lines_table(found)
    sections = [
        PageSection("sizes", "How much", [
            Tabled(sizes_table(found), "What each split holds"), WideFigure(lengths_figure(found)),
            Tabled(lengths_table(found), "How long documents are"),
        ], quiet=True),
        PageSection("findings", "What was found", [Findings(sentences(found), "block")]),
        PageSection("writing", "Languages and writing systems", [
            Multiples([one for one in (languages_figure(found), scripts_figure(found)) if one is not None]),
        ]),
        PageSection("lines", "The longest lines", [Tabled(lines, "The longest lines")] if lines.rows else []),
        PageSection("odd", "Odd characters", [Tabled(odd_table(found), "Characters that text seldom holds")]),
        PageSection("notes", "Notes", [Findings(found.notes, "block")] if found.notes else []),
        again(shlex.join(command)),
    ]  # fmt: skip
    banners = [Banner("warning", "Held-out text stands in training too", line) for line in shared_sentences(found)]
    design = f"Split {found.split_rule}."
    return render_page(
        Page("data report", found.name, verdict(found), sections, design, banners, found.source, plain=True)
    )


def verdict(found: Survey) -> str:
    """Say how much there is, and in which language."""
    documents = sum(split.documents for split in found.splits.values())
    size = sum(split.bytes for split in found.splits.values())
    words = sum(split.words for split in found.splits.values())
    told = known_languages(found)
    language = f", {format_percent(told[0][1])} of its passages in the language {told[0][0]}" if told else ""
    return f"{found.name}: {documents:,} documents, {human_bytes(size)}, {words:,} words{language}."


def known_languages(found: Survey) -> list[tuple[str, float]]:
    """Return the languages of the training split with their share of the passages that are long enough."""
    counts = {name: count for name, count in found.splits["train"].languages.items() if name != SHORT}
    whole = sum(counts.values())
    return [(name, count / whole) for name, count in counts.items() if name != "unsure"]


def sizes_table(found: Survey) -> TextTable:
    """Return what each split holds."""
    tokens = found.tokenizer is not None
    head = ["split", "documents", "bytes", "characters", "words", "lines", "duplicates"]
    head += ["nearly"] if found.near is not None else []
    head += ["tokens", "bytes a token", "unknown"] if tokens else []
    rows = []
    for name, split in found.splits.items():
        row = [name, *(f"{n:,}" for n in (split.documents, split.bytes, split.characters, split.words, split.lines))]
        row.append(share_of(split.duplicates, split))
        row += [share_of(split.near_duplicates or 0, split)] if found.near is not None else []
        if split.tokens is not None:
            unknown = split.unknown_tokens or 0
            each = split.bytes / split.tokens if split.tokens else 0.0
            row += [f"{split.tokens:,}", f"{each:.3f}", format_percent(unknown / split.tokens if split.tokens else 0.0)]
        rows.append(row)
    caption = "Duplicates: documents equal to an earlier one of the split, in every character."
    if found.near is not None:
        caption += (
            f" Nearly: others whose runs of five words are shared with an earlier one at a Jaccard similarity of at "
            f"least {found.near:g}, by MinHash with an error of about 0.04."
        )
    if tokens:
        caption += f" Tokens of {found.tokenizer}, end tokens left out."
    return words_table(head, rows, 1, caption)


def share_of(count: int, split: SplitSurvey) -> str:
    """Return a count of documents with its share."""
    return f"{count:,} ({format_percent(count / split.documents)})" if split.documents and count else f"{count:,}"


def lengths_table(found: Survey) -> TextTable:
    """Return how long documents are."""
    head = ["characters of a document", "shortest", "median", "95 % have at most", "longest", "longest line"]
    rows = [
        [
            name, *(f"{n:,}" for n in (split.shortest, split.median, split.p95, split.longest)),
            f"{split.longest_lines[0].characters:,}" if split.longest_lines else "0",
        ]
        for name, split in found.splits.items()
    ]  # fmt: skip
    return words_table(head, rows, 1, "Median and 95 % are known up to 1 %.")


def lengths_figure(found: Survey) -> Figure | None:
    """The documents of each length, in steps of a doubling."""
    lines = []
    for place, (name, split) in enumerate(found.splits.items()):
        pairs = [(max(1, start), count) for start, count in split.lengths]
        if split.documents < 2 or len(pairs) < 2:
            continue
        shares = [100 * count / split.documents for _, count in pairs]
        series, dash = paint(place)
        lines.append(Line(name, [start for start, _ in pairs], shares, series, dots=True, dash=dash))
    if not lines:
        return None
    split = found.splits["train"]
    title = f"Half of the training documents have at most {split.median:,} characters, 95 % at most {split.p95:,}"
    caption = "Share of the documents whose length is from this number of characters up to twice as many."
    plane = Plane("characters", "documents (%)", zero=True, log_x=True)
    return Figure("lengths", title, caption, "lines", tuple(lines), plane)


def languages_figure(found: Survey) -> Figure | None:
    """The languages of the passages of training."""
    told = found.splits["train"].languages
    counts = {name: count for name, count in told.items() if name != SHORT}
    whole, short = sum(counts.values()), told.get(SHORT, 0)
    if not whole:
        return None
    name, count = next(iter(counts.items()))
    counts = dict(list(counts.items())[:MOST])
    caption = (
        f"Passages of 400 characters, {whole + short:,} drawn from the training split, each equally likely; told by "
        f"py3langid; {short:,} with few letters are left out. Unsure: two languages are nearly as likely."
    )
    title = f"{format_percent(count / whole)} of the passages: {name}"
    return _bars("languages", title, caption, counts, whole, "passages (%)")


def scripts_figure(found: Survey) -> Figure | None:
    """The writing systems of the letters of training."""
    scripts = found.splits["train"].scripts
    whole = sum(scripts.values())
    if not whole:
        return None
    name, count = next(iter(scripts.items()))
    title = f"{format_percent(count / whole)} of the letters are {name}"
    counts = dict(list(scripts.items())[:MOST])
    return _bars(
        "scripts", title, "Letters of the training split by their Unicode script.", counts, whole, "letters (%)"
    )


def _bars(name: str, title: str, caption: str, counts: dict[str, int], whole: int, label: str) -> Figure:
    rows = [
        Row(what, f"{format_percent(count / whole)}, {count:,}", 1, 100 * count / whole)
        for what, count in counts.items()
    ]
    return rows_figure(name, title, caption, rows, Scale(label))


def long_lines_table(found: Survey) -> TextTable:
    """Return the longest lines of each split and where they stand."""
    rows = [
        [name, f"document {line.document:,}, line {line.line:,}", f"{line.characters:,}", line.begin]
        for name, split in found.splits.items()
        for line in split.longest_lines
    ]
    table = words_table(["split", "where", "characters", "begins"], rows, 4, "Documents in the order they are read in.")
    return TextTable(table.head, table.rows, (False, False, True, False), table.best, table.caption)


def odd_table(found: Survey) -> TextTable | None:
    """Return the odd characters of all splits; None where there are none."""
    counts: dict[str, int] = {}
    for split in found.splits.values():
        for name, count in split.odd.items():
            counts[name] = counts.get(name, 0) + count
    rows = [[name, f"{count:,}"] for name, count in sorted(counts.items(), key=lambda item: -item[1])]
    return words_table(["character", "times"], rows, 1, "Of all splits.") if rows else None


def shared_sentences(found: Survey) -> list[str]:
    """Say which held-out documents stand in training too."""
    lines = []
    for shared in found.shared:
        split = found.splits[shared.split]
        parts = []
        if shared.documents:
            places = ", ".join(f"{place:,}" for place in shared.places)
            parts.append(
                f"{share_of(shared.documents, split)} of the documents of {shared.split} stand in training too "
                f"(the first: {places})"
            )
        if shared.near:
            parts.append(f"{share_of(shared.near, split)} of {shared.split} nearly stand there")
        lines.append(f"{'; '.join(parts)}: figures on it are too good. heed data clean leaves them out of training.")
    return lines


def sentences(found: Survey) -> list[str]:
    """Return what is to be looked at, a sentence each."""
    lines = shared_sentences(found)
    for name, split in found.splits.items():
        if split.duplicates:
            lines.append(f"{name}: {share_of(split.duplicates, split)} documents are equal to an earlier one.")
        if split.near_duplicates:
            lines.append(f"{name}: {share_of(split.near_duplicates, split)} more are nearly equal to an earlier one.")
        if split.misread:
            lines.append(
                f"{name}: {split.misread:,} places look like UTF-8 that was read as Windows-1252 (as Ã© for é): "
                "set data.encoding, or mend the files."
            )
        if split.odd:
            first = ", ".join(f"{what} {count:,} times" for what, count in sorted(split.odd.items(), key=_often)[:3])
            lines.append(f"{name}: {sum(split.odd.values()):,} odd characters: {first}.")
        letters = sum(split.scripts.values())
        others = [(what, count) for what, count in list(split.scripts.items())[1:] if count >= FEW * letters]
        if others:
            told = ", ".join(f"{what} {format_percent(count / letters)}" for what, count in others)
            lines.append(f"{name}: besides {next(iter(split.scripts))} letters there are {told}.")
        if split.unknown_tokens:
            lines.append(f"{name}: {split.unknown_tokens:,} tokens are unknown to the tokenizer.")
    return lines


def _often(item: tuple[str, int]) -> int:
    return -item[1]
