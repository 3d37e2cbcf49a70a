"""What a tokenizer makes of a text: how short it writes it, what it never uses, and whether the text comes back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from heed.errors import DataError
from heed.text.tokenizers.base import Tokenizer

LISTED = 10  # tokens in each list of the report


@dataclass(frozen=True)
class TokenizerReport:
    """The figures of one tokenizer on one text. Words stand between white space."""

    kind: str
    vocabulary: int
    """Number of tokens there are."""
    documents: int
    tokens: int
    """Number of tokens that the text became."""
    bytes_per_token: float
    characters_per_token: float
    tokens_per_word: float
    """All tokens over all words: the fertility."""
    one_token_words: float
    """Share of the running words that are one token, alone or with a space before."""
    unused_ids: int
    unused_share: float
    """Tokens that the text never uses, as a share of the vocabulary."""
    unknown_tokens: int
    """How often the unknown token was written."""
    round_trip: str
    """'exact', or where the decoded text first differs."""
    longest_tokens: list[str]
    """The longest tokens of the vocabulary."""
    most_frequent_tokens: list[tuple[str, int]]
    """The tokens most used in the text, and how often."""

    def as_dict(self) -> dict[str, Any]:
        """Return the figures as plain data, for JSON."""
        return asdict(self)

    def as_text(self) -> str:
        """Return the figures as lines for a terminal."""
        frequent = ", ".join(f"{token!r} {count:,}" for token, count in self.most_frequent_tokens)
        rows = {
            "kind": self.kind,
            "vocabulary": f"{self.vocabulary:,}",
            "documents": f"{self.documents:,}",
            "tokens": f"{self.tokens:,}",
            "bytes per token": f"{self.bytes_per_token:.3f}",
            "characters per token": f"{self.characters_per_token:.3f}",
            "tokens per word": f"{self.tokens_per_word:.3f}",
            "words of one token": f"{self.one_token_words:.1%}",
            "unused ids": f"{self.unused_ids:,} ({self.unused_share:.1%})",
            "unknown tokens": f"{self.unknown_tokens:,}",
            "round trip": self.round_trip,
            "longest tokens": ", ".join(map(repr, self.longest_tokens)),
            "most frequent tokens": frequent,
        }
        return "\n".join(f"{name:<21} {value}" for name, value in rows.items())


def report_tokenizer(tokenizer: Tokenizer, documents: Iterable[str]) -> TokenizerReport:
    """Encode and decode some documents, which are streamed, and return the figures.

    Raises `DataError` when there is no text, or the tokenizer refuses it.
    """
    used = np.zeros(tokenizer.vocab_size, dtype=np.int64)
    words: Counter[str] = Counter()
    size = characters = number = 0
    difference = ""
    for number, document in enumerate(documents, start=1):
        ids = tokenizer.encode_array(document)
        used += np.bincount(ids, minlength=tokenizer.vocab_size)
        size += len(document.encode("utf-8"))
        characters += len(document)
        words.update(document.split())
        difference = difference or _difference(document, tokenizer.decode(ids.tolist()), number)
    tokens = int(used.sum())
    if not tokens:
        raise DataError("there is no text to report on: the documents are empty")
    unused = int((used == 0).sum())
    running = max(words.total(), 1)
    single = sum(times for word, times in words.items() if _is_one_token(tokenizer, word))
    longest = sorted(tokenizer.pieces, key=len, reverse=True)[:LISTED]
    frequent = [int(id) for id in np.argsort(-used, kind="stable")[:LISTED] if used[id]]
    return TokenizerReport(
        kind=tokenizer.kind,
        vocabulary=tokenizer.vocab_size,
        documents=number,
        tokens=tokens,
        bytes_per_token=size / tokens,
        characters_per_token=characters / tokens,
        tokens_per_word=tokens / running,
        one_token_words=single / running,
        unused_ids=unused,
        unused_share=unused / tokenizer.vocab_size,
        unknown_tokens=0 if tokenizer.unknown_id is None else int(used[tokenizer.unknown_id]),
        round_trip=difference or "exact",
        longest_tokens=[_show(piece) for piece in longest],
        most_frequent_tokens=[(_show(tokenizer.pieces[id]), int(used[id])) for id in frequent],
    )


def _is_one_token(tokenizer: Tokenizer, word: str) -> bool:
    """Return whether a word, or a word with a space before it, is one token and not the unknown one."""
    for text in (word, f" {word}"):
        try:
            ids = tokenizer.encode(text)
        except DataError:  # a character tokenizer that never saw a space
            continue
        if len(ids) == 1 and ids[0] != tokenizer.unknown_id:
            return True
    return False


def _difference(text: str, back: str, number: int) -> str:
    """Return where the decoded text first differs, or an empty string.

    >>> _difference("two words", "two  words", 1)
    "differs in document 1 at character 4: 'words' became ' words'"
    """
    if text == back:
        return ""
    at = next(
        (place for place, (a, b) in enumerate(zip(text, back, strict=False)) if a != b), min(len(text), len(back))
    )
    return f"differs in document {number} at character {at}: {text[at : at + 20]!r} became {back[at : at + 20]!r}"


def _show(piece: bytes) -> str:
    """Return the text of a token, bytes that are no UTF-8 written out."""
    return piece.decode("utf-8", errors="backslashreplace")
