"""Text that comes as token ids: an `npz` of `tokens` and `sizes`, as IFT6135 gives WikiText-2.

The tokenizer is the one that made the ids, and has to be named. Words and bytes of the text are not known, so there are
no figures by them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from heed.errors import DataError
from heed.text.corpus import NO_TEST, Corpus, held_out_shares, name_of
from heed.text.sources import Documents, Source, digest, draw
from heed.text.tokenfile import TokenFile, load_npz
from heed.text.tokenizers import Tokenizer


class IdCorpus(Corpus):
    """Documents of token ids in splits. Made by `open_ids`; `documents` writes them as numbers."""

    def __init__(self, rows: Mapping[str, Sequence[NDArray]], sources: dict[str, Source], shares: dict[str, float]):
        self._rows = rows
        super().__init__(sources, shares, "words")
        if self._limits:
            raise DataError(f"{self.name} has a single document of ids, too few to be split: give data.validation")

    def ids(self, split: str) -> list[NDArray]:
        """Return the documents of a split, each a row of ids."""
        if split in self._rows and split != "train":
            return list(self._rows[split])
        return [row for row in self._rows["train"] if not self._shares or self._split_of(draw(_text(row))) == split]


def is_ids(source: str | Path) -> bool:
    """Whether a source is a file of token ids."""
    return Path(source).suffix == ".npz"


def open_ids(
    source: str | Path,
    *,
    validation: str | Path | None = None,
    test: str | Path | None = None,
    validation_fraction: float = 0.1,
    test_fraction: float = 0.0,
    first_id: int = 0,
) -> IdCorpus:
    """Open a file of token ids; the arguments are the settings of the same names in `data`.

    Raises `DataError` for what is no such file, and where there are too few documents to be split.
    """
    files = {"train": source, "validation": validation, "test": None if test == NO_TEST else test}
    given = {split: Path(path) for split, path in files.items() if path is not None}
    if text := [str(path) for path in given.values() if not is_ids(path)]:
        raise DataError(f"{text[0]} is text, and {source} token ids: give an npz of tokens and sizes for each split")
    rows = {split: _rows(path, first_id) for split, path in given.items()}
    sources = {split: _source(path, rows[split]) for split, path in given.items()}
    return IdCorpus(rows, sources, held_out_shares(validation_fraction, test_fraction, sources))


def id_tokens(corpus: IdCorpus, tokenizer: Tokenizer) -> dict[str, TokenFile]:
    """Return the ids of each split. Raises `DataError` for an id that the tokenizer does not have."""
    files = {}
    for split in corpus.splits:
        rows = corpus.ids(split)
        ids = np.concatenate(rows)
        if ids.max() >= tokenizer.vocab_size:
            raise DataError(
                f"the {split} split of {corpus.name} holds the id {ids.max():,}, and the vocabulary ends at "
                f"{tokenizer.vocab_size - 1:,}: name the tokenizer that made the ids (tokenizer.file), or set "
                "data.first_id 1 if 0 is padding there"
            )
        header = corpus.facts(split) | {"tokenizer_hash": tokenizer.hash, "end_id": tokenizer.end_id}
        ends = np.cumsum([len(row) for row in rows], dtype=np.uint64)
        files[split] = TokenFile(ids.astype(np.uint32), ends, header)
    return files


def _rows(path: Path, first_id: int) -> list[NDArray]:
    """Return the documents of a file that are not empty, their ids counted from 0."""
    file = load_npz(path)
    ids = file.ids.astype(np.int64) - first_id
    if (below := int(ids.min())) < 0:
        raise DataError(f"{path} holds the id {below + first_id}, below data.first_id {first_id}: lower it")
    return [row for row in np.split(ids, file.ends[:-1].astype(np.int64)) if len(row)]


def _source(path: Path, rows: Sequence[NDArray]) -> Source:
    """Return the documents of a file as a source, whose contents are its fingerprint."""

    def read(skipped: object) -> Documents:
        return ((draw(text), text) for text in map(_text, rows))

    fingerprint = digest("ids", [len(row) for row in rows], np.concatenate(rows).tobytes())
    return Source(name_of(path.name), fingerprint, read, files=(path,))


def _text(row: NDArray) -> str:
    return " ".join(map(str, row.tolist()))
