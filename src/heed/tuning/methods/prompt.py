"""Trained input embeddings before the text; the encoder stays as it is. Lester, Al-Rfou & Constant 2021.

They begin as the embeddings of tokens drawn at random from the vocabulary (their section 3.2). The text stands behind
them, so positions begin after them. The mean is over the states of the text alone. In some courses this is called a
prefix; `prefix` has keys and values in every layer.
"""

from __future__ import annotations

from heed.config.tuning import MethodConfig
from heed.errors import ConfigError, require
from heed.tuning.methods.base import Method
from heed.tuning.methods.virtual import check_foreign, check_positions, put_before
from heed.tuning.model import Tuned


class Prompt(Method):
    """Trained embeddings before the embeddings of the text."""

    name = "prompt"
    summary = "trained input embeddings before the text (Lester et al. 2021)"
    formula = "tokens x width of the input embeddings"
    wraps = True
    reads = ("tokens",)
    rates = (1e-3, 5e-3, 2e-2)

    def prepare(self, tuned: Tuned, options: MethodConfig) -> None:
        """Put the embeddings before the text."""
        config = require("peft", "tune").PromptTuningConfig(
            num_virtual_tokens=options.tokens,
            token_dim=_width(tuned),
            num_layers=tuned.shape.layers,
            num_attention_heads=tuned.shape.heads,
            num_transformer_submodules=1,
            prompt_tuning_init="SAMPLE_VOCAB",
        )
        put_before(tuned, config, embedded=True)

    def expected(self, tuned: Tuned, options: MethodConfig) -> int:
        """Return tokens times the width of an input embedding."""
        return options.tokens * _width(tuned)

    def check(self, tuned: Tuned, options: MethodConfig, max_length: int) -> None:
        """Raise `ConfigError` where there are too few positions, or the head looks for the last token by its id."""
        check_foreign(tuned, self.name)
        check_positions(tuned, options, max_length)
        if tuned.head is None and hasattr(tuned.backbone, "score"):
            raise ConfigError(
                f"method prompt: the head of a {tuned.shape.model_type} finds the last token by its id, and trained "
                "embeddings have none: choose encoder.pooling mean"
            )


def _width(tuned: Tuned) -> int:
    """Return the width of an input embedding, which is below that of the states in ELECTRA and ALBERT."""
    return int(tuned.backbone.get_input_embeddings().weight.shape[1])
