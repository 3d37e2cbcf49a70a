"""Induction: random tokens read twice, a head that was made by hand, and the score of looking everywhere."""

import numpy as np
import pytest
import torch

from explore.small_subjects import subject_of
from heed.config import make_config
from heed.errors import ConfigError
from heed.explore.induction import induction_score, measure_induction, plan_induction, repeated_tokens
from heed.explore.own_model import OwnModel
from heed.models import GPT
from heed.text.tokenizers import train_tokenizer

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def induction_model():
    """Return two layers whose weights are chosen: the first copies the token before, the second looks it up.

    the stream  half for the letter as it is read, half for the letter of the place before
    layer 1     v: the letter, which goes to the second half; who looks at whom is set by the test
    layer 2     q: the letter here, k: the letter before there: it looks where this letter was followed
    """
    tokenizer = train_tokenizer("char", [LETTERS], 100)
    V, T = tokenizer.vocab_size, 16
    K = 32
    D = 2 * K
    model = {"n_layers": 2, "n_heads": 1, "d_model": D, "context": T, "positions": "learned", "bias": False,
             "norm": "rms", "tied": False}  # fmt: skip
    config = make_config({"model": model}).model
    made = GPT(config, V)
    assert V <= K
    generator = torch.Generator().manual_seed(0)
    letters = torch.linalg.qr(torch.randn(K, K, generator=generator))[0][:V]  # orthonormal: (V, K)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.zero_()
        for block in made.blocks:
            block.attention_norm.weight.fill_(1.0)
        made.tokens.weight[:, :K] = letters
        one, two = made.blocks[0].attention, made.blocks[1].attention
        one.out.weight[K:, :K] = torch.eye(K)
        one.qkv.weight[2 * D : 2 * D + K, :K] = torch.eye(K)  # v: the letter
        two.qkv.weight[:K, :K] = torch.eye(K) * 12  # q: the letter here
        two.qkv.weight[D : D + K, K:] = torch.eye(K) * 12  # k: the letter before there
        two.qkv.weight[2 * D : 2 * D + K, :K] = torch.eye(K)
    return made, tokenizer


def test_a_head_made_by_hand_has_the_score_one():
    """With the first layer's map set to "the token before", the second does induction by its own weights."""
    made, tokenizer = induction_model()

    def before(q, k, v, mask, bias=None):
        return torch.cat((torch.zeros_like(v[:, :, :1]), v[:, :, :-1]), dim=2)

    made.blocks[0].attention.mechanism.forward = before
    subject = OwnModel("hand", "hand", made, tokenizer)
    plan = plan_induction(16, 0, 8, 2, 4, seed=3)
    rows = repeated_tokens(subject.plain_ids, (), plan)
    distinct = np.array([len(set(row[:8])) == 8 for row in rows])
    assert distinct.any()
    found = measure_induction(subject, plan)
    assert found.scores.shape == (4, 2, 1)
    assert (found.scores[distinct, 1, 0] > 0.99).all()
    assert (found.scores[:, 0, 0] < 0.01).all()  # the first looks at the token before


def test_the_score_counts_every_earlier_copy():
    T, n = 9, 3
    weights = np.zeros((1, T, T))
    weights[0, 3:6, :] = np.eye(T)[[1, 2, 3]]
    weights[0, 6:, :] = (np.eye(T)[[1, 2, 3]] + np.eye(T)[[4, 5, 6]]) / 2
    assert induction_score(weights, n).tolist() == [1.0]
    shifted = np.zeros((1, T + 1, T + 1))  # behind a token that every text begins with
    shifted[0, 1:, 1:] = weights
    assert induction_score(shifted, n, start=1).tolist() == [1.0]
    assert induction_score(weights[:, :, ::-1], n)[0] < 1


def test_chance_is_what_an_even_head_has():
    subject = subject_of()
    plan = plan_induction(subject.context, 0, 5, 2, 2, 0)
    found = measure_induction(subject, plan)
    assert np.isclose(found.chance, np.mean([1 / (t + 1) for t in range(5, 10)]))
    assert found.first_nats.shape == found.later_nats.shape == (2,)


def test_tokens_are_repeated_and_the_same_for_a_seed():
    plan = plan_induction(64, 1, 6, 3, 2, seed=5)
    rows = repeated_tokens(np.arange(100), (7,), plan)
    assert rows.shape == (2, 19)
    assert (rows[:, 0] == 7).all()
    assert (rows[:, 1:7] == rows[:, 7:13]).all()
    assert (rows[:, 1:7] == rows[:, 13:]).all()
    assert (rows == repeated_tokens(np.arange(100), (7,), plan)).all()


def test_what_does_not_fit_is_refused():
    assert plan_induction(64, 0, None, 2, 4, 0).length == 32
    with pytest.raises(ConfigError, match="a copy has 2 to 32 tokens"):
        plan_induction(64, 0, 40, 2, 4, 0)
