"""Text to token ids and back: the kinds of tokenizer, and the two ways to get one: load it, or train it on text.

base         what every tokenizer can do
patterns     how byte-pair encoding splits text into pieces before it merges
bpe          byte-pair encoding: the encoder, and GPT-1's and GPT-2's own files
bpe_trainer  byte-pair encoding: learning the merges
characters   one token a character
words        one token a word, by WikiText's conventions
foreign      any other tokenizer.json, through the library `tokenizers`
published    vocabularies as OpenAI published them
report       what a tokenizer makes of a text
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from heed import seals
from heed.errors import CheckpointError, ConfigError, DataError, did_you_mean
from heed.text.tokenizers.base import END_OF_TEXT, MASK, MASK_NAMES, Tokenizer, sentinels
from heed.text.tokenizers.bpe import Bpe
from heed.text.tokenizers.bpe_trainer import train_bpe
from heed.text.tokenizers.characters import Characters, train_characters
from heed.text.tokenizers.foreign import Foreign
from heed.text.tokenizers.published import find_pair, in_data_folders, read_pair
from heed.text.tokenizers.words import Words, train_words

KINDS = ("bpe", "char", "word")
"""What `train_tokenizer` can train."""


def from_json(data: dict[str, Any]) -> Tokenizer:
    """Return the tokenizer of a parsed tokenizer.json: heed's own if that gives the same ids, else foreign.

    Raises `DataError` when it is no tokenizer at all.
    """
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
    place = Path(path)
    if not place.exists():
        place = in_data_folders(place) or place
    file = place / "tokenizer.json" if place.is_dir() else place
    if not file.exists() and (pair := find_pair(place)) is not None:
        return read_pair(*pair)
    try:
        data = seals.read_json(file)
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
    if not all(specials) or len({END_OF_TEXT, *specials}) <= len(specials):
        raise ConfigError(f"special tokens must be different and not empty, and {END_OF_TEXT} none of them")
    if kind == "bpe":
        return train_bpe(documents, vocab_size, pattern, specials)
    if kind == "char":
        return train_characters(documents, vocab_size, end_of_text, specials)
    if kind == "word":
        return train_words(documents, vocab_size, end_of_text, specials)
    raise ConfigError(f"tokenizer.kind: unknown value {kind!r}, {did_you_mean(kind, KINDS)}")


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


__all__ = [
    "END_OF_TEXT", "KINDS", "MASK", "MASK_NAMES", "Bpe", "Characters", "Foreign", "Tokenizer", "Words", "from_json",
    "load_tokenizer", "sentinels", "train_tokenizer",
]  # fmt: skip
