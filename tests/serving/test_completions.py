"""Every classic parameter of /v1/completions, through the official client, against `generate` and `score`."""

import threading

import openai
import pytest
from serving_doubles import make_served

from heed.generation import Sampling, generate, score

P = "the cat "


def complete(api, prompt=P, **given):
    return api.completions.create(model="tiny", prompt=prompt, **given)


def test_a_text_is_what_generate_gives(serve, served):
    api = serve()
    for given, sampling in (
        ({}, {}),
        ({"temperature": 0}, {"temperature": 0}),
        ({"temperature": 0.6, "top_p": 0.7}, {"temperature": 0.6, "top_p": 0.7}),
        ({"frequency_penalty": 1.5}, {"frequency_penalty": 1.5}),
        ({"presence_penalty": -2}, {"presence_penalty": -2}),
        ({"logit_bias": {"3": 5, "4": -100}}, {"logit_bias": {3: 5, 4: -100}}),
        (
            {"extra_body": {"top_k": 4, "min_p": 0.1, "repetition_penalty": 1.3}},
            {"top_k": 4, "min_p": 0.1, "repetition_penalty": 1.3},
        ),
    ):
        got = complete(api, seed=5, max_tokens=20, n=2, **given)
        want = generate(served.model, served.tokenizer, [P], Sampling(**sampling), max_tokens=20, n=2, seed=5)[0]
        assert [one.text for one in got.choices] == [one.text for one in want]
        assert [one.token_ids for one in got.choices] == [one.ids for one in want]
        assert got.usage.prompt_tokens == 8
        assert got.usage.completion_tokens == sum(len(one.ids) for one in want)
        assert got.seed == 5


def test_sixteen_tokens_are_the_default_and_a_seed_is_told(serve):
    api = serve()
    one = complete(api)
    assert one.usage.completion_tokens == 16 or one.choices[0].finish_reason == "stop"
    assert complete(api, seed=one.seed).choices[0].text == one.choices[0].text


def test_logprobs_and_echo_are_those_of_the_model(serve, served):
    api = serve()
    got = complete(api, max_tokens=6, logprobs=3, echo=True, seed=1, extra_body={"ignore_eos": True}).choices[0]
    ids = served.tokenizer.encode(P) + got.token_ids[8:]
    assert got.token_ids == ids
    assert got.text == P + served.tokenizer.decode(ids[8:])
    noted = got.logprobs
    assert noted.tokens == [served.tokenizer.decode([one]) for one in ids]
    assert noted.text_offset == list(range(len(ids)))
    assert noted.token_logprobs[0] is noted.top_logprobs[0] is noted.top_token_ids[0] is None
    for place, scored in enumerate(score(served.model, served.tokenizer, [ids], alternatives=3)[0][1:], 1):
        assert noted.token_logprobs[place] == pytest.approx(scored.logprob, abs=1e-5)
        assert noted.top_token_ids[place] == [id for id, _ in scored.alternatives]
        names = {served.tokenizer.decode([id]) for id, _ in scored.alternatives} | {noted.tokens[place]}
        assert noted.top_logprobs[place].keys() == names
        assert noted.token_ids[place] == scored.id


def test_echo_without_new_tokens_scores_a_text(serve, served):
    got = complete(serve(), max_tokens=0, logprobs=0, echo=True)
    assert got.choices[0].text == P
    assert got.choices[0].finish_reason == "length"
    assert got.usage.completion_tokens == 0
    expected = [one.logprob for one in score(served.model, served.tokenizer, [P])[0]]
    assert got.choices[0].logprobs.token_logprobs == expected


def test_best_of_gives_the_likeliest_a_token(serve, served):
    api = serve()
    got = complete(api, n=2, best_of=5, seed=2, max_tokens=9)
    want = generate(served.model, served.tokenizer, [P], max_tokens=9, n=2, best_of=5, seed=2)[0]
    assert [one.text for one in got.choices] == [one.text for one in want]
    every = complete(api, n=5, seed=2, max_tokens=9)
    assert got.usage == every.usage
    assert got.choices[0].logprobs is None


def test_a_stop_string_ends_a_text_before_it(serve, served):
    api, given = serve(), {"seed": 4, "max_tokens": 30, "logit_bias": {str(served.tokenizer.end_id): -100}}
    whole = complete(api, **given).choices[0]
    stop = whole.text[5:8]  # over three tokens
    got = complete(api, stop=["never seen", stop], logprobs=0, **given).choices[0]
    assert got.text == whole.text[: whole.text.index(stop)]
    assert got.finish_reason == "stop"
    assert "".join(got.logprobs.tokens) == got.text


