"""What `train.precision: auto` comes to, by the machine and by the shape of the model.

A GPU that computes bfloat16 fast takes it. So does a CPU with tiles for it (AMX), for the models whose products are
most of a step: see `fast_in_half`. What was chosen goes into the run's config.yaml, so that a run that is gone on with
has the same bits; a study keeps to float32 on a CPU, since its arms may differ in what the choice depends on.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from heed.config import Config
from heed.models.feedforward import default_width
from heed.training.devices import choose_precision, has_amx

LEAST_PRODUCT = 2**25
"""Multiplications in the largest product of a step from which on bfloat16 is faster; `benchmarks/precision.py`."""


def settle_precision(config: Config, device: torch.device, say: Callable[[str], object] = lambda line: None) -> Config:
    """Return a configuration whose precision is fp32 or bf16: where auto was asked for, the faster one."""
    if config.train.precision != "auto":
        return config
    if device.type == "cpu" and has_amx() and fast_in_half(config):
        say("precision: bf16, which this processor multiplies several times as fast (--train.precision fp32: exact)")
        return config.changed("train", precision="bf16")
    return config.changed("train", precision=choose_precision("auto", device)[0])


def fast_in_half(config: Config) -> bool:
    """Whether a CPU with AMX trains the model faster in bfloat16: a transformer with softmax attention, wide enough."""
    model, train = config.model, config.train
    if model.kind not in ("gpt", "encoder") or train.compile or train.shard:
        return False
    if (model.attention.mechanism, model.attention.score, model.attention.path) != ("softmax", "scaled-dot", "auto"):
        return False
    rows = model.context * (train.batch_size if train.batch_size != "auto" else 1)
    return rows * model.d_model * (model.d_hidden or default_width(model.d_model, model.activation)) >= LEAST_PRODUCT
