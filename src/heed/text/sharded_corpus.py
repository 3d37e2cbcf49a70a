"""A folder of shards as a corpus: token files that `heed data tokenize` has made, read as if they were one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NoReturn

from heed.config import DataConfig
from heed.errors import CheckpointError, ConfigError, DataError, why
from heed.files import expanded
from heed.records.kept import DamagedError, read_record
from heed.records.shards import INDEX, ShardIndex, ShardTokens, record_name, shards_in, tokens_name
from heed.text.corpus import NO_TEST, Corpus, counted
from heed.text.joined import JoinedTokens
from heed.text.named import NAMED, locate
from heed.text.reading import READ, SPLIT
from heed.text.tokenfile import AlteredTokensError, TokenFile
from heed.text.tokenizers import Tokenizer, load_tokenizer

AGAIN = "heed data tokenize with the same words makes it anew"


class ShardedCorpus(Corpus):
    """Documents of token ids in shards. Made by `open_shards`; their text is not kept."""

    def __init__(self, folder: Path, index: ShardIndex, test: str | None) -> None:
        text = index.text
        self.folder, self.index, self.left_alone = folder, index, {"test": test} if test == NO_TEST else {}
        self.splits = tuple(split for split in index.splits if split != "test" or not self.left_alone)
        self.name, self.word_rule, self.split_rule = text.corpus, text.word_rule, text.split_rule
        self.fingerprint = text.corpus_fingerprint

    @property
    def notes(self) -> list[str]:
        """What was left out of all splits when the shards were made."""
        return counted(self.index.left_out)

    @property
    def settings(self) -> dict[str, Any]:
        """How the text was read and split, which no setting can change any more."""
        return self.index.text.data | self.left_alone

    def part(self, split: str, number: int, of: int) -> NoReturn:
        """Raise `DataError`: there is no text."""
        raise DataError(f"{self.folder} holds token ids and no text: give the text that they were made of")

    def tokenizer(self) -> Tokenizer:
        """Return the tokenizer that made the ids. Raises `DataError` where it is another one now."""
        tokenizer, text = load_tokenizer(self.folder), self.index.text
        if tokenizer.hash != text.tokenizer_hash:
            raise DataError(f"{self.folder}/tokenizer.json is not the tokenizer that made the shards: bring it back")
        tokenizer.end_id = text.end_id  # which of a foreign one may be named elsewhere
        return tokenizer


def shards_of(source: str) -> Path | None:
    """Return the folder of shards that a source names, None where it is of another kind."""
    if source in NAMED or source.startswith("hf:"):
        return None
    folder = expanded(locate(source))
    try:
        return folder if os.path.isdir(folder) and shards_in(folder) else None
    except OSError:  # a folder that is closed, of which more is said where it is read as text
        return None


def open_shards(folder: Path, data: DataConfig) -> ShardedCorpus:
    """Open a folder of shards.

    Raises `DataError` where some are missing or the index is damaged, and `ConfigError` for settings that ask for
    another text than was read when they were made.
    """
    index = read_index(folder)
    if index is None:
        of = max(shards_in(folder))
        there = sum((folder / record_name(shard, of)).is_file() for shard in range(of))
        raise DataError(
            f"{folder} is not whole, {there:,} of {of:,} shards are done: heed data tokenize makes the others"
        )
    corpus = ShardedCorpus(folder, index, data.test)
    problems = [
        f"data.{name}: {getattr(data, name)} is asked for, but {folder} was made with {value}: leave it out"
        for name, value in corpus.settings.items()
        if name in data.model_fields_set and name in READ + SPLIT and getattr(data, name) != value
    ]
    if problems:
        raise ConfigError(*problems)
    return corpus


def read_index(folder: Path) -> ShardIndex | None:
    """Return the index of a folder of shards, None where there is none.

    Raises `AlteredTokensError` where it is not as it was written.
    """
    path = folder / INDEX
    try:
        return read_record(ShardIndex, path)
    except FileNotFoundError:
        return None
    except DamagedError as error:
        raise AlteredTokensError(f"{error}: {AGAIN}") from None
    except CheckpointError as error:
        raise AlteredTokensError(f"{str(error).partition(':')[0]}: {AGAIN}") from None
    except (OSError, ValueError) as error:
        raise AlteredTokensError(f"{path} cannot be read ({why(error)}): {AGAIN}") from None


def shard_tokens(corpus: ShardedCorpus, tokenizer: Tokenizer, verify: bool = False) -> dict[str, TokenFile]:
    """Return the token files of each split as one, memory-mapped; `verify` reads the whole of large ones.

    Raises `AlteredTokensError` for a shard that is missing or not the one that the index names, `DataError` for another
    tokenizer.
    """
    text = corpus.index.text
    if tokenizer.hash != text.tokenizer_hash:
        raise DataError(f"{corpus.folder} was made with another tokenizer: leave tokenizer.file out, or tokenise again")
    found: dict[str, TokenFile] = {}
    for split in corpus.splits:
        files = [_open(corpus, split, entry, verify) for entry in corpus.index.splits[split]]
        found[split] = files[0] if len(files) == 1 else JoinedTokens(files)
    return found


def _open(corpus: ShardedCorpus, split: str, entry: ShardTokens, verify: bool) -> TokenFile:
    """Open the token file of a shard, and see that it is the one that the index names."""
    path, text = corpus.folder / entry.name, corpus.index.text
    try:
        file = TokenFile.open(path, tokenizer_hash=text.tokenizer_hash, verify=verify)
    except DataError as error:
        reason = "is missing" if not path.exists() else str(error).removeprefix(f"{path} ").partition(": ")[0]
        raise AlteredTokensError(f"{path} {reason}: {AGAIN}") from None
    if not is_the_one(file, entry):
        raise AlteredTokensError(f"{path} is not the file that {INDEX} names: {AGAIN}")
    return file


def is_the_one(file: TokenFile, entry: ShardTokens) -> bool:
    """Whether a token file is what its entry says: its place among the shards, and its hash."""
    header = file.header
    named = tokens_name(header.get("split", ""), header.get("shard", 0), header.get("shards", 0))
    return named == entry.name and header["sha256"]["whole"] == entry.sha256
