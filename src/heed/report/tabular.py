"""A table as plain values, and how it is written: Markdown, LaTeX, lines of plain text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "–": "--", "<": r"\textless{}",
    ">": r"\textgreater{}", "µ": r"\textmu{}", "Δ": r"$\Delta$", "\n": " ",
}  # fmt: skip


class TextCell(str):
    """A cell that a page shows in a way of its own; elsewhere it is its text."""

    link: str
    hint: str
    code: bool
    strong: bool

    def __new__(
        cls, text: str, *, link: str = "", hint: str = "", code: bool = False, strong: bool = False
    ) -> TextCell:
        """Return the text with an address, with words that are shown when one points at it, as code, or in bold."""
        cell = super().__new__(cls, text)
        cell.link, cell.hint, cell.code, cell.strong = link, hint, code, strong
        return cell

    @property
    def markup(self) -> str:
        """The HTML around the text."""
        if self.link:
            return '<a href="{link}">{}</a>'
        if self.code:
            return "<code>{}</code>"
        if self.strong:
            return "<strong>{}</strong>"
        return '<span title="{hint}">{}</span>' if self.hint else "{}"


@dataclass(frozen=True)
class TextTable:
    """A table as plain values."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: tuple[bool, ...]
    """Whether a column holds numbers, which are set flush right."""
    best: frozenset[tuple[int, int]]
    """(row, column) of what stands in bold."""
    caption: str
    notes: tuple[str, ...] = ()
    """What is said below the table."""
    starred: str = "the best of its architecture"
    """What bold means, in a few words."""


def all_markdown(tables: Sequence[TextTable]) -> str:
    """Return tables as Markdown, one after the other."""
    return "\n".join(map(to_markdown, tables))


def all_latex(tables: Sequence[TextTable]) -> str:
    """Return tables in LaTeX, one after the other."""
    return "% needs \\usepackage{booktabs, graphicx}\n" + "\n".join(map(to_latex, tables))


def to_markdown(table: TextTable) -> str:
    """Return a table as Markdown, the caption above it, notes below."""
    lines = [_plain(table.caption), "", _pipe(table.head), _pipe(["---:" if n else ":---" for n in table.numeric])]
    for index, row in enumerate(table.rows):
        lines.append(_pipe([f"**{_cell(c)}**" if (index, j) in table.best else _cell(c) for j, c in enumerate(row)]))
    return "\n".join([*lines, "", *(f"* {_plain(note)}" for note in table.notes)]).rstrip() + "\n"


def to_latex(table: TextTable) -> str:
    """Return a table in LaTeX, for the packages booktabs and graphicx."""
    rows = []
    for index, row in enumerate(table.rows):
        # after \\ and \midrule a [ would begin an option, and * belong to the command
        cells = [("{}" if cell.startswith(("[", "*")) else "") + escape(cell) for cell in row]
        rows.append(
            " & ".join(rf"\textbf{{{c}}}" if (index, j) in table.best else c for j, c in enumerate(cells)) + r" \\"
        )
    said = " ".join([table.caption, *table.notes])
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{escape(said)}}}",
            r"\resizebox{\textwidth}{!}{%",
            rf"\begin{{tabular}}{{{''.join('r' if n else 'l' for n in table.numeric)}}}",
            r"\toprule",
            " & ".join(escape(cell) for cell in table.head) + r" \\",
            r"\midrule",
            *rows,
            r"\bottomrule",
            r"\end{tabular}}",
            r"\end{table}",
            "",
        ]
    )


def to_text(table: TextTable, width: int | None = None) -> list[str]:
    """Return a table as lines of plain text; what is bold elsewhere has a star.

    What is wider than `width` is folded: several tables below each other, each with the first column.
    """
    # every row is followed by a star or a blank, so that columns stay straight
    cells = [list(table.head)] + [
        [f"{c}*" if (index, j) in table.best else c for j, c in enumerate(row)] for index, row in enumerate(table.rows)
    ]
    widths = [max(len(row[j]) for row in cells) for j in range(len(table.head))]
    lines: list[str] = []
    for part in side_by_side(widths, width):
        rows = [
            "  ".join(f"{row[j]:{'>' if table.numeric[j] else '<'}{widths[j]}}" for j in part).rstrip() for row in cells
        ]
        lines += [*([""] if lines else []), rows[0], "-" * len(rows[0]), *rows[1:]]
    below = [*([f"* {table.starred}"] if table.best else []), *table.notes]
    return [*lines, *(["", *below] if below else [])]


def side_by_side(widths: Sequence[int], most: int | None) -> list[list[int]]:
    """Return which columns stand beside each other where a line has `most` characters; the first is in each part.

    >>> side_by_side([8, 5, 5, 5], 22), side_by_side([8, 5, 5, 5], None)
    ([[0, 1, 2], [0, 3]], [[0, 1, 2, 3]])
    """
    parts = [[0]]
    for column in range(1, len(widths)):
        used = sum(widths[j] + 2 for j in parts[-1]) + widths[column]
        if most is not None and used > most and len(parts[-1]) > 1:
            parts.append([0])
        parts[-1].append(column)
    return parts


def escape(text: str) -> str:
    r"""Return text as LaTeX prints it.

    >>> print(escape("50 % of a_b & c ± 1"))
    50 \% of a\_b \& c $\pm$ 1
    """
    return "".join(LATEX.get(character, character) for character in text)


def _pipe(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(text: str) -> str:
    return _plain(text).replace("|", "\\|")


def _plain(text: str) -> str:
    """Return text that Markdown prints as it is: no tags, emphasis or links out of a name."""
    for mark in ("\\", "`", "*", "_", "[", "]"):
        text = text.replace(mark, f"\\{mark}")
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\n", " ")


def words_table(head: Sequence[str], rows: Sequence[Sequence[str]], words: int = 1, caption: str = "") -> TextTable:
    """Return a table of a page: the first `words` columns are words, the others numbers."""
    return TextTable(
        tuple(head), tuple(map(tuple, rows)), tuple(n >= words for n in range(len(head))), frozenset(), caption
    )
