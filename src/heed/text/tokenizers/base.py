"""What every tokenizer can do.

A tokenizer is a table of pieces (`pieces[id]` is the bytes that token stands for) and a rule that cuts text into them.
Every kind is saved as a `tokenizer.json` that the Rust library `tokenizers` reads with identical ids.
"""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from heed.errors import ConfigError, DataError, why
from heed.files import make_folder, write_text

END_OF_TEXT = "<|endoftext|>"
"""The token between documents, named as in GPT-2."""

MASK = "\u2047"
"""What stands for hidden text, and between a question and its answer: the double question mark of CS224N."""

MASK_NAMES = (MASK, "<mask>", "[MASK]")
"""How tokenizers call the mask token: heed's, RoBERTa's, BERT's."""


class Tokenizer(ABC):
    """Text to token ids and back. `encode` never interprets special tokens that are written in the text, but for the
    unknown token of a tokenizer that reads it (`reading_unknown`).

    A tokenizer can be pickled (a worker process rebuilds it from its JSON).
    """

    kind: ClassVar[str]
    pieces: list[bytes]
    """The bytes of each token, by id; together they give the text."""
    start_ids: tuple[int, ...] = ()
    """What stands before every text that a model reads (Llama: `<s>`); `encode` leaves it out."""
    end_id: int | None = None
    """The end-of-text token, written between documents; None when there is none."""
    unknown_id: int | None = None
    """The token of what the vocabulary lacks; None when nothing can be unknown, or when that is an error."""
    mask_id: int | None = None
    """The token of `MASK`; None when there is none. It is never made from text, except by a character tokenizer."""
    sentinel_ids: tuple[int, ...] = ()
    """The tokens of `sentinels`, which stand for hidden spans, in their order."""
    note: str = ""
    """What training could not do as it was asked, for the caller to show; empty when there is nothing to say."""

    @property
    def vocab_size(self) -> int:
        """Number of tokens, special ones included: ids are 0 .. vocab_size - 1."""
        return len(self.pieces)

    @cached_property
    def hash(self) -> str:
        """The sha256 of the canonical tokenizer.json: two tokenizers with equal hashes give equal ids."""
        canonical = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(canonical.encode("utf-8")).hexdigest()

    @cached_property
    def space(self) -> str:
        """What a text needs before it so that its tokens are those that it has within a text: a space, or nothing.

        A tokenizer of characters or words reads a text in one way wherever it stands, and some tokenizers of
        subwords put the space there themselves.
        """
        if self.kind in ("char", "word"):
            return ""
        return "" if any(self.token_bytes(id).startswith(b" ") for id in self.encode("a")[:1]) else " "

    @abstractmethod
    def encode_array(self, text: str) -> NDArray[np.uint32]:
        """Return the ids of a text as an array (tokens,), uint32: the fast path for bulk.

        Raises `DataError` for text that has no UTF-8 form (lone surrogates) or no token.
        """

    @property
    def decoder(self) -> dict[str, Any] | None:
        """What another program must decode with, where tokenizer.json does not say it."""
        return None

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Return the content of tokenizer.json."""

    @classmethod
    @abstractmethod
    def from_json(cls, data: dict[str, Any]) -> Self | None:
        """Return the tokenizer of a parsed tokenizer.json; None when this kind would not give the same ids."""

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text as a list; raises as `encode_array` does."""
        return self.encode_array(text).tolist()

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of some ids; what is no UTF-8 becomes U+FFFD. Raises `DataError` for an id out of range."""
        return b"".join(map(self.token_bytes, ids)).decode("utf-8", errors="replace")

    def token_bytes(self, id: int) -> bytes:
        """Return the bytes of one token, so that a stream can be shown as it comes."""
        if not 0 <= id < len(self.pieces):
            raise DataError(f"token id {int(id)} is outside this vocabulary of {self.vocab_size} tokens")
        return self.pieces[id]

    def fewest_tokens(self, text: str) -> int:
        """Return a number of tokens that a text has at least, without making them; 0 where nothing can be said."""
        return 0

    def reading_unknown(self) -> Self:
        """Return this tokenizer, but it reads `<unk>` in a text as the unknown token, as transformers do.

        Raises `ConfigError` for one that has no such token, or whose way of reading is not heed's.
        """
        if self.unknown_id is None or self.kind != "word":  # which does so anyhow
            raise ConfigError(f"tokenizer.read_unk: this {self.kind} tokenizer has no <unk> to read: leave it out")
        return self

    def save(self, path: str | Path) -> None:
        """Write tokenizer.json: `path` is the file, or a folder that gets a file of this name. Raises `DataError`."""
        file = Path(path)
        if file.is_dir():
            file = file / "tokenizer.json"
        try:
            make_folder(file.parent)
            write_text(file, json.dumps(self.to_json(), indent=1, ensure_ascii=False))
        except OSError as error:
            raise DataError(f"{file} cannot be written: {why(error)}; make room, or choose another place") from error

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self).from_json, (self.to_json(),), {"note": self.note, "end_id": self.end_id}


def sentinels(count: int) -> tuple[str, ...]:
    """Return the names of T5's sentinel tokens, each of which stands for a hidden span (Raffel et al. 2020, 2.2.4).

    >>> sentinels(2)
    ('<extra_id_0>', '<extra_id_1>')
    """
    return tuple(f"<extra_id_{number}>" for number in range(count))


def mask_among(specials: Mapping[str, int]) -> int | None:
    """Return the id of the mask token among special tokens, if it is there."""
    return next((specials[name] for name in MASK_NAMES if name in specials), None)


def sentinels_among(specials: Mapping[str, int]) -> tuple[int, ...]:
    """Return the ids of the sentinels among special tokens, from the first up to a gap in their numbers.

    >>> sentinels_among({"<extra_id_1>": 7, "<extra_id_0>": 8, "<extra_id_3>": 5})
    (8, 7)
    """
    return tuple(specials[name] for name in itertools.takewhile(specials.__contains__, sentinels(len(specials))))


def code_points(text: str) -> NDArray[np.uint32]:
    """Return the Unicode code points of a text, an array (characters,); raises `DataError` at a lone surrogate.

    >>> code_points("aé").tolist()
    [97, 233]
    """
    try:
        return np.frombuffer(text.encode("utf-32-le"), dtype="<u4")
    except UnicodeEncodeError as error:
        raise DataError(
            f"the text has no UTF-8 form: there is a lone surrogate U+{ord(text[error.start]):04X} in "
            f"{text[max(error.start - 10, 0) : error.start + 10]!r}; read the file with its right encoding"
        ) from None


def added_token(content: str, id: int, in_text: bool = False) -> dict[str, Any]:
    """Return the entry of a special token in tokenizer.json; `special: false` says that a text may write it out."""
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": id, "content": content, **flags, "special": not in_text}


def tokenizer_json(model: dict[str, Any], added: list[dict[str, Any]], **parts: Any) -> dict[str, Any]:
    """Return a tokenizer.json; `parts` are those of normalizer, pre_tokenizer and decoder that there are."""
    keys = ("normalizer", "pre_tokenizer", "post_processor", "decoder")
    frame = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added}
    return frame | {key: copy.deepcopy(parts.get(key)) for key in keys} | {"model": model}


def adds_nothing(post_processor: dict[str, Any] | None) -> bool:
    """Return whether a post-processor leaves the ids as they are; transformers writes one like that into every file."""
    kind = post_processor["type"] if post_processor else "ByteLevel"  # which moves offsets only
    return kind == "ByteLevel" or (kind == "TemplateProcessing" and not (post_processor or {})["special_tokens"])
