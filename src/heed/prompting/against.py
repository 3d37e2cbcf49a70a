"""What a prompt is held against, on the same items: the arms of a `heed tune`, or another run of `heed prompt`.

Items are the same where their texts are, whatever their order; each of this run's must be among the other's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from heed.errors import CheckpointError, DataError
from heed.prompting.items import PromptItem
from heed.prompting.record import PROMPT, PromptFile, PromptRecord, read_prompt
from heed.records.tune import TUNE
from heed.report.accuracies import accuracy_interval
from heed.report.paired import Paired, compare_arms, correct_pairs
from heed.report.statistics import Interval
from heed.report.tuning_advice import marks_of
from heed.report.tuning_record import read_tuning
from heed.targets import ClassTarget


@dataclass(frozen=True)
class Rival:
    """Somebody else who answered the same items."""

    name: str
    right: np.ndarray
    """(its seeds or rounds, items) bool, in the order of this run's items."""
    interval: Interval

    @property
    def mean(self) -> float:
        """Its accuracy on these items."""
        return float(self.right.mean())


def rivals_of(record: PromptRecord, folders: Sequence[str | Path]) -> list[Rival]:
    """Return everybody in these folders who answered the items of a run.

    Raises `CheckpointError` for a folder that is neither, and `DataError` where items are missing there.
    """
    found: list[Rival] = []
    for folder in map(Path, folders):
        if (folder / PROMPT).is_file():
            found.append(_prompted(record, folder))
        elif (root := _tune_of(folder)) is not None:
            found += _tuned(record, root)
        else:
            raise CheckpointError(f"{folder} is of neither heed tune nor heed prompt: name a folder of one of them")
    names = [one.name for one in found]
    if twice := {name for name in names if names.count(name) > 1}:
        raise DataError(f"two of --against are both called {min(twice)}: give the folder of one of them another name")
    return found


def check_rivals(file: PromptFile, items: Sequence[PromptItem], folders: Sequence[str | Path]) -> None:
    """Raise what `rivals_of` would raise once these items are answered: before anything is paid."""
    rows = tuple({"place": i.place, "text": i.text, "pair": i.pair, "label": i.answer, "group": i.group} for i in items)
    rivals_of(PromptRecord(Path(), file.but(rounds=file.rounds[:1]), rows), folders)


def compared(record: PromptRecord, rivals: Sequence[Rival]) -> list[Paired]:
    """Return this run against each rival, with Holm's correction; b is this run."""
    return correct_pairs(
        [compare_arms(one.name, own_name(record), one.right, record.right, record.groups) for one in rivals]
    )


def own_name(record: PromptRecord) -> str:
    """Return what a run is called beside others."""
    shots = record.file.settings.get("plan", {}).get("shots", 0)
    return f"{record.file.model}, {shots}-shot"


def _tune_of(folder: Path) -> Path | None:
    """Return the folder of the tune that this is, or that this is a run of."""
    candidates = (folder, *folder.absolute().parents[:2])
    return next((one for one in candidates if (one / TUNE).is_file()), None)


def _tuned(record: PromptRecord, root: Path) -> list[Rival]:
    """Return the arms of a tune that have predictions of the items."""
    tune = read_tuning(root)
    if not isinstance(tune.target, ClassTarget):
        raise DataError(f"{root} learned no classes: a prompt is held against a tune that did")
    for split, examples in tune.examples.items():
        keys = [(text, pair or "") for text, pair in zip(examples.texts, examples.pairs, strict=True)]
        places = _places(record, keys)
        arms = tune.answering(split)
        if places is None or not arms:
            continue
        wrong = [i for i, place in enumerate(places) if _label(record, i) != tune.target.names[examples.labels[place]]]
        if wrong:
            raise DataError(f"{record.items[wrong[0]]['place']} has another label in {root}: are these the same data?")
        return [_rival(record, arm.name, marks_of(arm, split).astype(bool)[:, places]) for arm in arms]
    raise DataError(
        f"{root} has no predictions of these {len(record.items):,} items: prompt with the --data, --split and columns "
        "that it was tuned on"
    )


def _prompted(record: PromptRecord, folder: Path) -> Rival:
    """Return another run of `heed prompt`."""
    other = read_prompt(folder)
    if not other.done or not other.marked:
        raise DataError(f"{folder} has no accuracy yet: give its command again")
    places = _places(record, other.item_keys())
    if places is None:
        raise DataError(f"{folder} was not asked all of these {len(record.items):,} items: give it the same --items")
    name = own_name(other)
    return _rival(record, name if name != own_name(record) else folder.name, other.right[:, places])


def _rival(record: PromptRecord, name: str, right: np.ndarray) -> Rival:
    return Rival(name, right, accuracy_interval(right, record.groups))


def _places(record: PromptRecord, keys: Sequence[tuple[str, str]]) -> list[int] | None:
    """Return where each item stands among others' keys; None where one is missing."""
    where = {key: place for place, key in reversed(list(enumerate(keys)))}
    found = [where.get(key) for key in record.item_keys()]
    return None if None in found else [place for place in found if place is not None]


def _label(record: PromptRecord, item: int) -> str:
    return str(record.items[item]["label"])
