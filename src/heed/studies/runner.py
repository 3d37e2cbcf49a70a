"""What makes the runs of a study: so many at a time, in processes of their own or in this one; start, look after, end.

tasks ──> up to N jobs at a time ──> done(task, record)
               └─ every POLL seconds: watch(what their metrics.jsonl say)
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from heed.files import make_folder
from heed.records.events import METRICS, EvaluationEvent, Event, ResumeEvent, TrainEvent, read_event
from heed.records.kept import DamagedError, read_record
from heed.records.study import TRAINED, Outcome

POLL = 0.2
"""Seconds between two looks at the jobs."""


SETTLED = (*TRAINED, "does not fit", "broke down")
"""States that another try would not change; a failed cell is tried again."""
INTERRUPTED = 130
"""Exit code of a process that was asked to end, as that of Ctrl-C."""


@dataclass(frozen=True)
class Task:
    """A run to be made."""

    name: str
    """What people call it, such as `post-norm, seed 2`."""
    values: dict[str, Any]
    """The nested values of its configuration, of a `Config` or a `TuneConfig`."""
    record: Path
    """Where its record is kept; the log lies beside it."""
    steps: int | None
    """Steps that it will make; None: it ends by the clock."""
    lengths: tuple[int, ...] = ()
    """Contexts at which it is measured when it has been trained."""
    trained: bool = False
    """Whether it has its record already, and only lengths are left."""
    kind: str = "train"
    """Who makes it: see `heed.studies.worker`."""

    @property
    def folder(self) -> Path:
        """Its run folder."""
        return Path(self.values["run"]["folder"]) / self.values["run"]["name"]

    @property
    def outcome(self) -> type[Outcome]:
        """Return the class of what it comes to."""
        return Outcome

    def order(self) -> dict[str, Any]:
        """Return what a process is told that makes it, as JSON has it."""
        return {**vars(self), "record": str(self.record)}


@dataclass
class Standing:
    """How far a run is, by what it has written."""

    step: int = 0
    loss: float | None = None
    """Training loss in nats."""
    seconds: float = 0.0
    memory: int = 0
    """Bytes that it has taken, at most; 0 before anything is known."""
    evaluations: list[EvaluationEvent] = field(default_factory=list)
    """In order."""

    def left(self, task: Task) -> float | None:
        """Return the seconds of training that are left; None before anything is known."""
        limit = task.values["train"].get("seconds")
        if limit is not None:
            return max(0.0, limit - self.seconds)
        return (task.steps - self.step) * self.seconds / self.step if task.steps and self.step else None


@dataclass(frozen=True)
class RunRow:
    """What is shown of a run."""

    name: str
    state: str
    """waiting, running, or what it came to."""
    message: str = ""
    progress: Standing | None = None
    steps: int | None = None
    left: float | None = None
    """Seconds of training."""


class Follower:
    """Reads what a run appends to its metrics.jsonl; a resumption takes back what lies beyond its step."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / METRICS
        self.place = 0
        self.now = Standing()

    def look(self) -> Standing:
        """Read the lines that are new and whole, and return how far the run is."""
        with suppress(FileNotFoundError), self.path.open("rb") as file:
            if self.path.stat().st_size < self.place:  # a torn last line was cut off
                self.__init__(self.path.parent)
            file.seek(self.place)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self.place += len(line)
                with suppress(ValueError):
                    self._take(read_event(json.loads(line)))
        return self.now

    def _take(self, event: Event | None) -> None:
        now = self.now
        if isinstance(event, TrainEvent):
            now.step, now.loss, now.seconds = event.step, event.loss, event.seconds or 0.0
            now.memory = max(now.memory, int(event.finite("memory_bytes") or 0))
        elif isinstance(event, EvaluationEvent):
            now.evaluations.append(event)
        elif isinstance(event, ResumeEvent):
            now.step = event.step
            now.evaluations = [earlier for earlier in now.evaluations if earlier.step <= event.step]


def settled(task: Task) -> Outcome | None:
    """Return the record of a run that need not be made again, None where it must."""
    try:
        found = read_record(Outcome, task.record)
    except (OSError, ValueError, DamagedError):
        return None
    there = found.state not in TRAINED or task.folder.is_dir()
    return found if found.state in SETTLED and there else None


