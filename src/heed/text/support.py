"""Where an answer may come from: whether the corpora name the one who is asked about, and the passage that does.

Every line of a corpus is a passage. A question is about its name: what stands from the first to the last of its words
with a capital letter or a digit, the first word of the question aside.

    Where was Jacob Henry Studer born?      Jacob Henry Studer
    When did the U.S. enter World War II?   U.S. enter World War II    (too much: such a name stands nowhere)

It is *seen* where these words stand side by side in a line. That says that the text held something about the name, not
that it held the answer, which `support` looks for. A corpus is searched by an inverted index: word -> lines.
"""

from __future__ import annotations

import math
import re
from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from heed.errors import DataError
from heed.text.charsets import bad_byte, codec_of
from heed.text.formats import Reading, kind_of, read_file
from heed.text.packing import explained, open_bytes
from heed.text.qa import read_questions

Seen = Literal["pretraining", "fine-tuning only", "never"]
_WORD = re.compile(r"[^\W_]+(?:['’.-][^\W_]+)*")


@dataclass(frozen=True)
class Passage:
    """A line of a corpus that names whom a question is about."""

    text: str
    line: int
    """Its number, from 1."""
    holds_answer: bool
    """Whether the words of the answer stand in it, side by side."""


class LineIndex:
    """The lines of a text, found by their words."""

    def __init__(self, lines: Iterable[str]) -> None:
        self.lines = list(lines)
        self._index: dict[str, array[int]] = {}
        for number, line in enumerate(self.lines):
            for word in set(words_of(line)):
                self._index.setdefault(word, array("L")).append(number)

    @classmethod
    def open(cls, path: Path, reading: Reading | None = None) -> LineIndex:
        """Read a text file, packed or not; of rows (.jsonl, .json, .csv, .tsv, .parquet) the text of each is a line.

        Raises `DataError` when it is missing, is not as `reading` says, or holds no text.
        """
        reading = reading or Reading()
        if kind_of(path) not in (None, ".txt", ".md"):
            lines: list[str] = []
            for begins, part in read_file(path, reading, Counter()):
                lines += [part] if begins else [lines.pop() + part]
            return cls([" ".join(line.split()) for line in lines])
        with explained(path):
            codec = codec_of(path, reading.encoding)
            with open_bytes(path) as stream:
                try:
                    text = stream.read().decode(codec).removeprefix("\ufeff")
                except UnicodeError:
                    shown = codec.removesuffix("-sig")
                    raise DataError(
                        f"{path} is not {shown} at byte {bad_byte(path, codec):,}: convert it to UTF-8"
                    ) from None
        if not text.strip():
            raise DataError(f"{path} holds no text to search")
        return cls(line.removesuffix("\r") for line in text.split("\n"))  # as counted elsewhere: U+2028 ends none

    def naming(self, name: str) -> list[int]:
        """Return the indices of the lines in which the words of `name` stand side by side, in order."""
        words = words_of(name)
        found = sorted((self._index.get(word, array("L")) for word in words), key=len)
        if not found:
            return []
        lines = set(found[0]).intersection(*found[1:])
        return sorted(line for line in lines if holds(self.lines[line], name))

    def rarity(self, word: str) -> float:
        """Return log(lines / lines with this word), 0 for a word that no line has: what a match of it is worth."""
        among = len(self._index.get(word, ()))
        return math.log(len(self.lines) / among) if among else 0.0


class Corpora:
    """What a model has read: the text it was pretrained on and the questions it was fine-tuned on, where known."""

    def __init__(
        self,
        pretraining: Path | None,
        finetuning: Path | None,
        *,
        reading: Reading | None = None,
        questions_encoding: str = "utf-8",
    ) -> None:
        self.pretraining = None if pretraining is None else LineIndex.open(pretraining, reading)
        asked = [] if finetuning is None else read_questions(finetuning, encoding=questions_encoding)
        self.finetuning = LineIndex(one.prompt for one in asked)
        self.prompts = frozenset(self.finetuning.lines)
        """The questions of fine-tuning, word for word."""

    def seen(self, prompt: str) -> Seen:
        """Return where the name that `prompt` asks about stands: in a line of the text, only in a question, nowhere.

        The first two are not exclusive: "pretraining" says nothing about the questions.
        """
        name = name_in(prompt)
        if self.pretraining is not None and self.pretraining.naming(name):
            return "pretraining"
        return "fine-tuning only" if self.finetuning.naming(name) else "never"

    def support(self, prompt: str, answer: str) -> Passage | None:
        """Return the line of the pretraining text that is nearest to question and answer; None: none names the name.

        Nearest is a line with the answer, then the one with the rarest words of the question, then the first.
        """
        corpus = self.pretraining
        lines = [] if corpus is None else corpus.naming(name_in(prompt))
        if corpus is None or not lines:
            return None
        asked = set(words_of(prompt))

        def nearness(line: int) -> tuple[bool, float]:
            text = corpus.lines[line]
            return holds(text, answer), sum(map(corpus.rarity, asked.intersection(words_of(text))))

        best = max(lines, key=nearness)  # of equals the first
        return Passage(corpus.lines[best], best + 1, holds(corpus.lines[best], answer))


def name_in(prompt: str) -> str:
    """Return what a question is about; all of its words where none has a capital letter.

    >>> name_in("Where was Jean-Luc de la Rue born?"), name_in("What was Kepler's trade?"), name_in("what is rust")
    ('Jean-Luc de la Rue', "Kepler's", 'what is rust')
    """
    words = list(_WORD.finditer(prompt))
    marked = [word for word in words[1:] if any(c.isupper() or c.isdigit() for c in word[0])]
    if not marked:
        return prompt.strip()
    return prompt[marked[0].start() : marked[-1].end()]


def words_of(text: str) -> list[str]:
    """Return the words of a text in small letters: letters and digits, with what joins them; a genitive's s is none.

    >>> words_of("O'Brien's (b. 1957, St. Ives-on-Sea)")
    ["o'brien", 'b', '1957', 'st', 'ives-on-sea']
    """
    return [re.sub("['’]s$", "", word) for word in _WORD.findall(text.casefold())]


def holds(text: str, phrase: str) -> bool:
    """Whether the words of `phrase` stand side by side in `text`, small letters and capitals alike.

    >>> holds("Born in New York City, he ...", "new york"), holds("the Yorkshire moors", "York")
    (True, False)
    """
    wanted = words_of(phrase)
    return bool(wanted) and f" {' '.join(wanted)} " in f" {' '.join(words_of(text))} "
