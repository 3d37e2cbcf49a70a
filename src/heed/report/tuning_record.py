"""What `heed tune` found, in one plain object: every arm (an encoder with a method), its runs and their predictions.

    FOLDER/tune.json                                   data, encoders, arms with their searches, memory and runs
    FOLDER/runs/lora-1/predictions-test.jsonl          a line an example: place, text, label, predicted, probabilities

A tune may be unfinished: arms without runs have a row and no figure. tune.json that cannot be read is an error, since
nothing can be said without it; predictions that are missing or broken are named in `notes` and cost what needs them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from heed import seals
from heed.errors import CheckpointError, HeedError
from heed.records.checkpoints import CONFIG, read_config, refuse_edited, unexplained
from heed.records.events import METRICS, Event, TrainEvent, read_event
from heed.records.kept import DamagedError, read_record, unknown
from heed.records.tune import TUNE, SizePoint
from heed.report.gradings import Grading, grading_of
from heed.report.record import number
from heed.report.tuning_arms import Arm, ReadTune
from heed.report.tuning_predictions import PredictionReader, Split, SplitExamples
from heed.targets import Target, target_of

SPLITS: tuple[Split, ...] = ("validation", "test")


@dataclass(frozen=True)
class TuningRecord:
    """A tune as plain values."""

    folder: Path
    name: str
    """Of the data."""
    target: Target
    """What was learned of a text."""
    data: Mapping[str, Any]
    """Splits, leakage, notes and lengths, as tune.json has them."""
    encoders: Mapping[str, Mapping[str, Any]]
    seeds: tuple[int, ...]
    settings: Mapping[str, Any]
    """Epochs, batch size, steps, and how rates were searched."""
    machine: Mapping[str, Any]
    command: tuple[str, ...]
    arms: tuple[Arm, ...]
    """In the order of the command."""
    sizes: tuple[SizePoint, ...]
    examples: Mapping[Split, SplitExamples]
    """Of those splits that a run has predictions of."""
    notes: tuple[str, ...] = field(default=())
    """What is missing or could not be read."""

    @property
    def split(self) -> Split:
        """What is reported: test where a run has it, else validation."""
        return "test" if any(run.test for arm in self.arms for run in arm.runs) else "validation"

    @cached_property
    def ran(self) -> tuple[Arm, ...]:
        """The arms that have a figure of the split that is reported, the best mean on validation first."""
        having = [arm for arm in self.arms if self.mean(arm, self.split) is not None]
        return tuple(sorted(having, key=lambda arm: -(self.mean(arm, "validation") or 0.0)))

    @property
    def reference(self) -> Arm | None:
        """The arm with the best mean on validation; None before there is one."""
        return self.ran[0] if self.ran else None

    @property
    def unfinished(self) -> list[str]:
        """Names of the arms that lack runs and did not fail."""
        return [arm.name for arm in self.arms if not arm.failed and len(arm.soup or arm.runs) < len(self.seeds)]

    @cached_property
    def grading(self) -> Grading:
        """How what runs say is marked."""
        return grading_of(self.target)

    def mean(self, arm: Arm, split: Split) -> float | None:
        """Return the mean over seeds of the figure that arms are compared by; None where no run has it."""
        return arm.mean(self.grading.figure, split)

    def baseline(self, split: Split) -> float | None:
        """Return what always the same answer gets on a split, such as the share of the commonest class."""
        found = [scores for arm in self.arms for run in arm.runs if (scores := run.scores(split)) is not None]
        return getattr(found[0], self.grading.baseline) if found else None

    def answering(self, split: Split) -> list[Arm]:
        """Return the arms all of whose runs have predictions of a split, the best first."""
        return [arm for arm in self.ran if split in arm.answered]

    def unknown_shares(self) -> dict[str, float]:
        """Return the largest share of unknown tokens among the splits, by encoder; those that were counted."""
        read = {name: facts.get("read") for name, facts in self.encoders.items()}
        return {
            name: max(number(one.get("unknown")) or 0.0 for one in splits.values())
            for name, splits in read.items()
            if isinstance(splits, dict) and splits
        }

    def confusion(self, arm: Arm) -> np.ndarray | None:
        """Return the confusion matrix (C, C) of the best run of an arm on the split that is reported.

        None where there is none, as of what is no class.
        """
        counts = np.array(getattr(arm.best_run.scores(self.split), "confusion", []))
        return counts if counts.shape == (len(self.target.names),) * 2 else None


def read_tuning(folder: str | Path) -> TuningRecord:
    """Read a folder of `heed tune`. Raises `CheckpointError` when tune.json is missing or damaged."""
    root = Path(folder).resolve()
    shown = f"{folder}/{TUNE}"
    try:
        return _record(root, read_record(ReadTune, root / TUNE, shown))
    except DamagedError as error:
        raise DamagedError(f"{error}: run heed tune again") from None
    except FileNotFoundError:
        raise CheckpointError(f"{folder} holds no {TUNE}: heed tune DATA --out FOLDER writes one") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{shown} cannot be read ({_first_line(error)}): run heed tune again") from error


def _record(root: Path, tune: ReadTune) -> TuningRecord:
    try:
        target = target_of(tune.data.plain())
    except (KeyError, TypeError, ValueError):
        raise ValueError("data says nothing of what is learned, or what this heed does not know") from None
    reader = PredictionReader(root, grading_of(target))
    edited: list[str] = []
    for run in (run for arm in tune.arms for run in arm.runs):
        run.curve = [point for point in run.curve if not math.isnan(point.epoch)]  # before anything was logged
        events = _events(root / run.folder / METRICS)
        run._last_rate = _last_rate(events)
        edited += _edited(root, root / run.folder, events)
        for split, scores in zip(SPLITS, (run.validation, run.test), strict=True):
            if scores is not None and (read := reader.read(run.folder, split, scores)) is not None:
                run.answers[split] = read
    known = ("epochs", "batch_size", "steps", "search")
    content = tune.plain()
    newer = [f"{TUNE} has {name}, which this heed does not know: a newer one wrote it." for name in unknown(tune)]
    return TuningRecord(
        folder=root,
        name=tune.data.name,
        target=target,
        data=tune.data.plain(),
        encoders=tune.encoders,
        seeds=tuple(tune.seeds),
        settings={key: content[key] for key in known if key in content},
        machine=tune.machine,
        command=tuple(map(str, tune.command)),
        arms=tuple(tune.arms),
        sizes=tuple(tune.sizes),
        examples=reader.examples,
        notes=(*reader.notes, *edited, *_without_groups(tune, reader), *newer),
    )


def _events(path: Path) -> list[Event]:
    """Return what a run logged, the last first, as far as it can be read."""
    try:
        lines = seals.read_bytes(path).splitlines()
    except OSError:
        return []
    found = []
    for line in reversed(lines):
        with suppress(ValueError, RecursionError):
            found.append(read_event(json.loads(line)))
    return [event for event in found if event is not None]


def _last_rate(events: list[Event]) -> float | None:
    """Return the learning rate of the last update that a run logged; None where it is not known."""
    last = next((event for event in events if isinstance(event, TrainEvent)), None)
    return None if last is None else last.finite("learning_rate")


def _edited(root: Path, run: Path, events: list[Event]) -> list[str]:
    """Say what config.yaml of a run holds that its checkpoints do not."""
    if not (run / CONFIG).is_file():
        return []
    try:
        values, altered = read_config(run)
        refuse_edited(run, values, altered)
    except HeedError as error:
        return [f"{error}.".replace(f"{root}/", "")]
    return [f"{run.relative_to(root)}/{one}" for one in unexplained(run, values, events)]


def _without_groups(tune: ReadTune, reader: PredictionReader) -> list[str]:
    """Say that intervals know nothing of the groups that the command names, where predictions do not."""
    command = [str(part).split("=")[0] for part in tune.command]
    if not reader.examples or reader.names_groups or not {"--group", "--data.group"} & set(command):
        return []
    return ["Predictions name no groups, or no held-out text has one: intervals take examples as independent."]


def _first_line(error: Exception) -> str:
    """Return what an error says, on one line."""
    return (error.strerror if isinstance(error, OSError) else None) or " ".join(str(error).split())
