"""Rows of CSV and TSV files as people write them.

    a,"say ""so"", then",1     CSV: a field may stand in quotation marks, and hold commas and line ends then
    "a", "b" , "c"             blanks around the quotation marks do not count
    a\t"b\tc                   TSV: fields are never quoted, and a quotation mark is one of the text,
    "x"\t"y"                   unless every name of the first line stands in them, as in what heed writes

A row that cannot be read comes as the words that say why, and the next one is read all the same.
"""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Iterable, Iterator

FIELD = re.compile(r'[ \t]*"([^"]*+(?:""[^"]*+)*+)"[ \t]*(?=,|$)|(?![ \t]*")([^,\r\n]*+)')
"""A field of a CSV file, quoted with blanks around, or as it stands."""
ESCAPED = re.compile("[\udc80-\udcff]")
"""What stands for a byte that an encoding does not allow."""
FARTHEST = 1000
"""Lines over which a quoted field with a blank before it may run."""
TORN = 100
"""Rows over several lines that cannot be read, behind whose first line reading goes on; then behind their last."""
TableRow = tuple[int, list[str] | str]
"""The number of the last line of a row, and its fields or what is wrong with it."""


def read_table(stream: Iterable[str], *, tabs: bool, named: bool) -> Iterator[TableRow]:
    """Yield the rows of a CSV or TSV file that was opened with `newline=""`; `named`: its first line names columns."""
    csv.field_size_limit(2**31 - 1)  # the default refuses documents beyond 128 KiB
    lines = RowLines(stream)
    plain = tabs and not (named and lines.quoted_names())
    quoting = csv.QUOTE_NONE if plain else csv.QUOTE_MINIMAL
    rows = csv.reader(lines, delimiter="\t" if tabs else ",", quoting=quoting, strict=True)
    torn = 0
    while True:
        lines.taken.clear()
        try:
            row: list[str] | str = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            row = f"is not valid CSV: {error}"
            if "unexpected end" in row:
                row = "is not valid CSV: a quotation mark opens here that nothing closes"
        if not tabs and (isinstance(row, str) or any(field[:1] in (" ", "\t") and '"' in field for field in row)):
            row = lines.spaced() or row
        if isinstance(row, str) and len(lines.taken) > 1 and torn < TORN:  # the lines behind may well be rows
            torn += 1
            lines.give_back(1)
        if not isinstance(row, str) and any(not field.isascii() and ESCAPED.search(field) for field in row):
            row = "holds bytes that are no text in this encoding"
        yield lines.number, row


class RowLines:
    """The lines of a file, of which those of the row in hand are known and can be given back."""

    def __init__(self, lines: Iterable[str]) -> None:
        self.taken: list[str] = []
        """Those of the row in hand."""
        self.number = 0
        self._lines = iter(lines)
        self._back: list[str] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._back.pop() if self._back else next(self._lines)
        self.taken.append(line)
        self.number += 1
        return line

    def give_back(self, keep: int) -> None:
        """Give back the lines of the row in hand but for its first ones."""
        while len(self.taken) > keep:
            self._back.append(self.taken.pop())
            self.number -= 1

    def quoted_names(self) -> bool:
        """Whether every name of the first line stands in quotation marks."""
        names = next(self, "").rstrip("\r\n").split("\t")
        self.give_back(0)
        return all(len(name) > 1 and name[0] == name[-1] == '"' for name in names)

    def spaced(self) -> list[str] | None:
        """Return the fields of the row in hand where blanks may stand around quotation marks; None if it is not so."""
        keep = len(self.taken)
        fields = _fields("".join(self.taken).rstrip("\r\n"))
        if fields is not None or sum(line.count('"') for line in self.taken) % 2 == 0:
            return fields
        for line in itertools.islice(self, FARTHEST):  # one of them may run over several lines
            if line.count('"') % 2:
                break
        if (fields := _fields("".join(self.taken).rstrip("\r\n"))) is None:
            self.give_back(keep)
        return fields


def _fields(row: str) -> list[str] | None:
    """Return the fields of a row of CSV, or None where a quotation mark stands within one that is not quoted.

    >>> _fields('good, "so ""so"", so" , 1'), _fields('good, "so" so')
    (['good', 'so "so", so', ' 1'], None)
    """
    fields, at = [], 0
    while found := FIELD.match(row, at):
        fields.append(found[2] if found[1] is None else found[1].replace('""', '"'))
        if (at := found.end()) == len(row):
            return fields
        if row[at] != ",":
            return None
        at += 1
    return None
