"""The run folder: everything that is known of one training run, enough by itself.

    runs/<name>/
      config.yaml        resolved: every default written out
      environment.json   versions, git commit, machine, seeds, command line
      tokenizer.json     Hugging Face tokenizers format
      metrics.jsonl      one JSON object a line, append only
      checkpoints/       see checkpoint.py
      hashes.json        the SHA-256 of these files, see heed.seals
      .lock              there while a process is at it

A folder with config.yaml is a whole run: the file comes last, and goes first where a run is written over.
`metrics.jsonl` is never rewritten. A run that is resumed at step s appends {"event": "resume", "step": s}: every
earlier line beyond step s, and every earlier `end`, is void. `read_metrics` applies this. Where settings are others
from there on, the event has them: {"changed": {"train.learning_rate": [before, after]}}.
"""

from __future__ import annotations

import itertools
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol

import numpy
import torch
from pydantic import ValidationError
from typing_extensions import TypeVar

import heed
from heed import files, seals
from heed.config import (
    BY_TEXT,
    NO_FIGURE,
    Config,
    RunConfig,
    Section,
    aim_of,
    flatten,
    held_out,
    make_config,
    read_yaml,
    write_yaml,
)
from heed.errors import CheckpointError, why
from heed.files import write_json
from heed.records.answers import ANSWERS, SUMMARY, TRUST
from heed.records.calibration import CALIBRATION
from heed.records.checkpoints import CHECKPOINTS, CONFIG
from heed.records.events import METRICS, CheckpointEvent, EndEvent, Event, ResumeEvent, hold, read_event
from heed.records.folder import OWN, SAMPLES, TOKENIZER, is_run
from heed.records.kept import DamagedError, read_record
from heed.records.run import ENVIRONMENT, EVALUATION, LENGTHS, EnvironmentFile, EvaluationFile, MachineFacts
from heed.slurm.queue import own_id
from heed.text.named import relative_to
from heed.training.checkpoint import find_checkpoint, load_checkpoint
from heed.training.devices import machine_facts
from heed.training.own_code import code_of
from heed.training.settings import read_settings
from heed.training.streams import NAMES, stream_seed

if TYPE_CHECKING:
    from torch import nn

    from heed.models import LanguageModel
    from heed.text.tokenizers import Tokenizer

FINAL = (
    EVALUATION, LENGTHS, SAMPLES, ANSWERS, SUMMARY, TRUST, CALIBRATION,
)  # fmt: skip
"""Of these, what was measured on the last weights and is void once they change."""
LONGEST_STEM = 100
"""Bytes of the name of a text that the name of its run begins with."""


