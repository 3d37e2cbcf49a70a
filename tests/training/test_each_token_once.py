"""Any number of processes read each token of the shards once an epoch, and all know their place by two integers."""

import json

import numpy as np
import pytest

from heed.text.batches import Packed
from heed.text.joined import JoinedTokens
from heed.text.tokenfile import TokenFile
from heed.training.ranks import Ranks

CONTEXT, ROWS = 8, 6
SIZES = [137, 1, 250, 64, 301]


def shards():
    """Return five shards in which each token is its own place, so that what is read can be counted."""
    places = np.split(np.arange(sum(SIZES), dtype=np.uint32), np.cumsum(SIZES)[:-1])
    counts = dict.fromkeys(("documents", "bytes", "words", "first_words", "first_bytes"), 1)
    return JoinedTokens([
        TokenFile(ids, np.array([len(ids)], np.uint64), {"split": "train", "tokens": len(ids)} | counts)
        for ids in places
    ])  # fmt: skip


def rows_by_epoch(size, epochs, state_at=()):
    """Return source and target (rows, T) of each epoch, as `size` ranks read them together.

    At the batches `state_at` each rank is begun anew from its state, which goes through JSON as that of a checkpoint.
    """
    streams = [Packed(shards(), ROWS, CONTEXT, seed=11) for _ in range(size)]
    ranks = [Ranks(rank=rank, size=size) for rank in range(size)]
    single = Packed(shards(), 1, CONTEXT, seed=11)
    counts = []  # rows of each epoch, by a stream of single rows that is asked for its place
    while len(counts) < epochs:
        next(single)
        counts.append(0)
        while single.place()["epoch"] < len(counts):
            counts[-1] += 1
            next(single)
        counts[-1] += 1
    read = []
    for number in range(-(-sum(counts) // ROWS)):
        if number in state_at:
            kept = json.loads(json.dumps([stream.state() for stream in streams]))
            assert all(
                {"epoch", "index"} == state.keys() - stream.facts.keys() - {"text"}
                for state, stream in zip(kept, streams, strict=True)
            )
            streams = [Packed(shards(), ROWS, CONTEXT, seed=11) for _ in range(size)]
            for stream, state in zip(streams, kept, strict=True):
                stream.load_state(state)
        whole = np.full((ROWS, 2, CONTEXT), -1)
        for rank, stream in zip(ranks, streams, strict=True):
            part = rank.part(next(stream))
            whole[rank.rank :: size] = np.stack([part.source, part.target], axis=1)
        assert (whole >= 0).all()
        read.append(whole)
    return np.split(np.concatenate(read)[: sum(counts)], np.cumsum(counts)[:-1])


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7])
def test_every_token_is_read_once_an_epoch_by_any_number_of_ranks(size):
    total = sum(SIZES)
    offsets = []
    for rows in rows_by_epoch(size, 4, state_at=(3, 40, 77)):
        assert np.array_equal(rows[:, 0, 1:], rows[:, 1, :-1])
        times = np.bincount(rows[:, 0].ravel(), minlength=total)
        predicted = np.bincount(rows[:, 1].ravel(), minlength=total)
        first = int(rows[:, 0].min())
        last = first + (total - 1 - first) // CONTEXT * CONTEXT
        assert first < CONTEXT
        assert total - last <= CONTEXT  # of the end less than a window waits, and the last token has no target
        assert np.array_equal(times, (np.arange(total) >= first) & (np.arange(total) < last))
        assert np.array_equal(predicted, (np.arange(total) > first) & (np.arange(total) <= last))
        starts = rows[:, 0, 0]
        assert not np.array_equal(starts, np.sort(starts))
        offsets.append(first)
    assert len(set(offsets)) > 1  # what waits in one epoch is read in another


def test_all_read_the_same_rows_in_the_same_order():
    one = rows_by_epoch(1, 2)
    for size in (2, 5):
        assert all(np.array_equal(a, b) for a, b in zip(one, rows_by_epoch(size, 2), strict=True))
