"""What a table says of a run: read from its folder in a moment, whatever state it is in.

config.yaml, environment.json and evaluation.json are read whole and held against their hashes, of metrics.jsonl the
end. A folder that is damaged is a row like any other, whose state says so and whose note names the file.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path, PurePath
from typing import Any

from heed import files, seals
from heed.config import flatten
from heed.errors import HeedError, one_line, why
from heed.records.checkpoints import CONFIG
from heed.records.events import METRICS
from heed.records.figures import KeptFigures
from heed.records.folder import SAMPLES
from heed.records.run import ENVIRONMENT, EVALUATION
from heed.report.figure_kinds import FIGURES
from heed.report.passport import Passport
from heed.report.record import RunRecord, gather, passport_of

STATES = {
    "running": "a process is at it now",
    "finished": "all steps are made",
    "early": "the validation loss fell no more, so it stopped as train.patience asks",
    "interrupted": "it was stopped, or its process died; heed train --resume goes on with it",
    "not finite": "a loss or gradient was NaN or infinite",
    "untrained": "it has weights, and nobody has trained it here",
    "damaged": "a file of it cannot be read, or is not as heed wrote it",
}
"""What a run can be, and what that means."""
READ = (CONFIG, ENVIRONMENT, METRICS, EVALUATION, SAMPLES, seals.SEALS)
"""The files of a run that are read; a link or a pipe in the place of one is not."""
_OWN_STATES = {"nan": "not finite", "unfinished": "interrupted"}


_PASSPORT = tuple(field.name for field in fields(Passport))


@dataclass(frozen=True)
class RunSummary:
    """A row of the table."""

    name: str
    """The path of its folder, as it is shown."""
    state: str
    """One of `STATES`."""
    leaks: bool = False
    """Whether its model sees the tokens that it should predict."""
    corpus: str = ""
    model: str = ""
    step: int = 0
    steps: int | None = None
    """Planned."""
    seconds: float | None = None
    """Of training."""
    tokens: int | None = None
    """Seen in training."""
    begun: str = ""
    """ISO 8601, UTC."""
    split: str = "validation"
    figures: Mapping[str, float] = field(default_factory=dict)
    """By the names of `FIGURES`."""
    measured_at: int | None = None
    """The step of an evaluation on the way; None: the final figures, of the best weights."""
    passport: Passport | None = None
    of_tune: tuple[str, ...] = ()
    """Of a tuned run, which has no passport: its labelled texts, name and fingerprint."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """By dotted name."""
    notes: tuple[str, ...] = ()

    def alike(self, figure: str | None = None) -> tuple[Any, ...]:
        """Return what must be equal in two runs before `figure` may be compared; all that is known without one.

        Empty where nothing is known: such figures are compared with none.
        """
        if self.passport is not None:
            return tuple(getattr(self.passport, name) for name in (FIGURES[figure].moved_by if figure else _PASSPORT))
        return ("tuned", self.split, *self.of_tune) if self.of_tune else ()

    @property
    def said_state(self) -> str:
        """The state, and whether the model leaks."""
        return f"{self.state}, LEAKS" if self.leaks else self.state

    @property
    def left(self) -> float | None:
        """Seconds of training that are left, where it runs and goes on as it did."""
        if self.state != "running" or not self.step or self.seconds is None:
            return None
        limit = self.settings.get("train.seconds")
        if isinstance(limit, int | float):
            return max(0.0, limit - self.seconds)
        return None if self.steps is None else max(0, self.steps - self.step) * self.seconds / self.step


def summarise(folder: Path, name: str, split: str = "validation") -> RunSummary:
    """Return the row of a run folder; what is wrong with it is in its state and its notes."""
    running = files.is_held(folder / files.LOCK)
    odd = [path for path in (folder / file for file in READ) if os.path.lexists(path) and not is_plain(path)]
    if odd:
        note = f"{odd[0]} is a link or no file, and is not read"
        return RunSummary(name, "running" if running else "damaged", split=split, notes=(one_line(note, 500),))
    try:
        record = gather(folder, brief=True)
    except HeedError as error:
        return RunSummary(name, "running" if running else "damaged", split=split, notes=(one_line(error, 500),))
    except (OSError, ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
        return RunSummary(name, "damaged", split=split, notes=(f"{name} cannot be read: {one_line(why(error), 300)}",))
    figures, at = figures_of(record, split)
    last, steps, settings = record.last, record.planned_steps, dict(flatten(record.config))
    data = getattr(record.environment, "data", None)  # of a tuned run
    source = data if "encoder" in record.config and isinstance(data, Mapping) else {}
    tokens = last.finite("tokens")
    return RunSummary(
        name=name,
        state=state_of(record, folder, running=running),
        leaks=record.leaks is not None,
        corpus=corpus_of(record.config),
        model=model_of(record.config),
        step=record.steps,
        steps=steps if type(steps) is int else None,
        seconds=last.finite("seconds"),
        tokens=None if tokens is None else int(tokens),
        begun=str(record.environment.time or ""),
        split=split,
        figures=figures_by_name(figures),
        measured_at=at,
        passport=passport_of(figures),
        of_tune=tuple(str(source[key]) for key in ("name", "fingerprint") if key in source),
        settings=settings,
        notes=tuple(note for note in record.notes if not note.startswith(f"{EVALUATION} is missing")),
    )


def is_plain(path: Path) -> bool:
    """Whether there is a file of this name itself."""
    with suppress(OSError):
        return stat.S_ISREG(path.lstat().st_mode)
    return False


def state_of(record: RunRecord, folder: Path, *, running: bool) -> str:
    """Return the state of a run."""
    if running:
        return "running"
    if not record.config or any("cannot be read" in note for note in record.notes):
        return "damaged"
    if not (folder / METRICS).is_file():
        return "damaged" if seals.knows(folder / METRICS) else "untrained"
    return _OWN_STATES.get(record.state, record.state)


def figures_of(record: RunRecord, split: str) -> tuple[KeptFigures | None, int | None]:
    """Return the figures of a split, and the step that they were measured at where they are not the final ones."""
    final = record.evaluation.get(split)
    if final is not None and "loss" in final.model_fields_set:
        return final, None
    if split == "validation" and record.evaluations:
        return record.evaluations[-1], record.evaluations[-1].step
    return None, None


def figures_by_name(figures: KeptFigures | None) -> dict[str, float]:
    """Return the figures that can be compared, as far as there are any."""
    found = {} if figures is None else {name: figures.finite(name) for name in FIGURES}
    return {name: value for name, value in found.items() if value is not None}


def corpus_of(config: Mapping[str, Any]) -> str:
    """Return a short name of the text of a run.

    >>> corpus_of({"data": {"source": "texts/book.txt"}}), corpus_of({"data": {"source": "hf:a/wikitext/103"}})
    ('book', 'wikitext/103')
    """
    data = config.get("data")
    source = str(data.get("source") or "") if isinstance(data, Mapping) else ""
    if source.startswith("hf:"):
        return source.removeprefix("hf:").partition("/")[2]
    path = PurePath(source)
    return path.parent.name if path.stem == "input" and path.parent.name else path.stem


def model_of(config: Mapping[str, Any]) -> str:
    """Return a model in a few words: its preset or shape, and what is not as usual; of a tuned run encoder and method.

    >>> model_of({"model": {"kind": "gpt", "n_layers": 4, "d_model": 128, "positions": "alibi"}})
    'gpt 4x128, alibi'
    >>> model_of({"encoder": {"name": "minilm"}, "method": {"name": "lora"}})
    'minilm, lora'
    """
    if "encoder" in config:
        return f"{PurePath(str(_part(config, 'encoder').get('name'))).name}, {_part(config, 'method').get('name')}"
    model = _part(config, "model")
    if not model:
        return ""
    kind = model.get("preset") or model.get("kind")
    if not model.get("preset") and "n_layers" in model:
        kind = f"{kind} {model.get('n_layers')}x{model.get('d_model')}"
    odd = [_part(model, "attention").get("mechanism", "softmax"), model.get("positions", "learned")]
    return ", ".join([str(kind), *(str(one) for one in odd if one not in ("softmax", "learned"))])


def _part(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return own if isinstance(own := values.get(name), Mapping) else {}
