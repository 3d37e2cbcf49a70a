"""A corpus: documents from any source, in a training split and perhaps a validation and a test split.

    file, folder, glob     .txt .md .jsonl .json .csv .tsv .parquet, also as .gz or .zst
    hf:OWNER/NAME/CONFIG   a data set of the Hugging Face hub; hf:stream:OWNER/NAME: its rows as they come, kept nowhere
    a name                 one of `NAMED`, such as python-reference

Splits that are given are kept. Others are held out document by document: a hash of the text decides, so that
documents added later move no other one, and equal documents never stand on both sides. A single document is cut by
position: its end is the validation split.
"""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Container, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from heed.errors import DataError, did_you_mean
from heed.files import expanded
from heed.text.formats import Reading
from heed.text.hub_streams import streamed_sources
from heed.text.named import NAMED, as_given, open_named
from heed.text.sources import STREAM, Documents, Found, Source, digest, file_source, find_files, hub_sources

SPLITS = ("train", "validation", "test")
NO_TEST = "none"
"""In the place of a test source: the test split is left alone, where a comparison shall not see it yet."""
WORD_RULES = ("words", "words + line ends")


def count_words(text: str, rule: str) -> int:
    r"""Count the words of a text: parts between whitespace, and the line ends besides if the rule says so.

    "words + line ends" is WikiText's count, in which each line ends in a token of its own.

    >>> count_words("to be\nor not\n", "words"), count_words("to be\nor not\n", "words + line ends")
    (4, 6)
    """
    if rule not in WORD_RULES:
        raise DataError(f"unknown word rule {rule!r}, {did_you_mean(rule, WORD_RULES)}")
    # Line by line, for the memory: every line end is whitespace, so no word goes over one.
    words = sum(len(line.split()) for line in text.splitlines())
    return words + text.count("\n") if rule == "words + line ends" else words


