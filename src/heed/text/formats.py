"""Readers of text files: one file in, a stream of documents out, in constant memory.

    .txt .md                 the whole file is one document, or several with a separator between them
    .jsonl                   one JSON object a line, the text under one key
    .csv .tsv                the first line names the columns, or they go by number; .tsv fields are never quoted
    .parquet                 one column of text
    .gz .zst behind any      unpacked while it is read

A document longer than `PIECE` characters comes in pieces, so that no file is too large. Text is passed on exactly
as it is but for a byte-order mark at the start and, in text files, line ends of two characters. Which encoding a file
is in, `charsets` finds out.
"""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import json
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal

from heed.errors import DataError, require
from heed.text.charsets import HINT, bad_byte, check_encoding, codec_of
from heed.text.packing import COMPRESSED, explained, open_bytes

KINDS = (".txt", ".md", ".jsonl", ".csv", ".tsv", ".parquet")
PIECE = 1 << 24
"""Characters of a document that are held at once; a longer one is read in pieces of about this length."""

Part = tuple[bool, str]
"""A document, or a piece of one: whether a new document begins here, and the text."""
Row = tuple[str, list[Any]]
"""Where a row stands, for messages, and its values."""


@dataclass(frozen=True)
class Reading:
    """How files are read: the settings of the same names in `data`."""

    column: str = "text"
    encoding: str = "utf-8"
    separator: str | None = None
    line_ends: Literal["unix", "keep"] = field(default="unix", repr=False)  # what prints is in fingerprints

    def __post_init__(self) -> None:
        check_encoding(self.encoding)
        if self.separator == "":
            raise DataError("data.separator is empty: give the text that stands between documents, or leave it out")
        if self.separator and not re.sub(r"\\[nrt]", "", self.separator):
            raise DataError(
                f"data.separator is {self.separator}, a backslash and a letter: for a line end write "
                "$'\\n' in a shell, \"\\n\" in YAML"
            )


def kind_of(path: Path) -> str | None:
    """Return the suffix that says how `path` is read, without its compression; None for an unknown type.

    >>> kind_of(Path("notes.JSONL.gz")), kind_of(Path("photo.png"))
    ('.jsonl', None)
    """
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in COMPRESSED:
        suffixes.pop()
    return suffixes[-1] if suffixes and suffixes[-1] in KINDS else None


def read_file(path: Path, reading: Reading, skipped: Counter[str], codec: str | None = None) -> Iterator[Part]:
    """Yield the documents of one file; what cannot be a document is left out and counted in `skipped`.

    `codec` is what the file is in, where that is known; else it is found out. Raises `DataError` that names the file,
    and the byte or line, when it cannot be read as its suffix says.
    """
    if kind_of(path) not in (".txt", ".md"):
        rows = read_rows(path, {"--data.column": reading.column}, codec or reading.encoding)
        yield from _filled(_texts(rows, reading.column, skipped), skipped)
        return
    with _decoded(path, codec, reading.encoding) as codec, open_bytes(path) as stream:
        blocks, separator = _blocks(stream, codec), reading.separator
        if reading.line_ends == "unix":
            blocks, separator = _unix(blocks), separator and separator.replace("\r\n", "\n")
        yield from _whole(blocks) if separator is None else _separated(blocks, separator, skipped)


def read_rows(
    path: Path, columns: Mapping[str, str], encoding: str = "utf-8", header: Sequence[str] | None = None
) -> Iterator[Row]:
    """Yield the wanted columns of each row of a .jsonl, .csv, .tsv or .parquet file.

    `columns` holds the wanted ones by the setting that chose each, which errors name. `header` names the columns of a
    CSV or TSV file without such a line. Raises `DataError` as `read_file` does.
    """
    kind = kind_of(path)
    if kind == ".parquet":
        yield from _read_parquet(path, columns)
        return
    with _decoded(path, None, encoding) as codec, open_bytes(path) as stream:
        lines = io.TextIOWrapper(stream, encoding=codec, newline="")
        if kind == ".jsonl":
            yield from _read_jsonl(lines, path, columns)
        else:
            yield from _read_table(lines, path, columns, header, tabs=kind == ".tsv")


