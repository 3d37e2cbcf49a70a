"""`heed check`: every problem of a configuration at once, and what the run would cost."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import tyro

from heed.cli.settings import layered, parse, split_settings
from heed.config import Config, Section, read_yaml
from heed.errors import ConfigError


class CheckFlags(Section):
    """Report every problem of a configuration file at once; nothing is trained. Exit code 2 if there is any.

    Settings may be given as flags too (--model.n-layers 6), as in `heed train`.

    examples:
      heed check configs/quickstart.yaml
      heed check experiment.yaml --model.preset small
      heed check --schema > heed.schema.json      for your editor
    """

    file: Annotated[Path | None, tyro.conf.Positional] = None
    """The YAML file; without one, the defaults and the flags are checked."""
    schema_: Annotated[bool, tyro.conf.arg(name="schema")] = False
    """Print the JSON schema of a configuration file."""
    json_: Annotated[bool, tyro.conf.arg(name="json")] = False
    """Print one JSON object: ok, problems, and what the run would cost."""


def main(argv: list[str]) -> int:
    """Check, print what is wrong or what the run would cost; 0 when all is well, else 2."""
    settings, rest = split_settings(argv)
    flags = parse(CheckFlags, rest, "check")
    if flags.schema_:
        print(json.dumps(Config.model_json_schema(), indent=2))
        return 0
    try:
        config = layered(read_yaml(flags.file) if flags.file else {}, settings)
    except ConfigError as error:
        if flags.json_:
            print(json.dumps({"ok": False, "problems": list(error.problems)}, indent=2))
        else:
            for problem in error.problems:
                print(f"heed: {problem}", file=sys.stderr)
        return 2
    facts = cost(config)
    if flags.json_:
        print(json.dumps({"ok": True, "problems": [], **facts}, indent=2))
    else:
        print("\n".join(f"{key.replace('_', ' '):<24}{value:,}" for key, value in facts.items()))
    return 0


def cost(config: Config) -> dict[str, Any]:
    """Return what the run of `config` would cost: parameters, tokens, floating-point operations, bytes of state."""
    from heed.build import build_model

    vocabulary = config.tokenizer.vocab_size
    model = build_model(config.model, vocabulary)
    size = config.train.batch_size
    facts: dict[str, Any] = {"vocabulary": vocabulary, "parameters": model.parameter_count()}
    # fp32 weights and gradients, and Adam's two moments; activations come on top
    facts["bytes_of_weights_and_optimizer"] = 16 * model.parameter_count()
    if size != "auto":
        tokens = size * config.train.accumulation * config.train.steps * config.model.context
        facts |= {"training_tokens": tokens, "training_flops": tokens * model.flops_per_token()}
    return facts
