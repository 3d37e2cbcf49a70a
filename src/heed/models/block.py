"""A block: attention, then a feed-forward layer, each on a residual branch. What GPT and the encoder are made of.

pre-norm    x = x + attention(norm(x));  x = x + feedforward(norm(x))       GPT-2: Radford et al. 2019
post-norm   x = norm(x + attention(x));  x = norm(x + feedforward(x))       GPT-1: Radford et al. 2018; BERT
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, get_type_hints

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from heed.attention import (
    POSITIONS,
    PROJECTIONS,
    Attention,
    LayerCache,
    Mask,
    Mechanism,
    NoPositions,
    Shape,
    StateCache,
    Wishes,
    find,
    find_mechanism,
    find_score,
    refuse_impossible,
)
from heed.attention.dropout import dropout
from heed.attention.options import own_options
from heed.attention.positions import Place
from heed.config import ModelConfig
from heed.errors import ConfigError, HeedError, did_you_mean
from heed.models.feedforward import FeedForward, default_width
from heed.models.first_weights import begin
from heed.models.norms import NORMS


class Block(nn.Module):
    """Attention, then a feed-forward layer, each on a residual branch."""

    recompute = False
    """Keep the input alone for the backward pass, which computes the rest again: the same numbers in less memory
    (Chen et al. 2016, Training deep nets with sublinear memory cost)."""

    def __init__(self, config: ModelConfig, attention: Attention) -> None:
        super().__init__()
        norm, D = NORMS[config.norm], config.d_model
        d_hidden = config.d_hidden or default_width(D, config.activation)
        self.pre = config.norm_order == "pre"
        self.dropout = config.dropout
        self.attention_norm = norm(D, config.norm_epsilon, config.bias)
        self.attention = attention
        self.feedforward_norm = norm(D, config.norm_epsilon, config.bias)
        self.feedforward = FeedForward(D, d_hidden, config.activation, config.bias)

    def forward(
        self,
        x: Tensor,
        mask: Mask,
        place: Place | None = None,
        bias: Tensor | None = None,
        cache: LayerCache | StateCache | None = None,
    ) -> Tensor:
        """Return x (B, T, D) after both branches; the arguments are those of `Attention`."""
        if self.recompute and cache is None and torch.is_grad_enabled():
            return checkpoint(self._branches, x, mask, place, bias, None, use_reentrant=False)
        return self._branches(x, mask, place, bias, cache)

    def _branches(
        self, x: Tensor, mask: Mask, place: Place | None, bias: Tensor | None, cache: LayerCache | StateCache | None
    ) -> Tensor:
        if self.pre:
            x = x + self.drop(self.attention(self.attention_norm(x), mask, place, bias, cache))
            return x + self.drop(self.feedforward(self.feedforward_norm(x)))
        x = self.attention_norm(x + self.drop(self.attention(x, mask, place, bias, cache)))
        return self.feedforward_norm(x + self.drop(self.feedforward(x)))

    def drop(self, branch: Tensor) -> Tensor:
        """Return the branch with dropout while training."""
        return dropout(branch, self.dropout) if self.training and self.dropout else branch


def make_blocks(config: ModelConfig, *, causal: bool) -> nn.ModuleList:
    """Return the blocks of a model, or raise `ConfigError` where its parts do not go together."""
    return nn.ModuleList(Block(config, make_attention(config, causal=causal)) for _ in range(config.n_layers))


def make_positions(config: ModelConfig, *, causal: bool) -> NoPositions:
    """Return the scheme of positions that a model has."""
    return find(POSITIONS, config.positions, "model.positions")(shape_of(config, causal=causal), config.rotary_base)


def shape_of(config: ModelConfig, *, causal: bool) -> Shape:
    """Return the sizes of a model's attention layers."""
    return Shape(config.d_model, config.n_heads, config.context, config.n_kv_heads, causal)


def make_attention(config: ModelConfig, *, causal: bool) -> Attention:
    """Return the attention layer of one block, or raise `ConfigError` where its parts do not go together."""
    return Attention(
        config.d_model,
        config.n_heads,
        n_kv_heads=config.n_kv_heads,
        mechanism=make_mechanism(config, causal=causal),
        projection=config.attention.projection,
        bias=config.bias,
        qk_norm=config.qk_norm,
        epsilon=config.norm_epsilon,
    )


