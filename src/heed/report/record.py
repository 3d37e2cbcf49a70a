"""The record of a run: what its folder says, in one plain object that pages and tables are made of.

`gather` reads config.yaml, environment.json, metrics.jsonl, evaluation.json and samples.jsonl, and nothing else.
A run may be unfinished or have been killed in the middle of a line: what is missing or broken is named in
`RunRecord.notes`, and the rest is used. metrics.jsonl is append only, so an event `resume` with step N makes
earlier lines beyond step N void: that work was lost and done again.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from heed import seals
from heed.config import aim_of_values
from heed.errors import CheckpointError, HeedError
from heed.records.checkpoints import read_config, refuse_edited, unexplained
from heed.records.events import (
    METRICS,
    EndEvent,
    EvaluationEvent,
    Event,
    ResumeEvent,
    SampleEvent,
    ThreadsEvent,
    TrainEvent,
    hold,
    last_events,
    read_event,
)
from heed.records.figures import KeptFigures
from heed.records.folder import SAMPLES
from heed.records.kept import Kept, Record, read_leniently
from heed.records.run import ENVIRONMENT, EVALUATION, EnvironmentFile, EvaluationFile
from heed.report.passport import Passport


@dataclass(frozen=True)
class Change:
    """A setting that became another one when a run was resumed."""

    setting: str
    """Dotted name."""
    step: int
    """The last step that was made with the value before."""
    before: Any
    after: Any


LEAK = "a change of later tokens moves earlier predictions"
"""What is said of a leak that is flagged and not described."""
_FINISHED = ("finished", "completed", "complete", "done", "steps")
_EARLY = ("patience", "early stopping", "early-stopping", "early_stopping")


@dataclass(frozen=True)
class RunRecord:
    """A run folder as plain values."""

    name: str
    """Name of the folder."""
    config: dict[str, Any]
    """Settings by section, every default written out; empty when config.yaml is missing."""
    environment: EnvironmentFile = field(default_factory=EnvironmentFile)
    """Versions, git commit, machine, seeds."""
    train: tuple[TrainEvent, ...] = ()
    """Those that hold, by step."""
    evaluations: tuple[EvaluationEvent, ...] = ()
    """Those that hold, by step."""
    resumptions: tuple[int, ...] = ()
    """The steps from which the run was resumed."""
    end: str | None = None
    """Why the run ended; None: it did not come to an end."""
    evaluation: Mapping[str, KeptFigures] = field(default_factory=dict)
    """Final figures by split."""
    samples: tuple[dict[str, Any], ...] = ()
    """Texts that the finished model wrote, in the order of the file."""
    drafts: tuple[dict[str, Any], ...] = ()
    """Texts written while it trained (events `sample`), each with its step."""
    leaks: str | None = None
    """What the audit for leaks found, when it found one."""
    threads: tuple[ThreadsEvent, ...] = ()
    """How many threads the steps had, where that was chosen."""
    changes: tuple[Change, ...] = ()
    """The settings that became others on the way, in their order."""
    edited: tuple[str, ...] = ()
    """What config.yaml says of the training and nothing else in the folder does."""
    notes: tuple[str, ...] = ()
    """What is missing in the folder or could not be read."""

    @property
    def unit(self) -> str:
        """What training counts: token, masked token or example."""
        return aim_of_values(self.config).trained

    @property
    def measured(self) -> str:
        """What the figures are of: the unit of their passport, which for answers and hidden spans is not `unit`."""
        for values in (*self.evaluation.values(), *self.evaluations):
            if (passport := passport_of(values)) is not None:
                return passport.unit
        return self.unit

    @property
    def last(self) -> TrainEvent:
        """What was logged last of the training: the newer of the last `train` event and the last evaluation.

        An evaluation knows no epoch, which then goes on as it did up to the `train` event.
        """
        train = self.train[-1] if self.train else TrainEvent(step=0)
        end = self.evaluations[-1] if self.evaluations else EvaluationEvent(step=0)
        if end.step <= train.step:
            return train
        place = {name: value for name in ("tokens", "seconds") if (value := getattr(end, name)) is not None}
        epoch, tokens, now = train.finite("epoch"), train.finite("tokens"), end.finite("tokens")
        if epoch is not None and tokens and now:
            place["epoch"] = epoch * now / tokens
        return train.but(step=end.step, **place)

    @property
    def steps(self) -> int:
        """Optimizer steps done, as far as they were logged."""
        return max((event.step for event in (*self.train, *self.evaluations)), default=0)

    @property
    def planned_steps(self) -> int | None:
        """Optimizer steps asked for."""
        return self.setting("train.steps")

    @property
    def state(self) -> str:
        """One of finished, early (patience ran out), nan, interrupted, unfinished (no `end` was written)."""
        if self.end is None:
            return "unfinished"
        reason = self.end.lower()
        if reason in _FINISHED:
            return "finished"
        if any(word in reason for word in _EARLY):
            return "early"
        if "nan" in reason or "finite" in reason or "not a number" in reason:
            return "nan"
        return "interrupted"

    def setting(self, name: str) -> Any:
        """Return a setting by its dotted name, such as "train.steps"; None when it is not there."""
        value: Any = self.config
        for key in name.split("."):
            value = value.get(key) if isinstance(value, Mapping) else None
        return value

    def best(self) -> EvaluationEvent | None:
        """Return the evaluation with the lowest loss, the first of equal ones."""
        counted = [(loss, event) for event in self.evaluations if (loss := event.finite("loss")) is not None]
        return min(counted, key=lambda pair: pair[0], default=(None, None))[1]


def gather(run_folder: str | Path, *, brief: bool = False) -> RunRecord:
    """Read a run folder; in brief the samples are left out, and of the events all but the last of each kind.

    What is read in brief of metrics.jsonl is not held against its hash, for which all of it would have to be read.

    Raises `CheckpointError` when it is none or its config.yaml was edited, `ConfigError` where that is no YAML.
    """
    folder = Path(run_folder).resolve()
    if not (folder / "config.yaml").is_file() and not (folder / "metrics.jsonl").is_file():
        raise CheckpointError(
            f"{run_folder} is no run folder (no config.yaml, no metrics.jsonl): name one that `heed train` has written"
        )
    notes: list[str] = []
    config: dict[str, Any] = {}
    if (folder / "config.yaml").is_file():
        config, altered = read_config(folder)
        refuse_edited(folder, config, altered)
    else:
        notes.append("config.yaml is missing: the settings are not known.")
    environment = _read(EnvironmentFile, folder / ENVIRONMENT, notes, "versions and machine are not known")
    evaluation = _read(EvaluationFile, folder / EVALUATION, notes, "there are no final figures yet")
    lines: list[Event] = []
    if not brief:
        lines = [event for line in _read_lines(folder / METRICS, notes) if (event := read_event(line)) is not None]
    events, resumptions = (last_events(folder / METRICS), []) if brief else hold(lines)
    samples = () if brief else tuple(_read_lines(folder / SAMPLES, notes))
    ends = [event for event in events if isinstance(event, EndEvent)]
    edited = unexplained(folder, config, lines) if config and not brief else []
    return RunRecord(
        name=folder.name,
        config=config,
        environment=environment,
        train=tuple(event for event in events if isinstance(event, TrainEvent)),
        evaluations=tuple(event for event in events if isinstance(event, EvaluationEvent)),
        resumptions=tuple(resumptions),
        threads=tuple(event for event in events if isinstance(event, ThreadsEvent)),
        changes=tuple(changes_of(lines)),
        end=str(ends[-1].reason) if ends else None,
        evaluation=evaluation.splits,
        samples=samples,
        drafts=tuple(_drafts(events)),
        leaks=_find_leak([environment, evaluation, *evaluation.splits.values(), *events]),
        edited=tuple(edited),
        notes=(*notes, *edited),
    )


def changes_of(events: Iterable[Event]) -> list[Change]:
    """Return the settings that changed when a run was resumed, as far as steps were made with both values.

    >>> changes_of([ResumeEvent(step=8, changed={"train.clip": [1.0, 2.0]})])
    [Change(setting='train.clip', step=8, before=1.0, after=2.0)]
    """
    found: list[Change] = []
    for event in events:
        if isinstance(event, ResumeEvent):
            found = [change for change in found if change.step < event.step]  # it goes on with what held at that step
            for name, values in (event.changed or {}).items() if event.step else ():
                if isinstance(values, list) and len(values) == 2:
                    found.append(Change(str(name), event.step, *values))
    return found


def passport_of(figures: KeptFigures | None) -> Passport | None:
    """Return the passport beside some figures, or None when there is none that can be read."""
    try:
        return None if figures is None or figures.passport is None else Passport.from_dict(figures.passport)
    except (TypeError, HeedError):
        return None


def number(value: Any) -> float | None:
    """Return a finite number as float, and None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _drafts(events: Iterable[Event]) -> Iterator[dict[str, Any]]:
    """Yield the texts that the model wrote while it learned, each with the step of its event."""
    for event in events:
        for text in (event.texts or ()) if isinstance(event, SampleEvent) else ():
            yield {**(text if isinstance(text, dict) else {"text": str(text)}), "step": event.step}


