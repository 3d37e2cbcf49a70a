"""Batches of rows that are about as long as each other, so that little of a batch is padding.

    drawn      3 batches of the stream    ---- -- ------ -    --- - -- -----    - ------ -- --
    sorted     by length, cut again       - - - -    -- -- -- --    --- ---- ----- ------ ------
    trained    in random order

Texts of a line each are of very different lengths, and a batch is as wide as its longest row: on the lines of the
birth places half of what is computed would be padding. Which rows come together then depends on their length, which is
why the groups of a pool are shuffled.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from heed.text.stream import Batch, Stream, trimmed

ORDER = 0x67726F75
"""Kept apart from the draws that order the stream."""


class Grouped(Stream):
    """Endless batches of `stream`, whose rows are sorted by length within pools of `pool` batches.

    Every row of the stream comes once. The stream is ahead of what was trained by less than a pool; a place is kept as
    the place of the stream before the pool and the number of batches since.
    """

    changed = ", data.group_batches, train.batch_size"

    def __init__(self, stream: Stream, batch_size: int, pool: int, seed: int) -> None:
        super().__init__({"pool": pool, "batch_size": batch_size}, batch_size, seed, None)
        self.stream, self.pool = stream, pool
        self.notes = stream.notes
        self._pools, self._done = 0, pool
        self._before = stream.state()
        self._batches: list[Batch] = []

    @property
    def epoch(self) -> float:
        """Epochs of the stream behind us, up to the end of the present pool."""
        return self.stream.epoch

    def __next__(self) -> Batch:
        """Return the next batch, always full."""
        if self._done == self.pool:
            self._draw()
        self._done += 1
        return self._batches[self._done - 1]

    def _draw(self) -> None:
        """Draw a pool from the stream and cut it into batches."""
        self._before = self.stream.state()
        rows = self.stream.take(self.pool * self.batch_size)
        mask = np.ones(rows.target.shape, bool) if rows.mask is None else rows.mask
        lengths = rows.target.shape[-1] - np.argmax(mask[:, ::-1], axis=1)
        random = np.random.default_rng([self.seed, ORDER, self._pools])
        order = np.lexsort((random.random(len(lengths)), lengths)).reshape(self.pool, self.batch_size)
        parts = order[random.permutation(self.pool)]
        self._batches = [trimmed(Batch(rows.source[part], rows.target[part], mask[part])) for part in parts]
        self._pools, self._done = self._pools + 1, 0

    def place(self) -> dict[str, Any]:
        """Return the place of the stream before the present pool, and the batches since."""
        return {"before": self._before, "pools": self._pools, "done": self._done}

    def go_to(self, place: dict[str, Any]) -> None:
        """Draw the same pool again. Raises what the stream raises."""
        self.stream.load_state(place["before"])
        self._before = place["before"]
        self._pools, self._done = place["pools"], self.pool
        if self._pools:
            self._pools -= 1
            self._draw()
        self._done = place["done"]
