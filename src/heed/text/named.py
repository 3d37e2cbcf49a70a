"""Corpora that heed knows by name. One comes with Python; the others are found on this machine or on the hub.

A folder of data sets is looked for in $HEED_DATA, then as `shared/data` in the current folder or one above it. What
lies in it is also found by its path from there (`locate`).
"""

from __future__ import annotations

import glob
import os
import pydoc_data.topics
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from heed.errors import DataError, MissingPackageError
from heed.files import expanded
from heed.text.formats import Reading, read_file, read_rows
from heed.text.sources import Documents, Found, Source, digest, draw, file_source, hub_rows, hub_sources, hub_tables

STORY_END = "<|endoftext|>"
Opened = TypeVar("Opened")


@dataclass(frozen=True)
class Named:
    """A corpus with a name: what it is, and where it is found."""

    description: str
    files: dict[str, str]
    """For each split, its file within the folder of data sets."""
    hub: str = ""
    word_rule: str = "words"
    columns: tuple[str, ...] = ()
    """Names of the columns of labelled texts; the first holds the text."""
    roles: Mapping[str, str] = field(default_factory=dict)
    """What the columns are for: text, pair (a second text beside it), label, group (rows that share a split)."""
    note: str = ""
    """What is to be known of the files."""


NAMED: dict[str, Named] = {
    "python-reference": Named("the topics of Python's own language reference, 0.5 MB of English, on every machine", {}),
    "shakespeare": Named(
        "tiny Shakespeare, 1.1 million characters, split 90/10 by position as is usual",
        {"train": "tinyshakespeare/input.txt"},
        hub="karpathy/tiny_shakespeare",
    ),
    "wikitext-2": Named(
        "WikiText-2, words: Wikipedia articles, 2.1 / 0.2 / 0.2 million tokens, each split one document as published",
        {"train": "wikitext-2/train.txt", "validation": "wikitext-2/valid.txt", "test": "wikitext-2/test.txt"},
        hub="Salesforce/wikitext",
        word_rule="words + line ends",
    ),
    "wikitext-2-lines": Named(
        "WikiText-2, each of its 23,767 / 2,461 / 2,891 lines that is not empty (a paragraph or a heading) a document",
        {"train": "wikitext-2/train.txt", "validation": "wikitext-2/valid.txt", "test": "wikitext-2/test.txt"},
        hub="Salesforce/wikitext",
    ),
    "tinystories": Named(
        "TinyStories, short stories in a small child's words: the first 2 MiB from a file, or all from the hub",
        {"train": "tinystories/sample.txt"},
        hub="roneneldan/TinyStories",
    ),
    "sst2": Named(
        "SST-2, sentences of film reviews: 6,920 / 872 / 1,821, with data.label label (0 negative, 1 positive)",
        {"train": "sst2/train.tsv", "validation": "sst2/dev.tsv", "test": "sst2/test.tsv"},
        columns=("text", "label"),
        roles={"text": "text", "label": "label"},
    ),
    "boolq": Named(
        "BoolQ, questions of yes or no, 3,270 (hub: 9,427 / 3,270), with data.column question, data.label answer",
        {"train": "boolq/dev.jsonl"},
        hub="google/boolq",
        columns=("question", "passage", "answer"),
        roles={"text": "question", "pair": "passage", "label": "answer", "group": "passage"},
        note="the official development set is split, as the files hold no passages of the official training set",
    ),
}


def open_named(name: str) -> dict[str, Source]:
    """Return the splits of a named corpus. Raises `DataError` that says where it looked when it is not to be had."""
    if name == "python-reference":
        return {"train": _python_reference()}
    return files_or_hub(
        name, lambda files: {split: _from_file(name, path) for split, path in files.items()}, lambda: _from_hub(name)
    )


def files_or_hub(name: str, files: Callable[[dict[str, Path]], Opened], hub: Callable[[], Opened]) -> Opened:
    """Return what `files` makes of the files of a named corpus, or what `hub` returns where they are not there.

    Raises `DataError` that says where it looked.
    """
    try:
        found = named_files(name)
    except DataError as missing:
        if not NAMED[name].hub:
            raise
        try:
            return hub()
        except (DataError, MissingPackageError) as error:
            raise DataError(f"{missing} (nor is it on the hub: {error})") from None
    return files(found)


def named_files(name: str) -> dict[str, Path]:
    """Return the file of each split of a named corpus. Raises `DataError` that says where it looked."""
    looked = data_folders()
    for folder in looked:
        paths = {split: folder / file for split, file in NAMED[name].files.items()}
        if paths and all(path.is_file() for path in paths.values()):
            return paths
    places = ", ".join(str(folder) for folder in looked) or "$HEED_DATA (not set) and shared/data (not there)"
    wanted = ", ".join(NAMED[name].files.values())
    raise DataError(f"{name} was not found in {places}: set HEED_DATA to a folder that holds {wanted}")


def data_folders() -> list[Path]:
    """Return the folders that may hold data sets, in the order in which they are tried."""
    here = Path.cwd()
    named = [expanded(os.environ["HEED_DATA"])] if os.environ.get("HEED_DATA") else []
    near = [folder for above in (here, *here.parents) if (folder := above / "shared" / "data").is_dir()]
    found: dict[Path, Path] = {}
    for folder in (*named, *near):
        found.setdefault(folder.resolve(), folder)
    return list(found.values())


