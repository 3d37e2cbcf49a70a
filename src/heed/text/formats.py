"""Readers of text files: one file in, a stream of documents out, in constant memory.

    .txt .md                 the whole file is one document, or several with a separator between them
    .jsonl                   one JSON object a line, the text under one key
    .json                    an array of such objects, alone or as the only value of an object; read whole
    .csv .tsv                the first line names the columns, or they go by number; fields of .tsv are quoted only
                             where every name in the first line is
    .parquet                 one column of text
    .gz .zst behind any      unpacked while it is read

A document longer than `PIECE` characters comes in pieces, so that no file but an array is too large. Text is passed on
exactly as it is but for a byte-order mark at the start and, in text files, line ends of two characters. Which encoding
a file is in, `charsets` finds out.
"""

from __future__ import annotations

import codecs
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
from heed.text.packing import COMPRESSED, WHOLE_FILE, Span, explained, open_bytes
from heed.text.tables import ESCAPED, read_table

KINDS = (".txt", ".md", ".jsonl", ".json", ".csv", ".tsv", ".parquet")
LARGEST_ARRAY = 1 << 27
"""Characters of a .json file at most: it is held in memory whole, as text and as objects."""
PIECE = 1 << 24
"""Characters of a document that are held at once; a longer one is read in pieces of about this length."""

Part = tuple[bool, str]
"""A document, or a piece of one: whether a new document begins here, and the text."""
Row = tuple[str, list[Any]]
"""Where a row stands, for messages, and its values."""
MaybeRow = tuple[str, list[Any] | DataError]
"""The same, with what is wrong with the row in the place of its values."""


@dataclass
class OtherColumns:
    """Columns of a table whose values come behind those that a row must have, once the table says which it has."""

    wanted: Sequence[str] | None = ()
    """None: all that are not read already."""
    optional: str | None = None
    """One more where there is such a column, and it is the last then."""
    setting: str = "--keep"
    """What chose them, which errors name."""
    names: list[str] = field(default_factory=list)
    """Those that are read, without the optional one."""
    has_optional: bool = False
    """Whether that is read, behind them."""
    late: set[str] = field(default_factory=set)
    """Keys of JSON objects that the first one does not have, which no column is for."""

    def of(self, path: Path, present: list[str], read: Mapping[str, str]) -> list[str]:
        """Choose among the columns of a table. Raises `DataError` for one that is not there, or there twice."""
        held = set(read.values())
        wanted = [name for name in present if name not in held] if self.wanted is None else self.wanted
        for name in wanted:
            _check_columns(path, {self.setting: name}, present)
        last = [name for name in present if name == self.optional][:1]
        self.names, self.has_optional = list(wanted), bool(last)
        return [*wanted, *last]


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


def read_file(
    path: Path, reading: Reading, skipped: Counter[str], codec: str | None = None, span: Span = WHOLE_FILE
) -> Iterator[Part]:
    """Yield the documents of one file; what cannot be a document is left out and counted in `skipped`.

    `codec` is what the file is in, where that is known; else it is found out. `span` are the bytes that are read, from
    where a document begins to where another one does. Raises `DataError` that names the file, and the byte or line,
    when it cannot be read as its suffix says.
    """
    if kind_of(path) not in (".txt", ".md"):
        rows = read_rows(path, {"--data.column": reading.column}, codec or reading.encoding, span=span)
        yield from _filled(_texts(rows, reading.column, skipped), skipped)
        return
    with _decoded(path, codec, reading.encoding, span) as codec, open_bytes(path, span) as stream:
        blocks, separator = _blocks(stream, codec), reading.separator
        if reading.line_ends == "unix":
            blocks, separator = _unix(blocks), separator and separator.replace("\r\n", "\n")
        yield from _whole(blocks) if separator is None else _separated(blocks, separator, skipped)


def read_rows(
    path: Path,
    columns: Mapping[str, str],
    encoding: str = "utf-8",
    header: Sequence[str] | None = None,
    span: Span = WHOLE_FILE,
) -> Iterator[Row]:
    """Yield the wanted columns of each row of a .jsonl, .json, .csv, .tsv or .parquet file.

    `columns` holds the wanted ones by the setting that chose each, which errors name. `header` names the columns of a
    CSV or TSV file without such a line. `span` is of .jsonl alone. Raises `DataError` as `read_file` does.
    """
    for place, values in _read_rows(path, columns, encoding, header, span=span):
        if isinstance(values, DataError):
            raise values
        yield place, values


