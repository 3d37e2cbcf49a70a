"""Losses of a whole split, added up: every target once, in float64, and the passport of what comes of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from heed.objectives.honest import evaluating
from heed.report.passport import Passport
from heed.text.batches import Batch
from heed.text.tokenfile import TokenFile

LARGEST_EXPONENT = 700.0
"""exp of more does not fit into a float64."""


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
