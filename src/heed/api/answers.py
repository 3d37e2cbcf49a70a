"""Answers kept on the disk, one a line, found again by the hash of their request.

    answers.jsonl    {"key": hash of the request, "request": ..., "answer": ..., "check": hash of key and answer}

A line is added when its answer has come, so a process that is killed loses at most what was under way. Two processes
may add to one file. A line that is damaged is passed over, and told: its request is asked again.
"""

from __future__ import annotations

import hashlib
import json
import threading
from pathlib import Path
from typing import Any

from heed.api.completion import CompletionAnswer, CompletionRequest
from heed.errors import DataError
from heed.files import advice, append, locked, make_folder

ANSWERS = "answers.jsonl"
"""Its name in the folder of a run."""


class AnswerStore:
    """The answers in a file. Raises `DataError` when it cannot be read or written."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.damaged: list[int] = []
        """Numbers of lines that hold no answer as it was written."""
        self._found: dict[str, dict[str, Any]] = {}
        self._read = 0  # bytes that were read
        self._line = 0
        self._lock = threading.Lock()
        self.refresh()

    def __len__(self) -> int:
        return len(self._found)

    @property
    def notes(self) -> list[str]:
        """What is to be told of the file."""
        if not self.damaged:
            return []
        shown = ", ".join(map(str, self.damaged[:5])) + (", ..." if len(self.damaged) > 5 else "")
        which = f"line {shown} is" if len(self.damaged) == 1 else f"lines {shown} are"
        return [f"{self.path}: {which} damaged and passed over; what stood there is asked again"]

    def get(self, key: str) -> CompletionAnswer | None:
        """Return the answer of this key, None where there is none."""
        with self._lock:
            found = self._found.get(key)
        return None if found is None else CompletionAnswer.from_dict(found)

    def add(self, key: str, request: CompletionRequest, answer: CompletionAnswer) -> None:
        """Write an answer down."""
        content = answer.as_dict()
        row = {"key": key, "request": request.as_dict(), "answer": content, "check": _check(key, content)}
        line = json.dumps(row, ensure_ascii=True) + "\n"
        try:
            make_folder(self.path.parent)
            lock = self.path.with_name(f".{self.path.name}.lock")
            with self._lock, locked(lock, f"adding to {self.path}", wait=True):
                append(self.path, line if self._ends_well() else f"\n{line}")
                self._found.setdefault(key, content)
        except OSError as error:
            raise DataError(f"{self.path} cannot be written, so no more is asked: {advice(error)}") from None

    def refresh(self) -> None:
        """Read the lines that have come since, such as those of another process."""
        try:
            with self._lock, self.path.open("rb") as file:
                file.seek(self._read)
                for line in file:
                    if not line.endswith(b"\n") and not self._take(line):
                        break  # another process is writing it, or was killed over it
                    self._read += len(line)
                    self._line += 1
                    if line.strip() and not self._take(line):
                        self.damaged.append(self._line)
        except FileNotFoundError:
            return
        except OSError as error:
            raise DataError(f"{self.path} cannot be read: {advice(error)}") from None

    def _take(self, line: bytes) -> bool:
        """Keep the answer of a line; whether it is one, as it was written."""
        try:
            row = json.loads(line)
            key, content = row["key"], row["answer"]
            if row["check"] != _check(key, content):
                return False
            CompletionAnswer.from_dict(content)
        except (ValueError, KeyError, TypeError, RecursionError):
            return False
        self._found.setdefault(key, content)
        return True

    def _ends_well(self) -> bool:
        """Whether the file ends with a whole line: a process may have been killed in the middle of one."""
        try:
            with self.path.open("rb") as file:
                if not file.seek(0, 2):
                    return True
                file.seek(-1, 2)
                return file.read(1) == b"\n"
        except FileNotFoundError:
            return True


def _check(key: str, answer: Any) -> str:
    """Return the hash that tells whether a line is as it was written."""
    return hashlib.sha256(json.dumps([key, answer], sort_keys=True).encode()).hexdigest()[:16]
