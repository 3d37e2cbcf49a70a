"""Rows of labelled texts, wherever they lie: the splits behind a name, and what stands in their columns.

    a file, a glob            one split
    a folder                  one split, or several: train.*, dev.* (valid.*, validation.*, val.*), test.*
    sst2, boolq               the splits of `named.NAMED`, with columns of their own
    hf:OWNER/NAME/CONFIG      the splits of a data set of the Hugging Face hub

Texts are read exactly as they stand. A row without text or label is an error that names its file and line.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from heed.errors import DataError
from heed.files import expanded, what_is
from heed.text.corpus import name_of
from heed.text.formats import kind_of, read_rows, whole_characters
from heed.text.labelled import filled_text, label_name, labelled_files, without_held_out
from heed.text.named import NAMED, files_or_hub
from heed.text.sources import Found, find_files, find_tables

NONE = "none"
"""In the place of a column: no pair or group, where a named corpus has one."""
FILES = re.compile(r"(train|dev|valid|validation|val|test)(-\d+-of-\d+)?\.", re.IGNORECASE)
"""Names of the files of a folder that are splits; a large one may be numbered in parts, as the hub does."""
OTHER_NAMES = {"dev": "validation", "valid": "validation", "val": "validation"}


@dataclass(frozen=True)
class Wanted:
    """Columns by what they are for, and the encoding of files."""

    text: str = "text"
    pair: str | None = None
    label: str = "label"
    group: str | None = None
    encoding: str = "utf-8"

    def of(self, source: str, group: bool) -> dict[str, str]:
        """Return the columns by setting; those of a named corpus are its own where nothing else is asked for.

        Raises `DataError` when text, pair and label are not three columns.
        """
        columns: dict[str, str] = {}
        usual = Wanted()
        for role in ("text", "pair", "label", *(["group"] if group else [])):
            column = getattr(self, role)
            if column == getattr(usual, role) and source in NAMED:
                column = NAMED[source].roles.get(role)
            if column is not None and column != NONE:
                columns[f"--{role}"] = column
        roles = [setting for setting in columns if setting != "--group"]
        for place, setting in enumerate(roles):
            for other in roles[:place]:
                if columns[setting] == columns[other]:
                    raise DataError(f"{other} and {setting} are both {columns[setting]!r}: give two columns")
        return columns


@dataclass(frozen=True)
class Part:
    """Where the rows of a split are read: from files, or from a table of the hub."""

    source: str
    found: Found | None = None
    table: Any = None
    notes: tuple[str, ...] = ()


@dataclass
class Table:
    """Rows as they are read: labels and groups by name, and where each row stands."""

    texts: list[str] = field(default_factory=list)
    pairs: list[str] | None = None
    labels: list[str] = field(default_factory=list)
    groups: list[str] | None = None
    places: list[str] = field(default_factory=list)

    def keys(self) -> list[str]:
        """Return what makes two rows equal: the text, and the pair with it."""
        if self.pairs is None:
            return self.texts
        return [f"{text}\x1f{pair}" for text, pair in zip(self.texts, self.pairs, strict=True)]


def find_parts(source: str) -> dict[str, Part]:
    """Return the splits behind a name, an address or a path; "train" is always there. Raises `DataError`."""
    if source.startswith("hf:"):
        return _tables(source, source)
    if source in NAMED and NAMED[source].hub and NAMED[source].columns:
        return files_or_hub(source, lambda files: _named(source), lambda: _tables(source, f"hf:{NAMED[source].hub}"))
    if source in NAMED:
        return _named(source)
    if what_is(expanded(source)) == "folder":
        return _folder(source)
    return {split: Part(source, found) for split, found in labelled_files(source).items()}


def without_shared(parts: Mapping[str, Part]) -> Part:
    """Return the training split without the files that are also held out. Raises `DataError` when none is left."""
    files = {split: part.found for split, part in parts.items() if part.found is not None}
    train = parts["train"]
    if train.found is None:
        return train
    kept = without_held_out(files, train.source)
    left_out = len(train.found.files) - len(kept.files)
    note = f"left out of training: {left_out} files of {train.source} that are held out for validation or test"
    return replace(train, found=kept, notes=(*train.notes, *([note] if left_out else [])))


def read_part(part: Part, split: str, wanted: Wanted, mended: Counter[str]) -> Table:
    """Read the rows of a split; groups are read of training texts alone. What is mended is counted in `mended`.

    Raises `DataError`: a missing column (with those there are), no text, pair, label or group, no row at all.
    """
    columns = wanted.of(part.source, group=split == "train")
    table = Table(pairs=[] if "--pair" in columns else None, groups=[] if "--group" in columns else None)
    rows = _file_rows(part, columns, wanted.encoding) if part.found else _hub_rows(part, split, columns)
    for place, short, values in rows:
        value = dict(zip(columns, values, strict=True))
        table.texts.append(filled_text(value["--text"], columns["--text"], place, mended))
        if table.pairs is not None:
            table.pairs.append(filled_text(value["--pair"], columns["--pair"], place, mended))
        table.labels.append(label_name(value["--label"], columns["--label"], place, "--label"))
        if table.groups is not None:
            table.groups.append(_group(value["--group"], columns["--group"], place))
        table.places.append(short)
    if not table.texts:
        raise DataError(f"the {split} source {part.source} holds no rows: give another file or folder")
    return table


def _named(name: str) -> dict[str, Part]:
    """Return the files of a named corpus."""
    spec = NAMED[name]
    parts = {split: Part(name, found) for split, found in labelled_files(name).items()}
    notes = [f"{name}: {spec.note}"] if spec.note else []
    if Path(name).exists():
        notes.append(f"{name} is heed's own corpus of that name; write ./{name} for the one in this folder")
    return parts | {"train": replace(parts["train"], notes=tuple(notes))}


def _folder(source: str) -> dict[str, Part]:
    """Return the splits of a folder by the names of its files, or all its tables as one split."""
    found = find_files(source)
    tables = [path for path in found.files if kind_of(path) not in (".txt", ".md")]
    if not tables:
        raise DataError(f"{source} holds plain text alone, without labels: give .tsv, .csv, .jsonl or .parquet")
    named: dict[str, list[Path]] = {}
    for path in tables:
        if path.parent == found.root and (match := FILES.match(path.name)):
            split = match[1].lower()
            named.setdefault(OTHER_NAMES.get(split, split), []).append(path)
    used = {path for paths in named.values() for path in paths} or set(tables)
    if named and "train" not in named:
        first = next(iter(named.values()))[0].name
        raise DataError(f"{source} has {first} but no train.*: name the file to train on train.*, or give it by itself")
    for paths in named.values():
        if len(paths) > 1 and any(not (match := FILES.match(path.name)) or not match[2] for path in paths):
            names = " and ".join(path.name for path in paths)
            raise DataError(f"{source} has {names}, which are the same split: leave one there")
    notes = list(found.notes)
    if left := [path for path in found.files if path not in used]:
        shown = ", ".join(os.path.relpath(path, found.root) for path in left[:3]) + (", ..." if len(left) > 3 else "")
        notes.append(f"left out of {source}: {len(left)} files that are no split of labelled texts ({shown})")
    parts = {split: Part(source, Found(found.root, paths)) for split, paths in (named or {"train": tables}).items()}
    return parts | {"train": replace(parts["train"], notes=tuple(notes))}


def _tables(source: str, address: str) -> dict[str, Part]:
    """Return the splits of a data set of the hub."""
    return {split: Part(source, table=table) for split, table in find_tables(address).items()}


def unlabelled(part: Part, wanted: Wanted) -> bool:
    """Return whether a split of the hub comes without labels, as the tests of GLUE do: all of them are -1 or null."""
    column = wanted.of(part.source, group=False)["--label"]
    if part.table is None or column not in part.table.column_names:
        return False
    return set(part.table.unique(column)) <= {-1, None}


def _file_rows(part: Part, columns: dict[str, str], encoding: str) -> Iterator[tuple[str, str, list[Any]]]:
    """Yield each row of some files: where it stands, the same in short, and the values."""
    assert part.found is not None
    header = NAMED[part.source].columns if part.source in NAMED else None
    for path in part.found.files:
        short = os.path.relpath(path, part.found.root)
        for place, values in read_rows(path, columns, encoding, header):
            yield place, short + place.removeprefix(str(path)), values


def _hub_rows(part: Part, split: str, columns: dict[str, str]) -> Iterator[tuple[str, str, list[Any]]]:
    """Yield each row of a table of the hub; labels that have names there are given by name."""
    table, where = part.table, f"{part.source} ({split})"
    for setting, column in columns.items():
        if column not in table.column_names:
            names = ", ".join(map(repr, table.column_names))
            raise DataError(f"{where} has no column {column!r}: choose one of {names} with {setting}")
    names = getattr(table.features[columns["--label"]], "names", None)
    for number, row in enumerate(table.select_columns(sorted(set(columns.values()))), 1):
        values = {setting: row[column] for setting, column in columns.items()}
        label = values["--label"]
        if names and isinstance(label, int) and 0 <= label < len(names):
            values["--label"] = names[label]
        yield f"{where}, row {number}", f"{where}, row {number}", list(values.values())


def _group(value: object, column: str, place: str) -> str:
    """Return the name of a group; raise `DataError` where there is none."""
    if value is None or value != value or not str(value).strip():
        raise DataError(f"{place} has no group in {column!r}: fill it in or leave out --group")
    return whole_characters(str(value), Counter()) or ""


def short_name(source: str) -> str:
    """Return what a source is called in reports."""
    return source.removeprefix("hf:") if source in NAMED or source.startswith("hf:") else name_of(source)
