"""Draws through a restricted API are draws from the nucleus: chi-square against the true one."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from scipy.stats import chisquare

from heed.cli import main
from heed.errors import ApiError
from heed.recovery.nucleus_sampler import NucleusSampler
from recovery.simulated_api import SimulatedApi, some_logits

DRAWS = 20_000


def true_nucleus(log_p: np.ndarray, top_p: float) -> dict[int, float]:
    order = np.argsort(-log_p, kind="stable")
    enough = int(np.searchsorted(np.cumsum(np.exp(log_p[order])), top_p)) + 1
    p = np.exp(log_p[order[:enough]])
    return dict(zip(order[:enough].tolist(), (p / p.sum()).tolist(), strict=True))


def p_value(drawn: Counter[int], truth: dict[int, float]) -> float:
    assert set(drawn) <= set(truth), "a token outside of the nucleus was drawn"
    return float(chisquare([drawn[token] for token in truth], DRAWS * np.array(list(truth.values()))).pvalue)


@pytest.mark.parametrize(("mode", "top"), [("biased", 2), ("biased", 5), ("raw", 2)])
def test_draws_are_of_the_true_nucleus(mode, top):
    api = SimulatedApi(some_logits(300, 2), top=top, mode=mode, dtype=np.float32)
    sampler = NucleusSampler(lambda ids: api, api.limits, 0.9)
    drawn = Counter(sampler.write((1, 2), 1, [7, number]).ids[0] for number in range(DRAWS))
    truth = true_nucleus(api.log_p, 0.9)
    assert set(drawn) == set(truth)
    assert p_value(drawn, truth) > 0.001
    calls = api.calls
    assert calls == sampler.calls < 40  # read once, drawn from as often as wanted
    other = dict(zip(truth, np.roll(list(truth.values()), 1), strict=True))
    assert p_value(drawn, other) < 1e-6


def test_texts_follow_their_seed_and_what_they_have_written():
    apis: dict[tuple[int, ...], SimulatedApi] = {}

    def about(ids):
        return apis.setdefault(ids, SimulatedApi(some_logits(50, seed=sum(ids) % 5), top=5))

    sampler = NucleusSampler(about, about((0,)).limits, 0.8)
    one, again, other = (sampler.write((0,), 6, [seed]) for seed in (1, 1, 2))
    assert one == again
    assert one.ids != other.ids
    assert len(one.ids) == 6
    assert all((0, *one.ids[:n]) in apis for n in range(6))
    for place, (token, value) in enumerate(zip(one.ids, one.logprobs, strict=True)):
        assert value == pytest.approx(apis[(0, *one.ids[:place])].log_p[token], abs=1e-5)
    ended = sampler.write((0,), 6, [1], end=one.ids[2])
    assert (ended.ids, ended.reason) == (one.ids[: list(one.ids).index(one.ids[2])], "end")


def test_a_nucleus_that_cannot_be_reached_is_an_error():
    api = SimulatedApi(np.zeros(400), top=2, biased=40)
    with pytest.raises(ApiError, match="take a smaller one"):
        NucleusSampler(lambda ids: api, api.limits, 0.9).nucleus((1,))


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["runs/a", "--api", "http://127.0.0.1:9/v1"], "take a run folder or --api"),
        (["--api", "http://127.0.0.1:9/v1", "--model", "m", "--tokenizer", "t"], "--top-p below 1"),
        (["--api", "http://127.0.0.1:9/v1", "--model", "m", "--top-p", "0.9"], "--api needs --tokenizer"),
        (["--api", "http://127.0.0.1:9/v1", "--temperature", "0.5"], "--temperature needs a run at hand"),
        (["runs/a", "--budget", "5 calls"], "--budget is for --api"),
        ([], "heed sample needs RUN"),
    ],
)
def test_mistakes_of_the_verb_are_one_line(capsys, flags, said):
    assert main(["sample", *flags]) == 2
    shown = capsys.readouterr().err
    assert said in shown
    assert shown.count("\n") == 1
