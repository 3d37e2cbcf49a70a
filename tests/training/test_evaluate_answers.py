"""The figures of answers and of hidden spans, by hand."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from heed.errors import ConfigError
from heed.objectives.answers import evaluate_answers
from heed.objectives.spans import evaluate_spans
from heed.report.passport import check_comparable
from heed.report.statistics import wilson
from heed.text.corruption import Corruption, corrupted_windows
from heed.text.question_corpus import open_questions, question_tokens
from heed.text.tokenfile import TokenFile
from heed.text.tokenizers import MASK, sentinels, train_tokenizer

TOKENIZER = train_tokenizer("char", ["abc?"], 10, specials=[MASK])


class Even(nn.Module):
    """Gives every token of the vocabulary the same probability; notes how many targets it was asked for."""

    context = 16

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def loss(self, source, target, mask=None, reduction="mean"):
        assert reduction == "none"
        return torch.where(mask, math.log(TOKENIZER.vocab_size), 0.0)


@pytest.fixture
def tokens(tmp_path):
    path = tmp_path / "q.tsv"
    path.write_text("a?\tb\nb?\tcc\nc?\tb\nab?\ta\n")
    return question_tokens(open_questions(path, validation_fraction=0.0), TOKENIZER)["train"]


def measured(tokens, answers=("b", "c", " b ", "x"), **settings):
    asked = []

    def write(prompts, most):
        asked.append((list(prompts), most))
        return answers[: len(prompts)]

    result = evaluate_answers(Even(), tokens, TOKENIZER, write, tokenizer_name="t", context=16, **settings)
    return result, asked


def test_figures_by_hand(tokens):
    result, asked = measured(tokens)
    assert asked == [(["a?", "b?", "c?", "ab?"], 3)]  # "cc" and its mask are the longest right answer
    assert (result["correct"], result["questions"], result["accuracy"]) == (2, 4, 0.5)  # white space around is forgiven
    assert result.intervals["accuracy"] == wilson(2, 4)
    assert result["commonest"] == {"answer": "b", "correct": 2}
    # each answer and its mask count, 2 + 3 + 2 + 2 tokens of ln V each
    assert result.loss == pytest.approx(9 * math.log(TOKENIZER.vocab_size) / 4, rel=1e-6)  # the losses are float32
    assert result["token_loss"] == pytest.approx(math.log(TOKENIZER.vocab_size), rel=1e-6)
    assert result.as_dict()["majority"] == 0.5
    assert result.lines()[0] == ("correct answers", "2 of 4, 50.0 % (15.0 to 85.0 %)")
    assert result.lines()[1] == ("always 'b'", "50.0 %")
    passport = result.passport
    assert (passport.unit, passport.tokens, passport.partial) == ("answer", 4, False)
    assert "4 answers (t), each after its question alone, in up to 16 tokens." in passport.sentence()


def test_the_first_questions_alone_are_partial(tokens):
    result, _ = measured(tokens, max_tokens=int(tokens.ends[1]))
    assert (result["questions"], result.passport.partial) == (2, True)
    assert measured(tokens, max_tokens=1)[0]["questions"] == 1


def test_another_tokenizer_leaves_the_accuracy_comparable(tokens):
    from dataclasses import replace

    one = measured(tokens)[0].passport
    check_comparable(one, replace(one, tokenizer="u"), "accuracy")
    with pytest.raises(ConfigError, match="tokenizer"):
        check_comparable(one, replace(one, tokenizer="u"), "loss")


@pytest.mark.parametrize("objective", ["single-span", "salient-span"])
def test_hidden_spans_alone_count_and_are_the_same_every_time(objective):
    ids = np.array(TOKENIZER.encode("abcabcabcabc" * 2), np.uint16)
    header = {"corpus": "toy", "corpus_fingerprint": "0123456789", "split": "validation"}
    file = TokenFile(ids, np.array([12, 24], np.uint64), header)
    corruption = Corruption(objective, TOKENIZER, 16)
    counted = sum(int(batch.mask.sum()) for batch in corrupted_windows(file, corruption, 1))
    results = [evaluate_spans(Even(), file, corruption, tokenizer_name="t", batch_size=size) for size in (1, 2)]
    for result in results:
        assert result.passport.tokens == counted < 24
        assert result.loss == pytest.approx(math.log(TOKENIZER.vocab_size), rel=1e-6)
        assert result.passport.unit == f"{objective} token"
        assert result.get("token_perplexity") is result.get("bits_per_byte") is None
        assert result.lines() == [(f"{objective} loss", f"{result.loss:.4f} nats a {objective} token")]
    assert evaluate_spans(Even(), file, corruption, tokenizer_name="t", max_tokens=12).passport.partial


def test_several_hidden_spans_are_said_to_be_hidden():
    bpe = train_tokenizer("bpe", ["abcabc"], 262, specials=[MASK, *sentinels(4)], end_of_text=False)
    header = {"corpus": "toy", "corpus_fingerprint": "0123456789", "split": "validation"}
    file = TokenFile(np.arange(97, 109, dtype=np.uint16), np.array([12], np.uint64), header)
    result = evaluate_spans(Even(), file, Corruption("spans", bpe, 16), tokenizer_name="t")
    assert result.passport.unit == "span token"
    assert "a row of up to 16 tokens, its hidden text at the end" in result.passport.sentence()
