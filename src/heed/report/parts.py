"""A page as a list of parts, and how it is written: one HTML file that needs no network, no mouse and no script.

    Page(kind, title, verdict, sections, ...) -> render_page -> HTML -> write_page -> a whole file, or none

A section is a title and parts; templates/parts.html has a macro for each kind of part. Whatever comes from a run is
escaped. The page's own content security policy allows the script and the style that heed wrote into it, known by their
hashes, and nothing else: a report of somebody else's run is safe to open. Equal pages have equal bytes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from heed.config import flatten
from heed.errors import CheckpointError, why
from heed.files import write_text
from heed.report.figure import Figure
from heed.report.numbers import format_count, format_rate, human_bytes
from heed.report.record import number
from heed.report.tabular import TextCell, TextTable, all_latex, all_markdown

PAGE = "report.html"
LONG = 6
"""Sections from which on a page has a table of contents."""

PairRows = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Banner:
    """What a reader must know before any figure."""

    level: str
    """error, warning or note."""
    title: str
    text: str


class PagePart:
    """Something that a section shows."""

    @property
    def kind(self) -> str:
        """By which the template tells it."""
        return type(self).__name__


@dataclass(frozen=True)
class Paragraph(PagePart):
    """A paragraph."""

    text: str
    css: str = ""


@dataclass(frozen=True)
class Heading(PagePart):
    """A heading inside a section."""

    text: str


@dataclass(frozen=True)
class Findings(PagePart):
    """Sentences, each with a dot before it; nothing where there are none."""

    lines: Sequence[str]
    css: str = ""


@dataclass(frozen=True)
class WideFigure(PagePart):
    """One figure that has the width of the page; nothing where there is none."""

    figure: Figure | None


@dataclass(frozen=True)
class Multiples(PagePart):
    """Figures side by side."""

    figures: Sequence[Figure]


@dataclass(frozen=True)
class Switch(PagePart):
    """The same figures over one of several axes, which the reader chooses: (id, name, figures) of each axis."""

    panels: Sequence[tuple[str, str, Sequence[Figure]]]


@dataclass(frozen=True)
class Tabled(PagePart):
    """A table; its caption stands below it, and the label is read out."""

    table: TextTable | None
    label: str


@dataclass(frozen=True)
class Pairs(PagePart):
    """Names and values; "facts" are set as large as figures."""

    rows: PairRows
    css: str = ""


@dataclass(frozen=True)
class Headlines(PagePart):
    """The figures of the first screen: (label, value, unit)."""

    items: Sequence[Any]


@dataclass(frozen=True)
class Details(PagePart):
    """Parts that open when they are wanted."""

    summary: str
    parts: Sequence[Any]
    css: str = ""


@dataclass(frozen=True)
class GroupedPairs(PagePart):
    """Pairs under headings, in columns."""

    groups: Sequence[tuple[str, PairRows]]


@dataclass(frozen=True)
class Command(PagePart):
    """A command to copy."""

    text: str


@dataclass(frozen=True)
class Links(PagePart):
    """Files beside the page: words, and (name, address) of each file."""

    text: str
    files: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Samples(PagePart):
    """Generated texts, each with a heading, which may be empty; the key explains the shades."""

    items: Sequence[tuple[str, Any]]
    key: str = ""
    """What is said before the shades; empty: no key."""
    surprises: bool = False


@dataclass(frozen=True)
class ExampleList(PagePart):
    """Texts or questions, with what was said of them (`tuning_errors.Shown`, `knowledge_page.Example`)."""

    items: Sequence[Any]
    css: str


@dataclass(frozen=True)
class HeadMap:
    """Who looks at whom in one head, as pictures: white is a weight of 1 (see `heed.explore.map_images`)."""

    layer: int
    head: int
    small: str
    """Address of the picture that is always shown; the whole map where the text is short."""
    full: str = ""
    """Address of the map with a pixel for each pair of tokens, where it is another one and there is room."""
    role: str = ""
    """What the head looks at, in a word."""
    gate: Sequence[float] = ()
    """What the gate of each token lets through, where the mechanism has one."""


@dataclass(frozen=True)
class AttentionMaps(PagePart):
    """The maps of the heads of a model on one text; with the script maps.js one of them is shown in full."""

    maps: Sequence[HeadMap]
    tokens: Sequence[str]
    causal: bool
    first: str = ""
    """Layer.head of the map that the script shows first; empty where the maps stay small."""

    @property
    def layers(self) -> list[tuple[int, list[HeadMap]]]:
        """The maps of each layer."""
        found: dict[int, list[HeadMap]] = {}
        for one in self.maps:
            found.setdefault(one.layer, []).append(one)
        return list(found.items())

    @property
    def data(self) -> str:
        """What the script reads, as JSON that may stand in a page."""
        full = {f"{one.layer}.{one.head}": one.full for one in self.maps if one.full}
        gate = {f"{one.layer}.{one.head}": list(one.gate) for one in self.maps if one.gate}
        said = {"tokens": list(self.tokens), "causal": self.causal, "first": self.first, "full": full, "gate": gate}
        return json.dumps(said, ensure_ascii=False).replace("<", "\\u003c")


@dataclass(frozen=True)
class PageSection:
    """A part of a page with a title."""

    name: str
    """Its address in the page."""
    title: str
    parts: Sequence[Any]
    quiet: bool = False
    """Whether the title is small, for what needs none."""


@dataclass(frozen=True)
class Page:
    """A page: the verdict first, then the main figure, the table, and how it was made."""

    kind: str
    title: str
    verdict: str
    sections: Sequence[PageSection]
    design: str = ""
    """How it was found, in a sentence."""
    banners: Sequence[Banner] = ()
    sources: str = ""
    """The files that it was written from."""
    plain: bool = False
    """Whether the first sentence is no finding but a description."""
    scripts: tuple[str, ...] = ()
    """Scripts of the templates that it needs besides that of every page."""


TABLES = Links("The tables as", (("Markdown", "./table.md"), ("LaTeX", "./table.tex")))


def render_page(page: Page) -> str:
    """Return a page as HTML; a section without parts is left out."""
    sections = [section for section in page.sections if any(map(_holds, section.parts))]
    titled = [section for section in sections if not section.quiet]
    contents = titled if len(titled) >= LONG else []
    style, script = _source("style.css") + places(), "".join(map(_source, ("page.js", *page.scripts)))
    return _template().render(
        page=page,
        sections=sections,
        contents=contents,
        style=style,
        script=script,
        policy=f"default-src 'none'; style-src '{policy_hash(style)}'; script-src '{policy_hash(script)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'",
    )


def write_page(path: Path, content: str) -> Path:
    """Write a page, or a table beside it, whole or not at all, and return `path`.

    Raises `CheckpointError` when the disk is full or the folder cannot be written to.
    """
    try:
        write_text(path, content)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be written: {why(error)}; free some space or check rights") from error
    return path


def write_with_tables(folder: str | Path, content: str, tables: Sequence[TextTable]) -> Path:
    """Write a page into a folder, and its tables beside it as `TABLES` names them; return the path of the page.

    Raises what `write_page` raises.
    """
    for name, text in ((PAGE, content), ("table.md", all_markdown(tables)), ("table.tex", all_latex(tables))):
        write_page(Path(folder) / name, text)
    return Path(folder) / PAGE


def again(command: str, words: str = "") -> PageSection:
    """Return the section that says how to do it again; empty without a command."""
    return PageSection("again", "Do it again", [Paragraph(words), Command(command)] if command else [])


def list_rows(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return nested settings as pairs of a dotted name and a value."""
    return [(name, show_value(value)) for name, value in flatten(settings)]


