"""Beam search against every text there is, and against sums by hand."""

import itertools
import math

import pytest
import torch
from generation_doubles import Table, small_gpt

from heed.generation.beam import beam_search

END = 3


def table(rows: dict[int, list[float]], context: int = 1000) -> Table:
    """A model of four tokens whose next one depends on the last, by probabilities."""
    values = torch.full((4, 4), 0.25, dtype=torch.float64)
    for token, row in rows.items():
        values[token] = torch.tensor(row, dtype=torch.float64)
    return Table(values.log(), context)


def test_a_wide_beam_finds_what_greedy_misses():
    # 1 is likelier than 2 to begin with, but what follows 2 is certain: 0.4 x 1 > 0.6 x 0.5
    model = table({0: [0.0, 0.6, 0.4, 0.0], 1: [0.0, 0.5, 0.0, 0.5], 2: [0.0, 0.0, 0.0, 1.0]})
    found = beam_search(model, [[0]], END, beams=2, max_tokens=10)[0]
    assert [(beam.ids, beam.ended) for beam in found] == [((2,), True), ((1,), True)]
    assert [round(math.exp(beam.logprob), 12) for beam in found] == [0.4, 0.3]
    narrow = beam_search(model, [[0]], END, beams=1, max_tokens=10)[0]
    assert [(beam.ids, round(math.exp(beam.logprob), 12)) for beam in narrow] == [((1,), 0.3)]


def test_what_never_ends_is_cut_off_and_says_so():
    model = table({0: [0.0, 1.0, 0.0, 0.0], 1: [0.0, 1.0, 0.0, 0.0]})
    found = beam_search(model, [[0]], END, beams=2, max_tokens=3)[0]
    assert [(beam.ids, beam.ended, beam.logprob) for beam in found] == [((1, 1, 1), False, 0.0)]


def test_nothing_is_read_beyond_the_context():
    model = table({0: [0.0, 1.0, 0.0, 0.0], 1: [0.0, 1.0, 0.0, 0.0]}, context=4)
    found = beam_search(model, [[0, 0], [0]], END, beams=1, max_tokens=9)
    # four tokens are read, of prompt and answer, and one more is drawn
    assert [beam.ids for beams in found for beam in beams] == [(1, 1, 1), (1, 1, 1, 1)]


def test_the_search_goes_on_while_the_worst_can_be_beaten():
    model = table({0: [0.0, 0.3, 0.3, 0.4], 1: [0.0, 0.9, 0.0, 0.1], 2: [1.0, 0.0, 0.0, 0.0]})
    found = beam_search(model, [[0]], END, beams=2, max_tokens=50)[0]
    # after two steps "" (0.4) and "1" (0.03) have ended, and "2 0" (0.3) is alive, which ends with 0.4
    assert [(beam.ids, round(math.exp(beam.logprob), 12)) for beam in found] == [((), 0.4), ((2, 0), 0.12)]


def test_a_wide_search_is_exhaustive():
    model = table({0: [0.1, 0.2, 0.3, 0.4], 1: [0.5, 0.1, 0.2, 0.2]})
    found = beam_search(model, [[0]], END, beams=64, max_tokens=3)[0]
    every = {}
    for length in range(3):
        for ids in itertools.product(range(3), repeat=length):
            row = [0, *ids, END]
            every[ids] = sum(model.table[a, b].item() for a, b in itertools.pairwise(row))
    expected = sorted(every.values(), reverse=True)
    ended = [beam for beam in found if beam.ended]
    assert {beam.ids for beam in ended} == set(every)
    assert [beam.logprob for beam in ended] == pytest.approx(expected, abs=1e-12)


def test_banned_tokens_are_never_chosen():
    model = table({0: [0.0, 0.6, 0.4, 0.0], 2: [0.0, 0.0, 0.0, 1.0]})
    assert [beam.ids for beam in beam_search(model, [[0]], END, beams=1, max_tokens=4, banned=(1,))[0]] == [(2,)]


def test_no_row_can_tell_which_rows_are_beside_it():
    model = small_gpt(context=12).eval()
    prompts = [[5, 6, 7], [9], [1, 2, 3, 4, 5, 6, 7, 8, 9], [250, 3]]
    together = beam_search(model, prompts, 46, beams=3, max_tokens=8)
    for prompt, found in zip(prompts, together, strict=True):
        alone = beam_search(model, [prompt], 46, beams=3, max_tokens=8)[0]
        assert [beam.ids for beam in alone] == [beam.ids for beam in found]
        # float64: only the order of sums differs
        assert [beam.logprob for beam in alone] == pytest.approx([beam.logprob for beam in found], abs=1e-10)
        for beam in alone:  # and it is the probability that reading the whole text gives
            ids = torch.tensor([[*prompt, *beam.ids, *([46] if beam.ended else [])]])
            whole = model(ids[:, :-1]).log_softmax(dim=-1)[0, len(prompt) - 1 :]
            expected = whole.gather(1, ids[0, len(prompt) :, None]).sum().item()
            assert beam.logprob == pytest.approx(expected, abs=1e-10)
