"""The folder of a job: its script, what each task of an array does, and its logs.

slurm/NAME/            (of a study: STUDY/slurm/NAME/)
  job.sbatch           what was submitted
  manifest.json        of an array: what each task does
  log-12.out           log-12_3.out of task 3 of an array; it goes on in the same file when the job is queued again
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from heed import files
from heed.errors import ClusterError, why
from heed.records.kept import write_record
from heed.records.slurm import MANIFEST, ManifestFile, ManifestTask
from heed.slurm.queue import QueuedJob, queue, submit
from heed.slurm.script import SCRIPT, SlurmScript

LONGEST = 100
"""Bytes of the name of a job's folder."""


def submit_job(script: SlurmScript, tasks: Sequence[ManifestTask] = ()) -> tuple[str, SlurmScript]:
    """Submit a job, or an array of tasks; return its number, and the script with the folder that it got.

    The folder is a new one in that of `script`. Raises `ClusterError`, and then leaves no folder.
    """
    try:
        script = replace(script, folder=_new_folder(script.folder, script.name), tasks=len(tasks))
        text = script.text()
        if tasks:
            write_record(script.folder / MANIFEST, ManifestFile(tasks=list(tasks)))
        files.write_text(script.folder / SCRIPT, text)
    except OSError as error:
        raise ClusterError(f"{script.folder} cannot be written: {why(error)}; choose another --slurm.folder") from error
    try:
        return submit(script.folder / SCRIPT, script.directives()), script
    except ClusterError as error:
        if "may have been submitted" not in str(error):
            files.remove(script.folder)
        raise


def plain_name(name: str) -> str:
    """Return the name of a folder for a job.

    >>> plain_name("my study/ä b"), plain_name("--help"), plain_name("...")
    ('my-study-ä-b', 'help', 'job')
    """
    short = re.sub(r"[^\w.]+", "-", name).strip("-.").encode()[:LONGEST].decode(errors="ignore")
    return short or "job"


def _new_folder(parent: Path, name: str) -> Path:
    """Make the first of NAME, NAME-2, ... that is not there, and return its whole path."""
    parent.mkdir(parents=True, exist_ok=True)
    for number in itertools.count(1):
        path = parent.resolve() / (plain_name(name) + (f"-{number}" if number > 1 else ""))
        try:
            path.mkdir()
        except FileExistsError:
            continue
        return path
    raise AssertionError


def under_way(folder: Path) -> list[QueuedJob]:
    """Return the jobs of this user whose scripts lie in a folder, or below it, and which are not over.

    Raises `ClusterError` where the queue cannot be read.
    """
    place = folder.resolve()
    return [job for job in queue() if not job.ended and job.is_below(place)]


def logs(folder: Path, job: str | None = None) -> list[Path]:
    """Return the logs in the folder of a job or study by their numbers; `job` is 12, of all its tasks, or 12_3."""
    numbered = []
    for path in [*folder.glob("log-*.out"), *folder.glob("slurm/*/log-*.out")]:
        number = re.fullmatch(r"log-(\d+)(?:_(\d+))?\.out", path.name)
        if number and job in (None, number[1], path.stem.removeprefix("log-")):
            numbered.append(([int(part or 0) for part in number.groups()], path))
    return [path for _, path in sorted(numbered)]