def _read(kind: type[Record], path: Path, notes: list[str], consequence: str) -> Record:
    """Read a record; note what is missing or broken, and go on with an empty one."""
    try:
        content = seals.read_json(path)
    except FileNotFoundError:
        notes.append(f"{path.name} is missing: {consequence}.")
        return kind()
    except (OSError, ValueError):
        content = None
    if not isinstance(content, dict):
        notes.append(f"{path.name} cannot be read: {consequence}.")
        return kind()
    found, left_out = read_leniently(kind, content, path)
    notes += left_out
    return found


def _read_lines(path: Path, notes: list[str]) -> list[dict[str, Any]]:
    """Read JSON lines; a last line that was cut off is the trace of a killed run, any other bad one is noted."""
    if not path.is_file():
        if path.name == METRICS:
            notes.append("metrics.jsonl is missing: there are no curves.")
        return []
    lines = seals.read_bytes(path).decode("utf-8", errors="replace").rstrip("\n").split("\n")
    objects: list[dict[str, Any]] = []
    for index, line in enumerate(lines):
        if not line.strip():
            continue
        try:
            content = json.loads(line)
        except ValueError:
            content = None
        if isinstance(content, dict):
            objects.append(content)
        elif index == len(lines) - 1:
            notes.append(f"The last line of {path.name} is cut off: the run was killed while it wrote.")
        else:
            notes.append(f"Line {index + 1} of {path.name} is no JSON object and was left out.")
    return objects


def _find_leak(places: Iterable[Kept]) -> str | None:
    """Return what a flag `leaks` says, in capitals or not, wherever it is raised."""
    for place in places:
        for key, value in (vars(place) | (place.model_extra or {})).items():
            if key.lower() == "leaks" and value:
                return value if isinstance(value, str) else LEAK
    return None
