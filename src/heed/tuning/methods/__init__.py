"""The methods of tuning by name. A method is a file and a line here."""

from __future__ import annotations

from collections.abc import Sequence

from heed.config.tuning import EncoderConfig, MethodConfig
from heed.errors import ConfigError, did_you_mean
from heed.tuning.methods.base import Method
from heed.tuning.methods.bitfit import BitFit
from heed.tuning.methods.full import Full, MeanFull
from heed.tuning.methods.head import Head
from heed.tuning.methods.ia3 import Ia3
from heed.tuning.methods.lora import Dora, Lora
from heed.tuning.methods.prefix import Prefix
from heed.tuning.methods.prompt import Prompt
from heed.tuning.model import Tuned, count, freeze, unfreeze

METHODS: dict[str, type[Method]] = {
    "full": Full,
    "mean-full": MeanFull,
    "head": Head,
    "prompt": Prompt,
    "prefix": Prefix,
    "lora": Lora,
    "dora": Dora,
    "ia3": Ia3,
    "bitfit": BitFit,
}
"""What `method.name` can be; several are joined by +, as in lora+bitfit."""


def parts(name: str) -> list[Method]:
    """Return the methods that a name stands for.

    Raises `ConfigError` for one that is not known, comes twice, or does not go with another.

    >>> [part.name for part in parts("bitfit+head")]
    ['bitfit', 'head']
    """
    names = name.split("+")
    for part in names:
        if part not in METHODS:
            raise ConfigError(f"method.name: unknown method {part!r}, {did_you_mean(part, METHODS)}")
    if len(set(names)) < len(names):
        raise ConfigError(f"method.name: {name} has a method twice")
    methods = [METHODS[part]() for part in names]
    whole = [method.name for method in methods if method.whole]
    if whole and len(names) > 1:
        raise ConfigError(f"method.name: with {whole[0]} everything learns already: leave the rest of {name} out")
    wrapping = [method.name for method in methods if method.wraps]
    if len(wrapping) > 1:
        raise ConfigError(
            f"method.name: peft keeps one adapter of an encoder, not {' and '.join(wrapping)}: choose one; "
            "bitfit and head go with each"
        )
    return methods


def is_native(encoder: EncoderConfig, name: str) -> bool:
    """Whether a method works with the architecture's own head. Raises `ConfigError` where it cannot."""
    methods = parts(name)
    if encoder.pooling == "native" and any(method.frozen_features for method in methods):
        raise ConfigError(f"encoder.pooling: {name} learns on the mean of the states: leave native out")
    if encoder.pooling == "auto":
        return any(method.native for method in methods)
    return encoder.pooling == "native"


def frozen_features(name: str) -> bool:
    """Whether nothing but the head learns, so that each text's vector is computed once."""
    return all(method.frozen_features for method in parts(name))


def rates(name: str) -> tuple[float, ...]:
    """Return the learning rates that a search tries: those of the method that trains most."""
    return parts(name)[0].rates


def apply(tuned: Tuned, options: MethodConfig, max_length: int) -> int:
    """Make `tuned` learn by a method, and return how many numbers learn.

    Raises `ConfigError` when the encoder is not fit for it, when nothing was adapted, or when the number of trained
    parameters is not what the method's formula says.
    """
    methods: Sequence[Method] = parts(options.name)
    for method in methods:
        method.check(tuned, options, max_length)
    head = list(tuned.head_parameters())
    expected = count(head) + sum(method.expected(tuned, options) for method in methods)
    freeze(tuned.parameters())
    for method in methods:
        method.prepare(tuned, options)
    unfreeze(head)
    found = count(tuned.trained().values())
    if found != expected:
        raise ConfigError(
            f"method {options.name}: {found:,} parameters would learn and the formula says {expected:,}: "
            f"encoders of type {tuned.shape.model_type} are built otherwise; choose method.targets or another method"
        )
    return found


__all__ = ["METHODS", "Method", "apply", "frozen_features", "is_native", "parts", "rates"]
