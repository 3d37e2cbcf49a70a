"""Labelled texts as an encoder reads them: token ids, cut and padded, in batches of texts that are about as long.

    tokens    [CLS] a fine film [SEP] [PAD]     source[:, 0]
    text         1  1  1    1     1     0       source[:, 1]   1 the first text, 2 the second of a pair, 0 padding
    label     1                                 target

Of a pair that is too long, the second text is cut (a passage, not the question about it), and the first one only
where it leaves no room at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from heed.errors import ConfigError, DataError
from heed.text.splits import SplitRows
from heed.text.stream import Batch, Epochs

POOL = 50
"""Batches that are drawn together and sorted by length."""
ORDER = 0x74756E65
"""Keeps the order of the texts apart from other draws of the same seed."""
SECOND = 4
"""Tokens that the second text of a pair keeps at least, before the first one is cut."""

NO_TOKEN = "the tokenizer makes no token of this text"


@dataclass(frozen=True)
class EncodedTexts:
    """The texts of a split as token ids."""

    ids: np.ndarray
    """(N,) int32, all texts one after the other."""
    parts: np.ndarray
    """(N,) uint8: 1 the first text of a pair and what surrounds it, 2 the second."""
    ends: np.ndarray
    """(n,) int64: one past the end of each text."""
    labels: np.ndarray
    """(n,) or (n, outputs): see `Target.numbers`."""
    pad_id: int
    cut: int
    """Texts that were too long."""

    def __len__(self) -> int:
        return len(self.ends)

    @property
    def lengths(self) -> np.ndarray:
        """Return the tokens of each text (n,)."""
        return np.diff(self.ends, prepend=0)

    @property
    def targets(self) -> np.ndarray:
        """The labels as they are learned: what is no class in float32."""
        return self.labels if self.labels.dtype == np.int64 else self.labels.astype(np.float32)

    def batch(self, numbers: np.ndarray) -> Batch:
        """Return some texts as a batch: source (B, 2, T) int64, target (B,) int64, or of what is no class float32."""
        starts = np.where(numbers > 0, self.ends[numbers - 1], 0)
        lengths = self.ends[numbers] - starts
        T = int(lengths.max())
        inside = np.arange(T) < lengths[:, None]
        at = np.where(inside, starts[:, None] + np.arange(T), 0)
        source = np.stack([np.where(inside, self.ids[at], self.pad_id), np.where(inside, self.parts[at], 0)], axis=1)
        return Batch(source.astype(np.int64), self.targets[numbers], None)

    def take(self, numbers: np.ndarray) -> EncodedTexts:
        """Return some of the texts."""
        lengths = self.lengths[numbers]
        ends = np.cumsum(lengths)
        at = np.repeat(self.ends[numbers] - ends, lengths) + np.arange(ends[-1])
        return EncodedTexts(self.ids[at], self.parts[at], ends, self.labels[numbers], self.pad_id, 0)


def encode(rows: SplitRows, tokenizer: Any, max_length: int, pad_id: int) -> EncodedTexts:
    """Return the token ids of labelled texts, each at most `max_length` tokens with those that surround it.

    `tokenizer` is a fast one of transformers. Raises `DataError` for a text that has no token, `ConfigError` when there
    is no room for a text.
    """
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()  # a tokenizer.json may hold its own
    backend.no_padding()
    around = backend.num_special_tokens_to_add(is_pair=rows.pairs is not None)
    room = max_length - around
    if room < (1 if rows.pairs is None else 2 * SECOND):
        raise ConfigError(f"encoder.max_length: {max_length} leaves no room beside {around} special tokens: take more")
    firsts = _encode(backend, rows.texts, rows.places)
    seconds = [None] * len(firsts) if rows.pairs is None else _encode(backend, rows.pairs, rows.places)
    ids: list[int] = []
    parts: list[int] = []
    ends: list[int] = []
    cut = 0
    for place, first, second in zip(rows.places, firsts, seconds, strict=True):
        if not len(first) or (second is not None and not len(second)):
            raise DataError(f"{place}: {NO_TOKEN}: leave the row out")
        cut += len(first) + len(second or ()) > room
        first.truncate(room - (0 if second is None else min(len(second), SECOND)))
        if second is not None:
            second.truncate(room - len(first))
        whole = backend.post_process(first, second, add_special_tokens=True)
        ids += whole.ids
        parts += (kind + 1 for kind in whole.type_ids)
        ends.append(len(ids))
    return EncodedTexts(
        np.array(ids, np.int32), np.array(parts, np.uint8), np.array(ends, np.int64), rows.labels, pad_id, cut
    )


def unreadable(tokenizer: Any, text: str) -> str | None:
    """Return why the tokenizer can make nothing of a text, such as a strange character; None where it can."""
    try:
        found = tokenizer.backend_tokenizer.encode(text, add_special_tokens=False)
    except Exception as error:  # tokenizers raises no narrower one
        return f"the tokenizer cannot read this text ({error})"
    return None if len(found) else NO_TOKEN


def carry_limits(tokenizer: Any, max_length: int, pad_id: int, *, pairs: bool, segments: bool) -> None:
    """Let a tokenizer of transformers cut and pad by itself as `encode` does, for those who read it from a folder.

    `segments` says whether the encoder reads which text of a pair a token is of.

    The library tokenizers does so unasked, transformers with `truncation=True` (of pairs "only_second"). Of a pair
    whose first text leaves no room for `SECOND` tokens of the second, they do not cut the first one as `encode` does.
    """
    strategy = "only_second" if pairs else "longest_first"
    pad = tokenizer.convert_ids_to_tokens(pad_id)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = pad
    backend = tokenizer.backend_tokenizer
    backend.enable_truncation(max_length, stride=0, strategy=strategy, direction="right")
    backend.enable_padding(direction="right", pad_id=pad_id, pad_type_id=0, pad_token=pad, length=None)
    tokenizer.model_max_length = max_length
    tokenizer.truncation_side = tokenizer.padding_side = "right"
    tokenizer.split_special_tokens = backend.encode_special_tokens
    for name in ("max_length", "stride", "truncation_strategy", "pad_to_multiple_of", "pad_token_type_id"):
        tokenizer.init_kwargs.pop(name, None)  # what the tokenizer.json of the encoder had
    names = ["input_ids", *(["token_type_ids"] if segments else []), "attention_mask"]
    tokenizer.model_input_names = names
    tokenizer.init_kwargs |= {"model_input_names": names, "padding_side": "right", "truncation_side": "right"}


def _encode(backend: Any, texts: list[str], places: list[str]) -> list[Any]:
    """Return the tokens of texts. Raises `DataError` for one that the tokenizer cannot read, as a strange character."""
    try:
        return backend.encode_batch_fast(texts, add_special_tokens=False)
    except Exception:  # tokenizers raises no narrower one
        for place, text in zip(places, texts, strict=True):
            try:
                backend.encode(text, add_special_tokens=False)
            except Exception as error:
                raise DataError(f"{place}: the tokenizer cannot read this text ({error}): leave the row out") from error
        raise


class TextBatches(Epochs):
    """Endless batches of a split: each text once an epoch, in an order that a seed decides; resumable.

    Within pools of `POOL` batches the texts are sorted by length, so that little of a batch is padding; the batches
    come in random order. The last one of an epoch may be smaller. What is counted as a row is a whole batch.
    """

    unit = "example"

    def __init__(self, texts: EncodedTexts, batch_size: int, seed: int) -> None:
        self.texts, self.size = texts, batch_size
        super().__init__({"batch_size": batch_size, "texts": len(texts)}, 1, seed, None, shuffle=False)

    @property
    def steps_per_epoch(self) -> int:
        """How many batches hold every text once."""
        return -(-len(self.texts) // self.size)

    def begin(self, random: np.random.Generator) -> int:
        """Draw the texts of each batch of an epoch."""
        random = np.random.default_rng([self.seed, ORDER, self._epoch])
        order = random.permutation(len(self.texts))
        lengths = self.texts.lengths
        pool_size, batches = POOL * self.size, []
        for first in range(0, len(order), pool_size):
            pool = order[first : first + pool_size]
            pool = pool[np.argsort(lengths[pool], kind="stable")]
            batches += [pool[i : i + self.size] for i in range(0, len(pool), self.size)]
        last = [] if len(batches[-1]) == self.size or len(batches) == 1 else [batches.pop()]
        self._drawn = [batches[i] for i in random.permutation(len(batches))] + last
        return len(self._drawn)

    def rows(self, numbers: np.ndarray) -> Batch:
        """Return one batch."""
        return self.make(self._drawn[int(numbers[0])])

    def place(self) -> dict[str, Any]:
        """Return the epoch and the batches of it that have been: all of them, where the next one has not begun."""
        return {"epoch": self._epoch, "index": self._index}

    def make(self, numbers: np.ndarray) -> Batch:
        """Return some texts as a batch."""
        return self.texts.batch(numbers)


class FeatureBatches(TextBatches):
    """The same batches, of vectors that were computed once: source (B, D) float32."""

    def __init__(self, texts: EncodedTexts, features: np.ndarray, batch_size: int, seed: int) -> None:
        self.features = features
        super().__init__(texts, batch_size, seed)

    def make(self, numbers: np.ndarray) -> Batch:
        """Return the vectors of some texts as a batch."""
        return Batch(self.features[numbers], self.texts.targets[numbers], None)


def longest_batch(texts: EncodedTexts, size: int, width: int | None = None) -> Batch:
    """Return the longest texts as a batch, the largest in memory; with `width` zeros (B, width) in the texts' place."""
    _, batch = next(in_order(texts, size))
    return batch if width is None else Batch(np.zeros((len(batch.target), width), np.float32), batch.target, None)


def in_order(texts: EncodedTexts, batch_size: int) -> Iterator[tuple[np.ndarray, Batch]]:
    """Yield (numbers, batch) of every text once, from long to short: the first batch is the largest in memory."""
    order = np.argsort(-texts.lengths, kind="stable")
    for first in range(0, len(order), batch_size):
        numbers = order[first : first + batch_size]
        yield numbers, texts.batch(numbers)
