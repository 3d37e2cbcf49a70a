"""Tokens per second and peak memory of a training step: heed beside GPT-2 of transformers, in one run.

    python benchmarks/training_speed.py --threads 2 --repeat 3

Each measurement is a fresh process, the two sides take turns, and the medians are compared. A step is: loss, backward,
clipping to norm 1, AdamW, gradients forgotten. float32, no dropout, the same random tokens in every step.

  heed           the step that `heed train` makes (training/step.py), its default GPT: exact GELU, the rest as GPT-2
  transformers   GPT2LMHeadModel as it comes (sdpa attention, gelu_new), torch.optim.AdamW as it comes

--activation gelu-tanh gives heed transformers' gelu_new; --peer-fused gives transformers heed's fused AdamW. Processes
beside this one disturb wall clocks on few cores: CPU seconds on one thread (--threads 1) are the second figure.
Must reach: (a) 1.5 times transformers' tokens/s, (b) and (c) 1.1 times, at most 0.7 of its peak memory.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

#          layers, heads, width, context, batch, vocabulary; steps that are measured
SHAPES = {
    "a": (4, 4, 128, 64, 12, 65, 60),
    "b": (6, 6, 384, 256, 16, 65, 5),
    "c": (6, 6, 384, 256, 8, 10_000, 8),
}
GOALS = {"a": 1.5, "b": 1.1, "c": 1.1}
MEMORY_GOAL = 0.7
WARM_UP = 3


def heed_step(shape: str, activation: str) -> Callable[[], object]:
    """Return heed's training step as a function."""
    import torch

    from heed.build import build_model
    from heed.config import ModelConfig, TrainConfig
    from heed.training.step import TensorBatch, Updater
    from heed.training.streams import Streams

    L, H, D, T, B, V, _ = SHAPES[shape]
    config = ModelConfig.model_validate(
        {"n_layers": L, "n_heads": H, "d_model": D, "context": T, "activation": activation}
    )
    model = build_model(config, V).train()
    updater = Updater(model, TrainConfig(batch_size=B), torch.device("cpu"), Streams(1), lambda line: None)
    ids = torch.randint(0, V, (B, T + 1), generator=torch.Generator().manual_seed(1))
    batch = TensorBatch(ids[:, :-1].contiguous(), ids[:, 1:].contiguous(), None, B * T)
    return lambda: updater.update(200, [batch])


def transformers_step(shape: str, fused: bool) -> Callable[[], object]:
    """Return the same step with transformers' GPT-2."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    L, H, D, T, B, V, _ = SHAPES[shape]
    dropouts = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    config = GPT2Config(
        vocab_size=V, n_positions=T, n_embd=D, n_layer=L, n_head=H, bos_token_id=0, eos_token_id=0, **dropouts
    )
    model = GPT2LMHeadModel(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=fused or None)
    ids = torch.randint(0, V, (B, T), generator=torch.Generator().manual_seed(1))

    def step() -> None:
        model(input_ids=ids, labels=ids).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def measure(side: str, shape: str, threads: int, activation: str, peer_fused: bool) -> dict[str, float]:
    """Measure one side in this process: median tokens per wall second and per CPU second, peak resident MB."""
    import resource

    import torch

    torch.set_num_threads(threads)
    step = heed_step(shape, activation) if side == "heed" else transformers_step(shape, peer_fused)
    for _ in range(WARM_UP):
        step()
    walls, cpus = [], []
    for _ in range(SHAPES[shape][-1]):
        wall, cpu = time.perf_counter(), time.process_time()
        step()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    tokens = SHAPES[shape][3] * SHAPES[shape][4]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "wall": tokens / statistics.median(walls),
        "cpu": tokens / statistics.median(cpus),
        "memory": peak / (2**20 if sys.platform == "darwin" else 2**10),
    }


def elsewhere(side: str, shape: str, options: argparse.Namespace) -> dict[str, float]:
    """Measure one side in a fresh process, so that neither pays for the other's imports and memory."""
    command = [sys.executable, __file__, "--side", side, "--shape", shape, "--threads", str(options.threads)]
    command += ["--activation", options.activation, *(["--peer-fused"] if options.peer_fused else [])]
    environment = os.environ | {"OMP_NUM_THREADS": str(options.threads), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def compare(shape: str, options: argparse.Namespace) -> bool:
    """Measure both sides in turns, print a table, and return whether the goals are reached."""
    sides: dict[str, list[dict[str, float]]] = {"heed": [], "transformers": []}
    for _ in range(options.repeat):
        for side, results in sides.items():
            results.append(elsewhere(side, shape, options))
    medians = {
        side: {key: statistics.median(result[key] for result in results) for key in results[0]}
        for side, results in sides.items()
    }
    L, _, D, T, B, V, steps = SHAPES[shape]
    print(
        f"\n({shape}) {L} layers, width {D}, context {T}, batch {B}, vocabulary {V:,}; {steps} steps x {options.repeat}"
    )
    print(f"{'':14}{'tokens/s':>10}{'tokens/CPU s':>14}{'peak MB':>9}")
    for side, median in medians.items():
        print(f"{side:14}{median['wall']:10,.0f}{median['cpu']:14,.0f}{median['memory']:9,.0f}")
    ratios = {key: medians["heed"][key] / medians["transformers"][key] for key in medians["heed"]}
    print(f"{'ratio':14}{ratios['wall']:10.2f}{ratios['cpu']:14.2f}{ratios['memory']:9.2f}")
    print(f"{'must reach':14}{GOALS[shape]:10.2f}{GOALS[shape]:14.2f}{MEMORY_GOAL:9.2f}", flush=True)
    return ratios["wall"] >= GOALS[shape] and ratios["memory"] <= MEMORY_GOAL


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=[*SHAPES, "all"], default="all")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=3, help="fresh processes for each side")
    parser.add_argument("--activation", default="gelu", help="heed's activation; gelu-tanh is gelu_new of GPT-2")
    parser.add_argument("--peer-fused", action="store_true", help="give transformers fused AdamW too")
    parser.add_argument("--side", choices=["heed", "transformers"], help="measure one side here and print it as JSON")
    options = parser.parse_args()
    if options.side:
        print(json.dumps(measure(options.side, options.shape, options.threads, options.activation, options.peer_fused)))
        return 0
    shapes = list(SHAPES) if options.shape == "all" else [options.shape]
    reached = [compare(shape, options) for shape in shapes]
    return 0 if all(reached) else 1


if __name__ == "__main__":
    sys.exit(main())