@contextmanager
def _decoded(path: Path, codec: str | None, encoding: str) -> Iterator[str]:
    """Give what `path` is to be read with, and turn what can go wrong meanwhile into a `DataError` of one line."""
    with explained(path):
        codec = codec or codec_of(path, encoding)
        try:
            yield codec
        except UnicodeError:
            shown = codec.removesuffix("-sig")
            hint = HINT.format(its="its")
            raise DataError(f"{path} is not {shown} at byte {bad_byte(path, codec):,}: {hint}") from None


def _blocks(stream: BinaryIO, encoding: str) -> Iterator[str]:
    """Decode a stream block by block: ten times as fast as `TextIOWrapper.read`, which joins blocks of 8 KiB."""
    decoder = codecs.getincrementaldecoder(encoding)()
    while block := stream.read(min(1 << 20, PIECE)):
        yield decoder.decode(block)
    yield decoder.decode(b"", True)


def _unix(blocks: Iterator[str]) -> Iterator[str]:
    r"""Turn line ends \r\n into \n, also where a block ends between the two."""
    waiting = ""
    for block in blocks:
        block, waiting = waiting + block, ""
        if block.endswith("\r"):
            block, waiting = block[:-1], "\r"
        yield block.replace("\r\n", "\n") if "\r" in block else block
    yield waiting


def _whole(blocks: Iterator[str]) -> Iterator[Part]:
    """Yield a text file as one document, in pieces that end at line ends where there are any."""
    waiting: list[str] = []
    first = True
    for block in blocks:
        waiting.append(block)
        if sum(map(len, waiting)) > PIECE:
            text = "".join(waiting)
            cut = text.rfind("\n") + 1 or len(text)
            yield first, text[:cut]
            waiting, first = [text[cut:]], False
    if text := "".join(waiting):
        yield first, text


def _separated(blocks: Iterator[str], separator: str, skipped: Counter[str]) -> Iterator[Part]:
    """Yield the texts between separators, without the line ends that surround them."""
    rest, first = "", True
    for block in blocks:
        *complete, rest = (rest + block).split(separator)
        for text in complete:
            if text := text.strip("\r\n"):
                yield first, text
            elif first:
                skipped["empty documents left out"] += 1
            first = True
        if len(rest) > PIECE:
            end = len(rest) - len(separator) + 1  # the start of a separator may stand at the very end
            cut = rest.rfind("\n", 0, end) + 1 or end
            yield first, rest[:cut]
            rest, first = rest[cut:], False
    if text := rest.strip("\r\n"):
        yield first, text


def _filled(rows: Iterator[str | None], skipped: Counter[str]) -> Iterator[Part]:
    """Yield the rows that hold text; count the others."""
    for text in rows:
        if text is None:
            skipped["rows without a text (null) left out"] += 1
        elif not text.strip():
            skipped["empty documents left out"] += 1
        else:
            yield True, text


def _texts(rows: Iterator[Row], column: str, skipped: Counter[str]) -> Iterator[str | None]:
    """Yield the text of each row."""
    for where, (value,) in rows:
        yield whole_characters(checked_text(value, column, where), skipped)