_HOME: ContextVar[Path | None] = ContextVar("home", default=None)


@contextmanager
def relative_to(home: Path | None) -> Iterator[None]:
    """Let `locate` look for relative paths in the folder where a run was begun first; None: as ever.

    Within another one this does nothing.
    """
    token = _HOME.set(_HOME.get() or (None if home is None else home.resolve()))
    try:
        yield
    finally:
        _HOME.reset(token)


def at_home(path: str | Path) -> Path:
    """Return a relative path as it is to be understood where a run was begun in another folder that is still there."""
    home = _HOME.get()
    return Path(path) if home is None or home == Path.cwd() or not home.is_dir() else home / path


def as_given(path: str) -> str:
    """Return a path below the folder where a run was begun as its settings have it."""
    home = _HOME.get()
    below = home is not None and Path(path).is_relative_to(home)
    return Path(path).relative_to(home).as_posix() if home is not None and below else path


def locate(source: str) -> str:
    """Return a path or glob as it is, or below the folder that has it: where the run was begun, or one of data sets.

    So `birth-places/wiki.txt` is found in the folder of data sets that alone has it.
    """
    if source in NAMED or source.startswith("hf:") or (path := expanded(source)).is_absolute():
        return source
    there = at_home(path)
    if there != path and (there.exists() or glob.glob(str(there))):
        return str(there)
    if os.path.exists(path):
        return source
    return next((str(folder / source) for folder in data_folders() if os.path.exists(folder / source)), source)


def _python_reference() -> Source:
    """Return Python's language reference: a topic is a document, and its name (not its text) decides its split.

    So a topic stays in its split from one version of Python to the next.
    """
    topics = sorted(pydoc_data.topics.topics.items())

    def read(skipped: Counter[str]) -> Documents:
        for topic, text in topics:
            yield draw(topic), text

    size = sum(len(text.encode()) for _, text in topics)
    return Source("python-reference", digest("python-reference", topics), read, size)


def _from_file(name: str, path: Path) -> Source:
    source = file_source(Found(path.parent, [path]), Reading(), name)
    if columns := NAMED[name].columns:  # of labelled texts those in the first column are read
        return replace(source, read=lambda skipped: _column(path, columns), part=None)
    if name == "wikitext-2-lines":
        read = lambda skipped: _lines(path, skipped)
        return replace(source, fingerprint=digest(name, source.fingerprint), read=read, part=None)
    if name != "tinystories":
        return source

    def read(skipped: Counter[str]) -> Documents:
        stories = read_file(path, Reading(separator=STORY_END), skipped)
        _, story = next(stories)
        for _, following in stories:
            yield draw(story), story
            story = following
        # The file is the beginning of a larger one, so its last story stops in mid-sentence.
        skipped["last stories left out, being cut off"] += 1

    return Source(name, digest(name, source.fingerprint), read, source.size, source.files)


def _lines(path: Path, skipped: Counter[str]) -> Documents:
    """Yield the lines of a file that are not empty."""
    for _, line in read_file(path, Reading(separator="\n"), skipped):
        if line.strip():
            yield draw(line), line


def _column(path: Path, header: tuple[str, ...]) -> Documents:
    """Yield the texts of a file of labelled ones."""
    for _, (text,) in read_rows(path, {"--data.column": header[0]}, header=header):
        yield draw(text), text


def _from_hub(name: str) -> dict[str, Source]:
    hub = NAMED[name].hub
    if name == "tinystories":
        return hub_sources(f"hf:{hub}", Reading())
    if columns := NAMED[name].columns:
        return hub_sources(f"hf:{hub}", Reading(columns[0]))
    if name == "wikitext-2":
        return {split: _joined(name, [table]) for split, table in hub_tables(hub, "wikitext-2-v1").items()}
    if name == "wikitext-2-lines":
        return {split: _rows(name, table) for split, table in hub_tables(hub, "wikitext-2-v1").items()}
    # The hub cuts tiny Shakespeare in 90/5/5; joined again, it is split as everywhere else. Its newest version is a
    # script, which `datasets` no longer runs: the hub's own conversion stands beside it.
    return {"train": _joined(name, list(hub_tables(hub, revision="refs/convert/parquet").values()))}


def _rows(name: str, table: Any) -> Source:
    """Return the rows of a table that hold text, each a document."""

    def read(skipped: Counter[str]) -> Documents:
        for text in hub_rows(table, "text", name):
            if text and text.strip():
                yield draw(text), text.strip("\r\n")

    return Source(name, digest(name, table._fingerprint), read)


def _joined(name: str, tables: list[Any]) -> Source:
    """Return the rows of tables joined to the one text that they were cut from."""

    def rows() -> Iterator[str]:
        for table in tables:
            for text in hub_rows(table, "text", name):
                yield text or " \n"  # WikiText's empty line, which the hub stores as an empty row

    def read(skipped: Counter[str]) -> Documents:
        text = "".join(rows())
        yield draw(text), text

    return Source(name, digest(name, [table._fingerprint for table in tables]), read)
