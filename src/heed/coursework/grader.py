"""Grades a folder in a process of its own, which is killed where a function takes too long, and begun anew behind it.

worker ── a line of JSON at a time ──> a thread ──> a queue, read with a time limit
"""

from __future__ import annotations

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
from typing import Any

from heed.coursework import EXERCISES
from heed.coursework.student_file import helpers_in
from heed.coursework.worker import FAILS, PASSES, TO_DO, TOO_LONG
from heed.errors import ConfigError, DataError

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
    """How many cases it is held to; 0 where it was never reached."""
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


def _is_message(line: Any) -> bool:
    """Whether it is a message of the worker: a student's file may write into its pipe."""
    if not isinstance(line, dict):
        return False
    if "functions" in line:
        return True
    if "state" in line:
        kinds = {"name": str, "said": str, "cases": int}
        known = line["state"] in (PASSES, FAILS, TO_DO, TOO_LONG)
        return known and all(isinstance(line.get(name), kind) for name, kind in kinds.items())
    return line.get("file") in EXERCISES


class _EndedError(Exception):
    """The process has ended, or sent what is no message."""


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
    while True:
        with _Process(folder.resolve(), grades, prints) as process:
            functions = process.ready()
            _follow(process, functions, grades, seconds)
        if all(name in grades[file] for file, names in functions.items() for name in names):
            break
    return [
        FileGrade(file, True, [grades[file][name] for name in functions[file]], helpers_in(folder / file))
        if file in grades
        else FileGrade(file, False)
        for file in EXERCISES
    ]


def _follow(process: _Process, functions: dict[str, list[str]], grades: Grades, seconds: float) -> None:
    """Take down grades until the process is done, or must be given up with one grade more."""
    file, current, began = "", "", time.monotonic()

    def take(state: str, said: str, cases: int = 0) -> None:
        grades[file][current] = FunctionGrade(current, state, said, cases, round(time.monotonic() - began, 3))

    def take_all(state: str, said: str) -> None:
        for name in functions[file]:
            grades[file].setdefault(name, FunctionGrade(name, state, said, 0, 0.0))

    try:
        while any(len(grades[name]) < len(functions[name]) for name in functions):
            message = process.message(began + seconds - time.monotonic())
            if "state" in message:
                take(message["state"], message["said"], message["cases"])
            elif "broken" in message:
                take_all(FAILS, f"the file does not run: {message['broken']}")
            else:
                file, current, began = message["file"], message.get("begins", ""), time.monotonic()
    except (queue.Empty, _EndedError) as error:
        if not file:
            raise DataError(f"the process that grades ended before any file was run ({process.ending()})") from None
        if isinstance(error, queue.Empty):
            state, said = TOO_LONG, f"not done after {seconds:g} seconds, and stopped"
        else:
            state, said = FAILS, f"it ended the process ({process.ending()})"
        if current and current not in grades[file]:
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
        self._process.stdin.close()
        self._place.cleanup()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self._lines.put(line)
        self._lines.put(None)

    def message(self, seconds: float) -> dict[str, Any]:
        """Return the next message. Raises `queue.Empty` after so many seconds, `_EndedError` where there is none."""
        line = self._lines.get(timeout=max(0.001, seconds))
        try:
            message = json.loads(line or "")
        except ValueError:
            raise _EndedError from None
        if not _is_message(message):
            raise _EndedError
        return message

    def ready(self) -> dict[str, list[str]]:
        """Return the functions of each file once everything is imported. Raises `DataError` where that fails."""
        try:
            return self.message(STARTING)["functions"]
        except (queue.Empty, _EndedError):
            raise DataError(
                f"the process that grades did not start ({self.ending()}): see heed grade --prints"
            ) from None

    def ending(self) -> str:
        """Return how the process ended, in words."""
        try:
            code = self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            return "still running"
        return f"exit code {code}" if code >= 0 else f"signal {-code}"
