"""What is kept of a folder of shards: index.json, and beside it what each task has made.

shard-00003-of-00016.json     written last by the task of shard 3: its files are whole
index.json                    written by whoever finds that the last of them is there
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, ClassVar

from heed.records.kept import Kept

INDEX = "index.json"
MOST_SHARDS = 99_999
"""So many that five digits number them."""
_NAME = re.compile(r"shard-(\d{5})-of-(\d{5})\.json|\w+-(\d{5})-of-(\d{5})\.tokens")


def record_name(shard: int, shards: int) -> str:
    """Return the name of the record of a shard.

    >>> record_name(3, 16), tokens_name("train", 3, 16)
    ('shard-00003-of-00016.json', 'train-00003-of-00016.tokens')
    """
    return f"shard-{shard:05d}-of-{shards:05d}.json"


def tokens_name(split: str, shard: int, shards: int) -> str:
    """Return the name of the token file of a split in a shard."""
    return f"{split}-{shard:05d}-of-{shards:05d}.tokens"


def shards_in(folder: Path) -> set[int]:
    """Return how many shards the files of a folder are of: one number, none in a folder of another kind."""
    names = (_NAME.fullmatch(path.name) for path in folder.iterdir()) if folder.is_dir() else ()
    return {int(name[2] or name[4]) for name in names if name}


def is_of_shards(name: str) -> bool:
    """Whether a file of this name is one of a folder of shards."""
    return _NAME.fullmatch(name) is not None


class ShardTokens(Kept):
    """A token file of a shard: how much is in it, and the hash that it holds of itself."""

    name: str
    tokens: int
    documents: int
    bytes: int
    words: int
    first_words: int
    first_bytes: int
    sha256: str


class ShardText(Kept):
    """What a folder is made of, which all its shards have in common."""

    corpus: str
    corpus_fingerprint: str
    split_rule: str
    word_rule: str
    tokenizer_hash: str
    end_id: int | None = None
    shards: int
    data: dict[str, Any]
    """How the text was read and split: settings of `data` by their names."""


class ShardRecord(Kept):
    """shard-K-of-N.json: what the task of a shard has made. Splits of which it has no document are not named."""

    FORMAT: ClassVar[int] = 1
    format: int = FORMAT
    shard: int
    text: ShardText
    splits: dict[str, ShardTokens]
    left_out: dict[str, int]
    """What was left out, and how often."""


class ShardIndex(Kept):
    """index.json: the token files of each split, in the order of the text."""

    FORMAT: ClassVar[int] = 1
    format: int = FORMAT
    text: ShardText
    splits: dict[str, list[ShardTokens]]
    left_out: dict[str, int]
