"""Hidden tokens, as in BERT: what an encoder is trained on. Devlin et al. 2019, section 3.1 and appendix A.1.

    text     my dog is hairy        of every row a share of the tokens is chosen, at least one, and of the chosen
    source   my dog is [MASK]       80 % become [MASK], 10 % a token drawn from the vocabulary, 10 % stay
    target   my dog is hairy
    mask      0   0  0   1          the loss is over the chosen ones alone

Which are chosen depends on the seed and the place in the data, so a run that goes on hides what it would have hidden.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from heed.text.batches import Packed, evaluation_windows
from heed.text.stream import Batch, Stream
from heed.text.tokenfile import TokenFile

MASKED, RANDOM = 0.8, 0.1
"""Of the chosen tokens: the share that becomes [MASK], and the share that becomes any token."""
TRAINING, EVALUATION = 0x68696465, 0x6D656173
"""Kept apart from the draws that order the data, and from each other."""


def special_ids(vocab_size: int) -> tuple[int, int]:
    """Return the ids of [MASK] and [PAD] in an encoder: they stand after the tokenizer's vocabulary.

    >>> special_ids(4096)
    (4096, 4097)
    """
    return vocab_size, vocab_size + 1


def hide(ids: np.ndarray, real: np.ndarray, fraction: float, vocab_size: int, random: np.random.Generator) -> Batch:
    """Hide `fraction` of the real tokens of each row, rounded, at least one where a row has any.

    `ids` (B, T) int64, `real` (B, T) bool, False where there is padding, which becomes [PAD]. Rows are drawn one after
    the other: in whatever batches they come, the same generator hides the same.
    """
    mask_id, pad_id = special_ids(vocab_size)
    order, kind, token = np.moveaxis(random.random((len(ids), 3, ids.shape[1])), 1, 0)
    lengths = real.sum(axis=1)
    wanted = np.minimum(lengths, np.maximum(1, np.rint(fraction * lengths)))
    order = np.where(real, order, 2.0)  # padding comes last
    chosen = order.argsort(axis=1, kind="stable").argsort(axis=1) < wanted[:, None]
    source = np.where(real, ids, pad_id)
    source = np.where(chosen & (kind < MASKED), mask_id, source)
    drawn = chosen & (kind >= MASKED) & (kind < MASKED + RANDOM)
    source = np.where(drawn, (token * vocab_size).astype(np.int64), source)
    return Batch(source, np.where(chosen, ids, 0), chosen)


class Masked(Stream):
    """Endless batches with hidden tokens, out of windows of a text.

    Each epoch hides others. The last token of a window of `Packed`, which nothing would follow, is left for the next.
    A place is that of the windows; what is hidden follows from it.
    """

    unit = "masked token"

    def __init__(self, windows: Packed, fraction: float, vocab_size: int) -> None:
        super().__init__(windows.facts, windows.batch_size, windows.seed, windows.text)
        self.windows, self.fraction, self.vocab_size = windows, fraction, vocab_size
        self.notes = windows.notes

    @property
    def epoch(self) -> float:
        """Epochs of the windows."""
        return self.windows.epoch

    def take(self, rows: int) -> Batch:
        """Return the next `rows` rows, at least one."""
        place = self.place()
        random = np.random.default_rng([self.seed, place["epoch"], place["index"], TRAINING])
        batch = self.windows.take(rows)
        return hide(batch.source, _real(batch), self.fraction, self.vocab_size, random)

    def place(self) -> dict[str, Any]:
        """Return where the windows stand."""
        return self.windows.place()

    def go_to(self, place: dict[str, Any]) -> None:
        """Let the windows stand there."""
        self.windows.go_to(place)


def masked_windows(
    tokens: TokenFile, context: int, batch_size: int, fraction: float, vocab_size: int, cross_documents: bool
) -> Iterator[Batch]:
    """Yield the windows of a whole split with hidden tokens, the same ones every time and for every batch size.

    Windows do not overlap and read every token but the last one (of each document, with `cross_documents=False`).
    Raises `DataError` when there is nothing to read.
    """
    random = np.random.default_rng(EVALUATION)
    for batch in evaluation_windows(tokens, context, context, batch_size, cross_documents):
        yield hide(batch.source, _real(batch), fraction, vocab_size, random)


def _real(batch: Batch) -> np.ndarray:
    """Return where a batch of windows has tokens and no padding."""
    return np.ones(batch.source.shape, bool) if batch.mask is None else batch.mask