def read_every_row(
    path: Path, columns: Mapping[str, str], encoding: str = "utf-8", others: OtherColumns | None = None
) -> Iterator[MaybeRow]:
    """Yield the rows as `read_rows` does, and for one that cannot be read the `DataError` that says why.

    The values of `others` stand behind those of `columns`; which these are is known when the first row comes. Raises
    `DataError` for a missing column, and where the file cannot be read on.
    """
    yield from _read_rows(path, columns, encoding, errors="surrogateescape", others=others)


def _read_rows(
    path: Path,
    columns: Mapping[str, str],
    encoding: str,
    header: Sequence[str] | None = None,
    errors: str = "strict",
    span: Span = WHOLE_FILE,
    others: OtherColumns | None = None,
) -> Iterator[MaybeRow]:
    """Yield each row; with errors "surrogateescape" bytes that are no text are an error of their row alone."""
    kind = kind_of(path)
    if kind == ".parquet":
        yield from _read_parquet(path, columns, others)
        return
    with _decoded(path, None, encoding, span) as codec, open_bytes(path, span) as stream:
        lines = io.TextIOWrapper(stream, encoding=codec, errors=errors, newline="")
        if kind in (".jsonl", ".json"):
            items = _lines_of_json(lines, path, span[0]) if kind == ".jsonl" else _array_of_json(lines, path)
            yield from _read_objects(items, path, columns, others, begun=span[0] > 0)
        else:
            yield from _read_table(lines, path, columns, header, others, tabs=kind == ".tsv")


@contextmanager
def _decoded(path: Path, codec: str | None, encoding: str, span: Span) -> Iterator[str]:
    """Give what `path` is to be read with, and turn what can go wrong meanwhile into a `DataError` of one line."""
    with explained(path):
        codec = codec or codec_of(path, encoding)
        if span[0]:  # where a byte-order mark is a character like any other
            codec = codec.removesuffix("-sig")
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


def _read_objects(
    items: Iterator[tuple[str, Any]],
    path: Path,
    columns: Mapping[str, str],
    others: OtherColumns | None,
    *,
    begun: bool = False,
) -> Iterator[MaybeRow]:
    """Yield some keys of each object; a key that the first object has and a later one lacks counts as null.

    `begun`: the first object of the file is not among them.
    """
    known: set[str] | None = set() if begun else None
    wanted = list(columns.values())
    broken: list[MaybeRow] = []  # before the first object, where that has to be seen first
    for where, row in items:
        if not isinstance(row, dict | DataError):
            keys = " and ".join(map(repr, columns.values()))
            row = DataError(f"{where} must be a JSON object with the key {keys}, not {_kind(row)}")
        if isinstance(row, DataError) and known is None and others is not None:
            broken.append((where, row))
            continue
        if isinstance(row, DataError):
            yield where, row
            continue
        if known is None:
            known = set(row)
            _check_columns(path, columns, list(row))
            if others is not None:
                wanted += others.of(path, list(row), columns)
            yield from broken
        if others is not None and not known.issuperset(row):
            others.late |= set(row) - known
        yield where, [row.get(key) for key in wanted]
    if known is None:
        yield from broken


def _lines_of_json(stream: io.TextIOBase, path: Path, start: int = 0) -> Iterator[tuple[str, Any]]:
    """Yield what stands in each line that is not empty; `start` is the byte at which the stream begins in its file."""
    behind = f" from byte {start:,} on" if start else ""
    for number, line in enumerate(stream, 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}{behind}"
        try:
            yield where, json.loads(_text(line), object_pairs_hook=keys_once)
        except (ValueError, RecursionError) as error:
            yield where, DataError(f"{where} is not valid JSON: {error}")


class _Twice(dict[str, Any]):
    """An object of JSON in which a key stands twice."""


def _array_of_json(stream: io.TextIOBase, path: Path) -> Iterator[tuple[str, Any]]:
    """Yield the items of an array, which may be the only value of an object. Raises `DataError` where it is none."""
    text = stream.read(LARGEST_ARRAY + 1).removeprefix("\ufeff")
    lines = f"{path.name.split('.json')[0]}.jsonl"
    if len(text) > LARGEST_ARRAY:
        raise DataError(
            f"{path} has more than {LARGEST_ARRAY:,} characters, and an array is read whole: make a file of lines of "
            f"it, with jq -c '.[]' {path.name} > {lines}"
        )
    torn = not text.isascii() and ESCAPED.search(text) is not None
    make = lambda pairs: found if len(found := dict(pairs)) == len(pairs) else _Twice(found)
    try:
        whole = json.loads(text, object_pairs_hook=make)
    except (ValueError, RecursionError) as error:
        if str(error).startswith("Extra data") and text.lstrip().startswith("{"):
            raise DataError(
                f"{path} is no JSON array but has several values, as JSON lines have: call it {lines}"
            ) from None
        raise DataError(f"{path} is not valid JSON: {error}") from None
    del text
    if isinstance(whole, dict) and len(whole) == 1:
        [whole] = whole.values()
    if not isinstance(whole, list):
        raise DataError(
            f"{path} is no array of objects, but {_kind(whole)}: write [{{...}}, {{...}}], or an object with such an "
            "array alone in it"
        )
    for number, item in enumerate(whole, 1):
        where = f"{path}, item {number}"
        if isinstance(item, _Twice):
            item = DataError(f"{where} is not valid JSON: a key stands in it twice")
        elif torn and ESCAPED.search(json.dumps(item, ensure_ascii=False)):
            item = DataError(f"{where} holds bytes that are no text in this encoding")
        yield where, item


