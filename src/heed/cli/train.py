"""`heed train`: a language model, or a classifier, from your text."""

from __future__ import annotations

import itertools
import json
import os
import shlex
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from pydantic import Field

from heed.cli import tell
from heed.cli.place import PlaceFlags, send
from heed.cli.settings import parse, place, split_settings
from heed.cli.streams import show as show_lines
from heed.config import Config, make_config, overlay, read_yaml
from heed.errors import ClusterError, ConfigError, DataError, HeedError

if TYPE_CHECKING:
    from heed.experiment import Trained
    from heed.training.ranks import Ranks


class NewRun(PlaceFlags, Config):
    """What every verb takes that begins a run: the settings, and where they come from."""

    config: Path | None = None
    """A YAML file of settings."""
    overwrite: bool = False
    """Delete an earlier run of the same name."""
    processes: Annotated[int, Field(ge=1)] = 1
    """Train with so many processes on the CPUs of this machine, each with its part of every batch."""
    gpus: Annotated[int, Field(ge=1)] | None = None
    """Train with so many GPUs of this machine, a process each, each with its part of every batch."""
    json_: Annotated[bool, tyro.conf.arg(name="json")] = False
    """Print one JSON object with the final figures on standard output."""


class TrainFlags(NewRun):
    """Train a language model on your text: tokenizer, token file, training, final figures, samples, report page.

    Any setting is a flag. Values are layered, later ones win: defaults, --model.preset, --config, flags.
    Ctrl-C saves a checkpoint and says how to go on.

    examples:
      heed train my-texts/
      heed train book.txt --model.preset small --train.steps 2000
      heed train wikitext-2 --tokenizer.kind word --tokenizer.vocab-size 33278
      heed train --config configs/quickstart.yaml --run.name second-try --run.seed 2
      heed train my-texts/ --train.batch-size auto --train.optimizer muon --train.schedule wsd
      heed train sst2 --model.kind encoder --data.label label
      heed train --resume runs/my-texts-gpt-1
      heed train --resume runs/my-texts-gpt-1 --train.steps 4000
      heed train my-texts/ --processes 4
      torchrun --nproc-per-node 8 -m heed train my-texts/
      heed train my-texts/ --on slurm --slurm.time 2:00:00 --slurm.gpus 1
    """

    corpus: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="TEXT")] = None
    """A file, a folder, a glob, hf:NAME/CONFIG, or a named corpus; the same as --data.source."""
    resume: Path | None = None
    """Go on with the run in this folder, from its last checkpoint."""


def main(argv: list[str]) -> int:
    """Train or go on; 0 when done, 130 when interrupted."""
    if follows():
        return follow()
    settings, rest = split_settings(argv)
    flags = parse(TrainFlags, rest, "train")
    if flags.corpus is not None:
        place(settings, ["data", "source"], flags.corpus)
    if flags.resume is not None and (flags.config is not None or flags.overwrite):
        raise ConfigError("--resume goes on with the settings of the run itself: leave out --config and --overwrite")
    if flags.resume is None:
        return begin(flags, given_settings(flags, settings), ["train", *argv])
    if flags.elsewhere:
        from heed.training.run import Run

        return send_run(flags, ["train", *argv], Run.open(flags.resume).folder, named=True)

    from heed import experiment
    from heed.training.progress import make_progress

    with first_rank(flags) as ranks:
        trained = experiment.resume(flags.resume, settings, say=tell, progress=make_progress, ranks=ranks)
    return show(trained, flags.json_)


