"""The events of metrics.jsonl, a line each.

    train        every few steps        evaluation   of the validation split     sample   what the model then writes
    checkpoint   one was written        resume       earlier lines beyond its step are void     end   why it ended
    threads      how many were chosen for the steps that follow

An event of another kind, or a value that is none, is left out in reading: the rest can be used.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, ValidationError

from heed.records.figures import KeptFigures
from heed.records.kept import Kept, Number, PlainList, PlainObject, Whole, finite_or_none

METRICS = "metrics.jsonl"


class Event(Kept):
    """Something that happened in a training."""

    OPEN: ClassVar[bool] = True
    KIND: ClassVar[str] = ""
    """Its key `event`."""
    step: Whole
    """Updates made by then."""

    def plain(self) -> dict[str, Any]:
        """Return what the line holds."""
        return {"event": self.KIND} | super().plain()


class TrainEvent(Event):
    """What the last steps came to."""

    KIND = "train"
    loss: Number = None
    """Mean of the steps since the event before."""
    learning_rate: Number = None
    gradient_norm: Number = None
    tokens: Number = None
    """Counted in training so far."""
    seconds: Number = None
    """Of training so far."""
    tokens_per_second: Number = None
    memory_bytes: Number = None
    epoch: Number = None


def _figures(value: Any) -> Any:
    return value if isinstance(value, dict | KeptFigures) else None


class EvaluationEvent(Event, KeptFigures):
    """The figures of the validation split."""

    KIND = "evaluation"
    tokens: Number = None
    seconds: Number = None
    train: Annotated[KeptFigures | None, BeforeValidator(_figures)] = None
    """Of a fixed part of the training data, measured in the same way."""


class SampleEvent(Event):
    """Texts that the model wrote while it learned."""

    KIND = "sample"
    texts: PlainList = None


class CheckpointEvent(Event):
    """A checkpoint was written."""

    KIND = "checkpoint"
    path: Any = None


class ResumeEvent(Event):
    """The run goes on from a step."""

    KIND = "resume"
    time: Any = None
    changed: PlainObject = None
    """{setting: [before, after]} where settings are others from there on."""


class ThreadsEvent(Event):
    """So many threads of the CPU make the steps that follow, until another one or the end."""

    KIND = "threads"
    threads: Number = None
    tokens_per_second: PlainObject = None
    """{number: targets a second} of forward and backward passes with the numbers that were measured."""


class EndEvent(Event):
    """The training ended."""

    KIND = "end"
    step: Any = None
    reason: Any = "finished"


KINDS = {
    kind.KIND: kind
    for kind in (TrainEvent, EvaluationEvent, SampleEvent, CheckpointEvent, ResumeEvent, ThreadsEvent, EndEvent)
}


def read_event(line: Any) -> Event | None:
    """Return the event that a line of metrics.jsonl holds, None where it is none of a known kind, or has no step."""
    values = dict(line) if isinstance(line, dict) else {}
    kind = KINDS.get(str(values.pop("event", "")))
    try:
        return None if kind is None else kind.model_validate(values)
    except ValidationError:
        return None


_NO_SCALARS = ("event", "step", "tokens", "seconds", "evaluation_seconds", "nats")


def scalars(line: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of a line by the names that trackers and curves give them.

    >>> scalars({"event": "train", "step": 3, "loss": 2.5, "learning_rate": 0.1, "epoch": None})
    {'train/loss': 2.5, 'train/learning_rate': 0.1}
    >>> scalars({"event": "evaluation", "step": 3, "loss": 2.5, "train": {"loss": 2.0}, "passport": {}})
    {'validation/loss': 2.5, 'train_part/loss': 2.0}
    """
    place = {"train": "train", "evaluation": "validation"}.get(str(line.get("event")))
    if place is None:
        return {}
    found = {
        f"{place}/{name}": float(value)
        for name, value in line.items()
        if name not in _NO_SCALARS and finite_or_none(value) is not None
    }
    part = line.get("train")
    if isinstance(part, Mapping):
        found |= {
            f"train_part/{name.partition('/')[2]}": value for name, value in scalars({**part, "event": "train"}).items()
        }
    return found


def hold(events: Iterable[Event]) -> tuple[list[Event], list[int]]:
    """Apply the rule of `resume`: return the events that hold, and the steps resumed from.

    >>> train = [TrainEvent(step=step) for step in (1, 2)]
    >>> found, resumed = hold([*train, ResumeEvent(step=1), TrainEvent(step=2, loss=3.0)])
    >>> [one.plain() for one in found], resumed
    ([{'event': 'train', 'step': 1}, {'event': 'train', 'step': 2, 'loss': 3.0}], [1])
    """
    found: list[Event] = []
    resumed: list[int] = []
    for event in events:
        if isinstance(event, ResumeEvent):
            # An earlier end is void as well, whatever its step: the run went on.
            found = [one for one in found if not isinstance(one, EndEvent) and one.step <= event.step]
            resumed = [*(step for step in resumed if step <= event.step), event.step]
        else:
            found.append(event)
    return found, resumed


BLOCK = 1 << 16
"""Bytes that are read at once from the end of a file."""


def last_events(path: Path) -> list[Event]:
    """Return the last `train`, the last `evaluation` and the `end` that hold, in the order of the file.

    Only so much of the file is read, from its end, as they take: a run of any length is looked at in the same time. No
    file is no events; a line that is none is passed over. It gives what `hold` gives of the whole file.
    """
    found: dict[type[Event], Event] = {}
    void, ended = float("inf"), True
    try:
        for line in _lines_from_end(path):
            kind = next((kind for name, kind in _LAST.items() if name in line), None)
            if kind is None or kind in found or (kind is EndEvent and not ended):
                continue
            try:
                event = read_event(json.loads(line))
            except (ValueError, RecursionError):  # cut off, or damaged
                continue
            if isinstance(event, ResumeEvent):
                void, ended = min(void, event.step), False
            elif isinstance(event, kind) and (kind is EndEvent or event.step <= void):
                found[kind] = event
            if TrainEvent in found and EvaluationEvent in found:  # an end comes after both
                break
    except FileNotFoundError:
        return []
    return list(reversed(found.values()))


_LAST = {f'"event": "{kind.KIND}"'.encode(): kind for kind in (TrainEvent, EvaluationEvent, EndEvent, ResumeEvent)}
"""What stands in a line, by what it is."""


def _lines_from_end(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file, the last one first."""
    with path.open("rb") as file:
        place = file.seek(0, os.SEEK_END)
        rest: list[bytes] = []
        while place:
            size = min(BLOCK, place)
            place -= size
            file.seek(place)
            lines = file.read(size).split(b"\n")
            if len(lines) == 1:  # a line longer than a block
                rest.append(lines[0])
                continue
            yield lines[-1] + b"".join(reversed(rest))
            yield from reversed(lines[1:-1])
            rest = [lines[0]]
        yield b"".join(reversed(rest))
