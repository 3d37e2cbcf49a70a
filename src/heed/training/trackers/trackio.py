"""trackio: a run in its SQLite file on this machine (TRACKIO_DIR), which `trackio show` shows.

A run that is resumed is told only what was not logged before, as that of wandb.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from heed import files
from heed.errors import require
from heed.training.trackers.tracker import TrackedRun, Tracker

MARK = ".trackio"
"""In the folder of a run that trackio knows."""


class Trackio(Tracker):
    """Tells a run to trackio."""

    needs = ("trackio", "trackio")

    def __init__(self, run: TrackedRun) -> None:
        trackio: Any = require("trackio", "trackio")
        mark = run.folder / MARK
        self.knows = math.inf if mark.exists() else -1
        self.trackio = trackio
        trackio.init(
            project=run.project, name=f"{run.name}-{run.id[:6]}", config=dict(run.settings), resume="allow",
            embed=False, auto_log_gpu=False, auto_log_cpu=False,
        )  # fmt: skip
        files.write_text(mark, run.id)

    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        """Log the numbers of a step."""
        self.trackio.log(dict(values), step=step)

    def text(self, step: int, text: str) -> None:
        """Log a text, set as it is."""
        quoted = "".join(f"    {line}\n" for line in text.split("\n"))
        self.trackio.log({"samples": self.trackio.Markdown(quoted)}, step=step)

    def close(self) -> None:
        """Let trackio write what is left."""
        self.trackio.finish()
