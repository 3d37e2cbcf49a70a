"""Batches whose rows come from several streams: text and questions about it, in one batch.

    share     0.75 text    0.25 questions      a row's stream is drawn by the shares, from the seed and its number
    batch     text  text  question  text  text  text  question  text

Which stream a row comes from depends on the seed and the row's number in the mixture, the row itself on where its
stream stands: the size of the batches may change, and what follows is what would have followed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from heed.errors import CheckpointError, ConfigError
from heed.text.batches import Packed
from heed.text.stream import Batch, Stream

SOURCES = 0x6D697874
"""Kept apart from the draws that order the streams."""


class Mixture(Stream):
    """Endless batches of rows from several streams, such as `Corrupted`, `Padded` and `Questions`.

    `parts` are the streams and the share of the rows of each; the shares add up to 1. `epoch` is that of the first.
    A batch has a mask, and is as wide as its widest part. Raises `ConfigError` for shares that do not add up or are
    not above 0.
    """

    changed = ", data.questions, data.questions_share"

    def __init__(self, parts: Sequence[tuple[Packed, float]], batch_size: int, seed: int) -> None:
        self.streams = [stream for stream, _ in parts]
        self.shares = [share for _, share in parts]
        if not parts or min(self.shares) <= 0 or abs(sum(self.shares) - 1) > 1e-9:
            raise ConfigError(f"shares of rows must be above 0 and add up to 1, not {self.shares}")
        text = "+".join(stream.text or "" for stream in self.streams)
        super().__init__({"seed": seed, "shares": self.shares}, batch_size, seed, text)
        self.notes = [note for stream in self.streams for note in stream.notes]
        self._key = np.random.SeedSequence([seed, SOURCES]).generate_state(2, np.uint64)
        self._bounds = np.cumsum(self.shares)[:-1]
        self._row = 0

    @property
    def epoch(self) -> float:
        """Epochs of the first stream behind us, with the fraction of the present one."""
        return self.streams[0].epoch

    def take(self, rows: int) -> Batch:
        """Return the next `rows` rows, at least one."""
        # Philox gives four numbers a step of its counter: the first of each is a row's.
        random = np.random.Generator(np.random.Philox(key=self._key, counter=self._row))
        draws = random.random((rows, 4))[:, 0]
        sources = np.searchsorted(self._bounds, draws, side="right")
        self._row += rows
        places = [np.flatnonzero(sources == number) for number in range(len(self.streams))]
        taken = [(at, stream.take(len(at))) for at, stream in zip(places, self.streams, strict=True) if len(at)]
        return _joined(taken, rows)

    def place(self) -> dict[str, Any]:
        """Return where the mixture stands, and each of its streams."""
        return {"row": self._row, "parts": [stream.state() for stream in self.streams]}

    def go_to(self, place: dict[str, Any]) -> None:
        """Stand there, with every stream. Raises `CheckpointError` when those are others."""
        parts = place.get("parts", [])
        if len(parts) != len(self.streams):
            raise CheckpointError(
                f"the checkpoint's batches mix {len(parts)} streams, these {len(self.streams)}: "
                "resume with the settings in the run's config.yaml"
            )
        for stream, part in zip(self.streams, parts, strict=True):
            stream.load_state(part)
        self._row = place["row"]


def _joined(taken: list[tuple[np.ndarray, Batch]], rows: int) -> Batch:
    """Put the rows of several batches at their places in one."""
    width = max(batch.source.shape[1] for _, batch in taken)
    source, target = np.zeros((2, rows, width), dtype=np.int64)
    mask = np.zeros((rows, width), dtype=bool)
    for at, batch in taken:
        columns = slice(batch.source.shape[1])
        source[at, columns], target[at, columns] = batch.source, batch.target
        mask[at, columns] = True if batch.mask is None else batch.mask
    return Batch(source, target, mask)
