"""The events of metrics.jsonl, a line each.

    train        every few steps        evaluation   of the validation split     sample   what the model then writes
    checkpoint   one was written        resume       earlier lines beyond its step are void     end   why it ended

An event of another kind, or a value that is none, is left out in reading: the rest can be used.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, ValidationError

from heed.records.figures import KeptFigures
from heed.records.kept import Kept, Number, PlainList, PlainObject, Whole

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


class EndEvent(Event):
    """The training ended."""

    KIND = "end"
    step: Any = None
    reason: Any = "finished"


KINDS = {kind.KIND: kind for kind in (TrainEvent, EvaluationEvent, SampleEvent, CheckpointEvent, ResumeEvent, EndEvent)}


def read_event(line: Any) -> Event | None:
    """Return the event that a line of metrics.jsonl holds, None where it is none of a known kind, or has no step."""
    values = dict(line) if isinstance(line, dict) else {}
    kind = KINDS.get(str(values.pop("event", "")))
    try:
        return None if kind is None else kind.model_validate(values)
    except ValidationError:
        return None


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
