"""A GPT whose matrices take fewer bytes: for reading and writing text, not for learning.

    fp32    4 bytes a weight    as it was trained
    fp16    2 bytes             y = fp16(W) x
    bf16    2 bytes             y = bf16(W) bf16(x)
    int8    1 byte              y_o = s_o sum_i Q_oi bf16(x_i),   Q_oi = round(W_oi / s_o),   s_o = max_i |W_oi| / 127

Writing at batch 1 reads every weight once a token, so that their bytes bound its speed. Sums are float32. With fp16 all
but the matrices stays float32 (`fp16.py`): it is for processors without units for bfloat16. With bf16 and int8 what a
product gives is rounded to bfloat16, and so are the keys and values in the cache; norms, the residual stream,
embeddings and logits stay float32. int8 has a scale for each output, and activations that are not quantised: "W8A16".
What it costs in nats `heed eval --weights int8` says.

The rows of the output matrix are kept less their mean w: logits = (W - w) h + w h, the second term in float32. GPT-2's
logits lie near -100, where bfloat16 has steps of 0.5; less their mean they lie near 0, where its steps are fine.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from heed.attention.layer import Attention, Linear
from heed.attention.mechanisms.softmax import Softmax
from heed.errors import CheckpointError, ConfigError
from heed.models.base import LanguageModel, WeightKind
from heed.models.block import Block
from heed.models.feedforward import ACTIVATIONS, FeedForward
from heed.models.fp16 import MOST, fp16_product
from heed.models.gpt import GPT
from heed.models.loss import CHUNK_LOGITS

FEW = 32
"""Rows up to which an int8 matrix is multiplied as it is; for more it is made bfloat16 first, a bit at a time."""


FUSED = {"gelu": ("gelu", "none"), "gelu-tanh": ("gelu", "tanh"), "relu": ("relu", "")}
"""Activations that a product in bfloat16 ends with, as oneDNN calls them."""


class PackedLinear(nn.Module):
    """A linear layer in bfloat16, perhaps with an activation: x (..., D) of any type gives y (..., O) bfloat16."""

    reads: torch.dtype = torch.bfloat16
    """The type of what it multiplies and gives."""

    def __init__(self, weight: Tensor, bias: Tensor | None, activation: str | None = None) -> None:
        super().__init__()
        self.in_features, self.out_features = weight.shape[1], weight.shape[0]
        self.bias = None if bias is None else bias.detach().to(torch.bfloat16)
        self.multiply = _bf16_product(weight.detach().to(torch.bfloat16), self.bias, activation)
        """Takes x (N, D) of the type that it `reads`, returns y (N, O) of that type, the bias in it."""

    def forward(self, x: Tensor) -> Tensor:
        """Return y (..., O) of the type that it `reads`."""
        y = self.multiply(x.reshape(-1, self.in_features).to(self.reads))
        return y.view(*x.shape[:-1], self.out_features)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> PackedLinear:
        """Stay where it is: an unseen copy would be left behind. Raises `ConfigError` for another device."""
        probe = torch.zeros(1)
        if fn(probe).device != probe.device:
            raise ConfigError("packed weights stay on their device: move the model first, then pack it")
        return self


class Fp16Linear(PackedLinear):
    """A linear layer in float16 between float32: x (..., D) of any type gives y (..., O) float32."""

    reads = torch.float32

    def __init__(self, weight: Tensor, bias: Tensor | None, activation: str | None = None) -> None:
        nn.Module.__init__(self)
        assert activation is None, "its kernel has none"
        self.in_features, self.out_features = weight.shape[1], weight.shape[0]
        self.bias = None if bias is None else bias.detach().float()
        self.multiply = fp16_product(weight.detach().float(), self.bias)


class Int8Linear(PackedLinear):
    """A linear layer in int8, with one scale for each output."""

    def __init__(self, weight: Tensor, bias: Tensor | None, activation: str | None = None) -> None:
        nn.Module.__init__(self)
        assert activation is None, "its kernel has none"
        self.in_features, self.out_features = weight.shape[1], weight.shape[0]
        self.bias = None if bias is None else bias.detach().to(torch.bfloat16)
        self.numbers, self.scales = quantise(weight.detach())
        """Q (O, D) int8 and s (O,) bfloat16."""
        # torch's kernel reads 16 numbers at a time, and beyond the end of a row that is no multiple of that
        self.few = FEW if self.in_features % 16 == 0 else 0
        self.multiply = self._multiply

    def _multiply(self, x: Tensor) -> Tensor:
        if x.shape[0] > self.few:
            return _linear(x, self.numbers.to(torch.bfloat16).mul_(self.scales[:, None]), self.bias)
        y = torch._weight_int8pack_mm(x, self.numbers, self.scales)  # pyright: ignore[reportPrivateImportUsage]
        return y if self.bias is None else y + self.bias


def quantise(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return Q (O, D) int8, -127 to 127, and s (O,) bfloat16 > 0, so that s Q is as near to a weight (O, D) as it gets.

    >>> quantise(torch.tensor([[0.5, -1.0, 127.0], [0.0, 0.0, 0.0]]))[0].tolist()
    [[0, -1, 127], [0, 0, 0]]
    """
    scales = (weight.abs().amax(dim=1) / 127).to(torch.bfloat16)
    scales = scales.where(scales > 0, torch.ones_like(scales))
    return (weight / scales.to(weight.dtype)[:, None]).round().clamp(-127, 127).to(torch.int8), scales


