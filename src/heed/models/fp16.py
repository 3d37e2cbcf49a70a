"""Products of float32 with a matrix in float16, on a CPU: y = fp16(W) x + b, sums in float32.

FBGEMM makes them (Khudia et al. 2021, "FBGEMM: Enabling high-performance low-precision deep learning inference"), which
is part of torch on x86. A processor with AVX2 has an instruction that turns eight numbers into float32, and none for
bfloat16: there a product of few rows takes half to a third of the time that it takes in float32, one of many the same.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

Product: TypeAlias = Callable[[Tensor], Tensor]
"""Takes x (N, D), returns x W^T + b (N, O)."""

MOST = 65504.0
"""The largest number in float16."""
LARGE = 2**20
"""Weights from which a product is always shared among threads."""
FEW = 4
"""Rows up to which the product with a smaller matrix is not."""
TILE = 24
"""Rows that are multiplied at once up to four times as many, so that a row is the same to the last bit in company.

FBGEMM adds up in another order in what is left of one or two rows, which 4, 8, ... 24 rows leave nowhere on AVX2.
"""


def has_fbgemm() -> bool:
    """Whether this torch has FBGEMM: on x86."""
    return "fbgemm" in torch.backends.quantized.supported_engines


def fp16_product(weight: Tensor, bias: Tensor | None) -> Product:
    """Return x -> x weight^T + bias, all float32, the weight (O, D) laid out in float16.

    torch has two ways in: one for a single thread, and one that shares the work among threads and takes 30 microseconds
    more of each product. A small matrix has both where there are threads, so 4 bytes a weight.
    """
    if not has_fbgemm():  # half the memory, and no faster
        half = weight.half()
        return lambda x: F.linear(x, half.float(), bias)
    several = None if torch.get_num_threads() == 1 else _on_threads(weight, bias)
    one = None if several and weight.numel() >= LARGE else _on_one_thread(weight, bias)
    few, more = one or several, several or one
    assert few is not None
    assert more is not None

    def product(x: Tensor) -> Tensor:
        rows = x.shape[0]
        if rows <= FEW:
            return few(x)
        if TILE < rows <= 4 * TILE:
            return torch.cat([more(part) for part in x.split(TILE)])
        return more(x)

    return product


def _on_one_thread(weight: Tensor, bias: Tensor | None) -> Product:
    if not hasattr(torch, "fbgemm_pack_gemm_matrix_fp16"):  # as torch 2.13 announces
        return _on_threads(weight, bias)
    multiply: Callable[..., Tensor] = torch.fbgemm_linear_fp16_weight_fp32_activation
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # which is said once a process, here
        laid_out = torch.fbgemm_pack_gemm_matrix_fp16(weight)
        multiply(weight[:1], laid_out, bias)
    return lambda x: multiply(x, laid_out, bias)


def _on_threads(weight: Tensor, bias: Tensor | None) -> Product:
    laid_out = torch.ops.quantized.linear_prepack_fp16(weight, bias)
    multiply: Callable[..., Tensor] = torch.ops.quantized.linear_dynamic_fp16.default
    return lambda x: multiply(x, laid_out)
