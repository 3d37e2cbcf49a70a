"""heed's linear head on the mean of the real tokens, W m + b, as the head that an architecture has in transformers.

    ultrabert    logits = classifier(m)                          W and b as they are
    eurobert     logits = classifier(gelu(dense(m)))             gelu(x) - gelu(-x) = x, since gelu(x) = x F(x) with
                                                                 F(x) + F(-x) = 1: rows w and -w in `dense`, 1 and -1 in
                                                                 `classifier`, which needs 2 C of its D rows

Others put the first token (BERT, RoBERTa, DistilBERT, ELECTRA, DeBERTa, ALBERT, MPNet), the last one (GPT-2), a tanh or
a norm (ModernBERT) between, or take the mean of padding as well (XLNet): no weights make their head this one.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from heed.errors import ConfigError, require
from heed.tuning.model import Tuned

CLOSE = 1e-4
"""How far logits of both may be apart, as a share of the largest, before it is refused."""


def _put_linear(model: Any, weight: Tensor, bias: Tensor) -> None:
    model.classifier.weight.copy_(weight)
    model.classifier.bias.copy_(bias)


def _put_pairs(model: Any, weight: Tensor, bias: Tensor) -> None:
    C = len(weight)
    for layer in (model.dense, model.classifier):
        layer.weight.zero_()
        layer.bias.zero_()
    model.dense.weight[: 2 * C] = torch.cat([weight, -weight])
    model.classifier.weight[:, : 2 * C] = torch.cat([torch.eye(C), -torch.eye(C)], dim=1)
    model.classifier.bias.copy_(bias)


HEADS: dict[str, tuple[int, Callable[[Any, Tensor, Tensor], None]]] = {
    "ultrabert": (1, _put_linear),
    "eurobert": (2, _put_pairs),
}
"""By the type of the model: rows of width D that each output needs, and what puts W (C, D) and b (C,) into its head."""


def can_have_mean_head(tuned: Tuned) -> bool:
    """Whether a model with heed's head on the mean is one of transformers, once adapters are merged."""
    rows, _ = HEADS.get(tuned.shape.model_type, (0, None))
    return tuned.head is not None and 0 < rows * len(tuned.target.names) <= max(rows, tuned.shape.d_model)


def with_own_head(tuned: Tuned, pad_id: int) -> Any:
    """Return a model of transformers that says the same as a merged model with heed's head; units are in the head.

    Raises `ConfigError` where it would say something else, as with another version of transformers.
    """
    transformers = require("transformers", "hf")
    assert tuned.head is not None
    settings = copy.deepcopy(tuned.backbone.config)
    settings.classifier_pooling, settings.pad_token_id = "mean", pad_id
    with torch.random.fork_rng(devices=[]):
        model = transformers.AutoModelForSequenceClassification.from_config(settings).eval()
    getattr(model, model.base_model_prefix).load_state_dict(tuned.backbone.state_dict())
    with torch.no_grad():
        HEADS[tuned.shape.model_type][1](model, tuned.head.weight, tuned.head.bias)
    _compare(tuned, model)
    return model


def _compare(tuned: Tuned, model: Any) -> None:
    """Raise `ConfigError` where both say other logits of texts of random tokens, some of them padded."""
    rows = model.get_input_embeddings().weight.shape[0]
    ids = torch.randint(0, rows, (4, 7), generator=torch.Generator().manual_seed(0))
    real = (torch.arange(7) < torch.tensor([[7], [5], [3], [1]])).long()
    with torch.no_grad():
        ours = tuned.eval()(torch.stack([ids, real], dim=1))
        theirs = model(input_ids=ids, attention_mask=real).logits
    apart = float((ours - theirs).abs().max() / ours.abs().max().clamp(min=1.0))
    if not apart <= CLOSE:
        raise ConfigError(
            f"--to hf: the head of {tuned.shape.model_type} says other logits in this version of transformers "
            f"({apart:.2g} apart): export --to onnx"
        )
