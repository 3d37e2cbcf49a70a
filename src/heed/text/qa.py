"""Questions with answers: what a pretrained model is taught to say, and asked afterwards.

    file      Where was Khatchig Mouradian born?  TAB  Lebanon         .tsv or .txt, a line each, without a header
              {"question": ..., "answer": ...}                         .jsonl; "prompt" is as good as "question"
    row       Where was Khatchig Mouradian born?⁇Lebanon⁇              CS224N, assignment 5
    loss                                         ^^^^^^^^^             on the answer and the mask that closes it

The mask stands where the hidden span of `corruption.py` begins, so that a model pretrained so begins to answer there.
A tokenizer of subwords reads an answer with a space before it, as it stands in running text: the same tokens.
"""

from __future__ import annotations

import io
import json
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from heed.errors import DataError
from heed.text.batches import Packed
from heed.text.charsets import check_encoding, codec_for
from heed.text.corruption import mask_of
from heed.text.formats import keys_once, kind_of, whole_characters
from heed.text.packing import open_bytes
from heed.text.sources import digest
from heed.text.stream import Batch, gather, trimmed
from heed.text.tokenfile import TokenFile
from heed.text.tokenizers import MASK, Tokenizer

NAMES = [[name, *rest] for name in ("question", "prompt") for rest in ([], ["answer"])]
"""What a line of names says, which tables have and files of questions have not."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question, its answer where that is known, and where it stands: the line (from 1) of the file `path`."""

    prompt: str
    answer: str | None
    line: int
    path: str = "the questions"

    @property
    def place(self) -> str:
        """Where the question stands, in words."""
        return f"{self.path}, line {self.line}"


def read_questions(path: str | Path, *, encoding: str = "utf-8", answers: bool = True) -> list[Question]:
    """Read questions from a .tsv, .txt or .jsonl file, also as .gz or .zst; spaces around them are taken away.

    With `answers=False` the answer may be missing (no tab, no such key) and is None then. Raises `DataError`, which
    names file and line: no tab, two tabs, an empty line, question or answer, the mask character in one of them, a value
    that is no text, another encoding; also when there is no such file or nothing in it.
    """
    path = Path(path)
    read = _from_json if kind_of(path) == ".jsonl" else _from_table
    found: list[Question] = []
    bad: list[DataError] = []
    for number, line in _lines(path, encoding):
        try:
            found.append(_checked(Question(*read(line, f"{path}, line {number}"), number, str(path)), answers))
        except DataError as error:
            bad.append(error)
    if bad:
        more = f"; {len(bad):,} of {len(found) + len(bad):,} lines cannot be used" if len(bad) > 1 else ""
        raise DataError(f"{bad[0]}{more}")
    return found


def repetitions(questions: Sequence[Question]) -> list[str]:
    """Return a note where questions stand more than once, with how many have several answers, and the first of them.

    >>> repetitions([Question("a", "b", 1, "x.tsv"), Question("c", "d", 2, "x.tsv"), Question("a", "e", 3, "x.tsv")])
    ['1 question stands more than once, 1 of them with different answers: x.tsv, line 1 and line 3']
    """
    places: dict[str, list[Question]] = defaultdict(list)
    for question in questions:
        places[question.prompt].append(question)
    again = [some for some in places.values() if len(some) > 1]
    if not again:
        return []
    torn = [some for some in again if len({normalise(one.answer or "") for one in some}) > 1]
    first = (torn or again)[0]
    what = "1 question stands" if len(again) == 1 else f"{len(again):,} questions stand"
    answers = f", {len(torn):,} of them with different answers" if torn else ""
    return [f"{what} more than once{answers}: {first[0].place} and line {first[1].line}"]


