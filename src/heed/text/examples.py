"""Batches of labelled texts.

    text      a  fine film .  <end>          source (B, T)   one row a text, from its first token, cut at the context
    label     1                              target (B,)     its class

A row is filled up with [PAD], and T is the longest row of the batch, so that short texts cost little.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from heed.errors import DataError
from heed.text.batches import Packed
from heed.text.labelled import LabelledTokens
from heed.text.stream import Batch

PART = 0x70617274
"""Keeps the draw of the texts that are measured apart from other draws."""
MOST_MEASURED = 1000
"""Training texts that are measured at most where their number is not asked for."""


class Examples(Packed):
    """Endless batches of labelled texts: every text once an epoch, in another order each time.

    Where the stream stands is what it is for `Packed`. Raises `DataError` when there is no text.
    """

    unit = "example"

    def __init__(
        self, tokens: LabelledTokens, batch_size: int, context: int, pad_id: int, seed: int, shuffle: bool = True
    ) -> None:
        super().__init__(tokens, batch_size, context, seed, shuffle, table=_Texts(tokens, context, pad_id))
        self.pad_id = pad_id

    def take(self, rows: int) -> Batch:
        """Return the next `rows` rows, at least one."""
        return _trimmed(super().take(rows), self.pad_id)


class _Texts:
    """The texts of a split, by number."""

    def __init__(self, tokens: LabelledTokens, context: int, pad_id: int) -> None:
        ends = tokens.ends.astype(np.int64)
        self.ids, self.context, self.count = tokens.ids, context, len(ends)
        self.labels, self.pad_id = tokens.labels, pad_id
        self.starts = np.concatenate([[0], ends[:-1]])
        self.lengths = np.minimum(ends - self.starts, context)

    def batch(self, numbers: np.ndarray) -> Batch:
        """Return some texts, filled up on the right to the context, and their classes."""
        inside = np.arange(self.context) < self.lengths[numbers, None]
        at = self.starts[numbers, None] + np.arange(self.context)
        source = np.where(inside, self.ids[np.where(inside, at, 0)], self.pad_id).astype(np.int64)
        return Batch(source, self.labels[numbers], None)


def examples_in_order(
    tokens: LabelledTokens, context: int, batch_size: int, pad_id: int, count: int | None = None
) -> Iterator[Batch]:
    """Yield the first `count` texts of a split (None: all), each once and in order; the last batch may be smaller."""
    texts = _Texts(tokens, context, pad_id)
    count = texts.count if count is None else min(count, texts.count)
    if count == 0:
        raise DataError(f"the {tokens.header.get('split', 'given')} split has no text: give more")
    for first in range(0, count, batch_size):
        numbers = np.arange(first, min(first + batch_size, count))
        yield _trimmed(texts.batch(numbers), pad_id)


def part_of(tokens: LabelledTokens, count: int) -> LabelledTokens:
    """Return `count` texts of a split, drawn the same way each time and in its order; all where there are no more."""
    numbers = fixed_part(len(tokens.ends), count)
    if len(numbers) == len(tokens.ends):
        return tokens
    ends = tokens.ends.astype(np.int64)
    lengths = np.diff(ends, prepend=0)[numbers]
    ids = np.concatenate([tokens.ids[end - length : end] for end, length in zip(ends[numbers], lengths, strict=True)])
    header = {**tokens.header, "part": True}
    return LabelledTokens(ids, np.cumsum(lengths).astype(np.uint64), header, tokens.labels[numbers], tokens.classes)


def fixed_part(size: int, count: int) -> np.ndarray:
    """Return the numbers of `count` of `size` things, ascending; equal arguments give equal numbers.

    They are drawn, since the rows of a file often go by class.
    """
    return np.sort(np.random.default_rng(PART).permutation(size)[:count])


def texts_measured(asked: int | None, lengths: np.ndarray, held_out: int) -> int:
    """Return how many training texts, of so many tokens each, `train.eval_train_tokens` measures beside validation.

    >>> lengths = np.full(500, 20)
    >>> texts_measured(None, lengths, 300), texts_measured(0, lengths, 300), texts_measured(50, lengths, 300)
    (300, 0, 3)
    """
    if asked is None:
        return min(MOST_MEASURED, held_out, len(lengths))
    return min(len(lengths), math.ceil(asked / max(1.0, float(lengths.mean()))))


def cut_texts(tokens: LabelledTokens, context: int) -> str | None:
    """Say how many texts of a split are longer than the context, if any."""
    lengths = np.diff(tokens.ends.astype(np.int64), prepend=0)
    longer = int(np.count_nonzero(lengths > context))
    if longer == 0:
        return None
    return (
        f"{longer:,} of {len(lengths):,} texts of the {tokens.header.get('split', 'given')} split have more than "
        f"{context:,} tokens and are cut"
    )


def _trimmed(batch: Batch, pad_id: int) -> Batch:
    """Take away the columns in which every row has padding."""
    longest = max(1, int((batch.source != pad_id).sum(axis=1).max()))
    return Batch(batch.source[:, :longest], batch.target, batch.mask)
