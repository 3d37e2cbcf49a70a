"""A trained model with its weights in fewer bytes, as `--weights` of a verb asks for them."""

from __future__ import annotations

from collections.abc import Callable

from heed.models import pack
from heed.models.base import LanguageModel, WeightKind
from heed.models.fp16 import has_fbgemm
from heed.training.devices import fast_bf16


def packed(model: LanguageModel, weights: WeightKind, say: Callable[[str], object]) -> LanguageModel:
    """Return the model with its matrices in `weights`, and say where that is slow. Raises what `pack` raises."""
    device = next(model.parameters()).device
    if weights == "bf16" and not fast_bf16(device):
        say(f"note: this {device.type} has no bfloat16 products, weights in bf16 are slow here: take fp16 or int8")
    if weights == "fp16" and not has_fbgemm():
        say("note: this processor has no products for it, weights in fp16 take half the memory, and are slow here")
    return pack(model, weights)
