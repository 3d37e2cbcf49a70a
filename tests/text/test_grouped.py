"""Rows of like length in a batch: each row once, less padding, and a place that can be gone on from."""

import numpy as np
import pytest

from heed.errors import CheckpointError
from heed.text.batches import Batch, Padded
from heed.text.grouped import Grouped
from heed.text.mixture import Mixture
from heed.text.tokenfile import TokenFile

LENGTHS = [3, 40, 7, 22, 5, 33, 11, 4, 28, 9, 17, 6, 38, 8, 12, 19]


def tokens() -> TokenFile:
    """Documents whose tokens are all their own number."""
    ids = np.repeat(np.arange(1, len(LENGTHS) + 1), LENGTHS).astype(np.uint16)
    return TokenFile(ids, np.cumsum(LENGTHS).astype(np.uint64), {})


def stream(pool: int = 4, seed: int = 3, batch: int = 4) -> Grouped:
    return Grouped(Padded(tokens(), batch, 48, seed), batch, pool, seed)


def take(batches: Grouped, count: int) -> list[Batch]:
    return [next(batches) for _ in range(count)]


def test_a_pool_holds_every_row_once_and_batches_hold_rows_of_like_length():
    batches = take(stream(), 4)
    documents = [row[0] for batch in batches for row in batch.source]
    assert sorted(documents) == list(range(1, 17))
    ranks = {document: rank for rank, document in enumerate(1 + np.argsort(LENGTHS))}
    for batch in batches:  # the four shortest, the next four, ...
        assert len({ranks[row[0]] // 4 for row in batch.source}) == 1
    assert sum(batch.source.size for batch in batches) < 0.8 * 4 * 4 * 40


def test_the_groups_of_a_pool_come_in_an_order_of_their_own_each_time():
    batches = stream()
    widths = {tuple(batch.source.shape[1] for batch in take(batches, 4)) for _ in range(6)}
    assert len(widths) > 1


@pytest.mark.parametrize("done", [0, 1, 4, 6, 11])
def test_a_stream_goes_on_with_exactly_the_next_batch(done):
    whole = stream()
    take(whole, done)
    state = whole.state()
    other = stream()
    take(other, 2)
    other.load_state(state)
    for a, b in zip(take(whole, 9), take(other, 9), strict=True):
        assert np.array_equal(a.source, b.source)
        assert np.array_equal(a.target, b.target)


def test_a_mixture_is_grouped_as_well():
    mixed = Mixture([(Padded(tokens(), 4, 48, 1), 0.5), (Padded(tokens(), 4, 48, 2), 0.5)], 4, 1)
    batches = take(Grouped(mixed, 4, 4, 1), 4)
    assert [batch.source.shape[0] for batch in batches] == [4] * 4


def test_pools_of_another_size_are_refused():
    state = stream().state()
    with pytest.raises(CheckpointError, match="have pool 4, these have 2"):
        stream(pool=2).load_state(state)
    with pytest.raises(CheckpointError, match="have batch_size 4, these have 8"):
        stream(batch=8).load_state(state)
