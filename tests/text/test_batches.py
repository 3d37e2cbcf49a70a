"""Batches: each target follows its source, nothing is lost, and a stream goes on exactly where it stood."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from heed.errors import CheckpointError, DataError
from heed.text import stream as streams
from heed.text.batches import Packed, Padded, evaluation_windows
from heed.text.stream import ROUNDS, permuted
from heed.text.tokenfile import TokenFile


def tokens(*sizes, dtype=np.uint16):
    """Documents of these sizes; token i is i + 1, so a token says where it stands and 0 is only padding."""
    return TokenFile(np.arange(1, sum(sizes) + 1, dtype=dtype), np.cumsum(sizes, dtype=np.uint64), {"split": "train"})


def ended(*documents, end_id=99):
    """Documents as they are written: each ends in the end token, and the header names it."""
    ids = [id for document in documents for id in (*document, end_id)]
    ends = np.cumsum([len(document) + 1 for document in documents], dtype=np.uint64)
    return TokenFile(np.array(ids, np.uint16), ends, {"split": "train", "end_id": end_id})


def take(stream, count):
    return [next(stream) for _ in range(count)]


def same(one, other):
    return all(
        np.array_equal(a.source, b.source)
        and np.array_equal(a.target, b.target)
        and ((a.mask is None and b.mask is None) or np.array_equal(a.mask, b.mask))
        for a, b in zip(one, other, strict=True)
    )


# The order of an epoch ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [*range(1, 40), 99, 100, 101, 1000, 4097])
def test_permuted_is_a_permutation(count):
    keys = np.random.default_rng(count).integers(2**64, size=ROUNDS, dtype=np.uint64)
    assert sorted(permuted(np.arange(count), count, keys).tolist()) == list(range(count))


def test_permuted_needs_no_more_than_the_places_asked_for():
    """A hundred billion windows: neighbours are sent far apart, each always to the same place."""
    keys = np.random.default_rng(0).integers(2**64, size=ROUNDS, dtype=np.uint64)
    count = 10**11
    out = permuted(np.arange(1000), count, keys)
    assert len(set(out.tolist())) == 1000
    assert 0 <= out.min() < 0.01 * count
    assert 0.99 * count < out.max() < count
    assert permuted(np.array([7]), count, keys)[0] == out[7]


@pytest.mark.parametrize("count", [3, 7, 20])
def test_permuted_prefers_no_place(count):
    """Over 3,000 keys each index goes to each place about equally often.

    Chi-square of count x count cells with (count - 1)^2 degrees of freedom; six standard deviations of it are allowed.
    """
    random = np.random.default_rng(5)
    table = np.zeros((count, count))
    for _ in range(3000):
        keys = random.integers(2**64, size=ROUNDS, dtype=np.uint64)
        table[np.arange(count), permuted(np.arange(count), count, keys)] += 1
    chi2 = ((table - 3000 / count) ** 2 / (3000 / count)).sum()
    freedom = (count - 1) ** 2
    assert chi2 < freedom + 6 * np.sqrt(2 * freedom)


# Packed -------------------------------------------------------------------------------------------------------------


def test_packed_in_order_by_hand():
    stream = Packed(tokens(10), batch_size=2, context=3, seed=1, shuffle=False)
    first, second = take(stream, 2)
    assert first.source.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert first.target.tolist() == [[2, 3, 4], [5, 6, 7]]
    assert first.mask is None
    assert second.source.tolist() == [[7, 8, 9], [1, 2, 3]]  # over the end of the epoch, nothing left out
    assert stream.epoch == pytest.approx(1 + 1 / 3)


@given(
    length=st.integers(2, 200),
    context=st.integers(1, 20),
    batch_size=st.integers(2, 7),
    seed=st.integers(0, 5),
)
@example(length=25, context=20, batch_size=2, seed=0)
@example(length=22, context=20, batch_size=2, seed=1)
@settings(max_examples=60, deadline=None)
def test_packed_epoch_holds_each_window_once(length, context, batch_size, seed):
    length = max(length, context + 1)
    single = Packed(tokens(length), 1, context, seed)
    starts: dict[int, list[int]] = {0: [], 1: [], 2: []}
    while (epoch := single.state()["epoch"]) < 3:
        starts[epoch].append(int(next(single).source[0, 0]) - 1)
    for windows in starts.values():
        # From an offset below the context, `context` apart, as far as they fit with their last target.
        assert sorted(windows) == list(range(min(windows), max(windows) + 1, context))
        assert min(windows) < context
        assert max(windows) + context < length <= max(windows) + 2 * context
    order = [start for windows in starts.values() for start in windows]
    for batch in take(Packed(tokens(length), batch_size, context, seed), len(order) // batch_size):
        assert np.array_equal(batch.source, np.add.outer(order[:batch_size], np.arange(1, context + 1)))
        assert np.array_equal(batch.target, batch.source + 1)
        del order[:batch_size]


def test_epochs_cut_elsewhere_and_in_another_order():
    stream = Packed(tokens(1000), batch_size=10, context=10, seed=3)
    phases, orders = set(), []
    for _ in range(20):
        state = stream.state()
        sources = [source for batch in take(stream, 10) for source in batch.source[:, 0].tolist()]
        phases.add((sources[0] - 1) % 10)
        orders.append(tuple(sources))
        stream.load_state({**state, "epoch": state["epoch"] + 1, "index": 0})
    assert len(phases) >= 7  # of ten: 20 draws miss more than three with probability below 0.01
    assert len(set(orders)) == 20
    assert all(sorted(order) != list(order) for order in orders)
    other = Packed(tokens(1000), batch_size=10, context=10, seed=4)
    assert not same(take(Packed(tokens(1000), 10, 10, 3), 3), take(other, 3))


def test_batches_are_what_torch_takes_without_copying():
    for stream in (Packed(tokens(100), 4, 7, 1), Packed(tokens(50, 50), 4, 7, 1, cross_documents=False)):
        batch = next(stream)
        for array in (batch.source, batch.target):
            assert array.dtype == np.int64
            assert array.flags.c_contiguous
            assert array.flags.writeable


def test_large_ids_survive():
    file = TokenFile(np.array([1 << 31, 65_535, (1 << 32) - 1], np.uint32), np.array([3], np.uint64), {})
    batch = next(Packed(file, 1, 2, 1))
    assert batch.source.tolist() == [[1 << 31, 65_535]]
    assert batch.target.tolist() == [[65_535, (1 << 32) - 1]]


def test_documents_are_respected_on_request_by_hand():
    stream = Packed(tokens(5, 1, 3), 4, 3, 1, shuffle=False, cross_documents=False)
    batch = next(stream)
    # Document 1..5 has four targets (a window of three, one of one); 6 has none; 7..9 has two.
    assert batch.source.tolist() == [[1, 2, 3], [4, 0, 0], [7, 8, 0], [1, 2, 3]]
    assert batch.target.tolist() == [[2, 3, 4], [5, 0, 0], [8, 9, 0], [2, 3, 4]]
    assert batch.mask is not None
    assert batch.mask.tolist() == [[True] * 3, [True, False, False], [True, True, False], [True] * 3]


@given(sizes=st.lists(st.integers(0, 12), min_size=1, max_size=12), context=st.integers(1, 6), batch=st.integers(1, 5))
@settings(max_examples=60, deadline=None)
def test_documents_are_covered_once_an_epoch(sizes, context, batch):
    file = tokens(*sizes)
    firsts = {1 + end - size for size, end in zip(sizes, np.cumsum(sizes).tolist(), strict=True)}
    expected = sorted(set(range(1, sum(sizes) + 1)) - firsts)
    if not expected:
        with pytest.raises(DataError, match="no document of two tokens"):
            Packed(file, batch, context, 1, cross_documents=False)
        return
    stream = Packed(file, batch, context, 1, cross_documents=False)
    seen = []
    while len(seen) < 2 * len(expected):
        one = next(stream)
        assert one.mask is not None
        assert np.array_equal(one.target[one.mask], one.source[one.mask] + 1)
        assert not one.source[~one.mask].any()
        for row, mask in zip(one.target, one.mask, strict=True):
            seen += row[mask].tolist()
    assert sorted(seen[: len(expected)]) == sorted(seen[len(expected) : 2 * len(expected)]) == expected


def test_documents_are_read_after_the_end_token_before_them_by_hand():
    file = ended([1, 2], [], [4, 5, 6])
    stream = Packed(file, 4, 3, 1, shuffle=False, cross_documents=False)
    batch = next(stream)
    # The first document has no token before it; the empty one is an end after an end; the last has four targets.
    assert batch.source.tolist() == [[1, 2, 0], [99, 0, 0], [99, 4, 5], [6, 0, 0]]
    assert batch.target.tolist() == [[2, 99, 0], [99, 0, 0], [4, 5, 6], [99, 0, 0]]
    assert batch.mask is not None
    assert batch.mask.tolist() == [[True, True, False], [True, False, False], [True] * 3, [True, False, False]]
    padded = Padded(file, 3, 3, 1, shuffle=False)
    assert next(padded).source.tolist() == [[1, 2, 0], [99, 0, 0], [99, 4, 5]]
    assert padded.notes == [
        "1 of 3 documents have more than 3 tokens to predict: 12.5% of all tokens are cut off and never seen"
    ]


def test_a_document_that_was_cut_off_is_no_end_token():
    """What stands before a document is taken in only where it is the end token: never another document's text."""
    file = TokenFile(np.array([1, 2, 3, 99, 5], np.uint16), np.array([2, 4, 5], np.uint64), {"end_id": 99})
    batch = next(Packed(file, 3, 2, 1, shuffle=False, cross_documents=False))
    assert batch.source.tolist() == [[1, 0], [3, 0], [99, 0]]
    assert batch.target.tolist() == [[2, 0], [99, 0], [5, 0]]


