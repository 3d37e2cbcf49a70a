"""Frozen matrices with a trained update of low rank, and its relative with trained lengths of the columns.

    lora    W x + (alpha / rank) B A x            A (rank, inputs), B (outputs, rank); B begins at 0
    dora    m (W + (alpha / rank) B A) x / |W + (alpha / rank) B A|      the norm is of each output's row, m its length

LoRA: Hu, Shen, Wallis et al. 2022; queries and values of every layer, as in its table 5. DoRA: Liu, Wang et al. 2024.
The update is added to the matrix after training (`heed.tuning.adapters.merge`), so reading a text then costs nothing
more. Where queries, keys and values are one matrix (GPT-2, ModernBERT, heed), the update is of the three.
"""

from __future__ import annotations

from typing import ClassVar

from heed.config.tuning import MethodConfig
from heed.errors import require
from heed.tuning.methods.adapted import QUERIES_VALUES, adapt, find_targets, is_turned, short_names, sizes
from heed.tuning.methods.base import Method
from heed.tuning.model import Tuned


class Lora(Method):
    """An update of low rank beside each of the target matrices."""

    name = "lora"
    summary = "updates of low rank of the query and value matrices (Hu et al. 2022)"
    formula = "rank x (inputs + outputs) for each adapted matrix"
    wraps = True
    reads = ("rank", "alpha", "dropout", "targets")
    rates = (1e-3, 2e-3, 5e-3)
    lengths: ClassVar[bool] = False
    """Whether the length of each output's row is trained apart."""

    def prepare(self, tuned: Tuned, options: MethodConfig) -> None:
        """Put the updates in. Raises `ConfigError` that lists the names there are when a target matches nothing."""
        found = find_targets(tuned, options.targets, QUERIES_VALUES, self.name)
        config = require("peft", "tune").LoraConfig(
            r=options.rank,
            lora_alpha=options.alpha,
            lora_dropout=options.dropout,
            target_modules=short_names(tuned, options.targets, QUERIES_VALUES, found),
            fan_in_fan_out=all(is_turned(module) for module in found.values()),
            use_dora=self.lengths,
        )
        adapt(tuned, config)

    def expected(self, tuned: Tuned, options: MethodConfig) -> int:
        """Return rank (inputs + outputs) over the adapted matrices, and their outputs where lengths are trained."""
        found = find_targets(tuned, options.targets, QUERIES_VALUES, self.name).values()
        return sum(options.rank * sum(sizes(m)) + (sizes(m)[1] if self.lengths else 0) for m in found)


class Dora(Lora):
    """The direction of each row by an update of low rank, its length by a number of its own."""

    name = "dora"
    summary = "updates of low rank, and the length of each output's weights (Liu et al. 2024)"
    formula = "rank x (inputs + outputs) + outputs for each adapted matrix"
    lengths = True
