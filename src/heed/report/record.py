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
from heed.config import aim_of_values, read_yaml
from heed.errors import CheckpointError, HeedError
from heed.report.passport import Passport

Event = dict[str, Any]


@dataclass(frozen=True)
class Change:
    """A setting that became another one when a run was resumed."""

    setting: str
    """Dotted name."""
    step: int
    """The last step that was made with the value before."""
    before: Any
    after: Any


_FINISHED = ("finished", "completed", "complete", "done", "steps")
_EARLY = ("patience", "early stopping", "early-stopping", "early_stopping")


@dataclass(frozen=True)
class RunRecord:
    """A run folder as plain values."""

    name: str
    """Name of the folder."""
    config: dict[str, Any]
    """Settings by section, every default written out; empty when config.yaml is missing."""
    environment: dict[str, Any]
    """Versions, git commit, machine, seeds, as environment.json nests them."""
    train: tuple[Event, ...]
    """Events `train` that hold, by step."""
    evaluations: tuple[Event, ...]
    """Events `evaluation` that hold, by step."""
    resumptions: tuple[int, ...]
    """The steps from which the run was resumed."""
    end: str | None
    """Why the run ended; None: it did not come to an end."""
    evaluation: dict[str, dict[str, Any]]
    """Final figures by split."""
    samples: tuple[dict[str, Any], ...]
    """Texts that the finished model wrote, in the order of the file."""
    drafts: tuple[dict[str, Any], ...]
    """Texts written while it trained (events `sample`), each with its step."""
    leaks: str | None = None
    """What the audit for leaks found, when it found one."""
    changes: tuple[Change, ...] = ()
    """The settings that became others on the way, in their order."""
    notes: tuple[str, ...] = field(default=())
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
    def last(self) -> Event:
        """What was logged last of the training: the newer of the last `train` event and the last evaluation.

        An evaluation knows no epoch, which then goes on as it did up to the `train` event.
        """
        train = self.train[-1] if self.train else {}
        end = self.evaluations[-1] if self.evaluations else {}
        if not train or int(end.get("step", 0)) <= int(train["step"]):
            return train or end
        epoch, tokens = number(train.get("epoch")), number(train.get("tokens"))
        known = {key: value for key in ("step", "tokens", "seconds") if (value := end.get(key)) is not None}
        if epoch is not None and tokens and number(known.get("tokens")):
            known["epoch"] = epoch * known["tokens"] / tokens
        return {**train, **known}

    @property
    def steps(self) -> int:
        """Optimizer steps done, as far as they were logged."""
        return max((int(event["step"]) for event in (*self.train, *self.evaluations)), default=0)

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

    def fact(self, *names: str) -> Any:
        """Return the first value in the environment whose last key is one of `names`, at any depth."""
        leaves = {name.rsplit(".", 1)[-1]: value for name, value in reversed(list(flatten(self.environment)))}
        return next((leaves[name] for name in names if leaves.get(name) is not None), None)

    def best(self) -> Event | None:
        """Return the evaluation with the lowest loss, the first of equal ones."""
        counted = [event for event in self.evaluations if number(event.get("loss")) is not None]
        return min(counted, key=lambda event: event["loss"], default=None)


def gather(run_folder: str | Path) -> RunRecord:
    """Read a run folder. Raises `CheckpointError` when it is none, `ConfigError` when config.yaml is no YAML."""
    folder = Path(run_folder).resolve()
    if not (folder / "config.yaml").is_file() and not (folder / "metrics.jsonl").is_file():
        raise CheckpointError(
            f"{run_folder} is no run folder (no config.yaml, no metrics.jsonl): name one that `heed train` has written"
        )
    notes: list[str] = []
    config: dict[str, Any] = {}
    if (folder / "config.yaml").is_file():
        seals.read_bytes(folder / "config.yaml")
        config = read_yaml(folder / "config.yaml")
    else:
        notes.append("config.yaml is missing: the settings are not known.")
    environment = _read_object(folder / "environment.json", notes, "versions and machine are not known")
    evaluation = _read_object(folder / "evaluation.json", notes, "there are no final figures yet")
    lines = _read_lines(folder / "metrics.jsonl", notes)
    events, resumptions = hold(lines)
    samples = tuple(_read_lines(folder / "samples.jsonl", notes))
    ends = [event for event in events if event.get("event") == "end"]
    return RunRecord(
        name=folder.name,
        config=config,
        environment=environment,
        train=tuple(event for event in events if event.get("event") == "train"),
        evaluations=tuple(event for event in events if event.get("event") == "evaluation"),
        resumptions=tuple(resumptions),
        changes=tuple(changes_of(lines)),
        end=str(ends[-1].get("reason", "finished")) if ends else None,
        evaluation={split: figures for split, figures in evaluation.items() if isinstance(figures, dict)},
        samples=samples,
        drafts=tuple(_drafts(events)),
        leaks=_find_leak([environment, evaluation, *evaluation.values(), *events]),
        notes=tuple(notes),
    )


