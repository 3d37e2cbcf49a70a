"""Small models, causal and leaking, none made of heed's parts: what the audit must judge."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

V, D, H, CONTEXT = 17, 32, 4, 64


def visible(T: int, ahead: int = 0) -> Tensor:
    return torch.ones(T, T, dtype=torch.bool).tril(ahead)


def masked(scores: Tensor, allowed: Tensor) -> Tensor:
    return scores.masked_fill(~allowed, -torch.inf).softmax(-1)


def correct(scores: Tensor) -> Tensor:
    return masked(scores, visible(scores.shape[-1]))


def no_mask(scores: Tensor) -> Tensor:
    return scores.softmax(-1)


def off_by_one(scores: Tensor) -> Tensor:
    return masked(scores, visible(scores.shape[-1], 1))


def after_softmax(scores: Tensor) -> Tensor:
    return scores.softmax(-1).tril()


def by_blocks(scores: Tensor) -> Tensor:
    block = torch.arange(scores.shape[-1]) // 4
    return masked(scores, block[:, None] == block)


def long_only(scores: Tensor) -> Tensor:
    return correct(scores) if scores.shape[-1] <= 32 else no_mask(scores)


def unmasked_padding(scores: Tensor) -> Tensor:
    return correct(scores) if scores.shape[-1] % 16 == 0 else no_mask(scores)


class Transformer(nn.Module):
    """Two layers of attention whose weights `weigh` makes of scores (B, H, T, T)."""

    def __init__(self, weigh: Callable[[Tensor], Tensor], dropout: float = 0.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.weigh, self.dropout = weigh, nn.Dropout(dropout)
        self.tokens, self.places = nn.Embedding(V, D), nn.Embedding(256, D)
        self.qkv = nn.ModuleList(nn.Linear(D, 3 * D) for _ in range(2))
        self.out = nn.ModuleList(nn.Linear(D, D) for _ in range(2))
        self.norm = nn.ModuleList(nn.LayerNorm(D) for _ in range(2))

    def forward(self, ids: Tensor) -> Tensor:
        B, T = ids.shape
        x = self.dropout(self.tokens(ids) + self.places(torch.arange(T)))
        for qkv, out, norm in zip(self.qkv, self.out, self.norm, strict=True):
            q, k, v = (part.view(B, T, H, -1).transpose(1, 2) for part in qkv(norm(x)).chunk(3, -1))
            y = self.weigh(q @ k.mT / (D // H) ** 0.5) @ v
            x = x + self.dropout(out(y.transpose(1, 2).reshape(B, T, D)))
        return x @ self.tokens.weight.T


class Recurrent(nn.Module):
    """An LSTM, read forward or both ways; answers with a tuple."""

    def __init__(self, both: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.tokens = nn.Embedding(V, D)
        self.lstm = nn.LSTM(D, D, batch_first=True, bidirectional=both)
        self.head = nn.Linear(2 * D if both else D, V)

    def forward(self, ids: Tensor) -> tuple[Tensor, str]:
        return self.head(self.lstm(self.tokens(ids))[0]), "state"


class Pooled(nn.Module):
    """Adds to each position what `pool` makes of x (B, T, D) of the embeddings."""

    def __init__(self, pool: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.tokens, self.pool, self.head = nn.Embedding(V, D), pool, nn.Linear(D, V)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.tokens(ids)
        return self.head(torch.tanh(x + self.pool(x)))


class Normalised(nn.Module):
    """A causal sum, then batch normalisation over rows and positions."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.tokens, self.norm, self.head = nn.Embedding(V, D), nn.BatchNorm1d(D), nn.Linear(D, V)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.norm(self.tokens(ids).cumsum(1).transpose(1, 2)).transpose(1, 2))


