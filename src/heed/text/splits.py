"""Labelled texts in splits, in memory: what a pretrained encoder is tuned and tested on.

    train.tsv  ->  rows  ->  units (equal texts, equal groups)  ->  validation | test | train

Splits that are given are used as they are. Others are held out of the training texts: of each class its share, equal
texts never on both sides, rows of a group together on request. A fixed hash of the text decides, not its place in the
file, so that the same rows are held out in whatever order they come (`stratified.py`).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from heed.errors import DataError
from heed.targets import AUTO, TARGETS, Label, Target, choose
from heed.targets.classes import ClassTarget
from heed.text.corpus import NO_TEST, SPLITS, held_out_shares
from heed.text.formats import Reading
from heed.text.labelled_rows import (
    Part,
    Table,
    Wanted,
    find_parts,
    label_cells,
    read_part,
    short_name,
    unlabelled,
    without_shared,
)
from heed.text.named import locate
from heed.text.stratified import Unit, beginning, stratified

HELD_OUT = "held out of training by a fixed hash"
"""How a split came about that was not given."""


@dataclass(frozen=True)
class SplitRows:
    """The texts of a split in the order of its file, with what else is known of each."""

    texts: list[str]
    pairs: list[str] | None
    """Second texts, such as the passage that a question is about."""
    labels: np.ndarray
    """(n,) int64 places among classes, or what else is learned: see `Target.numbers`."""
    places: list[str]
    """Where each stands: "train.tsv, line 7"."""
    groups: list[str] | None = None
    """What rows have in common, such as their author; None where no column says so."""

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, rows: Iterable[int]) -> SplitRows:
        """Return some of the rows, in this order."""
        chosen = list(rows)
        return SplitRows(
            [self.texts[row] for row in chosen],
            None if self.pairs is None else [self.pairs[row] for row in chosen],
            self.labels[chosen],
            [self.places[row] for row in chosen],
            None if self.groups is None else [self.groups[row] for row in chosen],
        )


@dataclass(frozen=True)
class Splits:
    """Labelled texts in splits. Made by `open_splits`."""

    name: str
    target: Target
    """What of a text is learned."""
    rows: dict[str, SplitRows]
    """Those of "train", "validation", "test" that there are."""
    notes: list[str]
    """How the splits came about, and what was left out."""
    fingerprint: str
    """SHA-256 of all texts, pairs, labels and splits."""


def open_splits(
    source: str | Path,
    *,
    text: str = "text",
    pair: str | None = None,
    label: str = "label",
    group: str | None = None,
    validation: str | Path | None = None,
    test: str | Path | None = None,
    validation_fraction: float = 0.1,
    test_fraction: float = 0.1,
    train_examples: int | None = None,
    encoding: str = "utf-8",
    task: str = AUTO,
    target: Target | None = None,
) -> Splits:
    """Open labelled texts; the arguments are the settings of the same names in `data`.

    `text`, `pair`, `label` and `group` are columns; a named corpus has its own ("none": no pair, no group). The
    fractions count for splits that neither the source nor `validation` and `test` give. A test of "none" is held out
    and left alone. Of the texts left for training `train_examples` are taken; the others become the test where none is
    given. `task` is the kind of target (see `heed.targets`), auto: as the labels in training look. `target` is what a
    model has learned already.

    Raises `DataError`: nothing there, no such column, a row without text or label, one class only, a label that
    training never had, too few texts.
    """
    wanted = Wanted(text, pair, label, group, encoding)
    shares = (validation_fraction, test_fraction)
    with about(source):
        Reading(text, encoding)  # refuses an encoding that is none
        parts, notes = find_parts_of(str(source), validation, test, wanted)
        return split_parts(str(source), parts, notes, wanted, shares, test, train_examples, task, target)


@contextmanager
def about(source: str | Path) -> Iterator[None]:
    """Let an error in this block name the source that it is about."""
    try:
        yield
    except DataError as error:
        if Path(source).name in str(error):
            raise
        raise DataError(f"{source}: {error}") from None


def split_parts(
    source: str,
    parts: dict[str, Part],
    notes: list[str],
    wanted: Wanted,
    fractions: tuple[float, float],
    test: str | Path | None,
    train_examples: int | None,
    task: str,
    target: Target | None,
) -> Splits:
    """Read the splits that are given (see `find_parts_of`), and hold the others out of the training texts.

    `fractions` are those of validation and test; see `open_splits`.
    """
    if train_examples is not None and train_examples < 1:
        raise DataError(f"data.train_examples must be at least 1, not {train_examples}")
    shares = held_out_shares(*fractions, parts)
    rest = None if "test" in parts else "test"
    if test == NO_TEST and parts.pop("test", None):
        notes.append("test: the test split is left alone (data.test none)")
    mended: Counter[str] = Counter()
    kind: type[Target] = ClassTarget
    if target is not None:
        kind = type(target)
    elif task != ClassTarget.kind:
        kind, told = choose(task, label_cells(parts["train"], wanted), TARGETS, wanted.flag("task"))
        notes += told
    tables = {split: read_part(parts[split], split, wanted, mended, kind) for split in SPLITS if split in parts}
    _check_pairs(tables)
    notes += [note for part in parts.values() for note in part.notes] + [f"{what}: {n:,}" for what, n in mended.items()]
    train = tables["train"]
    columns = wanted.of(parts["train"].source, group=True)
    learned = kind.learned(train.labels, columns["label"]) if target is None else target
    chosen = _divide(train, learned, shares, train_examples, rest, columns.get("group"), notes)
    if test == NO_TEST and (left := chosen.pop("test", None)):
        notes.append(f"test: {len(left):,} texts are held out and left alone (data.test none)")
    rows = {split: numbered(table, learned, split) for split, table in tables.items()}
    rows |= {split: rows["train"].take(sorted(places)) for split, places in chosen.items()}
    if target is None:
        learned = learned.fitted(rows["train"].labels)
        _check_train(rows["train"], learned, train.labels)
    rows = {split: rows[split] for split in SPLITS if split in rows}
    return Splits(short_name(source), learned, rows, notes, _fingerprint(learned, rows))


def subset(rows: SplitRows, examples: int, target: Target) -> SplitRows:
    """Return so many of the rows; see `beginning_rows`."""
    return rows.take(beginning_rows(rows, examples, target))


def beginning_rows(rows: SplitRows, examples: int, target: Target) -> list[int]:
    """Return the places of so many of the rows, of each class its share; a smaller subset is a part of a larger one.

    A class that is rarer than the subset is small may be missing from it. Raises `DataError` when there are too few.
    """
    if not 1 <= examples <= len(rows):
        raise DataError(f"{examples:,} examples are asked for of a split that has {len(rows):,}")
    table = Table(rows.texts, rows.pairs)
    units = stratified(table.keys(), target.strata(rows.labels))
    return sorted([row for unit in units for row in unit.rows][:examples])


def find_parts_of(
    source: str, validation: str | Path | None, test: str | Path | None, wanted: Wanted
) -> tuple[dict[str, Part], list[str]]:
    """Return where each split is read, and notes on what is passed over."""
    parts = find_parts(locate(source))
    notes: list[str] = []
    for split, other in (("validation", validation), ("test", test)):
        if other is not None and not (split == "test" and other == NO_TEST):
            given = find_parts(locate(str(other)))
            parts[split] = given.get(split, given["train"])
        elif split in parts and unlabelled(parts[split], wanted):
            del parts[split]
            notes.append(f"left out: the {split} split of {source}, which comes without labels")
    return parts | {"train": without_shared(parts)}, notes


def _divide(
    table: Table,
    target: Target,
    shares: Mapping[str, float],
    train_examples: int | None,
    rest: str | None,
    together: str | None,
    notes: list[str],
) -> dict[str, list[int]]:
    """Return the rows of "train" and of each split that is held out of it, and note how they came about.

    With `train_examples` what is left goes to the split `rest`, whose share then does not count, or is left out.
    `together` is the column of groups.
    """
    if train_examples is not None and rest is not None:
        shares = {split: share for split, share in shares.items() if split != rest}
    if not shares and train_examples is None:
        return {"train": list(range(len(table.texts)))}
    units = stratified(table.keys(), target.strata(table.labels), table.groups)
    what = "texts" if table.groups is None else "groups"
    if len(units) <= len(shares):
        raise DataError(
            f"there are {len(units)} different {what}, too few for {len(shares) + 1} splits: "
            "give more, or data.validation and data.test"
        )
    chosen: dict[str, list[int]] = {}
    for split in (name for name in SPLITS if name in shares):
        taken, units = beginning(units, int(shares[split] * len(table.texts) + 0.5))
        chosen[split] = _flat(taken)
        notes.append(
            f"{split}: {len(chosen[split]):,} of {len(table.texts):,} texts {HELD_OUT}, "
            f"{target.share}{'' if together is None else f', no {together} in two splits'}"
        )
    chosen["train"] = _flat(units)
    if train_examples is not None:
        chosen |= _limited(units, train_examples, rest, target.share, notes)
    return chosen


def _limited(
    units: Sequence[Unit], examples: int, rest: str | None, share: str, notes: list[str]
) -> dict[str, list[int]]:
    """Return the first `examples` rows to train on, and the units wholly behind them as the split `rest`."""
    rows = _flat(units)
    if examples > len(rows):
        raise DataError(f"data.train_examples is {examples:,}, but {len(rows):,} texts are left for training: lower it")
    train = set(rows[:examples])
    others = _flat(unit for unit in units if train.isdisjoint(unit.rows))
    if rest is not None and not others:
        raise DataError(
            f"data.train_examples {examples:,} leaves no text for the test: lower it, or give data.test (none: no test)"
        )
    fate = f"are the {rest}" if rest is not None else "are left out"
    notes.append(f"train: {examples:,} of {len(rows):,} texts, {share}; the other {len(others):,} {fate}")
    if cut := len(rows) - examples - len(others):
        notes.append(f"left out: {cut:,} texts that are equal to one in training, or of its group")
    return {"train": rows[:examples]} | ({rest: others} if rest is not None else {})


def _flat(units: Iterable[Unit]) -> list[int]:
    return [row for unit in units for row in unit.rows]


def numbered(table: Table, target: Target, split: str) -> SplitRows:
    """Return a table with labels as they are learned. Raises `DataError` at a label that is none of those."""
    labels = target.numbers(table.labels, table.places, split)
    return SplitRows(table.texts, table.pairs, labels, table.places, table.groups)


def _check_pairs(tables: Mapping[str, Table]) -> None:
    """Raise `DataError` when some splits have pairs and others do not."""
    with_pairs = [split for split, table in tables.items() if table.pairs is not None]
    if with_pairs and len(with_pairs) < len(tables):
        without = next(split for split in tables if split not in with_pairs)
        raise DataError(f"{with_pairs[0]} has pairs of texts and {without} has none: name their column with --pair")


def _check_train(train: SplitRows, target: Target, labels: Sequence[Label]) -> None:
    """Raise `DataError` when there is no text to train an output on; `labels`: those of all that were to be divided."""
    for name in target.missing(train.labels):
        texts = sum(name == label or (isinstance(label, tuple) and name in label) for label in labels)
        raise DataError(
            f"no text of the {target.output} {name!r} ({texts:,} in all) is among the {len(train):,} to train on: "
            "raise data.train_examples, lower the fractions held out, or give more texts of it"
        )


def _fingerprint(target: Target, rows: Mapping[str, SplitRows]) -> str:
    """Return a hash of everything that is used, in its order."""
    found = hashlib.sha256(target.fingerprint.encode())
    for split, part in rows.items():
        found.update(split.encode())
        pairs = part.pairs or [None] * len(part)
        for row in zip(part.texts, pairs, part.labels.tolist(), strict=True):
            found.update(repr(row).encode())
    return found.hexdigest()
