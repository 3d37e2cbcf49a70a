"""Training beside another process: a fixed number of threads, `run.threads auto`, and how waiting threads wait.

    python benchmarks/busy_machine.py
    python benchmarks/busy_machine.py --shapes a --seconds 30 --rounds 5

Each figure is the median of trainings of `--seconds`, each in a process of its own, made by the loop of `heed train` on
random tokens; the sides take turns, alone and beside a neighbour that this script starts and ends: a process that
keeps one core busy. Whatever else runs on the machine disturbs both columns, and the first one is then not idle.

  1, all             run.threads 1, and one for each core; threads that wait for another sleep (heed's default)
  all, spinning      the same as OpenMP waits when nobody says how: GOMP_SPINCOUNT=300000, the default of libgomp
  all, short spin    GOMP_SPINCOUNT=1000: some 50 microseconds, then asleep
  auto               run.threads auto: measured before the first step, and looked at again
  a run a core       as many runs of 1 thread at a time as there are cores: the tokens of all

auto must not be more than 1.3 times slower than the best fixed number, alone or beside the neighbour; what it takes to
measure is told beside it, and is no part of a training's speed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from training_speed import SHAPES

GOAL = 1.3
WAITING = {
    "spinning": {"GOMP_SPINCOUNT": "300000"},
    "short": {"GOMP_SPINCOUNT": "1000"},
    "asleep": {"OMP_WAIT_POLICY": "passive"},
}
#        threads, how the others wait
SIDES = {
    "1": ("1", "asleep"),
    "all": ("all", "asleep"),
    "all, spinning": ("all", "spinning"),
    "all, short spin": ("all", "short"),
    "auto": ("auto", "asleep"),
}
TOGETHER = "a run a core"
NEIGHBOUR = "import os\nparent = os.getppid()\nwhile os.getppid() == parent:\n    sum(range(10**6))\n"
"""Ends when this script does, however that ends."""


def train(shape: str, threads: str, seconds: float) -> dict[str, Any]:
    """Train for so many seconds in this process: tokens a second, the threads that it had, seconds until it began."""
    import torch

    from heed.build import build_model
    from heed.config import make_config
    from heed.records.events import ThreadsEvent
    from heed.text.stream import Batch
    from heed.training.fit import fit
    from heed.training.run import Run
    from heed.training.streams import Streams

    L, H, D, T, B, V, _ = SHAPES[shape]

    class Drawn:
        epoch = 0.0

        def __next__(self) -> Batch:
            ids = torch.randint(0, V, (B, T + 1), generator=torch.Generator().manual_seed(1)).numpy()
            return Batch(ids[:, :-1], ids[:, 1:], None)

        def state(self) -> dict[str, Any]:
            return {}

        def load_state(self, state: dict[str, Any]) -> None: ...

    asked = {"all": len(os.sched_getaffinity(0)), "auto": "auto"}.get(threads) or int(threads)
    with TemporaryDirectory() as place:
        config = make_config(
            {
                "model": {"n_layers": L, "n_heads": H, "d_model": D, "context": T},
                "train": {"steps": 10**6, "seconds": seconds, "batch_size": B, "checkpoint_every": 10**6},
                "run": {"folder": place, "name": "run", "device": "cpu", "threads": asked},
            }
        )
        if asked != "auto":
            torch.set_num_threads(asked)
        run, model, streams = Run.create(Path(place) / "run", config), build_model(config.model, V), Streams(1)
        begin = time.perf_counter()
        done = fit(model, Drawn(), config.train, run, streams=streams)
        besides = time.perf_counter() - begin - done.seconds
        chosen = [int(e.threads or 0) for e in run.read_metrics() if isinstance(e, ThreadsEvent)]
    return {"speed": done.tokens / done.seconds, "threads": chosen, "besides": besides}


@contextmanager
def neighbour(busy: bool) -> Iterator[None]:
    """Keep a core busy meanwhile."""
    if not busy:
        yield
        return
    process = subprocess.Popen([sys.executable, "-c", NEIGHBOUR])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def start(shape: str, side: str, seconds: float) -> subprocess.Popen[str]:
    """Start a training in a process of its own."""
    threads, waits = SIDES[side]
    unset = {"OMP_NUM_THREADS", *(name for variables in WAITING.values() for name in variables)}
    variables = {name: value for name, value in os.environ.items() if name not in unset} | WAITING[waits]
    command = [sys.executable, __file__, "--train", shape, "--threads", threads, "--seconds", str(seconds)]
    return subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, text=True)


def measure(shape: str, side: str, seconds: float, cores: int) -> dict[str, Any]:
    """Return what a training comes to, or several at a time together."""
    begun = [start(shape, "1" if side == TOGETHER else side, seconds) for _ in range(cores if side == TOGETHER else 1)]
    try:
        told = [one.communicate()[0] for one in begun]
    finally:
        for one in begun:
            one.kill()
    if any(one.returncode for one in begun):
        raise SystemExit(f"a training of shape {shape} with {side} threads failed")
    found = [json.loads(lines.splitlines()[-1]) for lines in told]
    return found[0] | {"speed": sum(one["speed"] for one in found)}


def compare(shape: str, options: argparse.Namespace) -> bool:
    """Measure all sides in turns, print a table, and return whether the goal is reached."""
    cores, sides = len(os.sched_getaffinity(0)), [*SIDES, TOGETHER]
    found: dict[tuple[str, bool], list[dict[str, Any]]] = {(side, busy): [] for side in sides for busy in (False, True)}
    for _ in range(options.rounds):
        for busy in (False, True):
            with neighbour(busy):
                for side in sides:
                    found[side, busy].append(measure(shape, side, options.seconds, cores))
    speeds = {key: statistics.median(one["speed"] for one in each) for key, each in found.items()}
    L, _, D, T, B, V, _ = SHAPES[shape]
    print(f"\n({shape}) {L} layers, width {D}, context {T}, batch {B}, vocabulary {V:,}; {cores} cores")
    print(f"{'threads':18}{'alone':>10}{'busy':>10}   tokens/s, medians of {options.rounds} x {options.seconds:g} s")
    for side in sides:
        print(f"{side:18}{speeds[side, False]:10,.0f}{speeds[side, True]:10,.0f}")
    worst = 0.0
    for busy in (False, True):
        best = max(speeds[side, busy] for side in ("1", "all"))
        ratio, auto = best / speeds["auto", busy], found["auto", busy]
        chosen = ", ".join("then ".join(map(str, one["threads"])) or "not measured" for one in auto)
        besides = statistics.median(one["besides"] for one in auto)
        print(
            f"{'busy' if busy else 'alone'}: the best fixed number is {ratio:.2f} times as fast as auto, which chose "
            f"{chosen}; {besides:.1f} s besides the steps"
        )
        worst = max(worst, ratio)
    print(f"must not be more than {GOAL}", flush=True)
    return worst <= GOAL


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", default="a,b", help=f"of {', '.join(SHAPES)}, with commas between")
    parser.add_argument("--seconds", type=float, default=15.0, help="of each training")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--train", choices=SHAPES, help="train this shape here and print it as JSON")
    parser.add_argument("--threads", default="auto")
    options = parser.parse_args()
    if options.train:
        print(json.dumps(train(options.train, options.threads, options.seconds)))
        return 0
    reached = [compare(shape, options) for shape in options.shapes.split(",")]
    return 0 if all(reached) else 1


if __name__ == "__main__":
    sys.exit(main())
