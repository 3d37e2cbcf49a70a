"""Rows from several streams: the shares, what each stream gives, and going on."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heed.errors import CheckpointError, ConfigError
from heed.text.batches import Packed, Padded
from heed.text.mixture import Mixture
from heed.text.tokenfile import TokenFile


def stream(first: int, seed: int = 1, size: int = 60) -> Padded:
    """Documents of four tokens, whose ids begin at `first`."""
    ids = np.arange(first, first + size, dtype=np.uint16)
    return Padded(TokenFile(ids, np.arange(4, size + 1, 4, dtype=np.uint64), {}), 2, 5, seed)


def mixture(batch_size: int = 8, seed: int = 3, share: float = 0.25) -> Mixture:
    return Mixture([(stream(100), 1 - share), (stream(500), share)], batch_size, seed)


def rows(source: Mixture, count: int) -> list[list[int]]:
    return [row for _ in range(count) for row in next(source).source.tolist()]


def test_each_row_is_the_next_of_its_stream_and_the_shares_hold():
    mixed = rows(mixture(), 250)
    for first, share in ((100, 0.75), (500, 0.25)):
        own = [row for row in mixed if first <= row[0] < first + 60]
        assert own == stream(first).take(len(own)).source.tolist()
        assert len(own) == pytest.approx(2000 * share, abs=97)  # standard deviation 19.4; five of them


def test_a_batch_is_as_wide_as_its_widest_part_and_all_of_it_counts():
    wide = Packed(TokenFile(np.arange(900, 1000, dtype=np.uint16), np.array([100], np.uint64), {}), 2, 9, 1)
    mixed = Mixture([(stream(100), 0.5), (wide, 0.5)], 16, 1)
    batch = next(mixed)
    assert batch.mask is not None
    assert batch.source.shape == batch.target.shape == batch.mask.shape == (16, 9)
    for source, target, mask in zip(batch.source, batch.target, batch.mask, strict=True):
        length = 3 if source[0] < 900 else 9
        assert np.flatnonzero(mask).tolist() == list(range(length))
        assert (target[:length] == source[:length] + 1).all()
        assert not source[length:].any()
    assert mixed.epoch == mixed.streams[0].epoch > 0


@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=8), seed=st.integers(0, 20))
@settings(max_examples=40, deadline=None)
def test_the_rows_do_not_depend_on_the_size_of_the_batches(sizes, seed):
    whole = rows(mixture(sum(sizes), seed), 1)
    parts = mixture(1, seed)
    found = []
    for size in sizes:
        parts.batch_size = size
        found += rows(parts, 1)
    assert found == whole


@pytest.mark.parametrize("done", [0, 1, 9])
def test_a_mixture_goes_on_with_exactly_the_next_batch(done):
    whole = rows(mixture(), 12)
    first, second = mixture(), mixture()
    rows(first, done)
    second.load_state(json.loads(json.dumps(first.state())))
    assert rows(second, 12 - done) == whole[8 * done :]
    assert second.state()["row"] == 96
    assert rows(mixture(seed=4), 3) != whole[:24]


def test_another_mixture_is_refused():
    state = mixture().state()
    with pytest.raises(CheckpointError, match="seed 3, these have 4"):
        mixture(seed=4).load_state(state)
    with pytest.raises(CheckpointError, match="shares"):
        mixture(share=0.5).load_state(state)
    with pytest.raises(CheckpointError, match="mix 1 streams, these 2"):
        mixture().load_state({**state, "parts": state["parts"][:1]})
    parts = [(stream(100, seed=9), 0.75), (stream(500), 0.25)]
    with pytest.raises(CheckpointError, match="seed 1, these have 9"):
        Mixture(parts, 8, 3).load_state(state)


@pytest.mark.parametrize("shares", [(0.5, 0.4), (1.0, 0.0), (1.5, -0.5)])
def test_shares_add_up(shares):
    with pytest.raises(ConfigError, match="add up to 1"):
        Mixture([(stream(100), shares[0]), (stream(500), shares[1])], 8, 1)
    with pytest.raises(ConfigError, match="add up to 1"):
        Mixture([], 8, 1)
