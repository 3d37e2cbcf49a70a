"""Batches of training examples out of running text, and the windows on which a model is evaluated.

    document    the  cat  sat  on   a    mat  <end>
    source      the  cat  sat  on   a    mat
    target      cat  sat  on   a    mat  <end>

Training batches are an endless stream of windows, one epoch after the other; see `stream.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np

from heed.errors import DataError
from heed.text.stream import Batch, Epochs, gather
from heed.text.tokenfile import TokenFile


class RowTable(Protocol):
    """Rows by number, such as windows of documents."""

    count: int

    def batch(self, numbers: np.ndarray, /) -> Batch:
        """Return some of the rows."""
        ...


class Windows:
    """Windows of documents: every `stride` tokens one of `context` + 1 tokens, until the document ends.

    A document is read after the end token of the one before, where the file names that token (`end_id`): so its
    first token is a target too, and a model learns how documents begin. Elsewhere, and at the very first document,
    that token has nothing before it. Windows at 0, stride, 2 stride, ... cover all the targets.
    """

    def __init__(
        self, tokens: TokenFile, context: int, stride: int, *, joined: bool = False, first_only: bool = False
    ) -> None:
        self.ids = tokens.ids
        self.ends = np.array([len(tokens.ids)]) if joined else tokens.ends.astype(np.int64)
        self.starts = np.concatenate([[0], self.ends[:-1]])
        end_id = tokens.header.get("end_id")
        if end_id is not None:
            later = self.starts > 0
            self.starts[later] -= tokens.ids[self.starts[later] - 1] == end_id
        self.context, self.stride = context, stride
        self.targets = targets = self.ends - self.starts - 1
        each = np.where(targets > 0, 1 + np.maximum(0, -(-(targets - context) // stride)), 0)
        self.last = np.cumsum(np.minimum(each, 1) if first_only else each)
        self.count = int(self.last[-1])

    def find(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return where the windows with these numbers start, how many targets they have, how many came before."""
        document = np.searchsorted(self.last, index, side="right")
        before = np.where(document > 0, self.last[document - 1], 0)
        place = index - before
        start = self.starts[document] + place * self.stride
        valid = np.minimum(self.context, self.ends[document] - 1 - start)
        return start, valid, np.where(place > 0, self.context - self.stride, 0)

    def batch(self, numbers: np.ndarray) -> Batch:
        """Return some windows, padded and masked: their own targets, and those that windows before have, count."""
        start, valid, _ = self.find(numbers)
        return gather(self.ids, start, valid, np.zeros_like(start), self.context)


class Packed(Epochs):
    """Endless batches of windows cut from the joined documents.

    Each epoch cuts at another offset below `context`, so that over the epochs every token is seen at every place in
    a window; the tokens before the offset and after the last whole window wait for another epoch. `shuffle=False`
    cuts at 0 and goes from the beginning to the last whole window.

    With `cross_documents=False` no window runs over the end of a document: windows begin at the end token before each
    document (see `Windows`), and the last one is padded and masked. `table` gives other rows of the same text, a
    document or more each, in the place of windows.

    Raises `DataError` when the text is shorter than a window.
    """

    def __init__(
        self,
        tokens: TokenFile,
        batch_size: int,
        context: int,
        seed: int,
        shuffle: bool = True,
        cross_documents: bool = True,
        *,
        table: RowTable | None = None,
    ) -> None:
        self.context, self.ids = context, tokens.ids
        self.table = Windows(tokens, context, context) if table is None and not cross_documents else table
        self._steps = np.arange(context + 1)
        split = tokens.header.get("split") or "given"
        if self.table is None and len(self.ids) <= context:
            raise DataError(
                f"the {split} split has {len(self.ids):,} tokens, a window needs {context + 1:,}: "
                "set a smaller model.context or give more text"
            )
        if self.table is not None and self.table.count == 0:
            raise DataError(f"the {split} split has no document of two tokens or more: give more text")
        # `windows`: how many rows documents are cut to, 0 where they are joined
        facts = {"tokens": len(self.ids), "context": context, "seed": seed, "shuffle": int(shuffle)}
        facts["windows"] = 0 if self.table is None else self.table.count
        super().__init__(facts, batch_size, seed, source_of(tokens), shuffle)

    def begin(self, random: np.random.Generator) -> int:
        """Draw where the text is cut."""
        spare = len(self.ids) - 1 - self.context
        # drawn for a table as well, which needs none: the order of its rows is drawn after it
        self._offset = int(random.integers(min(self.context, spare + 1))) if self.shuffle and spare > 0 else 0
        return (len(self.ids) - 1 - self._offset) // self.context if self.table is None else self.table.count

    def rows(self, numbers: np.ndarray) -> Batch:
        """Return some windows."""
        if self.table is not None:
            return self.table.batch(numbers)
        windows = self.ids[(numbers * self.context + self._offset)[:, None] + self._steps]
        return Batch(windows[:, :-1].astype(np.int64), windows[:, 1:].astype(np.int64), None)


class Padded(Packed):
    """Endless batches of one sequence a document, cut and padded to `length` (IFT6135: 256).

    A document gives `length` targets at most (its first token is one only after an end token, see `Windows`); what
    is longer is cut off, and `notes` says how much.

    Raises `DataError` when no document has two tokens.
    """

    def __init__(self, tokens: TokenFile, batch_size: int, length: int, seed: int, shuffle: bool = True) -> None:
        table = Windows(tokens, length, length, first_only=True)
        super().__init__(tokens, batch_size, length, seed, shuffle, table=table)
        targets = table.targets
        lost = np.maximum(0, targets - length)
        if lost.any():
            self.notes.append(
                f"{np.count_nonzero(lost):,} of {len(targets):,} documents have more than {length:,} tokens to "
                f"predict: {lost.sum() / len(tokens.ids):.1%} of all tokens are cut off and never seen"
            )
        if short := np.count_nonzero(targets < 1):
            self.notes.append(f"{short:,} documents of a single token have nothing to predict and are left out")


def source_of(tokens: TokenFile) -> str:
    """Return what a stream of batches is a stream of: the corpus' fingerprint and the tokenizer's hash, if known."""
    return f"{tokens.header.get('corpus_fingerprint', '')}/{tokens.header.get('tokenizer_hash', '')}"


def evaluation_windows(
    tokens: TokenFile, context: int, stride: int, batch_size: int, cross_documents: bool = True
) -> Iterator[Batch]:
    """Yield batches in which each token of the split, except the very first, is a target that counts exactly once.

    Windows begin every `stride` tokens (1 to `context`). A target that the window before has counted is context here
    and is masked, so each token but the first `context` is predicted from at least `context - stride` tokens. The
    last window is padded, the last batch may be smaller. With `cross_documents=False` the same holds for each
    document by itself, after the end token before it (see `Windows`; without such tokens no document's first token
    is a target).

    Raises `DataError` when the stride does not fit or there is nothing to predict.
    """
    if not 1 <= stride <= context:
        raise DataError(f"the stride of evaluation must be from 1 to the context {context}, not {stride}")
    windows = Windows(tokens, context, stride, joined=cross_documents)
    if windows.count == 0:
        split = tokens.header.get("split", "given")
        raise DataError(f"the {split} split has {len(tokens.ids)} tokens, evaluation needs two: give more text")
    for first in range(0, windows.count, batch_size):
        numbers = np.arange(first, min(first + batch_size, windows.count))
        yield gather(tokens.ids, *windows.find(numbers), context)
