"""Labelled texts: what a classifier learns from. A corpus whose documents each have a class.

    a file, folder, glob     .tsv .csv .jsonl .parquet (also .gz, .zst) with a column of texts and one of labels
    a name                   one of `NAMED` that has labels, such as sst2

Splits come about as in `corpus.py`. A label may be a word, a number or true / false; the classes are the labels of the
training texts, in order. Labelled texts are few beside texts to read, so they are held in memory.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from heed.errors import DataError, did_you_mean
from heed.text.corpus import NO_TEST, SPLITS, Corpus, held_out_shares, name_of
from heed.text.formats import Reading, kind_of, read_rows, whole_characters
from heed.text.named import NAMED, named_files
from heed.text.sources import Documents, Found, Source, draw, file_source, find_files
from heed.text.tokenfile import TokenFile

MANY = 20
"""Classes beyond which labels may be something else: texts, if there are too few of each, or measured numbers."""
FEWEST_PER_CLASS = 2
"""Texts of a class on average, below which so many labels are taken for something else."""
OTHER_ROWS = (
    "heed tune holds out other rows of the same file than heed train: to compare the two, give both the same files "
    "as data.validation and data.test"
)
"""What is to be known where texts are held out."""


@dataclass(frozen=True)
class LabelledTokens(TokenFile):
    """The token ids of a split, and the class of each document: `labels` (documents,) int64, places in `classes`."""

    labels: np.ndarray
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Columns:
    """Which columns are read: their names, or their numbers (from 1) where no line names them."""

    text: str
    label: str
    encoding: str = "utf-8"
    header: tuple[str, ...] | None = None
    """Names for the columns of files that a named corpus is made of."""


class LabelledCorpus(Corpus):
    """Texts in splits, each with a class. Made by `open_labelled`."""

    def __init__(
        self, sources: dict[str, Source], shares: dict[str, float], labels: dict[str, list[tuple[float, str]]]
    ) -> None:
        self.classes: tuple[str, ...] = ()
        self._labels = labels
        super().__init__(sources, shares, "words")
        if self._limits:
            raise DataError(f"{self.name} has a single text, too few to be split: give more")

    def labels(self, split: str) -> np.ndarray:
        """Return the class (documents,) int64 of each text that `documents(split)` yields.

        Raises `DataError` when a label is none of the classes.
        """
        numbers = {name: number for number, name in enumerate(self.classes)}
        names = self.label_names(split)
        if strange := sorted(set(names) - numbers.keys()):
            raise DataError(
                f"{self.name}: the {split} split has the label {strange[0]!r}, no class of the training texts: "
                f"{did_you_mean(strange[0], self.classes)}"
            )
        return np.array([numbers[name] for name in names], dtype=np.int64)

    def label_names(self, split: str) -> list[str]:
        """Return the labels of a split as they are written."""
        if split in self._labels and split != "train":
            return [label for _, label in self._labels[split]]
        rows = self._labels["train"]
        return [label for value, label in rows if not self._shares or self._split_of(value) == split]


def open_labelled(
    source: str | Path,
    *,
    label: str,
    column: str = "text",
    validation: str | Path | None = None,
    test: str | Path | None = None,
    validation_fraction: float = 0.1,
    test_fraction: float = 0.0,
    encoding: str = "utf-8",
    classes: Sequence[str] | None = None,
) -> LabelledCorpus:
    """Open labelled texts; the arguments are the settings of the same names in `data`.

    `classes` are those of a model that has learned already; without them they are the labels of the training split.
    Raises `DataError`: nothing there, no such column, a row without text or label, one class only.
    """
    with about(source):
        return _open(
            source, Columns(column, label, encoding), validation, test, validation_fraction, test_fraction, classes
        )


@contextmanager
def about(source: str | Path) -> Iterator[None]:
    """Let an error in this block name the source that it is about."""
    try:
        yield
    except DataError as error:
        if Path(source).name in str(error):
            raise
        raise DataError(f"{source}: {error}") from None


def _open(
    source: str | Path,
    columns: Columns,
    validation: str | Path | None,
    test: str | Path | None,
    validation_fraction: float,
    test_fraction: float,
    classes: Sequence[str] | None,
) -> LabelledCorpus:
    """Open labelled texts."""
    Reading(columns.text, columns.encoding)  # refuses an encoding that is none
    found = labelled_files(str(source))
    for split, other in (("validation", validation), ("test", test)):
        if split == "test" and other == NO_TEST:
            found.pop(split, None)
        elif other is not None:
            given = labelled_files(str(other))
            found[split] = given.get(split, given["train"])
    found["train"] = without_held_out(found, str(source))
    shares = held_out_shares(validation_fraction, test_fraction, found)
    sources: dict[str, Source] = {}
    labels: dict[str, list[tuple[float, str]]] = {}
    for split in SPLITS:
        if split in found:
            where = str({"validation": validation, "test": test}.get(split) or source)
            sources[split], labels[split] = _read(found[split], where, columns)
    corpus = LabelledCorpus(sources, shares, labels)
    _name_classes(corpus, classes, columns.label)
    return corpus


def labelled_files(source: str) -> dict[str, Found]:
    """Return the files of each split behind a name or path. Raises `DataError` where they hold no labels."""
    if source in NAMED:
        if not NAMED[source].columns:
            known = ", ".join(name for name in NAMED if NAMED[name].columns)
            raise DataError(f"{source} has no labels (data.label): leave it out, or take {known}")
        return {split: Found(path.parent, [path]) for split, path in named_files(source).items()}
    if source.startswith("hf:"):
        raise DataError(f"{source}: labels are read from files (.tsv .csv .jsonl .parquet): write the data set to one")
    found = find_files(source, NAMED)
    for path in found.files:
        if kind_of(path) in (".txt", ".md"):
            raise DataError(f"{path} is plain text and has no column of labels: give .tsv, .csv, .jsonl or .parquet")
    return {"train": found}


def without_held_out(found: Mapping[str, Found], name: str) -> Found:
    """Return the files of the training split that are not also held out."""
    held_out = {path.resolve() for split, some in found.items() if split != "train" for path in some.files}
    kept = [path for path in found["train"].files if path.resolve() not in held_out]
    if not kept:
        raise DataError(f"every file of {name} is also held out for validation or test: nothing is left to train on")
    return Found(found["train"].root, kept, found["train"].notes)


def _read(found: Found, where: str, columns: Columns) -> tuple[Source, list[tuple[float, str]]]:
    """Return the texts of some files as a source, and the draw and the label of each."""
    if where in NAMED:
        columns = replace(columns, header=NAMED[where].columns)
    rows: list[tuple[float, str]] = []
    texts: list[str] = []
    mended: Counter[str] = Counter()
    wanted = {"--data.column": columns.text, "--data.label": columns.label}
    bad = BadRows()
    for path in found.files:
        for place, (text, label) in read_rows(path, wanted, columns.encoding, columns.header):
            with bad.kept():
                text = filled_text(text, columns.text, place, mended)
                rows.append((draw(text), label_name(label, columns.label, place)))
                texts.append(text)
    bad.refuse()

    def read(skipped: Counter[str]) -> Documents:
        skipped.update(mended)
        return ((value, text) for (value, _), text in zip(rows, texts, strict=True))

    # the fingerprint of the files and of the columns that were read
    base = file_source(found, Reading(f"{columns.text}\0{columns.label}", columns.encoding), _short(where))
    return replace(base, read=read, size=sum(map(len, texts))), rows


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


def label_name(value: object, column: str, place: str, setting: str = "--data.label") -> str:
    """Return a label as a name; raise `DataError` where there is none. `setting` is what chose the column.

    >>> label_name(True, "label", "line 1"), label_name(3, "label", "line 1")
    ('true', '3')
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int | float) and value == value and (name := str(value).strip()):
        return name
    what = "no label" if value is None or value == "" else f"the label {value!r}"
    raise DataError(f"{place} has {what} in {column!r}: a label is a word, a number or true / false ({setting})")


