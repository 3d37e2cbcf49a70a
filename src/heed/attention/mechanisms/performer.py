"""Performer: softmax attention by random features, FAVOR+. Choromanski et al. 2021, "Rethinking attention".

    x = q / K^(1/4) or k / K^(1/4), so that q.k is the score of softmax attention; w ~ N(0, I)
    positive        phi(x) = exp(w.x - |x|^2/2) / sqrt(m)                                 m vectors w; lemma 1
    trigonometric   phi(x) = exp(|x|^2/2) sqrt(2/m) [sin(w.x), cos(w.x)]                  m/2 vectors w; equation 6
    E phi(q).phi(k) = exp(q.k),  y_t = phi(q_t)^T sum_s phi(k_s) v_s^T / phi(q_t)^T sum_s phi(k_s)

The features stand in for the exponential: there is no second one. Orthogonal: the w come in blocks of K whose
directions are orthogonal and whose norms are those of independent vectors, chi(K); the estimate stays unbiased and
varies less.

exp overflows, so each key has a scale (`sums.py`): its largest log feature. What does not depend on the key, like
|q|^2/2, cancels in y. No maximum is taken over a sequence: a query's units are those of the keys that it sees.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from heed.attention.facts import Facts
from heed.attention.masks import Mask
from heed.attention.mechanism import Path
from heed.attention.mechanisms.features import FeatureMap, Positive, Trigonometric
from heed.attention.mechanisms.kernel import KernelAttention
from heed.attention.shape import Shape
from heed.errors import ConfigError

if TYPE_CHECKING:
    from heed.attention.scores import Score


class Performer(KernelAttention):
    """Estimates softmax attention by products of `features` random features, drawn once a layer for all its heads.

    features     number of features, m; None: K log K, the paper's, rounded up to a multiple of 16.
    kind         positive: exp(w.x). trigonometric: sin and cos, whose weights may be negative; for comparison.
    orthogonal   whether the random vectors are orthogonal in blocks of K.
    redraw       draw new features after this many forward passes of training; None: never.
    """

    facts = Facts(
        equation="phi(Q) phi(K)^T V, rows divided by their sum, E phi(q).phi(k) = exp(q.k / sqrt(K))",
        source="Choromanski et al. 2021, Rethinking attention with Performers",
        causal="exact",
        differentiable="all",
        masks=frozenset({"causal", "padding"}),
        positions=frozenset({"none", "learned", "sinusoidal", "rotary"}),
        time="T m D",
        memory="T D",
        growth=(1, 1),
        cache="state",
        grouped=True,
        weights=False,
        scores=frozenset(),
    )
    name = "performer"
    w: Tensor
    age: Tensor

    def __init__(
        self,
        shape: Shape,
        *,
        features: int | None = None,
        kind: Literal["positive", "trigonometric"] = "positive",
        orthogonal: bool = True,
        redraw: int | None = None,
        path: Path = "auto",
        dropout: float = 0.0,
        score: Score | None = None,
    ) -> None:
        super().__init__(shape, path=path, dropout=dropout, score=score)
        self.n_features = default_features(shape.width) if features is None else features
        self.kind, self.orthogonal, self.redraw = kind, orthogonal, redraw
        refuse_impossible_options(self.n_features, kind, redraw)
        n_vectors = self.n_features if kind == "positive" else self.n_features // 2
        self.floor = 0.0 if kind == "positive" else 1e-3 * n_vectors
        self.register_buffer("w", torch.empty(n_vectors, shape.width))
        self.register_buffer("age", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        """Draw the random vectors from `generator`."""
        super().initialise(generator)
        self.w.copy_(draw(len(self.w), self.shape.width, self.orthogonal, generator))
        self.age.zero_()

    def forward(self, q: Tensor, k: Tensor, v: Tensor, mask: Mask, bias: Tensor | None = None) -> Tensor:
        """Mix v (B, Hkv, S, K) by the features of q (B, H, T, K) and k (B, Hkv, S, K): (B, H, T, K).

        Where `redraw` asks for it, a forward pass of training first counts itself and draws new vectors when due.
        """
        if self.redraw is not None and self.training and torch.is_grad_enabled():
            if self.age >= self.redraw:  # a new tensor: an earlier pass may still need the old one for its gradient
                self.w = draw(len(self.w), self.shape.width, self.orthogonal).to(self.w)
                self.age.zero_()
            self.age += 1
        return super().forward(q, k, v, mask, bias)

    def feature_map(self) -> FeatureMap:
        """Return the features of the present random vectors."""
        return Positive(self.w) if self.kind == "positive" else Trigonometric(self.w)

    def flops(self, T: int) -> int:
        """Return the operations for one query among T keys, with the projections of q and k on the random vectors."""
        return super().flops(T) + 4 * len(self.w) * self.shape.d_model


def draw(n: int, width: int, orthogonal: bool = True, generator: torch.Generator | None = None) -> Tensor:
    """Return n random vectors (n, width) whose every row is N(0, I), drawn on the CPU in float64.

    Orthogonal: rows of a block of `width` stand at right angles, in directions that are uniform over the sphere, and
    each has the norm of another Gaussian vector. Without a generator it is torch's global one.
    """
    if not orthogonal:
        return torch.randn(n, width, dtype=torch.float64, generator=generator)
    blocks = -(-n // width)
    Q, R = torch.linalg.qr(torch.randn(blocks, width, width, dtype=torch.float64, generator=generator))
    # QR makes the signs of R's diagonal as it likes; with them taken out the directions are uniform
    directions = (Q * R.diagonal(dim1=-2, dim2=-1).sign()[:, None, :]).transpose(1, 2).flatten(0, 1)[:n]
    norms = torch.randn(n, width, dtype=torch.float64, generator=generator).norm(dim=1, keepdim=True)
    return directions * norms


def default_features(width: int) -> int:
    """Return K log K, rounded up to a multiple of 16 (products of matrices like that). Choromanski et al., theorem 4.

    >>> default_features(32), default_features(64)
    (112, 272)
    """
    return max(16, 16 * math.ceil(width * math.log(width) / 16))


def refuse_impossible_options(features: int, kind: str, redraw: int | None) -> None:
    """Raise `ConfigError` that lists every option with which there is no estimate."""
    setting, problems = "model.attention.options", []
    if kind not in ("positive", "trigonometric"):
        problems.append(f"{setting}.kind: unknown value {kind!r}, choose positive or trigonometric")
    if features < 1:
        problems.append(f"{setting}.features: {features} is too few, it must be at least 1")
    elif kind == "trigonometric" and features % 2:
        problems.append(f"{setting}.features: sines and cosines come in pairs, take {features + 1}")
    if redraw is not None and redraw < 1:
        problems.append(f"{setting}.redraw: {redraw} is too few training passes, it must be at least 1 or left out")
    if problems:
        raise ConfigError(*problems)
