"""A figure as a file by itself, SVG or PNG, on white: it goes into a document as it is, without heed's pages.

Colours are Okabe and Ito's (2008), which colour-blind readers can tell apart. The same data give the same bytes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from heed.errors import DataError, why
from heed.files import write_bytes, write_json

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, GRID = "#1b1b1d", "#62646a", "#e3e3e6"


def sheet(size: tuple[float, float], form: str, paint: Callable[[Figure], None], salt: str) -> bytes:
    """Return what `paint` draws on a figure of `size` (width, height) CSS pixels as "svg" or "png"."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    style: dict[Any, Any] = {"svg.hashsalt": salt, "svg.fonttype": "none", "font.family": ["DejaVu Sans"]}
    buffer = io.BytesIO()
    with matplotlib.rc_context({**style, "font.size": 11}):
        figure = Figure(figsize=(size[0] / 72, size[1] / 72), dpi=72, facecolor="white")
        FigureCanvasAgg(figure)
        paint(figure)
        metadata = {"Date": None} if form == "svg" else {}
        figure.savefig(buffer, format=form, dpi=72 if form == "svg" else 160, metadata=metadata)
    content = buffer.getvalue()
    if form == "svg":  # CSS pixels in a page, where matplotlib writes points
        content = re.sub(rb'(width|height)="([\d.]+)pt"', rb'\1="\2"', content, count=2)
    return content


def write_sheets(
    folder: Path, name: str, results: dict[str, Any], figures: Mapping[str, Callable[[str], bytes]]
) -> None:
    """Write results as JSON and each figure as SVG and PNG. Raises `DataError`; a new folder that stays empty goes."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / name, results)
        for stem, draw in figures.items():
            for form in ("svg", "png"):
                write_bytes(folder / f"{stem}.{form}", draw(form))
    except OSError as error:
        with suppress(OSError):  # it holds something
            folder.rmdir()
        raise DataError(f"cannot write to {folder}: {why(error)}") from error


def bare(axes: Axes, along: Literal["x", "y"]) -> None:
    """Leave of a frame its floor, and of a grid the lines that cross the axis `along` ("x" or "y")."""
    axes.grid(axis=along, color=GRID, linewidth=1)
    axes.set_axisbelow(True)
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(MUTED)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", color=MUTED, labelcolor=MUTED)
