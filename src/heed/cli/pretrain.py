"""`heed pretrain`: train on text in which spans are hidden, one document a line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import tyro

from heed.cli.settings import parse, place, split_settings
from heed.cli.train import NewRun, begin, follow, follows, given_settings
from heed.config import overlay
from heed.errors import ConfigError
from heed.text.named import NAMED

DEFAULTS: dict[str, Any] = {"objective": "single-span", "layout": "padded", "validation_fraction": 0.0}
"""What differs from `heed train` unless it is said otherwise."""


class PretrainFlags(NewRun):
    r"""Pretrain a language model on text whose documents have hidden spans, so that it can be asked afterwards.

    It is `heed train` with other defaults: --data.objective single-span, --data.layout padded, each line of a text
    file a document (--data.separator), and --data.validation-fraction 0: facts that are held out are never learned.
    Any setting is a flag. Values are layered, later ones win: defaults, --model.preset, --config, flags.

    examples:
      heed pretrain wiki.txt --tokenizer.kind char --run.name pretrained
      heed pretrain wiki.txt --data.objective salient-span --data.plain-share 0.5 --train.steps 4000
      heed pretrain wiki.txt --data.questions train.tsv           questions are mixed into the text
      heed pretrain --config configs/birth-places-char-pretrain.yaml
      heed train --resume runs/pretrained                         go on with a run that was stopped
      heed finetune runs/pretrained train.tsv                     what comes next
    """

    corpus: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="TEXT")] = None
    """A file, a folder, a glob, hf:NAME/CONFIG, or a named corpus; the same as --data.source."""


def main(argv: list[str]) -> int:
    """Pretrain; 0 when done, 130 when interrupted."""
    if follows():
        return follow()
    settings, rest = split_settings(argv)
    flags = parse(PretrainFlags, rest, "pretrain")
    if flags.corpus is not None:
        place(settings, ["data", "source"], flags.corpus)
    given = given_settings(flags, settings)
    data = given.get("data")
    source = str(data.get("source", "")) if isinstance(data, Mapping) else ""
    if isinstance(data, Mapping) and data.get("objective") == "answers":
        raise ConfigError(
            "data.objective: heed pretrain learns text: for questions with answers take heed finetune, "
            "or heed train with --data.objective answers and --data.layout padded"
        )
    has_form = not source or source in NAMED or source.startswith("hf:")  # such a corpus has documents of its own
    return begin(
        flags, overlay({"data": DEFAULTS | ({} if has_form else {"separator": "\n"})}, given), ["pretrain", *argv]
    )
