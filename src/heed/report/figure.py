"""A figure as data: a title that says the finding, a caption, marks on axes, and the kind of its drawing.

    lines        over an axis, each with a band or dots where it has them      `Line`s on a `Plane`
    points       with their names, and the strokes of a front                  `Line`s on a `Plane`
    reliability  of probabilities, with intervals both ways                    `Line`s on a `Plane`
    intervals    around zero, one row a name                                   `Row`s on a `Scale`
    bars         from zero, one row a name                                     `Row`s on a `Scale`
    heat         a table whose cells are shaded                                `HeatRow`s on `Columns`

`heed.report.drawing` draws each kind, once; `values` is the table that stands under the drawing, from which the script
of the page reads what it shows. Colours are numbers: the same thing has the same one in every figure of a page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from heed.report.ticks import plain, short, shorten_all

SERIES, DASHES = 6, 4
"""Colours beside that of a baseline (0), and line styles for when there are more lines than colours."""
MOST_POINTS = 1200
"""Points of a figure: more would be drawn over each other, and make the page large."""
FEW_POINTS = 2
"""Lines of so many points are said in a sentence instead."""


@dataclass(frozen=True)
class Line:
    """A line, with a name at its end."""

    label: str
    """May be empty where the figure has one line and its title names it."""
    x: Sequence[float]
    y: Sequence[float]
    series: int
    """0 to 6: the colour."""
    low: Sequence[float] = ()
    """Lower edge of a band around the line; empty: no band."""
    high: Sequence[float] = ()
    """Upper edge of the band."""
    dots: bool = False
    """Whether each point is marked: for lines with few points."""
    ring: tuple[float, float, str] | None = None
    """A point to single out, and what to write beside it."""
    dash: int = 0
    """0 to 3: solid, or one of the dashed styles."""
    stroke: bool = True
    """Whether the points are joined."""
    filled: bool = True
    """Whether dots are filled."""
    noisy: bool = False
    """Whether a reader may want it smoothed: a training curve."""
    left: Sequence[float] = ()
    """Of each point of a reliability figure: from where on its bin reaches, and to where."""
    right: Sequence[float] = ()


@dataclass(frozen=True)
class Plane:
    """Two axes."""

    x_label: str
    y_label: str
    log_y: bool = False
    """Whether ratios matter on the vertical axis."""
    zero: bool = False
    """Whether the vertical axis must begin at 0: for amounts."""
    rule: tuple[float, str] | None = None
    """A horizontal line at this height, and its name."""
    log_x: bool = False
    """Whether ratios matter on the horizontal axis, which then begins at the first point."""
    x_ticks: tuple[float, ...] = ()
    """Where the horizontal axis has its numbers; empty: chosen."""
    words: tuple[str, ...] = ()
    """Names of 0, 1, 2, ... on a horizontal axis that has no numbers."""
    marks: tuple[tuple[float, str], ...] = ()
    """Vertical lines, and their names."""
    height: int = 320
    """CSS pixels."""


@dataclass(frozen=True)
class Row:
    """One variant."""

    label: str
    text: str
    """The numbers in words, or why there are none."""
    series: int = 0
    value: float | None = None
    interval: tuple[float, float] | None = None
    dots: tuple[float, ...] = ()
    """One for each seed."""
    zone: float | None = None
    """Half of the shaded zone around zero: true differences in it would be missed too often."""
    filled: bool = True
    """Whether the mark is filled: a difference was found."""
    parts: tuple[tuple[float, int], ...] = ()
    """(amount, series) of what a bar is stacked of; empty: it has the colour of its row."""


@dataclass(frozen=True)
class Scale:
    """The axis that all rows share."""

    label: str
    sides: tuple[str, str] = ("", "")
    """What it means to be left and right of zero."""
    rule: float | None = None
    """A stroke at this value in every row of bars: what all are held against."""
    key: tuple[tuple[str, int], ...] = ()
    """(name, series) of the parts of bars, written above the plot."""


@dataclass(frozen=True)
class HeatRow:
    """A row of counts."""

    label: str
    counts: tuple[int, ...]
    own: int
    """The column that is right."""


@dataclass(frozen=True)
class Columns:
    """What the columns of counts are, and from which shares of a row on a cell is shaded more and more."""

    label: str
    names: tuple[str, ...]
    shades: tuple[float, ...] = (0.02, 0.1, 0.25)


@dataclass(frozen=True)
class ValueGroup:
    """Rows of a table of values that belong together."""

    name: str
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Figure:
    """A figure of a page."""

    name: str
    """Unique in the page."""
    title: str
    """What the figure shows, in a sentence."""
    caption: str
    """What is drawn, so that the figure can be read alone."""
    kind: str
    """One of those above."""
    marks: tuple[Line, ...] | tuple[Row, ...] | tuple[HeatRow, ...]
    axes: Plane | Scale | Columns

    @property
    def lines(self) -> tuple[Line, ...]:
        """The marks of a figure on a plane."""
        return tuple(mark for mark in self.marks if isinstance(mark, Line))

    @property
    def rows(self) -> tuple[Row, ...]:
        """The marks of a figure in rows."""
        return tuple(mark for mark in self.marks if isinstance(mark, Row))

    @property
    def plane(self) -> Plane:
        """The axes of a figure on a plane; `AttributeError` of others."""
        if not isinstance(self.axes, Plane):
            raise AttributeError(f"{self.name} is no figure on a plane")
        return self.axes

    @property
    def scale(self) -> Scale:
        """The axis of a figure in rows; `AttributeError` of others."""
        if not isinstance(self.axes, Scale):
            raise AttributeError(f"{self.name} has no rows")
        return self.axes

    @property
    def sentence(self) -> str:
        """What the figure says, where it is no more than two dots; else empty.

        >>> lines = (Line("loss", [1, 2], [3, 2.5], 1),)
        >>> Figure("a", "It falls", "Two.", "lines", lines, Plane("epoch", "nats")).sentence
        'It falls. Nats: loss 3 at epoch 1, 2.5 at epoch 2.'
        """
        lines = [line for line in self.lines if not line.stroke or self.kind != "points"]
        count = sum if self.kind == "points" else max
        if not lines or count([len(line.x) for line in lines]) > FEW_POINTS:
            return ""
        said = []
        for line in lines:
            each = ", ".join(f"{short(y)} at {self._across(x)}" for x, y in zip(line.x, line.y, strict=True))
            said.append(f"{line.label} {each}".strip())
        text = f"{self.plane.y_label}: {'; '.join(said)}"
        more = f" {self.caption}" if self.kind == "reliability" else ""
        return f"{self.title}. {text[0].upper() + text[1:]}.{more}"

    def _across(self, x: float) -> str:
        """Say a place of the horizontal axis."""
        return self.plane.words[int(x)] if self.plane.words else f"{self.plane.x_label} {short(x)}"

    def values(self) -> tuple[tuple[str, ...], list[ValueGroup]]:
        """Return the table of a figure: heads of columns, and groups of rows; those of no line begin with a name."""
        if isinstance(self.axes, Plane):
            return self._plane_values(self.axes)
        if not isinstance(self.axes, Scale):
            return ("", *self.axes.names), [
                ValueGroup(
                    "", tuple((row.label, *map(str, row.counts)) for row in self.marks if isinstance(row, HeatRow))
                )
            ]
        keys = tuple(name for name, _ in self.axes.key)
        spans = any(row.interval for row in self.rows)
        seeds = max((len(row.dots) for row in self.rows), default=0)
        head = (
            "",
            self.axes.label,
            *(("from", "to") if spans else ()),
            *keys,
            *(f"seed {n + 1}" for n in range(seeds)),
        )
        rows = []
        for row in self.rows:
            if row.value is None:
                continue
            found = [plain(row.value)]
            found += ([plain(edge) for edge in row.interval] if row.interval else ["", ""]) if spans else []
            found += [plain(amount) for amount, _ in row.parts] or [""] * len(keys)
            found += [*map(plain, row.dots), *[""] * (seeds - len(row.dots))]
            rows.append((row.label, *found))
        return head, [ValueGroup("", tuple(rows))]

    def _plane_values(self, axes: Plane) -> tuple[tuple[str, ...], list[ValueGroup]]:
        spans, bins = any(line.low for line in self.lines), any(line.left for line in self.lines)
        head = (
            axes.x_label,
            axes.y_label,
            *(("from", "to") if spans else ()),
            *(("bin from", "bin to") if bins else ()),
        )
        groups = []
        for line in self.lines:
            across = [axes.words[int(x)] for x in line.x] if axes.words else [plain(x) for x in line.x]
            rest = [line.y, *((line.low, line.high) if spans else ()), *((line.left, line.right) if bins else ())]
            columns = [across, *([plain(v) for v in some] or [""] * len(across) for some in rest)]
            groups.append(ValueGroup(line.label, tuple(zip(*columns, strict=True))))
        return head, groups


def lines_figure(
    name: str, title: str, caption: str, lines: Sequence[Line], axes: Plane, kind: str = "lines"
) -> Figure | None:
    """Return a figure on a plane, thinned to what can be seen; None without lines."""
    if not lines:
        return None
    most = max(12, MOST_POINTS // len(lines))
    return Figure(name, title, caption, kind, tuple(thinned(line, most) for line in lines), axes)


def rows_figure(name: str, title: str, caption: str, rows: Sequence[Row], scale: Scale, kind: str = "bars") -> Figure:
    """Return a figure of rows."""
    return Figure(name, title, caption, kind, tuple(rows), scale)


def thinned(line: Line, most: int) -> Line:
    """Return at most `most` points of a line, evenly spread, the first and the last among them."""
    if len(line.x) <= most:
        return line
    kept = [round(i * (len(line.x) - 1) / (most - 1)) for i in range(most)]
    pick = {key: [values[i] for i in kept] for key in ("x", "y", "low", "high") if (values := getattr(line, key))}
    return replace(line, **pick)


def paint(place: int) -> tuple[int, int]:
    """Return (series, dash) of the n-th thing that a page shows: six colours, which come again with dashes.

    >>> paint(0), paint(5), paint(6)
    ((1, 0), (6, 0), (1, 1))
    """
    return 1 + place % SERIES, place // SERIES % DASHES


def named(lines: Sequence[Line], letters: int) -> list[str]:
    """Return the names of lines with about so many letters at most, all different."""
    return shorten_all([line.label for line in lines], letters)