def _lines(path: Path, encoding: str) -> Iterator[tuple[int, str]]:
    """Yield the lines of a file and their numbers, without empty ones at its end."""
    check_encoding(encoding)
    if kind_of(path) not in (".tsv", ".txt", ".jsonl"):
        raise DataError(f"{path}: questions are read from .tsv (question, tab, answer) or .jsonl files: give one")
    try:
        with open_bytes(path) as stream:
            data = stream.read()
        codec = codec_for(lambda: io.BytesIO(data), encoding)
        text = data.decode(codec).removeprefix("\ufeff").rstrip(" \r\n")  # a tab there has an empty answer behind it
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        hint = "convert it to UTF-8; for training, --data.encoding names another (often cp1252, latin-1 or utf-16)"
        raise DataError(f"{path}, line {line} is not {encoding}: {hint}") from None
    except (EOFError, zlib.error) as error:
        raise DataError(f"{path} is damaged or cut off ({error}): fetch or pack it again") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None
    if not text:
        raise DataError(f"{path} is empty: give a file with a question, a tab and its answer in each line")
    yield from enumerate(text.split("\n"), 1)


def _from_table(line: str, place: str) -> tuple[str, str | None]:
    """Return question and answer of a line of TSV."""
    cells = line.rstrip("\r").split("\t")
    if [cell.strip().strip('"').lower() for cell in cells] in NAMES and place.endswith(", line 1"):
        raise DataError(f"{place} names the columns: questions have no such line, take it out")
    if len(cells) > 2:
        raise DataError(f"{place} has {len(cells)} columns: write the question, one tab and the answer")
    return cells[0].strip(), cells[1].strip() if len(cells) == 2 else None


def _from_json(line: str, place: str) -> tuple[str, str | None]:
    """Return question and answer of a line of JSON."""
    if not line.strip():
        return "", None
    try:
        row = json.loads(line, object_pairs_hook=keys_once)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{place} is not valid JSON: {error}") from None
    if not isinstance(row, dict) or not ("question" in row) ^ ("prompt" in row):
        raise DataError(f'{place} must be an object with "question" (or "prompt") and "answer"')
    prompt = _text(row.get("question", row.get("prompt")), place, "question")
    return prompt, None if row.get("answer") is None else _text(row["answer"], place, "answer")


def _text(value: object, place: str, name: str) -> str:
    """Return a value of JSON that is text, without white space around it."""
    if not isinstance(value, str):
        shown = value if len(repr(value)) < 40 else type(value).__name__
        raise DataError(f"{place}: the {name} is {shown!r} and must be text: write it in quotation marks")
    if whole_characters(value, Counter()) != value:
        raise DataError(f"{place}: the {name} holds half a character (a lone surrogate): write it anew")
    return value.strip()


def _checked(question: Question, answers: bool) -> Question:
    """Return a question as it is. Raises `DataError` when it cannot be used."""
    if not question.prompt:
        what = "is empty: take the line out" if not question.answer else "has an empty question: fill it in"
        raise DataError(f"{question.place} {what}")
    if question.answer is None and answers:
        missing = '"answer"' if kind_of(Path(question.path)) == ".jsonl" else "tab"
        raise DataError(f"{question.place} has no {missing}: write the question, a tab and the answer")
    if question.answer == "":
        raise DataError(f"{question.place} has an empty answer: fill it in or take the line out")
    if MASK in question.prompt or MASK in (question.answer or ""):
        raise DataError(f"{question.place} holds {MASK} (U+2047), which stands for the mask: write it in another way")
    return question


def question_ids(tokenizer: Tokenizer, prompt: str) -> list[int]:
    """Return the ids of a question and the mask behind it, after which the answer begins.

    Raises `DataError` when the tokenizer lacks a character or the mask.
    """
    return [*tokenizer.encode(prompt), mask_of(tokenizer)]


def answer_ids(tokenizer: Tokenizer, answer: str) -> list[int]:
    """Return the ids of an answer as it follows the mask, and the mask that closes it; raises as `question_ids`."""
    return [*tokenizer.encode(tokenizer.space + answer), mask_of(tokenizer)]


def normalise(answer: str) -> str:
    """Return an answer as it is compared: without white space around it. Nothing else is forgiven."""
    return answer.strip()


