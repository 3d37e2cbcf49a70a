"""A tune that is under way: its plan, its folder, and what is known so far."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from heed.records.kept import write_record
from heed.records.tune import TUNE, TuneFile
from heed.studies.tune_plan import Say, TunePlan
from heed.text.splits import Splits
from heed.training.progress import Progress
from heed.tuning.tuned_run import Material


@dataclass
class Tuning:
    """A tune that is under way."""

    plan: TunePlan
    folder: Path
    splits: Splits
    record: TuneFile
    say: Say
    progress: Callable[[int], Progress] | None = None
    threads: int | None = None
    """Threads of each run, where each is a process of its own."""
    materials: dict[str, Material] = field(default_factory=dict)
    """By encoder."""
    stopped: bool = False
    """Whether Ctrl-C has ended a run."""

    def write(self) -> None:
        """Write what is known, whole or not at all."""
        write_record(self.folder / TUNE, self.record)
