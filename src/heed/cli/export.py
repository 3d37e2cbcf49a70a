"""`heed export`: a run becomes a folder that other tools load."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import tyro

from heed.cli.settings import parse
from heed.config import Section, read_yaml
from heed.errors import CheckpointError, ConfigError
from heed.files import holds_something
from heed.report.numbers import human_bytes


class ExportFlags(Section):
    """Write a run as a folder that transformers loads (AutoModelForCausalLM, AutoTokenizer), and what builds on it.

    A run of heed tune becomes what pipeline("text-classification") loads (hf), an adapter of peft, or an ONNX graph.

    examples:
      heed export runs/quickstart --to hf
      heed export runs/quickstart --to hf --out my-model --checkpoint last
      heed export tunes/sst2/runs/full-1 --to hf
      heed export tunes/sst2 --to peft --out my-adapter
      heed export tunes/sst2/runs/lora-1 --to peft --push hf:me/my-adapter
      heed export runs/quickstart --push hf:me/quickstart --dry-run
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
    """Upload the export to hf:OWNER/NAME on the Hugging Face hub; a new one is private."""
    public: bool = False
    """With --push: for everybody to see."""
    dry_run: bool = False
    """With --push: write the export, say what would go, and send nothing."""


def main(argv: list[str]) -> int:
    """Convert, write and print the folder, and upload it where that is asked for; 0 when done."""
    flags = parse(ExportFlags, argv, "export")
    if flags.push is None and (flags.public or flags.dry_run):
        raise ConfigError(f"--{'public' if flags.public else 'dry-run'}: is for --push hf:OWNER/NAME: add it")
    if not flags.run.exists():
        raise CheckpointError(f"{flags.run} does not exist: give the folder of a run")
    out = flags.out or flags.run / flags.to
    marker = {"hf": "config.json", "peft": "adapter_config.json", "onnx": "model.onnx"}[flags.to]
    if (out.is_file() or holds_something(out, marker)) and not flags.overwrite:
        raise ConfigError(f"{out} is not empty: give another --out, or --overwrite")
    if flags.push is not None:
        from heed.models.upload import hub_target, refuse_upload

        hub_target(flags.push)
        if not flags.dry_run:
            refuse_upload(flags.push)
    print((_export_tuned if is_tuned(flags.run) else _export_language_model)(flags, out))
    return 0 if flags.push is None else _push(flags, out, flags.push)


def _push(flags: ExportFlags, out: Path, target: str) -> int:
    """Upload what was written, or say what would go."""
    from heed.models.upload import files_to_upload, local_encoder, upload

    if flags.to == "peft" and (place := local_encoder(out)) is not None:
        note = f"adapter_config.json names the encoder by its folder here, {place}: others must have it there"
        print(f"note: {note}", file=sys.stderr)
    if flags.dry_run:
        found = files_to_upload(out, flags.to)
        for path in found:
            print(f"  {path.name}  {human_bytes(path.stat().st_size)}")
        seen = "public" if flags.public else "private"
        print(f"{len(found)} files would go to {target}, {seen} where it is new; nothing was sent")
        return 0
    address, private = upload(out, flags.to, target, public=flags.public)
    print(f"{address} ({'private' if private else 'public'})")
    return 0


def _export_language_model(flags: ExportFlags, out: Path) -> Path:
    """Write a run of a language model, with its card."""
    if flags.to != "hf":
        raise ConfigError(f"--to {flags.to}: is for runs of heed tune, and {flags.run} is none: leave it out")
    from heed.models.hub import export_hub
    from heed.records.checkpoints import CHECKPOINTS, read_state
    from heed.records.events import METRICS
    from heed.report.card import language_model_card
    from heed.report.record import gather
    from heed.training.checkpoint import find_checkpoint
    from heed.training.run import load_run

    model, _, config = load_run(flags.run, flags.checkpoint)
    places = [find_checkpoint(flags.run / CHECKPOINTS, which) for which in (flags.checkpoint, "best")]
    step, best = (int(place.name.removeprefix("step-")) for place in places)
    record = gather(flags.run)
    if not record.train and read_state(places[0])["state"].get("optimizer") is not None:  # it was not imported
        raise CheckpointError(f"{flags.run / METRICS} is missing or damaged, and the card tells of it: bring it back")
    card = language_model_card(record, step, best)
    return export_hub(model, config.model, flags.run / "tokenizer.json", out, card)


def is_tuned(folder: Path) -> bool:
    """Whether a folder is that of a tune or of one of its runs."""
    if (folder / "tune.json").is_file():
        return True
    return (folder / "config.yaml").is_file() and "encoder" in read_yaml(folder / "config.yaml")


def _export_tuned(flags: ExportFlags, out: Path) -> Path:
    """Write a tuned run in the format that is asked for."""
    if flags.checkpoint != "best":
        raise ConfigError("--checkpoint: a tuned run keeps its best one: leave it out")
    from heed.tuning.export import export_adapter, export_onnx, export_transformers

    export = {"hf": export_transformers, "peft": export_adapter, "onnx": export_onnx}[flags.to]
    return export(flags.run, out)
