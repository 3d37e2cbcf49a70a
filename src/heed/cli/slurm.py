"""`heed slurm`: scripts for a cluster that Slurm runs, an interactive line, and what runs in a job."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro
from pydantic import Field

from heed.cli.settings import act, parse
from heed.config import Section
from heed.config.slurm import SlurmConfig
from heed.errors import ConfigError

TRAINS = ("train", "pretrain", "finetune")
"""Verbs whose run has a name, which its script must know to go on with it."""


class ScriptFlags(Section):
    r"""Print a script for sbatch that runs a command, for those who submit by hand.

    The command is a verb of heed, or any other. A verb that trains goes on from its last checkpoint when the job is
    queued again; everything else is begun again with the same command.

    examples:
      heed slurm script --slurm.time 1:00:00 --slurm.gpus 1 -- heed train my-texts/ > job.sbatch
      heed slurm script --slurm.time 8:00:00 --slurm.cpus 4 -- heed compare study.yaml --jobs 4 > study.sbatch
      heed slurm script --slurm.setup "module load cuda" -- python my.py > my.sbatch
      sbatch job.sbatch                      submits it
    """

    command: Annotated[tuple[str, ...], tyro.conf.Positional]
    """The command, after -- by itself."""
    slurm: SlurmConfig = SlurmConfig()
    name: str | None = None
    """The name of the job."""


class InteractFlags(Section):
    """Print the line that opens a shell on a node.

    examples:
      heed slurm interact --slurm.partition mig_class --slurm.gpus 1 --slurm.time 30 --slurm.memory 16G
      eval "$(heed slurm interact --slurm.gpus 1 --slurm.time 30)"
    """

    slurm: SlurmConfig = SlurmConfig()


class RunFlags(Section):
    """Run a command within a job: what heed's scripts do.

    At the notice of its end (SIGUSR1) the command is asked to end as by Ctrl-C, and the job is queued again.

    examples:
      heed slurm run -- python my.py
    """

    command: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """The command, after -- by itself."""
    manifest: Path | None = None
    """Of an array: the file that says what each task does."""
    run: Path | None = None
    """The run folder that heed train trains into."""
    requeues: int = Field(default=20, ge=0)
    """How often the job is queued again at most."""


def main(argv: list[str]) -> int:
    """Print a script or a line, or run what a job is there for."""
    actions = {
        "script": (script, "a script for sbatch, for those who submit by hand"),
        "interact": (interact, "the line that opens a shell on a node"),
        "run": (run, "what these scripts run within a job"),
    }
    return act("slurm", actions, argv)


def script(argv: list[str]) -> int:
    """Print a script; 0 when done."""
    from heed.cli.place import PlaceFlags, send

    flags = parse(ScriptFlags, argv, "slurm script")
    words = list(flags.command)
    if not words:
        raise ConfigError("heed slurm script needs a command, after -- by itself, such as: -- heed train my-texts/")
    if Path(words[0]).name == "heed":
        if words[1:2] and words[1] in TRAINS:
            if flags.name is not None:
                raise ConfigError("--name: a job that trains has the name of its run: give --run.name to the command")
            return _of_training(words[1:], argv[: argv.index("--")])
        return send(PlaceFlags(dry_run=True), flags.slurm, words[1:], [], flags.name or "-".join(words[1:2]) or "heed")
    return send(PlaceFlags(dry_run=True), flags.slurm, words, [], flags.name or words[0], foreign=True)


def _of_training(words: list[str], asked: list[str]) -> int:
    """Print the script of a verb that trains, which checks its settings and chooses the name of the run."""
    import importlib

    return importlib.import_module(f"heed.cli.{words[0]}").main([*words[1:], "--on=slurm", "--dry-run", *asked])


def interact(argv: list[str]) -> int:
    """Print the line; 0 when done."""
    from heed.slurm.script import interactive

    print(interactive(parse(InteractFlags, argv, "slurm interact").slurm))
    return 0


def run(argv: list[str]) -> int:
    """Run a command within a job, and return its exit code."""
    import json
    import os

    from heed.cli import tell
    from heed.records.kept import read_record
    from heed.records.slurm import ManifestFile
    from heed.slurm.node import run_command

    flags = parse(RunFlags, argv, "slurm run")
    command, order = list(flags.command), ""
    if flags.manifest is not None:
        number = os.environ.get("SLURM_ARRAY_TASK_ID", "")
        tasks = read_record(ManifestFile, flags.manifest).tasks
        if not number.isdecimal() or int(number) >= len(tasks):
            raise ConfigError(f"--manifest: SLURM_ARRAY_TASK_ID is {number!r}, and {len(tasks)} tasks are there")
        task = tasks[int(number)]
        command, order = task.command, json.dumps(task.order) + "\n"
        tell(f"heed: {task.name}")
    if not command:
        raise ConfigError("heed slurm run needs a command, after -- by itself")
    return run_command(command, order, flags.run, flags.requeues, tell)
