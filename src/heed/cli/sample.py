"""`heed sample`: text from a trained model."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from pydantic import Field

from heed.cli.settings import parse
from heed.config import Section
from heed.errors import ConfigError

if TYPE_CHECKING:
    pass


class SampleFlags(Section):
    """Write text with a trained model.

    One prompt is answered as a stream; several, or --n, are decoded together. The same seed gives the same text.

    examples:
      heed sample runs/quickstart --prompt "The import statement"
      heed sample runs/quickstart --prompt "A list" --prompt "A tuple" --n 2 --temperature 0.8 --top-p 0.95
      heed sample runs/quickstart --prompt "def f(" --temperature 0 --max-tokens 40 --stop "."
      heed sample runs/quickstart --prompt "The" --logprobs 3 --json
    """

    run: Annotated[Path, tyro.conf.Positional]
    """The run folder."""
    prompt: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """What the text begins with; give several as --prompt A --prompt B. None: begin after an end of text or line."""
    max_tokens: int = Field(default=200, ge=0)
    """Tokens to write at most."""
    n: int = Field(default=1, ge=1)
    """Texts for each prompt."""
    best_of: int | None = None
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
    json_: Annotated[bool, tyro.conf.arg(name="json")] = False
    """Print one JSON object on standard output."""


def main(argv: list[str]) -> int:
    """Load the run, decode, print; 0 when done."""
    flags = parse(SampleFlags, argv, "sample")
    if flags.logprobs is not None and not flags.json_:
        raise ConfigError("--logprobs are shown with --json only: add it")
    from heed.generation.decoding import beginning
    from heed.generation.generate import generate, stream
    from heed.generation.sampling import Sampling
    from heed.training.devices import choose_device
    from heed.training.run import load_run

    sampling = Sampling(
        temperature=flags.temperature,
        top_k=flags.top_k,
        top_p=flags.top_p,
        min_p=flags.min_p,
        repetition_penalty=flags.repetition_penalty,
        frequency_penalty=flags.frequency_penalty,
        presence_penalty=flags.presence_penalty,
        logit_bias=flags.logit_bias,
    )
    which = int(flags.checkpoint) if flags.checkpoint.isdecimal() else flags.checkpoint
    model, tokenizer, _ = load_run(flags.run, which, choose_device(flags.device))
    prompts = flags.prompt or ("",)
    starts = [prompt or beginning(tokenizer) for prompt in prompts]
    common = {
        "max_tokens": flags.max_tokens,
        "stop": flags.stop,
        "seed": flags.seed,
        "ignore_end": flags.ignore_end,
        "on_overflow": flags.on_overflow,
        "cache": flags.cache,
        "logprobs": flags.logprobs,
    }
    if len(prompts) == 1 and flags.n == 1 and flags.best_of in (None, 1) and not flags.json_:
        pieces = stream(model, tokenizer, starts[0], sampling, **common)
        first = next(pieces, "")  # nothing is printed before it is known that the prompt can be answered
        print(prompts[0] + first, end="", flush=True)
        for piece in pieces:
            print(piece, end="", flush=True)
        print()
        return 0
    answers = generate(model, tokenizer, starts, sampling, n=flags.n, best_of=flags.best_of, **common)
    if flags.json_:
        results = [
            {
                "prompt": prompt,
                "text": completion.text,
                "finish_reason": completion.finish_reason,
                "ids": completion.ids,
                "tokens": completion.tokens,
                "token_logprobs": completion.token_logprobs,
                "top_logprobs": completion.top_logprobs,
                "dropped_tokens": completion.dropped_tokens,
                "slides": completion.slides,
            }
            for prompt, completions in zip(prompts, answers, strict=True)
            for completion in completions
        ]
        json.dump({"run": str(flags.run), "completions": results}, sys.stdout, ensure_ascii=False, indent=2)
        print()
        return 0
    for prompt, completions in zip(prompts, answers, strict=True):
        for completion in completions:
            print(f"{prompt}{completion.text}\n{'-' * 40}")
    return 0
