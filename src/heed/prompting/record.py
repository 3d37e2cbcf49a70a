"""What is kept of a task that was asked: the run folder, written and read again.

runs/prompt-boolq-NAME/
  prompt.json     PromptFile: the task, the plan, the data, who was asked, and each round's count
  items.jsonl     a line an item of a round: its exact prompt, what was answered, whether it is right
  answers.jsonl   every answer as it came, by the hash of its request; what is there is never asked again
  report.html     the page
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from heed import seals
from heed.errors import CheckpointError
from heed.records.kept import DamagedError, Kept, Whole, read_record
from heed.report.gradings import Grading, grading_of
from heed.targets import ClassTarget

PROMPT, ITEMS = "prompt.json", "items.jsonl"


class KeptRound(Kept):
    """One set of demonstrations in one order."""

    draw: Whole
    order: Whole
    demonstrations: list[dict[str, Any]] = Field(default_factory=list)
    """Place, text, pair and answer of each, in their sequence."""
    correct: Whole | None = None
    """None where nothing says what is right."""
    unread: Whole = 0
    """Answers that could not be read, and count as wrong."""
    empty: dict[str, float] | None = None
    """Of contextual calibration p_cf: what is said of inputs without content."""


class PromptFile(Kept):
    """prompt.json."""

    state: str
    """asking, or done."""
    name: str
    settings: dict[str, Any]
    """Everything that decides what is asked: task, plan, data, model and endpoint."""
    description: str = ""
    kind: str = "classes"
    classes: list[str] = Field(default_factory=list)
    model: str = ""
    endpoint: str = ""
    data: dict[str, Any] = Field(default_factory=dict)
    """Name, split, items, the classes of the items, notes, fingerprint."""
    rounds: list[KeptRound] = Field(default_factory=list)
    spent: dict[str, Any] | None = None
    against: list[str] = Field(default_factory=list)
    """Folders of what it is held against."""
    machine: dict[str, Any] = Field(default_factory=dict)
    command: list[str] = Field(default_factory=list)


@dataclass(frozen=True)
class PromptRecord:
    """A run folder, read."""

    folder: Path
    file: PromptFile
    rows: tuple[Mapping[str, Any], ...]
    """The lines of items.jsonl, round by round."""

    @property
    def done(self) -> bool:
        """Whether every item was answered."""
        return self.file.state == "done" and bool(self.rows)

    @property
    def grading(self) -> Grading:
        """How answers are marked: as those of a classifier."""
        return grading_of(ClassTarget(tuple(self.file.classes)))

    @property
    def rounds(self) -> int:
        """Sets of demonstrations, with their orders."""
        return len(self.file.rounds)

    @cached_property
    def items(self) -> tuple[Mapping[str, Any], ...]:
        """The lines of the first round: each item once."""
        return self.rows[: len(self.rows) // self.rounds] if self.rounds else ()

    @cached_property
    def marked(self) -> bool:
        """Whether every item has a reference, so that there is an accuracy."""
        return bool(self.rows) and all(row["right"] is not None for row in self.rows)

    @cached_property
    def right(self) -> np.ndarray:
        """(rounds, items) bool."""
        return self._by_round([bool(row["right"]) for row in self.rows])

    @cached_property
    def unread(self) -> np.ndarray:
        """(rounds, items) bool: answers that could not be read."""
        return self._by_round([row["predicted"] is None for row in self.rows])

    @cached_property
    def groups(self) -> np.ndarray | None:
        """(items,) int64, the same for items of one group; None where each is its own."""
        names = [row.get("group") for row in self.items]
        if None in names or len(set(names)) == len(names):
            return None
        return np.unique([str(name) for name in names], return_inverse=True)[1]

    def item_keys(self) -> list[tuple[str, str]]:
        """Return the text and the pair of each item."""
        return [(str(row["text"]), str(row.get("pair") or "")) for row in self.items]

    def _by_round(self, values: Sequence[bool]) -> np.ndarray:
        return np.array(values, dtype=bool).reshape(self.rounds, -1)


def write_items(folder: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write items.jsonl whole or not at all, and keep its hash."""
    seals.write_text(folder / ITEMS, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def read_prompt(folder: str | Path) -> PromptRecord:
    """Read a run folder of `heed prompt`. Raises `CheckpointError` where it is none, or damaged."""
    root = Path(folder)
    try:
        file = read_record(PromptFile, root / PROMPT)
    except FileNotFoundError:
        raise CheckpointError(f"{folder} holds no {PROMPT}: heed prompt TASK --out FOLDER writes one") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{root / PROMPT} cannot be read ({error}): run heed prompt again") from None
    return PromptRecord(root, file, _rows(root, file))


def _rows(root: Path, file: PromptFile) -> tuple[Mapping[str, Any], ...]:
    """Return the lines of items.jsonl. Raises `DamagedError` where one is none, or they are too few."""
    if file.state != "done":
        return ()
    try:
        lines = seals.read_text(root / ITEMS).splitlines()
        rows = tuple(json.loads(line) for line in lines)
        whole = all(isinstance(row, dict) and {"text", "predicted", "right", "place"} <= row.keys() for row in rows)
    except (OSError, ValueError, RecursionError) as error:
        raise DamagedError(f"{root / ITEMS} cannot be read ({error}): give the command again") from None
    if not whole or not file.rounds or len(rows) % len(file.rounds):
        raise DamagedError(f"{root / ITEMS} is damaged: give the command again, what was answered is kept")
    return rows
