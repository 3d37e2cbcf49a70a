"""What a job asks of a cluster that Slurm runs: `--slurm.time 1:00:00` and the like, of every verb that takes --on."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from pydantic import Field, field_validator, model_validator

from heed.config.sections import Section

OURS = (
    "account", "array", "chdir", "comment", "constraint", "cpus-per-task", "dependency", "gpus-per-node", "job-name",
    "mem", "nodes", "ntasks-per-node", "open-mode", "output", "parsable", "partition", "qos", "requeue", "signal",
    "time", "wrap",
)  # fmt: skip
"""Options of sbatch that heed writes itself."""


class SlurmConfig(Section):
    """What a job asks of a cluster that Slurm runs. What is not given here is as the cluster has it."""

    partition: str | None = None
    """The partition, or several with commas between; `sinfo` lists them."""
    account: str | None = None
    """Who pays: the account of a project."""
    qos: str | None = None
    """The quality of service."""
    constraint: str | None = None
    """Features that the nodes must have, as the cluster names them."""
    time: str | None = None
    """The time limit: minutes, H:MM:SS, D-HH or D-HH:MM:SS."""
    memory: str | None = None
    """Memory of each node, such as 16G."""
    cpus: int = Field(default=1, ge=1)
    """CPUs of each process, and threads of torch."""
    gpus: str | None = None
    """GPUs of each node: 2, or a kind and a number as in a100:2. heed train takes all of them."""
    nodes: int = Field(default=1, ge=1)
    """Nodes: with several, heed train runs under torchrun on each of them."""
    array_limit: int = Field(default=8, ge=1)
    """Runs of heed compare or heed tune, or shards of heed data tokenize, that may run at a time."""
    after: str | None = None
    """Start after these jobs have ended well: numbers with commas between; or in sbatch's words, as in afterany:12."""
    notice: int = Field(default=120, ge=1)
    """Seconds before its time limit at which a job writes a checkpoint and is queued again."""
    requeues: int = Field(default=20, ge=0)
    """How often a job is queued again at most."""
    setup: str | None = None
    """Lines of shell that come first, such as 'module load cuda'."""
    more: str | None = None
    """Further options of sbatch, as in '--mail-type=END --exclude=n7'."""
    folder: Path = Path("slurm")
    """Where script and logs go, each job into a folder of its own; those of heed compare and heed tune: in theirs."""

    @field_validator("partition", "account", "qos", "constraint", "time", "memory", "gpus", "after", "setup", "more")
    @classmethod
    def _says_something(cls, value: str | None) -> str | None:
        if value is not None and not value.strip():
            raise ValueError("is empty: leave it out")
        return value

    @field_validator("partition", "account", "qos", "constraint")
    @classmethod
    def _one_word(cls, value: str | None) -> str | None:
        if value is not None and (not value.isprintable() or " " in value or value.startswith("-")):
            raise ValueError(f"{value!r} is no name of Slurm's")
        return value

    @field_validator("time")
    @classmethod
    def _a_time(cls, value: str | None) -> str | None:
        if value is not None and not 0 < seconds_of(value) < 2**31:
            raise ValueError(f"{value!r} is no time: write minutes, H:MM:SS, D-HH or D-HH:MM:SS")
        return value

    @field_validator("memory")
    @classmethod
    def _a_size(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[1-9]\d*[KMGT]?", value):
            raise ValueError(f"{value!r} is no size: write it as in 16G")
        return value

    @field_validator("gpus")
    @classmethod
    def _a_number(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"([\w.-]+:)?[1-9]\d{0,3}", value):
            raise ValueError(f"{value!r} is no number of GPUs: write it as in 2, or a100:2")
        return value

    @field_validator("after")
    @classmethod
    def _jobs(cls, value: str | None) -> str | None:
        kinds = r"(after|afterany|afterok|afternotok|aftercorr|afterburstbuffer)(:\d+(_\d+)?(\+\d+)?)+|singleton"
        if value is not None and not re.fullmatch(rf"\d+(_\d+)?(,\d+(_\d+)?)*|({kinds})([,?]({kinds}))*", value):
            raise ValueError(f"{value!r} names no jobs: write their numbers with commas between")
        return value

    @field_validator("more")
    @classmethod
    def _options(cls, value: str | None) -> str | None:
        for word in further(value):
            name = word.partition("=")[0]
            if not re.fullmatch(r"--[a-z][\w-]*", name):
                raise ValueError(f"{word!r} is no option: write each as in --mail-type=END")
            if name[2:] in OURS:
                raise ValueError(f"heed writes {name} itself: see the other --slurm settings")
        return value

    @model_validator(mode="after")
    def _notice_in_time(self) -> SlurmConfig:
        if self.time is not None and self.notice >= seconds_of(self.time):
            raise ValueError(f"notice: {self.notice} seconds are no less than the time limit: take fewer")
        return self

    @property
    def gpus_each(self) -> int:
        """GPUs of each node."""
        return 0 if self.gpus is None else int(self.gpus.rpartition(":")[2])


def further(options: str | None) -> list[str]:
    """Return the words of further options. Raises `ValueError` where a quotation is not closed."""
    return shlex.split(options or "")


def seconds_of(text: str) -> int:
    """Return the seconds of a time limit; 0 for what is none.

    >>> [seconds_of(text) for text in ("30", "1:30:00", "2:30", "1-12", "1-00:30:00", "soon")]
    [1800, 5400, 150, 129600, 88200, 0]
    """
    if not re.fullmatch(r"\d+(:\d+){0,2}|\d+-\d+(:\d+){0,2}", text):
        return 0
    days, _, rest = text.rpartition("-")
    parts = [int(part) for part in rest.split(":")]
    if days:
        hours, minutes, seconds = (*parts, 0, 0)[:3]
    else:
        hours, minutes, seconds = {1: (0, *parts, 0), 2: (0, *parts), 3: tuple(parts)}[len(parts)]
    return 86400 * int(days or 0) + 3600 * hours + 60 * minutes + seconds
