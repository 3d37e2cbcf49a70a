"""The neural cache by a plain loop, as a distribution, over windows that overlap, and what it is chosen on."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar

from heed.build import build_model
from heed.config import ModelConfig, make_config
from heed.errors import ConfigError, DataError
from heed.models import GPT
from heed.objectives import measure, with_neural_cache
from heed.objectives.neural_cache import (
    SHARPNESSES,
    CacheNumbers,
    WithNeuralCache,
    best_weight,
    choose_numbers,
    mixture,
)
from heed.objectives.next_token import evaluate
from heed.report.passport import Passport, check_comparable
from heed.text.tokenfile import TokenFile

V = 13
SMALL = ModelConfig(n_layers=1, n_heads=2, d_model=8, context=6)
HOW = {"tokenizer_name": "word 13", "context": 6}


def text(length=80, seed=0):
    ids = np.random.default_rng(seed).integers(0, V, length).astype(np.uint16)
    return TokenFile(ids, np.array([length], np.uint64), {"split": "test", "words": length, "bytes": 5 * length})


def small_model():
    model = GPT(SMALL, V, torch.Generator().manual_seed(1)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)  # so that it does not predict all tokens alike
    return model


@torch.no_grad()
def by_hand(model, tokens, size, weight, sharpness, stride):
    """The probability of each token but the first, place by place, from windows of 6 that move on by `stride`."""
    ids = torch.from_numpy(tokens.ids.astype(np.int64))
    states, p_model, done = [], [], 0
    for begin in range(0, len(ids) - 1, stride):
        window = ids[begin : begin + 7]
        hidden = model.hidden(window[None, :-1])[0]
        for i in range(len(window) - 1):
            if begin + i >= done:
                states.append(hidden[i])
                p_model.append(model.logits(hidden[i]).softmax(-1))
        done = max(done, begin + len(window) - 1)
    result = []
    for t in range(len(ids) - 1):
        p = p_model[t].double()
        past = range(max(0, t - size), t)
        if len(past):
            scores = [math.exp(sharpness * float(states[t] @ states[i])) for i in past]
            cache = torch.zeros(V, dtype=torch.float64)
            for i, score in zip(past, scores, strict=True):
                cache[ids[i + 1]] += score / sum(scores)
            p = (1 - weight) * p + weight * cache
        assert p.sum().item() == pytest.approx(1, abs=1e-5)
        result.append(p[ids[t + 1]].item())
    return result


@pytest.mark.parametrize("stride", [None, 2, 5])
@pytest.mark.parametrize("size", [1, 9, 500])
def test_the_loss_is_that_of_a_plain_loop(size, stride, monkeypatch):
    monkeypatch.setattr("heed.objectives.neural_cache.QUERIES", 7)  # several blocks
    model, tokens = small_model(), text()
    mixed = WithNeuralCache(model, size, CacheNumbers(size, 0.3, 0.2))
    found = evaluate(mixed, tokens, stride=stride, batch_size=3, **HOW)
    p = by_hand(model, tokens, size, 0.3, 0.2, stride or 6)
    assert len(p) == 79
    assert found.loss == pytest.approx(-np.log(p).mean(), rel=1e-5)
    assert found["word_perplexity"] == pytest.approx(math.exp(-np.log(p).sum() / 80), rel=1e-4)


def test_a_recurrent_model_that_carries_its_state_has_one_too():
    model = build_model(ModelConfig(kind="lstm", d_model=8, n_layers=1, context=6), V).eval()
    tokens, numbers = text(), CacheNumbers(20, 0.4, 0.5)
    alone = evaluate(model, tokens, carry=True, **HOW)
    both = evaluate(WithNeuralCache(model, 20, numbers), tokens, carry=True, **HOW)
    ids = torch.from_numpy(tokens.ids.astype(np.int64))
    with torch.no_grad():
        states = model.hidden(ids[None, :-1], model.new_cache(1, 79))[0]
    total = 0.0
    for t in range(79):
        p = model.logits(states[t]).softmax(-1)[ids[t + 1]].item()
        past = range(max(0, t - 20), t)
        if len(past):
            scores = np.exp([0.5 * float(states[t] @ states[i]) for i in past])
            hit = sum(score for i, score in zip(past, scores, strict=True) if ids[i + 1] == ids[t + 1])
            p = 0.6 * p + 0.4 * hit / scores.sum()
        total -= math.log(p)
    assert both.loss == pytest.approx(total / 79, rel=1e-5)
    assert both.loss != alone.loss


def test_the_best_weight_is_scipys():
    random = np.random.default_rng(0)
    by_model = torch.from_numpy(np.log(random.uniform(0.01, 0.5, 400)))
    by_cache = torch.from_numpy(np.log(random.choice([1e-300, 0.02, 0.9], 400, p=[0.5, 0.3, 0.2])))
    by_cache[:20] = torch.nan  # nothing read yet
    loss = lambda weight: -mixture(by_model, by_cache, float(weight)).mean().item()
    theirs = minimize_scalar(loss, bounds=(1e-6, 1 - 1e-6), method="bounded", options={"xatol": 1e-10})
    ours = best_weight(by_model, by_cache)
    assert loss(ours) == pytest.approx(theirs.fun, abs=1e-8)
    assert ours == pytest.approx(theirs.x, abs=1e-3)


def test_what_is_chosen_is_the_best_of_all_that_was_tried():
    """A text that repeats itself: the numbers chosen cost no more than any other of the sharpnesses and weights."""
    model = small_model()
    line = np.random.default_rng(3).integers(0, V, 12)
    tokens = TokenFile(np.tile(line, 10).astype(np.uint16), np.array([120], np.uint64), {"split": "validation"})
    read = lambda some: evaluate(some, tokens, **HOW)
    numbers = choose_numbers(model, 50, read)
    best = read(WithNeuralCache(model, 50, numbers)).loss
    assert best < read(model).loss - 0.5
    squares = []
    with torch.no_grad():
        for begin in range(0, 119, 6):
            squares.append(model.hidden(torch.from_numpy(tokens.ids[begin : begin + 6].astype(np.int64))[None])[0])
    mean = torch.cat(squares)[:119].square().sum(dim=1).mean().item()
    for one in SHARPNESSES:
        for weight in (0.1, 0.5, 0.9, numbers.weight):
            other = read(WithNeuralCache(model, 50, CacheNumbers(50, weight, one / mean))).loss
            assert best <= other + 1e-5


def test_figures_with_it_say_so_and_are_compared_with_no_others():
    config = make_config({"model": SMALL.model_dump(), "data": {"source": "x"}})
    model, tokens, letters = small_model(), text(), SimpleNamespace(kind="char", vocab_size=V, hash="0" * 64)
    mixed = with_neural_cache(model, config, 20, CacheNumbers(20, 0.25, 0.5), lambda some: None)
    both, alone = (measure(one, letters, tokens, config) for one in (mixed, model))
    sentence = "beside a neural cache of the last 20 tokens (weight 0.25, sharpness 0.5)."
    assert both.passport.sentence().endswith(f", {sentence}")
    assert "cache" not in alone.as_dict()["passport"]
    assert Passport.from_dict(both.as_dict()["passport"]) == both.passport
    with pytest.raises(ConfigError, match=r"the passports differ in cache \(a neural cache of the last 20 tokens"):
        check_comparable(both.passport, alone.passport, "loss")


def test_it_refuses_what_it_is_not_for():
    numbers = CacheNumbers(20, 0.25, 0.5)
    for data in ({"cross_documents": False}, {"layout": "padded"}, {"objective": "single-span", "layout": "padded"}):
        config = make_config({"model": {**SMALL.model_dump(), "context": 64}, "data": {"source": "x", **data}})
        with pytest.raises(
            ConfigError, match="--neural-cache: is for runs that predict the next token of one long text"
        ):
            with_neural_cache(small_model(), config, 20, numbers, lambda some: None)
    leaking = small_model()
    leaking.leaks = "it does"
    with pytest.raises(ConfigError, match="--neural-cache: this model sees the tokens that it predicts"):
        with_neural_cache(leaking, make_config({"data": {"source": "x"}}), 20, numbers, lambda some: None)
    with pytest.raises(ConfigError, match="the weight of a neural cache is between 0 and 1"):
        CacheNumbers(20, 1.0, 0.5)
    with pytest.raises(ConfigError, match="the sharpness of a neural cache is above 0"):
        CacheNumbers(20, 0.5, 0.0)


def test_texts_and_models_with_nothing_to_go_by():
    """Two tokens have no place before them: the model alone; hidden states of 0 are all alike, and count alike."""
    model, short = small_model(), text(2)
    beside = WithNeuralCache(model, 5, CacheNumbers(5, 0.3, 0.2))
    assert evaluate(beside, short, **HOW).loss == pytest.approx(evaluate(model, short, **HOW).loss)
    with pytest.raises(DataError, match="the validation split is too short to choose the numbers of a neural cache on"):
        choose_numbers(model, 5, lambda some: evaluate(some, short, **HOW))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    tokens = text()
    numbers = choose_numbers(model, 20, lambda some: evaluate(some, tokens, **HOW))
    p = by_hand(model, tokens, 20, numbers.weight, numbers.sharpness, 6)
    found = evaluate(WithNeuralCache(model, 20, numbers), tokens, **HOW)
    assert found.loss == pytest.approx(-np.log(p).mean(), rel=1e-5)
