"""Evaluation: figures that can be computed on paper, every token once, nothing disturbed."""

import math

import numpy as np
import pytest
import torch
from doubles import LENGTH, VOCAB, TinyModel
from torch import nn

from heed.errors import ConfigError, DataError
from heed.objectives.losses import first_tokens
from heed.objectives.next_token import evaluate
from heed.text.tokenfile import TokenFile


class Known(nn.Module):
    """A model that gives token t the probability 2^-(t+1), whatever came before: its nats can be counted by hand."""

    context = 8

    def __init__(self):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))
        self.seen = []

    def loss(self, source, target, mask, reduction):
        assert reduction == "none"
        self.seen += [(source.tolist(), target.tolist(), mask.tolist())]
        return (target + 1) * math.log(2) * mask


def tokens(ids, sizes=None, **header):
    ends = np.cumsum(sizes if sizes is not None else [len(ids)], dtype=np.uint64)
    facts = {"split": "validation", "corpus": "letters", "corpus_fingerprint": "0123456789", "words": 3, "bytes": 20}
    return TokenFile(np.array(ids, np.uint16), ends, {**facts, "word_rule": "words", **header})


def measure(model, file, **options):
    return evaluate(model, file, **({"tokenizer_name": "char 4 abcd1234", "context": 4, "batch_size": 2} | options))


def test_figures_by_hand():
    # tokens 0 | 1 2 0 3 1 0: the predicted six cost 2+3+1+4+2+1 = 13 bits
    result = measure(Known(), tokens([0, 1, 2, 0, 3, 1, 0]))
    assert result["nats"] == pytest.approx(13 * math.log(2))
    assert result.loss == pytest.approx(13 * math.log(2) / 6)
    assert result.get("token_perplexity") == pytest.approx(2 ** (13 / 6))
    assert result.get("word_perplexity") == pytest.approx(2 ** (13 / 3))
    assert result.get("bits_per_byte") == pytest.approx(13 / 20)
    passport = result.passport
    assert (passport.tokens, passport.words, passport.bytes, passport.partial) == (6, 3, 20, False)
    assert (passport.context, passport.stride, passport.documents) == (4, 4, "joined")
    assert (passport.corpus, passport.split, passport.tokenizer) == (
        "letters 01234567",
        "validation",
        "char 4 abcd1234",
    )


def test_it_is_no_mean_of_means():
    # Windows of 4 and 1 targets with 1 bit and 4 bits a token: (4*1 + 1*4) / 5 bits, where means would give 2.5.
    result = measure(Known(), tokens([0, 0, 0, 0, 0, 3]), batch_size=1)
    assert result.loss == pytest.approx(8 / 5 * math.log(2))


@pytest.mark.parametrize("stride", [1, 2, 3, 4])
@pytest.mark.parametrize("batch_size", [1, 3, 50])
def test_every_token_but_the_first_counts_once_at_every_stride(stride, batch_size):
    # the model looks at no context, so the stride must not change anything
    ids = np.random.default_rng(1).integers(0, 4, 23)
    result = measure(Known(), tokens(ids), stride=stride, batch_size=batch_size)
    assert result["nats"] == pytest.approx((ids[1:] + 1).sum() * math.log(2))
    assert result.passport.tokens == 22
    assert result.passport.stride == stride


def test_a_stride_gives_context():
    # with stride 1 every target beyond the first window is predicted from the full 4 tokens
    model = Known()
    measure(model, tokens(list(range(8))), stride=1, batch_size=100)
    (_, target, mask), = model.seen  # fmt: skip
    counted = [[t for t, m in zip(row, marks, strict=True) if m] for row, marks in zip(target, mask, strict=True)]
    assert counted == [[1, 2, 3, 4], [5], [6], [7]]


def test_separate_documents_without_end_tokens_are_counted_without_their_first_words():
    # documents 1 2 | 3 | (none) | 0 1 1: the predicted three cost 3+2+2 bits; 9 words, 4 of them first ones
    counts = {"words": 9, "bytes": 40, "first_words": 4, "first_bytes": 13}
    result = measure(Known(), tokens([1, 2, 3, 0, 1, 1], sizes=[2, 1, 0, 3], **counts), cross_documents=False)
    assert result["nats"] == pytest.approx(7 * math.log(2))
    assert result.get("word_perplexity") == pytest.approx(2 ** (7 / 5))
    assert result.get("bits_per_byte") == pytest.approx(7 / 27)
    passport = result.passport
    assert (passport.words, passport.bytes, passport.word_rule) == (5, 27, "words but the first of each document")
    part = measure(Known(), tokens([1, 2, 3, 0, 1, 1], sizes=[3, 3], **counts), cross_documents=False, max_tokens=3)
    assert (part.get("word_perplexity"), part.passport.words) == (None, 0)


