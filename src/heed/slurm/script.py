"""The text of a job for sbatch, a pure function of what is asked for, and the line for an interactive one.

    #SBATCH ...     what the job asks for, and where its log goes
    export, setup   threads, and what the cluster needs first
    exec ... -m heed slurm run -- COMMAND       which sees the job through: see `heed.slurm.node`

With several nodes COMMAND is torchrun, once on each of them, which meet at the node that the script runs on.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import heed
from heed.config.slurm import SlurmConfig, further
from heed.errors import ConfigError
from heed.records.slurm import MANIFEST

OURS = "heed:"
"""The comment of a job of heed's begins so, and ends with the folder of its script and logs."""
SCRIPT = "job.sbatch"
RENDEZVOUS = 'export PET_NODE_RANK="$SLURM_NODEID" PET_MASTER_ADDR="$SLURM_LAUNCH_NODE_IPADDR"; exec "$@"'
"""What each node does before torchrun, which reads its options from such variables too."""


@dataclass(frozen=True)
class SlurmScript:
    """A job that is to be submitted."""

    config: SlurmConfig
    name: str
    folder: Path
    """Of its script and its logs."""
    start: Path
    """The folder that it runs in."""
    command: tuple[str, ...] = ()
    """The words of what runs."""
    run: str | None = None
    """The run folder that it trains into."""
    each: int = 1
    """Processes on each node."""
    tasks: int = 0
    """Tasks of an array, each of which finds in the manifest what it does; 0: it is none."""

    @property
    def log(self) -> str:
        """The name of a log, with Slurm's signs for the number of the job."""
        return "log-%A_%a.out" if self.tasks else "log-%j.out"

    def directives(self) -> list[str]:
        """Return the options of sbatch, each as `--name=value`."""
        asked, folder = self.config, str(self.folder)
        values = {
            "job-name": self.name,
            "output": f"{folder.replace('%', '%%')}/{self.log}",
            "open-mode": "append",
            "chdir": str(self.start),
            "comment": OURS + folder,
            "partition": asked.partition,
            "account": asked.account,
            "qos": asked.qos,
            "constraint": asked.constraint,
            "nodes": asked.nodes,
            "ntasks-per-node": 1,
            "cpus-per-task": asked.cpus * self.each,
            "gpus-per-node": asked.gpus,
            "mem": asked.memory,
            "time": asked.time,
            "array": f"0-{self.tasks - 1}%{asked.array_limit}" if self.tasks else None,
            "dependency": None if asked.after is None else _dependency(asked.after),
            "signal": f"B:USR1@{asked.notice}",
        }
        for name in ("job-name", "output", "chdir", "comment"):
            if not str(values[name]).isprintable() or "\\" in str(values[name]):
                raise ConfigError(f"{values[name]!r}: sbatch takes no line end and no backslash: choose another name")
        given = [f"--{name}={value}" for name, value in values.items() if value is not None]
        return [*given, "--requeue", *further(asked.more)]

    def text(self) -> str:
        """Return the whole script."""
        asked = self.config
        lines = ["#!/bin/bash", f"# Written by heed {heed.__version__} for sbatch."]
        lines += [f"#SBATCH {_quoted(one)}" for one in self.directives()]
        lines += ["", f"export OMP_NUM_THREADS={asked.cpus}"]
        lines += [] if asked.setup is None else [asked.setup]
        lines += ["# At the notice of its end the job writes a checkpoint and is queued again."]
        runner = [sys.executable, "-m", "heed", "slurm", "run", f"--requeues={asked.requeues}"]
        if self.tasks:
            runner += [f"--manifest={self.folder / MANIFEST}"]
        runner += [] if self.run is None else [f"--run={self.run}"]
        command = list(self.command)
        if asked.nodes > 1:
            lines += ["export PET_MASTER_PORT=$((20000 + SLURM_JOB_ID % 10000))"]
            torchrun = [sys.executable, "-m", "torch.distributed.run", f"--nnodes={asked.nodes}"]
            torchrun += [f"--nproc-per-node={self.each}"]
            cpus = f"--cpus-per-task={asked.cpus * self.each}"  # which srun does not take over from sbatch
            under = ["srun", "--kill-on-bad-exit=1", cpus, "bash", "-c", RENDEZVOUS, "bash"]
            command = [*under, *torchrun, *command[1:]]  # Python's own name has gone before
        lines += [f"exec {shlex.join(runner)}" + (f" -- \\\n    {shlex.join(command)}" if command else "")]
        return "\n".join(lines) + "\n"


def heed_command(arguments: Sequence[str]) -> tuple[str, ...]:
    """Return the words that run a verb of heed with the Python of this process."""
    return (sys.executable, "-m", "heed", *arguments)


def interactive(config: SlurmConfig) -> str:
    """Return the line that opens a shell on a node.

    >>> interactive(SlurmConfig(partition="mig_class", gpus="1", time="30", memory="16G"))
    'srun --partition=mig_class --cpus-per-task=1 --gpus-per-node=1 --mem=16G --time=30 --pty bash -l'
    """
    values = {
        "partition": config.partition, "account": config.account, "qos": config.qos, "constraint": config.constraint,
        "nodes": config.nodes if config.nodes > 1 else None, "cpus-per-task": config.cpus,
        "gpus-per-node": config.gpus, "mem": config.memory, "time": config.time,
    }  # fmt: skip
    given = [f"--{name}={value}" for name, value in values.items() if value is not None]
    return shlex.join(["srun", *given, *further(config.more), "--pty", "bash", "-l"])


def _dependency(after: str) -> str:
    return "afterok:" + after.replace(",", ":") if after[0].isdigit() else after


def _quoted(option: str) -> str:
    """Return an option as a line of #SBATCH has it, which knows double quotes and no variables.

    >>> _quoted("--time=30"), _quoted('--job-name=my "own" text')
    ('--time=30', '--job-name="my \\\\"own\\\\" text"')
    """
    name, equals, value = option.partition("=")
    if re.fullmatch(r"[\w./:,@%+=-]*", value):
        return option
    return f'{name}{equals}"{value.replace(chr(34), chr(92) + chr(34))}"'
