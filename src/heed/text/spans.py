"""Documents with a span moved to the end, as rows of token ids: pure functions, each with a generator of its own.

    document     Khatchig Mouradian is a journalist born in Lebanon .
    single_span  Khatchig Mouradian is a jour⁇orn in Lebanon .⁇nalist b               (CS224N, assignment 5, part e)
    salient_span Khatchig Mouradian is a journalist born in⁇ .⁇ Lebanon               (Guu et al. 2020, section 3.4)
    recall_span  born Khatchig Mouradian. in⁇ Lebanon⁇
    t5_spans     Khatchig<0> is a journalist<1> Lebanon .<0> Mouradian<1> born in<2>  (Raffel et al. 2020, 3.1.4)

The span is read after both sides of it, so it is predicted as the answer to a question is: by what goes before and
what comes behind. `restore` and `restore_spans` make the document out of a row: nothing is lost. Only `recall_span`
leaves out most of the document: what it asks for must be known by heart.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from heed.errors import DataError
from heed.text.salient import salient_tokens

SHORTEST = 4
"""Tokens to which `single_span` cuts a document at least; the assignment's number."""
LOCAL = 6
"""The most tokens before a span that `recall_span` leaves."""
SHARE, RATE, MEAN_LENGTH = 0.25, 0.15, 3.0
"""Of a document, the share that is one span (the assignment), and that is in several (T5), of this mean length (T5)."""