@given(sizes=st.lists(st.integers(0, 9), min_size=1, max_size=8), context=st.integers(1, 6), stride=st.integers(1, 6))
@settings(max_examples=40, deadline=None)
def test_after_end_tokens_every_token_but_the_first_is_a_target_once(sizes, context, stride):
    firsts = np.cumsum([1, *sizes[:-1]])
    file = ended(*(range(first, first + size) for first, size in zip(firsts, sizes, strict=True)))
    if len(file.ids) < 2:
        return
    counted = [
        target
        for batch in evaluation_windows(file, context, min(stride, context), 3, cross_documents=False)
        for target in batch.target[batch.mask].tolist()
    ]
    assert counted == file.ids[1:].tolist()


# Going on -----------------------------------------------------------------------------------------------------------

STREAMS = {
    "packed": lambda size, seed=1: Packed(tokens(300, 200), size, 7, seed),
    "in order": lambda size, seed=1: Packed(tokens(300, 200), size, 7, seed, shuffle=False),
    "by document": lambda size, seed=1: Packed(tokens(*range(30)), size, 7, seed, cross_documents=False),
    "padded": lambda size, seed=1: Padded(tokens(*range(30)), size, 7, seed),
}


@pytest.mark.parametrize("make", STREAMS.values(), ids=STREAMS)
@pytest.mark.parametrize("done", [0, 1, 13, 29])
@pytest.mark.parametrize("block", [4096, 10])
def test_a_stream_goes_on_exactly(make, done, block, monkeypatch):
    monkeypatch.setattr(streams, "BLOCK", block)
    whole = make(5)
    take(whole, done)
    state = whole.state()
    assert all(type(value) is int for key, value in state.items() if key != "text")
    assert type(state["text"]) is str
    resumed = make(5)
    resumed.load_state(state)
    assert same(take(whole, 40), take(resumed, 40))
    assert resumed.state() == whole.state()


