"""A classifier out of a pretrained encoder: states of tokens, one vector a text, one logit a class.

    source (B, 2, T) ──> backbone ──> states (B, T, D) ──mean of the real tokens──> (B, D) ──head──> logits (B, C)

The first plane of `source` holds the token ids, the second which text of a pair a token belongs to: 1 the first, 2 the
second, 0 padding. So one tensor is all that the loop has to know of a batch. `features` (B, D), the pooled vectors,
can stand in the place of `source` where the backbone learns nothing.

Only what is trained is in `state_dict`, and so in a checkpoint: the rest is in the encoder's own folder.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from heed.models.encoder import Encoder
from heed.models.loss import class_loss
from heed.tuning.adversarial import Adversary
from heed.tuning.encoders import Pretrained


class Tuned(nn.Module):
    """The encoder, a way of pooling and a head; `heed.tuning.methods` decide what is trained."""

    class_weights: Tensor | None
    label_smoothing: float = 0.0
    """Share of each target that is spread over all classes in the gradient of `loss`, never in its value."""

    def __init__(self, encoder: Pretrained, classes: int, *, dropout: float = 0.1) -> None:
        super().__init__()
        self.backbone: Any = encoder.model
        self.name = encoder.name
        self.shape, self.segments, self.classes = encoder.shape, encoder.segments, classes
        self.skipped = 0
        """States before those of the text: the virtual tokens of a trained prompt."""
        self.always_masks = False
        """Give the backbone its mask even where nothing is padding."""
        self.dropout = dropout
        self.adversary: Adversary | None = None
        self.head: nn.Linear | None = None if encoder.native else nn.Linear(encoder.shape.d_model, classes)
        if self.head is not None:
            nn.init.normal_(self.head.weight, std=0.02)
            nn.init.zeros_(self.head.bias)
        self.register_buffer("class_weights", None, persistent=False)

    def hidden(self, source: Tensor) -> Tensor:
        """Return the last states (B, T, D) of source (B, 2, T); those of padding mean nothing."""
        return self._read(source).last_hidden_state[:, self.skipped :]

    def features(self, source: Tensor) -> Tensor:
        """Return the mean state (B, D) of the real tokens of each text."""
        return Encoder.pool(self.hidden(source), source[:, 1] > 0)

    def forward(self, source: Tensor) -> Tensor:
        """Return the logits (B, C) of texts (B, 2, T) int64, or of their features (B, D)."""
        if self.head is None:
            return self._read(source).logits
        if source.is_floating_point():
            pooled = source if self.adversary is None else self.adversary.look(source)
        else:
            pooled = self.features(source)
        if self.training and self.dropout and not source.is_floating_point():
            pooled = F.dropout(pooled, self.dropout)
        return self.head(pooled)

    def loss(
        self,
        source: Tensor,
        target: Tensor,
        mask: Tensor | None = None,
        reduction: Literal["mean", "sum", "none"] = "mean",
    ) -> Tensor:
        """Return the cross-entropy in nats of the classes `target` (B,), weighted by `class_weights` where there are.

        `mask` (B,) says which rows count. While it trains with an `adversary`, it is that at the moved words.
        """

        def plain() -> Tensor:
            return class_loss(self(source), target, mask, reduction, self.class_weights, self.label_smoothing)

        if self.adversary is None or not self.training or not torch.is_grad_enabled():
            return plain()
        return self.adversary.loss(plain)

    def move_words(self, strength: float) -> None:
        """Train against word vectors that are moved by `strength` (see `heed.tuning.adversarial`)."""
        self.adversary = Adversary(self.backbone.get_input_embeddings(), strength)

    def native_head(self) -> list[nn.Parameter]:
        """Return the parameters of the architecture's own head; none where the head is heed's."""
        if self.head is not None:
            return []
        model: Any = self.backbone
        if hasattr(model, "get_base_model"):  # below what peft has put around it
            model = model.get_base_model()
        inside = {id(parameter) for parameter in getattr(model, model.base_model_prefix).parameters()}
        return [parameter for parameter in model.parameters() if id(parameter) not in inside]

    def head_parameters(self) -> list[nn.Parameter]:
        """Return the parameters of the head, which learn in every method."""
        return self.native_head() if self.head is None else list(self.head.parameters())

    def trained(self) -> dict[str, nn.Parameter]:
        """Return the parameters that learn, by name; a shared one once."""
        return {name: parameter for name, parameter in self.named_parameters() if parameter.requires_grad}

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return what is trained, by name."""
        names = self.trained().keys()
        whole = super().state_dict(*args, **kwargs)
        return {name: tensor for name, tensor in whole.items() if name in names}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Copy what was trained. Raises `RuntimeError` when a name is missing or unknown."""
        odd = set(state_dict) ^ self.trained().keys()
        if strict and odd:
            raise RuntimeError(f"the weights are of another method: {min(odd)} differs")
        return super().load_state_dict(state_dict, strict=False, assign=assign)

    def _read(self, source: Tensor) -> Any:
        """Run the backbone on a batch; its mask is left out where nothing is padding, which costs less."""
        ids, text = source[:, 0], source[:, 1]
        real = text > 0
        inputs: dict[str, Tensor] = {"input_ids": ids}
        if self.always_masks or self.skipped or not bool(real.all()):
            inputs["attention_mask"] = real.long()
        if self.segments:
            inputs["token_type_ids"] = (text - 1).clamp(min=0)
        with _attention(ids.device):
            return self.backbone(**inputs)


def _attention(device: torch.device) -> AbstractContextManager[Any]:
    """Return what keeps a CPU from the fused attention in bfloat16, whose backward takes nine times fp32's.

    Measured on MiniLM with torch 2.13 and AMX, 32 texts of 22 tokens: 184 ms a layer's backward against 21.
    """
    if device.type == "cpu" and torch.is_autocast_enabled("cpu"):
        return sdpa_kernel(SDPBackend.MATH)
    return nullcontext()


def freeze(parameters: Iterable[nn.Parameter]) -> None:
    """Keep parameters from learning."""
    for parameter in parameters:
        parameter.requires_grad_(False)


def unfreeze(parameters: Iterable[nn.Parameter]) -> None:
    """Let parameters learn."""
    for parameter in parameters:
        parameter.requires_grad_(True)


def count(tensors: Iterable[Tensor]) -> int:
    """Return the numbers in some tensors."""
    return sum(tensor.numel() for tensor in tensors)


__all__ = ["Tuned", "count", "freeze", "unfreeze"]
