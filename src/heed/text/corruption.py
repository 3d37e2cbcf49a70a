"""Streams of documents with hidden spans: what a model that reads from left to right learns facts from.

    row       Khatchig Mouradian is a jour⁇orn in Lebanon .⁇nalist b        see `spans.py` for the ways to make one
    source    all but its last token, target all but its first, padded
    loss      on the whole row, or only on what is hidden; never on padding

A stream keeps its place in two numbers, the epoch and the index of the next document, as `Packed` does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from heed.config import SPANS, SPANS_CONTEXT
from heed.errors import ConfigError, DataError, did_you_mean
from heed.text.batches import Packed
from heed.text.spans import (
    MEAN_LENGTH,
    RATE,
    SHARE,
    longest_document,
    recall_span,
    salient_span,
    sentinels_needed,
    single_span,
    t5_spans,
)
from heed.text.stream import Batch, gather, trimmed
from heed.text.tokenfile import TokenFile, count_of
from heed.text.tokenizers import Tokenizer

TRAINING, EVALUATION = 0x7370616E, 0x6D656173
"""Kept apart from the draws that order the data, and from each other."""


@dataclass(frozen=True)
class Corruption:
    """One of `SPANS` for a tokenizer and a context: called with a document and a generator, it gives a row.

    `share` of a document is hidden (None: `SHARE`, or `RATE` for "spans"), by "spans" in spans of `mean_length`; the
    longest row has `context` + 1 ids. Raises `ConfigError` for an unknown objective, a number out of range and a
    context that is too short, `DataError` when the tokenizer lacks the mask token or enough sentinels.
    """

    objective: str
    tokenizer: Tokenizer
    context: int
    share: float | None = None
    mean_length: float = MEAN_LENGTH
    _words: dict[bytes, np.ndarray] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.objective not in SPANS:
            raise ConfigError(f"data.objective: {did_you_mean(self.objective, SPANS)}")
        if self.share is not None and not 0 < self.share < 1:
            raise ConfigError(f"the share of a document that is hidden is between 0 and 1, not {self.share}")
        if self.mean_length < 1:
            raise ConfigError(f"hidden spans have a mean length of at least 1 token, not {self.mean_length}")
        if self.context < SPANS_CONTEXT:
            raise ConfigError(f"model.context: documents with hidden spans need at least {SPANS_CONTEXT}")
        if not self.way.sentinels:
            mask_of(self.tokenizer)
            return
        need, has = sentinels_needed(self.context, self.hidden_share, self.mean_length), self.tokenizer.sentinel_ids
        if need > len(has):
            raise DataError(
                f"data.objective {self.objective} needs {need} sentinel tokens at this context, the tokenizer has "
                f"{len(has)}: train one with them (tokenizer.kind bpe), or take single-span"
            )

    @property
    def way(self) -> Way:
        """How the rows of this objective are made."""
        return WAYS[self.objective]

    @property
    def hidden_share(self) -> float:
        """The share of a document that is hidden, on average."""
        return self.share or self.way.share

    @property
    def most(self) -> int:
        """The most tokens of a document that ever come into a row."""
        return self.way.most(self)

    def __call__(self, ids: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Return the row of a document `ids` (N,), N >= 1, with at most `context` + 1 ids."""
        return self.way.row(self, ids[: self.context], random)

    def behind_a_space(self, ids: np.ndarray) -> np.ndarray:
        """Return a document `ids` (N,) with the tokens that its first word has within a text, where the way asks so.

        A name that begins a line and the same name in a question are other tokens to a tokenizer of subwords: what
        was learned about the one would not be known of the other.
        """
        pieces, space = self.tokenizer.pieces, self.tokenizer.space
        if not (self.way.behind_a_space and space) or pieces[ids[0]].startswith(b" "):
            return ids
        end = 1
        while end < len(ids) and not pieces[ids[end]].startswith(b" "):
            end += 1
        word = ids[:end].tobytes()
        if word not in self._words:
            written = space + self.tokenizer.decode(ids[:end].tolist())
            self._words[word] = np.array(self.tokenizer.encode(written), ids.dtype)
        return np.concatenate((self._words[word], ids[end:]))

    def begin(self, row: np.ndarray) -> int:
        """Return where in a row the hidden text begins: behind the last mask or the first sentinel's second place.

        A row of `recall_span` is closed by a mask, and its text begins behind the one before.
        """
        token = self.tokenizer.sentinel_ids[0] if self.way.sentinels else mask_of(self.tokenizer)
        places = np.flatnonzero(row == token)
        return int(places[-2] if row[-1] == token else places[-1]) + 1


