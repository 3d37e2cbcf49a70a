"""What `heed serve` bears, against `transformers serve` on the same model: many clients, some of whom leave.

    python benchmarks/serving_load.py                            # 16 and 64 clients, 20 s a side, two rounds
    python benchmarks/serving_load.py --continuous-batching      # and transformers serve --continuous-batching
    python benchmarks/serving_load.py --weights bf16             # and heed serve --weights bf16, transformers in bf16
    python benchmarks/serving_load.py --only heed --clients 16 --seconds 600 --rounds 1    # is its memory flat?

A GPT of 6 layers and width 384, of random weights, is exported to the format of transformers and served by both, each
in a process of its own, one at a time, in turns. Each client asks one request after another over a connection of its
own: prompts of 5 to 100 tokens, 8 to 64 tokens to write, greedy; every eighth is a stream that the client leaves
after its first piece. Tokens are those of answers that came whole. CPU seconds are those of the server's process.
A request counts as lost if it ends in any other way than with a whole answer. With `--continuous-batching` transformers
takes a share of the machine's memory for its cache when it starts, several GB: what is told of its memory is that.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import psutil

LAYERS, WIDTH, HEADS, CONTEXT, VOCABULARY = 6, 384, 6, 256, 2048
SIDES = (
    "heed",
    "transformers",
    "transformers --continuous-batching",
    "heed --weights fp16",
    "heed --weights bf16",
    "heed --weights int8",
    "transformers --dtype bfloat16",
)


@dataclass
class Load:
    """What came of one side under one load."""

    seconds: float = 0.0
    tokens: int = 0
    latencies: list[float] = field(default_factory=list)
    left: int = 0
    lost: list[str] = field(default_factory=list)
    cpu: float = 0.0
    memory: list[float] = field(default_factory=list)
    """Resident MB of the server, once a second."""


def make_folder(folder: Path) -> list[str]:
    """Write the model for both sides; return its words, to make prompts of."""
    import torch

    from heed.config import ModelConfig
    from heed.models import GPT
    from heed.models.hub import export_hub
    from heed.text.corpus import open_corpus
    from heed.text.tokenizers import train_tokenizer

    corpus = open_corpus("python-reference")
    tokenizer = train_tokenizer("bpe", list(corpus.documents("train"))[:40], VOCABULARY)
    tokenizer.save(folder / "tokenizer.json")
    config = ModelConfig(n_layers=LAYERS, n_heads=HEADS, d_model=WIDTH, context=CONTEXT)
    model = GPT(config, tokenizer.vocab_size, torch.Generator().manual_seed(0))
    export_hub(model, config, folder / "tokenizer.json", folder / "model")
    return [text for one in range(300, 2000) if (text := tokenizer.decode([one])).strip().isalpha()]


@contextlib.contextmanager
def server(side: str, folder: Path, threads: int, log: Path) -> Iterator[tuple[str, psutil.Process]]:
    """Start a side, wait until it answers, and give its address and process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    here = Path(sys.executable).parent
    if side.startswith("heed"):
        argv = [here / "heed", "serve", folder, "--port", port, "--no-access-log", "--rows", "64"]
        argv += side.split()[1:]
    else:
        argv = [here / "transformers", "serve", folder, "--port", port, "--device", "cpu", *side.split()[1:]]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}
    with log.open("w") as file, subprocess.Popen(argv, stdout=file, stderr=file, env=environment) as process:
        url = f"http://127.0.0.1:{port}"
        try:
            for _ in range(600):
                with contextlib.suppress(httpx2.HTTPError):
                    if httpx2.get(f"{url}/health", timeout=5).status_code == 200:
                        break
                time.sleep(0.2)
            else:
                raise SystemExit(f"{side} does not answer: see {log}")
            yield url, psutil.Process(process.pid)
        finally:
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()


