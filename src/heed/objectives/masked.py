"""Hidden tokens: what an encoder learns of running text (Devlin et al. 2019), and how well it finds them."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import torch
from torch import nn

from heed.build import Say
from heed.config import Aim, Config
from heed.errors import ConfigError
from heed.models.base import LanguageModel
from heed.objectives.losses import Total, first_tokens, passport_of_split, window_losses
from heed.objectives.objective import Files, Window, placed
from heed.objectives.running_text import (
    checked,
    encode_running_text,
    first_tokens_of_training,
    no_specials,
    open_running_text,
    windows,
)
from heed.report.figure_kinds import LOSS
from heed.report.measured import Figures
from heed.text.batches import Packed
from heed.text.masking import Masked, masked_windows
from heed.text.stream import Stream
from heed.text.tokenfile import TokenFile
from heed.text.tokenizers import Tokenizer

NO_STRIDE = "the stride is for models that predict the next token: leave it out for an encoder"
KINDS = (replace(LOSS, label="masked token loss", unit="nats a masked token"),)


@dataclass(frozen=True)
class HiddenTokens:
    """Tokens that are hidden here and there, from both sides of each."""

    aim: Aim
    figures = KINDS
    specials = staticmethod(no_specials)
    open = staticmethod(open_running_text)
    encode = staticmethod(encode_running_text)
    training_part = staticmethod(first_tokens_of_training)

    def stream(self, files: Files, tokenizer: Tokenizer, config: Config, seed: int, say: Say) -> Stream:
        """Return windows of the text in which tokens are hidden."""
        rows = windows(files["train"], config, seed)
        assert isinstance(rows, Packed)  # no stream, which the aim refuses
        checked(rows, files, say)
        return Masked(rows, config.train.mask_fraction, config.tokenizer.vocab_size)

    def evaluate(
        self, model: LanguageModel, tokens: TokenFile, tokenizer: Tokenizer, config: Config, window: Window
    ) -> Figures:
        """Find the hidden tokens of a split, the same every time."""
        if window.stride is not None:
            raise ConfigError(NO_STRIDE)
        model, how = placed(model, tokenizer, config, window)
        return evaluate_masked(
            model,
            tokens,
            fraction=config.train.mask_fraction,
            vocab_size=config.tokenizer.vocab_size,
            cross_documents=config.data.layout != "padded" and config.data.cross_documents,
            **how,
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
) -> Figures:
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
    values = {"loss": nats / counted, "nats": nats, "evaluation_seconds": round(time.perf_counter() - begin, 3)}
    return Figures(values, KINDS, measured_on=passport)
