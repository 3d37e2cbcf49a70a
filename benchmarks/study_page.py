"""How long `heed compare STUDY --report` takes: the page of a study of many runs, from the command to the file.

    python benchmarks/study_page.py                              20 variants with 5 seeds, 1,000 events each
    python benchmarks/study_page.py --variants 50 --seeds 2      as many runs, more to compare

The runs are made of numbers alone, in a folder that is thrown away. CPU seconds stand beside the wall clock.
"""

from __future__ import annotations

import argparse
import math
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from board import figures, make_run, timed
from heed import seals
from heed.config import make_config


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variants", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--events", type=int, default=1_000)
    parser.add_argument("--times", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        make_study(Path(folder), options.variants, options.seeds, options.events)
        command = [sys.executable, "-m", "heed", "compare", folder, "--report"]
        done = timed(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL), options.times)
        size = (Path(folder) / "report.html").stat().st_size / 1e6
    what = f"{options.variants} variants, {options.seeds} seeds, {options.events:,} events a run"
    print(f"heed compare --report, {what}: {done}; the page has {size:.2f} MB")


def make_study(folder: Path, variants: int, seeds: int, events: int) -> None:
    """Write study.json, and a run folder for each cell; variants differ by little, and seeds by more."""
    noise = random.Random(1)
    common = [noise.gauss(0, 0.05) for _ in range(seeds)]
    names = [f"variant-{number}" for number in range(variants)]
    cells = []
    for place, name in enumerate(names):
        for seed in range(1, seeds + 1):
            loss = 2.5 + common[seed - 1] + 0.003 * place + noise.gauss(0, 0.006)
            run = f"runs/{name}/seed-{seed}"
            make_run(folder / run, place, events)
            cells.append({
                "variant": name, "seed": seed, "state": "finished", "message": "", "folder": run,
                "figures": {"validation": figures(loss)}, "seconds": 118.0 + place, "tokens": 2_048_000,
                "tokens_per_second": 17_300.0 + math.floor(100 * noise.random()),
                "memory": {"steady": 300 * 2**20, "peak": 366 * 2**20}, "leaks": None,
            })  # fmt: skip
    changes = {name: {"train.learning_rate": 1e-4 * (place + 1)} if place else {} for place, name in enumerate(names)}
    facts = {"parameters": 841_600, "flops_per_token": 5_000_000, "steps": 10 * events}
    study = {
        "title": "Many runs", "figure": "bits_per_byte", "baseline": names[0], "search": None,
        "budget": {"kind": "tokens", "amount": 2_048_000}, "seeds": list(range(1, seeds + 1)),
        "base": make_config({"data": {"source": "python-reference"}}).model_dump(mode="json"),
        "variants": {name: {"changes": changes[name], **facts} for name in names}, "cells": cells,
        "machine": {"system": "Linux", "cores": 2}, "command": "heed compare many.yaml",
    }  # fmt: skip
    seals.write_json(folder / "study.json", study)


if __name__ == "__main__":
    main()
