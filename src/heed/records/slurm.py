"""What a job array does, in the folder of its script: manifest.json."""

from __future__ import annotations

from typing import Any

from heed.records.kept import Kept

MANIFEST = "manifest.json"


class ManifestTask(Kept):
    """What one task of an array does."""

    name: str
    """What people call it, such as `post-norm, seed 2`."""
    command: list[str]
    """Its words."""
    order: dict[str, Any]
    """What it is told on standard input, as a line of JSON."""


class ManifestFile(Kept):
    """manifest.json: the task that finds number n in SLURM_ARRAY_TASK_ID does what stands at place n."""

    tasks: list[ManifestTask]
