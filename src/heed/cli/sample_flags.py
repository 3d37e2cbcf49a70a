"""What `heed sample` takes, with a run at hand or through an API."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import tyro
from pydantic import Field

from heed.config import Section

RULE = "-" * 40
"""Between two texts."""


class SampleFlags(Section):
    """Write text with a trained model.

    One prompt is answered as a stream; several, or --n, are decoded together. The same seed gives the same text.

    --prompts FILE answers a file of them, one a line (or JSON lines with "prompt" and, if wanted, "seed"; - reads
    standard input): each gives the text that it gives alone. A line that cannot be answered is marked, and the others
    go on: the exit code is then 1.

    examples:
      heed sample runs/quickstart --prompt "The import statement"
      heed sample runs/quickstart --prompt "A list" --prompt "A tuple" --n 2 --temperature 0.8 --top-p 0.95
      heed sample runs/quickstart --prompt "def f(" --temperature 0 --max-tokens 40 --stop "."
      heed sample runs/quickstart --prompt "The" --logprobs 3 --json
      heed sample runs/quickstart --prompts questions.txt --json > answers.jsonl
      heed sample runs/large --prompt "The" --weights int8

    --api samples with --top-p on an API that does not offer it: the likeliest tokens are read by banning what was seen
    (heed recover), and one of them is drawn here.

      heed sample --api http://127.0.0.1:8000/v1 --model quickstart --tokenizer runs/quickstart --prompt A --top-p 0.9
    """

    run: Annotated[Path | None, tyro.conf.Positional] = None
    """The run folder; none with --api."""
    prompt: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """What the text begins with; give several as --prompt A --prompt B. None: begin after an end of text or line."""
    prompts: str | None = None
    """Instead of --prompt: a file of prompts, one a line, or JSON lines with "prompt"; - is standard input."""
    strict: bool = False
    """With --prompts: write nothing when a line cannot be answered."""
    max_tokens: int = Field(default=200, ge=0, le=1_000_000_000)
    """Tokens to write at most."""
    n: int = Field(default=1, ge=1, le=1_000_000)
    """Texts for each prompt."""
    best_of: int | None = Field(default=None, le=1_000_000)
    """Draw this many for each prompt, and show the n that the model finds likeliest a token."""
    temperature: float = 1.0
    """Below 1 safer, above 1 wilder; 0 always takes the likeliest token."""
    top_k: int | None = None
    """Choose among the k likeliest tokens."""
    top_p: float | None = None
    """Choose among the likeliest tokens that together have this probability."""
    min_p: float | None = None
    """Choose among tokens at least this many times as probable as the likeliest."""
    repetition_penalty: float = 1.0
    """Above 1, tokens that occurred are made less likely (CTRL)."""
    repetition_penalty_scope: Literal["all", "generated"] = "all"
    """Which tokens it counts: all, or only those generated (the prompt is left out)."""
    frequency_penalty: float = 0.0
    """Taken off the logit of a token for each time it was written."""
    presence_penalty: float = 0.0
    """Taken off the logit of a token that was written at all."""
    logit_bias: dict[int, float] = Field(default_factory=dict)
    """Token ids and what is added to their logits: --logit-bias 13 -5 198 2."""
    stop: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Stop before this string; may be given several times."""
    ignore_end: bool = False
    """Go on after an end-of-text token."""
    seed: int = Field(default=1, ge=0)
    """Seed of the draws."""
    checkpoint: str = "best"
    """best, last, or a step."""
    on_overflow: Literal["slide", "stop", "error"] = "slide"
    """When the text outgrows the context: forget the older half, stop, or refuse."""
    cache: bool = True
    """Decode with a cache of keys and values; without it everything is read anew for each token."""
    logprobs: int | None = None
    """With --json: each token's log-probability, and this many alternatives."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """auto takes cuda, then mps, then cpu."""
    weights: Literal["fp32", "fp16", "bf16", "int8"] = "fp32"
    """What the matrices are kept in: fp32 as they were trained; fp16, faster on any x86; with AMX, bf16 for many texts
    or long prompts, and int8 for one text. heed eval --weights says what that costs."""
    api: str | None = None
    """Instead of a run: the address of an OpenAI-compatible API, with --top-p; prompts go there as token ids."""
    model: str | None = None
    """With --api: the name of the model there."""
    tokenizer: Path | None = None
    """With --api: tokenizer.json of that model, or a folder with it."""
    vocab_size: int | None = Field(default=None, ge=2)
    """With --api: tokens that the model has. Default: those of the tokenizer."""
    budget: str | None = None
    """With --api: what may be spent at most, "200 calls, 50000 tokens"; needed where it is not on this machine."""
    key_env: str | None = None
    """With --api: the variable of the environment that holds the key. Default: HEED_API_KEY."""
    key_file: Path | None = None
    """With --api: the file that holds the key."""
    json_: Annotated[bool, tyro.conf.arg(name="json")] = False
    """Print one JSON object on standard output; with --prompts, one a line for each text."""
