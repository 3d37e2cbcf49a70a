"""Sources of documents: files, folders and globs on this machine, and data sets of the Hugging Face hub.

A source can be read any number of times and always gives the same documents in the same order, one at a time.
Each document comes with its `draw`, a number in [0, 1) made from its text alone, which decides its split.
"""

from __future__ import annotations

import codecs
import difflib
import glob
import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from heed.errors import DataError, require
from heed.files import expanded, shortened, what_is
from heed.records.shards import shards_in
from heed.text.charsets import Look, look_at_all
from heed.text.cuts import Cuts
from heed.text.formats import KINDS, PIECE, Reading, checked_text, kind_of, read_file
from heed.text.packing import COMPRESSED, WHOLE_FILE, explained

SALT = b"heed split 35"
"""Fixed for ever: another salt would move documents between training and validation.

The number was chosen so that a tenth of the topics of `python-reference` is also a tenth (10.4 %) of its text.
"""

WHOLE = 1 << 30
"""Bytes of text up to which every file is read whole before it is used; of more, their beginnings and ends."""

STREAM = "hf:stream:"
"""How a data set of the hub begins that is read as it comes (`hub_streams.py`)."""

Split = TypeVar("Split")
Documents = Iterator[tuple[float, str]]
"""Draws and texts. The pieces of one long document follow each other and share its draw."""


@dataclass(frozen=True)
class Source:
    """Documents that can be read again and again. `read` counts what it leaves out in the counter it is given."""

    name: str
    fingerprint: str
    read: Callable[[Counter[str]], Documents]
    size: int | None = None
    """Bytes of text, where they are known without reading."""
    files: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()
    part: Callable[[Counter[str], int, int], Documents] | None = None
    """Reads part `number` of `of` parts that follow each other and together are the whole (see `cuts.py`); None: it has
    no parts."""


def draw(text: str) -> float:
    """Return a number in [0, 1) that depends on the text alone, so equal documents share a split.

    >>> draw("to be") == draw("to be") != draw("or not")
    True
    """
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=6, key=SALT).digest(), "big") / 2**48


def digest(*parts: object) -> str:
    """Return the SHA-256 of some values, as they print."""
    return hashlib.sha256(repr(parts).encode("utf-8", "surrogateescape")).hexdigest()


@dataclass
class Found:
    """The files behind one name, and what was passed over on the way."""

    root: Path
    files: list[Path]
    notes: list[str] = field(default_factory=list)


def find_files(source: str, known: Iterable[str] = (), *, arrays: bool = False) -> Found:
    """Return the files of a path or glob, sorted by name; `known` are other names that a slip of the pen could mean.

    Hidden files are passed over, and so are heed's own run folders below a folder. What ends in .json is mostly no
    text: it is taken where its name or a glob says so, or with `arrays`. Raises `DataError` when there is
    nothing, or nothing of a known type.
    """
    path = expanded(source)
    what = "missing" if glob.has_magic(source) and not os.path.exists(path) else what_is(path)
    if what == "file":
        if kind_of(path) is None:
            raise DataError(f"{path} is of no known type ({_types()}): add .txt to its name if it is plain text")
        return Found(path.parent, [path])
    if what == "other":
        raise DataError(f"{path} is a pipe, a socket or a device: write what comes out of it to a file, and give that")
    if what == "folder":
        found = _known_files(Found(path, []), _walk(path), source, arrays)
    elif glob.has_magic(source):
        matches = (Path(match) for match in sorted(glob.glob(str(path), recursive=True)))
        root = Path(str(path)[: str(path).index(next(c for c in str(path) if c in "*?["))]).parent
        found = _known_files(
            Found(root, []), (match for match in matches if not match.is_dir()), source, _is_array(path)
        )
    else:
        raise DataError(_missing(path, source, known))
    if not found.files and what == "folder" and shards_in(path):
        raise DataError(f"{source} holds shards, which are token ids: what is asked for here needs their text")
    if not found.files:
        passed = f" ({found.notes[0]})" if found.notes else ""
        raise DataError(f"{source} holds no text files{passed}: heed reads {_types()}")
    return found


def _walk(folder: Path) -> Iterator[Path]:
    """Yield the files below `folder` in a fixed order, hidden ones left out; linked and run folders as themselves.

    Raises `DataError` for a folder that cannot be read.
    """
    waiting = [folder]
    while waiting:
        entry = waiting.pop()
        # a linked folder could lead round in a circle, and what a model wrote is no text of the user's
        with explained(entry):
            inner = entry.is_dir() and not entry.is_symlink() and not _is_run(entry)
        if entry is not folder and not inner:
            yield entry
            continue
        with explained(entry):
            waiting += sorted((below for below in entry.iterdir() if not below.name.startswith(".")), reverse=True)


def _is_run(folder: Path) -> bool:
    return (folder / "config.yaml").is_file() and (folder / "environment.json").is_file()


