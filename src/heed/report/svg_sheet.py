"""A figure as an element of a page: drawn by matplotlib, coloured by the page.

Matplotlib draws with fixed colours. `sheet` then replaces each by a CSS variable of the page, so that one figure
serves light, dark and paper. Text stays text, in the font of the page. The same data give the same bytes: ids are
salted with the name of the figure, and no date is written. Colours of lines are Okabe and Ito's (2008), which
colour-blind readers can tell apart.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = {
    "ink": "#1b1b1d",
    "muted": "#62646a",
    "grid": "#e3e3e6",
    "surface": "#fefefe",
    "series-1": "#0072b2",
    "series-2": "#d55e00",
    "series-3": "#009e73",
    "series-4": "#cc79a7",
    "series-5": "#e69f00",
    "series-6": "#56b4e9",
    "series-0": "#1b1b1e",
    "name-1": "#0072b3",
    "name-2": "#d55e01",
    "name-3": "#009e74",
    "name-4": "#cc79a8",
    "name-5": "#e69f01",
    "name-6": "#56b4ea",
    "name-0": "#1b1b1f",
}
"""CSS variable of the page -> the colour that matplotlib draws in its place.

`name-N` colours the words at the end of line N: the page makes it darker than the line where words need the contrast.
Series 0 is the ink of the page, for what others are held against.
"""


def sheet(name: str, size: tuple[float, float], label: str, paint: Callable[[Figure], None], font: float = 12) -> str:
    """Return what `paint` draws on a figure of `size` (width, height) CSS pixels as an `<svg>` element of a page.

    `name` makes the ids unique in a page, `label` is read out instead of the figure, `font` is the size of its text.
    """
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    style: dict[Any, Any] = {"svg.hashsalt": name, "svg.fonttype": "none", "font.family": ["DejaVu Sans"]}
    buffer = io.StringIO()
    with matplotlib.rc_context({**style, "font.size": font}), warnings.catch_warnings():
        # text stays text, and the reader's fonts may have the letter that ours lacks
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from font", UserWarning)
        figure = Figure(figsize=(size[0] / 72, size[1] / 72), dpi=72)
        FigureCanvasSVG(figure)
        paint(figure)
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return for_page(buffer.getvalue(), name, label)


def for_page(svg: str, name: str, label: str) -> str:
    """Turn a stand-alone SVG file into an element of a page."""
    from markupsafe import escape

    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<style type="text/css">.*?</style>', "", svg, flags=re.DOTALL)  # its selector * is for files
    svg = re.sub(r"<defs>\s*</defs>", "", svg)
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL)
    for variable, colour in COLOURS.items():
        svg = svg.replace(colour, f"var(--{variable})")
    used = set(re.findall(r"#([A-Za-z_][\w-]*)[\"')]", svg))
    svg = re.sub(r' id="([^"]*)"', lambda m: f' id="{name}-{m[1]}"' if m[1] in used else "", svg)
    svg = re.sub(r"#([A-Za-z_][\w-]*)(?=[\"')])", lambda m: f"#{name}-{m[1]}" if m[1] in used else m[0], svg)
    # The page's own font: older versions of matplotlib write the shorthand `font`, newer ones each property.
    svg = re.sub(r"font: [^;\"]*?(\d+(?:\.\d+)?px) [^;\"]*", r"font-size: \1", svg)
    svg = re.sub(r" ?font-family: [^;\"]*;?", "", svg)
    # A hundredth of a pixel is enough for a place; words and numbers in the text stay as they are.
    svg = re.sub(r'(?<= )(?:d|x|y|transform|points)="[^"]*"', lambda m: re.sub(r"(\.\d\d)\d+", r"\1", m[0]), svg)
    svg = svg.replace("<g/>", "")
    svg = re.sub(r"\s*\n\s*", "\n", svg)
    head = re.match(r"<svg[^>]*>", svg)
    box = re.search(r'viewBox="([^"]*)"', svg)
    if head is None or box is None:
        raise ValueError("matplotlib wrote no SVG")
    return f'<svg viewBox="{box[1]}" role="img" aria-label="{escape(label)}">{svg[head.end() :]}'
