"""CPU seconds of a training step in float32 and in bfloat16 on one thread, and which of them `precision: auto` takes.

    python benchmarks/precision.py

The same model twice, in one process, step by step in turns, so that other work on the machine disturbs both alike;
medians. A step is: loss, backward, clipping, AdamW. Rows of the encoder are filled up with padding of several lengths.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import numpy as np
import torch

from heed.build import build_model
from heed.config import make_config
from heed.text.stream import Batch
from heed.training.precision import fast_in_half
from heed.training.step import Updater
from heed.training.streams import Streams

VOCABULARY = 2000
SMALL: dict[str, Any] = {"n_layers": 2, "n_heads": 4, "d_model": 128, "context": 64}
MIDDLE = SMALL | {"d_model": 256, "context": 256}
#     rows of a batch, model
SHAPES: dict[str, tuple[int, dict[str, Any]]] = {
    "64 wide": (12, SMALL | {"d_model": 64}),
    "small": (12, SMALL),
    "small, alibi": (12, SMALL | {"positions": "alibi"}),
    "small, 2 of 4 heads of keys": (12, SMALL | {"n_kv_heads": 2}),
    "middle": (8, MIDDLE),
    "middle, rms norm, rotary": (8, MIDDLE | {"norm": "rms", "positions": "rotary", "qk_norm": True}),
    "middle, alibi": (8, MIDDLE | {"positions": "alibi"}),
    "middle, dropout": (8, MIDDLE | {"dropout": 0.1}),
    "middle, encoder with padding": (8, MIDDLE | {"kind": "encoder"}),
    "context 1,024": (2, SMALL | {"context": 1024}),
    "context 4,096": (1, SMALL | {"context": 4096}),
}


def make_step(model: dict[str, Any], rows: int, precision: str) -> Any:
    """Return a function that makes an update."""
    config = make_config({"model": model, "train": {"steps": 1000, "batch_size": rows, "precision": precision}})
    made = build_model(config.model, VOCABULARY).train()
    updater = Updater(made, config.train, torch.device("cpu"), Streams(1), print)
    source = np.random.default_rng(0).integers(0, VOCABULARY, size=(rows, config.model.context))
    target, mask = source.copy(), None
    if config.model.kind == "encoder":
        mask = np.zeros(source.shape, bool)
        mask[:, ::7] = True
        for row in range(rows):
            source[row, config.model.context - 16 * row :] = VOCABULARY + 1
    steps = iter(range(1, 1000))
    return lambda: updater.update(next(steps), [Batch(source, target, mask)])


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--shapes", nargs="*", default=list(SHAPES), choices=list(SHAPES))
    asked.add_argument("--steps", type=int, default=7)
    given = asked.parse_args()
    torch.set_num_threads(1)
    print(f"{'model':30} {'fp32':>8} {'bf16':>8} {'ratio':>6}  auto with AMX")
    for name in given.shapes:
        rows, model = SHAPES[name]
        steps = {precision: make_step(model, rows, precision) for precision in ("fp32", "bf16")}
        times: dict[str, list[float]] = {precision: [] for precision in steps}
        for count in range(given.steps + 1):
            for precision, step in steps.items():
                begin = time.process_time()
                step()
                if count:  # the first finds memory and makes kernels
                    times[precision].append(time.process_time() - begin)
        whole, half = (1000 * statistics.median(times[precision]) for precision in ("fp32", "bf16"))
        taken = fast_in_half(make_config({"model": model, "train": {"batch_size": rows}}))
        said = "bf16" if taken else "fp32"
        print(f"{name:30} {whole:5.0f} ms {half:5.0f} ms {whole / half:6.2f}  {said}", flush=True)


if __name__ == "__main__":
    main()
