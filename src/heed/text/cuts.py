r"""Where files may be cut, so that several processes read a part each and no one reads all.

    bytes of all files   |---- a.jsonl ----|-- b.txt.gz --|------- c.jsonl -------|
    thirds               0                      ^ 1               ^ 2
    parts                0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 1 1 1 2 2 2 2 2 2 2 2

A part begins at the first document that begins at or behind its share of the bytes, and ends where the next one
begins: one after the other, the parts are the whole. A document begins after a line end in .jsonl, and after the
separator in .txt and .md. All other files (compressed ones, tables, a text that is one document, encodings other than
UTF-8 and those of western Europe) are read whole, by the part in which they begin.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from heed.text.formats import Reading, kind_of
from heed.text.packing import COMPRESSED, Span

Place = tuple[int, int]
"""The number of a file, and a byte in it."""
PLAIN = ("utf-8", "utf-8-sig", "ascii", "iso8859-1", "cp1252")
"""Encodings in which the bytes of a line end or a separator are never a part of anything else."""
STEP = 1 << 20
"""Bytes that are searched at a time."""


class Cuts:
    """The parts of some files, in their order. `codecs_of` has what each file is read with, where that is text."""

    def __init__(self, files: Sequence[Path], reading: Reading, codecs_of: Mapping[Path, str]) -> None:
        self.files = files
        self.marks = [_mark(path, reading, codecs_of.get(path)) for path in files]
        self.sizes = [path.stat().st_size for path in files]

    def part(self, number: int, of: int) -> list[tuple[Path, Span]]:
        """Return what part `number` of `of` reads: files, and of each some bytes."""
        (first, start), (last, stop) = self._begin(number, of), self._begin(number + 1, of)
        if (first, start) == (last, stop):
            return []
        ends = [None] * (last - first) + [stop] * (stop > 0)
        starts = [start] + [0] * (len(ends) - 1)
        return list(zip(self.files[first : first + len(ends)], zip(starts, ends, strict=True), strict=True))

    def _begin(self, number: int, of: int) -> Place:
        """Return where a part begins; that of the number `of` is the end of all."""
        if number == 0:
            return 0, 0
        share = sum(self.sizes) * number // of
        for place, (path, size, mark) in enumerate(zip(self.files, self.sizes, self.marks, strict=True)):
            if share == 0 or share < size:
                found = 0 if share == 0 else mark.first(path, share) if mark else None
                return (place + 1, 0) if found is None else (place, found)
            share -= size
        return len(self.files), 0


@dataclass(frozen=True)
class Mark:
    """What stands before a document: where it may be found, overlapping with itself, and its bytes at most."""

    pattern: re.Pattern[bytes]
    size: int

    def first(self, path: Path, start: int) -> int | None:
        """Return the first byte at or behind `start` before which the mark stands, None where there is none.

        Who reads from the beginning of the file takes marks from left to right, none of them inside another. Of a chain
        of marks that overlap (of two line ends, in a run of seven) that is known of the first alone, so the others do
        not count here.
        """
        back, size = 2 * self.size, path.stat().st_size
        place = max(0, start - back)
        with path.open("rb") as stream:
            stream.seek(place)
            block = stream.read(STEP + back)
            while True:
                behind = 0 if place == 0 else self.size  # what begins before may lie in another one
                for found in self.pattern.finditer(block):
                    begin, end = found.span(1)
                    if begin >= behind and start <= place + end < size:
                        return place + end
                    behind = max(behind, end)
                more = stream.read(STEP)
                if not more:
                    return None
                gone = max(0, len(block) - back)
                place, block = place + gone, block[gone:] + more


def _mark(path: Path, reading: Reading, codec: str | None) -> Mark | None:
    """Return what stands before a document in a file, None where it is to be read whole."""
    kind = kind_of(path)
    if codec is None or codecs.lookup(codec).name not in PLAIN or path.suffix.lower() in COMPRESSED:
        return None
    unix, separator = False, "\n"
    if kind != ".jsonl":
        if kind not in (".txt", ".md") or reading.separator is None:
            return None
        unix, separator = reading.line_ends == "unix", reading.separator
    codec = codec.removesuffix("-sig")
    try:
        parts = [part.encode(codec) for part in (separator.replace("\r\n", "\n") if unix else separator).split("\n")]
    except UnicodeEncodeError:  # it cannot stand in this file
        return None
    pattern = (rb"\r?\n" if unix else rb"\n").join(map(re.escape, parts))
    return Mark(re.compile(rb"(?=(%s))" % pattern), 2 * len(b"\n".join(parts)))
