"""The text that a configuration describes: its corpus, its tokenizer, and the token file of each split."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from heed.config import Config, DataConfig
from heed.errors import ConfigError, DataError
from heed.report.numbers import human_bytes, human_count
from heed.text.corpus import NO_TEST, Corpus, open_corpus
from heed.text.corruption import sentinels_needed
from heed.text.id_corpus import IdCorpus, id_tokens, is_ids, open_ids
from heed.text.labelled import LabelledCorpus, LabelledTokens, open_labelled
from heed.text.named import locate
from heed.text.question_corpus import QuestionCorpus, open_questions, question_tokens
from heed.text.tokenfile import TokenFile, token_files
from heed.text.tokenizer import MASK, Tokenizer, load_tokenizer, sentinels, train_tokenizer

Say = Callable[[str], object]
"""Is told a line for people."""

LONG_TEXT = 32 << 20
"""Bytes of text from which on tokenising says how far it is."""
QUESTIONS = "questions"
"""Beside the splits of a text: the questions that are mixed into its training."""


def build_corpus(data: DataConfig, classes: Sequence[str] | None = None) -> Corpus:
    """Open the corpus: questions with answers, labelled texts where `data.label` is set, else documents.

    Of text that questions are mixed into nothing is held out: the splits are those of the questions (`build_tokens`).
    `classes` are those that a model has learned. Raises what `open_corpus`, `open_labelled` and `open_questions` raise.
    """
    if data.objective == "answers":
        return _open_questions(data, data.source)
    if data.questions is not None:
        whole: dict[str, Any] = {"validation_fraction": 0.0, "test": NO_TEST}
        return open_corpus(locate(data.source), **_reading(data), **whole)
    if is_ids(data.source):
        of_texts = [name for name in ("label", "column", "encoding", "separator") if name in data.model_fields_set]
        if problems := [
            f"data.{name}: is for texts, and {data.source} is token ids: leave it out" for name in of_texts
        ]:
            raise ConfigError(*problems)
        return open_ids(locate(data.source), first_id=data.first_id, **_splits(data))
    if data.label is not None:
        rows = {"column": data.column, "encoding": data.encoding, "label": data.label}
        return open_labelled(locate(data.source), classes=classes, **rows, **_splits(data))
    return open_corpus(locate(data.source), **_reading(data), **_splits(data))


def _reading(data: DataConfig) -> dict[str, Any]:
    """Return how files of running text are read."""
    return {name: getattr(data, name) for name in ("column", "encoding", "separator", "line_ends")}


def _splits(data: DataConfig) -> dict[str, Any]:
    """Return where the held-out splits come from; a path may lie in a folder of data sets."""
    return {
        "validation": None if data.validation is None else locate(data.validation),
        "test": None if data.test is None else locate(data.test),
        "validation_fraction": data.validation_fraction,
        "test_fraction": data.test_fraction,
    }


def _open_questions(data: DataConfig, source: str) -> QuestionCorpus:
    return open_questions(locate(source), encoding=data.encoding, **_splits(data))


def build_tokenizer(config: Config, corpus: Corpus, say: Say) -> Tokenizer:
    """Load the tokenizer that is asked for, or train one on the beginning of the training split.

    The alphabet of a character tokenizer is that of all splits, as is usual: it has no token for the unknown. Where
    the objective hides spans or asks questions there are the tokens for it besides: the mask, and sentinels.
    Raises `ConfigError` when a file holds another kind or size of tokenizer than was asked for beside it.
    """
    asked = config.tokenizer
    if isinstance(corpus, IdCorpus) and asked.file is None:
        raise ConfigError(f"tokenizer.file: {corpus.name} is token ids: name the tokenizer that made them")
    if asked.file is not None:
        tokenizer = load_tokenizer(asked.file)
        facts = {"kind": tokenizer.kind, "vocab_size": tokenizer.vocab_size}
        problems = [
            f"tokenizer.{name}: {getattr(asked, name)} is asked for, but {asked.file} has {fact}: leave one of them out"
            for name, fact in facts.items()
            if name in asked.model_fields_set and getattr(asked, name) != fact
        ]
        if problems:
            raise ConfigError(*problems)
        if asked.read_unk:
            tokenizer = tokenizer.reading_unknown()
        say(f"tokenizer: {tokenizer.kind}, {tokenizer.vocab_size:,} tokens, from {asked.file}")
        return tokenizer
    say(f"tokenizer: training {asked.kind} on {corpus.name}")
    corpora = (
        [corpus] if config.data.questions is None else [corpus, _open_questions(config.data, config.data.questions)]
    )
    texts = (
        text
        for part in corpora
        for split in (part.splits if asked.kind == "char" else ("train",))
        for text in part.documents(split)
    )
    beginning = _Beginning(texts, asked.train_bytes)
    several = len(list(itertools.islice(corpus.documents("train"), 2))) > 1
    tokenizer = train_tokenizer(
        asked.kind, beginning, asked.vocab_size, asked.pattern, end_of_text=several, specials=_specials(config)
    )
    if tokenizer.vocab_size < 2:
        raise DataError(
            f"{corpus.name} has a single {'character' if asked.kind == 'char' else 'token'} in it, so that there is "
            "nothing to predict: give another text"
        )
    if beginning.cut:
        say(f"note: the tokenizer was trained on the first {human_bytes(asked.train_bytes)} (tokenizer.train_bytes)")
    if tokenizer.note:
        say(f"note: {tokenizer.note}")
    return tokenizer


def _specials(config: Config) -> tuple[str, ...]:
    """Return the tokens that the objective needs besides those of the text."""
    if config.data.objective == "spans":
        return MASK, *sentinels(sentinels_needed(config.model.context))
    plain = config.data.objective == "next-token" and config.data.questions is None
    return () if plain else (MASK,)


def build_tokens(config: Config, corpus: Corpus, tokenizer: Tokenizer, say: Say) -> dict[str, TokenFile]:
    """Return the token file of each split, and say what was left out of the text and how it was split.

    With `data.questions` the held-out splits are of questions, and those to train on stand under `QUESTIONS`.
    """
    if isinstance(corpus, QuestionCorpus):
        return _question_files(corpus, tokenizer, say)
    if isinstance(corpus, IdCorpus):
        return _told(corpus, id_tokens(corpus, tokenizer), say)
    folder = Path(config.data.cache) if config.data.cache else Path(config.run.folder) / ".tokens"
    files = token_files(corpus, tokenizer, folder, config.data.workers, _every_fifth(say))
    if isinstance(corpus, LabelledCorpus):
        for split, file in files.items():
            labels = corpus.labels(split)
            files[split] = LabelledTokens(file.ids, file.ends, file.header, labels, corpus.classes)
    for note in corpus.notes:
        say(f"note: {note}")
    if config.data.questions is not None:
        asked = _question_files(_open_questions(config.data, config.data.questions), tokenizer, say)
        files |= {QUESTIONS if split == "train" else split: file for split, file in asked.items()}
        say(f"text: {corpus.name}, tokens: {human_count(len(files['train'].ids))}; nothing is held out")
        return files
    return _told(corpus, files, say)


def _told(corpus: Corpus, files: dict[str, TokenFile], say: Say) -> dict[str, TokenFile]:
    """Say how many tokens each split has, and how they were split."""
    sizes = {split: len(file.ids) for split, file in files.items()}
    if len(sizes) == 1:
        say(f"text: {corpus.name}, tokens: {human_count(sum(sizes.values()))}; nothing is held out")
        return files
    shares = (f"{split} {human_count(n)} ({100 * n / sum(sizes.values()):.3g} %)" for split, n in sizes.items())
    say(f"text: {corpus.name}, tokens: {', '.join(shares)}; split {corpus.split_rule}")
    return files


def _question_files(corpus: QuestionCorpus, tokenizer: Tokenizer, say: Say) -> dict[str, TokenFile]:
    """Return the questions of each split, and say how many there are and how they were split."""
    files: dict[str, TokenFile] = {**question_tokens(corpus, tokenizer)}
    counts = ", ".join(f"{split} {len(file.ends):,}" for split, file in files.items())
    how = "nothing is held out" if len(files) == 1 else f"split {corpus.split_rule}"
    say(f"questions: {corpus.name}, {counts}; {how}")
    return files


class _Beginning:
    """The first documents, until they have `limit` bytes; `cut` tells whether there were more."""

    def __init__(self, documents: Iterator[str], limit: int) -> None:
        self.documents, self.left, self.cut = documents, limit, False

    def __iter__(self) -> Iterator[str]:
        for document in self.documents:
            if self.left <= 0:
                self.cut = True
                return
            self.left -= len(document.encode())
            yield document


def _every_fifth(say: Say) -> Callable[[int, int | None], None]:
    """Return a progress for token files that speaks after each further fifth of a long text."""
    said = 0

    def progress(done: int, total: int | None) -> None:
        nonlocal said
        fifths = 5 * done // total if total and total > LONG_TEXT else 0
        if total and fifths > said:
            said = fifths
            say(f"tokenising: {human_bytes(done)} of {human_bytes(total)}")

    return progress
