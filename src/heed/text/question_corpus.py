"""Questions with answers as a corpus: in splits that are held out as those of other text are.

A hash of the question decides its split, so that equal questions never stand on both sides.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from heed.errors import DataError
from heed.text.corpus import NO_TEST, SPLITS, Corpus, held_out_shares, name_of
from heed.text.corruption import mask_of
from heed.text.formats import Reading
from heed.text.qa import Question, answer_ids, question_ids, read_questions, repetitions
from heed.text.sources import Documents, Found, Source, draw, file_source
from heed.text.tokenfile import TokenFile
from heed.text.tokenizers import Tokenizer


@dataclass(frozen=True)
class QuestionTokens(TokenFile):
    """The questions of a split, and their rows one after the other: question, mask, answer, mask."""

    questions: tuple[Question, ...]


class QuestionCorpus(Corpus):
    """Questions with answers in splits. Made by `open_questions`; its documents are what they say."""

    def __init__(
        self, sources: dict[str, Source], shares: dict[str, float], questions: dict[str, list[Question]]
    ) -> None:
        self._questions = questions
        super().__init__(sources, shares, "words")
        if self._limits:
            raise DataError(f"{self.name} has a single question, too few to be split: give more")
        self._notes += [note for some in questions.values() for note in repetitions(some)]
        known = {one.prompt for one in questions["train"]}
        for split in (name for name in SPLITS if name != "train" and name in questions):
            if shared := sum(one.prompt in known for one in questions[split]):
                self._notes.append(f"{shared:,} of {len(questions[split]):,} {split} questions also stand in training")

    def questions(self, split: str) -> tuple[Question, ...]:
        """Return the questions of a split, in the order of the file."""
        if split != "train" and split in self._questions:
            return tuple(self._questions[split])
        shared = self._questions["train"]
        return tuple(q for q in shared if not self._shares or self._split_of(draw(q.prompt)) == split)

    def documents(self, split: str) -> Iterator[str]:
        """Yield the questions of a split, each with its answer behind it as in running text."""
        for question in self.questions(split):
            yield f"{question.prompt} {question.answer}"


def open_questions(
    source: str | Path,
    *,
    validation: str | Path | None = None,
    test: str | Path | None = None,
    validation_fraction: float = 0.1,
    test_fraction: float = 0.0,
    encoding: str = "utf-8",
) -> QuestionCorpus:
    """Open a file of questions with answers; the arguments are the settings of the same names in `data`.

    Raises what `read_questions` raises, and `DataError` where there are too few to be split.
    """
    files = {"train": source, "validation": validation, "test": None if test == NO_TEST else test}
    given = {split: path for split, path in files.items() if path is not None}
    questions = {split: read_questions(path, encoding=encoding) for split, path in given.items()}
    sources = {split: _source(Path(path), questions[split], encoding) for split, path in given.items()}
    return QuestionCorpus(sources, held_out_shares(validation_fraction, test_fraction, sources), questions)


def question_tokens(corpus: QuestionCorpus, tokenizer: Tokenizer) -> dict[str, QuestionTokens]:
    """Return the questions of each split with their token ids.

    Raises `DataError` that names file and line where the vocabulary lacks a character, or has no mask.
    """
    mask_of(tokenizer)  # no line of the file is to blame for a tokenizer without one
    files: dict[str, QuestionTokens] = {}
    for split in (name for name in SPLITS if name in corpus.splits):
        questions = corpus.questions(split)
        rows = [_row(question, tokenizer) for question in questions]
        header = corpus.facts(split) | {"tokenizer_hash": tokenizer.hash}
        ends = np.cumsum([len(row) for row in rows], dtype=np.uint64)
        ids = np.array([id for row in rows for id in row], dtype=np.uint32)
        files[split] = QuestionTokens(ids, ends, header, questions)
    return files


def _row(question: Question, tokenizer: Tokenizer) -> Sequence[int]:
    assert question.answer is not None
    try:
        return question_ids(tokenizer, question.prompt) + answer_ids(tokenizer, question.answer)
    except DataError as error:
        raise DataError(f"{question.place}: {error}") from None


def _source(path: Path, questions: Sequence[Question], encoding: str) -> Source:
    """Return the questions of a file as a source of documents, whose contents are its fingerprint."""

    def read(skipped: object) -> Documents:
        return ((draw(question.prompt), question.prompt) for question in questions)

    return Source(
        name_of(str(path)),
        file_source(Found(path.parent, [path]), Reading(encoding=encoding), path.stem).fingerprint,
        read,
        path.stat().st_size,
        (path,),
    )
