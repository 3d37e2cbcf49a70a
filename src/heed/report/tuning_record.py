"""What `heed tune` found, in one plain object: every arm (an encoder with a method), its runs and their predictions.

    FOLDER/tune.json                                   data, encoders, arms with their searches, memory and runs
    FOLDER/runs/lora-1/predictions-test.jsonl          a line an example: place, text, label, predicted, probabilities

A tune may be unfinished: arms without runs have a row and no figure. tune.json that cannot be read is an error, since
nothing can be said without it; predictions that are missing or broken are named in `notes` and cost what needs them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np

from heed import seals
from heed.errors import CheckpointError
from heed.report.record import number
from heed.report.tuning_arms import Arm, CurvePoint, Memory, Run, Scores, Trial
from heed.report.tuning_predictions import Answers, Examples, PredictionReader, Split

FILE, FORMAT = "tune.json", 1
SPLITS: tuple[Split, ...] = ("validation", "test")
T = TypeVar("T")


@dataclass(frozen=True)
class Size:
    """A run on part of the training examples."""

    arm: str
    examples: int
    seed: int
    validation: Scores
    test: Scores | None


@dataclass(frozen=True)
class TuningRecord:
    """A tune as plain values."""

    folder: Path
    name: str
    """Of the data."""
    classes: tuple[str, ...]
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
    sizes: tuple[Size, ...]
    examples: Mapping[Split, Examples]
    """Of those splits that a run has predictions of."""
    notes: tuple[str, ...] = field(default=())
    """What is missing or could not be read."""

    @property
    def split(self) -> Split:
        """What is reported: test where a run has it, else validation."""
        return "test" if any(run.test for arm in self.arms for run in arm.runs) else "validation"

    @cached_property
    def ran(self) -> tuple[Arm, ...]:
        """The arms that have a figure of the split that is reported, the best mean validation accuracy first."""
        having = [arm for arm in self.arms if arm.mean("accuracy", self.split) is not None]
        return tuple(sorted(having, key=lambda arm: -(arm.mean("accuracy", "validation") or 0.0)))

    @property
    def reference(self) -> Arm | None:
        """The arm with the best mean validation accuracy; None before there is one."""
        return self.ran[0] if self.ran else None

    @property
    def unfinished(self) -> list[str]:
        """Names of the arms that lack runs and did not fail."""
        return [arm.name for arm in self.arms if not arm.failed and len(arm.soup or arm.runs) < len(self.seeds)]

    def majority(self, split: Split) -> float | None:
        """Return the share of the commonest class of a split."""
        found = [scores for arm in self.arms for run in arm.runs if (scores := run.scores(split)) is not None]
        return found[0].majority if found else None

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
        """Return the confusion matrix (C, C) of the best run of an arm on the split that is reported."""
        scores = arm.best_run.scores(self.split)
        counts = np.array(scores.confusion if scores is not None else [])
        return counts if counts.shape == (len(self.classes),) * 2 else None


def read_tuning(folder: str | Path) -> TuningRecord:
    """Read a folder of `heed tune`. Raises `CheckpointError` when tune.json is missing or damaged."""
    root = Path(folder).resolve()
    try:
        content = seals.read_json(root / FILE)
    except FileNotFoundError:
        raise CheckpointError(f"{folder} holds no {FILE}: heed tune DATA --out FOLDER writes one") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder}/{FILE} cannot be read ({_first_line(error)}): run heed tune again") from error
    values = Values(content, f"{folder}/{FILE}")
    if values.get("format", int) != FORMAT:
        raise CheckpointError(
            f"{folder}/{FILE} has format {values.get('format', int)}, this heed reads {FORMAT}: run heed tune again"
        )
    try:
        return _record(root, values)
    except (TypeError, ValueError) as error:  # a list of the wrong length, a word among numbers
        raise CheckpointError(f"{folder}/{FILE} is damaged ({_first_line(error)}): run heed tune again") from error


def _record(root: Path, values: Values) -> TuningRecord:
    data = values.inner("data")
    reader = PredictionReader(root, tuple(str(name) for name in data.get("classes", list)))
    known = ("epochs", "batch_size", "steps", "search")
    return TuningRecord(
        folder=root,
        name=data.get("name", str),
        classes=reader.classes,
        data=data.content,
        encoders={name: Values(one, f"{values.where}, {name}").content for name, one in values.items("encoders")},
        seeds=tuple(int(seed) for seed in values.get("seeds", list)),
        settings={key: values.content[key] for key in known if key in values.content},
        machine=values.get("machine", dict, {}),
        command=tuple(str(part) for part in values.get("command", list, [])),
        arms=tuple(_arm(one, reader) for one in values.each("arms")),
        sizes=tuple(_size(one) for one in values.each("sizes", [])),
        examples=reader.examples,
        notes=(*reader.notes, *_without_groups(values, reader)),
    )


class Values:
    """A JSON object that says where it stands when something in it is missing or of the wrong kind."""

    def __init__(self, content: Any, where: str) -> None:
        if not isinstance(content, dict):
            raise CheckpointError(f"{where} is damaged (no JSON object): run heed tune again")
        self.content: dict[str, Any] = content
        self.where = where

    def get(self, key: str, kind: type[T], *default: Any) -> T:
        """Return a value of a kind; with a default, null and a missing key give that. Raises `CheckpointError`."""
        value = self.content.get(key)
        amount = number(value)
        if kind is float:
            value = amount
        elif kind is int and amount is not None and amount.is_integer():
            value = int(amount)  # 162.0 steps are 162
        if value is None and default:
            return default[0]
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            state = "is missing" if key not in self.content else f"is no {kind.__name__}"
            raise CheckpointError(f"{self.where} is damaged ({key} {state}): run heed tune again")
        return cast(T, value)

    def inner(self, key: str) -> Values:
        """Return an object inside."""
        return Values(self.get(key, dict), f"{self.where}, {key}")

    def items(self, key: str) -> list[tuple[str, Any]]:
        """Return the pairs of an object inside."""
        return list(self.get(key, dict).items())

    def each(self, key: str, *default: Any) -> list[Values]:
        """Return the objects of a list inside."""
        return [Values(one, f"{self.where}, {key} {place}") for place, one in enumerate(self.get(key, list, *default))]

    def maybe(self, key: str, make: Callable[[Values], T]) -> T | None:
        """Return what `make` makes of an object inside; None where there is null, or nothing."""
        return make(self.inner(key)) if self.content.get(key) is not None else None


def _arm(one: Values, reader: PredictionReader) -> Arm:
    name = one.get("name", str)
    return Arm(
        name=name,
        encoder=one.get("encoder", str),
        method=one.get("method", str),
        options=one.get("options", dict, {}),
        pooling=one.get("pooling", str, ""),
        status=one.get("status", str),
        reason=one.get("reason", str, None),
        trained_parameters=one.get("trained_parameters", int, None),
        formula=one.get("formula", str, ""),
        learning_rate=one.get("learning_rate", float, None),
        search=tuple(_trial(trial) for trial in one.each("search", [])),
        memory=one.maybe("memory", _memory),
        runs=tuple(_run(run, reader) for run in one.each("runs", [])),
        soup=tuple(int(seed) for seed in one.get("soup", list, [])),
        steps=one.get("steps", int, None),
        optimizer=one.get("optimizer", str, ""),
        batch_size=one.get("batch_size", int, None),
        epochs=number(one.content.get("epochs")),
    )


def _run(one: Values, reader: PredictionReader) -> Run:
    folder = one.get("folder", str)
    validation, test = _scores(one.inner("validation")), one.maybe("test", _scores)
    answers: dict[Split, Answers] = {}
    for split, found in zip(SPLITS, (validation, test), strict=True):
        if found is not None and (read := reader.read(folder, split, found.correct)) is not None:
            answers[split] = read
    return Run(
        seed=one.get("seed", int),
        folder=folder,
        best_epoch=one.get("best_epoch", float, None),
        seconds=one.get("seconds", float),
        examples_per_second=one.get("examples_per_second", float, None),
        reason=one.get("reason", str, ""),
        curve=tuple(point for each in one.each("curve", []) if (point := _point(each)) is not None),
        validation=validation,
        test=test,
        answers=answers,
        train=one.maybe("train", _scores),
        last_rate=_last_rate(reader.root / folder / "metrics.jsonl"),
    )


def _last_rate(path: Path) -> float | None:
    """Return the learning rate of the last update that a run logged; None where it is not known."""
    try:
        lines = seals.read_bytes(path).splitlines()
        trained = (event for line in reversed(lines) if (event := json.loads(line)).get("event") == "train")
        return number(next(trained, {}).get("learning_rate"))
    except (OSError, ValueError, AttributeError, RecursionError):
        return None


def _scores(one: Values) -> Scores:
    low, high = one.get("accuracy_interval", list)
    return Scores(
        examples=one.get("examples", int),
        correct=one.get("correct", int),
        accuracy=one.get("accuracy", float),
        accuracy_interval=(float(low), float(high)),
        majority=one.get("majority", float),
        loss=one.get("loss", float, math.nan),
        f1=one.get("f1", float),
        f1_positive=one.get("f1_positive", float, None),
        mcc=one.get("mcc", float),
        calibration_error=one.get("calibration_error", float),
        bins=one.get("calibration_bins", int, 10),
        confusion=tuple(tuple(int(count) for count in row) for row in one.get("confusion", list)),
    )


def _point(one: Values) -> CurvePoint | None:
    epoch, *rest = (number(one.content.get(each.name)) for each in fields(CurvePoint))
    return None if epoch is None else CurvePoint(epoch, *rest)  # measured before anything was logged


def _without_groups(values: Values, reader: PredictionReader) -> list[str]:
    """Say that intervals know nothing of the groups that the command names, where predictions do not."""
    command = [str(part).split("=")[0] for part in values.get("command", list, [])]
    if not reader.examples or reader.names_groups or not {"--group", "--data.group"} & set(command):
        return []
    return ["Predictions name no groups, or no held-out text has one: intervals take examples as independent."]


def _trial(one: Values) -> Trial:
    return Trial(
        one.get("learning_rate", float), one.get("steps", int, 0), number(one.content.get("accuracy")),
        number(one.content.get("loss")), one.get("seconds", float, 0.0), one.get("chosen", bool, False),
    )  # fmt: skip


def _memory(one: Values) -> Memory:
    parts = (one.get(key, int, 0) for key in ("weights", "gradients", "optimizer", "activations"))
    rest = (
        one.get(key, int, None) for key in ("forward_peak", "backward_peak", "batch_size", "tokens", "all_gradients")
    )
    return Memory(*parts, *rest)


def _size(one: Values) -> Size:
    return Size(
        one.get("arm", str), one.get("examples", int), one.get("seed", int), _scores(one.inner("validation")),
        one.maybe("test", _scores),
    )  # fmt: skip


def _first_line(error: Exception) -> str:
    """Return what an error says, on one line."""
    return (error.strerror if isinstance(error, OSError) else None) or " ".join(str(error).split())
