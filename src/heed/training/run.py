"""The run folder: everything that is known of one training run, enough by itself.

    runs/<name>/
      config.yaml        resolved: every default written out
      environment.json   versions, git commit, machine, seeds, command line
      tokenizer.json     Hugging Face tokenizers format
      metrics.jsonl      one JSON object a line, append only
      checkpoints/       see checkpoint.py

`metrics.jsonl` is never rewritten. A run that is resumed at step s appends {"event": "resume", "step": s}: every
earlier line beyond step s, and every earlier `end`, is void. `read_metrics` applies this.
"""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol

import numpy
import torch
from pydantic import ValidationError
from typing_extensions import TypeVar

import heed
from heed.config import Config, RunConfig, Section, make_config, read_yaml, write_yaml
from heed.errors import CheckpointError
from heed.report.record import hold
from heed.training.checkpoint import find_checkpoint, load_checkpoint
from heed.training.devices import machine_facts
from heed.training.streams import NAMES, stream_seed

try:
    import fcntl
except ImportError:  # Windows has none, and there nothing keeps two processes apart
    fcntl = None

if TYPE_CHECKING:
    from torch import nn

    from heed.models import LanguageModel
    from heed.text.tokenizer import Tokenizer

CONFIG, ENVIRONMENT, METRICS, CHECKPOINTS = "config.yaml", "environment.json", "metrics.jsonl", "checkpoints"
OWN = (
    CONFIG, ENVIRONMENT, METRICS, CHECKPOINTS,
    "tokenizer.json", "evaluation.json", "lengths.json", "samples.jsonl", "report.html", "hf",
    "answers.jsonl", "evaluation-qa.json", "trust.json",
)  # fmt: skip
"""What belongs to a run folder; nothing else is ever deleted."""
FINAL = (
    "evaluation.json", "lengths.json", "samples.jsonl", "answers.jsonl", "evaluation-qa.json", "trust.json",
)  # fmt: skip
"""Of these, what was measured on the last weights and is void once they change."""


class Settings(Protocol):
    """What every kind of run has in its configuration: `heed.config.Config`, `TuneConfig`."""

    @property
    def run(self) -> RunConfig:
        """Where the run is written, and its seed."""
        ...

    def model_dump(self) -> dict[str, Any]:
        """Return everything as plain values."""
        ...


C = TypeVar("C", bound=Settings, default=Config)
S = TypeVar("S", bound=Section)


