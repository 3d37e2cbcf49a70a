"""Documents with a span moved to the end: nothing is lost, spans are as long as stated, and anywhere as likely."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heed.errors import DataError
from heed.text.spans import (
    longest_document,
    restore,
    restore_spans,
    salient_span,
    sentinels_needed,
    single_span,
    t5_spans,
)

MASK = 1000
SENTINELS = tuple(range(2000, 2100))


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def parts(row: np.ndarray) -> tuple[list[int], list[int], list[int]]:
    """Prefix, suffix and span of a row."""
    first, second = np.flatnonzero(row == MASK)
    return row[:first].tolist(), row[first + 1 : second].tolist(), row[second + 1 :].tolist()


# One span -----------------------------------------------------------------------------------------------------------


@given(
    size=st.integers(1, 200),
    longest=st.integers(5, 160),
    share=st.floats(0.01, 0.99),
    seed=st.integers(0, 1000),
    truncate=st.booleans(),
)
@settings(max_examples=300, deadline=None)
def test_a_single_span_loses_nothing_and_keeps_its_bounds(size, longest, share, seed, truncate):
    document = np.arange(size)
    row = single_span(document, MASK, rng(seed), longest=longest, share=share, truncate=truncate)
    whole = restore(row, MASK)
    n = len(whole)
    assert whole.tolist() == list(range(n))
    assert len(row) == n + 2 <= longest + 1
    if truncate:
        assert min(size, 4) <= n <= min(size, int(longest * 7 / 8))
    else:
        assert n == min(size, longest - 1)
    prefix, suffix, span = parts(row)
    assert prefix + span + suffix == whole.tolist()
    mean = max(1, share * n)
    assert 1 <= len(span) <= min(n, np.ceil(2 * mean - 1 + 1e-9))


def test_the_assignments_lengths():
    """4,000 rows of a long document, longest 128: documents from 4 to 112 characters, a quarter of them hidden.

    The share of a row has a standard deviation of at most 0.145 (evenly from 0 to a half), so the mean over 4,000 is
    within 5 x 0.0023 of a quarter; the mean length 58 has one of 0.5.
    """
    random = rng(3)
    sizes, shares, starts = [], [], []
    for _ in range(4000):
        prefix, suffix, span = parts(single_span(np.arange(500), MASK, random, longest=128))
        size = len(prefix) + len(suffix) + len(span)
        sizes.append(size)
        shares.append(len(span) / size)
        starts.append(len(prefix) / max(1, size - len(span)))
    assert (min(sizes), max(sizes)) == (4, 112)
    assert np.mean(sizes) == pytest.approx(58, abs=2.5)
    assert np.mean(shares) == pytest.approx(0.25, abs=0.0115)
    assert np.mean(starts) == pytest.approx(0.5, abs=0.025)  # evenly from 0 to 1: 0.29 / sqrt(4000) is 0.005
    assert {0, 1} <= set(starts)  # the span may begin the document, and end it


@pytest.mark.parametrize(("size", "lengths"), [(4, {1}), (5, {1, 2}), (8, {1, 2, 3}), (3, {1}), (1, {1})])
def test_lengths_of_short_documents_by_hand(size, lengths):
    random = rng(1)
    rows = [single_span(np.arange(size), MASK, random, longest=64, truncate=False) for _ in range(600)]
    found = [len(parts(row)[2]) for row in rows]
    assert set(found) == lengths
    # exact in the mean: 600 draws of a length with a standard deviation below 0.85 are within five of 0.035
    assert np.mean(found) == pytest.approx(max(1, size / 4), abs=0.17)


def test_every_place_of_a_span_is_as_likely():
    random = rng(2)
    counts = np.zeros(4)
    for _ in range(4000):
        prefix, _, span = parts(single_span(np.arange(4), MASK, random, longest=64, truncate=False))
        assert len(span) == 1
        counts[len(prefix)] += 1
    assert counts == pytest.approx(np.full(4, 1000), abs=140)  # standard deviation 27.4; five of them


def test_the_same_stream_gives_the_same_row():
    document = np.arange(100)
    one, two, other = (single_span(document, MASK, rng(seed), longest=128) for seed in (5, 5, 6))
    assert one.tolist() == two.tolist() != other.tolist()


# A span that says something -----------------------------------------------------------------------------------------

TEXT = "Marie Curie. Marie Curie was born on 7 November 1867 in Warsaw ."
PIECES = [bytes([byte]) for byte in range(256)]


def test_a_salient_span_is_a_date_or_a_place_and_no_copied_name():
    ids = np.frombuffer(TEXT.encode(), np.uint8).astype(np.int64)
    random = rng(0)
    counts: dict[str, int] = {}
    for _ in range(400):
        row = salient_span(ids, PIECES, MASK, random, longest=128)
        assert restore(row, MASK).tolist() == ids.tolist()
        span = bytes(parts(row)[2]).decode()
        counts[span] = counts.get(span, 0) + 1
    assert counts.keys() == {"7 November 1867", "Warsaw"}
    assert counts["Warsaw"] == pytest.approx(200, abs=50)  # standard deviation 10; five of them


@given(text=st.text(min_size=1, max_size=60), longest=st.integers(5, 80), seed=st.integers(0, 99))
@settings(max_examples=200, deadline=None)
def test_a_salient_span_loses_nothing(text, longest, seed):
    ids = np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8).astype(np.int64)
    row = salient_span(ids, PIECES, MASK, rng(seed), longest=longest)
    assert restore(row, MASK).tolist() == ids[: longest - 1].tolist()
    assert len(row) <= longest + 1


def test_without_names_a_random_span_of_a_quarter_is_hidden():
    ids = np.frombuffer(b"nothing here is worth a capital letter", np.uint8).astype(np.int64)
    starts = {len(parts(salient_span(ids, PIECES, MASK, rng(seed), longest=64))[0]) for seed in range(50)}
    assert len(starts) > 10


# Several spans ------------------------------------------------------------------------------------------------------


@given(
    size=st.integers(1, 150),
    rate=st.floats(0.01, 0.9),
    mean_length=st.floats(1, 8),
    seed=st.integers(0, 1000),
)
@settings(max_examples=300, deadline=None)
def test_several_spans_lose_nothing_and_are_as_many_and_as_long_as_stated(size, rate, mean_length, seed):
    document = np.arange(size)
    row = t5_spans(document, SENTINELS, rng(seed), rate=rate, mean_length=mean_length)
    assert restore_spans(row, SENTINELS).tolist() == document.tolist()
    places = np.flatnonzero(row >= SENTINELS[0])
    k = len(places) // 2
    assert row[places].tolist() == [*SENTINELS[:k], *SENTINELS[:k], SENTINELS[k]]
    assert len(row) == size + 2 * k + 1
    lengths = np.diff(places[k:]) - 1
    assert lengths.min() >= 1
    hidden = min(max(1, round(rate * size)), size)
    assert lengths.sum() == hidden
    assert k == min(max(1, round(hidden / mean_length)), hidden, size - hidden + 1)
    assert (np.diff(places[:k]) > 1).all()  # no two spans touch


def test_t5_by_hand():
    # Of 4 tokens 2 are hidden, in 2 spans that do not touch: 0 and 2, 0 and 3, or 1 and 3, each as often.
    random = rng(0)
    counts: dict[tuple[int, ...], int] = {}
    for _ in range(3000):
        row = t5_spans(np.arange(4), (90, 91, 92), random, rate=0.5, mean_length=1)
        counts[tuple(row.tolist())] = counts.get(tuple(row.tolist()), 0) + 1
    assert counts.keys() == {
        (90, 1, 91, 3, 90, 0, 91, 2, 92),
        (90, 1, 2, 91, 90, 0, 91, 3, 92),
        (0, 90, 2, 91, 90, 1, 91, 3, 92),
    }
    assert list(counts.values()) == pytest.approx([1000] * 3, abs=130)  # standard deviation 25.8; five of them


def test_too_few_sentinels_are_refused():
    with pytest.raises(DataError, match="5 hidden spans need 6 sentinel tokens, the tokenizer has 5"):
        t5_spans(np.arange(100), SENTINELS[:5], rng())


@given(context=st.integers(8, 600), rate=st.floats(0.02, 0.6), mean_length=st.floats(1, 6))
@settings(max_examples=100, deadline=None)
def test_the_longest_document_fits_and_one_more_token_would_not(context, rate, mean_length):
    size = longest_document(context, rate, mean_length)
    rows = [
        t5_spans(np.arange(n), range(5000, 6000), rng(), rate=rate, mean_length=mean_length) for n in (size, size + 1)
    ]
    assert len(rows[0]) <= context + 1 < len(rows[1])
    assert sentinels_needed(context, rate, mean_length) == len(np.unique(rows[0][rows[0] >= 5000]))