def make_mechanism(config: ModelConfig, *, causal: bool) -> Mechanism:
    """Return the mechanism of one layer, or raise `ConfigError` with all that does not go together in a model."""
    wanted, shape = config.attention, shape_of(config, causal=causal)
    kind, score, problems = None, None, list[str]()
    with _noted(problems):
        kind = find_mechanism(wanted.mechanism)
    with _noted(problems):
        score = find_score(wanted.score)
    with _noted(problems):
        find(PROJECTIONS, wanted.projection, "model.attention.projection")
    if kind is None or score is None:
        raise ConfigError(*problems)
    wishes = Wishes(
        causal=causal,
        masks=frozenset({"causal" if causal else "padding"}),
        positions=config.positions,
        score=wanted.score,
        projection=wanted.projection if wanted.projection in PROJECTIONS else "separate",
        grouped=config.n_kv_heads not in (None, config.n_heads),
        qk_norm=config.qk_norm,
    )
    with _noted(problems):
        refuse_impossible(wanted.mechanism, kind.facts, wishes)
    possible = not problems
    options, bad = inspect_options(wanted.mechanism, kind, wanted.options)
    problems += bad
    if possible:
        with _noted(problems):  # also without the bad options: what is wrong with the others is told at once
            made = None if wanted.score == "scaled-dot" else score(shape)
            try:
                mechanism = kind(shape, path=wanted.path, dropout=config.dropout, score=made, **options)
            except Exception as error:  # of another package's class, which may throw anything
                if isinstance(error, HeedError) or kind.__module__.startswith("heed."):
                    raise
                raise ConfigError(
                    f"attention {wanted.mechanism!r} cannot be built: {type(error).__name__}: {error}"
                ) from error
            if not problems:
                return mechanism
    raise ConfigError(*problems)


@contextmanager
def _noted(problems: list[str]) -> Iterator[None]:
    """Add to `problems` what is refused inside, and go on."""
    try:
        yield
    except ConfigError as error:
        problems += error.problems


def mechanism_options(kind: type[Mechanism]) -> dict[str, tuple[Any, Any]]:
    """Return a mechanism's own options: name -> (type, default), as its `__init__` declares them."""
    hints = get_type_hints(kind.__init__, localns={"Score": object})
    return {name: (hints.get(name, Any), p.default) for name, p in own_options(kind).items()}


def read_options(name: str, kind: type[Mechanism], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options given to a mechanism in their types, or raise `ConfigError` that names every bad one."""
    values, problems = inspect_options(name, kind, given)
    if problems:
        raise ConfigError(*problems)
    return values


def inspect_options(name: str, kind: type[Mechanism], given: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the good options in their types, and a line for every bad one."""
    known = mechanism_options(kind)
    problems: list[str] = []
    values: dict[str, Any] = {}
    for option, value in given.items():
        setting = f"model.attention.options.{option}"
        if option not in known:
            advice = did_you_mean(option, known) if known else "it has none"
            problems.append(f"{setting}: unknown option of {name!r}, {advice}")
            continue
        try:
            values[option] = TypeAdapter(known[option][0]).validate_python(value)
        except ValidationError as error:
            message = error.errors()[0]["msg"]
            problems.append(f"{setting}: {message[0].lower()}{message[1:]}, not {value!r}")
    return values, problems


@torch.no_grad()
def initialise(model: nn.Module, config: ModelConfig, generator: torch.Generator) -> None:
    """Fill every parameter from `generator` (on the CPU, so that each device gets the same numbers).

    N(0, init_std), residual projections divided by sqrt(2 n_layers) as in GPT-2, or 0; norms 1, biases 0; mechanisms
    fill what is theirs.
    """
    std = config.init_std
    mechanisms = {name: part for name, part in model.named_modules() if isinstance(part, Mechanism)}
    for name, parameter in model.named_parameters():
        if any(name.startswith(f"{prefix}.") for prefix in mechanisms):
            continue
        if name.endswith("bias"):
            parameter.zero_()
        elif parameter.dim() == 1:
            parameter.fill_(1.0)
        else:
            residual = name.endswith(("attention.out.weight", "feedforward.down.weight"))
            spread = std / math.sqrt(2 * config.n_layers) if residual else std
            begin(generator, name)
            parameter.copy_(torch.empty(parameter.shape).normal_(0.0, spread, generator=generator))
            if residual and config.zero_outputs:
                parameter.zero_()
    for name, mechanism in mechanisms.items():
        begin(generator, name)
        mechanism.initialise(generator)


def block_flops(blocks: nn.ModuleList, T: int) -> int:
    """Return the floating-point operations of one trained token in the blocks: forward, and twice that backward.

    A product costs 2 operations a weight forward; how a mechanism mixes T tokens is its own to say.
    """
    matrices = sum(p.numel() for name, p in blocks.named_parameters() if p.dim() == 2 and ".mechanism." not in name)
    mixing = sum(part.flops(T) for part in blocks.modules() if isinstance(part, Mechanism))
    return 6 * matrices + 3 * mixing
