"""Cross-entropy of a linear output layer that never holds all logits when the vocabulary is large.

For N tokens the logits are N x V numbers, and autograd keeps several such tensors: with V = 50,257 they are most of
a small model's memory. Here the rows go through in chunks; each chunk's loss and its gradients

    d loss / d logits = (softmax(logits) - onehot(target)) * weight of the row
    d loss / d hidden = d logits W,     d loss / d W = d logits^T hidden

are computed at once in the forward pass, and the backward pass only scales them. No matrix product is done twice.
The idea of fusing both passes by chunks: Hsu et al. 2024, "Liger Kernel".

Label smoothing (Szegedy et al. 2016, https://arxiv.org/abs/1512.00567, section 7) spreads a share e of each target over
all V classes: onehot(target) becomes (1 - e) onehot(target) + e / V. Here it goes into the gradients alone: the values
stay the plain cross-entropy, so that losses with and without it are of one unit, and exp of their mean is a perplexity.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

CHUNK_LOGITS = {"cpu": 2**21, "other": 2**26}
"""Logits in one chunk. CPU: 8 MB in float32. Elsewhere larger, since each chunk costs several kernel launches."""
CHUNK_ROWS = 192
"""Rows that a chunk has at least. Each chunk reads the whole output matrix twice and adds to all of its gradient: with
50,257 tokens and 41 rows that takes a third of the time."""
LIKE_SHAPES = 128
"""What sizes that differ from step to step are rounded up to in bfloat16 on a CPU. oneDNN makes a program for each
shape of a product, which takes 10 to 60 ms, a fifth of a small step, and keeps the last thousand of them in memory."""


def linear_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    target: Tensor,
    *,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    reduction: Literal["mean", "sum", "none"] = "mean",
    smoothing: float = 0.0,
    correction: Tensor | None = None,
    chunk_logits: int | None = None,
) -> Tensor:
    """Return cross_entropy(hidden weight^T + bias, target) in nats: a scalar, or the shape of `target` for "none".

    `hidden` (..., D), `weight` (V, D), `bias` (V,), `target` (...) int64, `mask` (...) bool, True = counts; numbers
    in its place are weights of the tokens.
    `smoothing` is the share of each target that is spread over all classes, in the gradients; `correction` (V,) is
    added to the logits of all classes but each row's own target (see `sampled.py`).
    "mean" divides by the number of tokens that count (NaN when none does, as in torch). At most `chunk_logits` logits
    exist at a time, except for "none" with gradients, where a row's weight is unknown until the backward pass.
    """
    V, D = weight.shape
    rows, targets = hidden.reshape(-1, D), target.reshape(-1)
    counts = None if mask is None else mask.reshape(-1)
    if counts is not None:
        targets = targets.where(counts != 0, 0)  # what does not count may hold any filler, -100 for one
        # Padding costs nothing. Only on the CPU: elsewhere its size is known when the device has caught up.
        kept = rounded(counts != 0).nonzero()[:, 0] if hidden.device.type == "cpu" else counts
        if 0 < len(kept) < len(counts):
            losses = linear_cross_entropy(
                rows.index_select(0, kept), weight, targets[kept], bias=bias, mask=counts[kept], reduction=reduction,
                smoothing=smoothing, correction=correction, chunk_logits=chunk_logits,
            )  # fmt: skip
            if reduction != "none":
                return losses
            return losses.new_zeros(len(counts)).index_copy(0, kept, losses).view(target.shape)
    chunk = chunk_logits or CHUNK_LOGITS["cpu" if hidden.device.type == "cpu" else "other"]
    whole = rows.shape[0] * V <= chunk
    if rows.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
        chunk *= 2  # as many bytes
    size = max(1 if chunk_logits else CHUNK_ROWS, chunk // V)
    learns = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (rows, weight, bias))
    if learns and reduction != "none" and not whole:
        row_weights = _row_weights(rows, counts, reduction)
        return _ChunkedLoss.apply(rows, weight, bias, targets, row_weights, size, smoothing, correction)
    if learns or whole:
        losses = _losses(rows, weight, bias, targets, smoothing, correction)
    else:
        pairs = zip(rows.split(size), targets.split(size), strict=True)
        losses = torch.cat([_losses(some, weight, bias, goals, correction=correction) for some, goals in pairs])
    if reduction == "none":
        return (losses if counts is None else losses * counts).view(target.shape)
    if counts is None:
        return losses.mean() if reduction == "mean" else losses.sum()
    return losses @ _row_weights(losses, counts, reduction)


def rounded(chosen: Tensor) -> Tensor:
    """Return which of N are chosen (N,), bool, with as many of the first others as `LIKE_SHAPES` asks for.

    >>> rounded(torch.tensor([False, True, False])).tolist()  # not in bfloat16
    [False, True, False]
    """
    if chosen.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
        return chosen
    others = ~chosen
    return chosen | (others & (others.cumsum(0) <= -(len(chosen) - others.sum()) % LIKE_SHAPES))


def class_loss(
    logits: Tensor,
    target: Tensor,
    mask: Tensor | None,
    reduction: Literal["mean", "sum", "none"],
    weight: Tensor | None = None,
    smoothing: float = 0.0,
) -> Tensor:
    """Return the cross-entropy in nats of the classes `target` (B,) under `logits` (B, C), in float32.

    `mask` (B,) holds the rows that count, or their weights; `weight` (C,) those of the classes; `smoothing` is what of
    each target is spread over all classes, in the gradients. "mean" divides by the rows that count, whatever their
    classes weigh; "none" gives (B,), with 0 where nothing counts.
    """
    return _reduced(_cross_entropy(logits.float(), target, smoothing, weight=weight), mask, reduction)


def score_loss(
    logits: Tensor,
    target: Tensor,
    mask: Tensor | None,
    reduction: Literal["mean", "sum", "none"],
    center: float,
    scale: float,
) -> Tensor:
    """Return the squared error of logits (B, 1) of the scores `target` (B,), less `center` and divided by `scale`."""
    return _reduced((logits.float()[:, 0] - (target.float() - center) / scale) ** 2, mask, reduction)


def labels_loss(
    logits: Tensor, target: Tensor, mask: Tensor | None, reduction: Literal["mean", "sum", "none"]
) -> Tensor:
    """Return the binary cross-entropy in nats a label of logits (B, C), where `target` (B, C) is 1 for what holds."""
    losses = F.binary_cross_entropy_with_logits(logits.float(), target.float(), reduction="none")
    return _reduced(losses.mean(dim=1), mask, reduction)


def _reduced(losses: Tensor, mask: Tensor | None, reduction: Literal["mean", "sum", "none"]) -> Tensor:
    """Return the mean or sum of the losses (B,) of the rows that count, or all of them with 0 where nothing does."""
    if mask is not None:
        losses = losses * mask
    if reduction == "none":
        return losses
    count = losses.numel() if mask is None else mask.sum()
    return losses.sum() / (count if reduction == "mean" else 1)


def _losses(
    rows: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, smoothing: float = 0.0,
    correction: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Return the cross-entropy (N,) of each row, in at least float32."""
    logits = _corrected(_widen(F.linear(rows, weight, bias)), targets[:, None], correction)
    # torch skips targets of -100 by default; here a target that is no token must be an error.
    return _cross_entropy(logits, targets, smoothing, ignore_index=-(2**62))


