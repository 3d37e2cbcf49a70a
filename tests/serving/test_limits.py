"""What a server refuses, and how: OpenAI's form of an error whatever happens, and no word of what is inside."""

import json
import threading
import time

import openai
import pytest
import torch
from serving_doubles import make_served, make_slow

from heed.errors import ConfigError
from heed.serving.settings import ServerSettings

LONG = {"max_tokens": 40, "extra_body": {"ignore_eos": True}}


def post(api, content=b"{}", headers=None, path="/v1/completions"):
    headers = {"content-type": "application/json", **(headers or {})}
    return api.http.request("POST", path, content=content, headers=headers)


def error_of(answer, status):
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    error = answer.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert "\n" not in error["message"]
    assert "Traceback" not in answer.text
    return error


@pytest.mark.parametrize(
    ("content", "param"),
    [
        (b"", None),
        (b"{", None),
        (b"[]", None),
        (b"null", None),
        (b'{"prompt": "\xff\xfe"}', None),
        (b"\xff\xfe{\x00}\x00", None),
        (b'{"temperature": NaN}', "temperature"),
        (b'{"temperature": 1e999}', "temperature"),
        (b'{"max_tokens": true}', "max_tokens"),
        (b'{"max_tokens": "5"}', "max_tokens"),
        (b'{"temperature": "1"}', "temperature"),
        (b'{"prompt": "\\ud800"}', "prompt"),
        (b'{"prompt": [1, "a"]}', "prompt"),
        (b'{"prompt": [true]}', "prompt"),
        (b'{"\\ud800": 1}', None),
        (b"[" * 100_000, None),
        (b'{"seed": 1' + b"0" * 5000 + b"}", None),
    ],
)
def test_bodies_that_are_no_request(serve, content, param):
    assert error_of(post(serve(), content), 400)["param"] == param


def test_a_body_that_is_not_called_json(serve):
    error_of(post(serve(), b'{"prompt": "a"}', {"content-type": "text/plain"}), 400)


def test_paths_and_methods(serve):
    api = serve()
    answer = api.http.get("/v1/completions")
    assert error_of(answer, 405)["message"] == "GET /v1/completions: Method Not Allowed"
    assert answer.headers["allow"] == "POST"
    error_of(api.http.get("/v1/nothing"), 404)
    error_of(api.http.get("/v1/models/nothing"), 404)
    assert api.http.get("/docs").status_code == 404


def test_a_body_that_is_too_large(serve):
    api = serve(max_body=1000)
    error_of(post(api, b'{"prompt": "' + b"a" * 1000 + b'"}'), 413)
    error_of(post(api, iter([b'{"prompt": "', *[b"a" * 100] * 20, b'"}'])), 413)  # without a length


def test_a_prompt_that_cannot_fit_is_refused_before_its_tokens_are_made(serve, served, monkeypatch):
    api = serve()

    def never(*_):
        raise AssertionError

    monkeypatch.setattr(type(served.tokenizer), "encode_array", never)
    error = error_of(post(api, json.dumps({"prompt": "a" * 100_000}).encode()), 400)
    assert error["code"] == "context_length_exceeded"
    ids = [[0] * (served.context + 1)]
    assert error_of(post(api, json.dumps({"prompt": ids}).encode()), 400)["code"] == "context_length_exceeded"


def test_a_key_is_needed_where_there_is_one(serve):
    api = serve(api_keys=("one-key", "another"))
    for given in (None, "Bearer", "Bearer one", "Basic one-key", "Bearer one-key2"):
        answer = api.http.get("/v1/models", headers={} if given is None else {"authorization": given})
        error = error_of(answer, 401)
        assert error["code"] == "invalid_api_key"
        assert "one-key" not in answer.text
    for key in ("one-key", "another"):
        assert api.with_options(api_key=key).models.list().data[0].id == "tiny"
    assert api.http.get("/health").status_code == 200
    error_of(api.http.get("/metrics"), 401)


def test_a_name_that_is_not_ours_is_not_answered_where_no_key_keeps_strangers_out(serve):
    api = serve()
    assert error_of(api.http.get("/v1/models", headers={"host": "evil.example:8000"}), 403)["code"] == "unknown_host"
    assert api.http.get("/v1/models", headers={"host": "127.0.0.1:8000"}).status_code == 200
    assert "access-control-allow-origin" not in api.http.get("/health", headers={"origin": "http://a.b"}).headers


