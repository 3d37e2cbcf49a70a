"""Hidden tokens: how many, which, what stands in their place, and that it can be repeated."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heed.text.batches import Packed, Padded
from heed.text.masking import Masked, hide, masked_windows, special_ids
from heed.text.tokenfile import TokenFile

V = 50
MASK, PAD = special_ids(V)


def tokens(count: int = 400, documents: int = 8) -> TokenFile:
    ids = (np.arange(count) % V).astype(np.uint16)
    ends = np.linspace(count / documents, count, documents).astype(np.uint64)
    return TokenFile(ids, ends, {"corpus_fingerprint": "c", "tokenizer_hash": "t", "split": "validation"})


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 5), st.integers(1, 30), st.floats(0.01, 0.99), st.integers(0, 1000))
def test_of_each_row_the_share_is_hidden_and_padding_never(rows, length, fraction, seed):
    random = np.random.default_rng(seed)
    lengths = random.integers(0, length + 1, rows)
    real = np.arange(length) < lengths[:, None]
    ids = random.integers(0, V, (rows, length))
    batch = hide(ids, real, fraction, V, random)
    assert batch.mask is not None
    wanted = [min(n, max(1, round(fraction * n))) for n in lengths.tolist()]
    assert batch.mask.sum(axis=1).tolist() == wanted
    assert not batch.mask[~real].any()
    assert (batch.source[~real] == PAD).all()
    kept = real & ~batch.mask
    assert (batch.source[kept] == ids[kept]).all()
    assert (batch.target[batch.mask] == ids[batch.mask]).all()


def test_eighty_ten_ten():
    ids = np.zeros((200, 500), dtype=np.int64)  # all token 0, so that a drawn token shows
    batch = hide(ids, np.ones(ids.shape, bool), 0.15, V, np.random.default_rng(0))
    assert batch.mask is not None
    hidden = batch.source[batch.mask]
    assert hidden.size == 200 * 75
    # 15,000 draws: one standard deviation of a share is at most 0.0033; bounds are five of them
    assert (hidden == MASK).mean() == pytest.approx(0.8, abs=0.0165)
    assert ((hidden > 0) & (hidden < V)).mean() == pytest.approx(0.1 * (V - 1) / V, abs=0.0125)
    assert (hidden == 0).mean() == pytest.approx(0.1 + 0.1 / V, abs=0.0125)
    drawn = hidden[hidden < V]
    assert set(range(V)) == set(drawn.tolist())  # any token of the vocabulary
    places = batch.mask.sum(axis=0)  # 30 expected at each place, standard deviation 5
    assert places.min() > 5
    assert places.max() < 60


def test_an_interrupted_stream_goes_on_with_the_same_masks():
    whole = Masked(Packed(tokens(), 4, 16, seed=5), 0.15, V)
    batches = [next(whole) for _ in range(20)]
    first = Masked(Packed(tokens(), 4, 16, seed=5), 0.15, V)
    for _ in range(9):
        next(first)
    second = Masked(Packed(tokens(), 4, 16, seed=5), 0.15, V)
    second.load_state(first.state())
    for expected in batches[9:]:
        batch = next(second)
        assert np.array_equal(batch.source, expected.source)
        assert np.array_equal(batch.mask, expected.mask)  # pyright: ignore[reportArgumentType]
    assert second.epoch == whole.epoch > 2
    masks = {batch.mask.tobytes() for batch in batches if batch.mask is not None}
    assert len(masks) == 20  # other places in every batch


def test_windows_of_documents_are_padded():
    batch = next(Masked(Padded(tokens(documents=20), 4, 32, seed=1), 0.15, V))
    assert (batch.source[:, 19:] == PAD).all()  # documents of 20 tokens, the last of which nothing follows
    assert (batch.source[:, :19] != PAD).all()


def test_the_evaluation_hides_the_same_whatever_the_batches():
    def all_windows(size: int, joined: bool = True):
        batches = list(masked_windows(tokens(), 16, size, 0.15, V, joined))
        masks = [batch.mask for batch in batches if batch.mask is not None]
        return np.concatenate([batch.source for batch in batches]), np.concatenate(masks)

    for joined in (True, False):
        one, several = all_windows(1, joined), all_windows(7, joined)
        assert np.array_equal(one[0], several[0])
        assert np.array_equal(one[1], several[1])
    assert (all_windows(3)[0] != PAD).sum() == 399  # every token but the last
