"""Labelled texts as a corpus to read: what a classifier learns from when it begins with nothing.

    Splits  ->  documents and labels of each split  ->  token files, a class beside each document

The texts, their splits and their classes are those of `splits.py`. A run from before has the splits that it began with:
then the draw of a text alone decided (`BY_TEXT`), as it does for documents.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from heed.config import BY_CLASS, BY_TEXT
from heed.errors import DataError
from heed.targets.classes import ClassTarget
from heed.text.corpus import NO_TEST, SPLITS, Corpus, held_out_shares
from heed.text.formats import Reading
from heed.text.labelled_rows import (
    NONE,
    Part,
    Table,
    Wanted,
    labelled_files,
    read_part,
    short_name,
    without_held_out,
)
from heed.text.sources import Documents, Source, digest, draw, file_source
from heed.text.splits import SplitRows, Splits, about, find_parts_of, numbered, split_parts
from heed.text.tokenfile import TokenFile


@dataclass(frozen=True)
class LabelledTokens(TokenFile):
    """The token ids of a split, and the class of each document: `labels` (documents,) int64, places in `classes`."""

    labels: np.ndarray
    classes: tuple[str, ...]


class LabelledCorpus(Corpus):
    """Texts in splits, each with a class. Made by `open_labelled`."""

    def __init__(self, splits: Splits, rule: str) -> None:
        self.name, self.word_rule, self.split_rule = splits.name, "words", rule
        self.splits, self.fingerprint = tuple(splits.rows), splits.fingerprint
        self.classes, self._rows = splits.target.names, splits.rows
        counts = np.bincount(splits.rows["train"].labels, minlength=len(self.classes)).tolist()
        named = [f"{name} ({count:,})" for name, count in zip(self.classes, counts, strict=True)]
        shown = ", ".join(named[:10]) + (", ..." if len(named) > 10 else "")
        self._notes = [*splits.notes, f"{len(self.classes)} classes in train: {shown}", *splits.target.notes()]
        self._left_out = {}

    def documents(self, split: str) -> Iterator[str]:
        """Yield the texts of a split."""
        return iter(self._rows[split].texts)

    def labels(self, split: str) -> np.ndarray:
        """Return the class (documents,) int64 of each text that `documents(split)` yields."""
        return self._rows[split].labels

    def expected_bytes(self, split: str) -> int | None:
        """Return about how many bytes of text a split has."""
        return sum(map(len, self._rows[split].texts))


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
    Raises `DataError`: nothing there, no such column, a row without text or label, one class only, pairs of texts.
    """
    with about(source):
        Reading(column, encoding)  # refuses an encoding that is none
        name, shares = str(source), (validation_fraction, test_fraction)
        wanted = Wanted(column, None if column == "text" else NONE, label, None, encoding, section="data.")
        given = {
            split: str(path)
            for split, path in (("validation", validation), ("test", test))
            if path is not None and path not in (BY_CLASS, BY_TEXT)
        }
        if BY_TEXT in (validation, test):
            return _open_by_text(name, wanted, given, shares, classes)
        parts, notes = find_parts_of(name, given.get("validation"), given.get("test"), wanted)
        held_out = held_out_shares(*shares, parts)
        known = None if classes is None else ClassTarget(tuple(classes))
        splits = split_parts(name, parts, notes, wanted, shares, given.get("test"), None, ClassTarget.kind, known)
        if splits.rows["train"].pairs is not None:
            raise DataError("these are pairs of texts, and one text is read: name it with --data.column, or heed tune")
        of_rule = ("of each class its share",) if held_out else ()
        prints = {split: _fingerprint(part, wanted) for split, part in parts.items()}
        splits = replace(splits, fingerprint=_corpus_fingerprint(prints, held_out, *of_rule))
        rule = " and ".join(f"{100 * share:.3g} % for {split}" for split, share in held_out.items())
        return LabelledCorpus(splits, f"of each class alike, by a fixed hash: {rule}" if rule else "as given")


def _open_by_text(
    name: str, wanted: Wanted, given: Mapping[str, str], shares: tuple[float, float], classes: Sequence[str] | None
) -> LabelledCorpus:
    """Open labelled texts as a run from before did: all files of a folder are one split, and draws alone decide."""
    found = labelled_files(name)
    for split, other in given.items():
        if other == NO_TEST:
            found.pop(split, None)
        else:
            files = labelled_files(other)
            found[split] = files.get(split, files["train"])
    found["train"] = without_held_out(found, name)
    parts = {split: Part(given.get(split, name), found[split]) for split in SPLITS if split in found}
    mended: Counter[str] = Counter()
    tables = {split: read_part(part, split, wanted, mended, ClassTarget) for split, part in parts.items()}
    sources = {split: _source(part, tables[split], wanted) for split, part in parts.items()}
    corpus = Corpus(sources, held_out_shares(*shares, sources), "words")
    if corpus._limits:
        raise DataError(f"{corpus.name} has a single text, too few to be split: give more")
    train = tables["train"]
    of = [corpus._split_of(draw(text)) if corpus._shares else "train" for text in train.texts]
    labels = [label for label, split in zip(train.labels, of, strict=True) if split == "train"]
    target = ClassTarget.learned(labels, wanted.label) if classes is None else ClassTarget(tuple(classes))
    rows: dict[str, SplitRows] = {}
    for split in corpus.splits:
        if split in tables and split != "train":
            rows[split] = numbered(tables[split], target, split)
        else:
            chosen = [row for row, its in enumerate(of) if its == split]
            rows[split] = numbered(train.take(chosen), target, split)
    notes = [*corpus._notes, *(f"{what}: {count:,}" for what, count in mended.items())]
    return LabelledCorpus(Splits(corpus.name, target, rows, notes, corpus.fingerprint), corpus.split_rule)


def _source(part: Part, table: Table, wanted: Wanted) -> Source:
    """Return the texts of a table as a source of documents."""
    assert part.found is not None

    def read(skipped: Counter[str]) -> Documents:
        return ((draw(text), text) for text in table.texts)

    return Source(short_name(part.source), _fingerprint(part, wanted), read, notes=tuple(part.found.notes))


def _fingerprint(part: Part, wanted: Wanted) -> str:
    """Return a hash of the files of a split, or of its table on the hub, and of the columns that are read."""
    columns = f"{wanted.text}\0{wanted.label}"
    if part.found is None:
        return digest("hub", part.source, part.table._fingerprint, columns)
    return file_source(part.found, Reading(columns, wanted.encoding), part.source).fingerprint


def _corpus_fingerprint(prints: Mapping[str, str], shares: Mapping[str, float], *rule: str) -> str:
    """Return a hash of all splits and of how they came about; that of `Corpus` where none is held out."""
    return digest("corpus", sorted(prints.items()), sorted(shares.items()), "words", *rule)