def keys_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of JSON. Raises `ValueError` for a key that stands in it twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        name = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise ValueError(f"the key {name!r} stands in it twice")
    return found


def _text(line: str) -> str:
    """Return a line as it is. Raises `ValueError` where it holds bytes that are no text."""
    if not line.isascii() and (found := ESCAPED.search(line)):
        raise ValueError(f"the byte {ord(found[0]) - 0xDC00:#x} is no text in this encoding")
    return line


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


def whole_value(value: Any, skipped: Counter[str]) -> Any:
    """Return any value of JSON with `whole_characters` in all its texts and keys."""
    if isinstance(value, str):
        return whole_characters(value, skipped)
    if isinstance(value, list):
        return [whole_value(one, skipped) for one in value]
    if isinstance(value, dict):
        return {whole_characters(key, skipped): whole_value(one, skipped) for key, one in value.items()}
    return value


def _read_table(
    stream: io.TextIOBase,
    path: Path,
    columns: Mapping[str, str],
    header: Sequence[str] | None,
    others: OtherColumns | None,
    *,
    tabs: bool,
) -> Iterator[MaybeRow]:
    """Yield some columns of a CSV or TSV file; columns that are numbers, from 1, mean that no line names them."""
    rows = read_table(stream, tabs=tabs, named=header is None)
    first = next(rows, None) if header is None else None
    if header is None and first is None:
        return
    if first and isinstance(first[1], str):
        raise DataError(f"{path}, line {first[0]} {first[1]}")
    names = [name.strip("\ufeff \t") for name in header or (first or ((), ()))[1]]
    numbered = all(map(str.isdecimal, columns.values()))
    if first and numbered and not all(map(str.isdecimal, names)):  # pandas may name columns 0, 1, 2
        names, rows = [str(place + 1) for place in range(len(names))], itertools.chain([first], rows)
    wanted = [column.strip() for column in columns.values()]
    marks = [mark for mark in ";|,\t" if len(names) == 1 and mark in names[0]]
    if marks and not set(wanted) <= set(names):
        mark = "tabs" if tabs else "commas"
        raise DataError(f"{path} has {marks[0]!r} between its columns, not {mark}: save it with {mark}")
    hint = "" if header else ", or give the file a first line that names its columns"
    _check_columns(path, dict(zip(columns, wanted, strict=True)), names, hint)
    wanted += [] if others is None else others.of(path, names, columns)
    places = [names.index(column) for column in wanted]
    for number, row in rows:
        where = f"{path}, line {number}"
        if isinstance(row, str):
            yield where, DataError(f"{where} {row}")
        elif len(row) > len(names):
            more = f"{where} has {len(row)} fields, the first line {len(names)}"
            yield where, DataError(f"{more}: {'take the tabs out of the text' if tabs else 'quote the text'}")
        elif row:
            yield where, [row[place] if place < len(row) else None for place in places]


def _read_parquet(path: Path, columns: Mapping[str, str], others: OtherColumns | None) -> Iterator[MaybeRow]:
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
                wanted = [*columns.values()]
                wanted += [] if others is None else others.of(path, table.schema_arrow.names, columns)
                number = 0
                for batch in table.iter_batches(batch_size=1000, columns=list(dict.fromkeys(wanted))):
                    for values in zip(*(batch.column(name) for name in wanted), strict=True):
                        number += 1
                        where = f"{path}, row {number}"
                        try:
                            row = [value.as_py() for value in values]
                        except UnicodeDecodeError:
                            row = DataError(f"{where} holds bytes that are no text")
                        yield where, row
        except (failure, OSError) as error:
            if getattr(error, "strerror", None):  # of the disk, not of what stands there
                raise
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
        if present.count(column) > 1:
            raise DataError(f"{path} has {present.count(column)} columns {column!r} ({setting}): give them other names")
        if column not in present:
            names = [name if len(name) <= 30 else name[:27] + "..." for name in present[:20]]
            choice = f"choose one of {', '.join(map(repr, names))} with {setting}{else_}"
            raise DataError(f"{path} has no column {column!r}: {choice}")