class Convolution(nn.Module):
    """A convolution over three tokens, padded on both sides, or on the left as it should be."""

    def __init__(self, left: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.left = left
        self.tokens, self.convolve, self.head = nn.Embedding(V, D), nn.Conv1d(D, D, 3), nn.Linear(D, V)

    def forward(self, ids: Tensor) -> Tensor:
        x = F.pad(self.tokens(ids).transpose(1, 2), (self.left, 2 - self.left))
        return self.head(torch.relu(self.convolve(x)).transpose(1, 2))


class TrainingOnly(nn.Module):
    """Looks at the mean over time, of its own row, while it is trained."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.tokens, self.head = nn.Embedding(V, D), nn.Linear(D, V)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.tokens(ids).cumsum(1)
        return self.head(x - x.mean(1, keepdim=True) if self.training else x)


class PositiveFeatures(nn.Module):
    """Causal linear attention with weights 2^(k - c): c is the largest of the sequence's keys, rounded, or 0.

    A power of two cancels without any rounding, so the constant is seen only where the past underflows.
    """

    def __init__(self, stabilised: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stabilised = stabilised
        self.tokens, self.kv, self.head = nn.Embedding(V, D), nn.Linear(D, 2 * D), nn.Linear(D, V)

    def forward(self, ids: Tensor) -> Tensor:
        k, v = self.kv(F.layer_norm(self.tokens(ids), (D,))).chunk(2, -1)
        weights = torch.exp2(k - k.amax(1, keepdim=True).ceil() if self.stabilised else k.clamp(max=100))
        return self.head((weights * v).cumsum(1) / weights.cumsum(1))


def argmax_of_all(x: Tensor) -> Tensor:
    """A hard choice of one position of the whole sequence: no gradient, and yet a leak."""
    chosen = x.detach()[..., 0].argmax(1)
    return x[torch.arange(len(x)), chosen][:, None].detach()


def from_the_end(ids: Tensor) -> Tensor:
    """Positions are counted from the end: which tokens follow does not matter, how many does."""
    table = torch.randn(256, V, generator=torch.Generator().manual_seed(0))
    return F.one_hot(ids, V).float().cumsum(1) + table[torch.arange(ids.shape[1]).flip(0)]


def constant(ids: Tensor) -> Tensor:
    return torch.arange(V).float().expand(*ids.shape, V)


class Noisy:
    """A causal sum with noise of its own generator; `leak` of the mean over the sequence is added."""

    def __init__(self, noise: float, leak: float = 0.0) -> None:
        self.generator = torch.Generator().manual_seed(0)
        self.noise, self.leak = noise, leak

    def __call__(self, ids: Tensor) -> Tensor:
        x = F.one_hot(ids, V).float()
        noise = torch.randn(*ids.shape, V, generator=self.generator)
        return x.cumsum(1) + self.leak * x.sum(1, keepdim=True) + self.noise * noise


def batch_mean(ids: Tensor) -> Tensor:
    """Each position takes away what the batch has there: causal in time, not across rows."""
    x = F.one_hot(ids, V).float().cumsum(1)
    return x - x.mean(0)


def even_only(ids: Tensor) -> Tensor:
    if ids.shape[1] % 2:
        raise ValueError("the length must be even")
    return F.one_hot(ids, V).float().cumsum(1)


# ----------------------------------------------------- noise of its own ---------------------------------------------


class Applied(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Restless(Transformer):
    """Attention whose dropout stays on in evaluation mode."""

    def __init__(self, weigh: Callable[[Tensor], Tensor], dropout: float = 0.3) -> None:
        super().__init__(weigh)
        self.dropout = Applied(lambda x: F.dropout(x, dropout, training=True))


class Shaken(Transformer):
    """Attention whose embeddings are moved by `draw(shape)` at each call."""

    def __init__(self, weigh: Callable[[Tensor], Tensor], draw: Callable[..., Tensor], size: float = 0.1) -> None:
        super().__init__(weigh)
        self.draw, self.size = draw, size
        self.dropout = Applied(lambda x: x + self.size * self.draw(x.shape))


def by_torch(shape: torch.Size) -> Tensor:
    return torch.randn(shape)


def by_numpy(shape: torch.Size) -> Tensor:
    return torch.from_numpy(np.random.normal(size=shape)).float()


OWN_NUMPY, OWN_PYTHON = np.random.default_rng(0), random.Random(0)


def by_own_numpy(shape: torch.Size) -> Tensor:
    return torch.from_numpy(OWN_NUMPY.normal(size=tuple(shape))).float()


def by_python(shape: torch.Size) -> Tensor:
    return torch.full(shape, random.gauss(0, 1))


def by_new_generator(shape: torch.Size) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(5))


def sometimes(shape: torch.Size) -> Tensor:
    """Nothing in nine calls of ten: two repetitions see no noise at all."""
    return torch.full(shape, float(OWN_PYTHON.random() < 0.1))


class Routed(nn.Module):
    """Experts that hide units of the tokens that come to them: other tokens, other shapes, other random numbers."""

    def __init__(self, weigh: Callable[[Tensor], Tensor] = correct) -> None:
        super().__init__()
        self.inner = Transformer(weigh)
        self.gate, self.experts = nn.Linear(V, 3), nn.ModuleList(nn.Linear(V, V) for _ in range(3))

    def forward(self, ids: Tensor) -> Tensor:
        x = self.inner(ids)
        chosen, y = self.gate(x).argmax(-1), x.clone()
        for number, expert in enumerate(self.experts):
            y[chosen == number] += F.dropout(expert(x[chosen == number]), 0.2, training=True)
        return y


# ------------------------------------------- experts with as many places as there are ------------------------------


class Crowded(nn.Module):
    """Two experts of limited capacity: `best` gives places to the highest scores of the sequence, else the first come.

    The first come never give way to later tokens; the best do, but only where places run out.
    """

    def __init__(self, best: bool, places: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.best, self.places = best, places
        self.tokens, self.mix = nn.Embedding(V, D), nn.GRU(D, D, batch_first=True)
        self.gate, self.experts = nn.Linear(D, 2), nn.ModuleList(nn.Linear(D, D) for _ in range(2))
        self.head = nn.Linear(D, V)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.mix(self.tokens(ids))[0]
        scores = self.gate(x)
        y = x
        for number, expert in enumerate(self.experts):
            wanted = scores.argmax(-1) == number  # (B, T)
            if self.best:
                order = scores[..., number].masked_fill(~wanted, -torch.inf).argsort(-1, descending=True).argsort(-1)
                taken = wanted & (order < self.places)
            else:
                taken = wanted & (wanted.long().cumsum(1) <= self.places)
            y = y + taken[..., None] * expert(x)
        return self.head(y)


# ----------------------------------------- small, rare, and a matter of arithmetic ---------------------------------


class Ahead(Transformer):
    """Sees the next token with a weight that may be tiny."""

    def __init__(self, weight: float) -> None:
        super().__init__(correct)
        self.weight = weight

    def forward(self, ids: Tensor) -> Tensor:
        x = self.tokens(ids)
        ahead = F.pad(x[:, 1:], (0, 0, 0, 1))
        return super().forward(ids) + self.weight * ahead @ self.tokens.weight.T


def bigram(a: int, b: int, vocab_size: int = V, distance: int = 0) -> Callable[[Tensor], Tensor]:
    """A sum of the past that also knows, at a (or `distance` before), that the neighbours are a b."""

    def model(ids: Tensor) -> Tensor:
        x = F.one_hot(ids, vocab_size).float().cumsum(1)
        met = ((ids[:, :-1] == a) & (ids[:, 1:] == b)).float()
        return x + F.pad(met, (0, 1))[..., None].roll(-distance, 1)

    return model


def renormalised(scores: Tensor) -> Tensor:
    """A softmax over everything, masked and divided by its sum: causal but for what underflows."""
    weights = scores.softmax(-1).tril()
    return weights / weights.sum(-1, keepdim=True)


class OverAll(nn.Module):
    """Positive features whose stabiliser runs over the sequence, with an epsilon in the denominator: a true leak."""

    def __init__(self, epsilon: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.epsilon = epsilon
        self.tokens, self.kv, self.head = nn.Embedding(V, D), nn.Linear(D, 2 * D), nn.Linear(D, V)

    def forward(self, ids: Tensor) -> Tensor:
        k, v = self.kv(F.layer_norm(self.tokens(ids), (D,))).chunk(2, -1)
        weights = torch.exp(k - k.amax(1, keepdim=True))
        return self.head((weights * v).cumsum(1) / (weights.cumsum(1) + self.epsilon))


class StraightThrough(nn.Module):
    """Causal values, whose gradients come from the whole sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(V, V)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.tokens(ids)
        whole = x.mean(1, keepdim=True)
        return x.cumsum(1) + (whole - whole.detach())