class Run(Generic[C]):
    """A run folder that is open for reading and for appending; its configuration is mostly a `Config`."""

    def __init__(self, folder: Path, config: C) -> None:
        self.folder = folder
        self.config = config

    @classmethod
    def create(
        cls,
        folder: str | Path,
        config: C,
        *,
        tokenizer: Tokenizer | None = None,
        overwrite: bool = False,
        facts: Mapping[str, Any] | None = None,
    ) -> Run[C]:
        """Make a new run folder with config.yaml, tokenizer.json and environment.json, which also holds `facts`.

        With `overwrite` what an earlier run left there is deleted; files that are not heed's stay.
        Raises `CheckpointError` when the folder is in use and `overwrite` is not given, or is no run folder.
        """
        path = Path(folder)
        try:
            refuse_if_taken(path, overwrite=overwrite)
            _delete_run(path)
            path.mkdir(parents=True, exist_ok=True)
            write_json(path / ENVIRONMENT, environment(config.run.seed) | dict(facts or {}))
            if tokenizer is not None:
                tokenizer.save(path / "tokenizer.json")
            write_yaml(config, path / CONFIG)  # last: a folder with a config is a whole run
        except OSError as error:
            raise CheckpointError(f"{path} cannot be written: {error.strerror}; choose another --run.folder") from error
        return cls(path, config)

    @classmethod
    def open(cls, folder: str | Path) -> Run[Config]:
        """Open the run folder of a language model or classifier. Raises `CheckpointError` when it is none."""
        values = _read_config(Path(folder), "heed train")
        if "encoder" in values:
            raise CheckpointError(
                f"{folder} is a run of heed tune: ask it with heed predict, or write it with heed export"
            )
        if isinstance(data := values.get("data"), dict):  # a run from before this setting read its text as it was
            data.setdefault("line_ends", "keep")
        return Run(Path(folder), make_config(values))

    @property
    def classes(self) -> tuple[str, ...] | None:
        """The names of the classes that the run's model tells apart, in the order of its outputs; None: it has none."""
        names = self.fact("classes")
        return None if names is None else tuple(map(str, names))

    @property
    def leaks(self) -> str | None:
        """What the audit found before the training, where it found a leak that was allowed."""
        found = self.fact("leaks")
        return None if found is None else str(found)

    def fact(self, name: str) -> Any:
        """Return what environment.json says of `name`, None where it says nothing."""
        try:
            return json.loads((self.folder / ENVIRONMENT).read_text(encoding="utf-8")).get(name)
        except (OSError, ValueError, AttributeError):
            raise CheckpointError(
                f"{self.folder / ENVIRONMENT} is damaged: bring it back, it is part of the run"
            ) from None

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.folder / CHECKPOINTS

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from training in this folder. Raises `CheckpointError` when one is at it already."""
        with (self.folder / METRICS).open("a") as file:
            if fcntl is not None:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise CheckpointError(
                        f"another process is training in {self.folder}: wait for it, or end it"
                    ) from None
            yield

    def log(self, event: Mapping[str, Any]) -> None:
        """Append one event to metrics.jsonl; it reaches the operating system before this returns.

        Raises `CheckpointError` when the disk is full.
        """
        line = json.dumps(event, allow_nan=False, ensure_ascii=False)
        try:
            with (self.folder / METRICS).open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError as error:
            raise CheckpointError(
                f"{self.folder / METRICS} cannot be written: {error.strerror}; make room and go on with --resume"
            ) from error

    def log_resume(self, step: int) -> None:
        """Keep the configuration, and say that the run goes on from `step`: earlier final figures are void.

        A line that was cut off when the process died is taken away first.
        """
        write_yaml(self.config, self.folder / CONFIG)
        for name in FINAL:
            (self.folder / name).unlink(missing_ok=True)
        path = self.folder / METRICS
        if path.exists():
            content = path.read_bytes()
            whole = content.rfind(b"\n") + 1
            if whole < len(content):
                with path.open("r+b") as file:
                    file.truncate(whole)
        self.log({"event": "resume", "step": step, "time": _now()})

    def read_metrics(self) -> list[dict[str, Any]]:
        """Return the valid events in order; see `read_metrics`."""
        return read_metrics(self.folder / METRICS)


def open_as(folder: str | Path, kind: type[S], verb: str) -> S:
    """Return the configuration of a run folder of another kind. Raises `CheckpointError` when it is none of `verb`."""
    path = Path(folder)
    try:
        return kind.model_validate(_read_config(path, verb))
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        raise CheckpointError(f"{path / CONFIG} is not of {verb} ({where}): give a folder that it wrote") from None


def _read_config(path: Path, verb: str) -> dict[str, Any]:
    """Return the values in a run folder's config.yaml. Raises `CheckpointError` when there is none."""
    if not is_run(path):
        what = "is a file" if path.is_file() else "does not exist"
        what = "holds no run (no config.yaml)" if path.is_dir() else what
        raise CheckpointError(f"{path} {what}: give a folder that `{verb}` wrote")
    return read_yaml(path / CONFIG)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return the events of a metrics.jsonl that hold (see `heed.report.record.hold`); a cut last line is forgiven.

    No file is no events. Raises `CheckpointError` that names the line when another one is damaged.
    """
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n") if path.exists() else []
    events: list[dict[str, Any]] = []
    for number, line in enumerate(lines, 1):
        try:
            event = json.loads(line) if line else None
        except ValueError:
            if number == len(lines):  # no line end: the process died while it wrote
                break
            raise CheckpointError(f"{path}, line {number} is damaged: delete this line to read the rest") from None
        if event is not None:
            events.append(event)
    return hold(events)[0]


def load_run(
    folder: str | Path, checkpoint: str | int = "best", device: str | torch.device = "cpu"
) -> tuple[LanguageModel, Tokenizer, Config]:
    """Return (model in evaluation mode, tokenizer, config) of a run; `checkpoint` is "best", "last" or a step.

    Raises `CheckpointError` when the run or the checkpoint is missing, altered, or does not fit its config.
    """
    from heed.build import build_model
    from heed.text.tokenizer import load_tokenizer

    run = Run.open(folder)
    saved = load_checkpoint(find_checkpoint(run.checkpoints, checkpoint))
    tokenizer = load_tokenizer(run.folder)
    classes = None if run.config.data.label is None else len(run.classes or ())
    vocabulary = run.config.tokenizer.vocab_size  # may exceed the tokenizer's (padding)
    model = build_model(run.config.model, vocabulary, classes=classes)
    load_weights(model, saved.model)
    model.leaks = run.leaks
    return model.to(device).eval(), tokenizer, run.config


def load_weights(model: nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
    """Copy weights by name into `model`. Raises `CheckpointError` when a name or a shape does not fit."""
    own = model.state_dict()
    odd = sorted(own.keys() ^ weights.keys())
    odd += [name for name in own if name in weights and own[name].shape != weights[name].shape]
    if odd:
        raise CheckpointError(f"the checkpoint does not fit the model: {odd[0]} differs; is config.yaml the run's own?")
    model.load_state_dict(dict(weights))


def next_name(folder: str | Path, stem: str) -> Path:
    """Return the first of `folder/stem-1`, `folder/stem-2`, ... that is free."""
    number = 1
    while (Path(folder) / f"{stem}-{number}").exists():
        number += 1
    return Path(folder) / f"{stem}-{number}"


def refuse_if_taken(path: Path, *, overwrite: bool = False) -> None:
    """Raise `CheckpointError` when a new run cannot go into this folder: it is no run's, or a run's that is to stay."""
    begun = {ENVIRONMENT, "tokenizer.json", f"{CONFIG}.writing"}
    if path.is_dir() and {entry.name for entry in path.iterdir()} <= begun:
        return  # empty, or a process died while it made the folder: nobody can miss what it left
    if path.exists() and not is_run(path):
        raise CheckpointError(f"{path} exists and is no run folder: choose another name with --run.name")
    if path.exists() and not overwrite:
        raise CheckpointError(f"{path} holds a run already: go on with --resume {path}, or --overwrite it")


def is_run(path: Path) -> bool:
    """Whether a folder is a run's: it has the config and the environment that `Run.create` writes."""
    return (path / CONFIG).is_file() and (path / ENVIRONMENT).is_file()


def environment(seed: int) -> dict[str, Any]:
    """Return what a result depends on beside the config: versions, commit, machine, seeds, command line."""
    return {
        "time": _now(),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "heed": heed.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "git_commit": _git_commit(),
        "machine": machine_facts(),
        "seed": seed,
        "streams": {name: stream_seed(seed, name) for name in NAMES},
    }


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file that a person can read."""
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _delete_run(path: Path) -> None:
    for name in OWN:
        own = path / name
        if own.is_dir() and not own.is_symlink():
            shutil.rmtree(own)
        else:
            own.unlink(missing_ok=True)


def _git_commit() -> str | None:
    """The commit of the working folder, None outside of a repository or without git."""
    try:
        answer = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