def setting_groups(config: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return a configuration as groups of pairs, one a section."""
    return [(section, list_rows(values)) for section, values in config.items() if isinstance(values, dict)]


def show_facts(environment: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the environment as pairs; a command is a command line, bytes have a unit, seeds keep their digits."""
    facts = []
    for name, value in flatten(environment):
        if name.endswith("_bytes") and number(value) is not None:
            facts.append((name.removesuffix("_bytes"), human_bytes(value)))
        elif name == "command" and isinstance(value, list):
            facts.append((name, shlex.join(str(part) for part in value)))
        else:
            facts.append((name, str(value) if type(value) is int else show_value(value)))
    return facts


def show_value(value: Any) -> str:
    """Return a setting or a fact as it is shown."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return format_count(value)
    if isinstance(value, float):
        return format_count(int(value)) if value.is_integer() else format_rate(value)
    if isinstance(value, list):
        return ", ".join(show_value(item) for item in value) or "none"
    return str(value) if value != {} else "none"


def _holds(part: Any) -> bool:
    """Whether a part has something to show."""
    content = next(iter(vars(part).values()))
    return bool(content) and not isinstance(part, Heading)


def _cell(value: str) -> Any:
    """Return a cell of a table as HTML."""
    from markupsafe import Markup, escape

    if not isinstance(value, TextCell):
        return escape(value)
    return Markup(value.markup).format(str(value), link=value.link, hint=value.hint)


def policy_hash(text: str) -> str:
    """Return the hash by which a content security policy knows a text."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


@cache
def _source(name: str) -> str:
    """Return a file of the templates with line ends around it, as it stands in the page."""
    return f"\n{(Path(__file__).parent / 'templates' / name).read_text(encoding='utf-8').strip()}\n"


@cache
def places() -> str:
    """Return the classes of heights (in percent of a plot) and of the room that numbers of so many letters need.

    An element may have no style of its own: the policy knows this style by its hash, and no other.
    """
    heights = "".join(f".y{n}{{grid-row:{n}}}" for n in range(1, 101))
    return heights + "".join(f".t{n}{{--ticks:{n + 1.6:g}ch}}" for n in range(1, 13)) + "\n"


@cache
def _template() -> Any:
    """Return the template of every page; whatever it prints is escaped, but for what heed itself drew."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    from heed.report.drawing import draw

    environment = Environment(
        loader=PackageLoader("heed.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["drawn"] = lambda figure: Markup(draw(figure))
    environment.filters["cell"] = _cell
    environment.filters["ours"] = Markup  # style.css and page.js
    return environment.get_template("page.html")
