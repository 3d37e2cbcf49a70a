"""Answers and their probabilities: by hand, against each other, and against reading the whole text."""

import math

import numpy as np
import pytest
import torch
from generation_doubles import Table

from heed.config import ModelConfig
from heed.errors import ConfigError, DataError
from heed.generation.answers import beam_answers, greedy_answers, score_answers
from heed.models import GPT
from heed.text.qa import answer_ids, question_ids
from heed.text.tokenizers import MASK, train_tokenizer

LETTERS = "abcd"
CANDIDATES = ["a", "ab", "abc", "b", "dd"]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer("char", [LETTERS + "?"], 100, end_of_text=False, specials=[MASK])


@pytest.fixture(scope="module")
def model(tokenizer):
    """A random GPT in float64 whose vocabulary is padded by three, with weights large enough to prefer something."""
    config = ModelConfig(n_layers=2, n_heads=2, d_model=16, context=16, positions="rotary", tied=False)
    model = GPT(config, tokenizer.vocab_size + 3, torch.Generator().manual_seed(1)).double()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(12)
    return model


def whole(model, tokenizer, prompt: str, answer: str) -> float:
    """The definition: log p(answer and closing mask | question and mask), from one reading of everything."""
    begin, end = question_ids(tokenizer, prompt), answer_ids(tokenizer, answer)
    with torch.inference_mode():
        logprobs = model.eval()(torch.tensor([begin + end])).log_softmax(dim=-1)[0, len(begin) - 1 : -1]
    return logprobs.gather(1, torch.tensor(end)[:, None]).sum().item()


def certain(tokenizer, **probabilities: float) -> Table:
    """After the mask each letter with its probability; after a letter the mask with 0.75, else another `b`."""
    V = tokenizer.vocab_size
    table = torch.full((V, V), -math.inf, dtype=torch.float64)
    mask, b = tokenizer.mask_id, tokenizer.encode("b")[0]
    table[:, mask], table[:, b] = math.log(0.75), math.log(0.25)
    table[mask] = -math.inf
    for letter, p in probabilities.items():
        table[mask, tokenizer.encode(letter)[0]] = math.log(p)
    return Table(table)


def test_the_probability_is_of_the_whole_answer_with_its_mask(tokenizer):
    model = certain(tokenizer, a=0.6, c=0.4)
    (answer,) = greedy_answers(model, tokenizer, ["?"])
    assert (answer.text, answer.finished) == ("a", True)
    assert math.exp(answer.logprob) == pytest.approx(0.6 * 0.75, abs=1e-12)
    (best,) = beam_answers(model, tokenizer, ["?"], beams=3)
    assert [(one.text, round(math.exp(one.logprob), 12)) for one in best] == [
        ("a", 0.45),
        ("c", 0.3),
        ("ab", 0.1125),
    ]
    scores = score_answers(model, tokenizer, ["?"], ["c", "ab", "a"])
    assert np.exp(scores[0]) == pytest.approx([0.3, 0.1125, 0.45], abs=1e-12)


def test_an_answer_that_does_not_end_says_so(tokenizer):
    model = certain(tokenizer, a=1.0)
    model.table[tokenizer.encode("a")[0], tokenizer.mask_id] = math.log(0.1)
    model.table[tokenizer.encode("b")[0], tokenizer.mask_id] = math.log(0.1)
    (answer,) = greedy_answers(model, tokenizer, ["?"], max_tokens=3)
    assert (answer.text, answer.finished) == ("abb", False)


def test_every_way_gives_the_probability_of_one_reading(model, tokenizer):
    prompts = ["ab?", "d?", "cccc?", "a"]
    scores = score_answers(model, tokenizer, prompts, CANDIDATES, batch_size=3)
    expected = [[whole(model, tokenizer, prompt, answer) for answer in CANDIDATES] for prompt in prompts]
    # float64: only the order of sums differs
    np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-10)
    for prompt, best, greedy in zip(
        prompts, beam_answers(model, tokenizer, prompts), greedy_answers(model, tokenizer, prompts), strict=True
    ):
        for answer in [*best, greedy]:
            if answer.finished:
                assert answer.logprob == pytest.approx(whole(model, tokenizer, prompt, answer.text), abs=1e-10)
        assert [a.logprob for a in best if a.finished] == sorted((a.logprob for a in best if a.finished), reverse=True)
        if greedy.finished:
            assert best[0].logprob >= greedy.logprob - 1e-10


def test_a_wide_beam_agrees_with_exact_scores(model, tokenizer):
    every = [a + b for a in LETTERS + "?" for b in ["", *LETTERS, "?"]] + [""]
    scores = score_answers(model, tokenizer, ["ab?"], every)[0]
    found = beam_answers(model, tokenizer, ["ab?"], beams=64, max_tokens=3)[0]
    ended = {answer.text: answer.logprob for answer in found if answer.finished}
    for answer, score in zip(every, scores, strict=True):
        assert ended[answer] == pytest.approx(score, abs=1e-10)


def test_dropout_is_off_and_the_mode_is_kept(model, tokenizer):
    model.train()
    score_answers(model, tokenizer, ["a"], ["b"])
    assert model.training
    model.eval()


def test_a_model_that_reads_no_tree_scores_the_same_way(tokenizer):
    config = ModelConfig(n_layers=1, n_heads=2, d_model=16, context=16, attention={"mechanism": "aft-full"})
    model = GPT(config, tokenizer.vocab_size).double()
    scores = score_answers(model, tokenizer, ["ab?", "d?"], CANDIDATES)
    expected = [[whole(model, tokenizer, prompt, answer) for answer in CANDIDATES] for prompt in ("ab?", "d?")]
    np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-10)


def test_candidates_of_unknown_words_have_no_probability():
    words = train_tokenizer("word", ["who is it a b c"] * 2, 100, end_of_text=False, specials=[MASK])
    model = Table(torch.zeros(words.vocab_size, words.vocab_size, dtype=torch.float64))
    scores = score_answers(model, words, ["who is it"], ["a", "Rome", "b Oslo", "c"])
    # each of the V words and then the mask: 1 / V^2; Rome and Oslo are one and the same unknown word
    known = -2 * math.log(words.vocab_size)
    assert scores.tolist() == [[pytest.approx(known), -math.inf, -math.inf, pytest.approx(known)]]


def test_what_cannot_be_asked_is_refused_in_one_line(model, tokenizer):
    with pytest.raises(ConfigError, match="candidates must be 1 or more"):
        score_answers(model, tokenizer, ["a"], [])
    with pytest.raises(ConfigError, match=r"'a\?' with the answer 'dddddddddddddd' is longer than the model's context"):
        score_answers(model, tokenizer, ["a?"], ["a", "d" * 14])
    assert score_answers(model, tokenizer, ["a?"], ["d" * 13]).shape == (1, 1)  # 2 + mask + 13: the context, exactly
    with pytest.raises(ConfigError, match="has 16 tokens with its mask, and the model reads 16"):
        greedy_answers(model, tokenizer, ["a" * 15])
    with pytest.raises(DataError, match="'x'"):
        beam_answers(model, tokenizer, ["x?"])
    with pytest.raises(ConfigError, match="prompts must be a list"):
        greedy_answers(model, tokenizer, "a?")
    with pytest.raises(DataError, match="mask"):
        greedy_answers(model, train_tokenizer("char", [LETTERS], 100, end_of_text=False), ["a"])
