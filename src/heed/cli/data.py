"""`heed data`: token files of text that no memory holds, and data whose truth is known; see data_report.py too."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import tyro
from pydantic import Field

from heed.cli.data_report import clean_up, extract, report
from heed.cli.place import PlaceFlags, send_array
from heed.cli.settings import AsJson, act, data_settings, parse, split_settings
from heed.config import Section, make_config
from heed.errors import ConfigError
from heed.records.shards import MOST_SHARDS, ShardIndex
from heed.text.biographies import DEV, PHRASINGS, TRAIN, TRUTH, WIKI, Dials, write_biographies


class BiographiesFlags(Section):
    """Invent people with known attributes; write text about them, questions with answers, and the truth.

    wiki.txt has a line `NAME. ...` each time a person is written about, birth_places_train.tsv and birth_dev.tsv have
    questions and answers as CS224N's birth places do, truth.jsonl has every attribute of every person and the lines
    that state it. The same seed gives the same people whatever the other dials say.

    examples:
      heed data biographies --out people
      heed data biographies --out half-seen --seen 0.5              half of the dev people are not in the text
      heed data biographies --out hard --phrasings 1 --sentences 5  one wording each, among four other facts
      heed data biographies --out often --lines 5                   five lines a person, in other words each time
      heed data biographies --out jobs --ask profession employer
      heed data biographies --out small --people 200 --seed 2 --json
    """

    out: Path
    """The folder to write; it must be empty or new."""
    people: int = Dials.people
    """People in all."""
    dev: float = Dials.dev
    """Share of the people whose questions are kept for evaluation (birth_dev.tsv)."""
    seen: float = Dials.seen
    """Share of the dev people who stand in the text. What is asked of the others can only be guessed."""
    sentences: int = Dials.sentences
    """Sentences in a line, 1 to 5, each on another attribute; what is asked is always among them."""
    lines: int = Dials.lines
    """Lines about each person, in other words and another order each time."""
    phrasings: int = PHRASINGS
    """Ways of stating each attribute, the plainest first."""
    ask: tuple[str, ...] = Dials.ask
    """Attributes that are asked for: birth-place, birth-year, profession, employer, home."""
    seed: int = Dials.seed
    """Another seed gives other people."""
    overwrite: bool = False
    """Replace the four files in a folder that is not empty."""
    json_: AsJson = False


ARRAY = "array"
"""In the place of a shard's number: that of the task of a job array."""


class TokenizeFlags(PlaceFlags):
    """Tokenise a text in shards: numbered token files with an index, on which heed train FOLDER trains.

    Every process that is given the same command, on this machine or on others that see the folder, takes shards that
    are not there yet; a command that was killed is given again. The shards hold the text in its order, so that a
    training on them is the one on a single file. How the text is read and split can be set as in heed train:
    --data.column, --data.separator, --data.validation-fraction ...

    examples:
      heed data tokenize books.jsonl --tokenizer runs/quickstart --out tokens --shards 16
      heed data tokenize texts/ --tokenizer gpt2-bpe --out tokens --shards 64 --workers 8
      heed data tokenize texts/ --tokenizer words.json --out tokens --shards 64 --shard 3      one of them
      heed data tokenize texts/ --tokenizer words.json --out tokens --shards 64 --on slurm --slurm.time 1:00:00
      heed train tokens/
    """

    corpus: Annotated[str, tyro.conf.Positional]
    """A file, a folder, a glob, hf:NAME/CONFIG, or a named corpus."""
    tokenizer: Path
    """A tokenizer.json, a folder that holds one, or a run folder."""
    out: Path
    """The folder to write: a new one, or one that this command has begun."""
    shards: int = Field(default=1, ge=1, le=MOST_SHARDS)
    """Parts of about equal size; each is one token file for each split."""
    shard: str | None = None
    """Make this one alone, from 0; array: the one of this task of a Slurm array."""
    workers: int = Field(default=0, ge=0)
    """Processes, each with a shard of its own; 0: as many as OMP_NUM_THREADS asks for, or else one for each core."""
    json_: AsJson = False


def main(argv: list[str]) -> int:
    """Look at text, or make data; 0 when done."""
    actions = {
        "report": (report, "what a text holds: sizes, languages, odd characters, duplicates, what of dev is in train"),
        "clean": (clean_up, "a text without duplicates and without what is held out"),
        "extract": (extract, "the text of web pages and notebooks"),
        "tokenize": (_tokenize, "numbered token files of a text of any size, by any number of processes or machines"),
        "biographies": (_biographies, "invented people with known attributes: text, questions, and the truth"),
    }
    return act("data", actions, argv)


