"""Tokens per second of a training step of an LSTM: heed beside torch.nn.LSTM in a plain loop, in one run.

    python benchmarks/recurrent_speed.py --threads 1

Both sides have the same layers, tied embedding, output bias and batch; a step is: loss, backward, clipping to norm 1,
fused AdamW, gradients forgotten. float32, no dropout. The sides take turns in one process, step by step, so that other
work on the machine disturbs both alike, and medians are compared. The plain loop computes all logits at once, as it
is usually written; heed computes them in chunks. CPU seconds on one thread are the second figure.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn

from heed.build import build_model
from heed.config import ModelConfig, TrainConfig
from heed.training.step import TensorBatch, Updater
from heed.training.streams import Streams

#          layers, embedding, width, context, batch, vocabulary
SHAPES = {
    "words": (2, 256, 512, 70, 10, 33_278),
    "characters": (2, 128, 256, 64, 16, 65),
    "long": (2, 512, 512, 256, 8, 10_000),
}


class Plain(nn.Module):
    """What one writes on an afternoon."""

    def __init__(self, layers: int, D: int, H: int, V: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(V, D)
        self.hidden = nn.LSTM(D, H, layers - 1, batch_first=True)
        self.last = nn.LSTM(H, D, batch_first=True)
        self.head = nn.Linear(D, V)
        self.head.weight = self.embedding.weight
        nn.init.normal_(self.embedding.weight, std=0.02)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Return logits (B, T, V)."""
        return self.head(self.last(self.hidden(self.embedding(ids))[0])[0])


def plain_step(shape: str, batch: TensorBatch) -> Callable[[], object]:
    """Return the plain training step."""
    L, D, H, _, _, V = SHAPES[shape]
    model = Plain(L, D, H, V).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)

    def step() -> None:
        logits = model(batch.source)
        nn.functional.cross_entropy(logits.flatten(0, 1), batch.target.flatten()).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def heed_step(shape: str, batch: TensorBatch) -> Callable[[], object]:
    """Return heed's training step."""
    L, D, H, T, B, V = SHAPES[shape]
    config = ModelConfig(kind="lstm", n_layers=L, d_model=D, d_hidden=H, context=T)
    model = build_model(config, V).train()
    updater = Updater(model, TrainConfig(batch_size=B), torch.device("cpu"), Streams(1), lambda line: None)
    return lambda: updater.update(200, [batch])


def compare(shape: str, steps: int) -> None:
    """Measure both sides in turns and print a table."""
    L, D, H, T, B, V = SHAPES[shape]
    ids = torch.randint(0, V, (B, T + 1), generator=torch.Generator().manual_seed(1))
    batch = TensorBatch(ids[:, :-1].contiguous(), ids[:, 1:].contiguous(), None, B * T)
    sides = {"heed": heed_step(shape, batch), "torch.nn.LSTM": plain_step(shape, batch)}
    times: dict[str, list[tuple[float, float]]] = {side: [] for side in sides}
    for number in range(steps + 2):
        for side, step in sides.items():
            wall, cpu = time.perf_counter(), time.process_time()
            step()
            if number >= 2:  # the first ones allocate
                times[side].append((time.perf_counter() - wall, time.process_time() - cpu))
    print(f"\n{shape}: {L} layers, {D} and {H} wide, context {T}, batch {B}, vocabulary {V:,}; {steps} steps in turns")
    print(f"{'':16}{'tokens/s':>10}{'tokens/CPU s':>14}")
    medians = {
        side: [B * T / statistics.median(column) for column in zip(*rows, strict=True)] for side, rows in times.items()
    }
    for side, (wall, cpu) in medians.items():
        print(f"{side:16}{wall:10,.0f}{cpu:14,.0f}")
    ours, plain = medians.values()
    print(f"{'ratio':16}{ours[0] / plain[0]:10.2f}{ours[1] / plain[1]:14.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=[*SHAPES, "all"], default="all")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=11)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for shape in SHAPES if options.shape == "all" else [options.shape]:
        compare(shape, options.steps)


if __name__ == "__main__":
    main()
