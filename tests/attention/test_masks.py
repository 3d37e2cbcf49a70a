"""True means may look: every mask against its definition, and made only where a tensor is needed."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from heed.attention import MASKS, causal_mask, make_mask, padding_mask, window_mask


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


def test_the_catalogue_of_masks():
    assert {"causal": causal_mask, "padding": padding_mask, "window": window_mask} == MASKS
