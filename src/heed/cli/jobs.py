"""`heed jobs`: what you have submitted to a cluster, what it says, and how to end it."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import tyro

from heed.cli import tell
from heed.cli.list import columns
from heed.cli.settings import AsJson, parse
from heed.config import Section
from heed.errors import ClusterError, ConfigError, did_you_mean
from heed.records.kept import read_record
from heed.records.slurm import MANIFEST, ManifestFile
from heed.slurm.folder import logs
from heed.slurm.queue import QueuedJob, cancel, queue

PAUSE = 5.0
"""Seconds between two looks at the queue, while logs are followed."""


class JobsFlags(Section):
    """List your jobs that heed has submitted, those that have just ended too.

    examples:
      heed jobs                              all of them
      heed jobs --all                        those that others than heed have submitted too
      heed jobs follow 12                    what job 12 says, until it ends; 12_3 is one task of an array
      heed jobs follow slurm/book-gpt-1      what is in the logs of this folder
      heed jobs cancel 12 13_2               end them; each writes a checkpoint first
      heed jobs cancel studies/norms         all jobs of this study
    """

    all: bool = False
    """Also jobs that are not heed's."""
    json_: AsJson = False


class FollowFlags(Section):
    """Show what a job says, and go on until it ends; Ctrl-C ends only the showing.

    examples:
      heed jobs follow 12
      heed jobs follow 12_3
      heed jobs follow slurm/book-gpt-1
    """

    job: Annotated[str, tyro.conf.Positional]
    """The number of a job, 12_3 for one task of an array, or the folder of its logs."""


class CancelFlags(Section):
    """End jobs; each gets the time to write a checkpoint.

    examples:
      heed jobs cancel 12
      heed jobs cancel 12_3 13
      heed jobs cancel studies/norms
    """

    jobs: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Numbers of jobs, or folders: of a job's logs, or of a study."""


def main(argv: list[str]) -> int:
    """List, follow or cancel; 0 when done."""
    if argv and not argv[0].startswith("-"):
        if argv[0] not in ACTIONS:
            raise ConfigError(
                f"unknown action {argv[0]!r}, {did_you_mean(argv[0], ACTIONS)}; heed jobs alone lists them"
            )
        return ACTIONS[argv[0]](argv[1:])
    flags = parse(JobsFlags, argv, "jobs")
    found = [job for job in queue() if flags.all or job.folder is not None]
    if flags.json_:
        rows = [asdict(job) | {"folder": None if job.folder is None else str(job.folder)} for job in found]
        print(json.dumps(rows, indent=2, ensure_ascii=False))
    elif not found:
        print(
            "no job of yours is in the queue" if flags.all else "no job of heed's is in the queue; --all shows others"
        )
    else:
        print("\n".join(table(found)))
    return 0


def table(jobs: Sequence[QueuedJob]) -> list[str]:
    """Return jobs as the lines of a table."""
    rows = [["job", "state", "time", "limit", "on", "name", "logs"]]
    for job in jobs:
        state = job.state.lower().replace("_", " ") + (f" ({job.reason})" if job.reason not in ("", "None") else "")
        folder = "" if job.folder is None else shown(job.folder)
        rows.append([job.id, state, job.elapsed, job.limit, job.nodes or job.partition, named(job), folder])
    return columns(rows, shrink=(5,), least=40)  # a folder far from here leaves names whole


def named(job: QueuedJob) -> str:
    """Return what people call a job: of a task of an array, the run that it makes."""
    if job.folder is not None and job.task is not None:
        try:
            return f"{job.name}: {read_record(ManifestFile, job.folder / MANIFEST).tasks[job.task].name}"
        except (OSError, ValueError, IndexError, ClusterError):
            pass
    return job.name


def shown(folder: Path) -> str:
    """Return a folder as it is seen from here."""
    return str(folder.relative_to(Path.cwd())) if folder.is_relative_to(Path.cwd()) else str(folder)


