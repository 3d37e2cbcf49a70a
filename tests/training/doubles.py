"""Small stand-ins for the other rooms: a model, batches, a validation, and a whole training out of them."""

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from heed.config import Config, RunConfig, TrainConfig
from heed.training.fit import FitResult, fit
from heed.training.run import Run
from heed.training.streams import Streams

VOCAB, WIDTH, LENGTH = 11, 8, 6


class TinyModel(nn.Module):
    """Embedding, two residual blocks with dropout, tied head: the loss depends on every kind of parameter."""

    def __init__(self, generator: torch.Generator | None = None, dropout: float = 0.0, width: int = WIDTH) -> None:
        super().__init__()
        self.vocab_size, self.context = VOCAB, LENGTH
        self.embedding = nn.Embedding(VOCAB, width)
        self.blocks = nn.ModuleList(nn.Linear(width, width) for _ in range(2))
        self.norm = nn.LayerNorm(width)
        self.drop = nn.Dropout(dropout)
        self.head = nn.Linear(width, VOCAB, bias=False)
        self.head.weight = self.embedding.weight
        generator = generator or torch.Generator().manual_seed(0)
        for parameter in self.parameters():  # biases too: torch draws them from its global generator
            if parameter is not self.norm.weight:
                nn.init.normal_(parameter, std=0.3, generator=generator)

    def forward(self, ids):
        x = self.embedding(ids)
        for block in self.blocks:
            x = x + self.drop(torch.tanh(block(x)))
        return self.head(self.norm(x))

    def loss(self, source, target, mask=None, reduction="mean"):
        nats = F.cross_entropy(self(source).flatten(0, 1), target.flatten(), reduction="none").view(target.shape)
        mask = torch.ones_like(target, dtype=torch.bool) if mask is None else mask
        if reduction == "none":
            return nats * mask
        return (nats * mask).sum() / (mask.sum() if reduction == "mean" else 1)


@dataclass
class Example:
    source: np.ndarray
    target: np.ndarray
    mask: np.ndarray | None


class Windows:
    """Batch number i is a function of i alone; every second row is half masked when `masked`."""

    @property
    def epoch(self) -> float:
        return self.index / 8

    def __init__(self, batch_size: int = 4, masked: bool = False, bad_at: int | None = None) -> None:
        self.index, self.batch_size, self.masked, self.bad_at = 0, batch_size, masked, bad_at

    def __next__(self) -> Example:
        self.index += 1
        start = np.random.default_rng(self.index).integers(0, VOCAB, (self.batch_size, 1))
        ids = (start + np.arange(LENGTH + 1) * 3) % VOCAB
        mask = None
        if self.masked:
            mask = np.ones((self.batch_size, LENGTH), bool)
            mask[::2, : 1 + self.index % LENGTH] = False
        return Example(ids[:, :-1], ids[:, 1:], mask)

    def state(self) -> dict[str, Any]:
        return {"index": self.index}

    def load_state(self, state: dict[str, Any], /) -> None:
        self.index = state["index"]


@dataclass
class Figure:
    loss: float

    @property
    def criterion(self) -> float:
        return self.loss

    def as_dict(self) -> dict[str, Any]:
        return {"loss": self.loss}


def new_run(folder: Path, seed: int = 1) -> Run:
    return Run.create(folder, Config(run=RunConfig(seed=seed)))


def plan(**settings: Any) -> TrainConfig:
    usual = {"steps": 12, "learning_rate": 0.02, "warmup_steps": 2, "eval_every": 5, "checkpoint_every": 4}
    return TrainConfig(**(usual | settings))


def events(run: Run, kind: str) -> list[dict[str, Any]]:
    return [event.plain() for event in run.read_metrics() if kind == event.KIND]


def whole_training(folder: str, steps: int, width: int = WIDTH) -> FitResult:
    """Everything at once that a resumed run has to get right; starts, or goes on where the folder already is a run."""
    path = Path(folder)
    resume = (path / "config.yaml").exists()
    run = Run.open(path) if resume else new_run(path)
    streams = Streams(1)
    model = TinyModel(streams["initialisation"], dropout=0.3, width=width)

    def validation() -> Figure:
        torch.rand(3)  # a careless validation that draws from the training's generator
        batch = next(Windows(batch_size=8))
        with torch.no_grad():
            return Figure(model.loss(torch.tensor(batch.source), torch.tensor(batch.target)).item())

    def sample() -> list[dict[str, Any]]:
        return [{"ids": torch.randint(VOCAB, (5,), generator=streams["sampling"]).tolist()}]

    settings = plan(
        steps=steps, accumulation=2, clip=0.5, eval_every=9, checkpoint_every=7, warmup_steps=5, optimizer="muon"
    )
    batches = Windows(masked=True)
    return fit(
        model, batches, settings, run, validation=validation, sample=sample, streams=streams,
        resume=resume, log_every=4,
    )  # fmt: skip


def outcome(folder: Path) -> dict[str, Any]:
    """All that must not depend on whether a run was killed: the last checkpoint, byte by byte, and the figures."""
    run = Run.open(folder)
    last = sorted(run.checkpoints.glob("step-*"))[-1]
    timing = {"seconds", "tokens_per_second", "memory_bytes", "time"}
    logged = [
        {key: value for key, value in event.plain().items() if key not in timing}
        for event in run.read_metrics()
        if event.KIND in ("train", "evaluation", "sample", "end")
    ]
    state = json.loads((last / "state.json").read_text())
    state["state"]["counters"].pop("seconds")
    return {
        "model": (last / "model.safetensors").read_bytes(),
        "optimizer": (last / "optimizer.safetensors").read_bytes(),
        "state": state["state"],
        "best": json.loads((run.checkpoints / "best.json").read_text()),
        "logged": logged,
    }


def serve() -> None:
    """Start a training in a forked process for each line of standard input, say its number, wait, say how it ended.

    Forking spares each process the seconds that torch takes to import; the server itself never computes anything.
    """
    for line in sys.stdin:
        folder, steps, width = line.rstrip("\n").split("\t")
        child = os.fork()
        if child == 0:
            status = 1
            try:
                whole_training(folder, int(steps), int(width))
                # torch.optim's classes import it: 3 CPU seconds and 80 MB that a plain training must not pay
                status = 3 if "torch._dynamo" in sys.modules else 0
            finally:
                os._exit(status)
        print(child, flush=True)
        sys.stdin.readline()  # so long its number is not given to another process
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    serve()