@pytest.mark.parametrize("make", STREAMS.values(), ids=STREAMS)
def test_blocks_do_not_change_the_order(make, monkeypatch):
    usual = take(make(5), 60)
    monkeypatch.setattr(streams, "BLOCK", 3)
    assert same(usual, take(make(5), 60))


@pytest.mark.parametrize("make", STREAMS.values(), ids=STREAMS)
def test_another_batch_size_goes_on_at_the_same_window(make):
    """`batch_size: auto` may find another size after resuming: 6 batches of 4 and 3 of 8 are the same 24 windows."""
    four, eight = make(4), make(8)
    take(four, 3)
    eight.load_state(four.state())
    small = np.concatenate([batch.source for batch in take(four, 6)])
    large = np.concatenate([batch.source for batch in take(eight, 3)])
    assert np.array_equal(small, large)


def test_the_state_of_other_data_is_refused():
    state = STREAMS["packed"](5).state()
    with pytest.raises(CheckpointError, match="have seed 1, these have 2"):
        STREAMS["packed"](5, seed=2).load_state(state)
    with pytest.raises(CheckpointError, match="tokens 500, these have 501"):
        Packed(tokens(501), 5, 7, 1).load_state(state)
    with pytest.raises(CheckpointError, match="context 7, these have 8"):
        Packed(tokens(500), 5, 8, 1).load_state(state)
    with pytest.raises(CheckpointError, match="windows 0, these have 72"):  # ceil(299 / 7) + ceil(199 / 7)
        Packed(tokens(300, 200), 5, 7, 1, cross_documents=False).load_state(state)


