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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from heed.errors import DataError
from heed.files import expanded, what_is
from heed.targets import Label, Target
from heed.text.corpus import name_of
from heed.text.formats import kind_of, read_rows, whole_characters
from heed.text.named import NAMED, files_or_hub, named_files
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
    section: str = ""
    """Where the settings stand: "data." for those of `heed train`."""

    def flag(self, role: str) -> str:
        """Return the setting that names the column of a role, for messages."""
        return f"--{self.section}{'column' if self.section and role == 'text' else role}"

    def of(self, source: str, group: bool) -> dict[str, str]:
        """Return the columns by role; those of a named corpus are its own where nothing else is asked for.

        Raises `DataError` when text, pair and label are not three columns.
        """
        columns: dict[str, str] = {}
        usual = Wanted()
        for role in ("text", "pair", "label", *(["group"] if group else [])):
            column = getattr(self, role)
            if column == getattr(usual, role) and source in NAMED:
                column = NAMED[source].roles.get(role)
            if column is not None and column != NONE:
                columns[role] = column
        roles = [role for role in columns if role != "group"]
        for place, role in enumerate(roles):
            for other in roles[:place]:
                if columns[role] == columns[other]:
                    both = f"{self.flag(other)} and {self.flag(role)}"
                    raise DataError(f"{both} are both {columns[role]!r}: give two columns")
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
    """Rows as they are read: labels as `Target.read` gives them, groups by name, and where each row stands."""

    texts: list[str] = field(default_factory=list)
    pairs: list[str] | None = None
    labels: list[Label] = field(default_factory=list)
    groups: list[str] | None = None
    places: list[str] = field(default_factory=list)

    def keys(self) -> list[str]:
        """Return what makes two rows equal: the text, and the pair with it."""
        if self.pairs is None:
            return self.texts
        return [f"{text}\x1f{pair}" for text, pair in zip(self.texts, self.pairs, strict=True)]

    def take(self, rows: Sequence[int]) -> Table:
        """Return some of the rows, in this order."""
        texts, pairs, labels, groups, places = (
            None if column is None else [column[row] for row in rows]
            for column in (self.texts, self.pairs, self.labels, self.groups, self.places)
        )
        return Table(texts or [], pairs, labels or [], groups, places or [])


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


def labelled_files(source: str) -> dict[str, Found]:
    """Return the files of each split behind a name or path. Raises `DataError` where they hold no labels."""
    if source in NAMED:
        if not NAMED[source].columns:
            known = ", ".join(name for name in NAMED if NAMED[name].columns)
            raise DataError(f"{source} has no labels (data.label): leave it out, or take {known}")
        return {split: Found(path.parent, [path]) for split, path in named_files(source).items()}
    found = find_files(source, NAMED)
    for path in found.files:
        if kind_of(path) in (".txt", ".md"):
            raise DataError(
                f"{path} is plain text and has no column of labels: give .tsv, .csv, .jsonl, .json or .parquet"
            )
    return {"train": found}


def without_held_out(found: Mapping[str, Found], name: str) -> Found:
    """Return the files of the training split that are not also held out."""
    held_out = {path.resolve() for split, some in found.items() if split != "train" for path in some.files}
    kept = [path for path in found["train"].files if path.resolve() not in held_out]
    if not kept:
        raise DataError(f"every file of {name} is also held out for validation or test: nothing is left to train on")
    return Found(found["train"].root, kept, found["train"].notes)


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


def read_part(part: Part, split: str, wanted: Wanted, mended: Counter[str], target: type[Target]) -> Table:
    """Read the rows of a split, labels as `target` reads them. What is mended is counted in `mended`.

    Groups keep rows together where splits are cut out of the training texts: there each row needs one. A split that is
    given has them where it has such a column and each of its rows has one.

    Raises `DataError`: a missing column (with those there are), no text, pair, label or group, no row at all.
    """
    columns = wanted.of(part.source, group=split == "train" or _has_groups(part, wanted))
    table = Table(pairs=[] if "pair" in columns else None, groups=[] if "group" in columns else None)
    rows = _file_rows(part, columns, wanted) if part.found else _hub_rows(part, split, columns, wanted)
    bad = BadRows()
    for place, short, values in rows:
        with bad.kept():
            _add(table, columns, dict(zip(columns, values, strict=True)), place, wanted, mended, target)
            table.places.append(short)
    bad.refuse()
    if not table.texts:
        raise DataError(f"the {split} source {part.source} holds no rows: give another file or folder")
    return table


def label_cells(part: Part, wanted: Wanted) -> list[object]:
    """Return what stands in the column of labels of a split, where something does; nothing where it cannot be read.

    What is wrong is said where the rows are read.
    """
    columns = {"label": wanted.of(part.source, group=False)["label"]}
    try:
        rows = _file_rows(part, columns, wanted) if part.found else _hub_rows(part, "train", columns, wanted)
        cells = [values[0] for _, _, values in rows]
    except DataError:
        return []
    return [cell for cell in cells if cell is not None and cell == cell and str(cell).strip()]


