"""Log-probability and rank of given text."""

import math

import pytest
import torch
from generation_doubles import Bytes, Pieces, Table, small_gpt

from heed.generation import score


def test_values_by_hand():
    # after a: a 0.5, b 0.3, c 0.2; after b: a 0.1, b 0.2, c 0.7
    model = Table(torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7], [1, 1, 1]], dtype=torch.float64).log())
    [scores] = score(model, Pieces(b"a", b"\xc3", b"\xa9"), [[0, 1, 1, 2]], alternatives=1)
    assert [token.id for token in scores] == [0, 1, 1, 2]
    assert [token.rank for token in scores] == [None, 2, 2, 1]
    assert scores[0].logprob is None
    assert [token.logprob for token in scores[1:]] == pytest.approx([math.log(0.3), math.log(0.2), math.log(0.7)])
    assert [token.text for token in scores] == ["a", "", "\ufffd", "é"]
    assert [[id for id, _ in token.alternatives] for token in scores] == [[], [0], [2], [2]]


@pytest.mark.parametrize("size", [1, 2, 23, 24, 25, 26, 37, 70])
def test_a_long_text_is_read_in_windows_that_overlap_by_half(size):
    model = small_gpt()
    ids = [(7 * i * i + 3) % 256 for i in range(size)]
    scores = score(model, Bytes(), [ids])[0]
    assert [token.id for token in scores] == ids
    for t in range(1, size):
        # window 0 scores tokens 1 to 24; each later one scores 13 more with the 12 to 24 before them
        begin = 0 if t <= 24 else 13 + (t - 25) // 13 * 13
        logprobs = model(torch.tensor([ids[begin:t]]))[0, -1].log_softmax(dim=-1).detach()
        assert scores[t].logprob == pytest.approx(float(logprobs[ids[t]]), abs=1e-9)  # float64
        assert scores[t].rank == 1 + int((logprobs > logprobs[ids[t]]).sum())


def test_an_empty_text_has_no_tokens_and_several_are_scored_apart():
    model = small_gpt()
    scores = score(model, Bytes(), ["abc", "", "x"])
    assert [len(tokens) for tokens in scores] == [3, 0, 1]
    assert scores[0] == score(model, Bytes(), ["abc"])[0]
