"""`heed train`: a language model, or a classifier, from your text."""

from __future__ import annotations

import json
import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from pydantic import Field

from heed.cli import tell
from heed.cli.settings import parse, place, split_settings
from heed.config import Config, make_config, overlay, read_yaml
from heed.errors import ClusterError, ConfigError, HeedError

if TYPE_CHECKING:
    from heed.experiment import Trained
    from heed.training.ranks import Ranks


class NewRun(Config):
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
        return begin(flags, given_settings(flags, settings))

    from heed import experiment
    from heed.training.progress import make_progress

    with first_rank(flags) as ranks:
        trained = experiment.resume(flags.resume, settings, say=tell, progress=make_progress, ranks=ranks)
    return show(trained, flags.json_)


def given_settings(flags: NewRun, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of the --config file, with those of the command line over them."""
    return overlay(read_yaml(flags.config) if flags.config else {}, settings)


def begin(flags: NewRun, settings: dict[str, Any]) -> int:
    """Train a new run with these settings and show what it comes to; 0 when done, 130 when interrupted."""
    config = make_config(settings)  # checked before torch is loaded, so that a mistake is told at once

    from heed import experiment
    from heed.training.progress import make_progress

    with first_rank(flags) as ranks:
        trained = experiment.train(config, overwrite=flags.overwrite, say=tell, progress=make_progress, ranks=ranks)
    return show(trained, flags.json_)


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
            print(f"  {figure.passport.sentence()}")
        print(f"report: {outcome.report}")
    return 130 if outcome.fit.reason == "interrupted" else 0