def _add(
    table: Table, columns: dict[str, str], value: dict[str, Any], place: str, wanted: Wanted, mended: Counter[str],
    target: type[Target],
) -> None:  # fmt: skip
    """Add a row to a table; `value` is what stands in its columns. Raises `DataError` where a part is missing."""
    text = filled_text(value["text"], columns["text"], place, mended)
    pair = None if table.pairs is None else filled_text(value["pair"], columns["pair"], place, mended)
    label = target.read(value["label"], columns["label"], place, wanted.flag("label"))
    group = None if table.groups is None else _group(value["group"], columns["group"], place)
    table.texts.append(text)
    table.labels.append(label)
    if table.pairs is not None and pair is not None:
        table.pairs.append(pair)
    if table.groups is not None and group is not None:
        table.groups.append(group)


class BadRows:
    """Rows without a text or label: the first one and how many there are, to be told together."""

    def __init__(self) -> None:
        self._first: DataError | None = None
        self._bad = self._rows = 0

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Read a row in this block; what is wrong with it is kept."""
        self._rows += 1
        try:
            yield
        except DataError as error:
            self._bad += 1
            self._first = self._first or error

    def refuse(self) -> None:
        """Raise `DataError` where a row was bad."""
        if self._first is None:
            return
        more = ""
        if self._bad == self._rows > 1:
            more = f"; none of the {self._rows:,} rows is whole: is it another column?"
        elif self._bad > 1:
            more = f"; {self._bad:,} of {self._rows:,} rows are not whole"
        raise DataError(f"{self._first}{more}")


def filled_text(value: object, column: str, place: str, mended: Counter[str]) -> str:
    """Return a text; raise `DataError` where there is none. What is mended in it is counted in `mended`."""
    text = whole_characters(value, mended) if isinstance(value, str) else None
    if text is None or not text.strip():
        what = "an empty text" if value is None or isinstance(value, str) else "no text but a value"
        raise DataError(f"{place} has {what} in {column!r}: fill it in or leave the row out")
    return text


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
    found = find_files(source, arrays=True)
    tables = [path for path in found.files if _is_table(path, found.root)]
    if not tables:
        raise DataError(f"{source} holds plain text alone, without labels: give .tsv, .csv, .jsonl, .json or .parquet")
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


def _is_table(path: Path, root: Path) -> bool:
    """Whether a file of a folder holds labelled texts; what ends in .json does where it is called as a split is."""
    kind = kind_of(path)
    if kind == ".json":
        return path.parent == root and FILES.match(path.name) is not None
    return kind not in (".txt", ".md")


def _tables(source: str, address: str) -> dict[str, Part]:
    """Return the splits of a data set of the hub."""
    return {split: Part(source, table=table) for split, table in find_tables(address).items()}


def unlabelled(part: Part, wanted: Wanted) -> bool:
    """Return whether a split of the hub comes without labels, as the tests of GLUE do: all of them are -1 or null."""
    column = wanted.of(part.source, group=False)["label"]
    if part.table is None or column not in part.table.column_names:
        return False
    return set(part.table.unique(column)) <= {-1, None}


def _file_rows(part: Part, columns: dict[str, str], wanted: Wanted) -> Iterator[tuple[str, str, list[Any]]]:
    """Yield each row of some files: where it stands, the same in short, and the values."""
    assert part.found is not None
    header = NAMED[part.source].columns if part.source in NAMED else None
    flags = {wanted.flag(role): column for role, column in columns.items()}
    for path in part.found.files:
        short = os.path.relpath(path, part.found.root)
        for place, values in read_rows(path, flags, wanted.encoding, header):
            yield place, short + place.removeprefix(str(path)), values


def _hub_rows(part: Part, split: str, columns: dict[str, str], wanted: Wanted) -> Iterator[tuple[str, str, list[Any]]]:
    """Yield each row of a table of the hub; labels that have names there are given by name."""
    table, where = part.table, f"{part.source} ({split})"
    for role, column in columns.items():
        if column not in table.column_names:
            names = ", ".join(map(repr, table.column_names))
            raise DataError(f"{where} has no column {column!r}: choose one of {names} with {wanted.flag(role)}")
    names = getattr(table.features[columns["label"]], "names", None)
    for number, row in enumerate(table.select_columns(sorted(set(columns.values()))), 1):
        values = {role: row[column] for role, column in columns.items()}
        label = values["label"]
        if names and isinstance(label, int) and 0 <= label < len(names):
            values["label"] = names[label]
        yield f"{where}, row {number}", f"{where}, row {number}", list(values.values())


def _has_groups(part: Part, wanted: Wanted) -> bool:
    """Return whether a split has the column of groups that is asked for, and a group in each row."""
    column = wanted.of(part.source, group=True).get("group")
    if column is None:
        return False
    if part.found is None:
        return column in part.table.column_names and all(map(_is_group, part.table.unique(column)))
    try:
        return all(_is_group(values[0]) for _, _, values in _file_rows(part, {"group": column}, wanted))
    except DataError:  # what else is wrong is said where the rows are read
        return False


def _is_group(value: object) -> bool:
    return value is not None and value == value and bool(str(value).strip())


def _group(value: object, column: str, place: str) -> str:
    """Return the name of a group; raise `DataError` where there is none."""
    if not _is_group(value):
        raise DataError(f"{place} has no group in {column!r}: fill it in or leave out --group")
    return whole_characters(str(value), Counter()) or ""


def short_name(source: str) -> str:
    """Return what a source is called in reports."""
    return source.removeprefix("hf:") if source in NAMED or source.startswith("hf:") else name_of(source)