def commonest_answer(questions: Sequence[Question]) -> tuple[str, int]:
    """Return the answer that is right most often, and how often; of several the one that comes first.

    Raises `DataError` when no question has an answer.

    >>> commonest_answer([Question("a", "Rome", 1), Question("b", "London", 2), Question("c", "London", 3)])
    ('London', 2)
    """
    counts = Counter(normalise(question.answer) for question in questions if question.answer is not None)
    if not counts:
        raise DataError("none of these questions has an answer: give a file with answers")
    return counts.most_common(1)[0]


class Questions(Packed):
    """Endless batches of questions with answers, a row each; the loss is on answers and what closes them.

    Every question once an epoch, in another order each time; where the stream stands is what it is for `Packed`.
    Batches are as wide as their longest row, see `trimmed`. Raises `DataError`, which names file and line: a character
    that the vocabulary lacks, a row longer than the context, a question without an answer.
    """

    def __init__(
        self,
        questions: Sequence[Question],
        tokenizer: Tokenizer,
        batch_size: int,
        context: int,
        seed: int,
        shuffle: bool = True,
    ) -> None:
        table = _Rows(questions, tokenizer, context)
        super().__init__(table.tokens, batch_size, context, seed, shuffle, table=table)
        self.notes = table.notes

    def take(self, rows: int) -> Batch:
        """Return the next `rows` rows, at least one."""
        return trimmed(super().take(rows))


def question_windows(
    questions: Sequence[Question], tokenizer: Tokenizer, context: int, batch_size: int
) -> Iterator[Batch]:
    """Yield each question once, in order, as `Questions` makes its rows; the last batch may be smaller.

    Raises what `Questions` raises.
    """
    rows = _Rows(questions, tokenizer, context)
    for first in range(0, rows.count, batch_size):
        yield trimmed(rows.batch(np.arange(first, min(first + batch_size, rows.count))))


class _Rows:
    """Encoded questions, by number."""

    def __init__(self, questions: Sequence[Question], tokenizer: Tokenizer, context: int) -> None:
        if not questions:
            raise DataError("there are no questions: give a file with a question, a tab and its answer in each line")
        self.context, self.count = context, len(questions)
        rows = [_row(question, tokenizer, context) for question in questions]
        lengths = np.array([len(prompt) + len(answer) for prompt, answer in rows])
        ends = np.cumsum(lengths)
        self.starts, self.valid = ends - lengths, lengths - 1
        self.seen = np.array([len(prompt) - 1 for prompt, _ in rows])
        ids = np.array([id for row in rows for part in row for id in part], dtype=np.uint32)
        texts = [(question.prompt, question.answer) for question in questions]
        header = {"corpus_fingerprint": digest("questions", texts), "tokenizer_hash": tokenizer.hash}
        self.tokens = TokenFile(ids, ends.astype(np.uint64), header)
        unknown = sum(tokenizer.unknown_id in answer for _, answer in rows)
        said = f"{unknown:,} of {self.count:,} answers hold words that the vocabulary lacks: they are never right"
        self.notes = [said] if tokenizer.unknown_id is not None and unknown else []

    def batch(self, numbers: np.ndarray) -> Batch:
        """Return some rows, padded to the context; answers count."""
        return gather(self.tokens.ids, self.starts[numbers], self.valid[numbers], self.seen[numbers], self.context)


def _row(question: Question, tokenizer: Tokenizer, context: int) -> tuple[list[int], list[int]]:
    """Return the ids of a question and of its answer. Raises `DataError` that names file and line."""
    if question.answer is None:
        raise DataError(f"{question.place} has no answer: write the question, a tab and the answer")
    try:
        prompt, answer = question_ids(tokenizer, question.prompt), answer_ids(tokenizer, question.answer)
    except DataError as error:
        raise DataError(f"{question.place}: {error}") from None
    if (need := len(prompt) + len(answer) - 1) > context:
        raise DataError(
            f"{question.place} needs {need:,} tokens with its answer, model.context is {context:,}: "
            "raise it or shorten the line"
        )
    return prompt, answer
