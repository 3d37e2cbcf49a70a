"""Weights & Biases: a run of the project that WANDB_PROJECT names; WANDB_MODE=offline keeps it on this machine.

Its steps only go up, so a run that is resumed is told only what was not logged before: what is done again is bit for
bit what was told. `wandb login`, WANDB_API_KEY and all its other variables are its own to read.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any

from heed.errors import require
from heed.training.trackers.tracker import TrackedRun, Tracker

FOLDER = "wandb"
"""Where it keeps its files, in the folder of the run."""


class WeightsAndBiases(Tracker):
    """Tells a run to wandb."""

    needs = ("wandb", "wandb")

    def __init__(self, run: TrackedRun) -> None:
        wandb: Any = require("wandb", "wandb")
        known = (run.folder / FOLDER).exists()
        self.knows = math.inf if known else -1
        project = os.environ.get("WANDB_PROJECT") or run.project
        self.run: Any = wandb.init(
            project=project, name=run.name, id=run.id, config=dict(run.settings), dir=str(run.folder),
            resume="allow" if known else None, reinit="create_new",
            settings=wandb.Settings(console="off", silent=True),
        )  # fmt: skip

    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        """Log the numbers of a step."""
        self.run.log(dict(values), step=step)

    def text(self, step: int, text: str) -> None:
        """Log a text, as a table of one row."""
        wandb: Any = require("wandb", "wandb")
        self.run.log({"samples": wandb.Table(columns=["step", "text"], data=[[step, text]])}, step=step)

    def close(self) -> None:
        """Let wandb send or write what is left."""
        self.run.finish()