def test_another_text_of_the_same_size_is_refused():
    """As many tokens, other ones: the corpus was edited, or the tokenizer trained anew."""

    def made(**header):
        file = tokens(50)
        return Packed(TokenFile(file.ids, file.ends, header), 2, 7, 1)

    state = made(corpus_fingerprint="one", tokenizer_hash="bpe").state()
    assert state["text"] == "one/bpe"
    made(corpus_fingerprint="one", tokenizer_hash="bpe").load_state(state)
    for header in ({"corpus_fingerprint": "two", "tokenizer_hash": "bpe"}, {"corpus_fingerprint": "one"}, {}):
        with pytest.raises(CheckpointError, match="the text or its tokenizer is not what the run began with"):
            made(**header).load_state(state)


# Padded -------------------------------------------------------------------------------------------------------------


def test_padded_by_hand():
    stream = Padded(tokens(3, 1, 7, 5), batch_size=3, length=4, seed=1, shuffle=False)
    batch = next(stream)
    assert batch.source.tolist() == [[1, 2, 0, 0], [5, 6, 7, 8], [12, 13, 14, 15]]
    assert batch.target.tolist() == [[2, 3, 0, 0], [6, 7, 8, 9], [13, 14, 15, 16]]
    assert batch.mask is not None
    assert batch.mask.tolist() == [[True, True, False, False], [True] * 4, [True] * 4]
    assert stream.notes == [
        "1 of 4 documents have more than 4 tokens to predict: 12.5% of all tokens are cut off and never seen",
        "1 documents of a single token have nothing to predict and are left out",
    ]


def test_too_little_text_is_said_with_numbers():
    with pytest.raises(DataError, match=r"train split has 57 tokens, a window needs 129: .*model.context or"):
        Packed(tokens(57), 1, 128, 1)
    next(Packed(tokens(129), 1, 128, 1))
    with pytest.raises(DataError, match="no document of two tokens"):
        Padded(tokens(1, 1), 1, 8, 1)


# Evaluation ---------------------------------------------------------------------------------------------------------


def slowly(size, context, stride):
    """What evaluation must count, target by target: (target, first token of its window)."""
    counted, start, done = [], 0, 0
    while done < size - 1:
        for target in range(start + 1, min(start + context, size - 1) + 1):
            if target > done:
                counted.append((target, start))
        done = min(start + context, size - 1)
        start += stride
    return counted


@given(
    sizes=st.lists(st.integers(0, 40), min_size=1, max_size=5),
    context=st.integers(1, 12),
    stride=st.integers(1, 12),
    batch_size=st.integers(1, 4),
    cross=st.booleans(),
)
@settings(max_examples=200, deadline=None)
def test_evaluation_counts_each_token_once(sizes, context, stride, batch_size, cross):
    stride = min(stride, context)
    pieces = [sum(sizes)] if cross else sizes
    expected, first = [], 0
    for size in pieces:
        expected += [(first + 1 + target, first + 1 + start) for target, start in slowly(size, context, stride)]
        first += size
    if not expected:
        with pytest.raises(DataError, match="evaluation needs two"):
            list(evaluation_windows(tokens(*sizes), context, stride, batch_size, cross))
        return
    got = []
    for batch in evaluation_windows(tokens(*sizes), context, stride, batch_size, cross):
        assert batch.source.shape == batch.target.shape
        assert len(batch.source) <= batch_size
        assert batch.mask is not None
        assert np.array_equal(batch.target[batch.mask], batch.source[batch.mask] + 1)
        for source, target, mask in zip(batch.source, batch.target, batch.mask, strict=True):
            got += [(one, int(source[0])) for one in target[mask].tolist()]
    assert got == expected


def test_evaluation_by_hand():
    one, two = evaluation_windows(tokens(8), context=4, stride=2, batch_size=2)
    assert one.source.tolist() == [[1, 2, 3, 4], [3, 4, 5, 6]]
    assert one.mask is not None
    assert one.mask.tolist() == [[True] * 4, [False, False, True, True]]
    assert two.source.tolist() == [[5, 6, 7, 0]]
    assert two.target.tolist() == [[6, 7, 8, 0]]
    assert two.mask is not None
    assert two.mask.tolist() == [[False, False, True, False]]


@pytest.mark.parametrize("stride", [0, 5])
def test_a_stride_that_would_skip_tokens_is_refused(stride):
    with pytest.raises(DataError, match="from 1 to the context 4"):
        next(evaluation_windows(tokens(20), 4, stride, 2))