@dataclass(frozen=True)
class Way:
    """How one of `SPANS` makes its rows."""

    row: Callable[[Corruption, np.ndarray, np.random.Generator], np.ndarray]
    """From a document that was cut to the context to its row."""
    most: Callable[[Corruption], int]
    """The most tokens of a document that ever come into a row."""
    share: float = SHARE
    """Of a document, what is hidden where nothing else is asked for."""
    sentinels: bool = False
    """Whether spans stand behind T5's sentinels, not behind masks."""
    behind_a_space: bool = False
    """Whether a document reads as if a space stood before it, plain rows as well: as a question holds its name."""


def _single(it: Corruption, ids: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return single_span(ids, mask_of(it.tokenizer), random, longest=it.context, share=it.hidden_share)


def _salient(it: Corruption, ids: np.ndarray, random: np.random.Generator) -> np.ndarray:
    pieces, mask_id = it.tokenizer.pieces, mask_of(it.tokenizer)
    return salient_span(ids, pieces, mask_id, random, longest=it.context, share=it.hidden_share)


def _recalled(it: Corruption, ids: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return recall_span(ids, it.tokenizer.pieces, mask_of(it.tokenizer), random, longest=it.context)


def _several(it: Corruption, ids: np.ndarray, random: np.random.Generator) -> np.ndarray:
    hidden = {"rate": it.hidden_share, "mean_length": it.mean_length}
    return t5_spans(ids[: it.most], it.tokenizer.sentinel_ids, random, **hidden)


WAYS = {
    "single-span": Way(_single, lambda it: it.context * 7 // 8),
    "spans": Way(
        _several, lambda it: longest_document(it.context, it.hidden_share, it.mean_length), share=RATE, sentinels=True
    ),
    "salient-span": Way(_salient, lambda it: it.context - 1),
    "recall-span": Way(_recalled, lambda it: it.context - 2, behind_a_space=True),  # its row is closed by a mask
}
"""How the rows of each of `SPANS` are made."""


def mask_of(tokenizer: Tokenizer) -> int:
    """Return the mask token of a tokenizer. Raises `DataError` when there is none."""
    if tokenizer.mask_id is None:
        raise DataError(
            "this tokenizer has no mask token: train one with data.objective single-span, or take one with [MASK]"
        )
    return tokenizer.mask_id


class Corrupted(Packed):
    """Endless batches of one row a document, each with hidden spans or, a `plain_share` of them, as it is.

    Every epoch draws anew. What is drawn for a document depends on the seed, the epoch and its number alone, not on
    the size of the batches. The loss counts whole rows, as in the assignment, or with `whole_rows=False` only what is
    hidden (plain rows count whole). Batches are as wide as their longest row, see `trimmed`. A plain row is one of
    `Padded`, with end tokens; the others have none.

    Raises `DataError` when there is no document, or what `Corruption` raises.
    """

    def __init__(
        self,
        tokens: TokenFile,
        corruption: Corruption,
        batch_size: int,
        seed: int,
        *,
        plain_share: float = 0.0,
        whole_rows: bool = True,
        shuffle: bool = True,
    ) -> None:
        self._table = _Spans(_Documents(tokens), corruption, plain_share, whole_rows)
        super().__init__(tokens, batch_size, corruption.context, seed, shuffle, table=self._table)
        self.notes = self._table.documents.notes(corruption)

    def begin(self, random: np.random.Generator) -> int:
        """Begin to draw anew."""
        self._table.draws = _Draws(self.seed, self._epoch, TRAINING)
        return super().begin(random)

    def take(self, rows: int) -> Batch:
        """Return the next `rows` rows, at least one."""
        return trimmed(super().take(rows))


def corrupted_windows(
    tokens: TokenFile, corruption: Corruption, batch_size: int, count: int | None = None
) -> Iterator[Batch]:
    """Yield the first `count` documents of a split (None: all) in order, the same spans every time.

    Only what is hidden counts, a span's tokens or, in T5's rows, spans and sentinels. The same for every batch size;
    the last batch may be smaller. Raises `DataError` when there is no document.
    """
    table = _Spans(_Documents(tokens), corruption, plain_share=0.0, whole_rows=False)
    table.draws = _Draws(EVALUATION)
    end = table.count if count is None else min(count, table.count)
    for first in range(0, end, batch_size):
        yield trimmed(table.batch(np.arange(first, min(first + batch_size, end))))


class _Documents:
    """The documents of a token file that are not empty, by number, without their end tokens."""

    def __init__(self, tokens: TokenFile) -> None:
        self.ids = tokens.ids
        ends = tokens.ends.astype(np.int64)
        starts = np.concatenate([[0], ends[:-1]])
        end_id = tokens.header.get("end_id")
        ended = np.zeros(len(ends), bool)
        if end_id is not None:
            ended = (ends > starts) & (tokens.ids[np.maximum(ends - 1, 0)] == end_id)
        full = ends - ended > starts
        self.left_out = int(np.count_nonzero(~full))
        # with the end tokens before and behind, where they are: what a plain row shows
        before = np.concatenate([[False], ended[:-1]])
        self.plain = np.stack([starts - before, ends], axis=1)[full]
        self.own = np.stack([starts, ends - ended], axis=1)[full]
        self.count = len(self.own)
        if self.count == 0:
            raise DataError(f"the {tokens.header.get('split') or 'given'} split has no document: give more text")

    def notes(self, corruption: Corruption) -> list[str]:
        """Return what of a text is not seen, or is not what it seems."""
        notes: list[str] = []
        most = corruption.most
        lost = np.maximum(0, self.own[:, 1] - self.own[:, 0] - most)
        if lost.any():
            notes.append(
                f"{np.count_nonzero(lost):,} of {self.count:,} documents have more than {most:,} tokens: "
                f"what comes after them, {lost.sum() / len(self.ids):.1%} of all tokens, is cut off in rows with spans"
            )
        if self.left_out:
            notes.append(f"empty documents are left out: {self.left_out:,}")
        if corruption.tokenizer.kind == "char" and (found := count_of(self.ids, corruption.tokenizer.mask_id)):
            notes.append(f"mask characters in the text itself: {found:,}; take them out, their rows are ambiguous")
        return notes


class _Draws:
    """A random generator for each document, which depends on its number and on nothing drawn before.

    Philox makes numbers by encrypting a counter (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"):
    one word of the counter is the document. Making a generator for each document would take ten times as long.
    """

    def __init__(self, *seeds: int) -> None:
        self._bits = np.random.Philox(np.random.SeedSequence(seeds))
        self._state: Any = self._bits.state
        self._generator = np.random.Generator(self._bits)

    def __call__(self, document: int) -> np.random.Generator:
        self._state["state"]["counter"][:] = (0, document, 0, 0)
        self._bits.state = self._state
        return self._generator


class _Spans:
    """The rows of documents with hidden spans, a `plain_share` of them as they are; `draws` says which spans."""

    draws: _Draws

    def __init__(self, documents: _Documents, corruption: Corruption, plain_share: float, whole_rows: bool) -> None:
        self.documents, self.count = documents, documents.count
        self.corruption, self.plain_share, self.whole_rows = corruption, plain_share, whole_rows

    def batch(self, numbers: np.ndarray) -> Batch:
        """Return the rows of some documents, padded to the context."""
        documents, corruption = self.documents, self.corruption
        rows: list[np.ndarray] = []
        seen: list[int] = []
        bounds = np.concatenate([documents.own[numbers], documents.plain[numbers]], axis=1)
        for number, (start, end, first, last) in zip(numbers.tolist(), bounds.tolist(), strict=True):
            random = self.draws(number)
            if random.random() < self.plain_share and last - first > 1:
                row = corruption.behind_a_space(documents.ids[start : min(last, first + corruption.context + 1)])
                row = np.concatenate((documents.ids[first:start], row))[: corruption.context + 1]
                begin = 1
            else:
                ids = documents.ids[start : min(end, start + corruption.context)].astype(np.int64)
                row = corruption(corruption.behind_a_space(ids), random)
                begin = 1 if self.whole_rows else corruption.begin(row)
            rows.append(row)
            seen.append(begin - 1)
        ends = np.cumsum(lengths := np.array([len(row) for row in rows]))
        return gather(np.concatenate(rows), ends - lengths, lengths - 1, np.array(seen), corruption.context)