def test_separate_documents_whose_first_words_are_not_known_have_no_figures_by_words_or_bytes():
    result = measure(Known(), tokens([1, 1, 1, 2, 2], sizes=[3, 2]), cross_documents=False)
    assert result["nats"] == pytest.approx((2 + 2 + 3) * math.log(2))  # neither first token is predicted
    assert result.passport.documents == "separate"
    # the second document's first token would be free of charge, its bytes would count
    assert (result.get("word_perplexity"), result.get("bits_per_byte")) == (None, None)
    assert (result.passport.words, result.passport.bytes, result.passport.partial) == (0, 0, False)


def test_separate_documents_are_read_after_the_end_token_before_them():
    model = Known()
    file = tokens([1, 1, 0, 2, 2, 0], sizes=[3, 3], end_id=0)
    result = measure(model, file, cross_documents=False)
    assert result["nats"] == pytest.approx((2 + 1 + 3 + 3 + 1) * math.log(2))  # all but the first of all
    assert result.get("bits_per_byte") == pytest.approx(10 / 20)
    assert result.get("word_perplexity") == pytest.approx(2 ** (10 / 3))
    assert (result.passport.tokens, result.passport.words, result.passport.bytes) == (5, 3, 20)
    ((source, _, _),) = model.seen
    assert source == [[1, 1, 0, 0], [0, 2, 2, 0]]


def test_a_part_is_marked_and_has_no_figures_of_the_whole():
    result = measure(Known(), tokens([0] * 30), max_tokens=10)
    assert result.passport.partial
    assert result.passport.tokens == 10
    assert (result.get("word_perplexity"), result.get("bits_per_byte")) == (None, None)
    assert {"word_perplexity", "bits_per_byte"}.isdisjoint(result.as_dict())
    whole = measure(Known(), tokens([0] * 30), max_tokens=29)
    assert not whole.passport.partial


def test_the_first_tokens_cut_the_last_document():
    part = first_tokens(tokens(range(10), sizes=[3, 4, 3]), 5)
    assert part.ids.tolist() == [0, 1, 2, 3, 4]
    assert part.ends.tolist() == [3, 5]
    assert first_tokens(tokens(range(10), sizes=[5, 5]), 5).ends.tolist() == [5]


def test_a_perplexity_beyond_all_floats_is_left_out():
    assert measure(Known(), tokens([3] * 2000, words=1)).get("word_perplexity") is None


def test_text_whose_words_nobody_counted():
    file = tokens([0, 1, 2])
    del file.header["words"], file.header["bytes"]
    assert "word_perplexity" not in measure(Known(), file).as_dict()


def test_it_disturbs_nothing_and_repeats_itself():
    model = TinyModel(dropout=0.5)
    model.train()
    state = torch.get_rng_state()
    file = tokens(np.random.default_rng(1).integers(0, VOCAB, 40))
    first = evaluate(model, file, tokenizer_name="t", context=LENGTH)
    second = evaluate(model, file, tokenizer_name="t", context=LENGTH)
    assert first["nats"] == second["nats"]
    assert model.training
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(torch.get_rng_state(), state)


def test_batch_sizes_agree():
    model = TinyModel()
    file = tokens(np.random.default_rng(1).integers(0, VOCAB, 40))
    figures = [evaluate(model, file, tokenizer_name="t", context=LENGTH, batch_size=size)["nats"] for size in (1, 4, 7)]
    assert figures == pytest.approx(
        [figures[0]] * 3, rel=1e-6
    )  # float32 rows of a larger matrix product round otherwise


def test_impossible_wishes():
    with pytest.raises(ConfigError, match="context 9 is longer than the model's 8"):
        measure(Known(), tokens([0, 1, 2]), context=9)
    with pytest.raises(DataError, match="stride"):
        measure(Known(), tokens([0, 1, 2]), stride=5)
    with pytest.raises(DataError, match="needs two"):
        measure(Known(), tokens([0]))
