"""A real HTTP server in OpenAI's form over a simulated API: it checks its input, fails at times, and counts."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

from heed.recovery.oracle import BiasQuestion
from recovery.simulated_api import SimulatedApi


class RestrictedServer(ThreadingHTTPServer):
    """`most` likeliest tokens at most; a call fails with the chance `failing`; `ids` tells ids beside the strings."""

    daemon_threads = True

    def __init__(self, api: SimulatedApi, *, most: int | None = None, failing: float = 0.0, ids: bool = True) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.api, self.most, self.failing, self.ids = api, most or api.top, failing, ids
        self.calls = self.failures = 0
        self.hears: Callable[[dict[str, Any]], None] = lambda body: None
        self.random = np.random.default_rng(0)
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def name(self, token: int) -> str:
        return f"t{token}"


class Handler(BaseHTTPRequestHandler):
    server: RestrictedServer  # pyright: ignore[reportIncompatibleVariableOverride]
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet

    def log_message(self, format: str, *arguments: Any) -> None:
        pass

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            fails = self.server.random.random() < self.server.failing
            self.server.failures += fails
            if fails:
                return self.say(500, {"error": {"message": "try again", "type": "server_error"}})
            status, answer = self.answer(body)
        self.say(status, answer)

    def answer(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        server, api = self.server, self.server.api
        top = body.get("logprobs")
        if top is not None and (top > server.most or api.mode == "nothing"):
            return 400, {"error": {"message": f"logprobs must be at most {server.most}", "param": "logprobs"}}
        assert body["max_tokens"] == 1
        server.hears(body)
        server.calls += 1
        bias = tuple(sorted((int(token), float(value)) for token, value in body.get("logit_bias", {}).items()))
        api.top = top or api.top
        reply = api.answer(BiasQuestion(bias, greedy=body["temperature"] == 0))
        told: dict[str, Any] | None = None
        if top is not None:
            likeliest = dict(reply.top) | ({} if reply.logprob is None else {reply.token: reply.logprob})
            told = {
                "tokens": [server.name(reply.token)],
                "token_logprobs": [reply.logprob],
                "top_logprobs": [{server.name(token): value for token, value in likeliest.items()}],
                "text_offset": [0],
            }
            if server.ids:
                told |= {
                    "token_ids": [reply.token],
                    "top_token_ids": [sorted(likeliest, key=lambda token: -likeliest[token])],
                }
        choice = {"index": 0, "text": server.name(reply.token), "finish_reason": "length", "logprobs": told}
        if server.ids:
            choice["token_ids"] = [reply.token]
        usage = {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}
        return 200, {"id": "1", "object": "text_completion", "model": "m", "choices": [choice], "usage": usage}

    def say(self, status: int, content: dict[str, Any]) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def serving(api: SimulatedApi, **settings: Any) -> Iterator[RestrictedServer]:
    server = RestrictedServer(api, **settings)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
