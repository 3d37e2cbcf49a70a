"""A server under two hundred clients, of whom many misbehave: nothing is lost, nothing grows, others are served.

HEED_MINUTES says for how long (a quarter of one where it is not set): HEED_MINUTES=10 pytest -m slow -s
tests/serving/test_load.py. Everything stays on this machine.
"""

import asyncio
import contextlib
import json
import os
import random
import re
import statistics
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

from heed.cli import main

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]
MINUTES = float(os.environ.get("HEED_MINUTES", "0.25"))
CLIENTS = 200
KINDS = ["whole"] * 90 + ["slow reader"] * 30 + ["leaves"] * 20 + ["never reads"] * 15 + ["too large"] * 10
KINDS += ["endless body"] * 10 + ["endless prompt"] * 10 + ["half open"] * 15
TOKENS = 24
STAY = min(60.0, 20 * MINUTES)
"""Seconds that a client holds a connection on which it does nothing."""
WARMING = min(75.0, 80 * MINUTES)
"""Seconds of the same before memory is looked at: the heap grows by half in the first 5, and slowly for 40 more."""
PATIENCE = 120.0
"""Seconds that a client waits for what it must get."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("load")
    (place / "a.txt").write_text("the cat sees a dog and the dog hears the cat.\n" * 200, encoding="utf-8")
    flags = (
        "--model.n-layers 1 --model.n-heads 2 --model.d-model 32 --model.context 128 --train.steps 5 --data.workers 1"
    )
    argv = ["train", str(place / "a.txt"), *flags.split(), "--tokenizer.kind", "char", "--train.batch-size", "4"]
    assert main([*argv, "--run.folder", str(place / "runs"), "--run.name", "tiny"]) == 0
    return place / "runs" / "tiny"


@contextlib.contextmanager
def serving(folder: Path, *flags: str):
    """Start `heed serve` in a process of its own; give its port and the process."""
    argv = [sys.executable, "-m", "heed", "serve", str(folder), "--port", "0", "--no-access-log", *flags]
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=log, env={**os.environ, "OMP_NUM_THREADS": "1"})
    try:
        line = process.stdout.readline().decode()
        yield int(re.search(r":(\d+)/v1", line)[1]), psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(60)
        process.stdout.close()


class Crowd:
    """Clients of all kinds, and what came of each of their calls."""

    def __init__(self, port: int, seconds: float) -> None:
        self.port, self.until = port, time.monotonic() + seconds
        self.outcomes: Counter[str] = Counter()
        self.lost: list[str] = []
        self.waits: list[float] = []

    async def client(self, kind: str, seed: int) -> None:
        """Call again and again."""
        draw = random.Random(seed)
        while time.monotonic() < self.until:
            try:
                outcome = await asyncio.wait_for(getattr(self, kind.replace(" ", "_"))(draw), PATIENCE)
            except (OSError, TimeoutError, asyncio.IncompleteReadError, ValueError) as error:
                self.lost.append(f"{kind}: {type(error).__name__} {error}")
                outcome = "LOST"
            self.outcomes[f"{kind}: {outcome}"] += 1

    @contextlib.asynccontextmanager
    async def connection(self):
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            yield reader, writer
        finally:
            writer.transport.abort()

    async def ask(self, draw: random.Random, writer, *, stream: bool = False, tokens: int = TOKENS) -> None:
        prompt = "".join(draw.choices("the cado ", k=draw.randrange(1, 60)))
        body = {
            "prompt": prompt,
            "max_tokens": tokens,
            "ignore_eos": True,
            "stream": stream,
            "seed": draw.randrange(99),
        }
        send(writer, json.dumps(body).encode())
        await writer.drain()

    async def whole(self, draw: random.Random) -> str:
        begin = time.monotonic()
        async with self.connection() as (reader, writer):
            await self.ask(draw, writer)
            status, content = await answer(reader)
        self.waits.append(time.monotonic() - begin)
        if status == 429:
            await asyncio.sleep(1.0)
            return "429"
        if status != 200 or json.loads(content)["usage"]["completion_tokens"] != TOKENS:
            raise ValueError(f"{status} {content[:200]}")
        return "whole"

    async def slow_reader(self, draw: random.Random) -> str:
        async with self.connection() as (reader, writer):
            await self.ask(draw, writer, stream=True)
            said = b""
            while piece := await reader.read(300):
                said += piece
                if said.startswith(b"HTTP/1.1 429"):
                    await asyncio.sleep(1.0)
                    return "429"
                if b"data: [DONE]" in said:
                    break
                await asyncio.sleep(0.05)
        if b"data: [DONE]" not in said:
            raise ValueError(f"cut off: {said[-200:]}")
        return "whole"

    async def leaves(self, draw: random.Random) -> str:
        async with self.connection() as (reader, writer):
            await self.ask(draw, writer, stream=True)
            await reader.read(200)
        return "left"

    async def never_reads(self, draw: random.Random) -> str:
        async with self.connection() as (_, writer):
            await self.ask(draw, writer, stream=True, tokens=60)
            await asyncio.sleep(STAY / 3)
        return "left"

    async def too_large(self, draw: random.Random) -> str:
        async with self.connection() as (reader, writer):
            writer.write(head(5_000_000))
            with contextlib.suppress(OSError):  # the server may close before all is sent
                for _ in range(5):
                    writer.write(b"a" * 100_000)
                    await writer.drain()
            status, _ = await answer(reader)
        await asyncio.sleep(1.0)
        if status != 413:
            raise ValueError(str(status))
        return "413"

    async def endless_body(self, draw: random.Random) -> str:
        """Send a body without an end and without a length, quickly."""
        async with self.connection() as (reader, writer):
            writer.write(head(None))
            getting = asyncio.create_task(answer(reader))
            with contextlib.suppress(OSError):
                while not getting.done():
                    writer.write(b"186a0\r\n" + b"a" * 100_000 + b"\r\n")
                    await writer.drain()
                    await asyncio.sleep(0.05)
            status, _ = await getting
        await asyncio.sleep(1.0)
        if status != 413:
            raise ValueError(str(status))
        return "413"

    async def endless_prompt(self, draw: random.Random) -> str:
        """Ask for more than any context holds, in a body that is just small enough."""
        async with self.connection() as (reader, writer):
            send(writer, json.dumps({"prompt": "cat " * 900_000, "max_tokens": 5}).encode())
            await writer.drain()
            status, _ = await answer(reader)
        await asyncio.sleep(2.0)
        if status not in (400, 429):
            raise ValueError(str(status))
        return str(status)

    async def half_open(self, draw: random.Random) -> str:
        """Begin a request and never end it: a head, or a body, that stops in the middle."""
        async with self.connection() as (reader, writer):
            writer.write(head(1000)[: draw.choice([0, 10, 60, 1000])])
            await writer.drain()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(reader.read(), STAY)
                return "ended by the server"
        return "left"

    async def watch(self, server: psutil.Process) -> list[tuple[float, float, int]]:
        """Return (seconds, resident MB, descriptors) twice a second."""
        begin, seen = time.monotonic(), []
        while time.monotonic() < self.until:
            await asyncio.sleep(0.5)
            seen.append((time.monotonic() - begin, server.memory_info().rss / 1e6, server.num_fds()))
        return seen


def head(length: int | None) -> bytes:
    size = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    return (
        f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{size}\r\n\r\n".encode()
    )


def send(writer, body: bytes) -> None:
    writer.write(head(len(body)) + body)


async def answer(reader) -> tuple[int, bytes]:
    """Return status and body of an answer that has a length."""
    top = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", top)
    return int(top.split()[1]), await reader.readexactly(int(length[1])) if length else b""


async def storm(port: int, server: psutil.Process, seconds: float):
    crowd = Crowd(port, seconds)
    watching = asyncio.create_task(crowd.watch(server))
    await asyncio.gather(*(crowd.client(kind, seed) for seed, kind in enumerate(KINDS)))
    return crowd, await watching


def test_two_hundred_clients(folder, capfd):
    assert len(KINDS) == CLIENTS
    with serving(folder) as (port, server):
        asyncio.run(storm(port, server, WARMING))
        time.sleep(2.0)
        before = server.num_fds()
        crowd, seen = asyncio.run(storm(port, server, 60 * MINUTES))
        time.sleep(2.0)
        after = server.num_fds()
        assert asyncio.run(asyncio.wait_for(alone(port), 30)) == 200
        quarter = [memory for moment, memory, _ in seen if moment < 15 * MINUTES]
        late = [memory for moment, memory, _ in seen if moment > 45 * MINUTES]
        first, last = statistics.median(quarter), statistics.median(late)
    log = (folder / "server.log").read_text(encoding="utf-8")
    with capfd.disabled():
        waits = sorted(crowd.waits)
        print(
            f"\n{MINUTES:g} minutes, {CLIENTS} clients, {crowd.outcomes.total():,} calls, {len(crowd.lost)} lost: "
            f"{dict(sorted(crowd.outcomes.items()))}\nresident {first:.0f} MB in the first quarter, {last:.0f} MB in "
            f"the last; descriptors {before} before, {after} after; whole answers after {waits[len(waits) // 2]:.2f} s "
            f"(median), {waits[int(0.99 * len(waits))]:.2f} s (99 %)"
        )
    assert not crowd.lost, crowd.lost[:10]
    assert crowd.outcomes["whole: whole"] > 10 * MINUTES
    assert last < 1.1 * first + 40
    assert after <= before + 2
    assert "Traceback" not in log


async def alone(port: int) -> int:
    """Return the status of one short request."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    send(writer, b'{"prompt": "the", "max_tokens": 2}')
    status, _ = await answer(reader)
    writer.close()
    return status


def test_connections_that_say_nothing_shut_nobody_out(folder):
    """More half-open connections than the server takes at once: others are still answered."""
    with serving(folder, "--connections", "20") as (port, _):

        async def press() -> int:
            held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(60)]
            for number, (_, writer) in enumerate(held):
                writer.write(head(1000)[: number % 3 * 20])
            status = 0
            for _ in range(60):
                await asyncio.sleep(1.0)
                with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                    status = await alone(port)
                if status == 200:
                    break
            for _, writer in held:
                writer.transport.abort()
            return status

        assert asyncio.run(press()) == 200
