"""What heed asks of Slurm: sbatch, squeue, scancel and scontrol, each of which answers in time or is an error.

A job of heed's is known by its comment, which names the folder of its script and logs; nothing else is kept of it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from heed.errors import ClusterError, one_line
from heed.files import shortened
from heed.slurm.script import OURS

PATIENCE = 60.0
"""Seconds that Slurm may take to answer."""
ENDED = (
    "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "REVOKED", "TIMEOUT",
)  # fmt: skip
"""States that no job leaves by itself; PREEMPTED is none of them, for it may be queued again."""
NEVER = {
    "DependencyNeverSatisfied": "a job that it comes after has failed",
    "PartitionConfig": "its partition has less than it asks for",
    "PartitionNodeLimit": "its partition gives no job so many nodes",
    "PartitionTimeLimit": "its partition gives no job so much time",
    "BadConstraints": "no node is as it asks for",
    "launch failed requeued held": "it could not be started",
}
"""Reasons to wait that do not pass by themselves."""
SIGN = "\x1f"
"""What stands between two columns: a name may hold everything else."""
COLUMNS = ("%i", "%F", "%K", "%T", "%r", "%M", "%l", "%N", "%P", "%k", "%j")


@dataclass(frozen=True)
class QueuedJob:
    """A job, or a task of an array, as squeue has it."""

    id: str
    """12, or 12_3 of an array."""
    array: str
    """12 of both."""
    task: int | None
    """3 of 12_3."""
    state: str
    reason: str
    """Why it waits, such as Resources; empty where it does not."""
    elapsed: str
    limit: str
    nodes: str
    partition: str
    folder: Path | None
    """Of its script and logs; None where it is not heed's."""
    name: str

    @property
    def ended(self) -> bool:
        """Whether it is over, and stays so."""
        return self.state in ENDED

    @property
    def waits(self) -> str:
        """Why it waits, and what to do where that does not pass by itself."""
        held = NEVER.get(self.reason.strip("()"), "")
        return self.reason + (f": {held}: cancel it with heed jobs cancel {self.array}" if held else "")

    def is_below(self, place: Path) -> bool:
        """Whether its script lies in a folder, or below it."""
        return self.folder is not None and place in (self.folder, *self.folder.parents)


def own_id() -> str | None:
    """Return the number of the job that this process is part of, 12 or 12_3; None outside of one."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID")


def submit(script: Path, directives: Sequence[str]) -> str:
    """Submit a script and return the number of its job.

    What the script asks for is said on the command line too, for variables such as SBATCH_PARTITION would otherwise
    win over it; and those of a job that this process is part of are not handed on. Raises `ClusterError`.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_") or "CONF" in name}
    then = "the job may have been submitted: see squeue"
    said = _call(["sbatch", "--parsable", *directives, str(script)], then, kept)
    number = said.strip().splitlines()[-1].partition(";")[0] if said.strip() else ""
    if not number.isdecimal():
        raise ClusterError(f"sbatch answered {shortened(one_line(said.strip()))!r} and no number of a job: see squeue")
    return number


def queue() -> list[QueuedJob]:
    """Return the jobs of this user, those that have just ended too. Raises `ClusterError`."""
    words = ["squeue", "--noheader", "--array", "--states=all", f"--user={os.getuid()}"]
    said = _call([*words, f"--format={SIGN.join(COLUMNS)}"], "try again")
    return [_job(line.split(SIGN)) for line in said.splitlines() if line.count(SIGN) == len(COLUMNS) - 1]


def cancel(ids: Iterable[str]) -> None:
    """Cancel jobs; each gets the time to write a checkpoint. Raises `ClusterError`."""
    _call(["scancel", *ids], "see with squeue whether it was cancelled")


def requeue(job: str) -> None:
    """Queue a job again; if it runs, it is ended for that. Raises `ClusterError`, but not where it waits already."""
    try:
        _call(["scontrol", "requeue", job], "")
    except ClusterError as error:
        if "pending" not in str(error):
            raise


def preempted(job: str) -> bool:
    """Whether a job that is being ended makes room for another one. Raises `ClusterError`."""
    facts = dict(re.findall(r"(\w+)=(\S*)", _call(["scontrol", "show", "job", "--oneliner", job], "")))
    when = facts.get("PreemptTime", "None")
    return when != "None" and when >= facts.get(
        "StartTime", ""
    )  # of the same form; an earlier one is of an earlier start


def require_program(program: str) -> None:
    """Raise `ClusterError` where there is no such program."""
    if shutil.which(program) is None:
        raise ClusterError(
            f"there is no {program} on this machine: log in where your cluster takes jobs (its login node), or leave "
            "out --on slurm; --dry-run prints the script"
        )


def _job(words: Sequence[str]) -> QueuedJob:
    number, array, task, state, reason, elapsed, limit, nodes, partition, comment, name = words
    folder = Path(comment.removeprefix(OURS)) if comment.startswith(OURS) else None
    waits = reason if state == "PENDING" else ""
    place = int(task) if task.isdecimal() else None
    return QueuedJob(number, array, place, state, waits, elapsed, limit, nodes, partition, folder, name)


def _call(words: Sequence[str], then: str, environment: dict[str, str] | None = None) -> str:
    """Return what a program of Slurm's prints."""
    program = words[0]
    require_program(program)
    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=PATIENCE,
            env=environment, start_new_session=True,  # Ctrl-C is not for it
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise ClusterError(f"{program} has not answered for {PATIENCE:.0f} seconds: {then or 'try again'}") from None
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip() and not line.startswith("Try ")]
        lines = lines or [f"it ended with {done.returncode}"]
        reason = re.sub(r"^\w+: ((error|fatal): )?", "", lines[-1])
        raise ClusterError(f"{program} refuses: {shortened(one_line(reason), 400)}{_advice(lines)}")
    return done.stdout


def _advice(lines: Sequence[str]) -> str:
    """Return what to do next, where that is known."""
    said = " ".join(lines).lower()
    known = {
        "invalid partition": "sinfo lists the partitions, --slurm.partition names one",
        "invalid account": "sacctmgr show associations user=$USER lists yours, --slurm.account names one",
        "invalid qos": "sacctmgr show qos lists them, --slurm.qos names one",
        "invalid job array": "scontrol show config | grep MaxArraySize tells how many runs a study may have",
        "requested node configuration": "ask for less: sinfo -o '%P %c %m %G %l' lists what nodes have",
        "requested time limit": "take a shorter --slurm.time: sinfo lists the limits",
        "invalid feature": "sinfo -o '%P %f' lists what nodes have, --slurm.constraint names some",
        "memory specification": "take less --slurm.memory: sinfo -o '%P %m' lists what nodes have",
        "contact": "the cluster does not answer now: try again",
        "configuration source": "this machine belongs to no cluster: log in where your cluster takes jobs",
        "dependency": "the jobs of --slurm.after must still be known: see squeue",
    }
    return next((f": {advice}" for words, advice in known.items() if words in said), "")