def test_a_full_queue_says_when_to_come_again(serve):
    api = serve(make_slow(context=64), rows=1, queue=1)

    def ask():
        return api.completions.create(model="slow", prompt="a", **LONG)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
        time.sleep(0.2)
    with pytest.raises(openai.RateLimitError) as caught:
        ask()
    assert caught.value.response.headers["retry-after"] == "1"
    assert caught.value.code == "queue_full"
    for thread in threads:
        thread.join()
    assert ask().usage.completion_tokens == 40


def test_a_request_has_its_time(serve):
    api = serve(make_slow(context=64), time_limit=0.2)
    answer = post(api, json.dumps({"prompt": "a", "max_tokens": 60, "ignore_eos": True}).encode())
    assert error_of(answer, 504)["code"] == "timeout"
    with pytest.raises(openai.APIError, match="time limit"):
        list(api.completions.create(model="slow", prompt="a", stream=True, **LONG))
    assert api.completions.create(model="slow", prompt="a", max_tokens=1).choices


def test_a_server_that_ends_tells_those_it_cannot_finish(serve):
    api = serve(make_slow(context=64, seconds=0.05), make_served())
    said = []

    def ask(model, tokens):
        try:
            answer = api.completions.create(model=model, prompt="a", max_tokens=tokens, extra_body={"ignore_eos": True})
            said.append(answer.usage.completion_tokens)
        except openai.APIStatusError as error:
            said.append((error.status_code, error.code))

    threads = [threading.Thread(target=ask, args=("slow", tokens)) for tokens in (4, 60)]
    for thread in threads:
        thread.start()
    time.sleep(0.2)
    api.engine.close(grace=0.6)
    for thread in threads:
        thread.join()
    assert sorted(said, key=str) == [(503, "shutting_down"), 4]
    assert error_of(post(api, b'{"prompt": "a"}'), 503)["code"] == "shutting_down"


def test_a_model_that_is_damaged_says_so_and_others_go_on(serve, caplog):
    broken = make_served("broken")
    with torch.no_grad():
        broken.model.blocks[0].feedforward.down.weight.fill_(float("nan"))
    api = serve(broken, make_served())
    error = error_of(post(api, b'{"prompt": "a", "model": "broken"}'), 500)
    assert "NaN" in error["message"]
    assert post(api, b'{"prompt": "a", "model": "tiny"}').status_code == 200

    def fall(*_):
        raise RuntimeError("/a/secret/path")

    api = serve(make_served())
    api.engine.batches["tiny"].served.model.blocks[0].register_forward_pre_hook(fall)
    answer = post(api, b'{"prompt": "a secret prompt"}')
    assert error_of(answer, 500)["message"] == "the server had an error; its log says more"
    assert "/a/secret/path" in caplog.text
    assert "secret prompt" not in caplog.text


def test_the_log_of_requests_holds_no_prompts(serve, caplog):
    caplog.set_level("INFO", "heed.access")
    api = serve(access_log=True)
    api.completions.create(model="tiny", prompt="secret words", user="somebody")
    assert "POST /v1/completions 200" in caplog.text
    assert "secret" not in caplog.text
    assert "somebody" not in caplog.text


def test_metrics_count(serve):
    api = serve()
    api.completions.create(model="tiny", prompt="abc", max_tokens=5, extra_body={"ignore_eos": True})
    post(api, b"{")
    text = api.http.get("/metrics").text
    for line in (
        'heed_requests_total{path="/v1/completions",status="200"} 1',
        'heed_requests_total{path="/v1/completions",status="400"} 1',
        "heed_prompt_tokens_total 3",
        "heed_completion_tokens_total 5",
        'heed_request_seconds_bucket{le="+Inf"} 2',
        "heed_open_requests 1",
    ):
        assert line in text.splitlines()
    end = time.monotonic() + 5  # the answer goes out before its row does
    while 'heed_running_rows{model="tiny"} 0' not in api.http.get("/metrics").text.splitlines():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_failures_and_slowness_that_are_asked_for(serve):
    api = serve(fail_rate=0.5)
    statuses = [post(api, b'{"prompt": "a", "max_tokens": 1}').status_code for _ in range(60)]
    assert set(statuses) == {200, 500}
    assert error_of(post(serve(fail_rate=1.0), b'{"prompt": "a"}'), 500)["code"] == "asked_to_fail"
    begin = time.monotonic()
    assert post(serve(latency=0.3), b'{"prompt": "a", "max_tokens": 1}').status_code == 200
    assert time.monotonic() - begin > 0.3


@pytest.mark.parametrize(
    "given", [{"rows": 0}, {"fail_rate": 2}, {"latency": -1}, {"round_logprobs": 0}, {"api_keys": ("",)}]
)
def test_settings_that_cannot_be(given):
    with pytest.raises(ConfigError, match=next(iter(given)).split("_")[0].replace("api", "API")):
        ServerSettings(**given)
