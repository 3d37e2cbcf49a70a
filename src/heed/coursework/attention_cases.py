"""Attention by hand: the steps of `heed.attention.steps`, and the popular ways to get each of them wrong."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from heed.attention import steps
from heed.coursework.cases import Case, Cases, numbers

AFTER = (
    "the weights were set to 0 after the softmax: what is hidden stays in its denominator, so the future leaks; "
    "put -inf into the scores before it"
)
UNSCALED = "the scores are not divided by sqrt(K)"
BY_WIDTH = "the scores are divided by K, not by its root"
BY_KEYS = "the scores are divided by the root of the number of keys; K is the width of a key"
BY_MODEL = "the scores are divided by the root of the whole width; K is the width of one head"
ZERO = "hidden scores were set to 0, and e^0 is 1: a hidden key keeps its weight; put -inf there"
FILL = "-1e4 stands in hidden places: against scores as low as that it hides nothing; put -inf there"
ADDED = "-1e4 is added to hidden scores: a score of 1e4 is visible again; put -inf there"
RENORMALISED = (
    "the weights were set to 0 after the softmax and divided by their sum: that is exact on paper, and 0 / 0 where a "
    "hidden score is so large"
)
TURNED = "the mask is read the other way round: True means may look"
QUERIES = "the softmax runs over the queries; every row, over the keys, must sum to 1"
FIRST_DIMENSION = "the softmax runs over the batch, the first dimension: say dim=-1, the keys"
NO_MASK = "the mask is left out"
MODULO = (
    "the width is cut as i * n_heads + h; a head is made of neighbours, y[b, h, t, i] = x[b, t, h * head_width + i]"
)
RESHAPED = "a reshape alone mixes positions with heads: cut the width first, then exchange the two dimensions"
NOT_EXCHANGED = "heads and positions are not exchanged"
AHEAD = "each position sees the next one"
BLIND = "a position does not see itself"


def hidden_after(scores: Tensor, allowed: Tensor) -> Tensor:
    """Return what a mask after the softmax gives."""
    return torch.softmax(scores, -1) * allowed


def cut_by_modulo(x: Tensor, n_heads: int) -> Tensor:
    """Return heads that take every n_heads-th number of the width (B, H, T, K)."""
    return x.unflatten(-1, (-1, n_heads)).permute(0, 3, 1, 2)


def joined_by_modulo(x: Tensor) -> Tensor:
    """Return the inverse of `cut_by_modulo` (B, T, H K)."""
    return x.permute(0, 2, 3, 1).flatten(-2)


def causal_attention(
    x: Tensor,
    weight: Tensor,
    n_heads: int,
    *,
    root: float | None = None,
    allowed: Tensor | None = None,
    weigh: Callable[[Tensor, Tensor], Tensor] | None = None,
    modulo: bool = False,
) -> Tensor:
    """Return multi-head self-attention of x (B, T, D) with one thing done in another way: (B, T, D)."""
    split, merge = (cut_by_modulo, joined_by_modulo) if modulo else (steps.split_heads, steps.merge_heads)
    q, k, v = (split(part, n_heads) for part in (x @ weight.T).chunk(3, -1))
    scores = steps.similarities(q, k) / (math.sqrt(q.shape[-1]) if root is None else root)
    seen = steps.causal_mask(x.shape[1]) if allowed is None else allowed
    weights = steps.weigh(steps.mask_scores(scores, seen)) if weigh is None else weigh(scores, seen)
    return merge(steps.mix(weights, v))


SEEN = steps.causal_mask(5)
SCORES = numbers(2, 5, 5, seed=1)
LOW = torch.tensor([[-20000.0, 3.0], [-20000.0, -20001.0]])
HIGH = torch.tensor([[0.0, 10000.0], [0.0, 1.0]])
PAIR = steps.causal_mask(2)
Q, K, V = numbers(2, 3, 4, seed=2), numbers(2, 5, 4, seed=3), numbers(2, 5, 6, seed=4)
ROWS = torch.arange(2 * 2 * 12.0).view(2, 2, 12)
HEADS = torch.arange(2 * 3 * 2 * 4.0).view(2, 3, 2, 4)
X, QKV = numbers(2, 5, 12, seed=5), numbers(36, 12, seed=6)


def _weights(scores: Tensor, allowed: Tensor) -> Tensor:
    return steps.weigh(steps.mask_scores(scores, allowed))


CASES: Cases = {
    "causal_mask": [
        Case(
            "5 positions",
            lambda f: f(5),
            SEEN,
            {
                "it is the other triangle: row t is what query t may look at": SEEN.T,
                "True means may look, here it means hidden": ~SEEN,
                BLIND: torch.ones(5, 5).tril(-1).bool(),
                AHEAD: torch.ones(5, 5).tril(1).bool(),
            },
        ),
        Case("1 position", lambda f: f(1), torch.ones(1, 1, dtype=torch.bool)),
    ],
    "scaled_scores": [
        Case(
            "3 queries, 5 keys of width 4",
            lambda f: f(Q.clone(), K.clone()),
            steps.scale(steps.similarities(Q, K), 4),
            {
                UNSCALED: steps.similarities(Q, K),
                BY_WIDTH: steps.similarities(Q, K) / 4,
                BY_KEYS: steps.similarities(Q, K) / math.sqrt(5),
                "they are multiplied by sqrt(K), not divided": steps.similarities(Q, K) * 2,
            },
        ),
    ],
    "attention_weights": [
        Case(
            "no mask",
            lambda f: f(SCORES.clone()),
            torch.softmax(SCORES, -1),
            {
                QUERIES: torch.softmax(SCORES, -2),
                FIRST_DIMENSION: torch.softmax(SCORES, 0),
                "the softmax runs over all scores at once": torch.softmax(SCORES.flatten(1), -1).view_as(SCORES),
            },
        ),
        Case(
            "a causal mask",
            lambda f: f(SCORES.clone(), SEEN.clone()),
            _weights(SCORES, SEEN),
            {
                AFTER: hidden_after(SCORES, SEEN),
                ZERO: torch.softmax(SCORES.masked_fill(~SEEN, 0.0), -1),
                TURNED: torch.softmax(SCORES.masked_fill(SEEN, -torch.inf), -1).nan_to_num(1.0),
                NO_MASK: torch.softmax(SCORES, -1),
            },
        ),
        Case(
            "a hidden score of 10,000",
            lambda f: f(HIGH.clone(), PAIR.clone()),
            _weights(HIGH, PAIR),
            {
                RENORMALISED: hidden_after(HIGH, PAIR) / hidden_after(HIGH, PAIR).sum(-1, keepdim=True),
                ADDED: torch.softmax(HIGH - 1e4 * ~PAIR, -1),
                AFTER: hidden_after(HIGH, PAIR),
            },
        ),
        Case(
            "visible scores of -20,000",
            lambda f: f(LOW.clone(), PAIR.clone()),
            _weights(LOW, PAIR),
            {FILL: torch.softmax(LOW.masked_fill(~PAIR, -1e4), -1), AFTER: hidden_after(LOW, PAIR)},
        ),
    ],
    "attend": [
        Case(
            "values wider than keys, no mask",
            lambda f: f(Q.clone(), K.clone(), V.clone()),
            steps.attend(Q, K, V),
            {
                UNSCALED: torch.softmax(Q @ K.mT, -1) @ V,
                BY_WIDTH: torch.softmax(Q @ K.mT / 4, -1) @ V,
                "K is the width of a key, not of a value": torch.softmax(Q @ K.mT / math.sqrt(6), -1) @ V,
            },
        ),
        Case(
            "a causal mask",
            lambda f: f(K.clone(), K.clone(), V.clone(), SEEN.clone()),
            steps.attend(K, K, V, SEEN),
            {
                AFTER: hidden_after(K @ K.mT / 2, SEEN) @ V,
                NO_MASK: steps.attend(K, K, V),
                UNSCALED: _weights(K @ K.mT, SEEN) @ V,
            },
        ),
    ],
    "split_heads": [
        Case(
            "3 heads of width 4",
            lambda f: f(ROWS.clone(), 3),
            steps.split_heads(ROWS, 3),
            {
                MODULO: cut_by_modulo(ROWS, 3),
                RESHAPED: ROWS.reshape(2, 3, 2, 4),
                NOT_EXCHANGED: ROWS.unflatten(-1, (3, 4)),
                "the second argument is the number of heads, not their width": steps.split_heads(ROWS, 4),
            },
        ),
    ],
    "merge_heads": [
        Case(
            "3 heads of width 4",
            lambda f: f(HEADS.clone()),
            steps.merge_heads(HEADS),
            {
                MODULO: joined_by_modulo(HEADS),
                "a reshape alone mixes heads with positions: exchange the two dimensions first": HEADS.reshape(
                    2, 2, 12
                ),
            },
        ),
    ],
    "causal_self_attention": [
        Case(
            "3 heads of width 4",
            lambda f: f(X.clone(), QKV.clone(), 3),
            causal_attention(X, QKV, 3),
            {
                BY_MODEL: causal_attention(X, QKV, 3, root=math.sqrt(12)),
                UNSCALED: causal_attention(X, QKV, 3, root=1.0),
                AFTER: causal_attention(X, QKV, 3, weigh=hidden_after),
                NO_MASK: causal_attention(X, QKV, 3, allowed=torch.ones(5, 5, dtype=torch.bool)),
                AHEAD: causal_attention(X, QKV, 3, allowed=torch.ones(5, 5).tril(1).bool()),
                MODULO: causal_attention(X, QKV, 3, modulo=True),
                "it is one head: n_heads is not used": causal_attention(X, QKV, 1),
            },
            tolerance=1e-4,
        ),
    ],
}
"""The cases of each function of attention.py."""
