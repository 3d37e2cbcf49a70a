"""A real HTTP server on this machine whose answers a function decides: what a client meets, down to the socket."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Reply:
    """What a server sends: JSON, or the bytes as they are; with None it hangs up."""

    body: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Served:
    """A server that runs, and what it was asked."""

    url: str
    asked: list[dict[str, Any]] = field(default_factory=list)
    """The bodies, in the order of their coming."""
    paths: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)


def completion(text: str = " yes", usage: bool = True, **choice: Any) -> dict[str, Any]:
    """Return an answer as OpenAI's API writes it."""
    body = {"id": "c", "object": "text_completion", "created": 0, "model": "m"}
    body["choices"] = [{"index": 0, "text": text, "finish_reason": "length", "logprobs": None, **choice}]
    return body | ({"usage": {"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6}} if usage else {})


@contextmanager
def serving(answer: Callable[[str, dict[str, Any]], Reply]) -> Iterator[Served]:
    """Run a server that answers (path, body) so, on a free port."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            pass

        def reply(self, body: dict[str, Any]) -> None:
            with lock:
                served.paths.append(self.path)
                served.headers.append({name.lower(): value for name, value in self.headers.items()})
                served.asked.append(body)
            reply = answer(self.path, body)
            if reply.body is None:
                self.close_connection = True
                self.connection.close()
                return
            content = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
            self.send_response(reply.status)
            for name, value in {"Content-Type": "application/json", **reply.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_GET(self) -> None:
            self.reply({})

        def do_POST(self) -> None:
            self.reply(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def handle(self) -> None:
            with suppress(ConnectionError, ValueError):
                super().handle()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    served = Served(f"http://127.0.0.1:{server.server_port}/v1")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
