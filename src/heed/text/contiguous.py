"""Parallel streams: the text is cut into B long pieces, one a row, and every batch goes on where the last one ended.

    text         a b c d e f g h i j k l m       B = 2, T = 3
    row 0        a b c | d e f                   targets  b c d | e f g
    row 1        g h i | j k l                            h i j | k l m

That is how a recurrent net with a carried state is trained (Mikolov et al. 2010; Zaremba et al. 2014). The order of
the batches is that of the text, in every epoch. Each epoch leaves out another number of tokens, below T, at the
beginning, so that over the epochs the text is cut at every place; at most B - 1 tokens at the end wait as well. The
last batch of an epoch may be shorter.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from heed.errors import DataError
from heed.text.batches import Batch, refuse_other, source_of
from heed.text.tokenfile import TokenFile


class Contiguous:
    """Endless batches of B parallel streams; `Batch.continues` is False for the first of each epoch only.

    Raises `DataError` when the text is shorter than one full batch.
    """

    def __init__(self, tokens: TokenFile, batch_size: int, context: int, seed: int, shuffle: bool = True) -> None:
        self.batch_size, self.context, self.seed, self.shuffle = batch_size, context, seed, shuffle
        self.ids, self.text = tokens.ids, source_of(tokens)
        self.notes: list[str] = []
        need = batch_size * context + 1
        if len(self.ids) < need:
            raise DataError(
                f"the {tokens.header.get('split') or 'given'} split has {len(self.ids):,} tokens, a batch of streams "
                f"needs {need:,}: set a smaller train.batch_size or model.context, or give more text"
            )
        self._enter(0, 0)

    @property
    def epoch(self) -> float:
        """Epochs behind us, with the fraction of the present one."""
        return self._epoch + self._index / self._count

    def _enter(self, epoch: int, index: int) -> None:
        """Stand before batch `index` of an epoch, whose offset depends on seed and epoch alone."""
        random = np.random.default_rng([self.seed, epoch])
        self._epoch, self._index = epoch, index
        spare = len(self.ids) - 1 - self.batch_size * self.context
        self._offset = int(random.integers(min(self.context, spare + 1))) if self.shuffle else 0
        self._length = (len(self.ids) - 1 - self._offset) // self.batch_size
        self._count = -(-self._length // self.context)

    def __iter__(self) -> Contiguous:
        return self

    def __next__(self) -> Batch:
        """Return the next batch: source and target (B, T), the last of an epoch as long as the text is."""
        begin = self._index * self.context
        size = min(self.context, self._length - begin)
        rows = self._offset + self._length * np.arange(self.batch_size)
        windows = self.ids[rows[:, None] + begin + np.arange(size + 1)].astype(np.int64)
        continues = self._index > 0
        self._index += 1
        if self._index == self._count:
            self._enter(self._epoch + 1, 0)
        return Batch(windows[:, :-1], windows[:, 1:], None, continues)

    def state(self) -> dict[str, Any]:
        """Return where the streams stand, in batches, and what they are streams of."""
        return {
            "text": self.text,
            "epoch": self._epoch,
            "index": self._index,
            "seed": self.seed,
            "context": self.context,
            "tokens": len(self.ids),
            "shuffle": int(self.shuffle),
            "streams": self.batch_size,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on at the batch after the one that was last returned before `state()`.

        Raises `CheckpointError` when the state is of another text or was cut otherwise, into another number of rows
        for one.
        """
        refuse_other(state, self.state(), ("tokens", "context", "seed", "shuffle", "streams"), ", train.batch_size")
        self._enter(state["epoch"], state["index"])
