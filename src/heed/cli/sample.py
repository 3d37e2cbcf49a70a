"""`heed sample`: text from a trained model."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from heed.cli.sample_flags import RULE, SampleFlags
from heed.cli.settings import parse
from heed.errors import ConfigError, DataError

if TYPE_CHECKING:
    from heed.generation.generate import Completion
    from heed.generation.prompts import PromptLine
    from heed.generation.sampling import Sampling
    from heed.models.base import LanguageModel
    from heed.text.tokenizers import Tokenizer


SHOWN = 5
"""Bad lines that an error names."""
BATCH = 16
"""Texts of a file that are decoded together, and then written."""


def main(argv: list[str]) -> int:
    """Load the run, decode, print; 0 when done, 1 when a line of --prompts could not be answered."""
    flags = parse(SampleFlags, argv, "sample")
    if flags.api is not None:
        from heed.cli.sample_api import write_through_api

        return write_through_api(flags)
    check_flags(flags)
    assert flags.run is not None
    from heed.cli import tell
    from heed.generation.prompts import read_prompts
    from heed.generation.sampling import Sampling
    from heed.training.devices import choose_device
    from heed.training.packing import packed
    from heed.training.run import load_run

    sampling = Sampling(
        temperature=flags.temperature,
        top_k=flags.top_k,
        top_p=flags.top_p,
        min_p=flags.min_p,
        repetition_penalty=flags.repetition_penalty,
        repetition_penalty_scope=flags.repetition_penalty_scope,
        frequency_penalty=flags.frequency_penalty,
        presence_penalty=flags.presence_penalty,
        logit_bias=flags.logit_bias,
    )
    lines = None if flags.prompts is None else read_prompts(flags.prompts, tell)  # before a model, which may take long
    model, tokenizer, _ = load_run(flags.run, flags.checkpoint, choose_device(flags.device))
    writer = Writer(flags, packed(model, flags.weights, tell), tokenizer, sampling)
    return writer.answer(flags.prompt or ("",)) if lines is None else writer.answer_file(lines)


def check_flags(flags: SampleFlags) -> None:
    """Raise `ConfigError` for flags that say nothing together, and where there is no run."""
    if flags.run is None:
        raise ConfigError(
            'heed sample needs RUN, such as: heed sample runs/quickstart --prompt "The import statement" '
            "(heed sample --help shows all)"
        )
    if flags.logprobs is not None and not flags.json_:
        raise ConfigError("--logprobs are shown with --json only: add it")
    if flags.prompts is not None and flags.prompt:
        raise ConfigError("take --prompt or --prompts: one names a prompt, the other a file of them")
    if flags.strict and flags.prompts is None:
        raise ConfigError("--strict is about the lines of --prompts: add it, or take --strict away")
    alone = [
        name for name in ("model", "tokenizer", "vocab_size", "budget", "key_env", "key_file") if getattr(flags, name)
    ]
    if alone:
        raise ConfigError(f"--{alone[0].replace('_', '-')} is for --api: add its address, or leave it out")


class Writer:
    """A model with all that its flags say, which answers prompts and prints."""

    def __init__(self, flags: SampleFlags, model: LanguageModel, tokenizer: Tokenizer, sampling: Sampling) -> None:
        self.flags, self.model, self.tokenizer, self.sampling = flags, model, tokenizer, sampling
        self.common: dict[str, Any] = {
            "max_tokens": flags.max_tokens,
            "stop": flags.stop,
            "seed": flags.seed,
            "ignore_end": flags.ignore_end,
            "on_overflow": flags.on_overflow,
            "cache": flags.cache,
            "logprobs": flags.logprobs,
        }

    def answer(self, prompts: Sequence[str]) -> int:
        """Answer the prompts of the command line: one as a stream, several together."""
        flags = self.flags
        if len(prompts) == 1 and flags.n == 1 and flags.best_of in (None, 1) and not flags.json_:
            self.stream(prompts[0])
            return 0
        answers = self.generate(prompts)
        if flags.json_:
            shown = [shown_as_json(*one) for one in zip(prompts, answers, strict=True)]
            results = {"run": str(flags.run), "completions": [one for several in shown for one in several]}
            json.dump(results, sys.stdout, ensure_ascii=False, indent=2)
            print()
            return 0
        for prompt, completions in zip(prompts, answers, strict=True):
            for completion in completions:
                print(f"{prompt}{completion.text}\n{RULE}")
        return 0

    def stream(self, prompt: str) -> None:
        """Print an answer as it comes."""
        from heed.generation.generate import stream

        pieces = stream(self.model, self.tokenizer, self.start(prompt), self.sampling, **self.common)
        first = next(pieces, "")  # nothing is printed before it is known that the prompt can be answered
        print(prompt + first, end="", flush=True)
        for piece in pieces:
            print(piece, end="", flush=True)
        print()

    def answer_file(self, lines: Sequence[PromptLine]) -> int:
        """Answer the lines of a file in their order, some at a time; what cannot be answered is marked."""
        lines = [self.tried(line) for line in lines]
        bad = [line for line in lines if line.error is not None]
        if bad and self.flags.strict:
            named = "; ".join(f"line {line.number} {line.error}" for line in bad[:SHOWN])
            more = f"; and {len(bad) - SHOWN:,} more" if len(bad) > SHOWN else ""
            raise DataError(f"{self.flags.prompts}: {named}{more}; mend them, or leave --strict out")
        for begin in range(0, len(lines), BATCH):
            part = lines[begin : begin + BATCH]
            good = [line for line in part if line.error is None]
            seeds = [self.flags.seed if line.seed is None else line.seed for line in good]
            answers = iter(self.generate([line.prompt for line in good], seeds) if good else [])
            for line in part:
                self.show(line, [] if line.error is not None else next(answers))
            sys.stdout.flush()
        if bad:
            print(
                f"heed: {len(bad):,} of {len(lines):,} prompts could not be answered, the first in line "
                f"{bad[0].number} ({bad[0].error})",
                file=sys.stderr,
            )
        return 1 if bad else 0

    def tried(self, line: PromptLine) -> PromptLine:
        """Return a line with what keeps it from being answered, if anything does."""
        if line.error is not None:
            return line
        from heed.generation.generate import refusal

        tokens, overflow = self.flags.max_tokens, self.flags.on_overflow
        start = self.start(line.prompt)
        return replace(line, error=refusal(self.model, self.tokenizer, start, max_tokens=tokens, on_overflow=overflow))

    def show(self, line: PromptLine, completions: Sequence[Completion]) -> None:
        """Print the answers to a line, or what is wrong with it."""
        if self.flags.json_:
            values = shown_as_json(line.prompt, completions) if line.error is None else [{"error": line.error}]
            for one in values:
                print(json.dumps({"line": line.number, **one}, ensure_ascii=False))
            return
        for text in [completion.text for completion in completions] or [f"[line {line.number} {line.error}]"]:
            print(f"{line.prompt}{text}\n{RULE}")

    def generate(self, prompts: Sequence[str], seeds: Sequence[int] | None = None) -> list[list[Completion]]:
        """Return the completions of each prompt."""
        from heed.generation.generate import generate

        starts = [self.start(prompt) for prompt in prompts]
        n, best_of = self.flags.n, self.flags.best_of
        return generate(
            self.model, self.tokenizer, starts, self.sampling, n=n, best_of=best_of, seeds=seeds, **self.common
        )

    def start(self, prompt: str) -> str | list[int]:
        """Return a prompt, or what a text from nothing begins after."""
        from heed.generation.decoding import beginning

        return prompt or beginning(self.tokenizer)


def shown_as_json(prompt: str, completions: Sequence[Completion]) -> list[dict[str, Any]]:
    """Return what --json shows of the answers to a prompt."""
    return [
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
        for completion in completions
    ]
