"""Byte-pair encoding (Sennrich et al. 2016, on bytes as in Radford et al. 2019): the encoder.

A piece of text begins as single symbols. Of all neighbours that the merge list names, the pair that stands first in the
list is joined, the leftmost first, until no pair is named. Ids equal those of `tokenizers` and tiktoken.
"""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer as RustTokenizer
from tokenizers import models

from heed.errors import DataError
from heed.text.tokenizers.base import (
    END_OF_TEXT,
    Tokenizer,
    added_token,
    adds_nothing,
    mask_among,
    sentinels_among,
    tokenizer_json,
)
from heed.text.tokenizers.patterns import BYTE_OF, SPLITS, chunks, make_pattern

Pair = tuple[int, int]
Merges = Mapping[Pair, tuple[int, int]]
"""From a pair of ids to (rank, id of the two joined)."""

NEVER = (1 << 62, -1)
"""What a pair that is not merged looks up: a rank above all others."""
LONG = 64
"""Symbols in a piece from which it goes to `tokenizers`: `merge` looks at every pair again after each join."""


class Bpe(Tokenizer):
    """Byte-pair encoding.

    `tokens` are the tokens by id, in the alphabet of the pattern; `merges` are pairs of ids, in the order of merging;
    `specials` are those of `tokens` that no merge makes; `unknown` stands for a symbol that is no token. No text is
    encoded to a special token, but for those `in_text`, which it may write out. Raises `DataError` when a merge does
    not join to a token, or a byte has none.
    """

    kind = "bpe"

    def __init__(
        self,
        tokens: Sequence[str],
        merges: Sequence[Pair],
        pattern: str = "gpt2",
        specials: Sequence[str] = (END_OF_TEXT,),
        unknown: str | None = None,
        in_text: Sequence[str] = (),
    ) -> None:
        self.tokens, self.merge_list, self.specials, self.unknown = list(tokens), list(merges), tuple(specials), unknown
        self.pattern = make_pattern(pattern)
        self.vocabulary = {token: id for id, token in enumerate(self.tokens)}
        if len(self.vocabulary) < len(self.tokens) or not self.vocabulary.keys() >= {*self.specials}:
            raise DataError("this vocabulary names a token twice, or lacks a special token")
        if pattern in SPLITS and not self.vocabulary.keys() >= BYTE_OF.keys():
            raise DataError("this vocabulary is not byte-level: it lacks some of the 256 bytes")
        self.pieces = self._bytes_of_tokens()
        added = {token: self.vocabulary[token] for token in self.specials}
        self.end_id = added.get(END_OF_TEXT)
        self.mask_id, self.sentinel_ids = mask_among(added), sentinels_among(added)
        self.unknown_id = None if unknown is None else self.vocabulary[unknown]
        self.merges = self._ranked()
        self.in_text = tuple(in_text)
        self._written = re.compile(f"({'|'.join(map(re.escape, sorted(in_text, reverse=True)))})") if in_text else None
        self._cache = _Cache(self._encode_piece)

    def encode_array(self, text: str) -> NDArray[np.uint32]:
        """Return the ids of a text, an array (tokens,) uint32. Raises `DataError` at a lone surrogate."""
        packed = bytearray()
        between = True  # the text between special tokens, and these, take turns
        for part in [text] if self._written is None else self._written.split(text):
            if between:
                for chunk in chunks(part):
                    packed += b"".join(map(self._cache.__getitem__, self.pattern.split(chunk)))
            else:
                packed += array("I", [self.vocabulary[part]]).tobytes()
            between = not between
        return np.frombuffer(packed, dtype=np.uint32)

    def reading_unknown(self) -> Self:
        """Return this tokenizer, but it reads the name of the unknown token in a text as that token."""
        if self.unknown is None:
            return super().reading_unknown()
        names = self.tokens, self.merge_list, self.pattern.name, self.specials, self.unknown
        return type(self)(*names, in_text=(self.unknown,))

    def decode(self, ids: Any) -> str:
        """Return the text of some ids: exactly what was encoded (GPT-1: lower case, single spaces)."""
        text = super().decode(ids)
        return text.removesuffix(" ") if self.pattern.name == "gpt1" else text

    def fewest_tokens(self, text: str) -> int:
        """Return how many tokens a text has at least: its bytes by those of the longest token (GPT-1 drops some)."""
        return 0 if self.pattern.name == "gpt1" else len(text) // self._longest

    @cached_property
    def _longest(self) -> int:
        return max(map(len, self.pieces))

    def _encode_piece(self, piece: str) -> list[int]:
        """Return the ids of one piece."""
        symbols = self.pattern.symbols(piece)
        if len(symbols) >= LONG:
            return self._rust.encode("".join(symbols).removesuffix(self._suffix)).ids
        ids = [self.vocabulary.get(symbol, self.unknown_id) for symbol in symbols]
        return merge([id for id in ids if id is not None], self.merges)  # byte-level: all are known; GPT-1 has <unk>

    @cached_property
    def _rust(self) -> RustTokenizer:
        """The same merges in Rust, n log n for a piece of n symbols; 50 ms and 12 MB for GPT-2's, when first needed."""
        pairs = [(self.tokens[left], self.tokens[right]) for left, right in self.merge_list]
        marks = {"end_of_word_suffix": self._suffix} if self._suffix else {}
        return RustTokenizer(models.BPE(self.vocabulary, pairs, unk_token=self.unknown, cache_capacity=0, **marks))

    @property
    def _suffix(self) -> str:
        """What marks the end of a word: GPT-1 has it."""
        return "</w>" if self.pattern.name == "gpt1" else ""

    def _bytes_of_tokens(self) -> list[bytes]:
        """Return the bytes of each token."""
        specials = set(self.specials)
        try:
            return [
                token.encode("utf-8") if token in specials else self.pattern.to_bytes(token) for token in self.tokens
            ]
        except KeyError as error:
            raise DataError(f"this vocabulary is not byte-level: a token holds the character {error}") from None

    def _ranked(self) -> dict[Pair, tuple[int, int]]:
        """Return for each pair its rank and what it joins to; of a pair named twice the last rank counts."""
        try:
            return {
                (left, right): (rank, self.vocabulary[self.tokens[left] + self.tokens[right]])
                for rank, (left, right) in enumerate(self.merge_list)
            }
        except (KeyError, IndexError) as error:
            raise DataError(
                f"these merges and this vocabulary do not belong together: there is no token {error}"
            ) from None

    def to_json(self) -> dict[str, Any]:
        """Return the content of tokenizer.json."""
        model = {
            "type": "BPE",
            "dropout": None,
            "unk_token": self.unknown,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": self._suffix or None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": dict(self.vocabulary),
            "merges": [f"{self.tokens[left]} {self.tokens[right]}" for left, right in self.merge_list],
        }
        added = [added_token(token, self.vocabulary[token], token in self.in_text) for token in self.specials]
        return tokenizer_json(model, added, **self.pattern.parts)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self | None:
        """Return the tokenizer of a parsed tokenizer.json, or None when its settings are not among heed's own."""
        try:
            pattern = next(name for name in (*SPLITS, "gpt1") if _parts(data) == _parts(make_pattern(name).parts))
            specials = {entry["content"]: entry["id"] for entry in data["added_tokens"]}
            vocab = {**data["model"]["vocab"], **specials}
            tokens = sorted(vocab, key=vocab.__getitem__)
            pairs = [merge.split(" ") if isinstance(merge, str) else merge for merge in data["model"]["merges"]]
            ids = [(vocab[left], vocab[right]) for left, right in pairs]
            in_text = [entry["content"] for entry in data["added_tokens"] if not entry["special"]]
            tokenizer = cls(tokens, ids, pattern, tuple(specials), data["model"].get("unk_token") or None, in_text)
        except (DataError, LookupError, TypeError, ValueError, AttributeError, StopIteration):
            return None
        gapless = [vocab[token] for token in tokens] == list(range(len(tokens)))
        return tokenizer if gapless and _settings(data) == _settings(tokenizer.to_json()) else None

    @classmethod
    def from_gpt2_files(cls, vocab: str | Path, merges: str | Path) -> Self:
        """Read GPT-2's own files: vocab.json (or encoder.json) and merges.txt (or vocab.bpe). Raises `DataError`."""
        tokens, pairs = _read_files(vocab, merges)
        return cls(tokens, pairs, "gpt2", [END_OF_TEXT] if END_OF_TEXT in tokens else [])

    @classmethod
    def from_gpt1_files(cls, vocab: str | Path, merges: str | Path) -> Self:
        """Read GPT-1's own files; ids as of `OpenAIGPTTokenizer` in transformers. Raises `DataError`."""
        tokens, pairs = _read_files(vocab, merges)
        return cls(tokens, pairs, "gpt1", ["<unk>"], "<unk>")


