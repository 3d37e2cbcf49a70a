"""`heed sample --api`: top-p sampling on an API that shows a few likely words, takes a bias, and offers no top-p."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from heed.errors import ConfigError

if TYPE_CHECKING:
    from heed.cli.sample_flags import SampleFlags
    from heed.recovery.nucleus_sampler import DrawnText
    from heed.text.tokenizers import Tokenizer

NOT_HERE = (
    "prompts", "strict", "best_of", "temperature", "top_k", "min_p", "repetition_penalty", "frequency_penalty",
    "presence_penalty", "logit_bias", "logprobs", "checkpoint", "on_overflow", "cache", "device", "weights",
)  # fmt: skip
"""What a model at hand is needed for: probabilities of all tokens, or its weights."""


def write_through_api(flags: SampleFlags) -> int:
    """Write texts with an API, a nucleus read for each token, and print them; 0 when done."""
    from heed.api import open_api, read_key, read_limit
    from heed.cli import tell
    from heed.cli.recover_plan import needs_budget, prompt_ids_of
    from heed.recovery.api_oracle import ApiOracle, agree
    from heed.recovery.nucleus_sampler import NucleusSampler
    from heed.recovery.oracle import ApiLimits
    from heed.recovery.token_names import TokenNames
    from heed.text.tokenizers import load_tokenizer

    refuse_others(flags)
    assert flags.api is not None
    assert flags.model is not None
    assert flags.tokenizer is not None
    assert flags.top_p is not None
    needs_budget(flags.api, flags.budget)
    tokenizer = load_tokenizer(flags.tokenizer)
    names = TokenNames(tokenizer.pieces)
    limit = None if flags.budget is None else read_limit(flags.budget)
    key = read_key(flags.api, variable=flags.key_env, file=flags.key_file)
    caller = open_api(flags.api, flags.model, key, limit=limit, say=tell)
    prompts = [prompt_ids_of(tokenizer, prompt) for prompt in flags.prompt or ("",)]
    try:
        first = ApiOracle(caller, prompts[0], names)
        agree(first, None)
        limits = ApiLimits(flags.vocab_size or tokenizer.vocab_size, first.top or 0)
        sampler = NucleusSampler(first.about, limits, flags.top_p)
        end = None if flags.ignore_end else tokenizer.end_id
        texts: list[dict[str, Any]] = []
        for prompt, ids in zip(flags.prompt or ("",), prompts, strict=True):
            for number in range(flags.n):
                drawn = sampler.write(ids, flags.max_tokens, [flags.seed, number], end, ends_at(tokenizer, flags.stop))
                texts.append(shown(prompt, drawn, tokenizer, flags.stop))
    finally:
        caller.close()
    print_texts(flags, texts, caller.spending.calls)
    tell(f"spent: {caller.spending.said()}")
    return 0


def refuse_others(flags: SampleFlags) -> None:
    """Raise `ConfigError` for what is missing, and for what needs a model at hand."""
    problems = []
    if flags.run is not None:
        problems.append("take a run folder or --api: one is a model on this machine, the other one behind an API")
    if flags.model is None:
        problems.append("--api needs --model, its name there")
    if flags.tokenizer is None:
        problems.append("--api needs --tokenizer: texts go on by token ids")
    if flags.top_p is None or flags.top_p >= 1:
        problems.append("--api is for --top-p below 1: without it an API samples by itself")
    usual = type(flags).model_fields
    odd = [name for name in NOT_HERE if getattr(flags, name) != usual[name].get_default(call_default_factory=True)]
    problems += [f"--{name.replace('_', '-')} needs a run at hand: leave it out with --api" for name in odd]
    if problems:
        raise ConfigError(*problems)


def ends_at(tokenizer: Tokenizer, stop: tuple[str, ...]) -> Callable[[list[int]], bool]:
    """Return what says of the ids of an answer whether a stop string is in their text."""
    return lambda ids: bool(stop) and any(one in tokenizer.decode(ids) for one in stop)


def shown(prompt: str, drawn: DrawnText, tokenizer: Tokenizer, stop: tuple[str, ...]) -> dict[str, Any]:
    """Return what --json shows of a text: the keys of `heed sample` that an API allows."""
    text = tokenizer.decode(drawn.ids)
    places = [place for one in stop if (place := text.find(one)) >= 0]
    return {
        "prompt": prompt,
        "text": text[: min(places)] if places else text,
        "finish_reason": "stop" if places else drawn.reason,
        "ids": list(drawn.ids),
        "tokens": [tokenizer.decode([token]) for token in drawn.ids],
        "token_logprobs": list(drawn.logprobs),
    }


def print_texts(flags: SampleFlags, texts: list[dict[str, Any]], calls: int) -> None:
    """Print texts, or one JSON object."""
    from heed.cli.sample_flags import RULE

    if flags.json_:
        result = {"api": flags.api, "model": flags.model, "top_p": flags.top_p, "calls": calls, "completions": texts}
        json.dump(result, sys.stdout, ensure_ascii=False, indent=2)
        print()
        return
    for one in texts:
        print(f"{one['prompt']}{one['text']}" + (f"\n{RULE}" if len(texts) > 1 else ""))