def _corrected(logits: Tensor, goals: Tensor, correction: Tensor | None) -> Tensor:
    """Return logits (N, V) with `correction` (V,) added to all but those of the row's own target `goals` (N, 1)."""
    if correction is None:
        return logits
    return (logits + correction).scatter(1, goals, logits.gather(1, goals))


def _cross_entropy(logits: Tensor, targets: Tensor, smoothing: float, **settings: Any) -> Tensor:
    """Return the cross-entropy (N,) of each row; its gradient is that of smoothed targets."""
    losses = F.cross_entropy(logits, targets, reduction="none", **settings)
    if not smoothing or not logits.requires_grad:
        return losses
    smoothed = F.cross_entropy(logits, targets, reduction="none", label_smoothing=smoothing, **settings)
    return losses.detach() + (smoothed - smoothed.detach())


def _widen(x: Tensor) -> Tensor:
    """Return x in float32 where it is a half precision, else as it is."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def _row_weights(like: Tensor, counts: Tensor | None, reduction: str) -> Tensor:
    """Return what each row's loss (N,) is multiplied by before the sum over rows."""
    dtype = torch.promote_types(like.dtype, torch.float32)
    if counts is None:
        counts = torch.ones(like.shape[0], dtype=torch.bool, device=like.device)
    weights = counts.to(dtype)
    return weights / weights.sum() if reduction == "mean" else weights


class _ChunkedLoss(torch.autograd.Function):
    """sum_n weight_n * cross_entropy_n over chunks of rows, with gradients computed on the way forward."""

    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, row_weights: Tensor, size: int,
        smoothing: float, correction: Tensor | None,
    ) -> Tensor:  # fmt: skip
        kind = rows.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype
        with torch.autocast(kind, enabled=False):  # the cast is done once here, not once a chunk
            W, b = weight.to(dtype), None if bias is None else bias.to(dtype)
            total = row_weights.new_zeros(())
            d_rows = torch.empty_like(rows) if ctx.needs_input_grad[0] else None
            d_weight = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
            piece_of_weight = torch.empty_like(W) if d_weight is not None and d_weight.dtype != dtype else None
            d_bias = torch.zeros_like(bias) if bias is not None and ctx.needs_input_grad[2] else None
            for begin in range(0, rows.shape[0], size):
                piece = slice(begin, begin + size)
                h, goals, r = rows[piece].to(dtype), targets[piece, None], row_weights[piece]
                log_p = torch.log_softmax(_corrected(_widen(F.linear(h, W, b)), goals, correction), dim=-1)
                total -= log_p.gather(1, goals)[:, 0] @ r
                # The row weight goes onto h (D wide) rather than onto the gradient of the logits (V wide).
                d_logits = log_p.exp_().scatter_add_(1, goals, log_p.new_full(goals.shape, smoothing - 1.0))
                d_logits = (d_logits.sub_(smoothing / W.shape[0]) if smoothing else d_logits).to(dtype)
                if d_rows is not None:
                    d_rows[piece] = (d_logits @ W) * r[:, None]
                if d_weight is not None:
                    scaled = (h * r[:, None]).to(dtype)
                    if piece_of_weight is None:
                        d_weight.addmm_(d_logits.t(), scaled)
                    else:
                        d_weight += torch.mm(d_logits.t(), scaled, out=piece_of_weight)
                if d_bias is not None:
                    d_bias += d_logits.t() @ r.to(dtype)
        ctx.save_for_backward(d_rows, d_weight, d_bias)
        return total

    @staticmethod
    @once_differentiable  # its type makes ctx positional
    def backward(ctx: Any, *grad_outputs: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        d_rows, d_weight, d_bias = (None if g is None else g * grad_outputs[0] for g in ctx.saved_tensors)
        return d_rows, d_weight, d_bias, None, None, None, None, None
