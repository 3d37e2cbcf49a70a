"""`heed data report`, `clean`, `extract`: look at text before anything learns from it, and clean it."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Annotated

import tyro

from heed.cli import tell
from heed.cli.settings import AsJson, data_settings, parse, split_settings
from heed.cli.streams import show, terminal_width
from heed.config import Section, make_config
from heed.errors import ConfigError, DataError, why
from heed.files import growing
from heed.report.numbers import human_bytes
from heed.report.parts import write_page
from heed.text.reading import corpus_of


class SurveyFlags(Section):
    """Report what a text holds: documents, sizes, languages, writing systems, longest lines, odd characters,
    duplicates, and what of the held-out splits stands in training too. It is read once; memory does not grow with it.

    Every --data setting is a flag, such as --data.column or --data.validation. Languages and near-duplicates need the
    extra `data` (py3langid, datasketch).

    examples:
      heed data report my-texts/
      heed data report stories.jsonl --data.column story --out report.html
      heed data report my-texts/ --near 0.8                   nearly equal documents too, by MinHash
      heed data report my-texts/ --tokenizer runs/mine        tokens, and those that the tokenizer does not know
      heed data report wikitext-2-lines --json
    """

    corpus: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="TEXT")]
    """A file, a folder, a glob, hf:NAME/CONFIG, or a named corpus."""
    tokenizer: Path | None = None
    """A tokenizer.json, a run folder or a folder of transformers, to count tokens with."""
    near: float | None = None
    """Look for documents of which this share of the runs of five words is shared with another one, as 0.8."""
    out: Path | None = None
    """Write the page, an .html file."""
    overwrite: bool = False
    """Replace the page if it is there."""
    json_: AsJson = False


class CleanTextFlags(Section):
    """Write the training documents of a text that are left without duplicates and without what is held out, a JSON line
    each, which `heed train` reads. What is left out is counted by the reason.

    Every --data setting is a flag. Give held-out splits by --data.validation and --data.test; what is held out by a
    share is cut from the text first, so that the file holds the rest.

    examples:
      heed data clean my-texts/ --data.validation-fraction 0 --out clean.jsonl
      heed data clean train.jsonl --data.validation dev.jsonl --near 0.8 --out clean.jsonl
    """

    corpus: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="TEXT")]
    """A file, a folder, a glob, hf:NAME/CONFIG, or a named corpus."""
    out: Path
    """The file to write, .jsonl."""
    near: float | None = None
    """Leave out documents that are nearly equal to another one too, as 0.8 (see `heed data report`)."""
    overwrite: bool = False
    """Replace the file if it is there."""
    json_: AsJson = False


class ExtractFlags(Section):
    """Write the text of web pages (.html) and notebooks (.ipynb) as JSON lines, a file each, which `heed train` reads.

    Scripts, styles and outputs are left out. Each line has the file that it comes from, as `source`.

    examples:
      heed data extract site/ --out site.jsonl
      heed data extract old.html --encoding cp1252 --out old.jsonl
    """

    place: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")]
    """A file, or a folder, which is looked through."""
    out: Path
    """The file to write, .jsonl."""
    encoding: str = "utf-8"
    """Encoding of the files that are not UTF-8."""
    overwrite: bool = False
    """Replace the file if it is there."""


def report(argv: list[str]) -> int:
    """Report what a text holds; 0 when done."""
    settings, rest = split_settings(argv)
    flags = parse(SurveyFlags, rest, "data report", ["data"])
    config = make_config({"data": data_settings(settings, flags.corpus, "data report")})
    _refuse(flags.out, ".html", overwrite=flags.overwrite)
    from heed.report.survey_page import render, survey_lines
    from heed.text.survey import survey

    tokenizer = None
    if flags.tokenizer is not None:
        from heed.text.tokenizers import load_tokenizer

        tokenizer = load_tokenizer(flags.tokenizer)
    corpus = corpus_of(config.data)
    found = survey(
        corpus, flags.corpus, tokenizer=tokenizer, near=flags.near, seed=config.run.seed,
        progress=_shown(sum(corpus.expected_bytes(split) or 0 for split in corpus.splits)),
    )  # fmt: skip
    if flags.out is not None:
        write_page(flags.out, render(found, ["heed", "data", "report", *argv]))
    if flags.json_:
        print(json.dumps(found.as_dict(), indent=2, ensure_ascii=False))
        return 0
    show(survey_lines(found, terminal_width()))
    if flags.out is not None:
        print(f"report: {flags.out}")
    return 0


def clean_up(argv: list[str]) -> int:
    """Write a text without duplicates; 0 when done."""
    settings, rest = split_settings(argv)
    flags = parse(CleanTextFlags, rest, "data clean", ["data"])
    config = make_config({"data": data_settings(settings, flags.corpus, "data clean")})
    _refuse(flags.out, ".jsonl", overwrite=flags.overwrite)
    from heed.text.survey import clean

    corpus = corpus_of(config.data)
    kept, left_out = clean(corpus, flags.near)
    count = 0
    with _written(flags.out) as file:
        for text in kept:
            file.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
            count += 1
        if not count:
            raise DataError("every training document is a duplicate or held out: nothing would be left")
    if flags.json_:
        print(json.dumps({"out": str(flags.out), "documents": count, "left_out": left_out}, indent=2))
        return 0
    print(f"{flags.out}: {count:,} documents")
    for reason, number in left_out.items():
        print(f"  left out, {reason}: {number:,}")
    for note in corpus.notes:
        tell(f"note: {note}")
    return 0


def extract(argv: list[str]) -> int:
    """Write the text of pages and notebooks; 0 when done."""
    flags = parse(ExtractFlags, argv, "data extract")
    _refuse(flags.out, ".jsonl", overwrite=flags.overwrite)
    from heed.text.extracted import extracted

    if not flags.place.exists():
        raise DataError(f"{flags.place} does not exist: name a file or a folder of .html or .ipynb")
    left_out: Counter[str] = Counter()
    count = 0
    with _written(flags.out) as file:
        for path, text in extracted(flags.place, flags.encoding, left_out):
            file.write(json.dumps({"text": text, "source": str(path)}, ensure_ascii=False) + "\n")
            count += 1
        if not count:
            raise DataError(f"{flags.place}: no file holds any text")
    print(f"{flags.out}: {count:,} documents")
    for what, number in left_out.items():
        tell(f"note: left out, {what}: {number:,}")
    return 0


@contextmanager
def _written(out: Path) -> Iterator[IO[str]]:
    """Give a file to write lines to, which has its name once it is whole. Raises `DataError` where it cannot be."""
    try:
        with growing(out) as file:
            yield file
    except OSError as error:
        raise DataError(f"{out} cannot be written: {why(error)}; make room, or choose another --out") from error


def _refuse(out: Path | None, suffix: str, *, overwrite: bool) -> None:
    """Raise `ConfigError` for a file that cannot be written under its name, before anything is read."""
    if out is None:
        return
    if out.suffix != suffix:
        raise ConfigError(f"--out: {out} must end in {suffix}")
    if out.exists() and not overwrite:
        raise ConfigError(f"{out} exists: give another --out, or --overwrite")


def _shown(total: int) -> Callable[[int], None]:
    """Return a progress that speaks on a terminal, at most ten times a second."""
    last = 0.0

    def progress(done: int) -> None:
        nonlocal last
        if sys.stderr.isatty() and time.monotonic() > last + 0.1:
            last = time.monotonic()
            of = f" of {human_bytes(total)}" if total else ""
            print(f"\r{human_bytes(done)}{of} read ", end="", file=sys.stderr, flush=True)

    return progress
