"""Endless batches that know their place: what a model is trained on, one epoch after the other.

    epoch 0    row 3  row 0  row 2  row 1        an order that the seed and the epoch decide
    epoch 1    row 1  row 2  row 0  row 3
    batches    -----------  -----------  ---     of 3 rows here: one may hold rows of two epochs, so none is left out

Where a stream stands is two integers, the epoch and the number of rows of it that have been. The order of an epoch is
computed, not stored: going on in the middle of ten billion tokens takes no time and no memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np

from heed.errors import CheckpointError

ROUNDS = 8
BLOCK = 4096
"""Places in the order of an epoch that are computed at once; it spreads numpy's overhead over many batches."""
COLUMNS = 8
"""Widths of trimmed batches are multiples of it: few shapes, for allocators and compilers."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Examples for one step. `mask` is True where a target counts; None: all count.

    `source`, `target` (B, T) int64, `mask` (B, T) bool. What the mask leaves out is 0 in both. Where the target is the
    class of a text it is (B,); see `masking.py` and `examples.py` for batches of an encoder.
    """

    source: np.ndarray
    target: np.ndarray
    mask: np.ndarray | None
    continues: bool = False
    """Whether each row goes on where that row of the batch before ended; see `contiguous.py`."""


class Stream:
    """Endless batches that know their place: what every stream has, whatever its rows are.

    `facts` are what rows depend on beside the text, by the names that a checkpoint has for them: where one of them is
    another, a place means other rows. `text` is what the rows are of, None where nothing tells.
    """

    unit = "token"
    """What counts in a batch."""
    changed = ""
    """Settings, beside those of the data, that may be others where a place is not one of this stream."""

    def __init__(self, facts: dict[str, Any], batch_size: int, seed: int, text: str | None) -> None:
        self.facts, self.batch_size, self.seed, self.text = facts, batch_size, seed, text
        self.notes: list[str] = []

    @property
    def epoch(self) -> float:
        """Epochs behind us, with the fraction of the present one."""
        raise NotImplementedError

    def take(self, rows: int) -> Batch:
        """Return the next `rows` rows, at least one."""
        raise NotImplementedError

    def place(self) -> dict[str, Any]:
        """Return where the stream stands, as plain values."""
        raise NotImplementedError

    def go_to(self, place: dict[str, Any]) -> None:
        """Stand where `place` was returned."""
        raise NotImplementedError

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Batch:
        """Return the next batch, always full."""
        return self.take(self.batch_size)

    def state(self) -> dict[str, Any]:
        """Return where the stream stands and what it is a stream of, as plain values.

        `text` is the corpus' fingerprint and the tokenizer's hash, where the token file has them.
        """
        return ({} if self.text is None else {"text": self.text}) | self.place() | self.facts

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on at the batch after the one that was last returned before `state()`.

        Raises `CheckpointError` when the state is of another text, or of batches that were made otherwise.
        """
        if self.text is not None and state.get("text") != self.text:
            before, now = tokenizers_of(state), tokenizers_of({"text": self.text})
            if before and now and before.isdisjoint(now):
                raise CheckpointError(
                    "tokenizer.json is not the tokenizer that the run began with: bring its own back, "
                    "or begin a new run"
                )
            raise CheckpointError(
                "the text or its tokenizer is not what the run began with: bring it back, or begin a new run"
            )
        for name, own in self.facts.items():
            if state.get(name) != own:
                raise CheckpointError(
                    f"the checkpoint's batches have {name} {state.get(name)}, these have {own}: "
                    f"resume with the data{self.changed} and the settings in the run's config.yaml"
                )
        self.go_to(state)


class Epochs(Stream):
    """A stream of rows that come once an epoch: how many there are (`begin`), and what they hold (`rows`).

    A place is counted in rows, so the batch size may be another one later. Where it may not, what is counted as a row
    is a whole batch. What `begin` needs must be there before this is called, for the first epoch begins here.
    """

    def __init__(
        self, facts: dict[str, Any], batch_size: int, seed: int, text: str | None, shuffle: bool = True
    ) -> None:
        super().__init__(facts, batch_size, seed, text)
        self.shuffle = shuffle
        self._enter(0, 0)

    def begin(self, random: np.random.Generator) -> int:
        """Make ready for an epoch, and return how many rows it has; `random` depends on the seed and the epoch."""
        raise NotImplementedError

    def rows(self, numbers: np.ndarray) -> Batch:
        """Return the rows with these numbers (B,), at least one, of the present epoch."""
        raise NotImplementedError

    @property
    def epoch(self) -> float:
        """Epochs behind us, with the fraction of the present one."""
        return self._epoch + self._index / self._count

    def take(self, rows: int) -> Batch:
        """Return the next `rows` rows, at least one."""
        numbers = self._next(rows)
        parts = [self.rows(numbers)]
        while rows := rows - len(numbers):
            numbers = self._next(rows)
            parts.append(self.rows(numbers))
        return parts[0] if len(parts) == 1 else stacked(parts)

    def place(self) -> dict[str, Any]:
        """Return the epoch and the index in it: behind the last row of one is before the next one."""
        over = self._index == self._count
        return {"epoch": self._epoch + over, "index": 0 if over else self._index}

    def go_to(self, place: dict[str, Any]) -> None:
        """Stand where `place` was returned."""
        self._enter(place["epoch"], place["index"])

    def _enter(self, epoch: int, index: int) -> None:
        """Stand before row `index` of an epoch."""
        random = np.random.default_rng([self.seed, epoch])
        self._epoch, self._index, self._first, self._behind = epoch, index, 0, 0
        self._count = self.begin(random)
        self._keys = random.integers(2**64, size=ROUNDS, dtype=np.uint64)

    def _next(self, wanted: int) -> np.ndarray:
        """Return the numbers of the next rows, `wanted` or what is left of the epoch or block, and pass them."""
        if self._index == self._count:
            self._enter(self._epoch + 1, 0)
        if not self._first <= self._index < self._behind:
            self._first = self._index - self._index % BLOCK
            self._behind = min(self._first + BLOCK, self._count)
            order = np.arange(self._first, self._behind)
            self._order = permuted(order, self._count, self._keys) if self.shuffle else order
        place = self._index - self._first
        numbers = self._order[place : place + wanted]
        self._index += len(numbers)
        return numbers


def tokenizers_of(state: Mapping[str, Any]) -> set[str]:
    """Return the hashes of the tokenizers of a stream's state, as far as they are known.

    >>> tokenizers_of({"text": "02ac/1c81+77d0/1c81"}), tokenizers_of({"text": "02ac/"}), tokenizers_of({})
    ({'1c81'}, set(), set())
    """
    return {text.rpartition("/")[2] for text in str(state.get("text", "")).split("+")} - {""}


def permuted(index: np.ndarray, count: int, keys: np.ndarray) -> np.ndarray:
    """Return where a permutation of range(count) sends each index, without making the permutation.

    A Feistel network over pairs (left, right) with left < a, right < b and a b >= count (Black and Rogaway, "Ciphers
    with arbitrary finite domains", 2002): each round adds a hash of one half to the other, which can be undone, so
    the whole is one-to-one. An image beyond `count` is sent on until it falls below (fewer than one in
    sqrt(count)). `index` (...) int64; `keys` (ROUNDS,) uint64 choose the permutation.

    >>> keys = np.arange(ROUNDS, dtype=np.uint64)
    >>> sorted(permuted(np.arange(10), 10, keys).tolist()) == list(range(10))
    True
    """
    a = np.uint64(max(1, int(np.ceil(np.sqrt(count)))))
    b = np.uint64(-(-count // int(a)))
    out = index.astype(np.uint64)
    outside = np.ones(out.shape, bool)
    while outside.any():
        left, right = np.divmod(out[outside], b)
        for number, key in enumerate(keys):
            if number % 2 == 0:
                left = (left + _hash(right, key) % a) % a
            else:
                right = (right + _hash(left, key) % b) % b
        out[outside] = left * b + right
        outside = out >= count
    return out.astype(np.int64)


def _hash(values: np.ndarray, key: np.uint64) -> np.ndarray:
    """Mix 64-bit integers with a key: the finaliser of MurmurHash3."""
    mixed = values ^ key
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        mixed = (mixed ^ (mixed >> np.uint64(33))) * np.uint64(factor)
    return mixed ^ (mixed >> np.uint64(33))


class TokenIds(Protocol):
    """Ids in a row (N,), uint16 or uint32: an array, or parts of several files that are read like one (`joined.py`)."""

    @property
    def dtype(self) -> Any:
        """That of each id."""
        ...

    def __len__(self) -> int: ...

    def astype(self, dtype: Any, /) -> np.ndarray:
        """Return a copy of all as another dtype."""
        ...

    def __getitem__(self, key: Any, /) -> Any:
        """Return an id, a slice, or an array of some ids."""
        ...


def gather(ids: TokenIds, start: np.ndarray, valid: np.ndarray, seen: np.ndarray, context: int) -> Batch:
    """Cut windows of `context` out of joined tokens: `start`, `valid`, `seen` (B,), a number for each row.

    Targets from `seen` up to `valid` count, and beyond `valid` there is padding.
    """
    place = np.arange(context)
    inside = place < valid[:, None]
    at = start[:, None] + place
    source = np.where(inside, ids[np.where(inside, at, 0)], 0).astype(np.int64)
    target = np.where(inside, ids[np.where(inside, at + 1, 0)], 0).astype(np.int64)
    return Batch(source, target, inside & (place >= seen[:, None]))


def stacked(parts: list[Batch]) -> Batch:
    """Put the rows of batches of equal width under each other, all with a mask or all without."""
    masks = [part.mask for part in parts if part.mask is not None]
    return Batch(
        np.concatenate([part.source for part in parts]),
        np.concatenate([part.target for part in parts]),
        np.concatenate(masks) if masks else None,
    )


def trimmed(batch: Batch) -> Batch:
    """Take away columns at the end in which no target counts, down to a multiple of `COLUMNS`.

    Rows of one text each are short, most of them; their padding costs as much as text does.
    """
    assert batch.mask is not None
    used = np.flatnonzero(batch.mask.any(axis=0))
    width = -(-(int(used[-1]) + 1 if len(used) else 1) // COLUMNS) * COLUMNS
    if width >= batch.mask.shape[1]:
        return batch
    source, target, mask = (np.ascontiguousarray(a[:, :width]) for a in (batch.source, batch.target, batch.mask))
    return Batch(source, target, mask)
