"""A neural probabilistic language model: a fixed window of words, one hidden layer (Bengio et al. 2003, equation 1).

    hidden_t = tanh(b + A [e_{t-n+1}; ..; e_t])        the n newest embeddings, side by side
    logits_t = c + U hidden_t

Where the window reaches over the beginning there stands one learned vector. The direct connections from the embeddings
to the logits are left out: in the paper they did not help. With U tied to the embedding, A makes D numbers.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from heed.attention import Cache, StateCache
from heed.attention.layer import Linear
from heed.config import ModelConfig
from heed.models.base import LanguageModel
from heed.models.first_weights import begin


class WindowModel(LanguageModel):
    """A language model that sees the last `model.window` tokens.

    It reads sequences of any length: its `context` is how many tokens it is trained on at a time. The initial weights
    come from `generator` alone (default: seed 0), N(0, init_std), A as torch's linear layers.
    """

    def __init__(self, config: ModelConfig, vocab_size: int, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config, self.vocab_size, self.context = config, vocab_size, config.context
        D, H, self.size = config.d_model, config.d_hidden or config.d_model, config.window
        self.tokens = nn.Embedding.from_pretrained(torch.empty(vocab_size, D), freeze=False)
        self.before = nn.Parameter(torch.empty(D))
        """What stands before the beginning."""
        self.up = Linear(self.size * D, H, bias=config.bias)
        self.head = None if config.tied else Linear(H, vocab_size, bias=False)
        self.bias = nn.Parameter(torch.empty(vocab_size)) if config.bias else None
        self._initialise(generator or torch.Generator().manual_seed(0))

    @torch.no_grad()
    def _initialise(self, generator: torch.Generator) -> None:
        """Matrices and the vector before the beginning N(0, init_std), A U(-1/sqrt(n D), 1/sqrt(n D)), biases 0."""
        bound = self.up.weight.shape[1] ** -0.5
        for name, parameter in self.named_parameters():
            fresh = torch.empty(parameter.shape)
            begin(generator, name)
            if name.endswith("bias"):
                parameter.zero_()
            elif name == "up.weight":
                parameter.copy_(fresh.uniform_(-bound, bound, generator=generator))
            else:
                parameter.copy_(fresh.normal_(0.0, self.config.init_std, generator=generator))

    @property
    def head_weight(self) -> Tensor:
        """The output matrix U (V, H); the token embedding where they are tied."""
        return self.tokens.weight if self.head is None else self.head.weight

    @property
    def head_bias(self) -> Tensor | None:
        """The output bias c (V,); None without biases."""
        return self.bias

    def hidden(self, ids: Tensor, cache: Cache | None = None) -> Tensor:
        """Return the hidden layer (B, T, H) of ids (B, T) int64; see `LanguageModel.hidden`.

        Raises `ConfigError` when the cache is too short.
        """
        places = ids + 1  # 0: before the beginning
        if cache is None:
            past = places.new_zeros(len(ids), self.size - 1)
        else:
            cache.room_for(ids.shape[1])
            layer = cache.layers[0]
            assert isinstance(layer, StateCache)
            if cache.start is not None:
                at = torch.arange(cache.used, cache.used + ids.shape[1], device=ids.device)
                places = places.masked_fill(at < cache.start[:, None], 0)
            past = layer.sums[0]
        places = torch.cat([past, places], dim=1)
        if cache is not None:
            layer = cache.layers[0]
            assert isinstance(layer, StateCache)
            layer.sums, layer.used = [places[:, places.shape[1] - self.size + 1 :]], layer.used + ids.shape[1]
        x = self.tokens((places - 1).clamp(min=0))
        x = torch.where((places > 0)[..., None], x, self.before)
        if self.training and self.config.dropout:
            x = nn.functional.dropout(x, self.config.dropout)
        windows = x.unfold(1, self.size, 1).transpose(2, 3).flatten(2)  # (B, T, n D), the oldest first
        return torch.tanh(self.up(windows))

    def new_cache(self, batch: int, length: int, start: Tensor | None = None) -> Cache:
        """Return an empty cache, which keeps the last n - 1 tokens of each row; see `LanguageModel.new_cache`."""
        device = self.tokens.weight.device
        last = torch.zeros(batch, self.size - 1, dtype=torch.int64, device=device)
        return Cache([StateCache([last])], length, None if start is None else start.to(device))

    def flops_per_token(self) -> int:
        """Return the floating-point operations of one trained token: 6 a weight that multiplies, not the look-up."""
        return 6 * self.up.weight.numel() + self.head_flops()
