"""`heed export`: a run becomes a folder that other tools load."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import tyro

from heed.cli.settings import parse
from heed.config import Section
from heed.errors import ConfigError


class ExportFlags(Section):
    """Write a run as a folder that transformers loads (AutoModelForCausalLM, AutoTokenizer), and what builds on it.

    examples:
      heed export runs/quickstart --to hf
      heed export runs/quickstart --to hf --out my-model --checkpoint last
    """

    run: Annotated[Path, tyro.conf.Positional]
    """The run folder."""
    to: Literal["hf"] = "hf"
    """The format: hf is that of Hugging Face transformers."""
    out: Path | None = None
    """The folder to write; default: hf inside the run folder."""
    checkpoint: str = "best"
    """best, last, or a step."""
    overwrite: bool = False
    """Write into a folder that is not empty."""


def main(argv: list[str]) -> int:
    """Convert, write and print the folder; 0 when done."""
    flags = parse(ExportFlags, argv, "export")
    out = flags.out or flags.run / flags.to
    if out.exists() and (not out.is_dir() or any(out.iterdir())) and not flags.overwrite:
        raise ConfigError(f"{out} is not empty: give another --out, or --overwrite")
    from heed.models.hub import export_hub
    from heed.training.run import load_run

    which = int(flags.checkpoint) if flags.checkpoint.isdecimal() else flags.checkpoint
    model, _, config = load_run(flags.run, which)
    print(export_hub(model, config.model, flags.run / "tokenizer.json", out))
    return 0
