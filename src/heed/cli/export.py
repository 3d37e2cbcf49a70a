"""`heed export`: a run becomes a folder that other tools load."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import tyro

from heed.cli.settings import parse
from heed.config import Section, read_yaml
from heed.errors import CheckpointError, ConfigError
from heed.files import holds_something


class ExportFlags(Section):
    """Write a run as a folder that transformers loads (AutoModelForCausalLM, AutoTokenizer), and what builds on it.

    A run of heed tune becomes what pipeline("text-classification") loads (hf), an adapter of peft, or an ONNX graph.

    examples:
      heed export runs/quickstart --to hf
      heed export runs/quickstart --to hf --out my-model --checkpoint last
      heed export tunes/sst2/runs/full-1 --to hf
      heed export tunes/sst2 --to peft --out my-adapter
      heed export tunes/sst2/runs/lora-1 --to peft --push hf:me/my-adapter
    """

    run: Annotated[Path, tyro.conf.Positional]
    """The run folder."""
    to: Literal["hf", "peft", "onnx"] = "hf"
    """The format: hf is that of Hugging Face transformers; peft and onnx are for runs of heed tune."""
    out: Path | None = None
    """The folder to write; default: hf inside the run folder."""
    checkpoint: str = "best"
    """best, last, or a step."""
    overwrite: bool = False
    """Write into a folder that is not empty."""
    push: str | None = None
    """With --to peft: upload the adapter to hf:OWNER/NAME on the Hugging Face hub; a new one is private."""


def main(argv: list[str]) -> int:
    """Convert, write and print the folder; 0 when done."""
    flags = parse(ExportFlags, argv, "export")
    if flags.push is not None and (flags.to != "peft" or not flags.push.startswith("hf:")):
        raise ConfigError("--push: only adapters are uploaded, to the hub: give --to peft --push hf:OWNER/NAME")
    if not flags.run.exists():
        raise CheckpointError(f"{flags.run} does not exist: give the folder of a run")
    out = flags.out or flags.run / flags.to
    marker = {"hf": "config.json", "peft": "adapter_config.json", "onnx": "model.onnx"}[flags.to]
    if (out.is_file() or holds_something(out, marker)) and not flags.overwrite:
        raise ConfigError(f"{out} is not empty: give another --out, or --overwrite")
    if is_tuned(flags.run):
        return _export_tuned(flags, out)
    if flags.to != "hf":
        raise ConfigError(f"--to {flags.to}: is for runs of heed tune, and {flags.run} is none: leave it out")
    from heed.models.hub import export_hub
    from heed.training.run import load_run

    model, _, config = load_run(flags.run, flags.checkpoint)
    print(export_hub(model, config.model, flags.run / "tokenizer.json", out))
    return 0


def is_tuned(folder: Path) -> bool:
    """Whether a folder is that of a tune or of one of its runs."""
    if (folder / "tune.json").is_file():
        return True
    return (folder / "config.yaml").is_file() and "encoder" in read_yaml(folder / "config.yaml")


def _export_tuned(flags: ExportFlags, out: Path) -> int:
    """Write a tuned run in the format that is asked for."""
    if flags.checkpoint != "best":
        raise ConfigError("--checkpoint: a tuned run keeps its best one: leave it out")
    from heed.tuning.export import export_adapter, export_onnx, export_transformers

    export = {"hf": export_transformers, "peft": export_adapter, "onnx": export_onnx}[flags.to]
    print(export(flags.run, out))
    if flags.push is not None:
        from heed.tuning.adapters import push_adapter

        print(push_adapter(out, flags.push))
    return 0