def _biographies(argv: list[str]) -> int:
    flags = parse(BiographiesFlags, argv, "data biographies")
    chosen = flags.model_dump(exclude={"out", "overwrite", "json_"})
    summary = write_biographies(flags.out, Dials(**chosen), overwrite=flags.overwrite)
    if flags.json_:
        print(json.dumps({**asdict(summary), "folder": str(summary.folder), "dials": chosen}, indent=2))
        return 0
    right, questions = summary.commonest["correct"], summary.dev_questions
    rows = {
        WIKI: f"{summary.lines:,} lines, {summary.characters:,} characters, the longest line {summary.longest_line}",
        TRAIN: f"{summary.train_questions:,} questions with answers",
        DEV: f"{questions:,} questions with answers; {summary.seen_dev_people:,} of {summary.dev_people:,} people are "
        f"in the text; always {summary.commonest['answer']!r}: {right:,} right ({right / questions:.1%})",
        TRUTH: f"{summary.people:,} people: every attribute, and the lines that state it",
    }
    for name, about in rows.items():
        print(f"{summary.folder / name}: {about}")
    return 0


def _tokenize(argv: list[str]) -> int:
    settings, rest = split_settings(argv)
    flags = parse(TokenizeFlags, rest, "data tokenize", ["data"])
    data = make_config({"data": data_settings(settings, flags.corpus, "data tokenize")}).data
    text_alone = ("label", "questions", "first_id", "layout", "objective", "cache", "workers")
    if given := [name for name in text_alone if name in data.model_fields_set]:
        other = "--workers" if given[0] == "workers" else "heed train" if given[0] != "cache" else "--out"
        raise ConfigError(f"--data.{given[0].replace('_', '-')} is nothing of token files: leave it to {other}")
    wanted = _shards_wanted(flags)
    if flags.elsewhere:
        words = ["data", "tokenize", *argv]
        return send_array(flags, flags.slurm, words, _tasks(flags, wanted), f"tokenize-{flags.out.name}")

    from heed.cli import tell
    from heed.text.corpus import counted
    from heed.text.id_corpus import is_ids
    from heed.text.shards import Tokenisation, said_tokens, tokenise
    from heed.text.tokenizers import load_tokenizer

    if is_ids(flags.corpus):
        raise ConfigError(f"{flags.corpus} is token ids already: heed train reads them as they are")
    asked = Tokenisation(data, load_tokenizer(flags.tokenizer), flags.out, flags.shards)
    index = tokenise(asked, wanted, flags.workers, tell)
    if index is not None:
        for note in counted(index.left_out):
            tell(f"note: {note}")
        if empty := flags.shards - len(
            {entry.name.partition("-")[2] for some in index.splits.values() for entry in some}
        ):
            tell(
                f"note: {empty} of {flags.shards} shards are empty: compressed files, tables, files of hf:stream: and "
                "texts without data.separator are not cut"
            )
    if flags.json_:
        print(json.dumps(_summary(flags, index), indent=2))
        return 0
    if index is None:
        print(f"{flags.out}: other shards are missing; whoever makes the last one writes the index")
        return 0
    for split, sums in _summary(flags, index)["splits"].items():
        files = f"{sums['files']:,} file{'s' * (sums['files'] != 1)}"
        print(f"{split}: {said_tokens(sums['tokens'], sums['documents'])} in {files}")
    print(f"heed train {flags.out} trains on them")
    return 0


def _shards_wanted(flags: TokenizeFlags) -> list[int]:
    """Return the shards that this command makes."""
    if flags.shard is None:
        return list(range(flags.shards))
    number = os.environ.get("SLURM_ARRAY_TASK_ID", "") if flags.shard == ARRAY else flags.shard
    if flags.shard == ARRAY and not number:
        raise ConfigError("--shard array: this is no task of a Slurm array (SLURM_ARRAY_TASK_ID is not set)")
    if not (number.isascii() and number.isdecimal() and int(number) < flags.shards):
        raise ConfigError(f"--shard {number}: shards go from 0 to {flags.shards - 1}, or are named by {ARRAY}")
    return [int(number)]


def _tasks(flags: TokenizeFlags, wanted: list[int]) -> dict[str, list[str]]:
    """Return what each task of an array adds to the command, by its name."""
    if flags.shard is not None:
        raise ConfigError("--shard: with --on slurm each shard is a task of its own: leave it out")
    return {f"{flags.out.name}, shard {shard} of {flags.shards}": ["--shard", str(shard)] for shard in wanted}


def _summary(flags: TokenizeFlags, index: ShardIndex | None) -> dict[str, Any]:
    """Return what --json prints: what is in the folder, `splits` null while shards are missing."""
    splits = None if index is None else {
        split: {
            "files": len(entries),
            **{count: sum(getattr(entry, count) for entry in entries) for count in ("tokens", "documents", "bytes")},
        }
        for split, entries in index.splits.items()
    }  # fmt: skip
    return {"folder": str(flags.out), "shards": flags.shards, "splits": splits}
