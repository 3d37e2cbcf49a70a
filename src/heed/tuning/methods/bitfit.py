"""Only the biases learn (BitFit: Ben Zaken, Ravfogel & Goldberg 2022)."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from heed.config.tuning import MethodConfig
from heed.tuning.methods.base import Method
from heed.tuning.model import Tuned, count, unfreeze


class BitFit(Method):
    """The bias of every linear map and normalisation of the encoder."""

    name = "bitfit"
    summary = "the biases of the encoder (Ben Zaken, Ravfogel & Goldberg 2022)"
    formula = "the lengths of all biases"
    averages = True
    rates = (1e-3, 3e-3, 1e-2)

    def prepare(self, tuned: Tuned, options: MethodConfig) -> None:
        """Let the biases learn. Raises `ConfigError` when the encoder has none."""
        found = list(_biases(tuned))
        if not found:
            raise self.refuse(f"method bitfit: an encoder of type {tuned.shape.model_type} has no biases: take lora")
        unfreeze(found)

    def expected(self, tuned: Tuned, options: MethodConfig) -> int:
        """Return the lengths of the biases together."""
        return count(_biases(tuned))


def _biases(tuned: Tuned) -> Iterator[nn.Parameter]:
    """Yield the biases of the encoder, the head's left out: they learn anyway."""
    heads = {id(parameter) for parameter in tuned.native_head()}
    for name, parameter in tuned.backbone.named_parameters():
        if name.rsplit(".", 1)[-1] == "bias" and parameter.ndim == 1 and id(parameter) not in heads:
            yield parameter