def matching(jobs: Sequence[QueuedJob], wanted: str) -> list[QueuedJob]:
    """Return the jobs that a number, or a folder, names."""
    if re.fullmatch(r"\d+(_\d+)?", wanted):
        return [job for job in jobs if wanted in (job.id, job.array)]
    return [job for job in jobs if job.is_below(Path(wanted).resolve())]


def end(argv: list[str]) -> int:
    """Cancel jobs; 0 when done."""
    flags = parse(CancelFlags, argv, "jobs cancel")
    if not flags.jobs:
        raise ConfigError("heed jobs cancel needs numbers of jobs, or folders: heed jobs lists them")
    known = queue()
    for wanted in flags.jobs:
        found = matching(known, wanted)
        if not found:
            raise ClusterError(f"no job of yours is {wanted}: heed jobs --all lists them")
        going = [job for job in found if not job.ended]
        if going:
            whole = len(going) == len(found) and not re.fullmatch(r"\d+_\d+", wanted)
            cancel(dict.fromkeys(job.array if whole else job.id for job in going))
        for job in found:
            print(f"{job.id}: {'ended before, ' + job.state.lower() if job.ended else 'cancelled'}, {named(job)}")
    return 0


def follow(argv: list[str]) -> int:
    """Show the logs of a job until it ends; 0 when it has ended, 130 after Ctrl-C."""
    wanted = parse(FollowFlags, argv, "jobs follow").job
    number = wanted if re.fullmatch(r"\d+(_\d+)?", wanted) else None
    logbook, looked, told, away = Logbook(), 0.0, "", False
    folder = None if number else Path(wanted)
    if folder is not None and not folder.is_dir():
        raise ClusterError(f"{wanted} is no job's number and no folder of logs: heed jobs lists your jobs")
    going: list[QueuedJob] = []
    while True:
        if time.monotonic() - looked > PAUSE:
            looked = time.monotonic()
            try:
                found = matching(queue(), wanted)
                going, away = [job for job in found if not job.ended], False
                folder = folder or next((job.folder for job in found if job.folder is not None), None)
            except ClusterError as error:
                if not going:
                    raise
                if not away:
                    tell(f"heed: {error}; going on with what is in the logs")
                away = True
        folder = folder or earlier(wanted)
        some = logbook.read(logs(folder, number))
        if not going and not some:
            return 0
        if going and all(job.state == "PENDING" for job in going) and told != going[0].waits:
            told = going[0].waits
            if ": " in told:
                raise ClusterError(f"job {going[0].array} waits for ever, {told}")
            tell(f"job {going[0].array} waits: {told}")
        time.sleep(0.2 if some else 0.5)


def earlier(wanted: str) -> Path:
    """Return the folder of a job that the queue has forgotten, where its logs lie below this folder."""
    for log in Path("slurm").glob(f"*/log-{wanted}*.out"):
        return log.parent
    raise ClusterError(
        f"job {wanted} is not in the queue, nor are its logs below slurm/: give the folder that holds them"
    )


class Logbook:
    """Logs that grow: prints what is new, and which task says it where there are several."""

    def __init__(self) -> None:
        self.places: dict[Path, int] = {}
        self.last: Path | None = None

    def read(self, paths: Sequence[Path]) -> bool:
        """Print what has come; whether there was anything."""
        some = False
        for path in paths:
            with path.open("rb") as file:
                file.seek(self.places.get(path, 0))
                new = file.read()
            whole = new[: new.rfind(b"\n") + 1] if path in self.places and b"\n" in new else new
            if not whole:
                continue
            self.places[path] = self.places.get(path, 0) + len(whole)
            if len(paths) > 1 and path != self.last:
                print(f"==> {path.stem.removeprefix('log-')} <==")
            self.last, some = path, True
            sys.stdout.write(whole.decode("utf-8", errors="replace"))
            sys.stdout.flush()
        return some


ACTIONS = {"follow": follow, "cancel": end}
"""What can be done besides listing."""
