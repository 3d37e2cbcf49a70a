"""Low-rank adaptation: a frozen matrix W with a trained update beside it.

y = W x + (alpha / rank) B A x        x (..., inputs), W (outputs, inputs), A (rank, inputs), B (outputs, rank)
"""

from torch import Tensor


def first_matrices(inputs: int, outputs: int, rank: int) -> tuple[Tensor, Tensor]:
    """Return A and B as training begins: A random and B 0, so that the update is 0."""
    raise NotImplementedError


def update(x: Tensor, A: Tensor, B: Tensor, alpha: float) -> Tensor:
    """Return (alpha / rank) B A x of x (..., inputs): (..., outputs)."""
    raise NotImplementedError


def forward(x: Tensor, W: Tensor, A: Tensor, B: Tensor, alpha: float) -> Tensor:
    """Return W x and the update: (..., outputs)."""
    raise NotImplementedError


def merge(W: Tensor, A: Tensor, B: Tensor, alpha: float) -> Tensor:
    """Return the one matrix (outputs, inputs) that gives what `forward` gives."""
    raise NotImplementedError


def trained_parameters(inputs: int, outputs: int, rank: int, matrices: int) -> int:
    """Return how many numbers are trained when so many matrices of this size are adapted."""
    raise NotImplementedError