def _is_array(path: Path) -> bool:
    return kind_of(path) == ".json"


def _known_files(found: Found, paths: Iterable[Path], source: str, arrays: bool) -> Found:
    """Keep the files of a known type, `arrays` of JSON on demand, and note how many others there were."""
    unknown: Counter[str] = Counter()
    runs = 0
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            runs += 1
        elif path.is_dir():
            unknown["linked folder"] += 1
        elif what_is(path) != "file":  # a link that leads nowhere is to a file that is missing
            unknown["no file" if kind_of(path) is None or what_is(path) == "other" else "link to nothing"] += 1
        elif kind_of(path) is None or (_is_array(path) and not arrays):
            unknown[path.suffix or "no suffix"] += 1
        else:
            found.files.append(path)
    if runs:
        found.notes.append(f"left out of {source}: {runs} run folder{'s' if runs > 1 else ''} of heed's own")
    if unknown:
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in sorted(unknown.items()))
        found.notes.append(f"left out of {source}: {unknown.total()} files that are not {_types()} ({kinds})")
    return found


def _types() -> str:
    return f"{' '.join(KINDS)} (or these with {' '.join(COMPRESSED)})"


def _missing(path: Path, source: str, known: Iterable[str]) -> str:
    """Say that there is no such source, and what may be meant."""
    names = list(known)
    try:
        beside = {str(path.parent / entry.name): entry.name for entry in path.parent.iterdir()}
    except (OSError, ValueError):
        beside = {}
    near = difflib.get_close_matches(source, names, 1) or [
        full for full, name in beside.items() if name in difflib.get_close_matches(path.name, beside.values(), 1)
    ]
    if near:
        return f"no such file or folder: {shortened(source)}, did you mean {near[0]!r}?"
    choice = f"give a path, a glob, hf:NAME, or one of {', '.join(sorted(names))}"
    return f"no such file or folder: {shortened(source)}; {choice}"


def file_source(found: Found, reading: Reading, name: str) -> Source:
    """Return the documents of these files, file by file in order of their names.

    Raises `DataError` that names every file which cannot be read as `reading` says.
    """
    files = tuple(found.files)
    size = sum(path.stat().st_size for path in files)
    coded = [path for path in files if kind_of(path) != ".parquet"]
    seen, notes = look_at_all(coded, reading.encoding, None if size <= WHOLE else 1 << 20)
    looks = dict(zip(coded, seen, strict=True))

    def part(skipped: Counter[str], number: int = 0, of: int = 1) -> Documents:
        for path, span in Cuts(files, reading, {path: seen.codec for path, seen in looks.items()}).part(number, of):
            value: float | None = None
            codec = looks[path].codec if path in looks else None
            for first, text in read_file(path, reading, skipped, codec, span):
                if first or value is None:
                    value = draw(text)
                else:
                    skipped[f"cuts in documents of more than {PIECE:,} characters, each piece counts as one"] += 1
                yield value, text
            if value is None and span == WHOLE_FILE:
                skipped["files without any text left out"] += 1

    plain = all(path.suffix.lower() in (".txt", ".md") for path in files)
    mended = [path for path in coded if _mended(path, looks[path], reading)]
    if mended:
        notes.append(f"line ends of two characters made one (data.line_ends keeps them): {_files(len(mended))}")
    how = {path: _how(path, looks[path], reading) for path in coded}
    print_ = _fingerprint(found, reading, size, how)
    return Source(name, print_, part, size if plain else None, files, (*found.notes, *notes), part)


def _files(count: int) -> str:
    return f"{count:,} file{'s' * (count != 1)}"


def _mended(path: Path, look: Look, reading: Reading) -> bool:
    """Whether line ends of a file are changed while it is read: only those of text files are heed's to choose."""
    return look.windows and reading.line_ends == "unix" and kind_of(path) in (".txt", ".md")


def _how(path: Path, look: Look, reading: Reading) -> tuple[str, ...]:
    """Return what the text of a file depends on besides its bytes and `reading`, if anything."""
    named = codecs.lookup(reading.encoding).name
    found = codecs.lookup(look.codec.removesuffix("-sig")).name
    other = () if look.ascii or found == named else (found,)
    return (*other, "unix") if _mended(path, look, reading) else other


def _fingerprint(found: Found, reading: Reading, size: int, how: Mapping[Path, tuple[str, ...]]) -> str:
    """Return a hash of names, contents and the way of reading.

    Contents are read whole up to 1 GiB in all (about a second); beyond that, each file's size, time of last change,
    first and last MiB stand for it.
    """
    mebibyte = 1 << 20
    entries: list[tuple[str | int, ...]] = []
    for path in found.files:
        state = path.stat()
        content = hashlib.blake2b(digest_size=16)
        with explained(path), path.open("rb") as stream:
            if size <= WHOLE:
                while chunk := stream.read(mebibyte):
                    content.update(chunk)
            else:
                content.update(str(state.st_mtime_ns).encode() + stream.read(mebibyte))
                stream.seek(max(0, state.st_size - mebibyte))
                content.update(stream.read(mebibyte))
        entries.append((os.path.relpath(path, found.root), state.st_size, content.hexdigest(), *how.get(path, ())))
    return digest("files", entries, reading)


