"""A model of texts out of a pretrained encoder: states of tokens, one vector a text, one logit for each output.

    source (B, 2, T) ──> backbone ──> states (B, T, D) ──mean of the real tokens──> (B, D) ──head──> logits (B, C)

The first plane of `source` holds the token ids, the second which text of a pair a token belongs to: 1 the first, 2 the
second, 0 padding. So one tensor is all that the loop has to know of a batch. `features` (B, D), the pooled vectors,
can stand in the place of `source` where the backbone learns nothing.

Only what is trained is in `state_dict`, and so in a checkpoint: the rest is in the encoder's own folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from heed.errors import ConfigError
from heed.models.encoder import Encoder
from heed.models.loss import class_loss, labels_loss, score_loss
from heed.targets import Target
from heed.tuning.adversarial import Adversary
from heed.tuning.pretrained import Pretrained

LOSSES: dict[str, Callable[..., Tensor]] = {
    "classes": lambda tuned, logits, target, mask, reduction: class_loss(
        logits, target, mask, reduction, tuned.class_weights, tuned.label_smoothing
    ),
    "regression": lambda tuned, logits, target, mask, reduction: score_loss(
        logits, target, mask, reduction, tuned.target.center, tuned.target.scale
    ),
    "labels": lambda tuned, logits, target, mask, reduction: labels_loss(logits, target, mask, reduction),
}
"""(model, logits, target, mask, reduction) -> loss, by the kind of the target."""


class Tuned(nn.Module):
    """The encoder, a way of pooling and a head; `heed.tuning.methods` decide what is trained."""

    class_weights: Tensor | None
    label_smoothing: float = 0.0
    """Share of each target that is spread over all classes in the gradient of `loss`, never in its value."""

    def __init__(self, encoder: Pretrained, target: Target, *, dropout: float = 0.1) -> None:
        super().__init__()
        self.backbone: Any = encoder.model
        self.name = encoder.name
        self.shape, self.segments, self.target = encoder.shape, encoder.segments, target
        self.skipped = 0
        """States before those of the text: the virtual tokens of a trained prompt."""
        self.always_masks = False
        """Give the backbone its mask even where nothing is padding."""
        self.dropout = dropout
        self.units: tuple[float, float] = target.units
        """What is added to what the head gives, and what that is multiplied by before."""
        self.adversary: Adversary | None = None
        self.head: nn.Linear | None = None if encoder.native else nn.Linear(encoder.shape.d_model, len(target.names))
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
        """Return the logits (B, C) of texts (B, 2, T) int64, or of their features (B, D); scores in their own units."""
        center, scale = self.units
        logits = self.logits(source)
        return logits if (center, scale) == (0.0, 1.0) else logits.float() * scale + center

    def logits(self, source: Tensor) -> Tensor:
        """Return what the head gives, before units."""
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
        """Return the loss of `target` (B,) or (B, C): of classes their cross-entropy in nats, by `class_weights`.

        `mask` (B,) says which rows count. While it trains with an `adversary`, it is that at the moved words.
        """

        def plain() -> Tensor:
            return LOSSES[self.target.kind](self, self.logits(source), target, mask, reduction)

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

    def put_units_into_head(self) -> None:
        """Let the last layer of the head give scores in their own units by itself, for those who have nothing else.

        Raises `ConfigError` where it has no bias to add to.
        """
        (center, scale), self.units = self.units, (0.0, 1.0)
        if (center, scale) == (0.0, 1.0):
            return
        own = {id(parameter) for parameter in self.head_parameters()}
        layers = [part for part in self.modules() if isinstance(part, nn.Linear) and id(part.weight) in own]
        last = layers[-1]
        if last.bias is None:
            raise ConfigError(
                f"the head of {self.shape.model_type} has no bias, which scores around {center:.4g} need: export --to "
                "onnx, or tune with --encoder.pooling mean"
            )
        with torch.no_grad():
            last.weight.mul_(scale)
            last.bias.mul_(scale).add_(center)

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
