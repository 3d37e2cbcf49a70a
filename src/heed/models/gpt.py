"""A decoder-only transformer from named parts.

ids (B,T) --tokens (+ positions)--> x --n_layers blocks--> x --norm--> hidden (B,T,D)

With post-norm blocks (GPT-1) there is no last norm.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from heed.attention import PROJECTIONS, Cache, Mask, Mechanism, make_mask
from heed.attention.dropout import dropout
from heed.attention.layer import Linear
from heed.attention.positions import Index
from heed.config import ModelConfig
from heed.errors import ConfigError
from heed.models.base import LanguageModel
from heed.models.block import block_flops, initialise, make_blocks, make_mechanism, make_positions
from heed.models.feedforward import default_width
from heed.models.norms import NORMS


class GPT(LanguageModel):
    """A causal transformer language model, as `config` describes it.

    The initial weights come from `generator` alone (default: seed 0), never from torch's global one. Dropout draws
    from torch's global generator of the device.
    """

    def __init__(self, config: ModelConfig, vocab_size: int, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config, self.vocab_size, self.context = config, vocab_size, config.context
        D = config.d_model
        self.tokens = nn.Embedding.from_pretrained(torch.empty(vocab_size, D), freeze=False)
        self.positions = make_positions(config, causal=True)
        self.blocks = make_blocks(config, causal=True)
        self.norm = NORMS[config.norm](D, config.norm_epsilon, config.bias) if config.norm_order == "pre" else None
        self.head = None if config.tied else Linear(D, vocab_size, bias=False)
        self.initialise(generator or torch.Generator().manual_seed(0))

    def initialise(self, generator: torch.Generator) -> None:
        """Fill every parameter anew from `generator`; see `block.initialise`."""
        initialise(self, self.config, generator)

    @property
    def head_weight(self) -> Tensor:
        """The output matrix (V, D); the token embedding where they are tied."""
        return self.tokens.weight if self.head is None else self.head.weight

    def hidden(self, ids: Tensor, cache: Cache | None = None) -> Tensor:
        """Return the last hidden states (B, T, D) of ids (B, T) int64; see `LanguageModel.hidden`."""
        index, mask = self._where(ids, cache)
        x = self.positions.add(self.tokens(ids), index)
        if self.training and self.config.dropout:
            x = dropout(x, self.config.dropout)
        x = x if self.stream is None else x.to(self.stream)
        place, bias = self.positions.at(index), self.positions.bias(mask.T, mask.S)
        for i, block in enumerate(self.blocks):
            x = block(x, mask, place, bias, None if cache is None else cache.layers[i])
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
        return index.clamp(min=0), make_mask(T, S, causal=True, start=cache.start)

    def new_cache(self, batch: int, length: int, start: Tensor | None = None) -> Cache:
        """Return an empty cache for `batch` rows of up to `length` tokens; see `LanguageModel.new_cache`."""
        like = self.tokens.weight
        mechanisms = [part for part in self.blocks.modules() if isinstance(part, Mechanism)]
        if not self.caches:
            raise ConfigError(f"attention {self.config.attention.mechanism!r} has no cache: decode without one")
        if start is not None and start.shape != (batch,):
            raise ConfigError(f"start has shape {tuple(start.shape)}: it must hold one number for each of {batch} rows")
        layers = [part.new_cache(batch, length, self.kept, like.device) for part in mechanisms]
        return Cache(layers, length, None if start is None else start.to(like.device))

    @property
    def kept(self) -> torch.dtype:
        """The type of keys and values in a cache."""
        return self.tokens.weight.dtype

    @property
    def caches(self) -> bool:
        """Whether the model can decode with a cache."""
        return all(part.facts.cache != "none" for part in self.blocks.modules() if isinstance(part, Mechanism))

    def flops_per_token(self) -> int:
        """Return the floating-point operations of one trained token at full context: 6 N + 12 L D T for softmax.

        N counts the weights of matrices that multiply: the head even where tied, not the look-ups of tokens and
        positions. A product costs 2 operations a weight forward and 4 backward. Attention counts the whole T x T
        square, hidden half included, as Chowdhery et al. 2022 (PaLM, appendix B) do; see `Mechanism.flops`.
        """
        return self.head_flops() + block_flops(self.blocks, self.context)


def count_parameters(config: ModelConfig, vocab_size: int) -> int:
    """Return the parameters of a GPT by formula; only positions and one mechanism are built, and count their own.

    >>> from heed.config import PRESETS
    >>> count_parameters(ModelConfig(**PRESETS["gpt2"]), 50_257)
    124439808
    """
    D, L, bias = config.d_model, config.n_layers, int(config.bias)
    width, projection = D // config.n_heads, PROJECTIONS[config.attention.projection]
    mechanism = make_mechanism(config, causal=True)
    makers = {getattr(projection, part) for part in mechanism.facts.inputs}  # of q, k and v: some share a matrix
    reads_q = "q" in mechanism.facts.inputs
    kv_width = (config.n_kv_heads or config.n_heads) * width
    qkv = sum(D if reads_q and maker == projection.q else kv_width for maker in makers)
    hidden = config.d_hidden or default_width(D, config.activation)
    up = 2 * hidden if config.activation == "swiglu" else hidden
    norm = D * (1 + (bias if config.norm == "layer" else 0))
    layers = {"": 0, "shared": 1, "own": len(makers)}[projection.network]  # hidden, of width D
    matrices = qkv + D + layers * D
    attention = (D + bias) * matrices + (2 * width if config.qk_norm else 0) + _count(mechanism)
    feedforward = (D + bias) * up + (hidden + bias) * D
    embeddings = vocab_size * D * (1 if config.tied else 2) + _count(make_positions(config, causal=True))
    return embeddings + L * (attention + feedforward + 2 * norm) + (norm if config.norm_order == "pre" else 0)


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