def _read_jsonl(stream: io.TextIOBase, path: Path, columns: Mapping[str, str]) -> Iterator[Row]:
    """Yield some keys of each object; a key that the first object has and a later one lacks counts as null."""
    known = False
    for number, line in enumerate(stream, 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{where} is not valid JSON: {error}") from None
        if not isinstance(row, dict):
            keys = " and ".join(map(repr, columns.values()))
            raise DataError(f"{where} must be a JSON object with the key {keys}, not {_kind(row)}")
        if not known:
            _check_columns(path, columns, list(row))
        known = True
        yield where, [row.get(key) for key in columns.values()]


def whole_characters(text: str | None, skipped: Counter[str]) -> str | None:
    """Put U+FFFD where JSON escaped half a character (a lone surrogate), which no encoding can hold."""
    if text is None or text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        skipped["rows with half a character (a lone surrogate), replaced by U+FFFD"] += 1
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def _read_table(
    stream: io.TextIOBase, path: Path, columns: Mapping[str, str], header: Sequence[str] | None, *, tabs: bool
) -> Iterator[Row]:
    """Yield some columns of a CSV or TSV file; columns that are numbers, from 1, mean that no line names them."""
    csv.field_size_limit(2**31 - 1)  # the default refuses documents beyond 128 KiB
    if tabs:
        rows = csv.reader(stream, delimiter="\t", quoting=csv.QUOTE_NONE, strict=True)
    else:
        rows = csv.reader(stream, strict=True)
    try:
        first = next(rows, None) if header is None else None
        if header is None and first is None:
            return
        names = list(header or first or ())
        numbered = all(map(str.isdecimal, columns.values()))
        if first and numbered and not all(map(str.isdecimal, first)):  # pandas may name columns 0, 1, 2
            names, rest = [str(place + 1) for place in range(len(first))], itertools.chain([first], rows)
        else:
            rest = rows
        others = [mark for mark in ";|,\t" if len(names) == 1 and mark in names[0]]
        if others and not set(columns.values()) <= set(names):
            wanted = "tabs" if tabs else "commas"
            raise DataError(f"{path} has {others[0]!r} between its columns, not {wanted}: save it with {wanted}")
        hint = "" if header else ", or give the file a first line that names its columns"
        _check_columns(path, columns, names, hint)
        places = [names.index(column) for column in columns.values()]
        for row in rest:
            if len(row) > len(names):
                raise DataError(
                    f"{path}, line {rows.line_num} has {len(row)} fields, the first line {len(names)}: quote the text"
                )
            if row:
                values = [row[place] if place < len(row) else None for place in places]
                yield f"{path}, line {rows.line_num}", values
    except csv.Error as error:
        raise DataError(f"{path}, line {rows.line_num} is not valid CSV: {error}") from None


def _read_parquet(path: Path, columns: Mapping[str, str]) -> Iterator[Row]:
    """Yield some columns of a Parquet file, a thousand rows in memory at a time."""
    failure: Any = require("pyarrow", "data").ArrowException
    arrow: Any = require("pyarrow.parquet", "data")
    with explained(path), tempfile.TemporaryFile() as unpacked:
        packed = path.suffix.lower() in COMPRESSED
        if packed:  # Parquet is read from its end, so that a compressed one is unpacked first
            with open_bytes(path) as stream:
                shutil.copyfileobj(stream, unpacked)
        try:
            with arrow.ParquetFile(unpacked if packed else path) as table:
                _check_columns(path, columns, table.schema_arrow.names)
                number = 0
                for batch in table.iter_batches(batch_size=1000, columns=list(columns.values())):
                    for values in zip(*(batch.column(name) for name in columns.values()), strict=True):
                        number += 1
                        yield f"{path}, row {number}", [value.as_py() for value in values]
        except failure as error:
            raise DataError(f"{path} is not a whole Parquet file: {str(error).splitlines()[0]}") from None


def checked_text(value: object, column: str, where: str) -> str | None:
    """Return `value` if it is text or null; raise `DataError` that says what it is otherwise."""
    if value is None or isinstance(value, str):
        return value
    raise DataError(f"{where}: {column!r} holds {_kind(value)}, not text; choose another column with --data.column")


def _kind(value: object) -> str:
    return {"dict": "an object", "list": "a list", "str": "a string"}.get(type(value).__name__, repr(value)[:40])


def _check_columns(path: Path, columns: Mapping[str, str], present: list[str], else_: str = "") -> None:
    """Raise `DataError` when a wanted column is not there."""
    for setting, column in columns.items():
        if column not in present:
            names = [name if len(name) <= 30 else name[:27] + "..." for name in present[:20]]
            choice = f"choose one of {', '.join(map(repr, names))} with {setting}{else_}"
            raise DataError(f"{path} has no column {column!r}: {choice}")
