"""Grades a folder: a process runs its functions, and this one judges what they give, so that no file grades itself.

worker ── a value at a time, JSON ──> a thread ──> a queue, read with a time limit ──> held to its case ──> + or -

Where a function takes too long the worker is killed, and a new one begins behind it.
"""

from __future__ import annotations

import importlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heed.coursework import EXERCISES
from heed.coursework.student_file import helpers_in
from heed.coursework.worker import LONGEST, NEXT, ON
from heed.errors import ConfigError, DataError, one_line

if TYPE_CHECKING:
    from heed.coursework.cases import Cases, Tried

PASSES, FAILS, TO_DO, TOO_LONG = "passes", "fails", "to do", "too long"
"""States of a function."""
STRAY = "it writes into the answers of the process that it runs in"
"""What is said of a file that sends what no worker does: who forges once does it again."""
STARTING = 300.0
"""Seconds in which a process must be ready, before any of the student's code is run: torch on a busy machine."""


@dataclass(frozen=True)
class FunctionGrade:
    """What was found of one function."""

    name: str
    state: str
    """passes, fails, to do, or too long."""
    said: str
    """What is wrong; empty where it passes."""
    cases: int
    """How many cases it is held to; 0 where it never gave a value."""
    seconds: float


@dataclass
class FileGrade:
    """What was found of one file."""

    file: str
    there: bool
    functions: list[FunctionGrade] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What the file uses that does an exercise for it."""

    @property
    def passing(self) -> int:
        """How many functions pass."""
        return sum(grade.state == PASSES for grade in self.functions)


Grades = dict[str, dict[str, FunctionGrade]]
"""By file and function."""


class _LostError(Exception):
    """The worker says nothing more that can be judged; the text says why."""


def grade_folder(folder: Path, seconds: float = 10.0, *, prints: bool = False) -> list[FileGrade]:
    """Return the grade of each exercise of a folder; `seconds` is the limit of each function.

    With `prints` what the student's code prints goes to standard error, else nowhere. Raises `DataError` where the
    folder has none of the files, and `ConfigError` for a limit that is not above 0.
    """
    if not 0 < seconds < float("inf"):
        raise ConfigError(f"--seconds {seconds:g}: a finite number above 0 is needed, such as 10")
    if not folder.is_dir():
        raise DataError(f"no such folder: {folder}; give the one that holds {', '.join(EXERCISES)}")
    grades: Grades = {name: {} for name in EXERCISES if (folder / name).is_file()}
    if not grades:
        raise DataError(f"{folder} has none of {', '.join(EXERCISES)}: copy the blank ones from examples/student")
    cases: dict[str, Cases] = {}
    while True:
        with _Process(folder.resolve(), grades, prints) as process:
            # while the process does so too
            cases = cases or {name: importlib.import_module(EXERCISES[name]).CASES for name in grades}
            process.ready()
            _follow(process, cases, grades, seconds)
        if not any(_left(cases[file], grades[file]) for file in grades):
            break
    return [
        FileGrade(file, True, [grades[file][name] for name in cases[file]], helpers_in(folder / file))
        if file in grades
        else FileGrade(file, False)
        for file in EXERCISES
    ]


def _left(cases: Cases, grades: dict[str, FunctionGrade]) -> list[str]:
    return [name for name in cases if name not in grades]


def judged(case: Tried, outcome: Any) -> tuple[str, str]:
    """Return the state of a function after a case, and what is wrong; the outcome is what `worker.outcome` gave."""
    from heed.coursework.values import rebuilt

    match outcome:
        case {"missing": str(name)}:
            return FAILS, f"there is no function {name}"
        case {"to do": str(said)}:
            return TO_DO, said
        case {"raised": str(said)}:
            return FAILS, f"{case.about}: {said}"
        case {"value": value}:
            try:
                said = case.fault(rebuilt(value))
            except Exception as error:  # a value of a kind that nobody has thought of
                said = f"it gives what cannot be compared ({type(error).__name__})"
            return (FAILS, f"{case.about}: {said}") if said else (PASSES, "")
    raise _LostError(STRAY)


def _follow(process: _Process, cases: dict[str, Cases], grades: Grades, seconds: float) -> None:
    """Judge values until the process is done, or must be given up with one grade more."""
    steps = {(file, name) for file in grades for name in ("", *_left(cases[file], grades[file]))}
    file, current, place, began = "", "", 0, time.monotonic()

    def take(state: str, said: str, cases: int = 0) -> None:
        grade = FunctionGrade(current, state, one_line(said), cases, round(time.monotonic() - began, 3))
        grades[file][current] = grade

    def take_all(state: str, said: str) -> None:
        for name in _left(cases[file], grades[file]):
            grades[file][name] = FunctionGrade(name, state, one_line(said), 0, 0.0)

    try:
        while any(_left(cases[name], grades[name]) for name in grades):
            match process.message(began + seconds - time.monotonic()):
                case {"file": str(name), "broken": str(why)} if name == file and not current:
                    take_all(FAILS, f"the file does not run: {why}")
                case {"file": str(name), **step} if (name, str(step.get("begins", ""))) in steps:
                    file, current, place, began = name, str(step.get("begins", "")), 0, time.monotonic()
                    steps.remove((file, current))  # each once: no file puts its time limit off
                case outcome if current and current not in grades[file]:
                    state, said = judged(cases[file][current][place], outcome)
                    place += 1
                    if state != PASSES or place == len(cases[file][current]):
                        take(state, said, len(cases[file][current]))
                    process.answer(ON if state == PASSES else NEXT)
                case _:
                    raise _LostError(STRAY)
    except (queue.Empty, _LostError) as error:
        if not file:
            raise DataError(f"the process that grades ended before any file was run ({process.ending()})") from None
        if isinstance(error, queue.Empty):
            state, said = TOO_LONG, f"not done after {seconds:g} seconds, and stopped"
        else:
            state, said = FAILS, str(error)
        alone = bool(current) and current not in grades[file] and said != STRAY
        if alone:
            take(state, said)
        else:
            take_all(state, f"the file itself: {said}")


class _Process:
    """A worker and what it says; at the end of the block it and what it has started are killed."""

    def __init__(self, folder: Path, grades: Grades, prints: bool) -> None:
        done = {file: list(functions) for file, functions in grades.items()}
        self._order, self._prints = json.dumps({"folder": str(folder), "done": done}), prints
        self._lines: queue.Queue[str | None] = queue.Queue()

    def __enter__(self) -> _Process:
        self._place = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)  # what it writes there goes with it
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-P",
                "-m",
                "heed.coursework.worker",
                self._order,
            ],  # -P: imports nothing from where it runs
            stdin=subprocess.PIPE,  # open as long as this process is there
            stdout=subprocess.PIPE,
            stderr=None if self._prints else subprocess.DEVNULL,
            cwd=self._place.name,
            text=True,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
        threading.Thread(target=self._read, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            if hasattr(os, "killpg"):
                os.killpg(self._process.pid, signal.SIGKILL)
            else:
                self._process.kill()
        self._process.wait()
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()
        self._place.cleanup()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            while line := lines.readline(LONGEST):
                self._lines.put(line)
        self._lines.put(None)

    def message(self, seconds: float) -> Any:
        """Return the next message. Raises `queue.Empty` after so many seconds, `_LostError` where there is none."""
        line = self._lines.get(timeout=max(0.001, seconds))
        if line is None:
            raise _LostError(f"it ended the process ({self.ending()})")
        try:
            return json.loads(line)
        except (ValueError, RecursionError):
            raise _LostError(STRAY) from None

    def answer(self, sign: str) -> None:
        """Say how it goes on."""
        assert self._process.stdin is not None
        with suppress(OSError):  # it has ended
            self._process.stdin.write(sign)
            self._process.stdin.flush()

    def ready(self) -> None:
        """Wait until everything is imported. Raises `DataError` where that fails."""
        with suppress(queue.Empty, _LostError):
            if self.message(STARTING) == {"ready": True}:
                return
        raise DataError(f"the process that grades did not start ({self.ending()}): see heed grade --prints")

    def ending(self) -> str:
        """Return how the process ended, in words."""
        try:
            code = self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            return "still running"
        return f"exit code {code}" if code >= 0 else f"signal {-code}"
