"""How well an encoder classifies a split: deterministic, every text once, with its passport.

accuracy    texts whose likeliest class is theirs / texts, with the interval of Wilson (1927) at 95 %
loss        nats / texts
recall      of the texts of a class, the share that is found
majority    the share of the commonest class: the accuracy of whoever always says the same
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from heed.errors import ConfigError
from heed.report.numbers import format_accuracy, format_loss, said_shares
from heed.report.passport import Passport
from heed.report.statistics import wilson
from heed.text.examples import examples_in_order
from heed.text.labelled import LabelledTokens
from heed.training.evaluate import evaluating, passport_of_split


@dataclass(frozen=True)
class Classification:
    """The figures of one evaluation of a classifier."""

    loss: float
    """Nats per text."""
    confusion: tuple[tuple[int, ...], ...]
    """Texts by their class (rows) and by the class that the model gives them (columns)."""
    classes: tuple[str, ...]
    evaluation_seconds: float
    passport: Passport

    @property
    def examples(self) -> int:
        """Texts that were classified."""
        return sum(map(sum, self.confusion))

    @property
    def accuracy(self) -> float:
        """Share of the texts that were classified rightly."""
        return sum(row[place] for place, row in enumerate(self.confusion)) / self.examples

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the accuracy, for texts drawn like these."""
        return wilson(sum(row[place] for place, row in enumerate(self.confusion)), self.examples)

    @property
    def majority(self) -> float:
        """Share of the commonest class."""
        return max(map(sum, self.confusion)) / self.examples

    @property
    def recall(self) -> dict[str, float | None]:
        """Share of each class that is found; None where the split has no text of it."""
        found = ((row[place], sum(row)) for place, row in enumerate(self.confusion))
        return {name: hits / all_ if all_ else None for name, (hits, all_) in zip(self.classes, found, strict=True)}

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for metrics.jsonl and evaluation.json."""
        return {
            "loss": self.loss,
            "accuracy": self.accuracy,
            "accuracy_interval": list(self.interval),
            "majority": self.majority,
            "examples": self.examples,
            "recall": self.recall,
            "confusion": [list(row) for row in self.confusion],
            "evaluation_seconds": round(self.evaluation_seconds, 3),
            "passport": self.passport.as_dict(),
        }

    def lines(self) -> list[tuple[str, str]]:
        """Return the figures as people read them, each with its name."""
        return [
            ("accuracy", f"{format_accuracy(self.accuracy)} ({said_shares(*self.interval)})"),
            ("majority class", format_accuracy(self.majority)),
            ("loss", f"{format_loss(self.loss)} nats an example"),
        ]


def classify(
    model: nn.Module,
    tokens: LabelledTokens,
    *,
    tokenizer_name: str,
    context: int,
    pad_id: int,
    batch_size: int = 64,
    device: torch.device | str | None = None,
    max_tokens: int | None = None,
) -> Classification:
    """Classify the texts of a split, in its order, each cut at `context` tokens.

    `max_tokens` takes the first texts that have so many tokens together (one at least). The model is left in the mode
    that it was in. Raises `ConfigError` when the context is longer than the model's, or the classes are not its own.
    """
    longest = getattr(model, "context", context)
    if context > longest:
        raise ConfigError(f"the evaluation's context {context} is longer than the model's {longest}: take at most that")
    count, part = len(tokens.ends), bool(tokens.header.get("part"))
    if max_tokens is not None:
        count = max(1, int(np.searchsorted(tokens.ends, max_tokens, side="right")))
    where = torch.device(device) if device is not None else next(model.parameters()).device
    begin = time.perf_counter()
    confusion = np.zeros((len(tokens.classes),) * 2, dtype=np.int64)
    nats = 0.0
    with evaluating(model):
        for batch in examples_in_order(tokens, context, batch_size, pad_id, count):
            logits = model(torch.from_numpy(batch.source).to(where)).cpu().double()
            if logits.shape[1] != len(tokens.classes):
                raise ConfigError(f"the model knows {logits.shape[1]} classes, the texts have {len(tokens.classes)}")
            nats += F.cross_entropy(logits, torch.from_numpy(batch.target), reduction="sum").item()
            np.add.at(confusion, (batch.target, logits.argmax(dim=1).numpy()), 1)
    return Classification(
        loss=nats / count,
        confusion=tuple(tuple(map(int, row)) for row in confusion),
        classes=tokens.classes,
        evaluation_seconds=time.perf_counter() - begin,
        passport=passport_of_split(
            tokens,
            "example",
            count,
            tokenizer_name,
            context,
            documents="separate",
            partial=part or count < len(tokens.ends),
        ),
    )