async def client(number: int, url: str, model: str, words: list[str], end: float, load: Load) -> None:
    """Ask one request after another until the end."""
    draw = random.Random(number)
    async with httpx2.AsyncClient(timeout=300, base_url=url) as http:
        turn = number
        while time.monotonic() < end:
            turn += 1
            prompt = "".join(draw.choices(words, k=draw.randint(5, 100)))
            body = {"model": model, "prompt": prompt, "max_tokens": draw.randint(8, 64), "temperature": 0}
            begin = time.monotonic()
            try:
                if turn % 8 == 0:
                    async with http.stream("POST", "/v1/completions", json=body | {"stream": True}) as answer:
                        async for _ in answer.aiter_lines():
                            break
                    load.left += 1
                    continue
                answer = await http.post("/v1/completions", json=body)
                answer.raise_for_status()
                tokens = answer.json()["usage"]["completion_tokens"]
            except (httpx2.HTTPError, KeyError, ValueError) as error:
                load.lost.append(f"{type(error).__name__}: {error}"[:200])
                continue
            load.tokens += tokens
            load.latencies.append(time.monotonic() - begin)


async def watch(process: psutil.Process, load: Load) -> None:
    """Note the memory of the server once a second."""
    while True:
        load.memory.append(process.memory_info().rss / 1e6)
        await asyncio.sleep(1)


async def put_load(
    url: str, process: psutil.Process, model: str, words: list[str], clients: int, seconds: float
) -> Load:
    """Let so many clients ask for so long."""
    load = Load()
    async with httpx2.AsyncClient(timeout=300, base_url=url) as http:  # what loads at the first request
        await http.post("/v1/completions", json={"model": model, "prompt": "the", "max_tokens": 8})
    before, begin = process.cpu_times(), time.monotonic()
    watching = asyncio.create_task(watch(process, load))
    end = begin + seconds
    await asyncio.gather(*(client(number, url, model, words, end, load) for number in range(clients)))
    watching.cancel()
    after = process.cpu_times()
    load.seconds = time.monotonic() - begin
    load.cpu = after.user + after.system - before.user - before.system
    return load


def row(side: str, clients: int, load: Load) -> dict[str, object]:
    """Return the figures of one side."""
    times = sorted(load.latencies)
    part = len(load.memory) // 4 or 1
    return {
        "side": side,
        "clients": clients,
        "requests": len(times),
        "left": load.left,
        "lost": len(load.lost),
        "requests_per_second": round(len(times) / load.seconds, 2),
        "tokens_per_second": round(load.tokens / load.seconds, 1),
        "cpu_seconds_per_1000_tokens": round(1000 * load.cpu / max(1, load.tokens), 2),
        "p50_seconds": round(statistics.median(times), 2) if times else None,
        "p99_seconds": round(times[int(0.99 * (len(times) - 1))], 2) if times else None,
        "memory_mb_first_quarter": round(statistics.mean(load.memory[:part])),
        "memory_mb_last_quarter": round(statistics.mean(load.memory[-part:])),
        "first_loss": load.lost[0] if load.lost else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", choices=SIDES)
    parser.add_argument(
        "--weights",
        choices=("fp16", "bf16", "int8"),
        nargs="+",
        default=[],
        help="and heed so; transformers in bf16 too",
    )
    parser.add_argument("--continuous-batching", action="store_true", help="a third side")
    given = parser.parse_args()
    sides = [*SIDES[: 2 + given.continuous_batching], *(f"heed --weights {one}" for one in given.weights)]
    sides += [SIDES[-1]] if "bf16" in given.weights else []
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as place:
        words = make_folder(Path(place))
        for _ in range(given.rounds):
            for side in [given.only] if given.only else sides:
                model = Path(place) / "model"
                with server(side, model, given.threads, Path(place) / "log") as (url, process):
                    for clients in given.clients:
                        name = "model" if side.startswith("heed") else str(model)
                        load = asyncio.run(put_load(url, process, name, words, clients, given.seconds))
                        print(json.dumps(row(side, clients, load)), flush=True)


if __name__ == "__main__":
    main()
