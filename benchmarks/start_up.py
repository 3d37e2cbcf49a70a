"""From `heed train` to its first step, and `heed audit` of a model that leaks: CPU seconds, and where they go.

    python benchmarks/start_up.py --rounds 3

Each is a process of its own. A training has an empty folder the first time (no token files) and the same one `again`;
its process ends when the first update is made. What is listed is what each stage adds. The first evaluation comes at
`train.eval_every` and is no part of this; nor are Python's own .pyc files, which the very first start writes.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import wraps
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

from heed.text.named import locate

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
CASES = {
    "quickstart": ("--config", str(CONFIGS / "quickstart.yaml")),
    "shakespeare": ("--config", str(CONFIGS / "shakespeare.yaml")),
    "wikitext-2-words": ("--config", str(CONFIGS / "wikitext-2-words.yaml")),
}
STAGES = ("imports", "tokenizer", "token files", "model, audit", "batches, folder", "first step")
COLUMNS = {"all": 6, "wall": 6, **dict.fromkeys(STAGES, 17)}
Row = dict[str, float]

LEAK = """
import torch

class Leaking(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.tokens, self.head = torch.nn.Embedding(50, 32), torch.nn.Linear(32, 50)
        layer = torch.nn.TransformerEncoderLayer(32, 2, 64, batch_first=True)
        self.layers = torch.nn.TransformerEncoder(layer, 2)

    def forward(self, ids):
        return self.head(self.layers(self.tokens(ids)))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--one", choices=CASES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        train(arguments.one)
    data = Path(locate("wikitext-2/train.txt"))
    if not data.exists():
        sys.exit(f"{data} is not there: set HEED_DATA to the folder that holds it (heed doctor says where is looked)")
    os.environ["HEED_DATA"] = str(data.resolve().parent.parent)
    print(f"CPU seconds, medians of {arguments.rounds}\n")
    print(f"{'':30}{'all':>6}{'wall':>6}" + "".join(map("{:>17}".format, STAGES)))
    for case in CASES:
        rounds = [twice(case) for _ in range(arguments.rounds)]
        for name, rows in zip(("first time", "again"), zip(*rounds, strict=True), strict=True):
            row = {key: statistics.median(some[key] for some in rows) for key in rows[0]}
            shown = "".join(f"{row[key]:>{width}.2f}" for key, width in COLUMNS.items())
            print(f"{case + ', ' + name:30}{shown}", flush=True)
    found = [audit() for _ in range(arguments.rounds)]
    print(f"{'heed audit of a leak':30}{statistics.median(found):>6.2f}")


def twice(case: str) -> list[Row]:
    """Begin a training in an empty folder, and again where its token files are."""
    with tempfile.TemporaryDirectory() as folder:
        return [apart(case, folder) for _ in range(2)]


def apart(case: str, folder: str) -> Row:
    """Measure a training up to its first step in a process of its own."""
    start = time.perf_counter()
    command = [sys.executable, __file__, "--one", case]
    done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    row = json.loads(done.stdout.splitlines()[-1])
    return {"all": sum(row.values()), "wall": time.perf_counter() - start, **row}


def train(case: str) -> NoReturn:
    """Do as `heed train` up to the first update, and print what each stage has taken."""
    from heed.cli import main as heed

    marks: list[float] = []

    def mark(function: Callable[..., Any], *, before: bool = False) -> Callable[..., Any]:
        @wraps(function)
        def marked(*args: Any, **kwargs: Any) -> Any:
            if before:
                marks.append(time.process_time())
            answer = function(*args, **kwargs)
            if not before:
                marks.append(time.process_time())
            return answer

        return marked

    import heed.experiment as experiment
    from heed.training.step import Updater

    settle, update = experiment.settle, Updater.update

    def first(*args: Any, **kwargs: Any) -> NoReturn:
        marks.append(time.process_time())
        update(*args, **kwargs)
        marks.append(time.process_time())
        took = [after - before for before, after in pairwise([0.0, *marks])]
        print(json.dumps(dict(zip(STAGES, took, strict=True))), flush=True)
        os._exit(0)

    experiment.settle = mark(settle, before=True)
    experiment.build_tokenizer = mark(experiment.build_tokenizer)
    experiment.build_model = mark(experiment.build_model, before=True)
    experiment.refuse_leaks = mark(experiment.refuse_leaks)
    Updater.update = first
    sys.exit(heed(["train", *CASES[case], "--overwrite"]))


def audit() -> float:
    """Return what `heed audit` takes of a model that sees the future."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "leaking.py").write_text(LEAK, encoding="utf-8")
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [sys.executable, "-m", "heed", "audit", "leaking:Leaking"]
        said = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if said.returncode != 1:
        sys.exit(f"the audit did not find the leak: {said.stdout}{said.stderr}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
