"""A decoder-only transformer from named parts.

ids (B,T) --tokens (+ learned positions)--> x --n_layers blocks--> x --norm--> hidden (B,T,D)

pre-norm    x = x + attention(norm(x));  x = x + feedforward(norm(x))       GPT-2: Radford et al. 2019
post-norm   x = norm(x + attention(x));  x = norm(x + feedforward(x))       GPT-1: Radford et al. 2018; no last norm
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from heed.attention import (
    MECHANISMS,
    POSITIONS,
    Attention,
    Cache,
    LayerCache,
    Mask,
    find,
    make_mask,
    padding_mask,
    refuse_impossible,
)
from heed.attention.layer import Linear
from heed.attention.positions import Index, Place
from heed.config import ModelConfig
from heed.errors import ConfigError
from heed.models.base import LanguageModel
from heed.models.feedforward import FeedForward, default_width
from heed.models.norms import NORMS


class Block(nn.Module):
    """Attention, then a feed-forward layer, each on a residual branch."""

    def __init__(self, config: ModelConfig, attention: Attention) -> None:
        super().__init__()
        norm, D = NORMS[config.norm], config.d_model
        d_hidden = config.d_hidden or default_width(D, config.activation)
        self.pre = config.norm_order == "pre"
        self.dropout = config.dropout
        self.attention_norm = norm(D, config.norm_epsilon, config.bias)
        self.attention = attention
        self.feedforward_norm = norm(D, config.norm_epsilon, config.bias)
        self.feedforward = FeedForward(D, d_hidden, config.activation, config.bias)

    def forward(self, x: Tensor, mask: Mask, place: Place | None = None, cache: LayerCache | None = None) -> Tensor:
        """Return x (B, T, D) after both branches."""
        if self.pre:
            x = x + self.drop(self.attention(self.attention_norm(x), mask, place, cache))
            return x + self.drop(self.feedforward(self.feedforward_norm(x)))
        x = self.attention_norm(x + self.drop(self.attention(x, mask, place, cache)))
        return self.feedforward_norm(x + self.drop(self.feedforward(x)))

    def drop(self, branch: Tensor) -> Tensor:
        """Return the branch with dropout while training."""
        return F.dropout(branch, self.dropout) if self.training and self.dropout else branch


class GPT(LanguageModel):
    """A causal transformer language model, as `config` describes it.

    The initial weights come from `generator` alone (default: seed 0), never from torch's global one: N(0, init_std),
    the residual projections divided by sqrt(2 n_layers) as in GPT-2, norms 1, biases 0. Dropout draws from
    torch's global generator of the device.
    """

    def __init__(self, config: ModelConfig, vocab_size: int, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config, self.vocab_size, self.context = config, vocab_size, config.context
        D, width = config.d_model, config.d_model // config.n_heads
        positions = find(POSITIONS, config.positions, "model.positions")
        self.tokens = nn.Embedding.from_pretrained(torch.empty(vocab_size, D), freeze=False)
        self.positions = positions(config.context, D, width, config.rotary_base)
        self.blocks = nn.ModuleList(Block(config, _attention(config)) for _ in range(config.n_layers))
        self.norm = NORMS[config.norm](D, config.norm_epsilon, config.bias) if config.norm_order == "pre" else None
        self.head = None if config.tied else Linear(D, vocab_size, bias=False)
        self.initialise(generator or torch.Generator().manual_seed(0))

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        """Fill every parameter anew from `generator` (on the CPU, so that each device gets the same numbers)."""
        std = self.config.init_std
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
            elif parameter.dim() == 1:
                parameter.fill_(1.0)
            else:
                residual = name.endswith(("attention.out.weight", "feedforward.down.weight"))
                spread = std / math.sqrt(2 * self.config.n_layers) if residual else std
                parameter.copy_(torch.empty(parameter.shape).normal_(0.0, spread, generator=generator))

    @property
    def head_weight(self) -> Tensor:
        """The output matrix (V, D); the token embedding where they are tied."""
        return self.tokens.weight if self.head is None else self.head.weight

    def hidden(self, ids: Tensor, cache: Cache | None = None) -> Tensor:
        """Return the last hidden states (B, T, D) of ids (B, T) int64; see `LanguageModel.hidden`."""
        index, mask = self._where(ids, cache)
        x = self.positions.add(self.tokens(ids), index)
        if self.training and self.config.dropout:
            x = F.dropout(x, self.config.dropout)
        place = self.positions.at(index)
        for i, block in enumerate(self.blocks):
            x = block(x, mask, place, None if cache is None else cache.layers[i])
        return x if self.norm is None else self.norm(x)

    def _where(self, ids: Tensor, cache: Cache | None) -> tuple[Index, Mask]:
        """Return the positions of the tokens, and what they may look at."""
        T = ids.shape[1]
        used = 0 if cache is None else cache.used
        S = used + T
        if self.context < S:
            raise ConfigError(f"a sequence of {S} tokens is longer than the model's context of {self.context}")
        if cache is None:
            return slice(0, T), make_mask(T, causal=True, device=ids.device)
        cache.room_for(T)
        if cache.start is None:
            return slice(used, S), make_mask(T, S, causal=True, device=ids.device)
        index = torch.arange(used, S, device=ids.device) - cache.start[:, None]
        return index.clamp(min=0), make_mask(T, S, causal=True, padding=padding_mask(cache.start, S))

    def new_cache(self, batch: int, length: int, start: Tensor | None = None) -> Cache:
        """Return an empty cache for `batch` rows of up to `length` tokens; see `LanguageModel.new_cache`."""
        config, like = self.config, self.tokens.weight
        if not MECHANISMS[config.attention.mechanism].facts.cache:
            raise ConfigError(f"attention {config.attention.mechanism!r} cannot decode with a cache: decode without")
        shape = (batch, config.n_kv_heads or config.n_heads, length, config.d_model // config.n_heads)
        return Cache(config.n_layers, shape, dtype=like.dtype, device=like.device, start=start)

    def flops_per_token(self) -> int:
        """Return the floating-point operations of one trained token at full context: 6 N + 12 L D T.

        N counts the weights of matrices that multiply: the head even where tied, not the look-ups of tokens and
        positions. A product costs 2 operations a weight forward and 4 backward. Attention counts the whole T x T
        square, hidden half included, as Chowdhery et al. 2022 (PaLM, appendix B) do.
        """
        config = self.config
        matrices = sum(p.numel() for name, p in self.blocks.named_parameters() if p.dim() == 2)
        return 6 * (matrices + self.vocab_size * config.d_model) + 12 * config.n_layers * config.d_model * self.context


def _attention(config: ModelConfig) -> Attention:
    """Return the attention layer of one block, or raise `ConfigError` where its parts do not go together."""
    name, n_kv_heads = config.attention.mechanism, config.n_kv_heads or config.n_heads
    mechanism = find(MECHANISMS, name, "model.attention.mechanism")
    refuse_impossible(
        name,
        mechanism.facts,
        causal=True,
        masks={"causal"},
        positions=config.positions,
        grouped=n_kv_heads != config.n_heads,
    )
    return Attention(
        config.d_model,
        config.n_heads,
        n_kv_heads=n_kv_heads,
        mechanism=mechanism(config.attention.path, config.dropout),
        bias=config.bias,
        qk_norm=config.qk_norm,
        epsilon=config.norm_epsilon,
    )


def count_parameters(config: ModelConfig, vocab_size: int) -> int:
    """Return the parameters of a GPT by formula, without building it.

    >>> from heed.config import PRESETS
    >>> count_parameters(ModelConfig(**PRESETS["gpt2"]), 50_257)
    124439808
    """
    D, L, bias = config.d_model, config.n_layers, int(config.bias)
    width = D // config.n_heads
    qkv = D + 2 * (config.n_kv_heads or config.n_heads) * width
    hidden = config.d_hidden or default_width(D, config.activation)
    up = 2 * hidden if config.activation == "swiglu" else hidden
    norm = D * (1 + (bias if config.norm == "layer" else 0))
    attention = (D + bias) * qkv + (D + bias) * D + (2 * width if config.qk_norm else 0)
    feedforward = (D + bias) * up + (hidden + bias) * D
    embeddings = vocab_size * D * (1 if config.tied else 2) + (
        config.context * D if config.positions == "learned" else 0
    )
    return embeddings + L * (attention + feedforward + 2 * norm) + (norm if config.norm_order == "pre" else 0)
