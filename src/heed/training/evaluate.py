"""How well a model predicts a whole split: deterministic, every token counted once, each figure with its passport.

    loss              total nats / predicted tokens
    sequence loss     mean over sequences of (nats of a sequence / its predicted tokens)    IFT6135; no perplexity
    token perplexity  exp(total nats / predicted tokens)        never a mean of means
    word perplexity   exp(total nats / words of the text)       comparable between tokenizers
    bits per byte     total nats / (ln 2 * bytes of the text)   comparable between tokenizers and languages

The first token of the split has no context and is not predicted; words and bytes are those of the whole text. Separate
documents are each read after the end token of the one before. In text without end tokens the first token of each
document is free of charge, so there the first word of each is no part of the words and bytes, and the passport says so.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from heed.errors import ConfigError
from heed.models.base import LanguageModel
from heed.models.loss import linear_cross_entropy
from heed.report.numbers import format_loss, format_perplexity
from heed.report.passport import Passport
from heed.text.batches import Batch, evaluation_windows
from heed.text.corruption import Corruption, corrupted_windows
from heed.text.masking import masked_windows
from heed.text.tokenfile import TokenFile
from heed.training.honest import HonestLoss, evaluating, honest_loss

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


def evaluate(
    model: nn.Module,
    tokens: TokenFile,
    *,
    tokenizer_name: str,
    context: int,
    stride: int | None = None,
    batch_size: int = 16,
    device: torch.device | str | None = None,
    cross_documents: bool = True,
    max_tokens: int | None = None,
    sequences: bool = False,
    carry: bool = False,
) -> Evaluation:
    """Measure `model` on a token file; `model.loss(source, target, mask, reduction="none")` gives nats (B, T).

    `stride` (default: `context`) is how far the window moves on: a smaller one gives each token at least
    `context - stride` tokens of context, and costs context / stride times as much. `max_tokens` evaluates the first
    that many predicted tokens only; the passport then says partial. The model is left in the mode that it was in.

    `sequences` adds the mean over windows of each one's mean loss. With `carry` a `LanguageModel` reads the split from
    end to end in one go, its state carried on from `context` to `context` tokens: every token is predicted from all
    that stand before it, and the passport says so by a context (and stride) of the whole split.

    Raises `ConfigError` when the context is longer than the model's, `DataError` when the stride does not fit or
    there is nothing to predict.
    """
    longest = getattr(model, "context", context)
    if context > longest:
        raise ConfigError(f"the evaluation's context {context} is longer than the model's {longest}: take at most that")
    stride = context if stride is None else stride
    part = tokens if max_tokens is None else first_tokens(tokens, max_tokens + 1)
    begin = time.perf_counter()
    total = Total()
    if carry:
        total.read(carried_losses(model, part, context, device))
        context = stride = total.counted
    else:
        windows = evaluation_windows(part, context, stride, batch_size, cross_documents)
        total.read(window_losses(model, windows, device))
    nats, counted = total.nats, total.counted
    words, text_bytes, rule = predicted_text(tokens, counted, cross_documents)
    passport = passport_of_split(
        tokens,
        "token",
        counted,
        tokenizer_name,
        context,
        stride=stride,
        documents="joined" if cross_documents else "separate",
        partial=len(part.ids) < len(tokens.ids),
        words=words,
        text_bytes=text_bytes,
        word_rule=rule,
    )
    leaks = getattr(model, "leaks", None)
    return Evaluation(
        loss=nats / counted,
        token_perplexity=perplexity(nats, counted),
        word_perplexity=perplexity(nats, words),
        bits_per_byte=nats / (math.log(2) * text_bytes) if text_bytes else None,
        nats=nats,
        evaluation_seconds=time.perf_counter() - begin,
        passport=replace(passport, leaks=leaks is not None),
        sequence_mean_loss=total.sequence_mean if sequences else None,
        leaks=leaks,
        honest=honest_loss(model, part, context, device) if leaks is not None else None,
    )


def evaluate_masked(
    model: nn.Module,
    tokens: TokenFile,
    *,
    tokenizer_name: str,
    context: int,
    fraction: float,
    vocab_size: int,
    batch_size: int = 16,
    device: torch.device | str | None = None,
    cross_documents: bool = True,
    max_tokens: int | None = None,
) -> Evaluation:
    """Measure how well an encoder finds the hidden tokens of a split; the same ones are hidden every time.

    The loss is in nats per hidden token. It is no loss of a causal model, since both sides of a hidden token are seen:
    there are no perplexities, and its passport has a unit of its own. Otherwise as `evaluate`.
    """
    part = tokens if max_tokens is None else first_tokens(tokens, max_tokens + 1)
    begin = time.perf_counter()
    windows = masked_windows(part, context, batch_size, fraction, vocab_size, cross_documents)
    total = Total()
    total.read(window_losses(model, windows, device))
    nats, counted = total.nats, total.counted
    passport = passport_of_split(
        tokens,
        "masked token",
        counted,
        tokenizer_name,
        context,
        documents="joined" if cross_documents else "separate",
        partial=len(part.ids) < len(tokens.ids),
    )
    return Evaluation(nats / counted, None, None, None, nats, time.perf_counter() - begin, passport)


def evaluate_spans(
    model: nn.Module,
    tokens: TokenFile,
    corruption: Corruption,
    *,
    tokenizer_name: str,
    batch_size: int = 16,
    device: torch.device | str | None = None,
    max_tokens: int | None = None,
) -> Evaluation:
    """Measure how well the hidden spans of a split are told, after all that stands around them; the same every time.

    The loss is in nats per token of a span. It is no loss of a language model on that text, since both sides of a span
    are seen: there are no perplexities, and its passport has a unit of its own. Otherwise as `evaluate`, with the
    context of `corruption`.
    """
    part = tokens if max_tokens is None else first_tokens(tokens, max_tokens)
    begin = time.perf_counter()
    total = Total()
    total.read(window_losses(model, corrupted_windows(part, corruption, batch_size), device))
    nats, counted = total.nats, total.counted
    passport = passport_of_split(
        tokens,
        f"{corruption.objective.removesuffix('s')} token",  # each hides other spans; those of "spans" are "span token"s
        counted,
        tokenizer_name,
        corruption.context,
        documents="separate",
        partial=len(part.ids) < len(tokens.ids),
    )
    leaks = getattr(model, "leaks", None)
    passport = replace(passport, leaks=leaks is not None)
    return Evaluation(nats / counted, None, None, None, nats, time.perf_counter() - begin, passport, leaks=leaks)


def predicted_text(tokens: TokenFile, counted: int, joined: bool) -> tuple[int, int, str]:
    """Return the words and the bytes of a text of which `counted` tokens were predicted, and how words are counted.

    All but the first token of the text, or (of separate documents without end tokens) of each document, must have been:
    otherwise 0 and 0. In the second case the first word of each document is left out, since its beginning is given.
    """
    header = tokens.header
    rule = header.get("word_rule", "words")
    begun = np.count_nonzero(np.diff(tokens.ends, prepend=np.uint64(0)))
    if counted == len(tokens.ids) - 1:
        return header.get("words", 0), header.get("bytes", 0), rule
    if joined or counted != len(tokens.ids) - begun or "first_words" not in header:
        return 0, 0, rule
    words, text_bytes = header["words"] - header["first_words"], header["bytes"] - header["first_bytes"]
    return words, text_bytes, f"{rule} but the first of each document"


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


def carried_losses(
    model: nn.Module, tokens: TokenFile, chunk: int, device: torch.device | str | None = None
) -> Iterator[tuple[Tensor, np.ndarray]]:
    """Yield (nats (1, T), which of them count) of the split as one sequence, read through the cache `chunk` by `chunk`.

    Raises `ConfigError` for a model without one, or one that cannot read on for so long.
    """
    if not isinstance(model, LanguageModel):
        raise ConfigError("only a language model of heed can carry its state through a split")
    where = torch.device(device) if device is not None else next(model.parameters()).device
    last = len(tokens.ids) - 1
    with evaluating(model):
        cache = model.new_cache(1, max(1, last))
        for begin in range(0, last, chunk):
            window = torch.from_numpy(tokens.ids[begin : begin + chunk + 1].astype(np.int64))[None].to(where)
            hidden = model.hidden(window[:, :-1], cache)
            losses = linear_cross_entropy(
                hidden, model.head_weight, window[:, 1:], bias=model.head_bias, reduction="none"
            )
            yield losses, np.ones(losses.shape, bool)


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