class Corpus:
    """Documents in splits. Made by `open_corpus`.

    `fingerprint` changes when a document, the way of reading or the way of splitting does. `split_rule` says in
    words how the splits came about.
    """

    def __init__(self, sources: dict[str, Source], shares: dict[str, float], word_rule: str) -> None:
        self.name: str = sources["train"].name
        self.word_rule: str = word_rule
        self.split_rule: str = "as given"
        self._sources = sources
        self._shares = shares
        self._limits: dict[str, tuple[int, int]] = {}  # a single document: characters [from, to) of each split
        self._moved: dict[float, str] = {}  # few documents: draws whose split is not what the shares say
        self._left_out: dict[str, Counter[str]] = {}
        self._notes = [note for source in sources.values() for note in source.notes]
        self.splits: tuple[str, ...] = tuple(split for split in SPLITS if split in sources or split in shares)
        if shares:
            self._divide()
        for split, source in sources.items():
            if next(self._read(source, Counter()), None) is None:
                raise DataError(f"the {split} source {source.name} holds no text: give another file or folder")
        prints = [(split, source.fingerprint) for split, source in sorted(sources.items())]
        self.fingerprint: str = digest("corpus", prints, sorted(shares.items()), word_rule)

    @property
    def notes(self) -> list[str]:
        """What is to be told: files passed over, and what was left out of the splits that have been read to the end."""
        return self._notes + counted(self.left_out)

    @property
    def left_out(self) -> Counter[str]:
        """How much of what was left out of the splits, or the part of them, that have been read to the end."""
        return sum(self._left_out.values(), Counter())  # one a source, however many splits it serves

    def documents(self, split: str) -> Iterator[str]:
        """Yield the documents of a split, one in memory at a time; always the same in the same order.

        Raises `DataError` when there is no such split, or when a file turns out to be unreadable.
        """
        return self.part(split, 0, 1)

    def part(self, split: str, number: int, of: int) -> Iterator[str]:
        """Yield the documents of a split in part `number` of `of`, which reads about its share of the files.

        Put one after the other the parts are the split. What cannot be cut is in the first part.
        """
        if split not in self.splits:
            raise DataError(f"{self.name} has no split {split!r}, {did_you_mean(split, self.splits)}")
        if split in self._sources and split != "train":
            return (text for _, text in self._read(self._sources[split], part=(number, of)))
        if self._limits:
            return _cut(self._read(self._sources["train"], part=(number, 1)), *self._limits[split])
        stream = self._read(self._sources["train"], part=(number, of))
        if not self._shares:
            return (text for _, text in stream)
        return (text for value, text in stream if self._split_of(value) == split)

    @property
    def settings(self) -> dict[str, Any]:
        """Settings of `data` that the source has decided, whatever was asked for."""
        return {}

    def facts(self, split: str) -> dict[str, str]:
        """Return what a token file says of the text of a split."""
        return {
            "corpus": self.name,
            "corpus_fingerprint": self.fingerprint,
            "split": split,
            "split_rule": self.split_rule,
        }

    def expected_bytes(self, split: str) -> int | None:
        """Return about how many bytes of text a split has, if that is known without reading it."""
        source = self._sources.get(split, self._sources["train"])
        given = split != "train" and split in self._sources
        if given or source.size is None:
            return source.size
        return round(source.size * self._shares.get(split, 1 - sum(self._shares.values())))

    def _read(self, source: Source, left_out: Counter[str] | None = None, part: tuple[int, int] = (0, 1)) -> Documents:
        """Yield what a part of a source holds; once it is through, keep the count of what was left out."""
        counts: Counter[str] = Counter()
        if part[1] > 1 and source.part is not None:
            yield from source.part(counts, *part)
        elif part[0] == 0:  # of what cannot be cut the first part has all
            yield from source.read(counts)
        if left_out is None:
            self._left_out[source.fingerprint] = counts

    def _split_of(self, value: float) -> str:
        """Return the split that a document with this draw falls into."""
        if value in self._moved:
            return self._moved[value]
        bound = 0.0
        for split, share in self._shares.items():
            bound += share
            if value < bound:
                return split
        return "train"

    def _divide(self) -> None:
        """Choose between splitting by document and by position, and see to it that no split is empty.

        Reads only until every split has been met, so a few dozen documents as a rule.
        """
        wanted = {"train", *self._shares}
        shares = " and ".join(f"{100 * share:.3g} % for {split}" for split, share in self._shares.items())
        self.split_rule = f"by document, by a fixed hash: {shares}"
        draws: set[float] = set()
        met: set[str] = set()
        for value, _ in self._read(self._sources["train"], Counter()):
            draws.add(value)
            met.add(self._split_of(value))
            if met == wanted:
                return
        if len(draws) == 1:
            self._divide_by_position()
        elif draws:
            self._divide_few(sorted(draws), len(wanted))

    def _divide_few(self, draws: list[float], wanted: int) -> None:
        """Deal out few documents in the order of their draws, at least one to each split."""
        if len(draws) < wanted:
            raise DataError(
                f"{self.name} has {len(draws)} documents, too few for {wanted} splits: "
                "set data.test_fraction or data.validation_fraction to 0, or give data.validation"
            )
        self.split_rule += f", at least one (of {len(draws)}) each"
        start = 0
        for place, (split, share) in enumerate(self._shares.items()):
            others = len(self._shares) - place  # train and the splits that come after this one get one each
            end = start + max(1, min(round(share * len(draws)), len(draws) - start - others))
            self._moved |= dict.fromkeys(draws[start:end], split)
            start = end
        self._moved |= dict.fromkeys(draws[start:], "train")

    def _divide_by_position(self) -> None:
        """Cut a single document: training at the start, then validation, then test."""
        length = sum(len(text) for _, text in self._read(self._sources["train"], Counter()))
        end = length
        remaining = 1.0
        for split in ("test", "validation"):
            if split in self._shares:
                remaining -= self._shares[split]
                start = int(length * remaining)
                self._limits[split] = (start, end)
                end = start
        self._limits["train"] = (0, end)
        if any(start == stop for start, stop in self._limits.values()):
            raise DataError(f"{self.name} has only {length} characters, too few to be split: give more text")
        sizes = ", ".join(f"{split} {stop - start:,}" for split, (start, stop) in sorted(self._limits.items()))
        self.split_rule = f"by position in a single document, in characters: {sizes}"


def counted(left_out: Mapping[str, int]) -> list[str]:
    """Return a line for each thing that was left out.

    >>> counted({"empty documents left out": 1200})
    ['empty documents left out: 1,200']
    """
    return [f"{what}: {count:,}" for what, count in sorted(left_out.items()) if count]


