"""How long `heed runs` takes over many folders, and how long `heed board` takes to open and to refresh.

    python benchmarks/board.py                         1,000 runs for the table, 200 of 10,000 events for the page
    python benchmarks/board.py --runs 50 --events 500  fewer

The runs are made of numbers alone, in a folder that is thrown away, each with its checkpoint's state and its hashes.
Each figure is the median of several repetitions, its range beside it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import psutil

from heed import files, seals
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
            "event": "train", "step": step, "loss": loss, "learning_rate": 1e-3 * (1 - part),
            "gradient_norm": 0.7 + part, "tokens": step * 2048, "seconds": round(0.0118 * step, 4),
            "tokens_per_second": 17_400.0 + n % 97,
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


def timed(function: Callable[[], object], times: int) -> str:
    """Return median and range of the seconds that a function takes, and its CPU seconds in processes of its own."""
    found, used = [], []
    for _ in range(times):
        begin, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        function()
        found.append(time.perf_counter() - begin)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    spread = f"({min(found):.2f} to {max(found):.2f}, {times} times)"
    return f"{statistics.median(found):.2f} s {spread}, {statistics.median(used):.2f} CPU seconds"


def table(folder: Path, count: int, size: int, times: int) -> None:
    """Time `heed runs`, a process each time."""
    for number in range(count):
        make_run(folder / f"run-{number:04d}", number, size)
    run = lambda *more: subprocess.run(
        [sys.executable, "-m", "heed", "runs", str(folder), *more], check=True, stdout=subprocess.DEVNULL
    )
    print(f"heed runs over {count:,} folders: {timed(run, times)}")
    print(f"heed runs --sort word_perplexity: {timed(lambda: run('--sort', 'word_perplexity'), times)}")


def page(folder: Path, count: int, size: int, times: int) -> None:
    """Time `heed board`: from its start to a page that is drawn, and what a refresh takes while 8 runs go on."""
    for number in range(count):
        make_run(folder / f"run-{number:04d}", number, size, ended=number % 25 != 0)
    going = [folder / f"run-{number:04d}" for number in range(0, count, 25)]
    with contextlib.ExitStack() as locks:
        for run in going:
            locks.enter_context(files.locked(run / ".lock", "training"))
        command = [sys.executable, "-m", "heed", "board", str(folder), "--port", "0"]
        begin = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            try:
                assert server.stdout is not None
                address = server.stdout.readline().split(" at ")[1].split(" ")[0]
                print(f"from the command to a server that listens: {time.perf_counter() - begin:.2f} s")
                ask_all(address, going, size, times)
            finally:
                server.terminate()


def ask_all(address: str, going: list[Path], size: int, times: int) -> None:
    from playwright.sync_api import sync_playwright

    cpu = lambda process: sum(process.cpu_times()[:2])
    process = next(one for one in psutil.process_iter(["cmdline"]) if address.rstrip("/").endswith(str(port_of(one))))
    with sync_playwright() as playwright:
        program = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        for number in range(times):
            tab = browser.new_page(viewport={"width": 1280, "height": 900})
            begin, before = time.perf_counter(), cpu(process)
            tab.goto(address)
            tab.wait_for_selector("#rows tr:nth-child(100)")
            tab.wait_for_selector("figure .marks path")
            what = "opens, nothing known to the server" if number == 0 else "opens again"
            seconds, of_server = time.perf_counter() - begin, cpu(process) - before
            print(f"the page {what}: {seconds:.2f} s to table and curves, {of_server:.2f} CPU seconds of the server")
            if number < times - 1:
                tab.close()
        browser.close()
    question = {"curves": ["train/loss", "validation/loss"]}
    known: dict = {}
    found, used = [], []
    for n in range(1 + 2 * times):
        for run in going:
            with (run / "metrics.jsonl").open("a") as file:
                file.write(events(size + 5 * n, 5, 2 * size, 1))
        time.sleep(0.4)
        begin, before = time.perf_counter(), cpu(process)
        body = json.dumps({**question, **known}).encode()
        request = urllib.request.Request(f"{address}v1/board", body, {"Content-Type": "application/json"})
        said = json.load(urllib.request.urlopen(request))
        found.append(time.perf_counter() - begin)
        used.append(cpu(process) - before)
        told = {run: {name: one["known"] for name, one in curves.items()} for run, curves in said["curves"].items()}
        known = {"server": said["server"], "since": said["version"], "order": said["order"],
                 "known": known.get("known", {}) | told}  # fmt: skip
    spread = f"({min(found[1:]):.3f} to {max(found[1:]):.3f}, {len(found) - 1} times)"
    print(f"a refresh while {len(going)} runs go on: {statistics.median(found[1:]):.3f} s {spread}, "
          f"{statistics.median(used[1:]):.3f} CPU seconds")  # fmt: skip


def port_of(process: psutil.Process) -> int | None:
    """Return the port that a process of heed board listens at."""
    try:
        if "board" in (process.info["cmdline"] or ()):
            return next((one.laddr.port for one in process.net_connections() if one.status == psutil.CONN_LISTEN), None)
    except psutil.Error:
        pass
    return None


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
        if asked.board:
            page(Path(place) / "board", asked.board, asked.events, asked.times)


if __name__ == "__main__":
    main()
