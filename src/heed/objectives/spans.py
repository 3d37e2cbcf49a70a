"""Hidden spans: a part of each document asked for at its end, so that a model which reads on learns facts.

How the rows are made is in `heed.text.corruption`; a share of the documents may stay plain text.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import torch
from torch import nn

from heed.build import Say
from heed.config import Aim, Config, unit_of_spans
from heed.errors import ConfigError
from heed.models.base import LanguageModel
from heed.objectives.losses import Total, first_tokens, passport_of_split, window_losses
from heed.objectives.next_token import NextToken
from heed.objectives.objective import Files, Window, placed, rows_in_a_batch
from heed.objectives.running_text import (
    checked,
    encode_running_text,
    first_tokens_of_training,
    grouped,
    open_running_text,
)
from heed.report.figure_kinds import LOSS, FigureKind
from heed.report.measured import Figures
from heed.text.corruption import Corrupted, Corruption, corrupted_windows, sentinels_needed
from heed.text.stream import Stream
from heed.text.tokenfile import TokenFile
from heed.text.tokenizers import MASK, Tokenizer, sentinels

NO_STRIDE = "the stride is for models of running text: leave it out for hidden spans and questions"
READ_IN_PART = ("recall-span",)
"""Ways whose rows are mostly names, read without any context: there the loss counts what is hidden alone."""


@dataclass(frozen=True)
class HiddenSpans:
    """The hidden part of each document, after all that stands around it."""

    aim: Aim
    open = staticmethod(open_running_text)
    encode = staticmethod(encode_running_text)
    training_part = staticmethod(first_tokens_of_training)

    @property
    def figures(self) -> tuple[FigureKind, ...]:
        """The loss of a token of a span; where all stays plain, what is measured of the next token."""
        return kinds_of(self.aim.unit) if self.aim.unit != "token" else NextToken.figures

    def specials(self, config: Config) -> tuple[str, ...]:
        """The mask, and T5's sentinels where several spans are hidden."""
        return (MASK, *sentinels(sentinels_needed(config.model.context))) if self.aim.sentinels else (MASK,)

    def rows(self, tokens: TokenFile, tokenizer: Tokenizer, config: Config, seed: int) -> Corrupted:
        """Return a row of each document."""
        corruption = Corruption(self._way, tokenizer, config.model.context)
        whole, plain = self._way not in READ_IN_PART, config.data.plain_share
        return Corrupted(tokens, corruption, rows_in_a_batch(config), seed, plain_share=plain, whole_rows=whole)

    def stream(self, files: Files, tokenizer: Tokenizer, config: Config, seed: int, say: Say) -> Stream:
        """Return rows with hidden spans, and plain ones."""
        rows = self.rows(files["train"], tokenizer, config, seed)
        return checked(grouped(rows, config, seed), files, say)

    def evaluate(
        self, model: LanguageModel, tokens: TokenFile, tokenizer: Tokenizer, config: Config, window: Window
    ) -> Figures:
        """Tell the hidden spans of a split, the same every time; where all stays plain, its next tokens."""
        if config.data.plain_share == 1:
            return NextToken(self.aim).evaluate(model, tokens, tokenizer, config, window)
        if window.stride is not None:
            raise ConfigError(NO_STRIDE)
        model, how = placed(model, tokenizer, config, window)
        return evaluate_spans(model, tokens, Corruption(self._way, tokenizer, how.pop("context")), **how)

    @property
    def _way(self) -> str:
        assert self.aim.spans is not None
        return self.aim.spans


def evaluate_spans(
    model: nn.Module,
    tokens: TokenFile,
    corruption: Corruption,
    *,
    tokenizer_name: str,
    batch_size: int = 16,
    device: torch.device | str | None = None,
    max_tokens: int | None = None,
) -> Figures:
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
        unit_of_spans(corruption.objective),
        counted,
        tokenizer_name,
        corruption.context,
        documents="separate",
        partial=len(part.ids) < len(tokens.ids),
    )
    values = {"loss": nats / counted, "nats": nats, "evaluation_seconds": round(time.perf_counter() - begin, 3)}
    if (leaks := getattr(model, "leaks", None)) is not None:
        values["leaks"] = leaks
    return Figures(values, kinds_of(passport.unit), measured_on=replace(passport, leaks=leaks is not None))


def kinds_of(unit: str) -> tuple[FigureKind, ...]:
    """Return the kinds of figures of hidden spans that are counted in `unit`.

    >>> [kinds_of(unit)[0].label for unit in ("single-span token", "span token")]
    ['single-span loss', 'span token loss']
    """
    return (replace(LOSS, label=f"{unit.replace('-span token', '-span')} loss", unit=f"nats a {unit}"),)
