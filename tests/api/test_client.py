"""The client against a real server: every parameter arrives, every failure is one line."""

import socket

import pytest

from api.small_server import Reply, completion, serving
from heed.api import ApiKey, Caller, ChatTurn, CompletionClient, CompletionRequest, FailedCallError, RetryPlan, read_key
from heed.errors import ApiError, ConfigError, DataError

REQUEST = CompletionRequest("Is the sky blue?")


def client(url: str, model: str = "m", **given: object) -> CompletionClient:
    return CompletionClient(url, model, **given)  # type: ignore[arg-type]


def test_every_setting_arrives_as_it_was_given():
    request = CompletionRequest(
        (1, 2, 3), max_tokens=0, temperature=0.0, top_p=0.5, n=2, best_of=3, stop=("\n", "."), presence_penalty=-1.0,
        frequency_penalty=0.5, logit_bias={7: -100.0}, logprobs=0, echo=True, seed=0, extra={"top_k": 4}, draw=1,
    )  # fmt: skip
    with serving(lambda path, body: Reply(completion())) as served:
        client(served.url).complete(request)
    assert served.paths == ["/v1/completions"]
    assert served.asked == [
        {"model": "m", "prompt": [1, 2, 3], "max_tokens": 0, "temperature": 0.0, "top_p": 0.5, "n": 2, "best_of": 3,
         "stop": ["\n", "."], "presence_penalty": -1.0, "frequency_penalty": 0.5, "logit_bias": {"7": -100.0},
         "logprobs": 0, "echo": True, "seed": 0, "top_k": 4}
    ]  # fmt: skip


def test_what_is_not_set_is_not_sent():
    with serving(lambda path, body: Reply(completion())) as served:
        client(served.url).complete(REQUEST)
    assert served.asked == [{"model": "m", "prompt": "Is the sky blue?", "max_tokens": 16}]


def test_a_chat_goes_to_the_chat_interface():
    place = {"token": " yes", "logprob": -0.5, "top_logprobs": [{"token": " yes", "logprob": -0.5}]}
    choice = {"index": 0, "message": {"role": "assistant", "content": " yes"}, "finish_reason": "stop",
              "logprobs": {"content": [place]}}  # fmt: skip
    with serving(lambda path, body: Reply({"choices": [choice], "model": "m"})) as served:
        answer = client(served.url).complete(CompletionRequest((ChatTurn("user", "Blue?"),), max_tokens=1, logprobs=1))
    assert served.paths == ["/v1/chat/completions"]
    assert served.asked[0]["messages"] == [{"role": "user", "content": "Blue?"}]
    assert (served.asked[0]["logprobs"], served.asked[0]["top_logprobs"]) == (True, 1)
    assert answer.text == " yes"
    assert answer.choices[0].top_logprobs == (((" yes", -0.5),),)
    assert answer.tokens_used is None


def test_log_probabilities_and_token_ids_are_read():
    told = {"tokens": [" yes"], "token_logprobs": [-0.25], "top_logprobs": [{" no": -1.5, " yes": -0.25}],
            "text_offset": [0], "token_ids": [9], "top_token_ids": [[9, 4]]}  # fmt: skip
    with serving(lambda path, body: Reply(completion(logprobs=told))) as served:
        choice = client(served.url).complete(REQUEST).choices[0]
    assert choice.top_logprobs == (((" yes", -0.25), (" no", -1.5)),)
    assert (choice.token_logprobs, choice.token_ids, choice.top_ids) == ((-0.25,), (9,), ((9, 4),))


def test_token_ids_may_be_written_as_tokens():
    told = {"tokens": ["token_id:9"], "token_logprobs": [-0.25], "top_logprobs": [{"token_id:9": -0.25}]}
    with serving(lambda path, body: Reply(completion(logprobs=told))) as served:
        choice = client(served.url).complete(REQUEST).choices[0]
    assert (choice.token_ids, choice.top_ids) == ((9,), ((9,),))


def test_places_with_ids_as_llama_cpp_and_chats_have_them():
    place = {"token": " yes", "logprob": -0.5, "id": 9, "top_logprobs": [{"token": " yes", "logprob": -0.5, "id": 9}]}
    with serving(lambda path, body: Reply(completion(logprobs={"content": [place]}))) as served:
        choice = client(served.url).complete(REQUEST).choices[0]
    assert choice.top_logprobs == (((" yes", -0.5),),)
    assert (choice.token_ids, choice.top_ids, choice.top_by_id) == ((9,), ((9,),), (((9, -0.5),),))


def test_choices_come_in_their_order():
    body = completion()
    body["choices"] = [{"index": 1, "text": "b"}, {"index": 0, "text": "a"}]
    with serving(lambda path, body_: Reply(body)) as served:
        assert [one.text for one in client(served.url).complete(REQUEST).choices] == ["a", "b"]


def failure(reply: Reply, **given: object) -> tuple[str, bool]:
    def answer(path: str, body: dict) -> Reply:
        return Reply({"data": [{"id": "quickstart"}]}) if path.endswith("/models") else reply

    with serving(answer) as served, pytest.raises(FailedCallError) as caught:
        client(served.url, "quickstrat", **given).complete(REQUEST)
    message = str(caught.value)
    assert "\n" not in message
    return message.replace(served.url, "URL"), caught.value.again


def error(message: str, **more: str) -> dict:
    return {"error": {"message": message, "type": "invalid_request_error", **more}}


