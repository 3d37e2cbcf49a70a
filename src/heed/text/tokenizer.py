"""What every tokenizer can do, and the two ways to get one: load it, or train it on text.

A tokenizer is a table of pieces (`pieces[id]` is the bytes that token stands for) and a rule that cuts text into them.
Every kind is saved as a `tokenizer.json` that the Rust library `tokenizers` reads with identical ids.
"""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from heed.errors import CheckpointError, ConfigError, DataError, did_you_mean, why
from heed.files import write_text

END_OF_TEXT = "<|endoftext|>"
"""The token between documents, named as in GPT-2."""

MASK = "\u2047"
"""What stands for hidden text, and between a question and its answer: the double question mark of CS224N."""

MASK_NAMES = (MASK, "<mask>", "[MASK]")
"""How tokenizers call the mask token: heed's, RoBERTa's, BERT's."""

KINDS = ("bpe", "char", "word")
"""What `train_tokenizer` can train."""


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

    @abstractmethod
    def encode_array(self, text: str) -> NDArray[np.uint32]:
        """Return the ids of a text as an array (tokens,), uint32: the fast path for bulk.

        Raises `DataError` for text that has no UTF-8 form (lone surrogates) or no token.
        """

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Return the content of tokenizer.json."""

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
            file.parent.mkdir(parents=True, exist_ok=True)
            write_text(file, json.dumps(self.to_json(), indent=1, ensure_ascii=False))
        except OSError as error:
            raise DataError(f"{file} cannot be written: {why(error)}; make room, or choose another place") from error

    def __reduce__(self) -> tuple[Any, ...]:
        return from_json, (self.to_json(),), {"note": self.note, "end_id": self.end_id}


def from_json(data: dict[str, Any]) -> Tokenizer:
    """Return the tokenizer of a parsed tokenizer.json: heed's own if that gives the same ids, else foreign.

    Raises `DataError` when it is no tokenizer at all.
    """
    # Imported here: each of these files needs the base class above.
    from heed.text.bpe import Bpe
    from heed.text.characters import Characters
    from heed.text.foreign import Foreign
    from heed.text.words import Words

    if not isinstance(data, dict) or not isinstance(data.get("model"), dict):
        raise DataError("this is not a tokenizer.json: it has no 'model'")
    for kind in (Bpe, Characters, Words):
        try:
            tokenizer = kind.from_json(data)
        except (TypeError, KeyError, ValueError, AttributeError, IndexError, OverflowError):
            continue  # not as heed writes it; what it then is, the library of such files says
        if tokenizer is not None:
            return tokenizer
    return Foreign(data)


def load_tokenizer(path: str | os.PathLike[str]) -> Tokenizer:
    """Read a tokenizer: a tokenizer.json, a folder that holds one, or a run folder.

    A folder may also hold GPT-1's or GPT-2's own two files, and be named as it is among the data sets (`published.py`).
    The end-of-text token of a foreign one is the `eos_token` in a tokenizer_config.json beside it, where there is one.
    Raises `DataError` when there is none or it cannot be read, `CheckpointError` when a run folder has lost its own.
    """
    from heed.text.published import find_pair, in_data_folders, read_pair

    place = Path(path)
    if not place.exists():
        place = in_data_folders(place) or place
    file = place / "tokenizer.json" if place.is_dir() else place
    if not file.exists() and (pair := find_pair(place)) is not None:
        return read_pair(*pair)
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if (place / "config.yaml").is_file():
            raise CheckpointError(
                f"run folder {place} has no tokenizer.json: it is not complete, train again"
            ) from None
        where = f"folder {place} holds no tokenizer.json" if place.is_dir() else f"no such tokenizer: {place}"
        raise DataError(f"{where}; give a tokenizer.json, a folder that holds one, or a run folder") from None
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file} is not a tokenizer.json: {error}") from error
    try:
        tokenizer = from_json(data)
    except DataError as error:
        raise DataError(f"{file}: {error}") from error
    if tokenizer.kind == "foreign":
        tokenizer.end_id = _configured_end(tokenizer, file.with_name("tokenizer_config.json"))
    return tokenizer


def train_tokenizer(
    kind: str,
    documents: Iterable[str],
    vocab_size: int,
    pattern: str = "gpt2",
    end_of_text: bool | None = None,
    specials: Sequence[str] = (),
) -> Tokenizer:
    """Train a tokenizer on documents, which are streamed: only counts of distinct words are kept.

    `vocab_size` counts special tokens too. BPE always has the end-of-text token; char and word have it as `end_of_text`
    says, and by default when there is more than one document. `specials` are more tokens, such as `MASK` and
    `sentinels(8)`, that no text is encoded to; to a character tokenizer they are characters of its alphabet. `note` of
    the result says where less was possible than asked for. Raises `ConfigError` for an unknown kind or pattern and for
    specials that cannot be, `DataError` for text that cannot be used.

    >>> train_tokenizer("char", ["to be or not to be"], vocab_size=100).encode("rot")
    [5, 4, 6]
    """
    from heed.text.bpe_trainer import train_bpe
    from heed.text.characters import train_characters
    from heed.text.words import train_words

    if not all(specials) or len({END_OF_TEXT, *specials}) <= len(specials):
        raise ConfigError(f"special tokens must be different and not empty, and {END_OF_TEXT} none of them")
    if kind == "bpe":
        return train_bpe(documents, vocab_size, pattern, specials)
    if kind == "char":
        return train_characters(documents, vocab_size, end_of_text, specials)
    if kind == "word":
        return train_words(documents, vocab_size, end_of_text, specials)
    raise ConfigError(f"tokenizer.kind: unknown value {kind!r}, {did_you_mean(kind, KINDS)}")


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


def _configured_end(tokenizer: Tokenizer, config: Path) -> int | None:
    """Return the id of the `eos_token` in a tokenizer_config.json, else the tokenizer's own guess."""
    try:
        token = json.loads(config.read_text(encoding="utf-8")).get("eos_token")
    except FileNotFoundError:
        return tokenizer.end_id
    except (OSError, ValueError, AttributeError) as error:
        raise DataError(f"{config} cannot be read: {error}; mend it or take it away") from error
    content = token.get("content") if isinstance(token, dict) else token
    ids = {entry["content"]: entry["id"] for entry in tokenizer.to_json()["added_tokens"]}
    return ids.get(content, tokenizer.end_id)
