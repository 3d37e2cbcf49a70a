"""How a query meets a key. Each score is a module: q (B, H, T, K) and k (B, Hkv, S, K) give scores (B, H, T, S).

    scaled-dot          q.k / sqrt(K)                       Vaswani et al. 2017, equation 1
    dot                 q.k                                 Luong et al. 2015, section 3.1
    cosine              g_h q.k / (|q| |k|)                 Henry et al. 2020, "QKNorm"; per head: Liu et al. 2022
    negative-distance   -|q - k|^2 / (2 sqrt(K))            a Gaussian kernel after the softmax
    bilinear            q^T W_h k                           Luong et al. 2015, "general"
    additive            v_h^T tanh(W_h q + U_h k)           Bahdanau et al. 2015, appendix A.1.2
    pairwise(f)         f(q, k), any function of two vectors

A score that is a dot product in disguise says so in `as_dot`, and then runs on the fused paths. Hkv may be less than
H: query head h meets key head h // (H / Hkv).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from heed.attention import steps
from heed.attention.held import HELD
from heed.attention.imported import load_object
from heed.attention.shape import Shape
from heed.errors import ConfigError, did_you_mean

Pair = Callable[[Tensor, Tensor], Tensor]
"""A function of one query (K,) and one key (K,) that returns one number, a tensor without dimensions."""


class Score(nn.Module):
    """q.k / sqrt(K), the scaled dot product; the base of all scores."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, q: Tensor, k: Tensor) -> Tensor:
        """Return the scores (B, H, T, S) of q (B, H, T, K) and k (B, Hkv, S, K)."""
        dot = self.as_dot(q, k)
        if dot is None:
            raise NotImplementedError(f"{type(self).__name__} is no dot product: it writes its own forward")
        q, k, factor = dot
        return factor * steps.similarities(q, steps.share_heads(k, q.shape[1]))

    def as_dot(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor, float] | None:
        """Return q', k' and a factor such that factor * q'.k' differs from the score by what is the same for all keys.

        None where there is no such form. q' and k' may be wider than q and k; k' keeps its Hkv heads.
        """
        return q, k, 1 / math.sqrt(q.shape[-1])

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        """Fill the score's own parameters from `generator` (on the CPU)."""

    def flops(self, T: int) -> int:
        """Return the floating-point operations by which one query meets T keys in all heads, forward."""
        return 2 * self.shape.d_model * T


class Dot(Score):
    """q.k, unscaled."""

    def as_dot(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor, float]:
        """Return q and k as they are."""
        return q, k, 1.0


class Cosine(Score):
    """g_h q.k / (|q| |k|): the angle alone, times a learned positive scale for each head (exp, so never 0)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        self.log_scale = nn.Parameter(torch.empty(shape.n_heads))

    def as_dot(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor, float]:
        """Return q / |q|, scaled, and k / |k|; a vector of length 0 stays 0."""
        scale = self.log_scale.exp()[:, None, None].to(q.dtype)
        q, k = (F.normalize(x, dim=-1, eps=1e-6).to(x.dtype) for x in (q, k))
        return q * scale, k, 1.0

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        """Begin with a scale of 10, as Liu et al. 2022 (Swin v2) do: a cosine lies between -1 and 1."""
        self.log_scale.fill_(math.log(10.0))


class NegativeDistance(Score):
    """-|q - k|^2 / (2 sqrt(K)): for keys of equal length the same weights as the scaled dot product."""

    def forward(self, q: Tensor, k: Tensor) -> Tensor:
        """Return the scores (B, H, T, S), by |q - k|^2 = |q|^2 + |k|^2 - 2 q.k."""
        k = steps.share_heads(k, q.shape[1])
        q_half, k_half = (x.square().sum(-1) / 2 for x in (q, k))
        return steps.scale(steps.similarities(q, k) - q_half[..., None] - k_half[..., None, :], q.shape[-1])

    def as_dot(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor, float]:
        """Return (q, 1, 0 ...) and (k, -|k|^2 / 2, 0 ...); |q|^2 is the same for all keys.

        Zeros fill the width to a multiple of 8, which the fused kernels of GPUs want.
        """
        K = q.shape[-1]
        half = k.square().sum(-1, keepdim=True).to(k.dtype) / 2
        room = 7 - K % 8
        one = torch.ones_like(q[..., :1])
        return F.pad(torch.cat((q, one), -1), (0, room)), F.pad(torch.cat((k, -half), -1), (0, room)), 1 / math.sqrt(K)


class Bilinear(Score):
    """q^T W_h k, with one learned matrix W_h (K, K) for each query head."""

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        self.weight = nn.Parameter(torch.empty(shape.n_heads, shape.width, shape.width))

    def as_dot(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor, float]:
        """Return q W and k."""
        return q @ self.weight, k, 1.0

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        """Begin as the scaled dot product, W = I / sqrt(K)."""
        K = self.shape.width
        self.weight.copy_((torch.eye(K) / math.sqrt(K)).expand_as(self.weight))

    def flops(self, T: int) -> int:
        """Return those of a dot product, and of turning the query."""
        return super().flops(T) + 2 * self.shape.d_model * self.shape.width


class Additive(Score):
    """v_h^T tanh(W_h q + U_h k), with a hidden layer of K units for each head.

    No dot product: every pair of a query and a key holds K numbers, so memory is B H T S K.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        H, K = shape.n_heads, shape.width
        self.query = nn.Parameter(torch.empty(H, K, K))
        self.key = nn.Parameter(torch.empty(H, K, K))
        self.out = nn.Parameter(torch.empty(H, K, 1))

    def forward(self, q: Tensor, k: Tensor) -> Tensor:
        """Return the scores (B, H, T, S)."""
        k = steps.share_heads(k, q.shape[1])
        meeting = torch.tanh((q @ self.query)[..., :, None, :] + (k @ self.key)[..., None, :, :])
        return (meeting @ self.out[:, None]).squeeze(-1)

    def as_dot(self, q: Tensor, k: Tensor) -> None:
        """Return None: a tanh lies between query and key."""

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        """Draw all three from N(0, 1 / K), which keeps the size of q and k."""
        for weight in (self.query, self.key, self.out):
            drawn = torch.empty(weight.shape).normal_(0.0, 1 / math.sqrt(self.shape.width), generator=generator)
            weight.copy_(drawn)

    def flops(self, T: int) -> int:
        """Return K sums, K tanh and a product with v for each pair and head; W q and U k once a token."""
        return 4 * self.shape.d_model * T + 4 * self.shape.d_model * self.shape.width


