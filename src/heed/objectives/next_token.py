"""The next token: what a language model learns of running text, and how well it predicts a whole split of it.

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
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from heed.build import Say
from heed.config import Aim, Config
from heed.errors import ConfigError
from heed.models.base import LanguageModel
from heed.objectives.honest import evaluating, honest_loss
from heed.objectives.losses import Total, first_tokens, passport_of_split, perplexity, window_losses
from heed.objectives.objective import Files, Window, placed
from heed.objectives.running_text import (
    checked,
    encode_running_text,
    first_tokens_of_training,
    grouped,
    no_specials,
    open_running_text,
    windows,
)
from heed.report.figure_kinds import BITS_PER_BYTE, LOSS, SEQUENCE_MEAN_LOSS, TOKEN_PERPLEXITY, WORD_PERPLEXITY
from heed.report.measured import Figures
from heed.text.batches import Packed, evaluation_windows
from heed.text.contiguous import Contiguous
from heed.text.stream import Stream
from heed.text.tokenfile import TokenFile
from heed.text.tokenizers import Tokenizer

KINDS = (LOSS, TOKEN_PERPLEXITY, WORD_PERPLEXITY, BITS_PER_BYTE, SEQUENCE_MEAN_LOSS)


@dataclass(frozen=True)
class NextToken:
    """Each token from all that stand before it."""

    aim: Aim
    figures = KINDS
    specials = staticmethod(no_specials)
    open = staticmethod(open_running_text)
    encode = staticmethod(encode_running_text)
    training_part = staticmethod(first_tokens_of_training)

    def rows(self, tokens: TokenFile, tokenizer: Tokenizer, config: Config, seed: int) -> Packed | Contiguous:
        """Return the rows of a text."""
        return windows(tokens, config, seed)

    def stream(self, files: Files, tokenizer: Tokenizer, config: Config, seed: int, say: Say) -> Stream:
        """Return windows of the text."""
        rows = self.rows(files["train"], tokenizer, config, seed)
        return checked(grouped(rows, config, seed), files, say)

    def evaluate(
        self, model: LanguageModel, tokens: TokenFile, tokenizer: Tokenizer, config: Config, window: Window
    ) -> Figures:
        """Predict every token: from all that stands before where a model carries its state and no window is asked."""
        model, how = placed(model, tokenizer, config, window)
        padded = config.data.layout == "padded"
        return evaluate(
            model,
            tokens,
            stride=window.stride,
            cross_documents=not padded and config.data.cross_documents,
            sequences=padded,
            carry=config.model.recurrent.carry and window.context is None and window.stride is None,
            **how,
        )


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
) -> Figures:
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
    found = {
        "loss": nats / counted,
        "token_perplexity": perplexity(nats, counted),
        "word_perplexity": perplexity(nats, words),
        "bits_per_byte": nats / (math.log(2) * text_bytes) if text_bytes else None,
        "sequence_mean_loss": total.sequence_mean if sequences else None,
        "nats": nats,
        "evaluation_seconds": round(time.perf_counter() - begin, 3),
    }
    said: tuple[tuple[str, str], ...] = ()
    if (leaks := getattr(model, "leaks", None)) is not None:
        honest = honest_loss(model, part, context, device)
        found |= {"leaks": leaks, "honest": asdict(honest)}
        said = (("honest loss", honest.sentence()),)
    values = {name: value for name, value in found.items() if value is not None}
    passport = replace(passport, leaks=leaks is not None)
    return Figures(values, KINDS, measured_on=passport, headline="bits_per_byte", before=said)


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
            losses = model.token_loss(model.hidden(window[:, :-1], cache), window[:, 1:], None, "none")
            yield losses, np.ones(losses.shape, bool)
