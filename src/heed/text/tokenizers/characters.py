"""One token a character: the alphabet is every character of the training text, in the order of code points.

Tiny Shakespeare has 65. Encoding looks each code point up in a table. A character outside the alphabet is an error, not
a gap.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from heed.errors import ConfigError, DataError
from heed.text.tokenizers.base import (
    END_OF_TEXT,
    MASK,
    Tokenizer,
    added_token,
    adds_nothing,
    code_points,
    tokenizer_json,
)

_MISSING = np.uint32(0xFFFFFFFF)
_PARTS = {
    "pre_tokenizer": {
        "type": "Split",
        "pattern": {"Regex": r"[\s\S]"},
        "behavior": "Isolated",
        "invert": False,
    },
    "decoder": {"type": "Fuse"},
}


class Characters(Tokenizer):
    """One token a character. `alphabet` gives the ids; the end-of-text token, when wanted, has the last one.

    >>> Characters("abc").encode("cab")
    [2, 0, 1]
    """

    kind = "char"

    def __init__(self, alphabet: Sequence[str], end_of_text: bool = False) -> None:
        self.alphabet = list(alphabet)
        self.pieces = [character.encode("utf-8") for character in self.alphabet]
        self.mask_id = self.alphabet.index(MASK) if MASK in self.alphabet else None
        if end_of_text:
            self.end_id = len(self.pieces)
            self.pieces.append(END_OF_TEXT.encode())

    @cached_property
    def _table(self) -> NDArray[np.uint32]:
        """The id of each code point up to the alphabet's highest; one more entry, for all above it."""
        points = code_points("".join(self.alphabet))
        table = np.full(int(points.max(initial=0)) + 2, _MISSING)
        table[points] = np.arange(len(points), dtype=np.uint32)
        return table

    def encode_array(self, text: str) -> NDArray[np.uint32]:
        """Return the ids of a text, an array (characters,) uint32. Raises `DataError` at a character never seen."""
        ids = self._table.take(code_points(text), mode="clip")
        if ids.size and ids.max() == _MISSING:
            at = int(ids.argmax())
            raise DataError(
                f"character {text[at]!r} (U+{ord(text[at]):04X}, at {at}) is not in this tokenizer's alphabet of "
                f"{len(self.alphabet)}: take it out of the text, or train on text that has it (bpe takes any text)"
            )
        return ids

    def fewest_tokens(self, text: str) -> int:
        """Return how many tokens a text has: its characters."""
        return len(text)

    def to_json(self) -> dict[str, Any]:
        """Return the content of tokenizer.json; without an unknown token `tokenizers` refuses new characters."""
        vocabulary = {character: id for id, character in enumerate(self.alphabet)}
        model = {"type": "WordLevel", "vocab": vocabulary, "unk_token": "<unk>"}
        added = [] if self.end_id is None else [added_token(END_OF_TEXT, self.end_id)]
        return tokenizer_json(model, added, **_PARTS)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self | None:
        """Return the tokenizer of a parsed tokenizer.json, or None when it is of another kind."""
        vocabulary = data["model"].get("vocab")
        if not isinstance(vocabulary, dict) or any(len(token) != 1 for token in vocabulary):
            return None
        tokenizer = cls(list(vocabulary), end_of_text=bool(data.get("added_tokens")))
        same = adds_nothing(data.get("post_processor")) and {**data, "post_processor": None} == tokenizer.to_json()
        return tokenizer if same else None


def train_characters(
    documents: Iterable[str], vocab_size: int, end_of_text: bool | None = None, specials: Sequence[str] = ()
) -> Characters:
    """Collect the characters of some documents, and those of `specials`.

    Without `end_of_text` given, there is an end-of-text token when there is more than one document.
    Raises `DataError` when there is no text, or more characters than `vocab_size` has room for, and `ConfigError` for
    a special token of several characters.

    >>> train_characters(["banana"], vocab_size=10).alphabet
    ['a', 'b', 'n']
    """
    if long := [special for special in specials if len(special) != 1]:
        raise ConfigError(f"a character tokenizer has no token {long[0]!r}: take tokenizer.kind bpe")
    alphabet: set[str] = set()
    count = 0
    for document in documents:
        code_points(document)  # refuses what has no UTF-8 form
        alphabet.update(document)
        count += 1
    if not alphabet:
        raise DataError("there is no text to train a tokenizer on: the documents are empty")
    tokenizer = Characters(sorted(alphabet.union(specials)), count > 1 if end_of_text is None else end_of_text)
    if tokenizer.vocab_size > vocab_size:
        raise DataError(
            f"the text needs {tokenizer.vocab_size} tokens, one a character, more than the {vocab_size} asked for: "
            "raise tokenizer.vocab_size, or take bpe"
        )
    return tokenizer
