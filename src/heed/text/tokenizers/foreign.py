"""Any other tokenizer.json (Llama's, WordPiece, Unigram, ...), read and run by the Rust library `tokenizers`."""

from __future__ import annotations

import json
import re
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer as RustTokenizer

from heed.errors import DataError
from heed.text.tokenizers.base import END_OF_TEXT, Tokenizer, code_points, mask_among, sentinels_among
from heed.text.tokenizers.patterns import BYTE_OF

END_NAMES = (END_OF_TEXT, "</s>", "<|end_of_text|>", "<eos>", "<|im_end|>", "[SEP]")
"""How the end of a text is called, most telling first; a tokenizer_config.json beside the file knows better."""

ROOM = 1 << 16
"""Ids that a vocabulary may leave out, and as many again as it has tokens."""

_BYTE = re.compile(r"<0x([0-9A-F]{2})>")
_INSIDE_WORD = "a"


class Foreign(Tokenizer):
    """A tokenizer that heed does not write itself. Special tokens in the text are text, and none are added around it.

    Raises `DataError` when `tokenizers` cannot read the JSON.
    """

    kind = "foreign"

    def __init__(self, data: dict[str, Any]) -> None:
        try:
            self.rust = RustTokenizer.from_str(json.dumps(data, ensure_ascii=False))
        except Exception as error:  # tokenizers raises nothing more special
            raise DataError(f"this tokenizer.json cannot be read by tokenizers: {error}") from error
        self.rust.no_truncation()
        self.rust.no_padding()
        self.rust.encode_special_tokens = True
        added = {token.content: id for id, token in self.rust.get_added_tokens_decoder().items()}
        self.end_id = next((added[name] for name in END_NAMES if name in added), None)
        self.mask_id, self.sentinel_ids = mask_among(added), sentinels_among(added)
        unknown = data["model"].get("unk_token")
        self.unknown_id = None if unknown is None else self.rust.token_to_id(unknown)
        self.start_ids = self._before_text()
        self.pieces = self._bytes_of_tokens(set(added.values()))

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Return the tokenizer of any parsed tokenizer.json; raises as the class does."""
        return cls(data)

    def encode_array(self, text: str) -> NDArray[np.uint32]:
        """Return the ids of a text, an array (tokens,) uint32. Raises `DataError` when it cannot be written."""
        code_points(text)
        try:
            return np.array(self.rust.encode(text, add_special_tokens=False).ids, dtype=np.uint32)
        except Exception as error:
            raise DataError(f"this tokenizer cannot encode the text: {error}") from error

    def decode(self, ids: Any) -> str:
        """Return the text of some ids, special tokens included; how exact it is, is this tokenizer's own affair."""
        ids = [int(id) for id in ids]
        for id in ids:
            self.token_bytes(id)  # refuses ids out of range, which Rust would leave out
        return self.rust.decode(ids, skip_special_tokens=False)

    def to_json(self) -> dict[str, Any]:
        """Return the content of tokenizer.json."""
        return json.loads(self.rust.to_str())

    def _before_text(self) -> tuple[int, ...]:
        """Return the special tokens that the file's post-processor puts before a text.

        Not all that it makes of an empty text: BERT's [SEP] and T5's </s> stand after it.
        """
        try:
            encoded = self.rust.encode(_INSIDE_WORD, add_special_tokens=True)
        except Exception:  # a vocabulary without this letter
            return ()
        mask = encoded.special_tokens_mask
        return tuple(encoded.ids[: mask.index(0)]) if 0 in mask else ()

    def _bytes_of_tokens(self, specials: set[int]) -> list[bytes]:
        """Return the bytes of each token: exact for byte-level vocabularies, else what it adds within a text."""
        names = {id: token for token, id in self.rust.get_vocab(with_added_tokens=True).items()}
        if max(names, default=0) > 2 * len(names) + ROOM:
            raise DataError(f"{len(names):,} tokens have ids up to {max(names):,}: the vocabulary is damaged")
        decoder = json.dumps(self.to_json()["decoder"])
        byte_level, byte_fallback = '"ByteLevel"' in decoder, '"ByteFallback"' in decoder
        try:
            before = self.encode(_INSIDE_WORD)
        except DataError:  # a vocabulary without this letter
            before = []
        start = len(self.rust.decode(before, skip_special_tokens=False))
        pieces = []
        for id in range(max(names, default=-1) + 1):
            name = names.get(id, "")
            byte = _BYTE.fullmatch(name)
            if byte_fallback and byte:
                piece = bytes([int(byte[1], 16)])
            elif byte_level and id not in specials and all(character in BYTE_OF for character in name):
                piece = bytes(BYTE_OF[character] for character in name)
            elif id in specials or not name:
                piece = name.encode("utf-8")
            else:
                piece = self.rust.decode([*before, id], skip_special_tokens=False)[start:].encode("utf-8")
            pieces.append(piece)
        return pieces