def class_names(counts: Counter[str], column: str) -> tuple[str, ...]:
    """Return the labels of the training texts as classes, in order: numbers by size, then words.

    Raises `DataError` when there is one only, or so many that the column is hardly one of labels.

    >>> class_names(Counter(["10", "no", "2"]), "label")
    ('2', '10', 'no')
    """
    names = tuple(sorted(counts, key=_by_number))
    if len(names) == 1:
        raise DataError(f"all training texts have the label {names[0]!r} (data.label {column}): two classes are needed")
    if len(names) > MANY and _are_measured(names):
        raise DataError(
            f"data.label {column!r} holds {len(names):,} numbers from {names[0]} to {names[-1]}, which look like "
            "scores, not classes: round them to a few whole numbers, or name another column"
        )
    if len(names) > MANY and counts.total() < FEWEST_PER_CLASS * len(names):
        raise DataError(
            f"data.label {column!r} holds {len(names):,} labels in {counts.total():,} texts: is it another column?"
        )
    return names


def _name_classes(corpus: LabelledCorpus, known: Sequence[str] | None, column: str) -> None:
    """Set the classes of a corpus, and note how many texts each has."""
    counts = Counter(corpus.label_names("train"))
    corpus.classes = names = class_names(counts, column) if known is None else tuple(known)
    shown = ", ".join(f"{name} ({counts[name]:,})" for name in names[:10])
    corpus._notes.append(f"{len(names)} classes in train: {shown}{', ...' if len(names) > 10 else ''}")
    corpus._notes += spellings(names)
    if corpus._shares:
        corpus._notes.append(OTHER_ROWS)


def spellings(classes: Sequence[str]) -> list[str]:
    """Return a note of each set of labels that may be one class in several spellings: equal numbers, or equal words but
    for capitals and white space.

    >>> spellings(["0", "1", "1.0", "Pos", "pos"])[0].split(":")[0]
    "the labels '1', '1.0' are classes of their own"
    """
    alike: dict[str | float, list[str]] = defaultdict(list)
    for name in classes:
        try:
            alike[float(name)].append(name)
        except ValueError:
            alike[" ".join(name.casefold().split())].append(name)
    return [
        f"the labels {', '.join(map(repr, some))} are classes of their own: spell them alike if they are one"
        for some in alike.values()
        if len(some) > 1
    ]


def _are_measured(names: Sequence[str]) -> bool:
    """Whether all labels are numbers and some are not whole."""
    try:
        numbers = [float(name) for name in names]
    except ValueError:
        return False
    return not all(number.is_integer() for number in numbers)


def _by_number(name: str) -> tuple[int, float, str]:
    """Return what sorts numbers by size and before words: 2 before 10."""
    try:
        number = float(name)
    except ValueError:
        number = math.nan
    return (1, 0.0, name) if math.isnan(number) else (0, number, name)  # "nan" is a word, and has no place


def _short(where: str) -> str:
    return where if where in NAMED else name_of(where)