class Job(Protocol):
    """A run that has been started."""

    def poll(self) -> Outcome | None:
        """Return its record when it has ended, else None."""
        ...

    def interrupt(self) -> None:
        """Ask it to end with a checkpoint."""
        ...

    def kill(self) -> None:
        """End it at once."""
        ...

    def leave(self) -> None:
        """The study ends before it: a process ends too, a job of a cluster goes on."""
        ...

    @property
    def begun(self) -> bool:
        """Whether it runs, and does not wait for its turn."""
        ...


Launch = Callable[[Task], Job]


class Process:
    """A process that makes one run."""

    def __init__(self, task: Task, threads: int | None) -> None:
        self.task, self.asked = task, False
        make_folder(task.record.parent)
        if not task.trained:
            task.record.unlink(missing_ok=True)
        environment = os.environ | ({} if threads is None else {"OMP_NUM_THREADS": str(threads)})
        with task.record.with_suffix(".log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "heed.studies.worker"],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,  # Ctrl-C is for the study, which asks its runs to end
            )
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            self.process.stdin.write((json.dumps(task.order()) + "\n").encode())
            self.process.stdin.flush()  # and left open: the process ends when it closes

    def poll(self) -> Outcome | None:
        """Return the record when the process has ended, else None."""
        code = self.process.poll()
        if code is None:
            return None
        if self.process.stdin is not None:
            with suppress(BrokenPipeError):
                self.process.stdin.close()
        if self.task.record.exists():
            return read_record(self.task.outcome, self.task.record)
        if self.asked or code == INTERRUPTED:
            return Outcome.of("interrupted")
        if code == -signal.SIGKILL:
            return Outcome.of("does not fit", "the system ended the process, as Linux does when memory runs out")
        return Outcome.of("failed", f"the process ended with code {code}: see {self.task.record.with_suffix('.log')}")

    def interrupt(self) -> None:
        """Send it what Ctrl-C sends."""
        self.asked = True
        self.process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        """End the process, and wait until it is gone."""
        self.process.kill()
        self.process.wait()

    def leave(self) -> None:
        """End the process."""
        self.kill()

    @property
    def begun(self) -> bool:
        """It is."""
        return True


class Done:
    """A run that was made at once, in this process."""

    def __init__(self, found: Outcome) -> None:
        self.found = found

    def poll(self) -> Outcome:
        """Return its record."""
        return self.found

    def interrupt(self) -> None:
        """Nothing is left to end."""

    def kill(self) -> None:
        """Nothing is left to end."""

    def leave(self) -> None:
        """Nothing is left to end."""
        self.kill()

    @property
    def begun(self) -> bool:
        """It is."""
        return True


def work(
    tasks: Iterator[Task | None],
    jobs: int,
    launch: Launch,
    *,
    done: Callable[[Task, Outcome], None],
    watch: Callable[[dict[str, tuple[Task, Standing]]], None] = lambda running: None,
    poor: Callable[[Task, Standing], bool] = lambda task, progress: False,
    asked: Callable[[], bool] = lambda: False,
    room: Callable[[list[Standing]], bool] = lambda running: True,
) -> None:
    """Make the runs of `tasks`, `jobs` at a time; `done` gets what each has come to. None waits for one that runs.

    `watch` sees the runs that have begun every `POLL` seconds. A run that is `poor` is ended, its record says
    "pruned". When `asked` says so nothing new is begun, and what runs is asked to end. Beside runs that are under way
    another one begins where there is `room`. Whatever leaves this function, no process of this machine stays behind.
    """
    running: dict[str, tuple[Task, Job, Follower]] = {}
    told = False
    try:
        while True:
            while len(running) < jobs and not asked() and room([follower.look() for *_, follower in running.values()]):
                if (task := next(tasks, None)) is None:
                    break
                running[task.name] = (task, launch(task), Follower(task.folder))
            if not running:
                return
            if asked() and not told:
                told = True
                for _, job, _ in running.values():
                    job.interrupt()
            watch({name: (task, follower.look()) for name, (task, job, follower) in running.items() if job.begun})
            before = len(running)
            for name, (task, job, follower) in list(running.items()):
                found = job.poll()
                if job.begun and poor(task, follower.look()):
                    job.kill()
                    found = Outcome.of("pruned")
                if found is not None:
                    del running[name]
                    done(task, found)
            if len(running) == before:
                time.sleep(POLL)
    finally:
        for _, job, _ in running.values():
            job.leave()
