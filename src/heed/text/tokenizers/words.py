"""One token a word, by the conventions of WikiText (Merity et al. 2016): white space separates, `<eos>` ends each line.

A word that the vocabulary lacks becomes `<unk>`. A text that holds `<unk>` or `<eos>` as a word means these tokens: the
published files do. Ids: `<unk>`, `<eos>`, the words from the most to the least frequent (ties: which came first), then
the end-of-text token where one is wanted, then other special tokens.

Decoding puts a space before every word and every line end. That is the layout of the WikiText files, which come back
byte for byte; other text comes back up to its white space.
"""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from heed.errors import DataError
from heed.text.tokenizers.base import (
    END_OF_TEXT,
    Tokenizer,
    added_token,
    adds_nothing,
    code_points,
    mask_among,
    sentinels_among,
    tokenizer_json,
)
from heed.text.tokenizers.patterns import chunks

UNKNOWN, END_OF_LINE = "<unk>", "<eos>"

_CHUNK = 1 << 16  # characters that are split at once
_PARTS = {
    "normalizer": {"type": "Replace", "pattern": {"String": "\n"}, "content": f" {END_OF_LINE} "},
    # str.split() counts the four separators U+001C to U+001F as white space; the regular expression's \s does not
    "pre_tokenizer": {
        "type": "Split",
        "pattern": {"Regex": r"[\s\x1c-\x1f]+"},
        "behavior": "Removed",
        "invert": False,
    },
}


class Words(Tokenizer):
    """One token a word. `words` begin with `<unk>` and `<eos>`; after them come the end-of-text token, when wanted, and
    `specials`.

    >>> words = Words(["<unk>", "<eos>", "to", "be"])
    >>> words.encode("to be or not\\n")
    [2, 3, 0, 0, 1]
    >>> words.decode([2, 3, 1])
    ' to be \\n'
    """

    kind = "word"
    unknown_id = 0

    def __init__(self, words: Sequence[str], end_of_text: bool = False, specials: Sequence[str] = ()) -> None:
        self.words = list(words)
        self.pieces = [f" {word}".encode() for word in self.words]
        self.pieces[1] = b" \n"
        names = (*[END_OF_TEXT] * end_of_text, *specials)
        self.specials = {name: len(self.words) + number for number, name in enumerate(names)}
        self.pieces += [name.encode() for name in names]
        self.end_id = self.specials.get(END_OF_TEXT)
        self.mask_id, self.sentinel_ids = mask_among(self.specials), sentinels_among(self.specials)
        self._ids = _Ids((word, id) for id, word in enumerate(self.words))

    def encode_array(self, text: str) -> NDArray[np.uint32]:
        """Return the ids of a text, an array (words and line ends,) uint32. Raises `DataError` at a lone surrogate."""
        ids = array("I")
        for chunk in chunks(text, _CHUNK):
            ids.extend(map(self._ids.__getitem__, split_words(chunk)))
        return np.frombuffer(ids, dtype=np.uint32)

    def to_json(self) -> dict[str, Any]:
        """Return the content of tokenizer.json."""
        model = {"type": "WordLevel", "vocab": {word: id for id, word in enumerate(self.words)}, "unk_token": UNKNOWN}
        added = [added_token(name, id) for name, id in self.specials.items()]
        return tokenizer_json(model, added, **_PARTS)

    @property
    def decoder(self) -> dict[str, Any]:
        """What `tokenizers` must decode with to give what `decode` gives: a space before each word and line end."""
        names = "|".join(map(re.escape, self.specials))
        before = {"type": "Replace", "pattern": {"Regex": rf"\A(?!(?:{names})\z)"}, "content": " "}
        line_end = {"type": "Replace", "pattern": {"Regex": rf"\A {END_OF_LINE}\z"}, "content": " \n"}
        return {"type": "Sequence", "decoders": [before, line_end, {"type": "Fuse"}]}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self | None:
        """Return the tokenizer of a parsed tokenizer.json, or None when it is of another kind."""
        vocabulary = data["model"].get("vocab")
        if not isinstance(vocabulary, dict) or vocabulary.get(UNKNOWN) != 0 or vocabulary.get(END_OF_LINE) != 1:
            return None
        added = [entry["content"] for entry in data.get("added_tokens") or []]
        others = [name for name in added if name != END_OF_TEXT]
        tokenizer = cls(list(vocabulary), END_OF_TEXT in added, others)
        exported = data.get("decoder") in (None, tokenizer.decoder)
        plain = {**data, "post_processor": None, "decoder": None}
        same = exported and adds_nothing(data.get("post_processor")) and plain == tokenizer.to_json()
        return tokenizer if same else None


class _Ids(dict[str, int]):
    """From a word to its id; an unknown word gives 0 and is not kept."""

    def __missing__(self, word: str) -> int:
        return 0


def split_words(text: str) -> list[str]:
    r"""Return the words of a text, with `<eos>` for each line end. Raises `DataError` at a lone surrogate.

    >>> split_words(" = Title = \n \n")
    ['=', 'Title', '=', '<eos>', '<eos>']
    """
    if not text.isascii():
        code_points(text)  # refuses what has no UTF-8 form
    return text.replace("\n", f" {END_OF_LINE} ").split()


def train_words(
    documents: Iterable[str], vocab_size: int, end_of_text: bool | None = None, specials: Sequence[str] = ()
) -> Words:
    """Collect the words of some documents and keep the `vocab_size` most frequent, special tokens included.

    Without `end_of_text` given, there is an end-of-text token when there is more than one document. `note` says how
    many words were left out. Raises `DataError` when there is no text, or no room for a single word.
    """
    counts: Counter[str] = Counter()
    number = 0
    for document in documents:
        number += 1
        for chunk in chunks(document, _CHUNK):
            counts.update(split_words(chunk))
    for special in (UNKNOWN, END_OF_LINE, END_OF_TEXT, *specials):
        counts.pop(special, None)
    if not counts:
        raise DataError("there is no text to train a tokenizer on: the documents hold no word")
    end = number > 1 if end_of_text is None else end_of_text
    room = vocab_size - 2 - end - len(specials)
    if room < 1:
        raise DataError(f"a vocabulary of {vocab_size} has no room for a word: take at least {vocab_size + 1 - room}")
    kept = counts.most_common(room)
    tokenizer = Words([UNKNOWN, END_OF_LINE, *(word for word, _ in kept)], end, specials)
    if len(kept) < len(counts):
        share = 1 - sum(times for _, times in kept) / counts.total()
        tokenizer.note = (
            f"{len(counts) - len(kept):,} of {len(counts):,} distinct words are left out; "
            f"{share:.1%} of the running words become {UNKNOWN}"
        )
    return tokenizer
