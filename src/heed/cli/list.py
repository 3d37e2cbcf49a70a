"""`heed list`: everything that has a name."""

from __future__ import annotations

import json
from typing import Annotated, Any

import tyro

from heed.cli.settings import parse
from heed.config import PRESETS, Section
from heed.errors import ConfigError, did_you_mean


class ListFlags(Section):
    """List what there is by name.

    examples:
      heed list                 the kinds of things
      heed list corpora         one kind, with a line on each
      heed list attention --json
    """

    kind: Annotated[str | None, tyro.conf.Positional] = None
    """corpora, presets, attention, positions, optimizers, schedules or tokenizers."""
    json_: Annotated[bool, tyro.conf.arg(name="json")] = False
    """Print one JSON object on standard output."""


def main(argv: list[str]) -> int:
    """Print the names of one kind, or the kinds; 0 when done."""
    flags = parse(ListFlags, argv, "list")
    if flags.kind is None:
        content: dict[str, Any] = {kind: reader.__doc__ for kind, reader in KINDS.items()}
    elif flags.kind in KINDS:
        content = KINDS[flags.kind]()
    else:
        raise ConfigError(f"unknown kind {flags.kind!r}, {did_you_mean(flags.kind, KINDS)}")
    if flags.json_:
        print(json.dumps(content, indent=2, default=sorted))
        return 0
    width = max(map(len, content))
    for name, about in content.items():
        print(f"{name:<{width}}  {about if isinstance(about, str) else _line(about)}")
    return 0


def _line(facts: dict[str, Any]) -> str:
    return ", ".join(f"{key} {' '.join(sorted(v)) if isinstance(v, frozenset) else v}" for key, v in facts.items())


def corpora() -> dict[str, Any]:
    """Corpora that data.source takes by name."""
    from heed.text.named import NAMED

    return {name: spec.description for name, spec in NAMED.items()}


def presets() -> dict[str, Any]:
    """Shapes of models that model.preset takes."""
    return dict(PRESETS)


def attention() -> dict[str, Any]:
    """Attention mechanisms, with what each can and cannot do."""
    from dataclasses import asdict

    from heed.attention import MECHANISMS

    return {name: asdict(mechanism.facts) for name, mechanism in MECHANISMS.items()}


def positions() -> dict[str, Any]:
    """Schemes of positions that model.positions takes."""
    from heed.attention import POSITIONS

    return _first_lines(POSITIONS)


def optimizers() -> dict[str, Any]:
    """Optimizers that train.optimizer takes."""
    from heed.training.optim import OPTIMIZERS

    return _first_lines(OPTIMIZERS)


def schedules() -> dict[str, Any]:
    """Schedules of the learning rate that train.schedule takes."""
    from heed.training.schedules import SCHEDULES

    return _first_lines(SCHEDULES)


def tokenizers() -> dict[str, Any]:
    """Kinds of tokenizers that tokenizer.kind takes."""
    return {
        "bpe": "byte-level byte-pair encoding, trained from scratch; takes any text",
        "char": "one token a character; a character never seen is an error",
        "word": "one token a whitespace-separated word, <eos> at each line end, <unk> for the rest (WikiText)",
    }


def _first_lines(catalogue: Any) -> dict[str, Any]:
    """Return the first line of each entry's docstring."""
    return {name: (entry.__doc__ or "").strip().split("\n")[0] for name, entry in catalogue.items()}


KINDS = {
    "corpora": corpora,
    "presets": presets,
    "attention": attention,
    "positions": positions,
    "optimizers": optimizers,
    "schedules": schedules,
    "tokenizers": tokenizers,
}
"""What can be listed."""
