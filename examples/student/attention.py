"""Attention by hand: fill in each function, with operations of torch on whole tensors and without a loop.

Letters: B batch, T queries, S keys, H heads, D width of the model, K width of a head, D = H K.
A mask is boolean, and True means: this query may look at this key.

Not wanted: torch's own attention. `heed grade` tells what is right.
"""

from torch import Tensor


def causal_mask(T: int) -> Tensor:
    """Return the boolean mask (T, T) in which position t may look at positions 0 to t."""
    raise NotImplementedError


def scaled_scores(q: Tensor, k: Tensor) -> Tensor:
    """Return the scores of queries q (B, T, K) with keys k (B, S, K), divided by sqrt(K): (B, T, S).

    More dimensions in front are welcome: write it so that q (B, H, T, K) works too.
    """
    raise NotImplementedError


def attention_weights(scores: Tensor, allowed: Tensor | None = None) -> Tensor:
    """Return the softmax of scores (..., T, S) over the keys, with weight 0 wherever `allowed` (T, S) is False.

    Each row sums to 1, and what is hidden has no influence at all on it, however large its score is and however small
    the others are. Every query may look at one key at least.
    """
    raise NotImplementedError


def attend(q: Tensor, k: Tensor, v: Tensor, allowed: Tensor | None = None) -> Tensor:
    """Return scaled dot-product attention of q (..., T, K) over keys k (..., S, K) and values v (..., S, M)."""
    raise NotImplementedError


def split_heads(x: Tensor, n_heads: int) -> Tensor:
    """Cut x (B, T, D) into heads (B, H, T, K): head h has the numbers h K to h K + K - 1 of each position."""
    raise NotImplementedError


def merge_heads(x: Tensor) -> Tensor:
    """Put heads (B, H, T, K) side by side again: (B, T, D), the inverse of `split_heads`."""
    raise NotImplementedError


def causal_self_attention(x: Tensor, qkv_weight: Tensor, n_heads: int) -> Tensor:
    """Return multi-head self-attention of x (B, T, D) in which no position sees a later one: (B, T, D).

    `qkv_weight` (3D, D) has the rows that make queries, then those of keys, then those of values, as the weight of a
    `torch.nn.Linear` has; there is no bias and no output projection.
    """
    raise NotImplementedError