def hub_tables(name: str, config: str | None = None, revision: str | None = None) -> dict[str, Any]:
    """Return the splits of a data set of the hub by heed's names for them ("train", "validation", "test").

    The data set is fetched once and kept by the `datasets` package. Raises `DataError` when it cannot be had.
    """
    datasets: Any = require("datasets", "hf")
    options = {"revision": revision} if revision else {}
    try:
        loaded: dict[str, Any] = dict(datasets.load_dataset(name, config, **options))
    except Exception as error:  # the package and what it stands on raise many types
        raise not_loaded(name, config, error) from None
    return hub_splits(name, loaded)


def not_loaded(name: str, config: str | None, error: Exception) -> DataError:
    """Return what is said of a data set that cannot be had."""
    reason = f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
    return DataError(
        f"hf:{name}{'/' + config if config else ''} could not be loaded ({reason}): check the name "
        "(hf:OWNER/NAME/CONFIG), go online once so that it is kept, or give a file or folder of text"
    )


def hub_splits(name: str, loaded: Mapping[str, Split]) -> dict[str, Split]:
    """Return splits by heed's names for them. Raises `DataError` where none is to be trained on."""
    other = {"valid": "validation", "val": "validation", "dev": "validation"}
    tables = {other.get(split, split): table for split, table in loaded.items()}
    if "train" not in tables:
        raise DataError(
            f"hf:{name} has no split 'train', only {', '.join(sorted(loaded))}: give a file or folder of text"
        )
    return {split: tables[split] for split in ("train", "validation", "test") if split in tables}


def hub_rows(table: Any, column: str, where: str) -> Iterator[str | None]:
    """Yield one column of a split, row by row from the memory-mapped table."""
    if column not in table.column_names:
        names = ", ".join(map(repr, table.column_names))
        raise DataError(f"{where} has no column {column!r}: choose one of {names} with --data.column")
    for row in table.select_columns([column]):
        yield checked_text(row[column], column, where)


def hub_sources(address: str, reading: Reading) -> dict[str, Source]:
    """Return the splits of a data set of the hub (see `find_tables`), each row a document."""
    return _row_sources(address, find_tables(address), reading.column)


def find_tables(address: str) -> dict[str, Any]:
    """Return the splits of a data set of the hub as tables. Raises `DataError` as `hub_tables` does."""
    if address.startswith(STREAM):
        raise DataError(f"{address}: what has labels is read as a whole: write hf:{address.removeprefix(STREAM)}")
    return on_hub(address, hub_tables)


def on_hub(address: str, load: Callable[[str, str | None], dict[str, Split]]) -> dict[str, Split]:
    """Return what `load` makes of `hf:OWNER/NAME/CONFIG`, `hf:OWNER/NAME`, `hf:NAME/CONFIG` or `hf:NAME`.

    A folder that `datasets` can load may stand in place of the name. Raises `DataError` as `load` does.
    """
    path = address.removeprefix("hf:")
    parts = path.split("/")
    if not all(parts) and not os.path.isdir(path):
        raise DataError(f"{address!r} names no data set: write hf:OWNER/NAME or hf:OWNER/NAME/CONFIG")
    if os.path.isdir(path) or len(parts) == 1:
        meanings: list[tuple[str, str | None]] = [(path, None)]
    elif len(parts) == 2:  # OWNER/NAME is the rule; NAME/CONFIG is how the oldest data sets are known
        meanings = [(path, None), (parts[0], parts[1])]
    else:
        meanings = [("/".join(parts[:2]), "/".join(parts[2:]))]
    problems: list[DataError] = []
    for name, config in meanings:
        try:
            return load(name, config)
        except DataError as problem:
            problems.append(problem)
    raise problems[0]


def _row_sources(address: str, tables: dict[str, Any], column: str) -> dict[str, Source]:
    def source(split: str, table: Any) -> Source:
        def part(skipped: Counter[str], number: int = 0, of: int = 1) -> Documents:
            some = table
            if of > 1:
                some = table.select(range(len(table) * number // of, len(table) * (number + 1) // of))
            for text in hub_rows(some, column, f"{address} ({split})"):
                if text is None:
                    skipped["rows without a text (null) left out"] += 1
                elif not text.strip():
                    skipped["empty documents left out"] += 1
                else:
                    yield draw(text), text

        fingerprint = digest("hub", address, table._fingerprint, column)
        return Source(address.removeprefix("hf:"), fingerprint, part, part=part)

    return {split: source(split, table) for split, table in tables.items()}
