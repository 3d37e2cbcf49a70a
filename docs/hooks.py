"""What mkdocs does beside Markdown, all of it while the site is built: a reader's browser fetches nothing.

```math        an equation in LaTeX, as GitHub shows it too: a grid of MathML, a row for each line
figures/*.svg   put into the page, where they follow its light and dark
"""

from __future__ import annotations

import re
from html import escape
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from pymdownx.superfences import SuperFencesException

NARROW = re.compile(r"\\text\{(.*)\}", re.DOTALL)


def cell(latex: str) -> str:
    r"""Return one cell of an equation as HTML: `\text{...}` alone is words, which may wrap, else it is MathML.

    Raises `SuperFencesException`, which alone stops the build, for what the library does not know and
    would show as it is written.
    """
    latex = latex.strip()
    if words := NARROW.fullmatch(latex):
        return escape(words[1].replace("\\_", "_"))
    if not latex:
        return ""
    mathml = convert("{}" + latex, display="block")
    if "\\" in mathml or re.search(r"&(?![#\w])", mathml):
        raise SuperFencesException(f"an equation in docs/ that cannot be typeset: {latex}")
    return mathml


def equations(source: str, *_: Any, **__: Any) -> str:
    r"""Return the lines of `\begin{aligned} left &= right & words \\ ... \end{aligned}` as a grid."""
    body = re.fullmatch(r"\s*\\begin\{aligned\}(.*)\\end\{aligned\}\s*", source, re.DOTALL)
    if body is None:
        raise SuperFencesException(f"an equation in docs/ begins with \\begin{{aligned}}: {source[:60]}")
    out = []
    for line in re.split(r"\\\\", body[1]):
        cells = [cell(part) for part in re.split(r"(?<!\\)&", line)]
        if len(cells) > 3:
            raise SuperFencesException(f"more than left, right and words in an equation in docs/: {line}")
        left, right, words = [*cells, "", ""][:3]
        out.append(f'<div class="left">{left}</div><div class="right">{right}</div><div class="words">{words}</div>')
    return f'<div class="equations">{"".join(out)}</div>'


def on_config(config: Any) -> Any:
    """Make ```math an equation."""
    fence = {"name": "math", "class": "math", "format": equations}
    config["mdx_configs"].setdefault("pymdownx.superfences", {})["custom_fences"] = [fence]
    return config


def on_page_content(html: str, *, page: Any, config: Any, **_: Any) -> str:
    """Put the drawings of `figures/` into the page, under their alternative text."""

    def inlined(image: re.Match[str]) -> str:
        file = Path(config["docs_dir"]) / "attention" / "figures" / f"{image[2]}.svg"
        svg = file.read_text(encoding="utf-8").replace("\n", "")
        return svg.replace("<svg ", f'<svg role="img" aria-label="{image[1]}" ', 1)

    return re.sub(r'<img alt="([^"]*)" src="[^"]*figures/([\w-]+)\.svg"[^>]*>', inlined, html)