def given_settings(flags: NewRun, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of the --config file, with those of the command line over them."""
    return overlay(read_yaml(flags.config) if flags.config else {}, settings)


def begin(flags: NewRun, settings: dict[str, Any], words: Sequence[str]) -> int:
    """Train a new run with these settings and show what it comes to; 0 when done, 130 when interrupted.

    `words` are those of the command line, which a job of a cluster does where that is asked for.
    """
    config = make_config(settings)  # checked before torch is loaded, so that a mistake is told at once
    if flags.elsewhere:
        return send_run(flags, words, free_folder(config, flags), named=config.run.name is not None)

    from heed import experiment
    from heed.training.progress import make_progress

    with first_rank(flags) as ranks:
        trained = experiment.train(config, overwrite=flags.overwrite, say=tell, progress=make_progress, ranks=ranks)
    return show(trained, flags.json_)


def send_run(flags: NewRun, words: Sequence[str], folder: Path, *, named: bool) -> int:
    """Hand a training over to a cluster, with as many processes on each node as it has GPUs, or as were asked for.

    `named` says whether the run has its name already, so that the job need not be told.
    """
    asked, here = flags.slurm, flags.gpus or flags.processes
    if flags.gpus is not None and asked.gpus is not None and flags.gpus != asked.gpus_each:
        raise ConfigError(f"--gpus {flags.gpus}, and a job with --slurm.gpus {asked.gpus}: leave out --gpus")
    each = here if flags.gpus is not None or flags.processes > 1 else max(1, asked.gpus_each)
    if asked.gpus is None and flags.gpus is not None:
        asked = asked.model_copy(update={"gpus": str(flags.gpus)})
    more = [] if named else [f"--run.name={folder.name}"]
    if asked.nodes > 1:  # torchrun starts them
        return send(flags, asked, words, more, folder.name, run=folder, each=each, without=("--processes", "--gpus"))
    if each > 1 and here == 1:
        more += [f"--gpus={each}"]
    return send(flags, asked, words, more, folder.name, run=folder, each=each)


def free_folder(config: Config, flags: NewRun) -> Path:
    """Return the folder of a new run: the one that is named, or the first that no run and no job has."""
    from heed.slurm.folder import plain_name
    from heed.training.run import refuse_if_taken, stem_of

    parent = Path(config.run.folder)
    if config.run.name is not None:
        refuse_if_taken(parent / config.run.name, overwrite=flags.overwrite)
        return parent / config.run.name
    names = (f"{stem_of(config)}-{number}" for number in itertools.count(1))
    taken = lambda name: (parent / name).exists() or (flags.slurm.folder / plain_name(name)).exists()
    return next(parent / name for name in names if not taken(name))


def first_rank(flags: NewRun) -> AbstractContextManager[Ranks]:
    """Return this process as the first of those that the flags, or torchrun, ask for."""
    from heed.training.ranks import leading

    if flags.gpus is not None and flags.processes > 1:
        raise ConfigError("--gpus has a process for each GPU: leave --processes out")
    return leading(flags.processes) if flags.gpus is None else leading(flags.gpus, "cuda")


def follows() -> bool:
    """Whether this process is one of several that train a model, and not the first."""
    return os.environ.get("RANK", "0") != "0" and "MASTER_ADDR" in os.environ


def follow() -> int:
    """Train along with the first rank; 0 when that has ended well, 1 when it is gone, which it tells itself."""
    from heed.experiment import follow_along
    from heed.training.ranks import following

    try:
        with following() as ranks:
            follow_along(ranks)
    except ClusterError:
        return 1
    except HeedError as error:
        raise HeedError(f"rank {os.environ['RANK']}: {error}") from error
    return 0


def show(outcome: Trained, as_json: bool) -> int:
    """Print the final figures of a run, its heads on its page; 0 when it is done, 130 when it was interrupted."""
    if outcome.figures:
        from heed.explore.head_strip import write_run_report

        write_run_report(outcome.folder, outcome.model, outcome.tokenizer)
    figures = {split: figure.as_dict() for split, figure in outcome.figures.items()}
    if as_json:
        answer: dict[str, Any] = {
            "run": str(outcome.folder),
            "reason": outcome.fit.reason,
            "steps": outcome.fit.step,
            "tokens": outcome.fit.tokens,
            "seconds": outcome.fit.seconds,
            "figures": figures,
            "report": str(outcome.report),
        }
        print(json.dumps(answer, indent=2))
    else:
        for split, figure in outcome.figures.items():
            print(f"{split}: {', '.join(f'{name} {value}' for name, value in figure.lines())}")
            show_lines([f"  {figure.passport.sentence()}"])
        print(f"report: {outcome.report}")
        if outcome.fit.reason != "interrupted":
            tell("\n  ".join(["next:", *next_commands(outcome)]))
    return 130 if outcome.fit.reason == "interrupted" else 0


def next_commands(outcome: Trained) -> list[str]:
    """Return the three commands that one would type next, by what the run has learned."""
    from heed.config import aim_of
    from heed.training.run import Run

    run, aim = shlex.quote(str(outcome.folder)), aim_of(Run.open(outcome.folder).config).name
    if aim in ("answers", "mixed"):
        return [
            f'heed ask {run} "..."',
            f"heed eval {run} --task qa --questions FILE",
            f"heed explore {run}",
        ]
    if aim in ("masked", "classes"):
        return [f"heed explore {run}", f"heed eval {run}", f"heed verify {run}"]
    begin = ""
    with suppress(DataError):  # an alphabet of characters may lack it
        outcome.tokenizer.encode("The")
        begin = ' --prompt "The"'
    last = f"heed finetune {run} QUESTIONS" if aim == "spans" else f"heed explore {run}{begin}"
    return [f"heed sample {run}{begin}", f"heed serve {run}", last]
