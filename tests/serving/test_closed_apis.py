"""What closed APIs show: few tokens, biased or not, rounded; and what a text is made of where tokens cut characters."""

import math

import openai
import pytest
import torch
from serving_doubles import make_served, make_table

from heed.config import ModelConfig
from heed.generation import generate
from heed.models import Recurrent
from heed.serving.served_model import ServedModel
from heed.text.tokenizer import train_tokenizer

P = "the cat "


def distribution(served, text=P):
    with torch.no_grad():
        return served.model(torch.tensor([served.tokenizer.encode(text)]))[0, -1].double().log_softmax(-1).clone()


def ask(api, **given):
    return api.completions.create(model="tiny", prompt=P, max_tokens=1, temperature=0, **given).choices[0].logprobs


def test_processed_log_probabilities_follow_the_bias_exactly(serve, served):
    logp, token, bias = distribution(served), 7, 6.0
    p = logp.exp()
    moved = p[token] * math.exp(bias) / (1 - p[token] + p[token] * math.exp(bias))
    got = ask(serve(logprobs="processed", top_logprobs=40), logprobs=40, logit_bias={str(token): bias})
    found = dict(zip(got.top_token_ids[0], got.top_token_logprobs[0], strict=True))
    assert len(found) == served.model.vocab_size
    assert found[token] == pytest.approx(math.log(moved), abs=1e-5)
    other = 3
    expected = logp[other] - math.log1p(p[token] * math.expm1(bias))
    assert found[other] == pytest.approx(float(expected), abs=1e-5)


@pytest.mark.parametrize("settings", [{}, {"logprobs": "processed", "bias": "hidden"}])
def test_raw_log_probabilities_and_a_hidden_bias_do_not_move(serve, served, settings):
    logp = distribution(served)
    got = ask(serve(top_logprobs=2, **settings), logprobs=2, logit_bias={"7": 100})
    assert got.token_ids == [7]  # it is drawn all the same
    assert got.token_logprobs[0] == pytest.approx(float(logp[7]), abs=1e-5)
    assert got.top_token_ids[0] == logp.topk(2).indices.tolist()
    assert len(got.top_logprobs[0]) == 3  # the token itself is there besides


def test_penalties_show_in_what_is_processed_and_a_hidden_bias_alone_does_not(serve, served):
    first = serve().completions.create(model="tiny", prompt=P, max_tokens=2, temperature=0).choices[0].token_ids
    given = {"prompt": P, "model": "tiny", "max_tokens": 2, "temperature": 0, "logprobs": 40, "presence_penalty": 2}
    given["logit_bias"] = {str(first[0]): 100}
    api = serve(logprobs="processed", bias="hidden", top_logprobs=40)
    noted = api.completions.create(**given).choices[0].logprobs
    found = dict(zip(noted.top_token_ids[1], noted.top_token_logprobs[1], strict=True))
    logits = distribution(served, P + served.tokenizer.decode(first[:1]))
    logits[first[0]] -= 2
    assert found[first[0]] == pytest.approx(float(logits.log_softmax(-1)[first[0]]), abs=1e-5)


def test_at_most_so_many_tokens_are_shown_and_rounded(serve, served):
    api = serve(top_logprobs=2, round_logprobs=0.125)
    with pytest.raises(openai.BadRequestError, match="at most 2"):
        ask(api, logprobs=3)
    logp = distribution(served)
    for value in ask(api, logprobs=2).top_token_logprobs[0]:
        assert value % 0.125 == 0
        assert float((logp - value).abs().min()) <= 0.0625 + 1e-6


def test_two_tokens_of_one_text_are_two_by_their_ids(serve):
    served = make_served(specials=("<a>", "<b>"))
    served.tokenizer.pieces[-1] = served.tokenizer.pieces[-2]
    one, other = served.model.vocab_size - 2, served.model.vocab_size - 1
    api = serve(served, logprobs="processed")
    got = ask(api, logprobs=2, logit_bias={str(one): 100, str(other): 100})
    assert {*got.top_token_ids[0]} == {one, other}
    assert len(got.top_logprobs[0]) == 1
    assert [*got.top_logprobs[0].values()] == [max(got.top_token_logprobs[0])]


def test_a_stream_never_cuts_a_character_and_stops_across_tokens(serve):
    tokenizer = train_tokenizer("bpe", ["a"], 257)
    text = "naïve 日\tQ:o"  # no byte twice
    api = serve(make_table(*tokenizer.encode("x" + text), tokenizer=tokenizer))
    given = {"model": "table", "prompt": "x", "temperature": 0, "max_tokens": 60, "logprobs": 0}
    for stop, expected in ((["\tQ:"], "naïve 日"), (["Q:o", "日\t"], "naïve "), (None, "naïve �")):
        given["max_tokens"] = 60 if stop else 8  # which ends within a character
        chunks = list(api.completions.create(stream=True, stop=stop, **given))
        assert "".join(chunk.choices[0].text for chunk in chunks) == expected
        whole = api.completions.create(stop=stop, **given).choices[0]
        assert whole.text == expected
        assert [id for chunk in chunks for id in chunk.choices[0].token_ids] == whole.token_ids
        assert whole.logprobs.tokens[2:4] == ["bytes:\\xc3", "bytes:\\xaf"]
        assert whole.logprobs.text_offset[:5] == [0, 1, 2, 2, 3]
        assert chunks[-1].choices[0].finish_reason == ("stop" if stop else "length")


@pytest.mark.parametrize("kind", ["naive-mask", "linear", "lstm"])
def test_models_without_keys_and_values_are_served_too(serve, served, kind):
    if kind == "lstm":
        config = ModelConfig(kind="lstm", n_layers=1, d_model=16, context=48)
        model = ServedModel("tiny", Recurrent(config, served.tokenizer.vocab_size).eval(), served.tokenizer)
    else:
        model = make_served(attention={"mechanism": kind}, positions="none" if kind == "linear" else "learned")
    api = serve(model)
    got = api.completions.create(model="tiny", prompt=[P, "a"], n=3, seed=2, max_tokens=12)
    want = generate(model.model, model.tokenizer, [P, "a"], n=3, seeds=[2, 2], max_tokens=12)
    assert [one.text for one in got.choices] == [one.text for several in want for one in several]


def test_a_window_that_slides_where_the_operator_lets_it(serve, served):
    api = serve(on_overflow="slide")
    got = api.completions.create(model="tiny", prompt=P * 9, n=2, seed=2, max_tokens=90).choices
    want = generate(served.model, served.tokenizer, [P * 9], n=2, seed=2, max_tokens=90)[0]
    assert [one.text for one in got] == [one.text for one in want]
