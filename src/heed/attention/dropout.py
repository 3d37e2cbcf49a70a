"""Dropout on a CPU from 16 random bits a number, where torch draws 64 and a logarithm's worth of work for each.

    y = x m / (1 - p),   m = 0 with probability p        Srivastava et al. 2014

p is rounded to a multiple of 1/65,536, for the draw and the division alike, so the mean of y is x, but for the rounding
of 1 / (1 - p) in the type of x.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

LEVELS = 2**16


def dropout(x: Tensor, p: float) -> Tensor:
    """Return x with each number set to 0 with probability `p`, the others divided by 1 - p.

    The numbers are drawn from torch's global generator of the device.
    """
    return x * keep(x.shape, p, x.dtype) if x.device.type == "cpu" and p < 1 else F.dropout(x, p)


def keep(shape: torch.Size, p: float, dtype: torch.dtype) -> Tensor:
    """Return what dropout multiplies with on a CPU: 0 with probability `p`, else 1 / (1 - p)."""
    numbers, level = shape.numel(), min(round(p * LEVELS), LEVELS - 1)
    bits = torch.empty(-(-numbers // 4), dtype=torch.int64).random_(-(2**63), None).view(torch.int16)
    return (bits[:numbers] >= level - LEVELS // 2).to(dtype).mul_(LEVELS / (LEVELS - level)).view(shape)
