"""Trained factors of keys, of values, and of what the feed-forward layers hold inside.

    softmax(q (l_k * k)^T / sqrt(K)) (l_v * v),    W_down (l_ff * f(W_up x))

Infused Adapter by Inhibiting and Amplifying Inner Activations: Liu, Tam et al. 2022, section 3.3; all begin at 1. Where
queries, keys and values are one matrix (GPT-2, ModernBERT, heed), the queries have factors too.
"""

from __future__ import annotations

from torch import nn

from heed.config.tuning import MethodConfig
from heed.errors import ConfigError, require
from heed.tuning.methods.adapted import QUERIES_VALUES, Row, adapt, find_targets, is_turned, linear_maps, named, sizes
from heed.tuning.methods.base import Method
from heed.tuning.model import Tuned

KEYS_VALUES: tuple[Row, ...] = (
    ("key", "value"),
    ("k_lin", "v_lin"),
    ("key_proj", "value_proj"),
    ("k_proj", "v_proj"),
    ("attn.k", "attn.v"),
    ("SelfAttention.k", "SelfAttention.v"),
    *(row for row in QUERIES_VALUES if len(row) == 1),
)
"""Names of the projections to keys and values."""
DOWN: tuple[str, ...] = (
    "ffn.lin2",  # DistilBERT
    "mlp.c_proj",  # GPT-2
    "mlp.Wo",  # ModernBERT
    "feedforward.down",  # heed
    "down_proj",  # Llama
    "ffn_output",  # ALBERT
    "wo",  # T5
    "dense_4h_to_h",  # GPT-NeoX, BLOOM
    "output.dense",  # BERT, RoBERTa, ELECTRA, DeBERTa, MPNet: but not attention.output.dense
)
"""Names of the second map of a feed-forward layer: the factors are of what goes into it."""


class Ia3(Method):
    """A factor for each component of keys, values and inner feed-forward states."""

    name = "ia3"
    summary = "factors of keys, values and inner feed-forward states (Liu et al. 2022)"
    formula = "outputs of each key and value matrix + inputs of each second feed-forward matrix"
    averages = True
    wraps = True
    reads = ("targets",)
    rates = (1e-3, 5e-3, 2e-2)

    def prepare(self, tuned: Tuned, options: MethodConfig) -> None:
        """Put the factors in. Raises `ConfigError` that lists the names there are when a target matches nothing."""
        found, inner = _targets(tuned, options)
        config = require("peft", "tune").IA3Config(
            target_modules=sorted(found),
            feedforward_modules=inner,
            fan_in_fan_out=all(is_turned(module) for module in found.values()),
        )
        adapt(tuned, config)

    def expected(self, tuned: Tuned, options: MethodConfig) -> int:
        """Return a number for each output of keys and values and each input of the feed-forward maps."""
        found, inner = _targets(tuned, options)
        return sum(sizes(module)[0 if name in inner else 1] for name, module in found.items())


def _targets(tuned: Tuned, options: MethodConfig) -> tuple[dict[str, nn.Module], list[str]]:
    """Return the adapted maps by name, and the names of those whose inputs, not outputs, have factors."""
    down = _down(tuned)
    if options.targets is None:
        found = find_targets(tuned, None, KEYS_VALUES, "ia3")
        if not down:
            raise ConfigError(
                f"method ia3: the feed-forward layers of an encoder of type {tuned.shape.model_type} have none of the "
                "names that are known: choose method.targets, or lora"
            )
        maps = linear_maps(tuned)
        found = {name: module for name, module in maps.items() if name in found or name in down}
    else:
        found = find_targets(tuned, options.targets, KEYS_VALUES, "ia3")
    return found, sorted(name for name in found if name in down)


def _down(tuned: Tuned) -> set[str]:
    """Return the names of the second maps of the feed-forward layers."""
    maps = linear_maps(tuned)
    found = next((names for ending in DOWN if (names := named(maps, ending))), [])
    return {name for name in found if not name.endswith("attention.output.dense")}
