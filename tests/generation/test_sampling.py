"""Each step against values worked out by hand, and against transformers' processors as an independent judge."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from heed.errors import ConfigError
from heed.generation.sampling import (
    Sampling,
    draw,
    keep_min_p,
    keep_top_k,
    keep_top_p,
    narrow,
    offsets,
    penalise,
    penalise_counts,
    penalise_repetition,
)


def adjust(logits: Tensor, sampling: Sampling, **state: Tensor | None) -> Tensor:
    """All steps in their order."""
    return narrow(penalise(logits, sampling, **state), sampling)


def logs(*probabilities: float) -> Tensor:
    return torch.tensor([probabilities], dtype=torch.float64).log()


def kept(logits: Tensor) -> list[int]:
    return logits[0].isfinite().nonzero()[:, 0].tolist()


def test_top_k_keeps_the_k_largest_and_ties():
    assert kept(keep_top_k(torch.tensor([[1.0, 4.0, 3.0, 2.0]]), 2)) == [1, 2]
    assert kept(keep_top_k(torch.tensor([[1.0, 4.0, 2.0, 2.0]]), 2)) == [1, 2, 3]
    assert kept(keep_top_k(torch.tensor([[1.0, 4.0, 2.0, 2.0]]), 9)) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("p", "expected"), [(0.3, [1]), (0.39, [1]), (0.41, [1, 3]), (0.71, [1, 2, 3]), (1.0, [0, 1, 2, 3])]
)
def test_top_p_keeps_the_fewest_that_reach_p(p, expected):
    assert kept(keep_top_p(logs(0.1, 0.4, 0.2, 0.3), p)) == expected


def test_top_p_works_on_each_row_alone():
    out = keep_top_p(torch.cat([logs(0.1, 0.9), logs(0.6, 0.4)]), 0.7)
    assert out.isfinite().tolist() == [[False, True], [True, True]]


@pytest.mark.parametrize(("p", "expected"), [(0.0, [0, 1, 2, 3]), (0.49, [1, 2, 3]), (0.51, [1, 3]), (1.0, [1])])
def test_min_p_keeps_what_is_p_times_the_likeliest(p, expected):
    assert kept(keep_min_p(logs(0.1, 0.4, 0.2, 0.3), p)) == expected


def test_repetition_penalty_divides_positive_and_multiplies_negative_logits():
    logits = torch.tensor([[3.0, -3.0, 3.0, -3.0]])
    seen = torch.tensor([[True, True, False, False]])
    assert penalise_repetition(logits, seen, 1.5).tolist() == [[2.0, -4.5, 3.0, -3.0]]


def test_frequency_grows_with_the_count_and_presence_does_not():
    counts = torch.tensor([[0.0, 1.0, 3.0]])
    assert penalise_counts(torch.ones(1, 3), counts, 0.5, 0.25).tolist() == [[1.0, 0.25, -0.75]]


def test_bias_is_added_and_banned_tokens_are_out():
    bias = offsets(Sampling(logit_bias={0: 2.5, 2: -1.0}, banned=(3,)), 4)
    assert bias is not None
    assert bias.tolist() == [2.5, 0.0, -1.0, -math.inf]
    assert offsets(Sampling(), 4) is None


class TestOrder:
    """Values that come out otherwise if two neighbouring steps change places."""

    def after(self, logits: Tensor, sampling: Sampling, **state: Tensor) -> Tensor:
        return adjust(logits, sampling, offset=offsets(sampling, logits.shape[-1]), **state)

    def test_repetition_comes_before_frequency(self):
        state = {"seen": torch.tensor([[True, False]]), "counts": torch.tensor([[1.0, 0.0]])}
        out = self.after(torch.tensor([[4.0, 0.0]]), Sampling(repetition_penalty=2, frequency_penalty=1), **state)
        assert out[0, 0] == 4 / 2 - 1  # the other way round: (4 - 1) / 2

    def test_penalties_come_before_bias(self):
        out = self.after(
            torch.tensor([[4.0, 0.0]]),
            Sampling(repetition_penalty=2, logit_bias={0: 1.0}),
            seen=torch.tensor([[True, False]]),
        )
        assert out[0, 0] == 4 / 2 + 1  # the other way round: (4 + 1) / 2

    def test_bias_comes_before_temperature(self):
        out = self.after(torch.tensor([[4.0, 0.0]]), Sampling(temperature=2, logit_bias={0: 1.0}))
        assert out[0, 0] == (4 + 1) / 2

    def test_a_ban_beats_a_bias(self):
        sampling = Sampling(temperature=0, logit_bias={0: 100.0}, banned=(0,))
        assert self.after(torch.tensor([[4.0, 0.0]]), sampling).argmax() == 1

    def test_temperature_comes_before_top_p(self):
        # squared and normalised (temperature 1/2), 0.6 and 0.4 become 0.69 and 0.31
        assert kept(self.after(logs(0.6, 0.4), Sampling(temperature=0.5, top_p=0.65))) == [0]

    def test_top_k_comes_before_top_p(self):
        # of the two that are left, the first has 0.4 / 0.7 = 0.57
        assert kept(self.after(logs(0.4, 0.3, 0.2, 0.1), Sampling(top_k=2, top_p=0.5))) == [0]

    def test_top_p_comes_before_min_p(self):
        # min-p 0.6 alone leaves 0.4 and 0.3, of which 0.4 / 0.7 = 0.57 would be enough for top-p 0.55
        assert kept(self.after(logs(0.4, 0.3, 0.2, 0.1), Sampling(top_p=0.55, min_p=0.6))) == [0, 1]

    def test_greedy_leaves_the_filters_out_but_not_the_penalties(self):
        logits, seen = torch.tensor([[4.0, 3.0]]), torch.tensor([[True, False]])
        sampling = Sampling(temperature=0, top_k=1, repetition_penalty=2)
        assert self.after(logits, sampling, seen=seen).tolist() == [[2.0, 3.0]]


def test_steps_equal_those_of_transformers():
    from transformers import generation

    make = torch.Generator().manual_seed(0)
    ids = torch.randint(0, 50, (4, 9), generator=make)
    logits = torch.randn(4, 50, generator=make, dtype=torch.float64)
    seen = torch.zeros(4, 50, dtype=torch.bool).scatter_(1, ids, True)
    judges = [
        generation.RepetitionPenaltyLogitsProcessor(1.3),
        generation.SequenceBiasLogitsProcessor({(7,): 2.0, (8,): -2.0}),
        generation.SuppressTokensLogitsProcessor([3, 4]),
        generation.TemperatureLogitsWarper(0.8),
        generation.TopKLogitsWarper(20),
        generation.TopPLogitsWarper(0.9),
        generation.MinPLogitsWarper(0.05),
    ]
    expected = logits
    for judge in judges:
        expected = judge(ids, expected)
    sampling = Sampling(0.8, 20, 0.9, 0.05, 1.3, logit_bias={7: 2.0, 8: -2.0}, banned=(3, 4))
    actual = adjust(logits, sampling, seen=seen, offset=offsets(sampling, 50))
    assert torch.equal(actual.isfinite(), expected.isfinite())
    assert 1 < actual.isfinite().sum(dim=-1).min() < 20  # the filters did something, and left something
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=0)  # float64: a few roundings


def test_draw_gives_each_token_its_share_of_the_unit_interval():
    uniform = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    drawn = draw(logs(0.1, 0.0, 0.65, 0.25).expand(1000, -1), uniform)
    assert drawn.bincount(minlength=4).tolist() == [100, 0, 650, 250]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=9), st.floats(0, 1, exclude_max=True))
def test_draw_never_takes_a_token_that_is_out(out, uniform):
    out[len(out) // 2] = False  # one at least stays
    logits = torch.zeros(1, len(out)).masked_fill(torch.tensor([out]), -math.inf)
    drawn = draw(logits, torch.tensor([uniform], dtype=torch.float64))
    assert not out[int(drawn)]


def test_draw_of_the_largest_number_below_one_stays_in_the_vocabulary():
    logits = torch.randn(64, 50_257, generator=torch.Generator().manual_seed(0))
    logits[:, -1] = -math.inf
    assert draw(logits, torch.full((64,), 1 - 2**-53, dtype=torch.float64)).max() < 50_256


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({"temperature": -0.1}, "temperature must be 0"),
        ({"temperature": math.nan}, "temperature must be 0"),
        ({"temperature": 1e-7}, "temperature must be 0 .*, or 1e-06 or above, not 1e-07"),
        ({"top_k": 0}, "top_k must be a whole number"),
        ({"top_p": 0.0}, "top_p must be above 0 and at most 1, not 0.0"),
        ({"top_p": 1.1}, "top_p must be above 0 and at most 1, not 1.1"),
        ({"min_p": 1.5}, "min_p must be between 0 and 1"),
        ({"repetition_penalty": 0.0}, "repetition_penalty must be from 0.001"),
        ({"frequency_penalty": math.inf}, "frequency_penalty must be from -1e.06 to 1e.06, not inf"),
        ({"frequency_penalty": -2e6}, "frequency_penalty must be from"),
        ({"presence_penalty": math.nan}, "presence_penalty must be from"),
        ({"presence_penalty": 1e39}, "presence_penalty must be from"),
        ({"logit_bias": {3: math.nan}}, "logit_bias of token 3"),
        ({"logit_bias": {3: math.inf}}, "logit_bias of token 3"),
        ({"logit_bias": {3: -1e39}}, "logit_bias of token 3 must be -inf, or from"),
    ],
)
def test_impossible_settings_are_refused(setting, says):
    with pytest.raises(ConfigError, match=says):
        Sampling(**setting)


def test_the_largest_settings_still_give_a_number():
    sampling = Sampling(1e-6, frequency_penalty=1e6, presence_penalty=-1e6, logit_bias={0: 1e6, 1: -math.inf, 2: -1e6})
    counts = torch.tensor([[1e5, 0.0, 3.0, 1.0]])
    out = adjust(torch.zeros(1, 4), sampling, counts=counts, offset=offsets(sampling, 4))
    assert out.isfinite().tolist() == [[True, False, True, True]]


def test_every_problem_is_said_at_once():
    with pytest.raises(ConfigError) as caught:
        Sampling(temperature=-1, top_k=0)
    assert len(caught.value.problems) == 2


def test_ids_outside_the_vocabulary_and_a_ban_on_everything_are_refused():
    with pytest.raises(ConfigError, match="token 4, but ids go from 0 to 3"):
        offsets(Sampling(banned=(4,)), 4)
    with pytest.raises(ConfigError, match="every token is banned"):
        offsets(Sampling(banned=(0, 1), logit_bias={2: -math.inf}), 3)
