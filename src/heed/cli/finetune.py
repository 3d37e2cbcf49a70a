"""`heed finetune`: go on with the weights of another run, on questions with answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import tyro

from heed.cli.settings import parse, place, split_settings
from heed.cli.train import NewRun, begin, follow, follows, given_settings
from heed.config import overlay
from heed.errors import ConfigError

DEFAULTS: dict[str, Any] = {"objective": "answers", "layout": "padded"}
"""What differs from `heed train` unless it is said otherwise."""


class FinetuneFlags(NewRun):
    """Fine-tune a run on questions with answers: the loss is on the answers alone.

    PAIRS is a TSV file (question, tab, answer; no line of names) or JSON lines (question and answer, or prompt and
    answer). A tenth of it is held out, unless --data.validation or --data.validation-fraction says otherwise; the
    checkpoint of its lowest loss is kept, and its exact matches are counted.

    Weights, shape and tokenizer are those of RUN (its best checkpoint, its last where nothing was held out).
    --model.context may be shorter, and --model.dropout another one. Every other setting is a flag as in `heed train`.

    examples:
      heed finetune runs/pretrained train.tsv --run.name asked
      heed finetune runs/pretrained train.tsv --data.validation held-out.tsv --train.steps 200
      heed finetune --config configs/birth-places-char-finetune.yaml
      heed train train.tsv --data.objective answers --data.layout padded     the same without pretraining
      heed ask runs/asked "Where was Ada Lovelace born?"                     what comes next
    """

    start: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")] = None
    """The run to start from; the same as --model.start-from."""
    pairs: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="PAIRS")] = None
    """Questions with answers; the same as --data.source."""


def main(argv: list[str]) -> int:
    """Fine-tune; 0 when done, 130 when interrupted."""
    if follows():
        return follow()
    settings, rest = split_settings(argv)
    flags = parse(FinetuneFlags, rest, "finetune")
    if flags.start is not None:
        place(settings, ["model", "start_from"], flags.start)
    if flags.pairs is not None:
        place(settings, ["data", "source"], flags.pairs)
    given = given_settings(flags, settings)
    for setting, what in (("model.start_from", "the run to start from"), ("data.source", "the questions with answers")):
        section, name = setting.split(".")
        values = given.get(section)
        if isinstance(values, Mapping | None) and (values or {}).get(name) is None:
            raise ConfigError(f"{setting}: name {what}: heed finetune runs/pretrained train.tsv")
    return begin(flags, overlay({"data": DEFAULTS}, given), ["finetune", *argv])
