"""Accuracy by hand, its interval, and the loss of hidden tokens by hand."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from heed.build import build_model
from heed.config import ModelConfig
from heed.errors import ConfigError
from heed.objectives.classes import classify
from heed.objectives.masked import evaluate_masked
from heed.objectives.next_token import evaluate
from heed.report.passport import check_comparable
from heed.report.statistics import wilson
from heed.text.labelled import LabelledTokens
from heed.text.masking import masked_windows
from heed.text.tokenfile import TokenFile

PAD = 20
HEADER = {"corpus": "toy", "corpus_fingerprint": "0123456789", "split": "validation"}


class First(nn.Module):
    """Gives class 0, 1 or 2 by the first token; logits 2 for that class and 0 else."""

    context = 8

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, ids):
        return 2 * torch.eye(3)[ids[:, 0] % 3]


def texts() -> LabelledTokens:
    """Five texts whose first tokens say 0 1 2 0 1, of the classes 0 1 1 0 0; class c has none."""
    ids = np.array([0, 7, 1, 2, 9, 9, 3, 4], dtype=np.uint16)
    return LabelledTokens(ids, np.array([2, 3, 6, 7, 8], np.uint64), HEADER, np.array([0, 1, 1, 0, 0]), ("a", "b", "c"))


def measured(**settings):
    return classify(First(), texts(), tokenizer_name="t", pad_id=PAD, **({"context": 8, "batch_size": 2} | settings))


def test_figures_by_hand():
    result = measured()
    assert result["confusion"] == [[2, 1, 0], [0, 1, 1], [0, 0, 0]]
    assert (result["accuracy"], result["majority"], result["examples"]) == (0.6, 0.6, 5)
    assert result["recall"] == {"a": 2 / 3, "b": 0.5, "c": None}
    right, wrong = math.log(1 + 2 / math.e**2), math.log(math.e**2 + 2)
    assert result.loss == pytest.approx((3 * right + 2 * wrong) / 5, rel=1e-12)
    passport = result.passport
    assert (passport.unit, passport.tokens, passport.partial, passport.corpus) == ("example", 5, False, "toy 01234567")
    assert "5 examples (t), each read up to its token 8." in passport.sentence()
    assert result.lines()[0] == ("accuracy", "60.0 % (23.1 to 88.2 %)")
    assert result.as_dict()["confusion"] == [[2, 1, 0], [0, 1, 1], [0, 0, 0]]


def test_the_batch_size_changes_nothing():
    assert {measured(batch_size=size).loss for size in (1, 3, 64)} == {measured().loss}


def test_the_beginning_of_a_split_is_said_to_be_partial():
    result = measured(max_tokens=3)
    assert (result["examples"], result.passport.partial) == (2, True)
    assert measured(max_tokens=1)["examples"] == 1  # one at least


def test_what_does_not_fit_is_refused():
    with pytest.raises(ConfigError, match="longer than the model's 8"):
        measured(context=9)
    two = LabelledTokens(texts().ids, texts().ends, HEADER, texts().labels, ("a", "b"))
    with pytest.raises(ConfigError, match="the model knows 3 classes, the texts have 2"):
        classify(First(), two, tokenizer_name="t", pad_id=PAD, context=8)


@pytest.mark.parametrize(
    # Brown, Cai and DasGupta 2001 use 0 of 10 and such; these by the formula with z = 1.959964
    ("right", "count", "low", "high"),
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (698, 872, 0.7727, 0.8256), (1, 2, 0.0945, 0.9055)],
)
def test_the_interval(right, count, low, high):
    assert wilson(right, count) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


def test_the_loss_of_hidden_tokens_by_hand():
    V = 20
    config = ModelConfig(kind="encoder", n_layers=1, n_heads=2, d_model=8, context=8)
    model = build_model(config, V, torch.Generator().manual_seed(1)).double()
    tokens = TokenFile((np.arange(30) * 7 % V).astype(np.uint16), np.array([12, 30], np.uint64), HEADER)
    settings = {"tokenizer_name": "t", "context": 8, "fraction": 0.3, "vocab_size": V}
    result = evaluate_masked(model, tokens, **settings)
    nats, count = 0.0, 0
    for batch in masked_windows(tokens, 8, 1, 0.3, V, True):
        log_p = model(torch.from_numpy(batch.source)).log_softmax(-1)
        assert batch.mask is not None
        for place in np.flatnonzero(batch.mask[0]):
            nats -= log_p[0, place, batch.target[0, place]].item()
            count += 1
    assert result.loss == pytest.approx(nats / count, rel=1e-12)
    assert (result.passport.tokens, count) == (count, 2 + 2 + 2 + 2)  # 0.3 of 8, 8, 8 and 5 tokens, rounded
    assert evaluate_masked(model, tokens, **settings, batch_size=3).loss == pytest.approx(result.loss, rel=1e-12)
    assert result.as_dict().keys() == {"loss", "nats", "evaluation_seconds", "passport"}
    assert result.lines() == [("masked token loss", f"{result.loss:.4f} nats a masked token")]


def test_hidden_tokens_compare_with_no_causal_figure():
    gpt = build_model(ModelConfig(n_layers=1, n_heads=2, d_model=8, context=8), 20)
    encoder = build_model(ModelConfig(kind="encoder", n_layers=1, n_heads=2, d_model=8, context=8), 20)
    tokens = TokenFile((np.arange(30) % 20).astype(np.uint16), np.array([30], np.uint64), {**HEADER, "bytes": 60})
    causal = evaluate(gpt, tokens, tokenizer_name="t", context=8).passport
    hidden = evaluate_masked(encoder, tokens, tokenizer_name="t", context=8, fraction=0.15, vocab_size=20).passport
    for figure in ("loss", "bits_per_byte"):
        with pytest.raises(ConfigError, match="cannot be compared"):
            check_comparable(causal, hidden, figure)
