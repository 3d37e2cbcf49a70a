"""Trained keys and values before those of the text, in every layer. Li & Liang 2021, without their reparametrisation.

They begin as the keys and values that the encoder itself has for tokens drawn at random (their section 7.4 finds
activations of real words far better than random numbers). BERT, RoBERTa, ELECTRA and GPT-2 count positions on from the
prefix, as if it were text: a text of T tokens has the positions P .. P + T - 1.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from heed.config.tuning import MethodConfig
from heed.errors import ConfigError, require
from heed.tuning.methods.base import Method
from heed.tuning.methods.virtual import Virtual, check_foreign, check_positions, put_before
from heed.tuning.model import Tuned


class Prefix(Method):
    """Trained keys and values in every layer."""

    name = "prefix"
    summary = "trained keys and values before those of the text in every layer (Li & Liang 2021)"
    formula = "2 x layers x tokens x width of keys"
    wraps = True
    reads = ("tokens",)
    rates = (1e-3, 5e-3, 2e-2)

    def prepare(self, tuned: Tuned, options: MethodConfig) -> None:
        """Put the keys and values before those of the text."""
        rows = tuned.backbone.get_input_embeddings().weight.shape[0]
        ids = torch.randint(rows, (1, options.tokens)).to(next(tuned.backbone.parameters()).device)
        kept = _keys_and_values(tuned, ids)
        L, _, H, P, K = kept.shape
        config = require("peft", "tune").PrefixTuningConfig(
            num_virtual_tokens=P,
            token_dim=H * K,
            num_layers=L,
            num_attention_heads=H,
            num_transformer_submodules=1,
        )
        put_before(tuned, config, embedded=False)
        backbone = tuned.backbone
        assert isinstance(backbone, Virtual)
        weight = backbone.peft.prompt_encoder["default"].embedding.weight  # (P, L x 2 x H x K), as peft reads it
        with torch.no_grad():
            weight.copy_(kept.permute(3, 0, 1, 2, 4).reshape(P, -1))

    def expected(self, tuned: Tuned, options: MethodConfig) -> int:
        """Return 2 x layers x tokens x width of keys, which is d_model unless heads share keys and values."""
        settings: Any = tuned.backbone.config
        heads = getattr(settings, "num_key_value_heads", None) or tuned.shape.heads
        width = getattr(settings, "head_dim", None) or tuned.shape.d_model // tuned.shape.heads
        return 2 * tuned.shape.layers * options.tokens * heads * width

    def check(self, tuned: Tuned, options: MethodConfig, max_length: int) -> None:
        """Raise `ConfigError` where there are too few positions, or the architecture takes no keys and values."""
        check_foreign(tuned, self.name)
        check_positions(tuned, options, max_length)
        try:
            layers = len(_keys_and_values(tuned, torch.zeros(1, 1, dtype=torch.long, device=_device(tuned))))
        except (TypeError, ValueError, RuntimeError, IndexError):
            layers = 0
        if layers != tuned.shape.layers:
            raise ConfigError(
                f"method prefix: the {tuned.shape.model_type} of transformers takes no keys and values of before: "
                "choose prompt, or an encoder such as bert, roberta, electra, gpt2"
            )


@torch.no_grad()
def _keys_and_values(tuned: Tuned, ids: Tensor) -> Tensor:
    """Return the keys and values (L, 2, H, T, K) that every layer has for ids (1, T); L = 0 where none are kept."""
    model: Any = tuned.backbone
    inner = getattr(model, model.base_model_prefix, model)
    cache = require("transformers", "hf").DynamicCache()
    training = model.training
    inner.eval()(input_ids=ids, attention_mask=torch.ones_like(ids), past_key_values=cache)
    model.train(training)
    layers = [torch.cat([layer.keys, layer.values]) for layer in cache.layers if layer.get_seq_length()]
    return torch.stack(layers) if layers else torch.empty(0)


def _device(tuned: Tuned) -> torch.device:
    return next(tuned.backbone.parameters()).device
