"""LayerNorm and RMSNorm, held against `heed.models.norms`."""

from __future__ import annotations

import torch
from torch import Tensor

from heed.coursework.cases import Case, Cases, numbers
from heed.models.norms import NORMS

UNBIASED = "the variance is divided by D - 1; LayerNorm divides by D (unbiased=False)"
OUTSIDE = "epsilon is added to the standard deviation; it belongs under the root, var + epsilon"
NO_EPSILON = "epsilon is left out"
TIME = "mean and variance are taken over the positions; each position is normalised by itself, over the last dimension"
ALL = "mean and variance are taken over the whole tensor; each position is normalised by itself"
NOT_CENTRED = "the mean is not taken away"
NO_WEIGHT = "weight is left out"
NO_BIAS = "bias is left out"
EARLY = "bias is added before weight multiplies"

X = 3 * numbers(2, 3, 5, seed=1) + 1
SMALL = 1e-3 * numbers(2, 3, 5, seed=2)
WEIGHT, BIAS = 1 + numbers(5, seed=3), numbers(5, seed=4)
ONES, ZEROS = torch.ones(5), torch.zeros(5)
LAST, EACH = (-1,), (-2, -1)


@torch.no_grad()
def norm(kind: str, x: Tensor, weight: Tensor, bias: Tensor | None = None, epsilon: float = 1e-5) -> Tensor:
    """Return what heed's own norm makes of x (..., D)."""
    made = NORMS[kind](x.shape[-1], epsilon)
    made.load_state_dict({"weight": weight} | ({} if bias is None else {"bias": bias}))
    return made(x)


def standard(x: Tensor, over: tuple[int, ...] = LAST, correction: int = 0, epsilon: float = 1e-5) -> Tensor:
    """Return x without its mean and with variance 1, over these dimensions."""
    return (x - x.mean(over, keepdim=True)) / (x.var(over, correction=correction, keepdim=True) + epsilon).sqrt()


def _outside(x: Tensor, epsilon: float = 1e-5) -> Tensor:
    return (x - x.mean(-1, keepdim=True)) / (x.std(-1, correction=0, keepdim=True) + epsilon)


def _root_mean_square(x: Tensor) -> Tensor:
    return x.square().mean(-1, keepdim=True).sqrt()


CASES: Cases = {
    "layer_norm": [
        Case(
            "weight 1, bias 0",
            lambda f: f(X.clone(), ONES.clone(), ZEROS.clone()),
            norm("layer", X, ONES, ZEROS),
            {
                UNBIASED: standard(X, correction=1),
                TIME: standard(X, (-2,)),
                ALL: standard(X, (0, 1, 2)),
                "mean and variance are taken over positions and width": standard(X, EACH),
                NOT_CENTRED: X / _root_mean_square(X),
                "it divides by the variance, not by its root": (X - X.mean(-1, keepdim=True))
                / X.var(-1, correction=0, keepdim=True),
            },
        ),
        Case(
            "a weight and a bias",
            lambda f: f(X.clone(), WEIGHT.clone(), BIAS.clone()),
            norm("layer", X, WEIGHT, BIAS),
            {
                NO_WEIGHT: standard(X) + BIAS,
                NO_BIAS: standard(X) * WEIGHT,
                EARLY: (standard(X) + BIAS) * WEIGHT,
            },
        ),
        Case(
            "numbers as small as the root of epsilon",
            lambda f: f(SMALL.clone(), ONES.clone(), ZEROS.clone()),
            norm("layer", SMALL, ONES, ZEROS),
            {OUTSIDE: _outside(SMALL), NO_EPSILON: standard(SMALL, epsilon=0.0)},
        ),
        Case(
            "epsilon 0.5",
            lambda f: f(X.clone(), ONES.clone(), ZEROS.clone(), 0.5),
            norm("layer", X, ONES, ZEROS, 0.5),
            {
                "the argument epsilon is not used": standard(X),
                OUTSIDE: _outside(X, 0.5),
            },
        ),
    ],
    "rms_norm": [
        Case(
            "a weight",
            lambda f: f(X.clone(), WEIGHT.clone()),
            norm("rms", X, WEIGHT),
            {
                "the mean is taken away; RMSNorm divides only": standard(X) * WEIGHT,
                "squares are added up, not averaged": X / (X.square().sum(-1, keepdim=True) + 1e-5).sqrt() * WEIGHT,
                NO_WEIGHT: norm("rms", X, ONES),
            },
        ),
        Case(
            "numbers as small as the root of epsilon",
            lambda f: f(SMALL.clone(), ONES.clone()),
            norm("rms", SMALL, ONES),
            {
                NO_EPSILON: SMALL / _root_mean_square(SMALL),
                OUTSIDE.replace("standard deviation", "root").replace("var", "mean of squares"): SMALL
                / (_root_mean_square(SMALL) + 1e-5),
            },
        ),
    ],
}
"""The cases of each function of layer_norm.py."""