def hold(lines: Iterable[Event]) -> tuple[list[Event], list[int]]:
    """Apply the rule of `resume`: return the events that hold, and the steps resumed from.

    >>> hold([{"event": "train", "step": 1}, {"event": "train", "step": 2}, {"event": "resume", "step": 1},
    ...       {"event": "train", "step": 2, "loss": 3.0}])
    ([{'event': 'train', 'step': 1}, {'event': 'train', 'step': 2, 'loss': 3.0}], [1])
    """
    events: list[Event] = []
    resumptions: list[int] = []
    for line in lines:
        step = line.get("step")
        if line.get("event") == "resume" and isinstance(step, int):
            # An earlier end has no step and is void as well: the run went on.
            events = [event for event in events if event.get("event") != "end" and event.get("step", 0) <= step]
            resumptions = [earlier for earlier in resumptions if earlier <= step]
            resumptions.append(step)
        elif line.get("event") == "end" or isinstance(step, int):
            events.append(line)
    return events, resumptions


def changes_of(lines: Iterable[Event]) -> list[Change]:
    """Return the settings that changed when a run was resumed, as far as steps were made with both values.

    >>> changes_of([{"event": "resume", "step": 8, "changed": {"train.clip": [1.0, 2.0]}}])
    [Change(setting='train.clip', step=8, before=1.0, after=2.0)]
    """
    found: list[Change] = []
    for line in lines:
        step, changed = line.get("step"), line.get("changed")
        if line.get("event") != "resume" or not isinstance(step, int):
            continue
        found = [change for change in found if change.step < step]  # it goes on with what held at that step
        for name, values in changed.items() if isinstance(changed, dict) and step else ():
            if isinstance(values, list) and len(values) == 2:
                found.append(Change(str(name), step, *values))
    return found


def passport_of(figures: Mapping[str, Any]) -> Passport | None:
    """Return the passport beside some figures, or None when there is none that can be read."""
    try:
        return Passport.from_dict(figures["passport"])
    except (KeyError, TypeError, HeedError):
        return None


def number(value: Any) -> float | None:
    """Return a finite number as float, and None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the leaves of nested mappings by dotted name.

    >>> list(flatten({"train": {"steps": 3}, "seed": 1}))
    [('train.steps', 3), ('seed', 1)]
    """
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _drafts(events: Iterable[Event]) -> Iterator[dict[str, Any]]:
    """Yield the texts of the events `sample`, each with the step of its event."""
    for event in events:
        texts = event.get("texts")
        if event.get("event") == "sample" and isinstance(texts, list):
            for text in texts:
                entry = text if isinstance(text, dict) else {"text": str(text)}
                yield {**entry, "step": event["step"]}


def _read_object(path: Path, notes: list[str], consequence: str) -> dict[str, Any]:
    """Read a JSON object; note what is missing or broken, and go on with an empty one."""
    try:
        content = seals.read_json(path)
    except FileNotFoundError:
        notes.append(f"{path.name} is missing: {consequence}.")
        return {}
    except (OSError, ValueError):
        content = None
    if not isinstance(content, dict):
        notes.append(f"{path.name} cannot be read: {consequence}.")
        return {}
    return content


def _read_lines(path: Path, notes: list[str]) -> list[Event]:
    """Read JSON lines; a last line that was cut off is the trace of a killed run, any other bad one is noted."""
    if not path.is_file():
        if path.name == "metrics.jsonl":
            notes.append("metrics.jsonl is missing: there are no curves.")
        return []
    lines = seals.read_bytes(path).decode("utf-8", errors="replace").rstrip("\n").split("\n")
    objects: list[Event] = []
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


def _find_leak(places: Iterable[Any]) -> str | None:
    """Return what a flag `leaks` says, in capitals or not, wherever it is raised."""
    for place in places:
        if not isinstance(place, Mapping):
            continue
        for key, value in place.items():
            if str(key).lower() == "leaks" and value:
                return value if isinstance(value, str) else "a change of later tokens moves earlier predictions"
    return None
