"""Over a real port: clients that leave, many at once, and a server that is stopped while requests run."""

import contextlib
import json
import signal
import socket
import subprocess
import sys
import threading
import time

import httpx2
import pytest
from openai import OpenAI
from serving_doubles import make_served, make_slow

from forked import heed_process
from heed.cli import main
from heed.serving.app import make_app
from heed.serving.listening import GracefulServer, bind, listen
from heed.serving.settings import ServerSettings


@contextlib.contextmanager
def on_a_port(*served, **settings):
    """A server of this process on a free port."""
    app = make_app(served, ServerSettings(access_log=False, **settings))
    listener = bind("127.0.0.1", 0)
    servers = []

    def serve():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(GracefulServer, "startup", noting(servers))
            listen(app, listener, grace=1, connections=100)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        with OpenAI(api_key="none", base_url=url, max_retries=0, timeout=60) as api:
            yield api, app
    finally:
        while not servers:
            time.sleep(0.01)
        servers[0].should_exit = True
        thread.join()


def noting(servers):
    startup = GracefulServer.startup

    async def noted(self, sockets=None):
        servers.append(self)
        await startup(self, sockets)

    return noted


def wait_for(what, seconds=10):
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it does not come to pass"
        time.sleep(0.01)


def test_a_client_that_leaves_stops_the_work():
    with on_a_port(make_slow(context=2000, seconds=0.005), rows=2) as (api, app):
        given = {"model": "slow", "prompt": "a", "max_tokens": 1900, "extra_body": {"ignore_eos": True}}
        stream = api.completions.create(stream=True, **given)
        next(iter(stream))
        batch, metrics = app.state.engine.batches["slow"], app.state.server.metrics
        assert len(batch.running) == 1
        stream.close()
        wait_for(lambda: app.state.engine.idle)
        assert metrics.cancelled == 1
        with pytest.raises(httpx2.TimeoutException):  # one that does not read along
            httpx2.post(
                f"{api.base_url}completions", timeout=0.3,
                json={"prompt": "a", "max_tokens": 1900, "ignore_eos": True},
            )  # fmt: skip
        wait_for(lambda: app.state.engine.idle)
        assert metrics.cancelled == 2
        assert 0 < metrics.completion_tokens < 1000


def test_many_at_once_some_of_whom_leave_and_nobody_gets_what_is_anothers():
    with on_a_port(make_served(context=200), rows=8) as (api, app):
        base = {"model": "tiny", "max_tokens": 60, "extra_body": {"ignore_eos": True}, "logprobs": 1}

        def ask(i):
            given = base | {"prompt": "abc" * (1 + i % 7), "seed": i % 5, "temperature": 0.5 + i % 2}
            return api.completions.create(**given).choices[0]

        alone = [ask(i) for i in range(24)]
        found, gone = {}, []

        def client(i):
            if i % 4 == 3:
                stream = api.completions.create(stream=True, prompt="a", **base)
                next(iter(stream))
                stream.close()
                gone.append(i)
            else:
                found[i] = ask(i)

        threads = [threading.Thread(target=client, args=(i,)) for i in range(24)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(gone) == 6
        assert found == {i: alone[i] for i in range(24) if i % 4 != 3}
        wait_for(lambda: app.state.engine.idle)


def test_a_connection_that_sends_no_request_is_no_harm():
    with on_a_port(make_served()) as (api, _):
        port = api.base_url.port
        with (
            socket.create_connection(("127.0.0.1", port)) as half,
            socket.create_connection(("127.0.0.1", port)) as odd,
        ):
            half.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
            odd.sendall(b"\x16\x03\x01 not http at all\r\n\r\n")
            assert b"400" in odd.recv(1000)
            assert api.models.list().data[0].id == "tiny"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    (folder / "text.txt").write_text("the cat sees a dog.\n" * 300)
    argv = ["train", str(folder / "text.txt"), "--run.folder", str(folder), "--run.name", "tiny"]
    argv += ["--model.n-layers", "1", "--model.n-heads", "2", "--model.d-model", "16", "--model.context", "1024"]
    argv += ["--train.steps", "2", "--train.batch-size", "1", "--train.warmup-steps", "1", "--data.workers", "1"]
    argv += ["--tokenizer.kind", "char"]
    assert main(argv) == 0
    return folder / "tiny"


@contextlib.contextmanager
def as_a_process(*argv):
    """`heed serve` as a process of its own; gives it, and a client."""
    process = heed_process("serve", *argv, "--port", "0", stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("serving tiny at http://127.0.0.1:"), process.communicate()
        url = line.split()[3]
        with OpenAI(api_key="none", base_url=url, max_retries=0, timeout=60) as api:
            yield process, api
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_a_server_that_is_stopped_finishes_what_runs_and_tells_what_it_cannot(run):
    with as_a_process(run, "--grace", 2) as (process, api):
        given = {"model": "tiny", "prompt": "t", "temperature": 0.1, "extra_body": {"ignore_eos": True}}
        url = str(api.base_url)
        short = httpx2.stream(
            "POST", f"{url}completions", json={"prompt": "t", "max_tokens": 300, "stream": True}, timeout=60
        )
        assert api.completions.create(max_tokens=3, **given).usage.completion_tokens == 3
        with short as answer:
            lines = answer.iter_lines()
            first = next(lines)
            process.send_signal(signal.SIGTERM)
            rest = [line for line in lines if line]
        assert first.startswith("data: {")
        assert rest[-1] == "data: [DONE]"
        _, errors = process.communicate(timeout=20)
        assert process.returncode == 0
        assert "Traceback" not in errors


def test_what_keeps_a_server_from_starting_is_one_line(run, capsys, tmp_path, monkeypatch):
    monkeypatch.delenv("HEED_API_KEY", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for argv, words in (
            (["serve", str(run), "--port", str(port)], "in use"),
            (["serve", str(run), "--host", "0.0.0.0"], "can be reached from elsewhere"),
            (["serve", str(run), "--host", "no.such.host.invalid"], "can be reached from elsewhere"),
            (["serve", str(tmp_path)], "no config.yaml"),
            (["serve", str(run), str(run), "--port", "0"], "two models are called 'tiny'"),
            (["serve", str(run), "--name", "a", "--name", "b", "--port", "0"], "2 times for 1 models"),
            (["serve", str(run), "--api-key-file", str(tmp_path / "none")], "cannot be read"),
            (["serve", str(run), "--fail-rate", "2", "--port", "0"], "fail_rate must be between 0 and 1"),
            (["serve", str(run), "--chat-template", str(tmp_path / "none"), "--port", "0"], "chat template"),
        ):
            assert main(argv) == 2, argv
            err = capsys.readouterr().err
            assert words in err, (argv, err)
            assert err.count("\n") == 1


def test_a_missing_package_is_one_line(run, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "fastapi", None)
    assert main(["serve", str(run)]) == 2
    assert "pip install 'heed-lm[serve]'" in capsys.readouterr().err


def test_a_document_of_itself_is_sound():
    app = make_app([make_served()])
    document = app.openapi()
    app.state.engine.close()
    assert document["paths"].keys() >= {"/v1/completions", "/v1/chat/completions", "/v1/models", "/health"}
    responses = document["paths"]["/v1/completions"]["post"]["responses"]
    assert "422" not in responses
    assert "text/event-stream" in responses["200"]["content"]
    assert json.dumps(document)
