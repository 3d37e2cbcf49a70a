"""Tokens per second and peak memory of a training step: heed beside GPT-2 of transformers and nanoGPT, in one run.

    python benchmarks/training_speed.py --threads 1 --repeat 3
    python benchmarks/training_speed.py --nanogpt ../nanoGPT          with a checkout of github.com/karpathy/nanoGPT

Each measurement is a fresh process, the sides take turns, and the medians are compared. A step is: loss, backward,
clipping to norm 1, AdamW, gradients forgotten; no dropout, the same random tokens in every step.

  heed                 the step that `heed train` makes (training/step.py), its default GPT, `train.precision: auto`
  heed fp32            the same in float32
  transformers         GPT2LMHeadModel as it comes: float32, sdpa attention, gelu_new, torch.optim.AdamW as it comes
  transformers bf16    the same under bfloat16 autocast, with fused AdamW
  nanogpt, ... bf16    its GPT, float32 and under bfloat16 autocast, with fused AdamW
  products, ... bf16   the matrix products of such a step and nothing else (of attention the half that is not masked):
                       what a step cannot be faster than while it makes them with torch

--activation gelu-tanh gives heed transformers' gelu_new. Processes beside this one disturb wall clocks on few cores:
CPU seconds on one thread (--threads 1) are the second figure.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

#          layers, heads, width, context, batch, vocabulary; steps that are measured
SHAPES = {
    "a": (4, 4, 128, 64, 12, 65, 60),
    "b": (6, 6, 384, 256, 16, 65, 5),
    "c": (6, 6, 384, 256, 8, 10_000, 8),
}
PEERS = ["nanogpt", "nanogpt bf16"]
SIDES = ["heed", "heed fp32", "transformers", "transformers bf16", "products", "products bf16"]
WARM_UP = 3


def heed_step(shape: str, activation: str, precision: str) -> Callable[[], object]:
    """Return heed's training step as a function."""
    import torch

    from heed.build import build_model
    from heed.config import make_config
    from heed.training.precision import settle_precision
    from heed.training.step import TensorBatch, Updater
    from heed.training.streams import Streams

    L, H, D, T, B, V, _ = SHAPES[shape]
    sizes = {"n_layers": L, "n_heads": H, "d_model": D, "context": T, "activation": activation}
    config = make_config({"model": sizes, "train": {"batch_size": B, "precision": precision}})
    config = settle_precision(config, torch.device("cpu"))
    model = build_model(config.model, V).train()
    updater = Updater(model, config.train, torch.device("cpu"), Streams(1), lambda line: None)
    ids = torch.randint(0, V, (B, T + 1), generator=torch.Generator().manual_seed(1))
    batch = TensorBatch(ids[:, :-1].contiguous(), ids[:, 1:].contiguous(), None, B * T)
    return lambda: updater.update(200, [batch])


