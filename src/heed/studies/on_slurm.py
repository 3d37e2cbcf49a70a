"""The runs of a study as tasks of job arrays: what `heed compare --on slurm` and `heed tune --on slurm` launch.

    tasks that may go on side by side ──> one array, so many at a time ──> each writes its record ──> the next ones

The study itself goes on looking, on the machine where it was begun. When it ends the jobs go on, and the same command
finds them by what the queue says of them; what they have come to meanwhile is in their records.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from heed.config.slurm import SlurmConfig
from heed.errors import ClusterError
from heed.files import make_folder
from heed.records.kept import read_record
from heed.records.slurm import MANIFEST, ManifestFile, ManifestTask
from heed.records.study import Outcome
from heed.slurm.folder import logs, submit_job, under_way
from heed.slurm.queue import QueuedJob, cancel, queue
from heed.slurm.script import SlurmScript
from heed.studies.runner import Task

WIDTH = 1000
"""Tasks of an array at most: clusters take about so many."""
SOON, LATE = 1.0, 15.0
"""Seconds between two looks at the queue: at first, and after a while."""
GRACE = 10.0
"""Seconds until a job that the queue does not know, or a record that is not there yet, is given up."""
COMES_TO = {
    "OUT_OF_MEMORY": "does not fit", "CANCELLED": "interrupted", "TIMEOUT": "interrupted", "DEADLINE": "interrupted",
}  # fmt: skip
"""What a run is whose job ended so, without a record."""


@dataclass(eq=False)
class OnSlurm:
    """Launches the runs of the study in `folder`."""

    config: SlurmConfig
    folder: Path
    say: Callable[[str], object]
    waiting: list[SlurmRun] = field(default_factory=list)
    """What is submitted with the next array."""
    known: dict[tuple[Path, int], QueuedJob] = field(default_factory=dict)
    """What the queue said last, by folder and number of a task."""
    looked: float = 0.0
    pause: float = SOON
    away: bool = False
    """Whether the queue has not answered."""
    seen: set[str] = field(default_factory=set)
    """The jobs that it knew last."""
    folders: set[Path] = field(default_factory=set)
    """Of the jobs of this study."""
    told: set[str] = field(default_factory=set)
    """The jobs of which was said why they wait."""

    def __post_init__(self) -> None:
        self.earlier = self._earlier()

    def _earlier(self) -> dict[str, tuple[Path, int]]:
        """Return folder and number of the tasks that are under way since an earlier time, by their records."""
        found = {}
        for job in under_way(self.folder):
            if job.folder is None or job.task is None:
                continue
            manifest = read_record(ManifestFile, job.folder / MANIFEST)
            found[manifest.tasks[job.task].order["record"]] = (job.folder, job.task)
            self.folders.add(job.folder)
        return found

    def __call__(self, task: Task) -> SlurmRun:
        """Return a run that is submitted with those that are launched before anybody looks at it, or found again."""
        place = self.earlier.pop(str(task.record.resolve()), None)
        run = SlurmRun(self, task, place)
        if place is None:
            self.waiting.append(run)
        return run

    def flush(self) -> None:
        """Submit what waits, as one array. Raises `ClusterError`."""
        if not self.waiting:
            return
        runs, self.waiting = self.waiting, []
        tasks = []
        for run in runs:
            record = run.task.record
            make_folder(record.parent)
            if not run.task.trained:
                record.unlink(missing_ok=True)
            tasks.append(_manifest_task(run.task))
        place = self.folder.resolve()
        script = SlurmScript(self.config, place.name, place / "slurm", Path.cwd())
        number, script = submit_job(script, tasks)
        for index, run in enumerate(runs):
            run.place, run.submitted = (script.folder, index), time.monotonic()
        self.folders.add(script.folder)
        many = f"{len(runs)} runs, {min(len(runs), self.config.array_limit)} at a time"
        what = many if len(runs) > 1 else tasks[0].name
        self.say(f"job {number}: {what}; heed jobs follow {number} shows what it says")
        self.looked, self.pause = 0.0, SOON

    def look(self) -> None:
        """Ask the queue, not too often; one that does not answer is asked again."""
        if time.monotonic() - self.looked < self.pause:
            return
        try:
            found = queue()
        except ClusterError as error:
            if not self.away:
                self.say(f"note: {error}; the jobs go on, and heed goes on asking")
            self.away = True
        else:
            self.known |= {(job.folder, job.task): job for job in found if job.folder and job.task is not None}
            self.seen = {job.id for job in found}
            for job in found:
                if job.folder in self.folders and ": " in job.waits and job.array not in self.told:
                    self.told.add(job.array)
                    self.say(f"note: job {job.id} waits: {job.waits}")
            self.away = False
        self.looked, self.pause = time.monotonic(), min(self.pause * 1.3, LATE)


@dataclass(eq=False)
class SlurmRun:
    """A run of a study in a job array."""

    cluster: OnSlurm
    task: Task
    place: tuple[Path, int] | None
    """The folder of its job and its number there; None until it is submitted."""
    submitted: float = field(default_factory=time.monotonic)
    left: bool = False
    over: float | None = None
    """Since when it has been known to be over."""
    looked: float = 0.0
    """When its record was last looked for."""

    @property
    def queued(self) -> QueuedJob | None:
        """What the queue said last of it."""
        return None if self.place is None else self.cluster.known.get(self.place)

    @property
    def begun(self) -> bool:
        """Whether it runs, as far as the queue has said."""
        return self.queued is not None and self.queued.state != "PENDING"

    def poll(self) -> Outcome | None:
        """Return its record when it has ended, else None."""
        if self.left:
            return Outcome.of("interrupted", "" if self.queued is None else f"it goes on as job {self.queued.id}")
        self.cluster.flush()
        if time.monotonic() - self.looked < SOON:  # there may be a thousand, on a file system over the network
            return None
        self.looked = time.monotonic()
        if not (self.task.lengths or self.task.trained) and self.task.record.exists():
            return read_record(self.task.outcome, self.task.record)
        self.cluster.look()
        if self.cluster.away or not self._is_over():
            return None
        if self.task.record.exists():
            return read_record(self.task.outcome, self.task.record)
        self.over = self.over or time.monotonic()
        return self._without_record() if time.monotonic() - self.over > GRACE else None

    def _is_over(self) -> bool:
        """Whether the queue says so, or does not know it any more."""
        job = self.queued
        if job is None:
            return time.monotonic() - self.submitted > GRACE and self.cluster.looked > self.submitted
        return job.ended or job.id not in self.cluster.seen

    def _without_record(self) -> Outcome:
        """Return what a run has come to that has left no record: the queue says it, or its log."""
        job = self.queued
        folder = self.place[0] if self.place is not None else Path()
        log = next(iter(logs(folder, job.id)), folder) if job else folder
        state = job.state if job is not None and job.ended else "gone from the queue"
        said = state.lower().replace("_", " ")
        return Outcome.of(COMES_TO.get(state, "failed"), f"job {job.id if job else '?'} ended, {said}: see {log}")

    def interrupt(self) -> None:
        """Let it go on without the study."""
        self.left = True
        if self in self.cluster.waiting:
            self.cluster.waiting.remove(self)

    def kill(self) -> None:
        """Cancel it."""
        self.interrupt()
        if self.queued is not None:
            try:
                cancel([self.queued.id])
            except ClusterError as error:
                self.cluster.say(f"note: {error}")

    def leave(self) -> None:
        """Let it go on without the study."""
        self.interrupt()


def _manifest_task(task: Task) -> ManifestTask:
    """Return what a task of an array does: the process that makes a run, told as one on this machine is."""
    order = json.loads(json.dumps({**task.order(), "record": str(task.record.resolve())}))
    return ManifestTask(name=task.name, command=[sys.executable, "-m", "heed.studies.worker"], order=order)


def refuse_queued(folder: Path) -> None:
    """Raise `ClusterError` where runs of a study are under way on a cluster, which nobody else may make meanwhile."""
    if not (folder / "slurm").is_dir() or shutil.which("squeue") is None:
        return
    if jobs := under_way(folder):
        raise ClusterError(
            f"runs of {folder} are under way as job {jobs[0].array}: go on with --on slurm, or cancel them: "
            f"heed jobs cancel {folder}"
        )
