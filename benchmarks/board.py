"""How long `heed runs` takes over many folders, and how long `heed board` takes to open and to refresh.

    python benchmarks/board.py                         1,000 runs for the table, 200 of 10,000 events for the page
    python benchmarks/board.py --runs 50 --events 500  fewer

The runs are made of numbers alone, in a folder that is thrown away, each with its checkpoint's state and its hashes. Each
figure is the median of several repetitions, its range beside it.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from heed import seals
from heed.config import make_config, write_yaml
from heed.records.checkpoints import hash_state, step_name

PASSPORT = {
    "unit": "token", "tokenizer": "bpe 4096 1f3a9c20", "context": 128, "stride": 128, "documents": "joined",
    "split": "validation", "tokens": 17_920, "words": 11_204, "bytes": 70_811, "word_rule": "words", "partial": False,
    "corpus": "python-reference 88c1d2e0", "leaks": False,
}  # fmt: skip
EVERY, UPDATE = 10, 25
"""Steps between two events, and events between two evaluations."""


def figures(loss: float) -> dict:
    nats = loss * PASSPORT["tokens"]
    return {
        "loss": loss,
        "token_perplexity": math.exp(loss),
        "word_perplexity": math.exp(nats / PASSPORT["words"]),
        "bits_per_byte": nats / math.log(2) / PASSPORT["bytes"],
        "passport": PASSPORT,
    }


def events(first: int, count: int, total: int, number: int) -> str:
    """Return events `first` to `first + count` of a run of `total`, as lines."""
    lines = []
    for n in range(first + 1, first + count + 1):
        step, part = n * EVERY, n / total
        loss = 2 + 0.01 * number + 5 * math.exp(-9 * part) + 0.1 * math.sin(n * 12.9898 + number)
        lines.append({
            "event": "train", "step": step, "loss": loss, "learning_rate": 1e-3 * (1 - part), "gradient_norm": 0.7 + part,
            "tokens": step * 2048, "seconds": round(0.0118 * step, 4), "tokens_per_second": 17_400.0 + n % 97,
            "memory_bytes": 365 * 2**20, "epoch": round(step * 2048 / 161_000, 4),
        })  # fmt: skip
        if n % UPDATE == 0:
            place = {"step": step, "tokens": step * 2048, "seconds": round(0.0118 * step, 4)}
            lines.append({"event": "evaluation", **place, **figures(loss + 0.1)})
    return "".join(json.dumps(line) + "\n" for line in lines)


def make_run(folder: Path, number: int, count: int, *, ended: bool = True) -> None:
    """Write a run of `count` events."""
    folder.mkdir(parents=True)
    steps = count * EVERY
    model = {"positions": ("learned", "rotary", "alibi")[number % 3], "n_layers": 2 + number % 4}
    config = make_config({"data": {"source": "python-reference"}, "model": model, "train": {"steps": steps},
                          "run": {"name": folder.name, "folder": str(folder.parent), "seed": 1 + number}})  # fmt: skip
    write_yaml(config, folder / "config.yaml")
    time_ = f"2026-11-{1 + number % 28:02d}T{number % 24:02d}:00:00+00:00"
    seals.write_json(folder / "environment.json", {"time": time_, "command": ["heed", "train"], "seed": 1 + number})
    text = events(0, count, count, number)
    (folder / "metrics.jsonl").write_text(text + (json.dumps({"event": "end", "step": steps}) + "\n" if ended else ""))
    if ended:
        seals.write_json(folder / "evaluation.json", {"validation": figures(2.1 + 0.01 * number)})
    state = {"format": 1, "step": steps, "state": {"settings": config.model_dump(mode="json")}}
    place = folder / "checkpoints" / step_name(steps)
    place.mkdir(parents=True)
    (place / "state.json").write_text(json.dumps(state | {"self": hash_state(state)}))


def timed(function, times: int) -> str:
    """Return median and range of the seconds that a function takes."""
    found = []
    for _ in range(times):
        begin = time.perf_counter()
        function()
        found.append(time.perf_counter() - begin)
    return f"{statistics.median(found):.2f} s ({min(found):.2f} to {max(found):.2f}, {times} times)"


def table(folder: Path, count: int, size: int, times: int) -> None:
    """Time `heed runs`, a process each time."""
    for number in range(count):
        make_run(folder / f"run-{number:04d}", number, size)
    run = lambda *more: subprocess.run(
        [sys.executable, "-m", "heed", "runs", str(folder), *more], check=True, stdout=subprocess.DEVNULL
    )
    print(f"heed runs over {count:,} folders: {timed(run, times)}")
    print(f"heed runs --sort word_perplexity: {timed(lambda: run('--sort', 'word_perplexity'), times)}")


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--runs", type=int, default=1000)
    flags.add_argument("--size", type=int, default=1000, help="events of a run of the table")
    flags.add_argument("--board", type=int, default=200, help="runs of the page; 0: not")
    flags.add_argument("--events", type=int, default=10_000, help="events of a run of the page")
    flags.add_argument("--times", type=int, default=5)
    asked = flags.parse_args()
    print(f"{os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as place:
        if asked.runs:
            table(Path(place) / "table", asked.runs, asked.size, asked.times)


if __name__ == "__main__":
    main()