def _side_by_side(layers: list[Int8Linear]) -> None:
    """Lay the numbers of all layers into one block of memory, for which numpy asks for huge pages.

    A token reads 124 MB of them a fifth faster than from a block each.
    """
    block, end = torch.from_numpy(np.empty(sum(layer.numbers.numel() for layer in layers), np.int8)), 0
    for layer in layers:
        begin, end = end, end + layer.numbers.numel()
        layer.numbers = block[begin:end].view_as(layer.numbers).copy_(layer.numbers)


def _bf16_product(weight: Tensor, bias: Tensor | None, activation: str | None) -> Callable[[Tensor], Tensor]:
    """Return x (N, D) -> activation(x weight^T + bias), the weight (O, D) laid out for the CPU's bfloat16 units once.

    `F.linear` lays it out at every call, which takes as long as the product of few rows. The activation is computed
    where the sums are: torch's own tanh GELU takes as long again.
    """
    if weight.device.type == "cpu" and _has_bf16():
        product = torch.ops.mkldnn._linear_pointwise.default
        laid_out = torch.ops.mkldnn._reorder_linear_weight(weight, 16)
        kind, form = ("none", "") if activation is None else FUSED[activation]
        return lambda x: product(x, laid_out, bias, kind, [], form)
    bend = _as_it_is if activation is None else ACTIVATIONS[activation]
    return lambda x: bend(_linear(x, weight, bias))


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return x weight^T + bias (N, O) bfloat16 of bfloat16; a CPU without units for it multiplies in float32.

    Its own kernel for bfloat16 is the faster one for a single row, and takes eight times as long for many.
    """
    if x.device.type != "cpu" or len(x) == 1 or _has_bf16():
        return F.linear(x, weight, bias)
    return F.linear(x.float(), weight.float(), None if bias is None else bias.float()).bfloat16()


def _has_bf16() -> bool:
    """Whether this torch has oneDNN, and it takes bfloat16 on this CPU."""
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def _as_it_is(y: Tensor) -> Tensor:
    return y


KINDS: dict[str, type[PackedLinear]] = {"fp16": Fp16Linear, "bf16": PackedLinear, "int8": Int8Linear}
"""Linear layers by the kind of their weights."""


class PackedGPT(GPT):
    """A GPT that was taken over by `pack`: the same model to all who read with it."""

    def __init__(self, model: GPT, weights: WeightKind) -> None:
        nn.Module.__init__(self)  # there is nothing to initialise
        self.config, self.vocab_size, self.context = model.config, model.vocab_size, model.context
        self.leaks, self.audited, self.weights = model.leaks, model.audited, weights
        self.tokens, self.positions, self.blocks, self.norm = model.tokens, model.positions, model.blocks, model.norm
        kind = KINDS[weights]
        self.head_mean = model.head_weight.detach().mean(dim=0)
        """The mean (D,) of the rows of the output matrix."""
        self.head = kind(model.head_weight.detach() - self.head_mean, None)
        for block in self.blocks:
            assert isinstance(block, Block)
            fused = self.config.activation if weights == "bf16" and self.config.activation in FUSED else None
            attention, feedforward = block.attention, block.feedforward
            for layer, name in ((attention, "qkv"), (attention, "out"), (feedforward, "up"), (feedforward, "down")):
                matrix = getattr(layer, name)
                setattr(layer, name, kind(matrix.weight, matrix.bias, fused if name == "up" else None))
            if fused is not None:
                feedforward.activation = _as_it_is
        _side_by_side([part for part in self.modules() if isinstance(part, Int8Linear)])

    @property
    def head_weight(self) -> Tensor:
        """There is none any more: raises `ConfigError`."""
        raise ConfigError(f"the output matrix is packed in {self.weights}: ask the model for its logits or its loss")

    @property
    def kept(self) -> torch.dtype:
        """The type of keys and values in a cache."""
        return KINDS[self.weights].reads

    def logits(self, hidden: Tensor) -> Tensor:
        """Return logits (..., V) float32 of hidden states (..., D)."""
        return self.head(hidden) + (hidden @ self.head_mean)[..., None]

    @torch.no_grad()
    def loss(
        self,
        source: Tensor,
        target: Tensor,
        mask: Tensor | None = None,
        reduction: Literal["mean", "sum", "none"] = "mean",
        continues: bool = False,
    ) -> Tensor:
        """Return the cross-entropy in nats, from the logits that text is written with; see `LanguageModel.loss`."""
        rows = self.hidden(source).flatten(0, 1).split(max(1, CHUNK_LOGITS["cpu"] // self.vocab_size))
        counts = torch.ones_like(target, dtype=torch.bool) if mask is None else mask
        goals = target.where(counts != 0, 0).flatten().split(len(rows[0]))
        pairs = zip(rows, goals, strict=True)
        losses = torch.cat([F.cross_entropy(self.logits(some), one, reduction="none") for some, one in pairs])
        losses = losses.view(target.shape) * counts
        if reduction == "none":
            return losses
        return losses.sum() / counts.sum() if reduction == "mean" else losses.sum()


def pack(model: LanguageModel, weights: WeightKind) -> LanguageModel:
    """Return the model with its matrices in `weights`; fp32 returns it as it is, else `model` is used up.

    Raises `ConfigError` for a model that is no plain GPT with softmax attention, and for int8 elsewhere than on a CPU,
    `CheckpointError` for weights that are not finite.
    """
    if weights == "fp32":
        return model
    if weights not in KINDS:
        raise ConfigError(f"weights: unknown value {weights!r}, choose one of 'fp32', 'fp16', 'bf16', 'int8'")
    if type(model) is not GPT or not all(map(_is_plain, model.blocks)):
        raise ConfigError(
            f"weights {weights} are for a GPT of heed with softmax attention, and this model is none: take weights fp32"
        )
    where = model.tokens.weight.device.type
    if weights != "bf16" and where != "cpu":
        raise ConfigError(
            f"weights {weights} are multiplied on a CPU, and the model is on {where}: take device cpu, or bf16"
        )
    if not all(bool(parameter.isfinite().all()) for parameter in model.parameters()):
        raise CheckpointError("a weight of the model is not finite: it is damaged, or training diverged")
    largest = max(float(parameter.detach().abs().max()) for parameter in model.parameters())
    if weights == "fp16" and largest > MOST:
        raise ConfigError(f"a weight of the model is {largest:g}, more than float16 holds: take weights bf16 or int8")
    return PackedGPT(model.float().eval(), weights)


def _is_plain(block: nn.Module) -> bool:
    """Whether a block has only matrices that `PackedGPT` takes the place of, and softmax attention of dot products."""
    if type(block) is not Block or type(block.attention) is not Attention or type(block.feedforward) is not FeedForward:
        return False
    attention, feedforward = block.attention, block.feedforward
    matrices = (attention.qkv, attention.out, feedforward.up, feedforward.down)
    mixes = attention.mechanism
    dots = type(mixes) is Softmax and mixes.score is None and attention.hidden is None
    return dots and all(type(matrix) is Linear for matrix in matrices)
