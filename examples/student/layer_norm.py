"""Normalisation of each position's vector, without torch's own."""

from torch import Tensor


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, epsilon: float = 1e-5) -> Tensor:
    """Return (x - mean) / sqrt(variance + epsilon) * weight + bias of x (..., D), weight (D,) and bias (D,).

    Mean and variance are those of the D numbers of one position; the variance is their mean squared deviation.
    """
    raise NotImplementedError


def rms_norm(x: Tensor, weight: Tensor, epsilon: float = 1e-5) -> Tensor:
    """Return x / sqrt(mean of x^2 + epsilon) * weight of x (..., D) and weight (D,)."""
    raise NotImplementedError
