"""Batches of training examples, and the windows on which a model is evaluated.

    document    the  cat  sat  on   a    mat  <end>
    source      the  cat  sat  on   a    mat
    target      cat  sat  on   a    mat  <end>

Training batches are an endless stream of windows, one epoch after the other; a batch may hold windows of two epochs,
so none is left out. Where the stream stands is two integers, the epoch and the index of the next window, and the
order of an epoch is computed, not stored: going on in the middle of ten billion tokens takes no time and no memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from heed.errors import CheckpointError, DataError
from heed.text.tokenfile import TokenFile

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


class _Windows:
    """Windows of documents: every `stride` tokens one of `context` + 1 tokens, until the document ends.

    A document is read after the end token of the one before, where the file names that token (`end_id`): so its
    first token is a target too, and a model learns how documents begin. Elsewhere, and at the very first document,
    that token has nothing before it. Windows at 0, stride, 2 stride, ... cover all the targets.
    """

    def __init__(
        self, tokens: TokenFile, context: int, stride: int, *, joined: bool = False, first_only: bool = False
    ) -> None:
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


def gather(ids: np.ndarray, start: np.ndarray, valid: np.ndarray, seen: np.ndarray, context: int) -> Batch:
    """Cut windows of `context` out of joined tokens: `start`, `valid`, `seen` (B,), a number for each row.

    Targets from `seen` up to `valid` count, and beyond `valid` there is padding.
    """
    place = np.arange(context)
    inside = place < valid[:, None]
    at = start[:, None] + place
    source = np.where(inside, ids[np.where(inside, at, 0)], 0).astype(np.int64)
    target = np.where(inside, ids[np.where(inside, at + 1, 0)], 0).astype(np.int64)
    return Batch(source, target, inside & (place >= seen[:, None]))


class Packed:
    """Endless batches of windows cut from the joined documents.

    Each epoch cuts at another offset below `context`, so that over the epochs every token is seen at every place in
    a window; the tokens before the offset and after the last whole window wait for another epoch. `shuffle=False`
    cuts at 0 and goes from the beginning to the last whole window.

    With `cross_documents=False` no window runs over the end of a document: windows begin at the end token before each
    document (see `_Windows`), and the last one is padded and masked.

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
    ) -> None:
        self.batch_size, self.context, self.seed, self.shuffle = batch_size, context, seed, shuffle
        self.ids = tokens.ids
        self.text = source_of(tokens)
        self.notes: list[str] = []
        self._windows = None if cross_documents else _Windows(tokens, context, context)
        self._steps = np.arange(context + 1)
        split = tokens.header.get("split", "")
        if cross_documents and len(self.ids) <= context:
            raise DataError(
                f"the {split or 'given'} split has {len(self.ids):,} tokens, a window needs {context + 1:,}: "
                "set a smaller model.context or give more text"
            )
        if self._windows is not None and self._windows.count == 0:
            raise DataError(f"the {split or 'given'} split has no document of two tokens or more: give more text")
        self._enter(0, 0)

    @property
    def epoch(self) -> float:
        """Epochs behind us, with the fraction of the present one."""
        return self._epoch + self._index / self._count

    def _enter(self, epoch: int, index: int) -> None:
        """Stand before window `index` of an epoch, whose offset and order depend on seed and epoch alone."""
        random = np.random.default_rng([self.seed, epoch])
        self._epoch, self._index = epoch, index
        spare = len(self.ids) - 1 - self.context
        self._offset = int(random.integers(min(self.context, spare + 1))) if self.shuffle and spare > 0 else 0
        self._keys = random.integers(2**64, size=ROUNDS, dtype=np.uint64)
        if self._windows is not None:
            self._count = self._windows.count
        else:
            self._count = (len(self.ids) - 1 - self._offset) // self.context
        self._block = -1

    def _next_numbers(self, wanted: int) -> np.ndarray:
        """Return the numbers of the next windows, `wanted` or what is left of the epoch or block, and pass them."""
        block, place = divmod(self._index, BLOCK)
        if block != self._block:
            order = np.arange(block * BLOCK, min((block + 1) * BLOCK, self._count))
            self._order = permuted(order, self._count, self._keys) if self.shuffle else order
            self._block = block
        numbers = self._order[place : place + wanted]
        self._index += len(numbers)
        if self._index == self._count:
            self._enter(self._epoch + 1, 0)
        return numbers

    def __iter__(self) -> Packed:
        return self

    def __next__(self) -> Batch:
        """Return the next batch, always full."""
        return self.take(self.batch_size)

    def take(self, rows: int) -> Batch:
        """Return the next `rows` rows, at least one."""
        parts: list[Batch] = []
        while rows:
            epoch, offset = self._epoch, self._offset
            numbers = self._next_numbers(rows)
            parts.append(self._cut(numbers, epoch, offset))
            rows -= len(numbers)
        return parts[0] if len(parts) == 1 else _stacked(parts)

    def _cut(self, numbers: np.ndarray, epoch: int, offset: int) -> Batch:
        """Return the windows with these numbers, of an epoch that cuts at `offset`."""
        if self._windows is not None:
            start, valid, _ = self._windows.find(numbers)
            return gather(self.ids, start, valid, np.zeros_like(start), self.context)
        at = (numbers * self.context + offset)[:, None] + self._steps
        windows = self.ids[at]
        return Batch(windows[:, :-1].astype(np.int64), windows[:, 1:].astype(np.int64), None)

    def state(self) -> dict[str, Any]:
        """Return where the stream stands, and what it is a stream of.

        `text` is the corpus' fingerprint and the tokenizer's hash, where the token file has them. Places are counted in
        windows, so the batch size may be another one at `load_state`. `windows` is the number of windows that documents
        are cut to, 0 where they are joined.
        """
        return {
            "text": self.text,
            "epoch": self._epoch,
            "index": self._index,
            "seed": self.seed,
            "context": self.context,
            "tokens": len(self.ids),
            "shuffle": int(self.shuffle),
            "windows": 0 if self._windows is None else self._windows.count,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on at the batch after the one that was last returned before `state()`.

        Raises `CheckpointError` when the state is of another text or was cut otherwise.
        """
        refuse_other(state, self.state(), ("tokens", "context", "seed", "shuffle", "windows"))
        self._enter(state["epoch"], state["index"])


def refuse_other(state: dict[str, Any], own: dict[str, Any], keys: tuple[str, ...], settings: str = "") -> None:
    """Raise `CheckpointError` when the place in `state` is in another text, or in batches that differ in one of `keys`.

    `settings` adds to the advice what the user may have changed, such as ", train.batch_size".
    """
    if state.get("text") != own["text"]:
        if tokenizers_of(state).isdisjoint(tokenizers_of(own)):
            raise CheckpointError(
                "tokenizer.json is not the tokenizer that the run began with: bring its own back, or begin a new run"
            )
        raise CheckpointError(
            "the text or its tokenizer is not what the run began with: bring it back, or begin a new run"
        )
    for key in keys:
        if state.get(key) != own[key]:
            raise CheckpointError(
                f"the checkpoint's batches have {key} {state.get(key)}, these have {own[key]}: "
                f"resume with the data{settings} and the settings in the run's config.yaml"
            )


class Padded(Packed):
    """Endless batches of one sequence a document, cut and padded to `length` (IFT6135: 256).

    A document gives `length` targets at most (its first token is one only after an end token, see `_Windows`); what
    is longer is cut off, and `notes` says how much.

    Raises `DataError` when no document has two tokens.
    """

    def __init__(self, tokens: TokenFile, batch_size: int, length: int, seed: int, shuffle: bool = True) -> None:
        super().__init__(tokens, batch_size, length, seed, shuffle, cross_documents=False)
        self._windows = _Windows(tokens, length, length, first_only=True)
        self._enter(0, 0)
        targets = self._windows.targets
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


def tokenizers_of(state: Mapping[str, Any]) -> set[str]:
    """Return the hashes of the tokenizers of a stream's state, as far as they are known.

    >>> tokenizers_of({"text": "02ac/1c81+77d0/1c81"}), tokenizers_of({"text": "02ac/"}), tokenizers_of({})
    ({'1c81'}, set(), set())
    """
    return {text.rpartition("/")[2] for text in str(state.get("text", "")).split("+")} - {""}


def _stacked(parts: list[Batch]) -> Batch:
    """Join the parts of a batch that come from two epochs (or two blocks)."""
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


def evaluation_windows(
    tokens: TokenFile, context: int, stride: int, batch_size: int, cross_documents: bool = True
) -> Iterator[Batch]:
    """Yield batches in which each token of the split, except the very first, is a target that counts exactly once.

    Windows begin every `stride` tokens (1 to `context`). A target that the window before has counted is context here
    and is masked, so each token but the first `context` is predicted from at least `context - stride` tokens. The
    last window is padded, the last batch may be smaller. With `cross_documents=False` the same holds for each
    document by itself, after the end token before it (see `_Windows`; without such tokens no document's first token
    is a target).

    Raises `DataError` when the stride does not fit or there is nothing to predict.
    """
    if not 1 <= stride <= context:
        raise DataError(f"the stride of evaluation must be from 1 to the context {context}, not {stride}")
    windows = _Windows(tokens, context, stride, joined=cross_documents)
    if windows.count == 0:
        split = tokens.header.get("split", "given")
        raise DataError(f"the {split} split has {len(tokens.ids)} tokens, evaluation needs two: give more text")
    for first in range(0, windows.count, batch_size):
        numbers = np.arange(first, min(first + batch_size, windows.count))
        yield gather(tokens.ids, *windows.find(numbers), context)