def merge(symbols: list[int], merges: Merges) -> list[int]:
    """Join neighbours, the lowest rank first and the leftmost first among equals, until none is left.

    >>> merge([0, 0, 0, 1], {(0, 0): (0, 2), (2, 0): (1, 3)})
    [3, 1]
    """
    symbols, get = list(symbols), merges.get
    ranks = [get(pair, NEVER) for pair in pairwise(symbols)]
    while ranks:
        best = min(ranks)
        if best is NEVER:
            break
        at = ranks.index(best)
        symbols[at : at + 2] = [best[1]]
        del ranks[at]
        if at:
            ranks[at - 1] = get((symbols[at - 1], symbols[at]), NEVER)
        if at < len(ranks):
            ranks[at] = get((symbols[at], symbols[at + 1]), NEVER)
    return symbols


class _Cache(dict[str, bytes]):
    """The ids of pieces met before, packed as uint32: encoding in bulk is then a look-up and a join."""

    MOST = 1 << 17  # pieces: about 25 MB; then it starts anew
    LONGEST = 64  # characters: longer pieces hardly come again

    def __init__(self, encode: Callable[[str], list[int]]) -> None:
        super().__init__()
        self.encode = encode

    def __missing__(self, piece: str) -> bytes:
        packed = array("I", self.encode(piece)).tobytes()
        if len(piece) <= self.LONGEST:
            if len(self) >= self.MOST:
                self.clear()
            self[piece] = packed
        return packed


