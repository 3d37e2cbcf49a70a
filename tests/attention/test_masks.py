"""True means may look: every mask against its definition, and made only where a tensor is needed."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from heed.attention import (
    MASKS,
    bigbird_mask,
    causal_mask,
    global_mask,
    make_mask,
    padding_mask,
    random_mask,
    window_mask,
)


@settings(max_examples=30, deadline=None)
@given(T=st.integers(1, 6), more=st.integers(0, 4), window=st.none() | st.integers(1, 7), data=st.data())
def test_a_mask_is_the_meeting_of_its_parts(T, more, window, data):
    S = T + more
    start = data.draw(st.none() | st.lists(st.integers(0, S), min_size=2, max_size=2))
    causal = data.draw(st.booleans())
    padding = None if start is None else padding_mask(torch.tensor(start), S)
    mask = make_mask(T, S, causal=causal, window=window, padding=padding).dense()
    for b in range(2):
        for t in range(T):
            for s in range(S):
                here = t + more  # queries are the last T of the S positions
                expected = (
                    (s <= here or not (causal or window))
                    and (window is None or s > here - window)
                    and (start is None or s >= start[b])
                )
                found = True if mask is None else mask.expand(2, 1, T, S)[b, 0, t, s].item()
                assert found == expected, (b, t, s)


def test_no_tensor_where_causality_says_it_all():
    assert make_mask(5, causal=True).allowed is None
    assert make_mask(5, causal=True).is_plain_causal
    one = make_mask(1, 9, causal=True)  # a single query at the end sees everything
    assert one.dense() is None
    assert not one.is_plain_causal
    assert make_mask(2, 9, causal=True).allowed is not None


def numbers(mask):
    return mask.int().tolist()


def test_a_window_counts_the_query_itself_and_may_look_both_ways():
    assert numbers(window_mask(4, 4, 2)) == [[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]]
    assert numbers(window_mask(4, 4, 2, causal=False)) == [[1, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 1], [0, 0, 1, 1]]
    assert numbers(window_mask(2, 4, 2, causal=False)) == [[0, 1, 1, 1], [0, 0, 1, 1]]  # the last two queries of four
    assert numbers(window_mask(3, 3, 1, causal=False)) == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]


def test_global_places_see_and_are_seen():
    assert numbers(global_mask(4, 4, 1, 1)) == [[1, 1, 1, 1], [1, 0, 0, 1], [1, 0, 0, 1], [1, 1, 1, 1]]
    assert numbers(global_mask(2, 4, 1, 1)) == [[1, 0, 0, 1], [1, 1, 1, 1]]  # the last two queries of four
    assert not global_mask(3, 3, 0).any()
    assert global_mask(3, 3, 2, 2).all()


def test_random_keys_are_those_of_lowest_rank_that_may_be_drawn():
    rank = torch.tensor([[3, 1, 2, 0], [0, 1, 2, 3]])
    assert numbers(random_mask(rank, 2)) == [[0, 1, 0, 1], [1, 1, 0, 0]]
    among = torch.tensor([[True, True, True, False], [False, False, False, True]])
    assert numbers(random_mask(rank, 2, among)) == [[0, 1, 1, 0], [0, 0, 0, 1]]  # the second has only one to draw
    assert not random_mask(rank, 0).any()


def test_random_keys_are_drawn_evenly():
    generator = torch.Generator().manual_seed(0)
    counts = sum(random_mask(torch.rand(5, 5, generator=generator), 2).int() for _ in range(2000))
    assert (counts.sum(-1) == 4000).all()
    # Each key with probability 2/5: 800 of 2000, standard deviation 22.
    assert (counts - 800).abs().max() < 110


def test_bigbird_is_window_global_and_random_together():
    rank = torch.tensor([[5, 4, 3, 2, 1, 0]]).expand(6, 6)
    both = [
        [1, 1, 1, 1, 1, 1],  # global
        [1, 1, 1, 0, 1, 1],  # itself, one on each side, the global ends, and 4, of lowest rank among 3 and 4
        [1, 1, 1, 1, 1, 1],
        [1, 1, 1, 1, 1, 1],
        [1, 0, 1, 1, 1, 1],  # 2 before 1
        [1, 1, 1, 1, 1, 1],
    ]
    assert numbers(bigbird_mask(rank, 2, 1, 1, 1)) == both
    causal = [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0, 0],  # 1 is the only one to draw
        [1, 0, 1, 1, 1, 0],
        [1, 0, 0, 1, 1, 1],  # 3 before 2 and 1
    ]
    assert numbers(bigbird_mask(rank, 2, 1, 0, 1, causal=True)) == causal
    assert numbers(bigbird_mask(rank[4:], 2, 1, 0, 1, causal=True)) == causal[4:]  # the last two queries of six


def test_the_catalogue_of_masks():
    assert {
        "causal": causal_mask,
        "padding": padding_mask,
        "window": window_mask,
        "global": global_mask,
        "random": random_mask,
        "bigbird": bigbird_mask,
    } == MASKS
