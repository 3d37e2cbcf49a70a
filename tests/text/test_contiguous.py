"""Parallel streams: every row goes on where it ended, every epoch reads the text once, and the place can be kept."""

from types import SimpleNamespace

import numpy as np
import pytest

from heed.errors import CheckpointError, DataError
from heed.text.contiguous import Contiguous


def tokens(count):
    return SimpleNamespace(ids=np.arange(count, dtype=np.uint16), header={"split": "train"})


def test_the_example_of_the_docstring():
    batches = Contiguous(tokens(13), 2, 3, seed=0, shuffle=False)
    first, second, third = next(batches), next(batches), next(batches)
    assert first.source.tolist() == [[0, 1, 2], [6, 7, 8]]
    assert second.source.tolist() == [[3, 4, 5], [9, 10, 11]]
    assert second.target.tolist() == [[4, 5, 6], [10, 11, 12]]
    assert [batch.continues for batch in (first, second, third)] == [False, True, False]
    assert third.source.tolist() == first.source.tolist()
    assert batches.epoch == 1.5


@pytest.mark.parametrize(("count", "rows", "context"), [(101, 4, 7), (57, 8, 7), (29, 4, 7), (1000, 3, 64)])
def test_each_epoch_reads_every_target_once_but_for_the_two_ends(count, rows, context):
    batches, offsets = Contiguous(tokens(count), rows, context, seed=1), set()
    for epoch in range(6):
        streams, seen = [[] for _ in range(rows)], []
        while int(batches.epoch) == epoch:
            batch = next(batches)
            assert batch.source.shape[0] == rows
            assert (batch.target == batch.source + 1).all()
            for stream, row in zip(streams, batch.source.tolist(), strict=True):
                assert stream[-1:] == [row[0] - 1] if stream else not batch.continues
                stream += row
            seen += batch.target.ravel().tolist()
        first = min(seen)
        assert sorted(seen) == list(range(first, first + len(seen)))
        assert first - 1 < context
        assert count - 1 - max(seen) < rows
        offsets.add(first)
    assert len(offsets) > 1 or count == rows * context + 1  # the shortest text that there can be has no room


def test_it_goes_on_at_exactly_the_next_batch():
    batches = Contiguous(tokens(101), 4, 7, seed=1)
    for _ in range(9):
        next(batches)
    again = Contiguous(tokens(101), 4, 7, seed=1)
    again.load_state(batches.state())
    for _ in range(9):
        one, other = next(batches), next(again)
        assert (one.source == other.source).all()
        assert one.continues == other.continues
    with pytest.raises(CheckpointError, match="have streams 4, these have 5"):
        Contiguous(tokens(101), 5, 7, seed=1).load_state(batches.state())
    with pytest.raises(CheckpointError, match="is not what the run began with"):
        again.load_state(batches.state() | {"text": "other"})


def test_a_text_shorter_than_a_batch_is_refused():
    with pytest.raises(DataError, match=r"has 28 tokens, a batch of streams needs 29"):
        Contiguous(tokens(28), 4, 7, seed=1)