def _cut(stream: Documents, start: int, end: int) -> Iterator[str]:
    """Yield characters [start, end) of the pieces of a text."""
    position = 0
    for _, text in stream:
        if part := text[max(0, start - position) : max(0, end - position)]:
            yield part
        position += len(text)


def open_corpus(
    source: str | Path,
    *,
    validation: str | Path | None = None,
    test: str | Path | None = None,
    validation_fraction: float = 0.1,
    test_fraction: float = 0.0,
    column: str = "text",
    encoding: str = "utf-8",
    separator: str | None = None,
    line_ends: Literal["unix", "keep"] = "unix",
) -> Corpus:
    """Open a corpus; the arguments are the settings of the same names in `data`.

    `validation` and `test` may be sources of their own, which win over those that come with `source`; a test of "none"
    leaves the test split alone. The fractions count only for a split that neither has; 0 means no such split.

    Raises `DataError`: nothing there, nothing readable, too little to split, not in this encoding, no such column.
    """
    reading = Reading(column, encoding, separator, line_ends)
    name = str(source)
    sources = _open(name, reading)
    for split, other in (("validation", validation), ("test", test)):
        if split == "test" and other == NO_TEST:
            sources.pop(split, None)
        elif other is not None:
            given = _open(str(other), reading)
            sources[split] = given.get(split, given["train"])
    sources["train"] = _without_held_out(name, sources, reading)
    shares = held_out_shares(validation_fraction, test_fraction, sources)
    corpus = Corpus(sources, shares, NAMED[name].word_rule if name in NAMED else "words")
    if separator is not None and corpus.split_rule.startswith("by position"):
        corpus._notes.append(f"the separator {separator!r} does not stand between any two documents of {name}")
    if name in NAMED and Path(name).exists():
        corpus._notes.append(f"{name} is heed's own corpus of that name; write ./{name} for the one in this folder")
    return corpus


def held_out_shares(validation: float, test: float, given: Container[str]) -> dict[str, float]:
    """Return the share of the texts to hold out for each split that is not given. Raises `DataError`."""
    for name, fraction in (("validation", validation), ("test", test)):
        if not 0 <= fraction < 1:
            raise DataError(f"data.{name}_fraction must be at least 0 and less than 1, not {fraction}")
    if validation + test >= 1:
        raise DataError("data.validation_fraction and data.test_fraction leave nothing to train on: lower one of them")
    shares = {"test": test, "validation": validation}
    return {split: share for split, share in shares.items() if share > 0 and split not in given}


def _open(source: str, reading: Reading) -> dict[str, Source]:
    """Return the splits behind a name, an address or a path; files are a single split, "train"."""
    if source in NAMED:
        if replace(reading, line_ends="unix") != Reading():
            raise DataError(f"{source} has a form of its own: leave out data.column, data.encoding and data.separator")
        return open_named(source)
    if source.startswith("hf:"):
        if reading.separator is not None:
            raise DataError("data.separator cuts text files; in a data set of the hub each row is a document")
        return streamed_sources(source, reading.column) if source.startswith(STREAM) else hub_sources(source, reading)
    return {"train": file_source(find_files(source, NAMED), reading, name_of(source))}


def name_of(source: str) -> str:
    """Return a short name for a path or glob.

    >>> name_of("books/austen.txt.gz"), name_of("books/"), name_of("books/*/a*.txt")
    ('austen', 'books', 'books')
    """
    if glob.has_magic(source) and not os.path.exists(source):
        parts = [part for part in Path(as_given(source)).parts if part not in ("/", "..")]
        return next((part for part in parts if not glob.has_magic(part)), "texts")
    path = expanded(source).resolve()
    return path.name if path.is_dir() else path.name.split(".")[0]


def _without_held_out(name: str, sources: dict[str, Source], reading: Reading) -> Source:
    """Return the training source without files that are also validation or test files."""
    train = sources["train"]
    held_out = {path.resolve() for split in sources if split != "train" for path in sources[split].files}
    shared = [path for path in train.files if path.resolve() in held_out]
    if not shared or name in NAMED:
        return train
    kept = [path for path in train.files if path.resolve() not in held_out]
    if not kept:
        raise DataError(f"every file of {name} is also held out for validation or test: nothing is left to train on")
    note = f"left out of training: {len(shared)} files of {name} that are held out for validation or test"
    root = find_files(name).root
    return file_source(Found(root, kept, [*train.notes, note]), reading, train.name)
