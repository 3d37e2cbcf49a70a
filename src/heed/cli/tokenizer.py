"""`heed tokenizer`: train one by itself, or report how well one fits a text."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Annotated, Literal

import tyro
from pydantic import Field

from heed.cli.settings import AsJson, act, data_settings, parse, split_settings
from heed.config import Section, make_config
from heed.errors import ConfigError


class TokenizerReportFlags(Section):
    """Report how a tokenizer fits a text: bytes per token, tokens per word, unused ids, round trip.

    How the text is read can be set as in `heed train`: --data.encoding, --data.column, --data.separator ...

    examples:
      heed tokenizer report runs/quickstart my-texts/
      heed tokenizer report runs/quickstart table.csv --data.column body
      heed tokenizer report tokenizer.json wikitext-2 --split test --json
    """

    tokenizer: Annotated[Path, tyro.conf.Positional]
    """A tokenizer.json, a folder that holds one, or a run folder."""
    corpus: Annotated[str, tyro.conf.Positional]
    """A file, a folder, a glob, hf:NAME/CONFIG, or a named corpus."""
    split: Literal["train", "validation", "test"] = "train"
    """The split of the text."""
    documents: int | None = Field(default=None, ge=1)
    """Look at this many documents only."""
    json_: AsJson = False


class TokenizerTrainFlags(Section):
    """Train a tokenizer on a text and write tokenizer.json, which the `tokenizers` library reads too.

    How the text is read and split can be set as in `heed train`: --data.encoding, --data.validation-fraction ...

    examples:
      heed tokenizer train my-texts/ --vocab-size 8192
      heed tokenizer train wikitext-2 --kind word --vocab-size 33278 --out words.json
    """

    corpus: Annotated[str, tyro.conf.Positional]
    """A file, a folder, a glob, hf:NAME/CONFIG, or a named corpus; its training split is used (char: all splits)."""
    kind: Literal["bpe", "char", "word"] = "bpe"
    """bpe: byte-level byte-pair encoding. char: a token a character. word: a token a whitespace-separated word."""
    vocab_size: int = Field(default=4096, ge=2)
    """Number of tokens, special ones included."""
    pattern: Literal["gpt2", "gpt4"] = "gpt2"
    """How BPE splits text into pieces before it merges."""
    out: Path = Path("tokenizer.json")
    """The file to write."""
    overwrite: bool = False
    """Replace the file if it exists."""


def main(argv: list[str]) -> int:
    """Report on or train a tokenizer; 0 when done."""
    about = "how a tokenizer fits a text: bytes per token, tokens per word, unused ids, round trip"
    actions = {"report": (_report, about), "train": (_train, "a tokenizer by itself, written as tokenizer.json")}
    return act("tokenizer", actions, argv)


def _report(argv: list[str]) -> int:
    settings, rest = split_settings(argv)
    flags = parse(TokenizerReportFlags, rest, "tokenizer report", ["data"])
    config = make_config({"data": data_settings(settings, flags.corpus, "tokenizer report")})
    from heed.objectives import objective_of
    from heed.text.tokenizers import load_tokenizer
    from heed.text.tokenizers.report import report_tokenizer

    tokenizer = load_tokenizer(flags.tokenizer)
    documents = itertools.islice(objective_of(config).open(config)[0].documents(flags.split), flags.documents)
    report = report_tokenizer(tokenizer, documents)
    print(json.dumps(report.as_dict(), indent=2, ensure_ascii=False) if flags.json_ else report.as_text())
    return 0


def _train(argv: list[str]) -> int:
    settings, rest = split_settings(argv)
    flags = parse(TokenizerTrainFlags, rest, "tokenizer train", ["data"])
    config = make_config(
        {
            "data": data_settings(settings, flags.corpus, "tokenizer train"),
            "tokenizer": {"kind": flags.kind, "vocab_size": flags.vocab_size, "pattern": flags.pattern},
        }
    )
    if flags.out.exists() and not flags.overwrite:
        raise ConfigError(f"{flags.out} exists: give another --out, or --overwrite")
    from heed.build import build_tokenizer
    from heed.cli import tell
    from heed.objectives import objective_of

    objective = objective_of(config)
    corpora = objective.open(config)
    corpus, tokenizer = corpora[0], build_tokenizer(config, corpora, objective.specials(config), tell)
    tokenizer.save(flags.out)
    for note in corpus.notes:
        tell(f"note: {note}")
    print(f"{flags.out}: {tokenizer.kind}, {tokenizer.vocab_size:,} tokens")
    return 0