class _Pairwise(Score):
    """Any function of a query and a key, applied to every pair by `torch.vmap`."""

    def __init__(self, function: Pair) -> None:
        nn.Module.__init__(self)  # a function needs no shape
        self.function = function

    def forward(self, q: Tensor, k: Tensor) -> Tensor:
        k = steps.share_heads(k, q.shape[1])
        every_key = torch.vmap(self.function, in_dims=(None, 0))
        every_pair = torch.vmap(every_key, in_dims=(0, None))
        scores = torch.vmap(every_pair)(q.flatten(0, 1), k.flatten(0, 1))
        return scores.unflatten(0, q.shape[:2])

    def as_dot(self, q: Tensor, k: Tensor) -> None:
        """Return None: nothing is known of the function."""

    def flops(self, T: int) -> int:
        """Return 0: nobody knows what the function costs."""
        return 0


def pairwise(function: Pair) -> Score:
    """Return the score that gives each query q (K,) and key k (K,) the number `function(q, k)`.

    The function is written for two vectors in torch and runs on all pairs at once (`torch.vmap`), so it may not look
    at numbers (`.item()`, `if`). What it makes on the way is held for every pair. A module as the function is trained
    with the model, and starts as it was made.

    >>> manhattan = pairwise(lambda q, k: -(q - k).abs().sum())
    >>> manhattan(torch.zeros(1, 1, 1, 2), torch.tensor([[[[1.0, 2.0], [0.0, 0.5]]]])).tolist()
    [[[[-3.0, -0.5]]]]
    """
    return _Pairwise(function)


SCORES: dict[str, type[Score]] = {
    "scaled-dot": Score,
    "dot": Dot,
    "cosine": Cosine,
    "negative-distance": NegativeDistance,
    "bilinear": Bilinear,
    "additive": Additive,
}
"""Scores by name."""

SETTING = "model.attention.score"


def find_score(name: str) -> Callable[[Shape], Score]:
    """Return what makes the score `name`: an entry of `SCORES`, or `package.module:function` of two vectors.

    A `Score` class of another package is taken as well. Raises `ConfigError` for a name that nobody has, for what
    cannot be imported, and for a function that does not give one number for two vectors.
    """
    if name in SCORES:
        return SCORES[name]
    if ":" not in name:
        raise ConfigError(
            f"{SETTING}: unknown value {name!r}, {did_you_mean(name, SCORES)}"
            " (a function of your own is written package.module:function)"
        )
    found = HELD.get().get(name) or load_object(name, SETTING, "package.module:function")
    if isinstance(found, type) and issubclass(found, Score):
        return found
    if not callable(found):
        raise ConfigError(f"{SETTING}: {name} is no function: it is of type {type(found).__name__}")
    return lambda shape: _tried(name, cast(Pair, found), shape)


def _tried(name: str, function: Pair, shape: Shape) -> Score:
    """Return the score of `function` after one try on two vectors."""
    score = _Pairwise(function)
    try:
        with torch.device("cpu"):  # also where a model is built without memory, on the meta device
            vector = torch.ones(1, 1, 1, shape.width)
            made = score(vector, vector)
    except Exception as error:  # code of the user's, which may raise anything
        raise ConfigError(f"{SETTING}: {name} fails on two vectors of {shape.width} numbers: {_line(error)}") from error
    if made.shape != (1, 1, 1, 1):
        shape_made = tuple(made.shape[4:])
        raise ConfigError(f"{SETTING}: {name} must return one number for two vectors, not a tensor {shape_made}")
    return score


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0]}"


def meet(score: Score | None, q: Tensor, k: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return the scores (B, H, T, S) of q (B, H, T, K) and k (B, Hkv, S, K), with `bias` (H, T, S) added.

    Without a score it is the scaled dot product.
    """
    k = steps.share_heads(k, q.shape[1])
    made = steps.scale(steps.similarities(q, k), q.shape[-1]) if score is None else score(q, k)
    return made if bias is None else made + bias