def peer_step(side: str, shape: str, nanogpt: str) -> Callable[[], object]:
    """Return the same step of a peer."""
    import torch

    L, H, D, T, B, V, _ = SHAPES[shape]
    if side.startswith("nanogpt"):
        sys.path.insert(0, nanogpt)
        from model import GPT, GPTConfig  # pyright: ignore[reportMissingImports]

        model = GPT(GPTConfig(T, V, L, H, D, 0.0, True)).train()
        loss_of = lambda source, target: model(source, target)[1]
    else:
        from transformers import GPT2Config, GPT2LMHeadModel

        dropouts: Any = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
        config = GPT2Config(
            vocab_size=V, n_positions=T, n_embd=D, n_layer=L, n_head=H, bos_token_id=0, eos_token_id=0, **dropouts
        )
        model = GPT2LMHeadModel(config).train()
        loss_of = lambda source, target: model(input_ids=source, labels=source).loss
    half = side.endswith("bf16")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True if half or "nano" in side else None)
    ids = torch.randint(0, V, (B, T + 1), generator=torch.Generator().manual_seed(1))
    source, target = ids[:, :-1].contiguous(), ids[:, 1:].contiguous()

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16) if half else contextlib.nullcontext():
            loss = loss_of(source, target)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def products_step(half: bool, shape: str) -> Callable[[], object]:
    """Return the products of a step: three for each linear layer (output, input, weights), and six of attention."""
    import torch

    L, H, D, T, B, V, _ = SHAPES[shape]
    N, dtype = B * T, torch.bfloat16 if half else torch.float32
    draw = lambda *sizes: torch.randn(*sizes).to(dtype)
    made: list[tuple[Callable[..., object], Any, Any, Any]] = []

    def linear(inputs: int, outputs: int, times: int) -> None:
        x, W, y = draw(N, inputs), draw(outputs, inputs), draw(N, outputs)
        three = [
            (torch.mm, x, W.t(), torch.empty_like(y)),
            (torch.mm, y, W, torch.empty_like(x)),
            (torch.mm, y.t(), x, torch.empty_like(W)),
        ]
        made.extend(three * times)

    for inputs, outputs in ((D, 3 * D), (D, D), (D, 4 * D), (4 * D, D)):
        linear(inputs, outputs, L)
    linear(D, V, 1)
    rows, weights = draw(B * H, T, D // H), draw(B * H, T, T // 2)  # T/2 keys a query, on average
    keys = rows[:, : T // 2].contiguous()
    scores = (torch.bmm, rows, keys.transpose(1, 2), torch.empty_like(weights))
    mixed = (torch.bmm, weights, keys, torch.empty_like(rows))
    across = (torch.bmm, weights.transpose(1, 2), rows, torch.empty_like(keys))
    made.extend([scores, mixed, scores, across, mixed, across] * L)

    def step() -> None:
        for product, a, b, out in made:
            product(a, b, out=out)

    return step


def measure(side: str, shape: str, options: argparse.Namespace) -> dict[str, float]:
    """Measure one side in this process: median tokens per wall second and per CPU second, peak resident MB."""
    import resource

    import torch

    torch.set_num_threads(options.threads)
    if side.startswith("heed"):
        step = heed_step(shape, options.activation, "fp32" if side.endswith("fp32") else "auto")
    elif side.startswith("products"):
        step = products_step(side.endswith("bf16"), shape)
    else:
        step = peer_step(side, shape, options.nanogpt)
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
    """Measure one side in a fresh process, so that none pays for the other's imports and memory."""
    command = [sys.executable, __file__, "--side", side, "--shape", shape, "--threads", str(options.threads)]
    command += ["--activation", options.activation, "--nanogpt", options.nanogpt]
    environment = os.environ | {"OMP_NUM_THREADS": str(options.threads), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def compare(shape: str, options: argparse.Namespace) -> None:
    """Measure the sides in turns, and print a table: speed and memory of each beside transformers as it comes."""
    sides: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES + (PEERS if options.nanogpt else [])}
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
    print(f"{'':20}{'tokens/s':>10}{'tokens/CPU s':>14}{'peak MB':>9}{'x':>7}{'x CPU':>7}{'x MB':>7}")
    base = medians["transformers"]
    for side, median in medians.items():
        ratios = "".join(f"{median[key] / base[key]:7.2f}" for key in ("wall", "cpu", "memory"))
        print(f"{side:20}{median['wall']:10,.0f}{median['cpu']:14,.0f}{median['memory']:9,.0f}{ratios}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=[*SHAPES, "all"], default="all")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=3, help="fresh processes for each side")
    parser.add_argument("--activation", default="gelu", help="heed's activation; gelu-tanh is gelu_new of GPT-2")
    parser.add_argument("--nanogpt", default="", help="a checkout of nanoGPT, which is measured too")
    parser.add_argument("--side", choices=SIDES + PEERS, help="measure one side here and print it as JSON")
    options = parser.parse_args()
    if options.side:
        print(json.dumps(measure(options.side, options.shape, options)))
        return 0
    for shape in list(SHAPES) if options.shape == "all" else [options.shape]:
        compare(shape, options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
