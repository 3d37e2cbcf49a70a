"""Token files that are joined are read as the one file that they would be together."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from heed.objectives.honest import honest_loss
from heed.objectives.losses import first_tokens
from heed.text.batches import Packed, Padded, Windows, evaluation_windows
from heed.text.contiguous import Contiguous
from heed.text.joined import JoinedIds, JoinedTokens
from heed.text.masking import masked_windows
from heed.text.tokenfile import TokenFile, count_of

MANY = settings(max_examples=60, deadline=None)


def cut_up(ids, sizes):
    return np.split(np.asarray(ids, np.uint16), np.cumsum(sizes)[:-1])


@MANY
@given(st.data(), st.lists(st.integers(1, 6), min_size=1, max_size=6))
def test_joined_ids_are_an_array(data, sizes):
    whole = np.arange(100, 100 + sum(sizes), dtype=np.uint16)
    joined = JoinedIds(cut_up(whole, sizes))
    n = len(whole)
    assert (len(joined), joined.dtype) == (n, whole.dtype)
    assert np.array_equal(joined, whole)
    assert joined.astype(np.int64).dtype == np.int64
    place = st.integers(-n, n - 1)
    one = data.draw(place)
    assert joined[one] == whole[one]
    assert joined[np.int64(one)].dtype == whole.dtype
    end = st.none() | st.integers(-n - 3, n + 3)
    some = slice(data.draw(end), data.draw(end), data.draw(st.sampled_from([None, 1, 2, -1, -3])))
    view = joined[some]
    assert np.array_equal(np.asarray(view), whole[some])
    assert len(view) == len(whole[some])
    if len(view) > 1:
        assert np.array_equal(np.asarray(view[1:]), whole[some][1:])
    places = np.array(data.draw(st.lists(st.lists(place, min_size=3, max_size=3), max_size=5)), np.int64).reshape(-1, 3)
    assert np.array_equal(joined[places], whole[places])
    assert joined[places].shape == places.shape
    assert count_of(joined, int(whole[one])) == 1


def test_a_slice_is_a_view_and_what_is_beyond_is_refused():
    parts = cut_up(range(10), [4, 6])
    joined = JoinedIds(parts)
    assert np.shares_memory(joined[1:3], parts[0])
    assert all(np.shares_memory(*pair) for pair in zip(joined[2:8].parts, parts, strict=True))
    for place in (10, -11, [0, 10]):
        with pytest.raises(IndexError, match="out of bounds for 10 ids"):
            joined[place]


END = 9


def files(dtype=np.uint16):
    """Return 40 documents as one file, and as five joined: one short, one of a single document, ids that tell."""
    random = np.random.default_rng(0)
    documents = [np.append(random.integers(0, END, random.integers(1, 30)), END).astype(dtype) for _ in range(40)]
    documents[7] = np.array([END], dtype)

    def file(some, **header):
        facts = {
            "split": "train",
            "end_id": END,
            "corpus_fingerprint": "c",
            "tokenizer_hash": "t",
            "words": 3 * len(some),
        }
        facts |= {"tokens": sum(map(len, some)), "documents": len(some), "bytes": 8, "first_words": 1, "first_bytes": 2}
        ends = np.cumsum([len(one) for one in some], dtype=np.uint64)
        return TokenFile(np.concatenate(some), ends, facts | header)

    cuts = [0, 1, 12, 13, 30, 40]
    parts = [file(documents[a:b], shard=n) for n, (a, b) in enumerate(pairwise(cuts))]
    return file(documents), JoinedTokens(parts)


def test_counts_add_up_and_what_parts_do_not_share_is_gone():
    whole, joined = files()
    assert joined.header["words"] == 120
    assert joined.header == whole.header | {
        name: joined.header[name] for name in ("bytes", "first_words", "first_bytes")
    }
    assert (joined.header["bytes"], joined.header["first_words"], joined.header["first_bytes"]) == (40, 5, 10)
    assert joined.ends.dtype == np.uint64
    assert np.array_equal(joined.ends, whole.ends)


STREAMS = {
    "packed": lambda tokens: Packed(tokens, 4, 16, seed=3),
    "in order": lambda tokens: Packed(tokens, 4, 16, seed=3, shuffle=False),
    "documents": lambda tokens: Packed(tokens, 4, 16, seed=3, cross_documents=False),
    "padded": lambda tokens: Padded(tokens, 4, 16, seed=3),
    "contiguous": lambda tokens: Contiguous(tokens, 3, 16, seed=3),
    "evaluation": lambda tokens: evaluation_windows(tokens, 16, 5, 3),
    "evaluation of documents": lambda tokens: evaluation_windows(tokens, 16, 16, 3, cross_documents=False),
    "evaluation of the first": lambda tokens: evaluation_windows(first_tokens(tokens, 333), 16, 16, 3),
    "masked": lambda tokens: masked_windows(tokens, 16, 3, 0.3, END + 1, True),
}


@pytest.mark.parametrize("name", STREAMS)
def test_batches_are_those_of_a_single_file(name):
    made = [STREAMS[name](tokens) for tokens in files()]
    for _, (one, other) in zip(range(200), zip(*made, strict=True), strict=False):
        for array in ("source", "target", "mask"):
            wanted, found = getattr(one, array), getattr(other, array)
            assert (wanted is None) == (found is None)
            assert wanted is None or (found.dtype == wanted.dtype and np.array_equal(found, wanted))
    states = [stream.state() for stream in made if hasattr(stream, "state")]
    assert states[:1] == states[1:]


def test_windows_find_the_same_places():
    one, other = (Windows(tokens, 16, 5) for tokens in files())
    numbers = np.arange(one.count)
    assert all(np.array_equal(a, b) for a, b in zip(one.find(numbers), other.find(numbers), strict=True))


class Bigram(torch.nn.Module):
    """Loses what the two ids of a place come to."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def loss(self, source, target, mask, reduction):
        return (source * 10 + target).double() * mask


def test_the_honest_loss_reads_the_same_tokens():
    one, other = (honest_loss(Bigram(), tokens, 16) for tokens in files())
    assert one == other
