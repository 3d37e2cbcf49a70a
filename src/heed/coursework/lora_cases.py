"""Low-rank adaptation (Hu et al. 2022): the update (alpha / rank) B A beside a frozen matrix W.

x (..., inputs), W (outputs, inputs), A (rank, inputs), B (outputs, rank). `peft`, which `heed tune` trains with,
computes the same; a test compares the two.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor

from heed.coursework.cases import Case, Cases, Function, Property, numbers

NOT_DIVIDED = "the update is multiplied by alpha; the scale is alpha / rank"
MULTIPLIED = "the update is multiplied by alpha * rank; the scale is alpha / rank"
ROOT = "the update is divided by the root of the rank, which is rsLoRA; here the scale is alpha / rank"
NO_SCALE = "the update is not scaled; the scale is alpha / rank"
UPSIDE_DOWN = "the scale is rank / alpha; alpha / rank is right"
BY_INPUTS = "alpha is divided by a width of the matrix; the scale is alpha / rank"
FROZEN_ALONE = "the update is left out"
UPDATE_ALONE = "W is left out"
TRANSPOSED = "the update is transposed: W + (alpha / rank) B A"

RANK, ALPHA = 2, 6.0
X, W = numbers(3, 2, 5, seed=1), numbers(4, 5, seed=2)
A, B = numbers(RANK, 5, seed=3), numbers(4, RANK, seed=4)
SQUARE, A4, B4 = numbers(4, 4, seed=5), numbers(RANK, 4, seed=6), numbers(4, RANK, seed=7)
INPUTS, OUTPUTS = 64, 48


def scales() -> dict[str, float]:
    """Return the popular wrong scales at this alpha and rank."""
    return {
        NOT_DIVIDED: ALPHA,
        MULTIPLIED: ALPHA * RANK,
        ROOT: ALPHA / math.sqrt(RANK),
        NO_SCALE: 1.0,
        UPSIDE_DOWN: RANK / ALPHA,
        BY_INPUTS: ALPHA / 5,
    }


def update_of(x: Tensor, scale: float = ALPHA / RANK) -> Tensor:
    """Return scale B A x (..., outputs)."""
    return scale * (x @ A.T @ B.T)


def _wrong(by_scale: Callable[[float], Tensor]) -> dict[str, Any]:
    return {sentence: by_scale(scale) for sentence, scale in scales().items()}


def begun(function: Function) -> Any:
    """Return the matrices that training begins with."""
    return function(INPUTS, OUTPUTS, RANK)


def fault_of_beginning(pair: Any) -> str:
    """Return what is wrong with A and B before training, or an empty string."""
    if not isinstance(pair, tuple | list) or len(pair) != 2 or not all(isinstance(one, Tensor) for one in pair):
        return "it must give two tensors, A and B"
    a, b = pair
    for name, matrix, shape in (("A", a, (RANK, INPUTS)), ("B", b, (OUTPUTS, RANK))):
        if matrix.shape != shape:
            return f"{name} has the shape {tuple(matrix.shape)}, {shape} is right"
    if a.isnan().any() or b.isnan().any():
        return "a matrix holds NaN: it was never filled"
    if not a.any() and not b.any():
        return "A and B are both 0: then no gradient ever reaches either of them; A is random"
    if not a.any():
        return "A is 0 and B is not: it is the other way round in the paper, A random and B 0"
    if b.any():
        return "B is not 0: the update must be 0 at first, so that training begins at the pretrained model"
    if (a == a[0, 0]).all() or (a[0] == a[1]).all():
        return "the rows of A are equal: they stay equal in training, so the rank is 1"
    return ""


CASES: Cases = {
    "first_matrices": [Property(f"{INPUTS} inputs, {OUTPUTS} outputs, rank {RANK}", begun, fault_of_beginning)],
    "update": [
        Case(
            "rank 2, alpha 6",
            lambda f: f(X.clone(), A.clone(), B.clone(), ALPHA),
            update_of(X),
            _wrong(lambda scale: update_of(X, scale)),
        ),
    ],
    "forward": [
        Case(
            "rank 2, alpha 6",
            lambda f: f(X.clone(), W.clone(), A.clone(), B.clone(), ALPHA),
            X @ W.T + update_of(X),
            {
                **_wrong(lambda scale: X @ W.T + update_of(X, scale)),
                FROZEN_ALONE: X @ W.T,
                UPDATE_ALONE: update_of(X),
            },
        ),
    ],
    "merge": [
        Case(
            "a matrix of 4 x 5",
            lambda f: f(W.clone(), A.clone(), B.clone(), ALPHA),
            W + ALPHA / RANK * B @ A,
            {**_wrong(lambda scale: W + scale * B @ A), FROZEN_ALONE: W, UPDATE_ALONE: ALPHA / RANK * B @ A},
        ),
        Case(
            "a square matrix",
            lambda f: f(SQUARE.clone(), A4.clone(), B4.clone(), ALPHA),
            SQUARE + ALPHA / RANK * B4 @ A4,
            {TRANSPOSED: SQUARE + ALPHA / RANK * (B4 @ A4).T},
        ),
    ],
    "trained_parameters": [
        Case(
            "24 matrices of 768 x 768, rank 8",
            lambda f: f(768, 768, 8, 24),
            8 * (768 + 768) * 24,
            {
                "A and B are both trained: rank * (inputs + outputs) for each matrix": 8 * 768 * 24,
                "the sizes are added, not multiplied: rank * (inputs + outputs)": 8 * 768 * 768 * 24,
                "that is one matrix; there are several": 8 * (768 + 768),
                "that is W, which is frozen": 768 * 768 * 24,
                "W is frozen and does not count": (768 * 768 + 8 * (768 + 768)) * 24,
            },
        ),
        Case("inputs and outputs that differ", lambda f: f(10, 3, 2, 1), 26),
    ],
}
"""The cases of each function of lora.py."""