def test_failures_are_a_line_each():
    assert failure(Reply(error("bad key"), 401)) == (
        "URL: a key is needed (bad key): export HEED_API_KEY, or name its file", False)  # fmt: skip
    assert failure(Reply(error("no such model"), 404)) == (
        "URL: there is no model 'quickstrat', did you mean 'quickstart'?", False)  # fmt: skip
    assert failure(Reply(b"<html>\nhello")) == (
        "URL answers with no JSON, but <html>\\nhello: an API's address usually ends in /v1", False)  # fmt: skip
    assert failure(Reply(error("slow down"), 429)) == ("URL answers 429: too many requests (slow down)", True)
    assert failure(Reply(error("no money", code="insufficient_quota"), 429)) == ("URL answers 429: no money", False)
    assert failure(Reply(error("context too long"), 400)) == ("URL answers 400: context too long", False)
    assert failure(Reply({"detail": "oh"}, 500)) == ("URL answers 500: oh", True)
    assert failure(Reply(b"", 503))[1]
    message, again = failure(Reply({"choices": []}))
    assert (message.startswith("the answer is not in the form of OpenAI's API"), again) == (True, False)


def test_an_address_that_is_no_api():
    refusing = lambda path, body: Reply(error("not found"), 404)
    with serving(refusing) as served, pytest.raises(FailedCallError) as caught:
        client(served.url).complete(REQUEST)
    assert "there is no such page (not found): an API's address usually ends in /v1" in str(caught.value)
    assert served.paths == ["/v1/completions", "/v1/models"]


def test_a_key_is_sent_and_never_shown():
    key = ApiKey("sk-very-secret")
    message, _ = failure(Reply(error("wrong key sk-very-secret"), 401), key=key)
    assert message == "URL: the key is not accepted (wrong key [key]): give another one"
    assert "secret" not in f"{key} {key!r} {vars(CompletionRequest('a'))}"
    with serving(lambda path, body: Reply(completion())) as served:
        client(served.url, key=key).complete(REQUEST)
    assert served.headers[0]["authorization"] == "Bearer sk-very-secret"


def test_what_the_environment_has_for_openai_is_not_for_others(monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, "for-openai-alone")
    with serving(lambda path, body: Reply(completion())) as served:
        client(served.url, key=read_key(served.url)).complete(REQUEST)
    assert "for-openai-alone" not in str(served.headers)
    assert read_key("https://api.openai.com/v1") is not None


def test_keys_are_read_from_a_variable_or_a_file(monkeypatch, tmp_path):
    monkeypatch.setenv("MINE", " abc ")
    (tmp_path / "key").write_text("def\n")
    found = read_key("http://x/v1", variable="MINE"), read_key("http://x/v1", file=tmp_path / "key")
    assert [key and key.secret() for key in found] == ["abc", "def"]
    (tmp_path / "odd").write_text("two words")
    with pytest.raises(ConfigError, match="holds no key") as caught:
        read_key("http://x/v1", file=tmp_path / "odd")
    assert "two words" not in str(caught.value)
    with pytest.raises(DataError, match="cannot be read"):
        read_key("http://x/v1", file=tmp_path / "none")
    with pytest.raises(ConfigError, match="holds no key"):
        read_key("http://x/v1", variable="NOT_THERE_AT_ALL")


def closed_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def test_a_server_that_is_down_is_told_at_once():
    waits: list[float] = []
    caller = Caller(client(f"http://127.0.0.1:{closed_port()}/v1"), sleep=waits.append)
    with pytest.raises(ApiError, match=r"does not answer \(.*refused\): start the server"):
        caller.complete(REQUEST)
    assert waits == []
    assert caller.spending.prompt_tokens == 0


def test_a_server_that_was_there_is_tried_again():
    replies = [Reply(completion()), Reply(None), Reply(error("busy"), 503, {"Retry-After": "3"}), Reply(completion())]
    with serving(lambda path, body: replies.pop(0)) as served:
        waits: list[float] = []
        caller = Caller(client(served.url), sleep=waits.append, retries=RetryPlan(first=1.0))
        assert caller.complete(CompletionRequest("first")).text == " yes"
        assert caller.complete(REQUEST).text == " yes"
    assert 0.5 <= waits[0] <= 1.0
    assert waits[1:] == [3.0]
    assert (caller.spending.calls, caller.spending.bounded) == (4, 1)  # the one that was cut may have been paid


def test_an_answer_that_comes_too_late():
    import threading

    done = threading.Event()

    def slow(path: str, body: dict) -> Reply:
        done.wait(5)
        return Reply(completion())

    with serving(slow) as served:
        with pytest.raises(FailedCallError, match="did not answer in time") as caught:
            client(served.url, timeout=0.2).complete(REQUEST)
        done.set()
    assert caught.value.again
    assert caught.value.spent


@pytest.mark.parametrize("url", ["", "localhost:8000", "ftp://x/v1", "http://", "http://u:p@x/v1", "http://x/v1?k=1",
                                 "http://x:port/v1", "http://x/\nv1"])  # fmt: skip
def test_addresses_that_are_none(url):
    with pytest.raises(ConfigError) as caught:
        client(url)
    assert "p@" not in str(caught.value)


@pytest.mark.parametrize("given", [{"prompt": ()}, {"prompt": "a", "max_tokens": 0}, {"prompt": "a", "n": 0},
                                   {"prompt": "a", "n": 2, "best_of": 1}, {"prompt": "a", "stop": "x"},
                                   {"prompt": (ChatTurn("user", "a"),), "echo": True}])  # fmt: skip
def test_requests_that_no_server_takes(given):
    with pytest.raises(ConfigError):
        CompletionRequest(**given)
