"""The text of web pages and notebooks: what a person reads of them, a document a file.

.html .htm    the words between tags; scripts, styles and what is hidden are left out, blocks end lines
.ipynb        the sources of text and code cells; outputs are left out
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

from heed.errors import DataError
from heed.text.charsets import bad_byte, codec_of
from heed.text.packing import explained

KINDS = (".html", ".htm", ".ipynb")
SILENT = {"script", "style", "template", "noscript", "svg", "math", "head", "iframe", "object"}
"""Elements of which nothing is read."""
INLINE = {
    "a", "abbr", "b", "bdi", "bdo", "cite", "code", "data", "dfn", "em", "font", "i", "kbd", "label", "mark", "q", "rp",
    "rt", "ruby", "s", "samp", "small", "span", "strong", "sub", "sup", "time", "tt", "u", "var", "wbr",
}  # fmt: skip
"""Elements that end no line."""
VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
"""Elements without an end."""


def extracted(place: Path, encoding: str, left_out: Counter[str]) -> Iterator[tuple[Path, str]]:
    """Yield the text of each page and notebook of a file or folder, in the order of their names.

    What holds no text is counted in `left_out`, and so are files of other kinds. Raises `DataError` that names a file
    that cannot be read, and where there is none.
    """
    files = sorted(path for path in place.rglob("*") if path.is_file()) if place.is_dir() else [place]
    wanted = [path for path in files if path.suffix.lower() in KINDS]
    if not wanted:
        raise DataError(f"{place} holds no {' or '.join(KINDS)}: name a file or folder with some")
    if others := len(files) - len(wanted):
        left_out["files of other kinds"] += others
    for path in wanted:
        with explained(path):
            codec = codec_of(path, encoding)
            try:
                content = path.read_text(encoding=codec)
            except UnicodeError:
                raise DataError(
                    f"{path} is not {codec} at byte {bad_byte(path, codec):,}: name its --encoding"
                ) from None
        text = notebook_text(content, path) if path.suffix.lower() == ".ipynb" else page_text(content)
        if text:
            yield path, text
        else:
            left_out["files without text"] += 1


class _Reader(HTMLParser):
    """Gathers what is read of a page."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self.silent: list[str] = []
        self.kept = 0
        """Elements in which white space is kept."""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Begin an element."""
        if tag in SILENT or (self.silent and tag == self.silent[-1]) or ("hidden" in dict(attrs) and tag not in VOID):
            self.silent.append(tag)
        self.kept += tag in ("pre", "textarea")
        self._end_line(tag)

    def handle_endtag(self, tag: str) -> None:
        """End an element."""
        if self.silent and tag == self.silent[-1]:
            self.silent.pop()
        self.kept -= tag in ("pre", "textarea") and self.kept > 0
        self._end_line(tag)

    def handle_data(self, data: str) -> None:
        """Take words."""
        if not self.silent:
            self.parts.append(data if self.kept else re.sub(r"\s+", " ", data))

    def _end_line(self, tag: str) -> None:
        if tag not in INLINE and not self.silent:
            self.parts.append("\n")


def page_text(html: str) -> str:
    r"""Return what is read of a page, a block a line.

    >>> page_text("<h1>A &amp; B</h1><script>x</script><p>One <b>two</b>\n three<br>four</p>")
    'A & B\nOne two three\nfour'
    """
    reader = _Reader()
    reader.feed(html)
    reader.close()
    lines = (line.strip(" ") for line in "".join(reader.parts).split("\n"))
    return "\n".join(line for line in lines if line)


def notebook_text(content: str, path: Path) -> str:
    """Return the sources of the cells of a notebook. Raises `DataError` where it is none."""
    try:
        cells = json.loads(content)["cells"]
        sources = [cell["source"] for cell in cells if cell["cell_type"] in ("markdown", "code", "raw")]
        texts = [source if isinstance(source, str) else "".join(source) for source in sources]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{path} is no notebook (nbformat 4): {type(error).__name__} {error}") from None
    return "\n\n".join(text.strip("\n") for text in texts if text.strip())