def single_span(
    ids: np.ndarray,
    mask_id: int,
    random: np.random.Generator,
    *,
    longest: int,
    shortest: int = SHORTEST,
    share: float = SHARE,
    truncate: bool = True,
) -> np.ndarray:
    """Return prefix, mask, suffix, mask, span: ids (n + 2,) of a document `ids` (N,), N >= 1, cut to n tokens.

    With `truncate` n is drawn from `shortest` to int(longest * 7 / 8), evenly, and is N where the document is shorter
    than that allows; without, n is what fits into a row of `longest` + 1. The length of the span is drawn evenly
    around share * n, its mean, from 1 to what lies as far on the other side; each place of it is as likely as any.

    >>> row = single_span(np.arange(8), 99, np.random.default_rng(1), longest=16)
    >>> row.tolist(), restore(row, 99).tolist()
    ([0, 1, 99, 4, 5, 99, 2, 3], [0, 1, 2, 3, 4, 5])
    """
    size = min(len(ids), longest - 1)
    if truncate:
        most = min(size, longest * 7 // 8)
        size = int(random.integers(min(shortest, most), most + 1))
    mean = max(1.0, share * size)
    reach = min(mean - 1, size - mean)
    # A real length, rounded up as often as its fraction says, so that the mean is exact.
    length = int(mean + reach * (2 * random.random() - 1) + random.random())
    start = int(random.integers(size - length + 1))
    return _moved(ids[:size], start, start + length, mask_id)


def salient_span(
    ids: np.ndarray,
    pieces: Sequence[bytes],
    mask_id: int,
    random: np.random.Generator,
    *,
    longest: int,
    share: float = SHARE,
    repeated: bool = False,
) -> np.ndarray:
    """Return prefix, mask, suffix, mask, span, the span being a name, place or date: ids (n + 2,).

    The document `ids` (N,) is cut to what fits into a row of `longest` + 1. All runs of `salient_tokens` are as
    likely; where there is none, the span is that of `single_span`.
    """
    ids = ids[: longest - 1]
    runs = salient_tokens(ids, pieces, repeated=repeated)
    if not runs:
        return single_span(ids, mask_id, random, longest=longest, share=share, truncate=False)
    return _moved(ids, *runs[random.integers(len(runs))], mask_id)


def recall_span(
    ids: np.ndarray,
    pieces: Sequence[bytes],
    mask_id: int,
    random: np.random.Generator,
    *,
    longest: int,
    local: int = LOCAL,
) -> np.ndarray:
    """Return up to `local` tokens before a span with the title among them, mask, span, mask: a question, in its words.

    The title is the run of `salient_tokens` that begins the document `ids` (N,), with the full stop behind it, and is
    empty where there is none; the span is one of the other runs among the first `longest` - 2 tokens, each as likely;
    the number of tokens before it is drawn evenly from 0 to `local`, and so is the place of the title among them. A
    salient span asks with both sides of it in view, and so can be found by them; here only the title and what is asked
    are left, as in a question, which may name its subject first, last or in between. Where there is no run, the row is
    that of `single_span`, without truncation.

    >>> row = recall_span(np.arange(7), b"Ada|Byron|.| born| in| London| .".split(b"|"), 99, np.random.default_rng(6),
    ...                   longest=16)
    >>> row.tolist()
    [3, 0, 1, 2, 4, 99, 5, 99]
    """
    ids = ids[: longest - 2]
    runs = salient_tokens(ids, pieces)
    if not runs:
        return single_span(ids, mask_id, random, longest=longest, truncate=False)
    start, stop = runs[random.integers(len(runs))]
    title = _title(ids, pieces)
    words = ids[max(title, start - int(random.integers(local + 1))) : start]
    place = int(random.integers(len(words) + 1))
    question = words[:place], ids[: min(title, start)], words[place:]
    return np.concatenate((*question, (mask_id,), ids[start:stop], (mask_id,)))


def _title(ids: np.ndarray, pieces: Sequence[bytes]) -> int:
    """Return how many tokens the name has that begins a document, with what stands behind it before the next space."""
    first = next(iter(salient_tokens(ids, pieces, repeated=True)), (0, 0))
    if first[0] > 0:
        return 0
    end = first[1]
    while 0 < end < len(ids) and not pieces[ids[end]].startswith(b" "):
        end += 1
    return end


def _moved(ids: np.ndarray, start: int, stop: int, mask_id: int) -> np.ndarray:
    """Return a document with tokens [start, stop) behind its end, and masks where they were and before them."""
    return np.concatenate((ids[:start], (mask_id,), ids[stop:], (mask_id,), ids[start:stop]))


def restore(row: np.ndarray, mask_id: int) -> np.ndarray:
    """Return the document out of a row of `single_span` or `salient_span` without padding."""
    first, second = np.flatnonzero(row == mask_id)
    return np.concatenate((row[:first], row[second + 1 :], row[first + 1 : second]))


def t5_spans(
    ids: np.ndarray,
    sentinel_ids: Sequence[int],
    random: np.random.Generator,
    *,
    rate: float = RATE,
    mean_length: float = MEAN_LENGTH,
) -> np.ndarray:
    """Return a document with k spans each replaced by a sentinel, then sentinel and span in turn, then a last sentinel.

    `ids` (n,) give n + 2 k + 1 ids; of the n, round(rate * n) are hidden, in k = round(hidden / mean_length) spans, at
    least one of each. All ways to lay such spans without two of them touching are as likely; T5's own code draws
    so as well, except that its documents always begin with what is kept and end with what is hidden.
    Raises `DataError` when there are fewer than k + 1 sentinels.

    >>> row = t5_spans(np.arange(8), [90, 91, 92], np.random.default_rng(0), rate=0.5, mean_length=2)
    >>> row.tolist(), restore_spans(row, [90, 91, 92]).tolist()
    ([90, 3, 4, 5, 91, 7, 90, 0, 1, 2, 91, 6, 92], [0, 1, 2, 3, 4, 5, 6, 7])
    """
    hidden, spans = _hidden(len(ids), rate, mean_length)
    if spans >= len(sentinel_ids):
        raise DataError(
            f"{spans} hidden spans need {spans + 1} sentinel tokens, the tokenizer has {len(sentinel_ids)}: "
            "train one with more, or lower the rate"
        )
    lengths = _parts(hidden, spans, random)
    gaps = _parts(len(ids) - hidden + 2, spans + 1, random)
    gaps[0], gaps[-1] = gaps[0] - 1, gaps[-1] - 1  # the first and the last may be empty
    document = ids.tolist()  # slices of lists: several times as fast as of arrays this short
    corrupted: list[int] = []
    targets: list[int] = []
    at = 0
    for gap, length, sentinel in zip(gaps, lengths, sentinel_ids, strict=False):
        start, end = at + gap, at + gap + length
        corrupted += [*document[at:start], sentinel]
        targets += [sentinel, *document[start:end]]
        at = end
    return np.array([*corrupted, *document[at:], *targets, sentinel_ids[spans]], dtype=ids.dtype)


def _hidden(size: int, rate: float, mean_length: float) -> tuple[int, int]:
    """Return how many of `size` tokens are hidden, and in how many spans."""
    hidden = min(max(1, round(rate * size)), size)
    return hidden, min(max(1, round(hidden / mean_length)), hidden, size - hidden + 1)


def _parts(total: int, count: int, random: np.random.Generator) -> list[int]:
    """Return `count` numbers, each at least 1, that add up to `total`; all such rows are as likely."""
    cuts = sorted(random.random(total - 1).argsort()[: count - 1].tolist())
    return [end - start for start, end in pairwise([-1, *cuts, total - 1])]


def restore_spans(row: np.ndarray, sentinel_ids: Sequence[int]) -> np.ndarray:
    """Return the document out of a row of `t5_spans` without padding."""
    places = np.flatnonzero(np.isin(row, sentinel_ids))
    spans = len(places) // 2
    first, *parts = np.split(row, places)
    kept, hidden = ([part[1:] for part in some] for some in (parts[:spans], parts[spans : 2 * spans]))
    return np.concatenate([first, *(part for pair in zip(hidden, kept, strict=True) for part in pair)])


def sentinels_needed(context: int, rate: float = RATE, mean_length: float = MEAN_LENGTH) -> int:
    """Return how many sentinels `t5_spans` uses in rows for a model with this context.

    >>> sentinels_needed(128)
    7
    """
    return _hidden(longest_document(context, rate, mean_length), rate, mean_length)[1] + 1


def longest_document(context: int, rate: float, mean_length: float) -> int:
    """Return the most tokens of a document that give a row of `context` + 1 in `t5_spans`."""
    size = context
    while size > 1 and size + 2 * _hidden(size, rate, mean_length)[1] > context:
        size -= 1
    return size
