"""One token for each row through a GPT with the Python taken out: what `GPT.hidden` does, on tensors (B, D).

Decoding multiplies by every weight once a token: 1.6 ms for 6 layers of width 384. What goes on around the products
(module calls, attribute look-ups, small kernels) takes `GPT.hidden` 0.57 ms more, and this 0.32 ms (one thread).
Same equations, same kernels, weights shared and not copied; a test holds the two equal for every kind of part.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from heed.attention import PROJECTIONS, Cache, LayerCache, StateCache
from heed.attention.layer import Attention, Linear
from heed.attention.mechanisms.softmax import Softmax
from heed.attention.positions import Place
from heed.models.base import LanguageModel
from heed.models.block import Block
from heed.models.feedforward import FeedForward
from heed.models.gpt import GPT
from heed.models.norms import LayerNorm, RMSNorm
from heed.models.packed import Fp16Linear, Int8Linear, PackedGPT, PackedLinear

Step: TypeAlias = Callable[[Tensor, Cache], Tensor]
"""Takes ids (B,) and the cache, adds the tokens to it, and returns the last hidden states (B, D)."""
Layer: TypeAlias = Callable[[Tensor, LayerCache | StateCache, Place | None, Tensor | None], Tensor]
"""Takes x (B, D), its cache, what places queries and keys, and the mask; returns (B, D)."""
Function: TypeAlias = Callable[[Tensor], Tensor]


def lean_step(model: LanguageModel) -> Step | None:
    """Return the lean step of this model, or None where only the model itself will do.

    That is: another family, another mechanism or its reference path, or a part that was replaced or given a hook. The
    step is for rows without padding, in evaluation mode; in a `SlotCache` they may differ in length.
    """
    if not isinstance(model, GPT) or type(model) not in (GPT, PackedGPT) or not _plain(model):
        return None
    blocks = [_block(block) for block in model.blocks if isinstance(block, Block)]
    tokens, positions = model.tokens.weight, model.positions
    last = None if model.norm is None else _norm(model.norm)

    def step(ids: Tensor, cache: Cache) -> Tensor:
        index, seen = cache.next()
        x = positions.add(torch.embedding(tokens, ids)[:, None], index)[:, 0]
        place = positions.at(index)
        for block, layer in zip(blocks, cache.layers, strict=True):
            x = block(x, layer, place, seen)
        return x if last is None else last(x)

    return step


def _plain(model: GPT) -> bool:
    """Whether every part is heed's own, used as it is: no adapter, no hook."""
    known = {GPT, Block, Attention, FeedForward, Softmax, LayerNorm, RMSNorm, Linear, nn.ModuleList, nn.Embedding}
    known |= {PackedGPT, PackedLinear, Fp16Linear, Int8Linear}
    known |= {type(model.positions)}  # its methods are called, whatever it is
    ours = all(type(part) in known and not (part._forward_hooks or part._forward_pre_hooks) for part in model.modules())
    return ours and not model.positions.biased and all(map(_is_plain, model.modules()))


def _is_plain(part: nn.Module) -> bool:
    """Whether a part is no attention layer, or one that the lean step computes."""
    if not isinstance(part, Attention):
        return True
    mixes = part.mechanism
    dots = type(mixes) is Softmax and mixes.path != "reference" and mixes.score is None
    return dots and part.projection is PROJECTIONS["separate"]


def _block(block: Block) -> Layer:
    """Return a block as a function of x (B, D)."""
    attend, feed = _attention(block.attention), _feedforward(block.feedforward)
    first, second = _norm(block.attention_norm), _norm(block.feedforward_norm)
    if block.pre:

        def run(x: Tensor, cache: LayerCache | StateCache, place: Place | None, seen: Tensor | None) -> Tensor:
            x = x + attend(first(x), cache, place, seen)
            return x + feed(second(x))

    else:

        def run(x: Tensor, cache: LayerCache | StateCache, place: Place | None, seen: Tensor | None) -> Tensor:
            x = first(x + attend(x, cache, place, seen))
            return second(x + feed(x))

    return run


def _attention(layer: Attention) -> Layer:
    """Return an attention layer as a function of x (B, D): one query a row, over what the cache shows of it."""
    H, Hkv, K = layer.n_heads, layer.n_kv_heads, layer.width
    project, out, grouped = _linear(layer.qkv), _linear(layer.out), Hkv != H
    q_scale, k_scale, epsilon = layer.q_norm, layer.k_norm, layer.epsilon

    def run(x: Tensor, cache: LayerCache | StateCache, place: Place | None, seen: Tensor | None) -> Tensor:
        q, k, v = project(x).view(x.shape[0], H + 2 * Hkv, 1, K).split_with_sizes((H, Hkv, Hkv), dim=1)
        if q_scale is not None and k_scale is not None:
            q = F.rms_norm(q, (K,), q_scale.to(q.dtype), epsilon)
            k = F.rms_norm(k, (K,), k_scale.to(k.dtype), epsilon)
        if place is not None:
            q, k = place(q, k)
        assert isinstance(cache, LayerCache)
        k, v = cache.append(k, v)
        y = F.scaled_dot_product_attention(q, k, v, seen, enable_gqa=grouped)
        return out(y.reshape(x.shape[0], H * K))

    return run


def _feedforward(layer: FeedForward) -> Function:
    """Return a feed-forward layer as a function of x (B, D)."""
    up, down, activation = _linear(layer.up), _linear(layer.down), layer.activation
    if not layer.gated:
        return lambda x: down(activation(up(x)))

    def run(x: Tensor) -> Tensor:
        gate, value = up(x).chunk(2, dim=-1)
        return down(activation(gate) * value)

    return run


def _linear(layer: nn.Linear | PackedLinear) -> Function:
    """Return a linear layer as a function of x (B, D): a product of matrices, with the bias added in it."""
    if isinstance(layer, PackedLinear):
        multiply, reads = layer.multiply, layer.reads
        return multiply if reads == torch.float32 else lambda x: multiply(x.to(reads))
    weight, bias = layer.weight.t(), layer.bias
    if bias is None:
        return lambda x: torch.mm(x, weight)
    return lambda x: torch.addmm(bias, x, weight)


def _norm(norm: nn.Module) -> Function:
    """Return a normalisation as a function of x (B, D)."""
    if isinstance(norm, LayerNorm):
        shape, weight, bias, epsilon = norm.weight.shape, norm.weight, norm.bias, norm.epsilon
        return lambda x: torch.layer_norm(x, shape, weight, bias, epsilon, False)
    return norm
