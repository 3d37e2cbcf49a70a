"""A bidirectional transformer: every token sees both sides. It learns hidden tokens, or the class of a text.

ids (B,T) --tokens (+ positions)--> x --n_layers blocks--> x --norm--> hidden (B,T,D)

    hidden tokens   loss = mean over hidden places of -log softmax(hidden E^T)[token]     Devlin et al. 2019 (BERT)
    classes         logits = W dropout(mean of hidden over the real tokens) + b           (B, C)

The vocabulary has two rows of its own after the tokenizer's V: [MASK] (id V), which stands where a token is hidden,
and [PAD] (id V + 1), which fills up shorter rows and is never looked at. BERT puts another linear layer before the
output embedding, and a first token [CLS] in the place of the mean; both are left out here.
"""

from __future__ import annotations

from typing import ClassVar, Literal, NoReturn

import torch
from torch import Tensor, nn

from heed.attention import Cache, make_mask
from heed.attention.dropout import dropout
from heed.attention.layer import Linear
from heed.config import ModelConfig
from heed.errors import ConfigError
from heed.models.base import LanguageModel
from heed.models.block import block_flops, initialise, make_blocks, make_positions
from heed.models.loss import class_loss
from heed.models.norms import NORMS
from heed.text.masking import special_ids


class Encoder(LanguageModel):
    """A bidirectional encoder, as `config` describes it; with `classes` it classifies texts, else finds hidden tokens.

    The initial weights come from `generator` alone (default: seed 0). Dropout draws from torch's global generator.
    Raises `ConfigError` where the parts do not go together, or for fewer than two classes.
    """

    causal: ClassVar[bool] = False

    def __init__(
        self,
        config: ModelConfig,
        vocab_size: int,
        generator: torch.Generator | None = None,
        classes: int | None = None,
    ) -> None:
        super().__init__()
        if classes is not None and classes < 2:
            raise ConfigError(f"a classifier needs two classes or more, not {classes}")
        self.config, self.vocab_size, self.context, self.classes = config, vocab_size, config.context, classes
        self.mask_id, self.pad_id = special_ids(vocab_size)
        D = config.d_model
        self.tokens = nn.Embedding.from_pretrained(torch.empty(vocab_size + 2, D), freeze=False)
        self.positions = make_positions(config, causal=False)
        self.blocks = make_blocks(config, causal=False)
        self.norm = NORMS[config.norm](D, config.norm_epsilon, config.bias) if config.norm_order == "pre" else None
        self.head = None if config.tied or classes else Linear(D, vocab_size, bias=False)
        self.classifier = Linear(D, classes) if classes else None
        initialise(self, config, generator or torch.Generator().manual_seed(0))

    @property
    def head_weight(self) -> Tensor:
        """The output matrix (V, D): the tokenizer's rows of the embedding where they are tied."""
        return self.tokens.weight[: self.vocab_size] if self.head is None else self.head.weight

    def hidden(self, ids: Tensor, cache: Cache | None = None) -> Tensor:
        """Return the last hidden states (B, T, D) of ids (B, T) int64; those of padding mean nothing.

        Raises `ConfigError` when T is longer than the context.
        """
        if cache is not None:
            self._refuse_to_write()
        T = ids.shape[1]
        if self.context < T:
            raise ConfigError(f"a sequence of {T} tokens is longer than the model's context of {self.context}")
        x = self.positions.add(self.tokens(ids), slice(0, T))
        if self.training and self.config.dropout:
            x = dropout(x, self.config.dropout)
        x = x if self.stream is None else x.to(self.stream)
        real = ids != self.pad_id
        mask = make_mask(T, padding=None if real.all() else real, device=ids.device)  # no mask, no cost
        place, bias = self.positions.at(slice(0, T)), self.positions.bias(T, T)
        for block in self.blocks:
            x = block(x, mask, place, bias)
        return x if self.norm is None else self.norm(x)

    def forward(self, ids: Tensor, cache: Cache | None = None) -> Tensor:
        """Return the logits of ids (B, T): (B, C) for the classes, or (B, T, V) for the token at each place."""
        hidden = self.hidden(ids, cache)
        if self.classifier is None:
            return self.logits(hidden)
        pooled = self.pool(hidden, ids != self.pad_id)
        if self.training and self.config.dropout:
            pooled = dropout(pooled, self.config.dropout)
        return self.classifier(pooled)

    @staticmethod
    def pool(hidden: Tensor, real: Tensor) -> Tensor:
        """Return the mean (B, D) of hidden (B, T, D) over the real tokens (B, T) bool; zeros where a row has none."""
        total = hidden.masked_fill(~real[..., None], 0).sum(dim=1)
        return total / real.sum(dim=1, keepdim=True).clamp(min=1)

    def loss(
        self,
        source: Tensor,
        target: Tensor,
        mask: Tensor | None = None,
        reduction: Literal["mean", "sum", "none"] = "mean",
        continues: bool = False,
    ) -> Tensor:
        """Return the cross-entropy in nats of the hidden tokens, or of the classes.

        Tokens: `source` (B, T) has [MASK] or another token where one is hidden, `target` (B, T) the tokens of the
        text, and `mask` (B, T) is True at the hidden ones. Classes: `target` (B,) holds the class of each row, `mask`
        (B,) the rows that count. "none" gives the shape of `target`, with 0 where nothing counts.
        """
        if self.classifier is None:
            return self.token_loss(self.hidden(source), target, mask, reduction)
        return class_loss(self(source), target, mask, reduction, smoothing=self.label_smoothing)

    def token_loss(
        self, hidden: Tensor, target: Tensor, mask: Tensor | None, reduction: Literal["mean", "sum", "none"]
    ) -> Tensor:
        """Return the loss of the hidden tokens; only their rows go through the output matrix, V wide."""
        if mask is None:
            return super().token_loss(hidden, target, None, reduction)
        losses = super().token_loss(hidden[mask], target[mask], None, reduction)
        if reduction != "none":
            return losses
        return losses.new_zeros(target.shape).masked_scatter(mask, losses)

    def new_cache(self, batch: int, length: int, start: Tensor | None = None) -> Cache:
        """Raise `ConfigError`: an encoder does not decode."""
        self._refuse_to_write()

    def _refuse_to_write(self) -> NoReturn:
        raise ConfigError("an encoder sees both sides of a token and cannot write text: train with model.kind gpt")

    @property
    def caches(self) -> bool:
        """Never: see `new_cache`."""
        return False

    def flops_per_token(self) -> int:
        """Return the floating-point operations of one token that is read in training, in a row as long as the context.

        The output matrix counts as if every token were hidden, so for hidden tokens this is an upper bound.
        """
        head = 0 if self.classes else self.head_flops()
        return head + block_flops(self.blocks, self.context)