def _parts(data: dict[str, Any]) -> list[Any]:
    """Return the parts of a tokenizer.json that split and join text, without the keys that change nothing there."""
    before, decoder = data["pre_tokenizer"], data["decoder"]
    steps = [
        {"use_regex": True, **step, "trim_offsets": True} if step["type"] == "ByteLevel" else step
        for step in before.get("pretokenizers", [before])
    ]
    last = "ByteLevel" if decoder["type"] == "ByteLevel" else decoder
    return [data["normalizer"], steps, adds_nothing(data.get("post_processor")), last]


def _settings(data: dict[str, Any]) -> list[Any]:
    """Return the switches of the model that are on, and the special tokens.

    Their `normalized` (GPT-2's own file has it on) changes nothing where there is no normalizer.
    """
    model = {"type": "BPE", **data["model"]}
    switches = {key: value for key, value in model.items() if value and key not in ("vocab", "merges")}
    plain = {"normalized": False} if data["normalizer"] is None else {}
    return [switches, sorted(({**entry, **plain} for entry in data["added_tokens"]), key=lambda entry: entry["id"])]


def _read_files(vocab: str | Path, merges: str | Path) -> tuple[list[str], list[Pair]]:
    """Return the tokens by id and the merges of two files as OpenAI published them."""
    try:
        ids: dict[str, int] = json.loads(Path(vocab).read_text(encoding="utf-8"))
        lines = Path(merges).read_text(encoding="utf-8").split("\n")
        pairs = [line.split(" ") for line in lines if line and not line.startswith("#version")]
        merged = [(ids[left], ids[right]) for left, right in pairs]
        tokens = sorted(ids, key=ids.__getitem__)
    except OSError as error:
        raise DataError(f"{error.filename} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise DataError(f"{vocab} and {merges} are not the two files of a BPE vocabulary: {error}") from error
    if [ids[token] for token in tokens] != list(range(len(tokens))):
        raise DataError(f"{vocab}: the ids do not go from 0 to {len(tokens) - 1} without a gap")
    return tokens, merged