def test_prompts_are_texts_or_ids_one_or_many(serve, served):
    api, ids = serve(), served.tokenizer.encode(P)
    one = complete(api, seed=3).choices[0].text
    assert complete(api, ids, seed=3).choices[0].text == one
    for prompts in ([P, "a dog "], [ids, served.tokenizer.encode("a dog ")]):
        several = complete(api, prompts, seed=3, n=2)
        assert [choice.index for choice in several.choices] == [0, 1, 2, 3]
        assert several.choices[0].text == one
        assert several.choices[2].text == complete(api, "a dog ", seed=3).choices[0].text
    assert complete(api, "", seed=3).usage.prompt_tokens == 1


@pytest.mark.parametrize("echo", [False, True])
@pytest.mark.parametrize("stop", [None, ["c", "bd"]])
def test_a_stream_joined_is_the_whole_answer(serve, stop, echo):
    api = serve()
    given = {"seed": 8, "max_tokens": 25, "n": 3, "logprobs": 2, "stop": stop, "echo": echo}
    whole = complete(api, **given)
    texts, tokens, reasons, usage = {}, {}, {}, []
    for chunk in complete(api, stream=True, stream_options={"include_usage": True}, **given):
        usage.append(chunk.usage)
        for choice in chunk.choices:
            texts[choice.index] = texts.get(choice.index, "") + choice.text
            for key, value in choice.logprobs.model_dump().items():
                tokens.setdefault((choice.index, key), []).extend(value)
            if choice.finish_reason:
                reasons[choice.index] = choice.finish_reason
    assert usage[-1] == whole.usage
    assert not any(usage[:-1])
    for choice in whole.choices:
        assert texts[choice.index] == choice.text
        assert reasons[choice.index] == choice.finish_reason
        for key, value in choice.logprobs.model_dump().items():
            assert tokens[choice.index, key] == value


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"attention": {"mechanism": "linear"}, "positions": "none"},
        {"attention": {"mechanism": "sliding-window", "options": {"window": 5}}},
        {"kind": "lstm", "n_layers": 2},
        {"kind": "window", "window": 4},
    ],
    ids=str,
)
def test_a_request_is_the_same_alone_and_in_company(serve, settings):
    api = serve(make_served(**settings))
    prompts = [P * (1 + i % 3) + "a" * (i % 5) for i in range(12)]
    given = [{"seed": i, "max_tokens": 5 + i, "temperature": 0.5 + i / 10, "logprobs": 2} for i in range(12)]
    alone = [complete(api, prompt, **one).choices[0] for prompt, one in zip(prompts, given, strict=True)]
    found = {}

    def ask(i):
        found[i] = complete(api, prompts[i], **given[i]).choices[0]

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[i] for i in range(12)] == alone


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"best_of": 1, "n": 2}, "best_of"),
        ({"best_of": 2, "stream": True}, "best_of"),
        ({"suffix": "x"}, "suffix"),
        ({"max_tokens": 100}, "prompt"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"temperature": 2.5}, "temperature"),
        ({"top_p": -0.1}, "top_p"),
        ({"n": 0}, "n"),
        ({"n": 128, "prompt": ["a"] * 3}, "n"),
        ({"stop": ["a"] * 5}, "stop"),
        ({"stop": ""}, "stop"),
        ({"logprobs": 6}, "logprobs"),
        ({"presence_penalty": 3}, "presence_penalty"),
        ({"logit_bias": {"1": 101}}, "logit_bias"),
        ({"logit_bias": {"99": 1}}, "logit_bias"),
        ({"logit_bias": {"x": 1}}, "logit_bias"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [99]}, "prompt"),
        ({"prompt": "日"}, "prompt"),
        ({"prompt": "a" * 60}, "prompt"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"extra_body": {"typical_p": 1}}, "typical_p"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(serve, given, param):
    with pytest.raises(openai.BadRequestError) as caught:
        complete(serve(), **given)
    assert caught.value.param == param
    assert caught.value.type == "invalid_request_error"


def test_a_model_that_is_not_served(serve):
    with pytest.raises(openai.NotFoundError, match="no model 'tinny' is served here: did you mean 'tiny'"):
        serve().completions.create(model="tinny", prompt="a")


def test_models_are_listed(serve):
    api = serve()
    [card] = api.models.list().data
    assert (card.id, card.context, card.vocab_size) == ("tiny", 48, 32)
    assert api.models.retrieve("tiny") == card
