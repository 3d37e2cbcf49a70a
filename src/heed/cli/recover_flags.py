"""What `heed recover` takes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import tyro
from pydantic import Field

from heed.cli.api_flags import ApiFlags
from heed.cli.settings import AsJson
from heed.config import Section


class RecoveryQuestion(Section):
    """What is recovered, of which model, and how."""

    prompt: Annotated[str | None, tyro.conf.Positional] = None
    """What the next token comes after."""
    api: str
    """Address of an OpenAI-compatible API, such as http://127.0.0.1:8000/v1 (heed serve)."""
    model: str
    """Name of the model there."""
    out: Path | None = None
    """Folder of the result; default: recovered/MODEL-N."""
    method: Literal["auto", "anchor", "forced", "bisection", "nucleus", "low-rank"] = "auto"
    """auto takes what the API allows; nucleus the likeliest tokens only; low-rank needs --matrix or --estimate-from."""
    tokenizer: Path | None = None
    """tokenizer.json of the model, or a folder with it: the prompt is sent as token ids, and tokens have names."""
    vocab_size: int | None = Field(default=None, ge=2)
    """Tokens that the model has; default: those of the tokenizer, the matrix or the truth."""
    matrix: Path | None = None
    """For low-rank: a run folder or a folder of Hugging Face with the output matrix (safetensors)."""
    estimate_from: Annotated[tuple[Path, ...], tyro.conf.UseAppendAction] = ()
    """For low-rank: folders of earlier recoveries of this model, whose span takes the place of the matrix."""
    hidden_size: int | None = Field(default=None, ge=2)
    """Instead of a prompt: estimate how wide the model is, from so many random prompts; take more than it is wide."""
    truth: Path | None = None
    """A run folder of the model itself: its distribution is shown beside the recovered one."""
    top_p: float = Field(default=0.9, gt=0, lt=1)
    """For nucleus: read the likeliest tokens that have this probability."""
    accuracy: float = Field(default=0.05, gt=0)
    """For bisection: nats that a logit is known to."""
    top: int | None = Field(default=None, ge=0)
    """Likeliest tokens to ask for; default: as many as the API agrees to show."""
    bias_limit: float = Field(default=100.0, gt=0)
    """Largest logit bias that the API takes."""
    most_biased: int = Field(default=1024, ge=1)
    """Tokens that may be biased in one call."""
    drift: float = Field(default=0.01, ge=0)
    """Nats that a plain answer may move by before the model counts as changed."""
    seed: int = Field(default=1, ge=0)
    """Seed of the tokens that low-rank reads."""


class RecoverFlags(ApiFlags, RecoveryQuestion):
    """Recover the distribution of the next token from an API that shows only the likeliest few.

    Three calls tell how the API behaves and which method reads it; then the bill is printed, and then the calls are
    made. Every answer is kept in the folder: the same command goes on where it was. Ask only where the terms of the
    provider allow it.

    examples:
      heed recover "The import" --api http://127.0.0.1:8000/v1 --model quickstart --tokenizer runs/quickstart
      heed recover "The import" --api URL --model quickstart --tokenizer runs/quickstart --dry-run
      heed recover "The import" --api URL --model quickstart --truth runs/quickstart --out recovered/import
      heed recover "The import" --api URL --model quickstart --method low-rank --matrix runs/quickstart
      heed recover "The import" --api URL --model quickstart --method nucleus --top-p 0.9 --vocab-size 2048
      heed recover --hidden-size 160 --api URL --model quickstart --vocab-size 2048
    """

    dry_run: bool = False
    """Ask nothing: print what each method would take."""
    json_: AsJson = False
