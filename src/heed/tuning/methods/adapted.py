"""The linear maps of an encoder that an adapter goes into, found by the last parts of their names; peft puts it there.

    value                  encoder.layer.0.attention.self.value, encoder.layer.1.attention.self.value, ...
    attention.self.value   the same
    alue                   nothing: parts of a name are whole words between dots

Architectures call the same thing by other names, so a method has a row for each, and the first of which every name is
there is taken.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Any

from torch import nn

from heed.errors import ConfigError, require
from heed.tuning.model import Tuned, unfreeze

Row = tuple[str, ...]

QUERIES_VALUES: tuple[Row, ...] = (
    ("query", "value"),  # BERT, RoBERTa, ELECTRA, ALBERT
    ("q_lin", "v_lin"),  # DistilBERT
    ("query_proj", "value_proj"),  # DeBERTa-v2 and v3
    ("q_proj", "v_proj"),  # Llama and its kin
    ("attn.q", "attn.v"),  # MPNet
    ("SelfAttention.q", "SelfAttention.v"),  # T5
    ("attn.c_attn",),  # GPT-2: queries, keys and values are one matrix, as in all that follow
    ("attn.Wqkv",),  # ModernBERT
    ("attention.qkv",),  # heed
    ("self.in_proj",),  # DeBERTa
    ("attention.query_key_value",),  # GPT-NeoX, BLOOM
)
"""Names of the projections to queries and values."""


def linear_maps(tuned: Tuned) -> dict[str, nn.Module]:
    """Return the linear maps of the encoder by name, those of an architecture's own head left out."""
    heads = {id(parameter) for parameter in tuned.native_head()}
    return {
        name: module
        for name, module in tuned.backbone.named_modules()
        if (isinstance(module, nn.Linear) or is_turned(module)) and id(module.weight) not in heads
    }


def is_turned(module: nn.Module) -> bool:
    """Whether a module is GPT-2's linear map, whose weight is (inputs, outputs)."""
    return type(module).__name__ == "Conv1D" and hasattr(module, "nf")


def sizes(module: Any) -> tuple[int, int]:
    """Return (inputs, outputs) of a linear map."""
    rows, columns = module.weight.shape
    return (rows, columns) if is_turned(module) else (columns, rows)


def named(maps: Iterable[str], ending: str) -> list[str]:
    """Return the names that end with these parts.

    >>> named(["layer.0.attention.value", "layer.0.revalue"], "value")
    ['layer.0.attention.value']
    """
    return [name for name in maps if name == ending or name.endswith(f".{ending}")]


def first_row(maps: Iterable[str], rows: Sequence[Row]) -> Row | None:
    """Return the first row of which every name is there."""
    return next((row for row in rows if all(named(maps, ending) for ending in row)), None)


def find_targets(tuned: Tuned, targets: Row | None, rows: Sequence[Row], method: str) -> dict[str, nn.Module]:
    """Return the linear maps that are adapted: those of `targets`, else of the first row that is there.

    Raises `ConfigError` that lists the names that exist when a target matches nothing, or no row does.
    """
    maps = linear_maps(tuned)
    if targets is None:
        targets = first_row(maps, rows)
        if targets is None:
            raise ConfigError(
                f"method {method}: an encoder of type {tuned.shape.model_type} has none of the names that are known: "
                f"choose method.targets among {_endings(maps)}"
            )
    absent = [ending for ending in targets if not named(maps, ending)]
    if absent or not targets:
        found = "none are given" if not targets else f"{absent[0]!r} matches no linear map of the encoder"
        raise ConfigError(f"method.targets: {found}; there are {_endings(maps)}")
    wanted = {name for ending in targets for name in named(maps, ending)}
    return {name: module for name, module in maps.items() if name in wanted}


def short_names(tuned: Tuned, targets: Row | None, rows: Sequence[Row], found: Iterable[str]) -> list[str]:
    """Return what peft finds the same modules by: the short endings where they match nothing else, else the names."""
    endings = targets or first_row(linear_maps(tuned), rows) or ()
    everything = [name for name, _ in tuned.backbone.named_modules()]
    matched = {name for ending in endings for name in named(everything, ending)}
    return list(endings) if matched == set(found) else sorted(found)


def adapt(tuned: Tuned, config: Any) -> None:
    """Put peft's layers into the encoder, or its trained tokens beside it; what learnt before goes on learning."""
    learning = [parameter for parameter in tuned.backbone.parameters() if parameter.requires_grad]
    peft = require("peft", "tune")
    with warnings.catch_warnings():  # peft asks transformers for something by its former name
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        tuned.backbone = peft.PeftModel(tuned.backbone, config)
    unfreeze(learning)


def _endings(maps: Iterable[str]) -> str:
    """Return the last parts of the names, each once."""
    return ", ".join(sorted({name.rsplit(".", 1)[-1] for name in maps})) or "none"


__all__ = [
    "QUERIES_VALUES",
    "Row",
    "adapt",
    "find_targets",
    "is_turned",
    "linear_maps",
    "named",
    "short_names",
    "sizes",
]
