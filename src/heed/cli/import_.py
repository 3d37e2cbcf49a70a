"""`heed import`: a model of Hugging Face becomes a run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from heed.cli.settings import parse
from heed.config import Section, make_config
from heed.errors import CheckpointError


class ImportFlags(Section):
    """Bring a GPT-2, Llama or GPT-1 model from Hugging Face into a run folder, to sample from, evaluate or export.

    Weights are read from safetensors only. Whatever heed cannot compute exactly as transformers does is refused.

    examples:
      heed import hf:gpt2
      heed import path/to/folder --out runs/mine
    """

    source: Annotated[str, tyro.conf.Positional]
    """hf:NAME on the hub, or a folder with config.json, model.safetensors and tokenizer.json."""
    out: Path | None = None
    """The run folder; default: runs/ and the name of the source."""
    overwrite: bool = False
    """Replace an earlier run of this name."""


def main(argv: list[str]) -> int:
    """Read, convert, write the run folder and print its path; 0 when done."""
    flags = parse(ImportFlags, argv, "import")
    from heed.models.hub import hub_folder, hub_tokenizer, load_hub
    from heed.records.checkpoints import CHECKPOINTS
    from heed.training.checkpoint import save_checkpoint
    from heed.training.run import Run, locked, refuse_if_taken

    name = flags.source.removeprefix("hf:").rstrip("/").split("/")[-1]
    out = flags.out or Path("runs") / name
    refuse_if_taken(out, overwrite=flags.overwrite)
    inner = flags.source.removeprefix("hf:")
    folder = Path(inner) if Path(inner).is_dir() else hub_folder(flags.source)
    model, settings = load_hub(folder)
    tokenizer = hub_tokenizer(folder)
    if tokenizer.vocab_size > model.vocab_size:
        raise CheckpointError(
            f"{folder}: the tokenizer has {tokenizer.vocab_size} tokens and the model {model.vocab_size}: "
            "take both from one checkpoint"
        )
    kind = {"kind": tokenizer.kind} if tokenizer.kind in ("bpe", "char", "word") else {}
    values = {
        "model": settings.model_dump(),
        # the model's own number, which may exceed the tokenizer's: some heads are padded to a round size
        "tokenizer": {**kind, "vocab_size": model.vocab_size, "file": str(out / "tokenizer.json")},
        "run": {"name": out.name, "folder": str(out.parent)},
    }
    with locked(out):
        run = Run.create(
            out,
            make_config(values),
            tokenizer=tokenizer,
            overwrite=flags.overwrite,
            also=lambda new: save_checkpoint(new / CHECKPOINTS, 0, model, {}, {"imported": flags.source}),
        )
    print(run.folder)
    return 0
