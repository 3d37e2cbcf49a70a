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

import numpy as np

from heed.errors import DataError
from heed.text.batches import source_of
from heed.text.stream import Batch, Epochs
from heed.text.tokenfile import TokenFile


class Contiguous(Epochs):
    """Endless batches of B parallel streams; `Batch.continues` is False for the first of each epoch only.

    What is counted as a row is a whole batch. Raises `DataError` when the text is shorter than one full batch.
    """

    changed = ", train.batch_size"

    def __init__(self, tokens: TokenFile, batch_size: int, context: int, seed: int, shuffle: bool = True) -> None:
        self.streams, self.context, self.ids, self.offsets = batch_size, context, tokens.ids, shuffle
        need = batch_size * context + 1
        if len(self.ids) < need:
            raise DataError(
                f"the {tokens.header.get('split') or 'given'} split has {len(self.ids):,} tokens, a batch of streams "
                f"needs {need:,}: set a smaller train.batch_size or model.context, or give more text"
            )
        facts = {"tokens": len(self.ids), "context": context, "seed": seed, "shuffle": int(shuffle)}
        facts["streams"] = batch_size
        super().__init__(facts, 1, seed, source_of(tokens), shuffle=False)

    def begin(self, random: np.random.Generator) -> int:
        """Draw where the text is cut."""
        spare = len(self.ids) - 1 - self.streams * self.context
        self._offset = int(random.integers(min(self.context, spare + 1))) if self.offsets else 0
        self._length = (len(self.ids) - 1 - self._offset) // self.streams
        self._starts = (self._offset + self._length * np.arange(self.streams))[:, None]
        return -(-self._length // self.context)

    def rows(self, numbers: np.ndarray) -> Batch:
        """Return one batch: source and target (B, T), the last of an epoch as long as the text is."""
        number = int(numbers[0])
        begin = number * self.context
        size = min(self.context, self._length - begin)
        windows = self.ids[self._starts + np.arange(begin, begin + size + 1)].astype(np.int64)
        return Batch(windows[:, :-1], windows[:, 1:], None, continues=number > 0)