class Measured(Protocol):
    """What an evaluation came to."""

    def as_dict(self) -> dict[str, Any]:
        """Return everything that a file shall hold of it."""
        ...


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
        self.listener: Callable[[Event], object] | None = None
        """Who is told each event once it is logged."""

    @classmethod
    def create(
        cls,
        folder: str | Path,
        config: C,
        *,
        tokenizer: Tokenizer | None = None,
        overwrite: bool = False,
        facts: Mapping[str, Any] | None = None,
        also: Callable[[Path], object] = lambda new: None,
    ) -> Run[C]:
        """Make a new run folder with config.yaml, tokenizer.json and environment.json, which also holds `facts`.

        What `also` writes into the folder that it is given is there with them, or not at all.
        With `overwrite` what an earlier run left there is deleted; files that are not heed's stay.
        Raises `CheckpointError` when the folder is in use and `overwrite` is not given, or is no run folder.
        """
        path = Path(folder)
        try:
            refuse_if_taken(path, overwrite=overwrite)
            with files.together(path, CONFIG, replacing=OWN) as new:
                began_in = {"began_in": _seen_from(path)}
                write_json(new / ENVIRONMENT, environment(config.run.seed, {**began_in, **(facts or {})}).plain())
                if tokenizer is not None:
                    tokenizer.save(new / TOKENIZER)
                write_yaml(config, new / CONFIG)
                seals.seal(new, (ENVIRONMENT, TOKENIZER))
                also(new)
        except OSError as error:
            raise CheckpointError(f"{path} cannot be written: {why(error)}; choose another --run.folder") from error
        return cls(path, config)

    @classmethod
    def open(cls, folder: str | Path) -> Run[Config]:
        """Open the run folder of a language model or classifier. Raises `CheckpointError` when it is none."""
        values = read_settings(Path(folder), "heed train")
        if "encoder" in values:
            raise CheckpointError(
                f"{folder} is a run of heed tune: ask it with heed predict, or write it with heed export"
            )
        if isinstance(data := values.get("data"), dict):  # a run from before this setting read its text as it was
            data.setdefault("line_ends", "keep")
        return Run(Path(folder), make_config(_as_held_out(values)))

    @property
    def classes(self) -> tuple[str, ...] | None:
        """The names of the classes that the run's model tells apart, in the order of its outputs; None: it has none."""
        names = self.environment.classes
        if names is not None and not (
            isinstance(names, list) and len(names) > 1 and len({*map(str, names)}) == len(names)
        ):
            raise self._damaged()
        return None if names is None else tuple(map(str, names))

    @property
    def leaks(self) -> str | None:
        """What the audit found before the training, where it found a leak that was allowed."""
        found = self.environment.leaks
        return None if found is None else str(found)

    @property
    def trusted(self) -> bool:
        """Whether a threshold was chosen for the answers of the best weights."""
        return (self.folder / TRUST).exists()

    @property
    def environment(self) -> EnvironmentFile:
        """What the results depend on beside the configuration, and what is known of the model."""
        try:
            return read_record(EnvironmentFile, self.folder / ENVIRONMENT)
        except (OSError, ValueError, DamagedError):
            raise self._damaged() from None

    def at_home(self) -> AbstractContextManager[None]:
        """Understand relative sources as the run did where it was begun, as far as they are still there."""
        folder = self.environment.began_in
        return relative_to(self.folder / folder if isinstance(folder, str) else None)

    def own_code(self) -> AbstractContextManager[None]:
        """Build models with the mechanism and score that the run was trained with, where these are not heed's."""
        config: Any = self.config
        return code_of(self.folder, self.environment.code, config.model)

    def _damaged(self) -> CheckpointError:
        return CheckpointError(f"{self.folder / ENVIRONMENT} is damaged: bring it back, it is part of the run")

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.folder / CHECKPOINTS

    def locked(self) -> AbstractContextManager[None]:
        """Keep other processes from training in this folder. Raises `CheckpointError` when one is at it already.

        Where this process keeps them out already, nothing is done.
        """
        return nullcontext() if files.is_ours(self.folder / files.LOCK) else locked(self.folder)

    def log(self, event: Event) -> None:
        """Append one event to metrics.jsonl; it reaches the operating system before this returns.

        Raises `CheckpointError` when the disk is full.
        """
        line = json.dumps(event.plain(), allow_nan=False, ensure_ascii=False)
        try:
            files.append(self.folder / METRICS, line + "\n")
            if isinstance(event, CheckpointEvent | EndEvent):
                seals.seal(self.folder, [METRICS])
        except OSError as error:
            raise CheckpointError(
                f"{self.folder / METRICS} cannot be written: {why(error)}; make room and go on with --resume"
            ) from error

        if self.listener is not None:
            self.listener(event)

    def sync(self) -> None:
        """Make the events durable: no checkpoint may outlive those before it."""
        try:
            files.sync(self.folder / METRICS)
        except OSError as error:
            raise CheckpointError(
                f"{self.folder / METRICS} cannot be written: {why(error)}; make room and go on with --resume"
            ) from error

    def changed_since(self, before: Mapping[str, Any] | None) -> dict[str, list[Any]]:
        """Return {setting: [before, now]} of what is not as in `before`; None: as in config.yaml.

        Where the run is written does not count.
        """
        kind: Any = type(self.config)
        values = read_yaml(self.folder / CONFIG) if before is None else before
        earlier = kind.model_validate(_as_held_out(values) if kind is Config else values)
        there, here = dict(flatten(plain(earlier))), dict(flatten(plain(self.config)))
        both = {name: [there.get(name), here.get(name)] for name in {**there, **here}}
        return {
            name: values
            for name, values in both.items()
            if values[0] != values[1] and name not in ("run.name", "run.folder", *NO_FIGURE)
        }

    def log_resume(self, step: int, changed: Mapping[str, Any] | None = None, *, goes_on: bool = True) -> None:
        """Say that the run goes on from `step`, and with which settings `changed`; keep the configuration.

        Earlier final figures are void. Where no step remains (`goes_on`) these stay, and the configuration is the one
        that the run was trained with. A line that was cut off when a process died is taken away first. Killed in
        between, a run has its old configuration and says what was to change.
        """
        path = self.folder / METRICS
        if path.exists():
            content = _read_events(path)
            whole = content.rfind(b"\n") + 1
            if whole < len(content):
                os.truncate(path, whole)
        more = {"changed": dict(changed)} if changed and goes_on else {}
        self.log(ResumeEvent(step=step, time=_now(), **more))
        if not goes_on:
            return
        try:
            write_yaml(self.config, self.folder / CONFIG)
            for name in FINAL:
                (self.folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise CheckpointError(
                f"{error.filename or self.folder} cannot be written: {why(error)}; make room and go on with --resume"
            ) from error

    def write_final(self, figures: Mapping[str, Measured], texts: Sequence[Mapping[str, Any]]) -> None:
        """Write evaluation.json, the final figures by split, and samples.jsonl.

        Raises `CheckpointError` when the disk is full.
        """
        try:
            final = EvaluationFile.model_validate({split: figure.as_dict() for split, figure in figures.items()})
            seals.write_json(self.folder / EVALUATION, final.plain())
            lines = (json.dumps(text, ensure_ascii=False) + "\n" for text in texts)
            seals.write_text(self.folder / SAMPLES, "".join(lines))
        except OSError as error:
            raise CheckpointError(
                f"{self.folder} cannot hold the final figures: {why(error)}; the training is kept: make room and go on "
                f"with heed train --resume {self.folder}"
            ) from error

    def read_metrics(self) -> list[Event]:
        """Return the valid events in order; see `read_metrics`."""
        return read_metrics(self.folder / METRICS)


def _as_held_out(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a run, where they say how texts with labels were held out: a run from before does not."""
    data = values.get("data")
    said = {"data": data | dict.fromkeys(held_out(data), BY_TEXT)} if isinstance(data, dict) else {}
    return {**values, **said}


def open_as(folder: str | Path, kind: type[S], verb: str) -> S:
    """Return the configuration of a run folder of another kind. Raises `CheckpointError` when it is none of `verb`."""
    path = Path(folder)
    try:
        return kind.model_validate(read_settings(path, verb))
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        raise CheckpointError(f"{path / CONFIG} is not of {verb} ({where}): give a folder that it wrote") from None


def _read_events(path: Path) -> bytes:
    try:
        return seals.read_bytes(path)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {why(error)}; bring it back, it is part of the run") from error


def read_metrics(path: Path) -> list[Event]:
    """Return the events of a metrics.jsonl that hold (see `heed.records.events.hold`); a cut last line is forgiven.

    No file is no events. Raises `CheckpointError` that names the line when another one is damaged.
    """
    lines = _read_events(path).decode("utf-8", errors="replace").split("\n") if path.exists() else []
    events: list[Event] = []
    for number, line in enumerate(lines, 1):
        try:
            event = read_event(json.loads(line)) if line else None
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
    from heed.text.stream import tokenizers_of
    from heed.text.tokenizers import load_tokenizer

    run = Run.open(folder)
    saved = load_checkpoint(find_checkpoint(run.checkpoints, checkpoint))
    tokenizer = load_tokenizer(run.folder)
    known = tokenizers_of(saved.state.get("batches", {}))
    if known and tokenizer.hash not in known:
        raise CheckpointError(
            f"{run.folder / TOKENIZER} is not the tokenizer that {saved.path.name} was trained with: bring its own back"
        )
    classes = len(run.classes or ()) if aim_of(run.config).labelled else None
    vocabulary = run.config.tokenizer.vocab_size  # may exceed the tokenizer's (padding)
    if tokenizer.vocab_size > vocabulary:
        sizes = f"{tokenizer.vocab_size:,} tokens and the run {vocabulary:,}"
        raise CheckpointError(f"{run.folder / TOKENIZER} has {sizes}: bring its own back")
    with run.own_code():
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


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other processes out of a run folder, which need not be there yet, and tidy what dead ones left in it.

    Raises what `heed.files.working_in` raises.
    """
    with files.working_in(path, f"training in {path}", "choose another --run.folder"):
        if is_run(path):
            files.sweep(path)
        yield


@contextmanager
def new_folder(folder: str | Path, stem: str) -> Iterator[Path]:
    """Lock the first of `folder/stem-1`, `folder/stem-2`, ... that is free, and give it."""
    for number in itertools.count(1):
        path = Path(folder) / f"{stem}-{number}"
        with ExitStack() as stack:
            try:
                refuse_if_taken(path)
                stack.enter_context(locked(path))
                refuse_if_taken(path)  # another process may have been faster
            except CheckpointError:
                if path.exists():
                    continue
                raise
            yield path
            return


def stem_of(config: Config) -> str:
    """Return a name for a run: the corpus and the model, as in `wikitext-2-gpt`."""
    source = config.data.source.removeprefix("hf:")
    path = files.expanded(source)
    stem = path.resolve().stem if os.path.exists(path) else path.stem
    corpus = "".join(c if c.isalnum() or c in "-_" else "-" for c in stem).strip("-")
    corpus = corpus.encode()[:LONGEST_STEM].decode(errors="ignore")
    return f"{corpus or 'text'}-{config.model.preset or config.model.kind}"


def refuse_if_taken(path: Path, *, overwrite: bool = False) -> None:
    """Raise `CheckpointError` when a new run cannot go into this folder: it is no run's, or a run's that is to stay.

    What a process left that died while it made or replaced a run can be taken by anyone.
    """
    if is_run(path):
        if not overwrite:
            files.holds_something(path, CONFIG)  # what a process left that died after its work is tidied away
            raise CheckpointError(f"{path} holds a run already: go on with --resume {path}, or --overwrite it")
        return
    if not path.exists():
        return
    names = {name for name in os.listdir(path) if not files.is_left(name)} if path.is_dir() else {""}
    begun = {ENVIRONMENT, TOKENIZER, f"{CONFIG}.writing"}  # by an earlier version
    if names <= begun or files.is_half(path) or (overwrite and names <= {*OWN, *begun}):
        return
    raise CheckpointError(f"{path} exists and is no run folder: choose another name with --run.name")


def environment(seed: int, facts: Mapping[str, Any]) -> EnvironmentFile:
    """Return what a result depends on beside the config: versions, commit, machine, seeds, command line, `facts`."""
    job = {"job": found} if (found := own_id()) else {}
    return EnvironmentFile(
        time=_now(),
        command=[Path(sys.argv[0]).name, *sys.argv[1:]],
        heed=heed.__version__,
        python=platform.python_version(),
        torch=torch.__version__,
        numpy=numpy.__version__,
        git_commit=_git_commit(),
        machine=MachineFacts.model_validate(machine_facts()),
        seed=seed,
        streams={name: stream_seed(seed, name) for name in NAMES},
        **job,
        **facts,
    )


def plain(config: Settings) -> dict[str, Any]:
    """Return a configuration as JSON has it."""
    return json.loads(json.dumps(config.model_dump()))


def _seen_from(run: Path) -> str:
    """Return the present folder as seen from that of a run; where there is no way, its whole path."""
    try:
        return Path(os.path.relpath(Path.cwd(), run.resolve())).as_posix()
    except ValueError:  # another drive of Windows
        return Path.cwd().as_posix()


def _git_commit() -> str | None:
    """The commit of the working folder, None outside of a repository or without git."""
    try:
        answer = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
