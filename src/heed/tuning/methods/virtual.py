"""Trained tokens before a text: peft holds and saves them, and here they meet the text.

    prompt    [e_1 ... e_P, E(x_1) ... E(x_T)] as input embeddings       P more states than tokens
    prefix    keys [k_1 ... k_P, W_k x], values [v_1 ... v_P, W_v x]     in every layer, P of each

peft's own `PeftModelForFeatureExtraction` drops the token types that tell the texts of a pair apart; they are kept
here, and the trained tokens count to the first text, as peft has it in its class for classification.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from heed.config.tuning import MethodConfig
from heed.errors import ConfigError
from heed.tuning.methods.adapted import adapt
from heed.tuning.model import Tuned

FOR_OWN = "mean-full, head, bitfit, lora, dora, ia3"
"""The methods that work with heed's own models."""


class Virtual(nn.Module):
    """An encoder that reads trained tokens before each text."""

    def __init__(self, peft: Any, tokens: int, *, embedded: bool) -> None:
        super().__init__()
        self.peft, self.tokens, self.embedded = peft, tokens, embedded

    def get_base_model(self) -> Any:
        """Return the encoder alone."""
        return self.peft.get_base_model()

    @property
    def config(self) -> Any:
        """The configuration of the encoder."""
        return self.get_base_model().config

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **inputs: Tensor) -> Any:
        """Return what the encoder returns for ids (B, T); the mask (B, T) is of the text alone."""
        B, base = len(input_ids), self.get_base_model()
        if attention_mask is not None:
            attention_mask = torch.cat([attention_mask.new_ones(B, self.tokens), attention_mask], dim=1)
        if not self.embedded:
            past = self.peft.get_prompt(B)
            return base(input_ids=input_ids, attention_mask=attention_mask, past_key_values=past, **inputs)
        if (kinds := inputs.get("token_type_ids")) is not None:
            inputs["token_type_ids"] = torch.cat([kinds.new_zeros(B, self.tokens), kinds], dim=1)
        text = base.get_input_embeddings()(input_ids)
        whole = torch.cat([self.peft.get_prompt(B).to(text.dtype), text], dim=1)
        return base(inputs_embeds=whole, attention_mask=attention_mask, **inputs)


def put_before(tuned: Tuned, config: Any, *, embedded: bool) -> None:
    """Let the encoder read trained tokens before a text."""
    adapt(tuned, config)
    tuned.backbone = Virtual(tuned.backbone, config.num_virtual_tokens, embedded=embedded)
    tuned.skipped = config.num_virtual_tokens if embedded else 0


def check_positions(tuned: Tuned, options: MethodConfig, max_length: int) -> None:
    """Raise `ConfigError` when trained tokens and a text together are longer than the encoder can read."""
    positions = tuned.shape.positions
    if positions is None or options.tokens + max_length <= positions:
        return
    ways = [f"method.tokens: {positions - max_length}"] if positions > max_length else []
    ways += [f"encoder.max_length: {positions - options.tokens}"] if positions > options.tokens + 2 else []
    raise ConfigError(
        f"method.tokens: {options.tokens} trained tokens and texts of {max_length} need "
        f"{options.tokens + max_length} positions, and an encoder of type {tuned.shape.model_type} has {positions}: "
        f"{' or '.join(ways)} fits"
    )


def check_foreign(tuned: Tuned, method: str) -> None:
    """Raise `ConfigError` for heed's own models, which read token ids and nothing else."""
    if tuned.shape.model_type.startswith("heed-"):
        raise ConfigError(f"method {method}: heed's own models read token ids alone: choose one of {FOR_OWN}")
