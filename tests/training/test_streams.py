"""Named random streams: independent, exact to restore, undisturbed by each other."""

import pytest
import torch

from heed.errors import CheckpointError
from heed.training.streams import NAMES, Streams, stream_seed


def draw(streams, name):
    return torch.rand(4, generator=streams[name]).tolist()


def test_seeds_are_those_of_sha256_and_all_differ():
    # printf '1/data' | sha256sum begins with these digits; one bit is dropped, so that it is an int64
    assert stream_seed(1, "data") == 0xAA9F486E948715F5 >> 1
    assert len({stream_seed(seed, name) for seed in range(20) for name in NAMES}) == 100


def test_same_seed_same_numbers_and_no_stream_moves_another():
    a, b = Streams(3), Streams(3)
    draw(a, "sampling")
    draw(a, "evaluation")
    assert draw(a, "data") == draw(b, "data")
    assert draw(a, "sampling") != draw(b, "sampling")
    assert draw(Streams(4), "data") != draw(Streams(3), "data")


def test_dropout_is_torchs_global_generator():
    Streams(5)
    first = torch.rand(3).tolist()
    streams = Streams(5)
    assert draw(streams, "dropout")[:3] == first


def test_state_and_back():
    streams = Streams(1)
    for name in NAMES:
        draw(streams, name)
    saved = streams.state()
    assert {state.dtype for state in saved.values()} == {torch.uint8}
    after = {name: draw(streams, name) for name in NAMES}
    other = Streams(2)
    other.load_state(saved)
    assert {name: draw(other, name) for name in NAMES} == after
    with pytest.raises(CheckpointError, match="no random stream 'data'"):
        other.load_state({name: state for name, state in saved.items() if name != "data"})


def test_undisturbed_but_for_one():
    streams, plain = Streams(1), Streams(1)
    expected = {name: draw(plain, name) for name in NAMES}
    streams = Streams(1)
    with streams.undisturbed(except_for=("sampling",)):
        for name in NAMES:
            draw(streams, name)
    assert {name for name in NAMES if draw(streams, name) != expected[name]} == {"sampling"}


def test_unknown_names_are_refused():
    with pytest.raises(KeyError, match="did you mean 'data'"):
        Streams(1)["date"]
