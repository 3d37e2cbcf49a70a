"""What the scripts of this folder share: the numbers of the assignment, its variants, and its line of result."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

from heed.errors import ConfigError, HeedError, did_you_mean

BLOCK = 128
"""Tokens that the model reads: `block_size`."""
PAD = "□"
"""How the assignment prints padding; in heed padding is no character."""
ANSWER_LENGTH = 32
"""Most characters of an answer: what the assignment samples."""

MODEL: dict[str, Any] = {
    "n_layers": 4, "n_heads": 8, "d_model": 256, "context": BLOCK, "dropout": 0.1, "tied": False,
}  # fmt: skip
"""minGPT as the assignment builds it."""
OPTIMIZER: dict[str, Any] = {
    "optimizer": "adamw", "beta1": 0.9, "beta2": 0.95, "weight_decay": 0.1, "clip": 1.0,
    "schedule": "cosine", "final_fraction": 0.1, "warmup_steps": 1,
}  # fmt: skip
"""Its trainer. The warm-up of 512 * 20 tokens is less than one step of 128 rows of 128."""
EPOCHS = {"pretrain": 650, "finetune": 75, "finetune a pretrained run": 10}
BATCH = {"pretrain": 128, "finetune": 256}

WITHOUT_SUCH = {
    "perceiver": "heed has no Perceiver: it makes the sequence shorter between two blocks, which no mechanism of "
    "attention does; take vanilla, rope, synthesizer or a causal mechanism of `heed list attention`",
}
"""Variants of the assignment that there are not, and what to do."""
VARIANTS: dict[str, dict[str, Any]] = {
    "vanilla": {"attention": {"mechanism": "softmax"}, "positions": "learned"},
    "rope": {"attention": {"mechanism": "softmax"}, "positions": "rotary"},
    "synthesizer": {"attention": {"mechanism": "synthesizer-dense"}, "positions": "learned"},
}
"""The variants of the assignment, as settings of `model`."""


def variant_settings(name: str) -> dict[str, Any]:
    """Return the settings of `model` that make a variant: one of the assignment's, or a causal mechanism by its name.

    Raises `ConfigError` for a name that is neither, and for a mechanism that sees the tokens it should predict.
    """
    if name in WITHOUT_SUCH:
        raise ConfigError(WITHOUT_SUCH[name])
    if name in VARIANTS:
        return VARIANTS[name]
    from heed.attention import catalogue, find_mechanism

    causal = [key for key, entry in catalogue().items() if entry.kind and entry.kind.facts.causal == "exact"]
    if name not in catalogue() and ":" not in name:
        raise ConfigError(f"unknown variant {name!r}, {did_you_mean(name, [*VARIANTS, *causal])}")
    if find_mechanism(name).facts.causal != "exact":
        raise ConfigError(
            f"variant {name!r} is not causal, so it cannot predict text; choose one of {', '.join(causal)}"
        )
    return {"attention": {"mechanism": name}, "positions": "learned"}


def result(correct: int, total: int) -> str:
    """Return the line of the assignment.

    >>> result(25, 500)
    'Correct: 25.0 out of 500.0: 5.0%'
    """
    return f"Correct: {float(correct)} out of {float(total)}: {correct / total * 100}%"


def run_script(main: Callable[[Sequence[str]], int]) -> None:
    """Run a script: a mistake of the user is one line on standard error and exit code 2, as in heed itself."""
    try:
        sys.exit(main(sys.argv[1:]))
    except HeedError as error:
        print(f"{sys.argv[0]}: {error}", file=sys.stderr)
        sys.exit(2)
