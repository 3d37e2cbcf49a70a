"""What is tested: the items of a task, those that demonstrations are drawn from, and how they came to be apart."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from heed.errors import DataError, did_you_mean
from heed.files import expanded
from heed.prompting.task import PromptTask, TaskData
from heed.targets.classes import ClassTarget
from heed.text.formats import kind_of, read_rows, whole_characters
from heed.text.labelled_rows import Wanted, read_part
from heed.text.named import locate
from heed.text.splits import SplitRows, find_parts_of, numbered, open_splits, subset


@dataclass(frozen=True)
class PromptItem:
    """One item, or one demonstration."""

    place: str
    """Where it stands, such as "test.tsv, line 9"."""
    text: str
    pair: str | None
    answer: str | None
    """The name of its class, or the text that it should become; None where nothing says so."""
    group: str | None = None

    @property
    def key(self) -> str:
        """What makes two items equal: their texts, but for case and white space."""
        return "\x1f".join(re.sub(r"\s+", " ", part).strip().casefold() for part in (self.text, self.pair or ""))


@dataclass(frozen=True)
class TaskItems:
    """What a task is tested on."""

    tested: tuple[PromptItem, ...]
    pool: tuple[PromptItem, ...]
    """What demonstrations may be drawn from, with nothing in it that is tested."""
    name: str
    """Of the data."""
    split: str
    notes: tuple[str, ...]
    fingerprint: str = ""


def open_items(task: PromptTask, count: int | None) -> TaskItems:
    """Return what is tested, `count` of it (of each class its share), and the pool of demonstrations.

    Raises `DataError` as `open_splits` does, and for a label that the task has no word for.
    """
    if task.data is None:
        items = tuple(
            PromptItem(f"item {number}", one.text, one.pair, one.answer) for number, one in enumerate(task.items, 1)
        )
        return TaskItems(_first(items, count), (), task.name, "items", ())
    if task.kind == "text":
        texts = _read_texts(task.data)
        return TaskItems(_first(texts, count), (), Path(task.data.source).name, "all", ())
    return _of_classes(task, task.data, count)


def _of_classes(task: PromptTask, data: TaskData, count: int | None) -> TaskItems:
    """Return the items of a split, of each class its share, and the pool: the training texts."""
    label, target = data.label or "label", ClassTarget(tuple(task.labels))
    classes = target.names
    if data.split == "all":
        wanted = Wanted(data.text, data.pair, label, data.group, data.encoding)
        parts, notes = find_parts_of(data.source, None, None, wanted)
        mended: Counter[str] = Counter()
        table = read_part(parts["train"], "train", wanted, mended, ClassTarget)
        notes += [*parts["train"].notes, *(f"{what}: {number:,}" for what, number in mended.items())]
        _refuse_other_labels(task, table.labels, table.places)
        tested = pool = numbered(table, target, "train")
        name, fingerprint = Path(data.source).name, ""
    else:
        splits = open_splits(
            data.source, text=data.text, pair=data.pair, label=label, group=data.group, validation=data.validation,
            test=data.test, validation_fraction=data.validation_fraction, test_fraction=data.test_fraction,
            encoding=data.encoding, task=ClassTarget.kind,
        )  # fmt: skip
        target = ClassTarget(splits.target.names)
        _refuse_other_labels(task, target.names, [data.source] * len(target.names))
        own = {name: place for place, name in enumerate(target.names)}
        if list(own) != list(classes):  # the task's own order of classes counts
            odd = [name for name in classes if name not in own]
            notes = [f"no text is labelled {name!r}" for name in odd]
        else:
            notes = []
        if data.split not in splits.rows:
            raise DataError(f"{data.source} has no {data.split} split: choose one of {', '.join(splits.rows)}")
        tested, pool, name = splits.rows[data.split], splits.rows["train"], splits.name
        notes, fingerprint, classes = [*splits.notes, *notes], splits.fingerprint, target.names
    if count is not None and count < len(tested):
        tested = subset(tested, count, target)
    items = _items(tested, classes)
    kept, left_out = without(_items(pool, classes), items)
    if left_out and data.split not in ("train", "all"):
        notes = [*notes, f"{left_out:,} training texts are tested, or share a group with what is: no demonstrations"]
    return TaskItems(items, kept, name, data.split, tuple(notes), fingerprint)


def without(pool: Sequence[PromptItem], tested: Sequence[PromptItem]) -> tuple[tuple[PromptItem, ...], int]:
    """Return the pool without what equals a tested item or shares its group, and how much that was."""
    keys = {item.key for item in tested}
    groups = {item.group for item in tested if item.group is not None}
    kept = tuple(item for item in pool if item.key not in keys and item.group not in groups)
    return kept, len(pool) - len(kept)


def _items(rows: SplitRows, classes: Sequence[str]) -> tuple[PromptItem, ...]:
    return tuple(
        PromptItem(
            rows.places[row],
            rows.texts[row],
            None if rows.pairs is None else rows.pairs[row],
            classes[int(rows.labels[row])],
            None if rows.groups is None else rows.groups[row],
        )
        for row in range(len(rows))
    )


def _refuse_other_labels(task: PromptTask, labels: Sequence[str], places: Sequence[str]) -> None:
    """Raise `DataError` for a label that the task has no words for."""
    for label, place in zip(labels, places, strict=True):
        if label not in task.labels:
            raise DataError(
                f"{place} has the label {label!r}, for which the task {task.name} has no word "
                f"({did_you_mean(label, task.labels)}): add it to labels, or name another column with --label"
            )


def _read_texts(data: TaskData) -> tuple[PromptItem, ...]:
    """Return the rows of a file of texts, with their references where a column of them is named."""
    path = expanded(locate(data.source))
    if not path.is_file() or kind_of(path) in (".txt", ".md"):
        raise DataError(f"{data.source} is no table of texts: give a .csv, .tsv, .jsonl, .json or .parquet file")
    columns = {"text": data.text, "pair": data.pair, "label": data.label}
    named = {role: column for role, column in columns.items() if column is not None}
    mended: Counter[str] = Counter()
    found = []
    for place, values in read_rows(path, {f"--{role}": column for role, column in named.items()}, data.encoding):
        row = dict(zip(named, values, strict=True))
        texts = {role: whole_characters(str(value), mended) for role, value in row.items() if value is not None}
        if not (texts.get("text") or "").strip():
            raise DataError(f"{place} has an empty text in {data.text!r}: fill it in or leave the row out")
        short = place.removeprefix(str(path.parent)).lstrip("/")
        found.append(PromptItem(short, texts["text"] or "", texts.get("pair"), texts.get("label")))
    if not found:
        raise DataError(f"{data.source} holds no rows: give another file")
    return tuple(found)


def _first(items: Sequence[PromptItem], count: int | None) -> tuple[PromptItem, ...]:
    if count is not None and count > len(items):
        raise DataError(f"{count:,} items are asked for, and there are {len(items):,}: lower --items")
    return tuple(items[:count])
