"""Losses of a whole split, added up: every target once, in float64, and the passport of what comes of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from heed.objectives.honest import HonestLoss, evaluating
from heed.report.numbers import format_loss, format_perplexity
from heed.report.passport import Passport
from heed.text.batches import Batch
from heed.text.tokenfile import TokenFile

LARGEST_EXPONENT = 700.0
"""exp of more does not fit into a float64."""


@dataclass(frozen=True)
class Evaluation:
    """The figures of one evaluation. A figure that the data cannot give is None and is left out of `as_dict`."""

    loss: float
    """Nats per predicted token."""
    token_perplexity: float | None
    word_perplexity: float | None
    """None when a part of the text was not predicted (see above), or its words were not counted."""
    bits_per_byte: float | None
    """None as above."""
    nats: float
    """Total over all predicted tokens."""
    evaluation_seconds: float
    passport: Passport
    sequence_mean_loss: float | None = None
    """For padded sequences: the mean over them of each one's mean, in nats; tokens of short ones count for more."""
    leaks: str | None = None
    """What the audit has found, where the model sees the tokens that it predicts."""
    honest: HonestLoss | None = None
    """The loss on prefixes alone, of a model that leaks."""

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for metrics.jsonl and evaluation.json, the passport as a dictionary in it."""
        figures = {
            "loss": self.loss,
            "token_perplexity": self.token_perplexity,
            "word_perplexity": self.word_perplexity,
            "bits_per_byte": self.bits_per_byte,
            "sequence_mean_loss": self.sequence_mean_loss,
            "nats": self.nats,
            "evaluation_seconds": round(self.evaluation_seconds, 3),
        }
        if self.leaks is not None:
            figures |= {"leaks": self.leaks, "honest": asdict(self.honest) if self.honest else None}
        known = {name: figure for name, figure in figures.items() if figure is not None}
        return known | {"passport": self.passport.as_dict()}

    def lines(self) -> list[tuple[str, str]]:
        """Return the figures as people read them, each with its name."""
        unit = self.passport.unit
        name = {"token": "loss"}.get(unit, f"{unit.replace('-span token', '-span')} loss")
        shown = [(name, f"{format_loss(self.loss)} nats a {unit}")]
        for name in ("token_perplexity", "word_perplexity"):
            if (value := getattr(self, name)) is not None:
                shown.append((name.replace("_", " "), format_perplexity(value)))
        if self.bits_per_byte is not None:
            shown.append(("bits per byte", f"{self.bits_per_byte:.4f}"))
        if self.sequence_mean_loss is not None:
            shown.append(("sequence mean loss", f"{format_loss(self.sequence_mean_loss)} nats a token"))
        if self.leaks is None:
            return shown
        shown = [(f"LEAKING {name}", value) for name, value in shown]
        return [("honest loss", self.honest.sentence()), *shown] if self.honest else shown


@dataclass
class Total:
    """Losses added up in float64."""

    nats: float = 0.0
    counted: int = 0
    """Tokens that were predicted."""
    means: float = 0.0
    """Sum over rows of the mean of each."""
    rows: int = 0
    """Rows in which a token was predicted."""

    @property
    def sequence_mean(self) -> float:
        """The mean over rows of the mean of each."""
        return self.means / self.rows

    def read(self, batches: Iterable[tuple[Tensor, np.ndarray]]) -> None:
        """Add (nats (B, T), which of them count (B, T) bool)."""
        nats = means = torch.zeros((), dtype=torch.float64)
        for losses, mask in batches:
            counts = mask.sum(axis=1)
            self.counted += int(counts.sum())
            self.rows += int((counts > 0).sum())
            if losses.device.type == "mps":  # which has no float64
                losses = losses.cpu()
            each = losses.double().sum(dim=1)
            nats = nats.to(each.device) + each.sum()
            means = means.to(each.device) + (each / torch.from_numpy(counts).to(each.device).clamp(min=1)).sum()
        self.nats += nats.item()
        self.means += means.item()


def window_losses(
    model: nn.Module, batches: Iterable[Batch], device: torch.device | str | None = None
) -> Iterator[tuple[Tensor, np.ndarray]]:
    """Yield (nats (B, T), which of them count (B, T) bool) of each batch."""
    where = torch.device(device) if device is not None else next(model.parameters()).device
    with evaluating(model):
        for batch in batches:
            mask = np.ones(batch.target.shape, bool) if batch.mask is None else batch.mask
            source, target, counts = (torch.from_numpy(array).to(where) for array in (batch.source, batch.target, mask))
            losses = model.loss(source, target, counts, reduction="none")  # pyright: ignore[reportCallIssue]
            yield losses, mask


def passport_of_split(
    tokens: TokenFile,
    unit: str,
    counted: int,
    tokenizer_name: str,
    context: int,
    *,
    documents: str,
    partial: bool,
    stride: int | None = None,
    words: int = 0,
    text_bytes: int = 0,
    word_rule: str | None = None,
) -> Passport:
    """Return the passport of figures over a split, of which `counted` units were predicted."""
    header = tokens.header
    return Passport(
        unit=unit,
        tokenizer=tokenizer_name,
        context=context,
        stride=context if stride is None else stride,
        documents=documents,
        split=header.get("split", "given"),
        tokens=counted,
        words=words,
        bytes=text_bytes,
        word_rule=word_rule or header.get("word_rule", "words"),
        partial=partial,
        corpus=f"{header.get('corpus', 'unnamed')} {header.get('corpus_fingerprint', '')[:8]}".strip(),
    )


def perplexity(nats: float, count: int) -> float | None:
    """Return exp(nats / count), or None when nothing was counted or the number is larger than any float.

    >>> perplexity(2 * math.log(50), 2), perplexity(1.0, 0)
    (49.99999999999999, None)
    """
    if count == 0 or nats / count > LARGEST_EXPONENT:
        return None
    return math.exp(nats / count)


def first_tokens(tokens: TokenFile, count: int) -> TokenFile:
    """Return the first `count` tokens as a token file of their own; the last document may be cut."""
    if count >= len(tokens.ids):
        return tokens
    whole = tokens.ends[tokens.ends < count]
    return TokenFile(tokens.ids[:count], np.append(whole, np.uint64(count)), tokens.header)
