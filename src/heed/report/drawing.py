"""The one renderer: a figure as HTML and SVG that a page can hold, with its values in a table under it.

Each figure is drawn once. Positions across are shares of the width, so that the same drawing fits a telephone and a
desktop while text keeps its size; curves are stretched in a box of their own, with strokes that keep their width. What
stands beside a plot on a desktop stands above it where there is no room (container queries in style.css). Colours are
classes, s0 to s6, that the page turns into those of light, dark and paper. The same data give the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import escape

from heed.report.drawing_plane import draw_plane
from heed.report.drawing_rows import draw_rows
from heed.report.figure import Columns, Figure, HeatRow, Line, ValueGroup


def draw(figure: Figure) -> str:
    """Return a `<figure>`, or a `<p>` where the figure would be no more than two dots."""
    if figure.sentence:
        return f'<p class="few">{escape(figure.sentence)}</p>'
    if isinstance(figure.axes, Columns):
        drawn, under = draw_heat(figure, figure.axes), ""
    else:
        drawn = (draw_rows if figure.rows else draw_plane)(figure)
        under = draw_values(figure)
    return (
        f'<figure class="{figure.kind}" id="figure-{figure.name}">\n<h3>{escape(figure.title)}</h3>\n{drawn}\n'
        f"<figcaption>{escape(figure.caption)}</figcaption>\n{under}</figure>"
    )


def draw_values(figure: Figure) -> str:
    """Return the values of a figure as a table that opens; a screen reader gets it, and the script reads it."""
    head, groups = figure.values()
    top = "".join(f"<th scope=col>{escape(name)}" for name in head)
    bodies = [
        _body(group, mark, len(head))
        for group, mark in zip(groups, [*figure.lines, *[None] * len(groups)], strict=False)
    ]
    return (
        '<details class="values"><summary>Values</summary>\n'
        f'<div class="scroll" tabindex="0" role="region" aria-label="Values: {escape(figure.title)}">'
        f"<table><thead><tr>{top}</thead>\n{''.join(bodies)}</table></div></details>\n"
    )


def draw_heat(figure: Figure, columns: Columns) -> str:
    """Return counts as a table whose cells are darker where they are a larger share of their row."""
    head = "".join(f'<th scope="col" class="n">{escape(name)}</th>' for name in columns.names)
    rows = []
    for row in figure.marks:
        if isinstance(row, HeatRow):
            cells = "".join(f'<td class="n {kind}">{count:,}</td>' for count, kind in heat(row, columns.shades))
            rows.append(f'<tr><th scope="row">{escape(row.label)}</th>{cells}</tr>')
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(figure.title)}"><table class="confusions">'
        f'<thead><tr><th scope="col">{escape(columns.label)}</th>{head}</tr></thead><tbody>{"".join(rows)}</tbody>'
        "</table></div>"
    )


def heat(row: HeatRow, shades: Sequence[float]) -> list[tuple[int, str]]:
    """Return each count with "right" or its shade, p0 to p3.

    >>> heat(HeatRow("a", (8, 2, 0), 0), (0.02, 0.1, 0.25))
    [(8, 'right'), (2, 'p2'), (0, 'p0')]
    """
    total = sum(row.counts) or 1
    return [
        (count, "right" if place == row.own else f"p{sum(count / total >= edge for edge in shades)}")
        for place, count in enumerate(row.counts)
    ]


def _body(group: ValueGroup, line: Line | None, width: int) -> str:
    """Return a group of values; its classes say to the script how it is drawn."""
    if line is None:
        rows = "".join(f"<tr><th scope=row>{escape(name)}{_cells(rest)}" for name, *rest in group.rows)
        return f"<tbody>{rows}\n"
    kinds = [f"s{line.series}", f"d{line.dash}"]
    kinds += [word for word in ("dots", "noisy") if getattr(line, word)]
    kinds += ["alone"] * (not line.stroke) + ["open"] * (not line.filled)
    ring = f' data-ring="{line.ring[0]:.6g} {line.ring[1]:.6g}"' if line.ring else ""
    name = f"<tr><th scope=rowgroup colspan={width}>{escape(group.name)}" if group.name else ""
    return f'<tbody class="{" ".join(kinds)}"{ring}>{name}{"".join(f"<tr>{_cells(row)}" for row in group.rows)}\n'


def _cells(cells: Sequence[str]) -> str:
    return "".join(f"<td>{escape(cell)}" for cell in cells)
