"""The flags of the verbs that may run elsewhere, such as `--on slurm` and `--slurm.time`, and how they are sent."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from heed.config import Section
from heed.config.slurm import SlurmConfig
from heed.errors import ConfigError


class PlaceFlags(Section):
    """Where a verb runs."""

    on: Literal["here", "slurm"] = "here"
    """slurm: as a job of a cluster that Slurm runs."""
    slurm: SlurmConfig = SlurmConfig()
    dry_run: bool = False
    """With --on slurm: print the script that would be submitted, and submit nothing."""

    @property
    def elsewhere(self) -> bool:
        """Whether it is a job of a cluster. Raises `ConfigError` for flags that then mean nothing."""
        if self.on == "here":
            usual = dict(SlurmConfig())
            if given := [name for name, value in self.slurm if value != usual[name]]:
                flag = f"--slurm.{given[0].replace('_', '-')}"
                raise ConfigError(f"{flag} is for a cluster: add --on slurm, or leave it out")
            if self.dry_run and "dry_run" not in type(self).__annotations__:
                raise ConfigError("--dry-run goes with --on slurm; heed check FILE says what a run would cost")
        return self.on == "slurm"


def cluster_of(flags: PlaceFlags) -> SlurmConfig | None:
    """Return what each job of a verb asks for, whose runs are a process each; None where it runs here.

    Raises `ConfigError` for more than such a run can use.
    """
    if not flags.elsewhere:
        return None
    if flags.slurm.nodes > 1 or flags.slurm.gpus_each > 1:
        raise ConfigError(
            "--slurm.nodes and --slurm.gpus: each run of this verb is one process with one GPU at most: leave them at 1"
        )
    if given := [name for name in ("report", "overfit") if getattr(flags, name, None)]:
        raise ConfigError(f"--{given[0]} is done here: leave out --on slurm")
    if getattr(flags, "jobs", None) not in (None, "auto", 1):
        raise ConfigError("--jobs is for this machine: with --on slurm say --slurm.array-limit")
    if not flags.dry_run:
        from heed.slurm.queue import require_program

        require_program("sbatch")  # before texts are prepared
    return flags.slurm


def device_of(device: str, asked: SlurmConfig) -> str:
    """Return what a run computes on whose `run.device` this is, on a node.

    >>> device_of("auto", SlurmConfig(gpus="1")), device_of("auto", SlurmConfig())
    ('cuda', 'cpu')
    """
    return device if device != "auto" else "cuda" if asked.gpus_each else "cpu"


def send(
    flags: PlaceFlags,
    asked: SlurmConfig,
    words: Sequence[str],
    more: Sequence[str],
    name: str,
    *,
    run: Path | None = None,
    each: int = 1,
    without: Sequence[str] = (),
    foreign: bool = False,
) -> int:
    """Submit a verb as a job, or print its script; `words` are those of its command line, `more` what is added.

    `run` is the run folder that it trains into, `each` the processes on each of several nodes, and flags `without`
    which it runs there; `foreign` says that the words are no verb of heed's.
    """
    from heed.slurm.folder import submit_job
    from heed.slurm.script import SlurmScript, heed_command

    end = words.index("--") if "--" in words else len(words)
    command = tuple(words) if foreign else heed_command([*local_words(words[:end], without), *more, *words[end:]])
    place = asked.folder.absolute()
    script = SlurmScript(asked, name, place, Path.cwd(), command, None if run is None else str(run), each)
    if flags.dry_run:
        print(replace(script, folder=Path.cwd()).text(), end="")  # where sbatch can write a log without more ado
        return 0
    number, script = submit_job(script)
    log = script.folder / f"log-{number}.out"
    if getattr(flags, "json_", False):
        facts: dict[str, Any] = {"job": number, "run": None if run is None else str(run), "log": str(log)}
        print(json.dumps(facts | {"folder": str(script.folder)}, indent=2))
        return 0
    print(f"job {number}: {name}, in the queue" + (f"; it trains {run}" if run is not None else ""))
    print(f"log: {log}")
    print(f"heed jobs shows how it is, heed jobs follow {number} what it says, heed jobs cancel {number} ends it")
    return 0


def send_array(
    flags: PlaceFlags, asked: SlurmConfig, words: Sequence[str], tasks: Mapping[str, Sequence[str]], name: str
) -> int:
    """Submit a verb as a job array, or print its script: each of `tasks` adds some words to those of the command line.

    Raises `ConfigError` for more than one process can use.
    """
    from heed.records.slurm import ManifestTask
    from heed.slurm.folder import submit_job
    from heed.slurm.script import SlurmScript, heed_command

    if asked.nodes > 1 or asked.gpus_each:
        raise ConfigError("--slurm.nodes and --slurm.gpus: each task is a process without a GPU: leave them out")
    script = SlurmScript(asked, name, asked.folder.absolute(), Path.cwd(), tasks=len(tasks))
    if flags.dry_run:
        print(replace(script, folder=script.folder / name).text(), end="")
        return 0
    own = local_words(words)
    made = [
        ManifestTask(name=task, command=list(heed_command([*own, *more])), order={}) for task, more in tasks.items()
    ]
    number, script = submit_job(script, made)
    if getattr(flags, "json_", False):
        print(json.dumps({"job": number, "tasks": len(tasks), "folder": str(script.folder)}, indent=2))
        return 0
    print(f"job {number}: {name}, an array of {len(tasks)} tasks, {asked.array_limit} at a time, in the queue")
    print(f"heed jobs shows how they are, heed jobs follow {number} what they say, heed jobs cancel {number} ends them")
    return 0


def local_words(words: Sequence[str], without: Sequence[str] = ()) -> list[str]:
    """Return the words of a command line without those that say where it runs.

    >>> local_words(["train", "a.txt", "--on", "slurm", "--slurm.time=30", "--slurm.gpus", "1", "--dry-run", "--json"])
    ['train', 'a.txt', '--json']
    """
    kept: list[str] = []
    rest = iter(words)
    for word in rest:
        name, _, value = word.partition("=")
        name = name.replace("_", "-")
        if name == "--dry-run" or name == "--no-dry-run":
            continue
        if name == "--on" or re.match(r"--slurm\.", name) or name in without:
            if not value:
                next(rest, None)
            continue
        kept.append(word)
    return kept


def show_array(asked: SlurmConfig, folder: Path, tasks: int) -> int:
    """Print the script of the first array of a study."""
    from heed.slurm.script import SlurmScript

    place = folder.absolute()
    print(SlurmScript(asked, place.name, place / "slurm" / place.name, Path.cwd(), tasks=tasks).text(), end="")
    return 0


def left(folder: Path, again: str) -> str:
    """Say what becomes of a study that is not looked after any more."""
    return (
        f"not all runs are done, and their jobs go on: look after them again with: {again}; "
        f"end them with: heed jobs cancel {shlex.quote(str(folder))}"
    )
