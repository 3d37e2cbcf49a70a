"""The width of a model from the bill to the folder: random prompts, the same tokens after each, the rank of it all."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from heed.api import Caller
from heed.errors import ConfigError
from heed.records.hidden_size import HIDDEN_SIZE, HiddenSizeFile
from heed.records.kept import write_record
from heed.recovery.api_oracle import ApiOracle, agree
from heed.recovery.hidden_size import estimate_rank, read_many, size_calls
from heed.recovery.oracle import ApiLimits
from heed.recovery.probe import ApiTraits
from heed.recovery.recovery_run import RecoveryPlan, bill_of_calls, refuse_beyond

LENGTH = 6
"""Random tokens of a prompt: enough that hidden states point everywhere."""
SPARE = 4
"""Tokens that are read beyond the number of prompts: some may not be biased."""


def run_hidden_size(
    plan: RecoveryPlan,
    prompts: int,
    caller: Caller,
    folder: Path,
    say: Callable[[str], None],
    progress: Callable[[int], None] = lambda calls: None,
) -> HiddenSizeFile:
    """Estimate the hidden size of the model behind an API from so many prompts, into a folder.

    Raises `ApiError` where the API shows no probabilities or the budget does not reach.
    """
    tokens = min(plan.vocabulary, prompts + SPARE)
    if prompts < 2:
        raise ConfigError("--hidden-size needs two prompts at least, and more than the model is wide")
    random = np.random.default_rng(plan.wish.seed)
    asked = np.sort(random.choice(plan.vocabulary, tokens, replace=False)).tolist()
    texts = [tuple(random.integers(0, plan.vocabulary, LENGTH).tolist()) for _ in range(prompts)]
    began, formula = time.monotonic(), 0
    oracle = ApiOracle(caller, texts[0], plan.names, progress)
    agree(oracle, plan.top)

    def approve(traits: ApiTraits) -> None:
        nonlocal formula
        formula = size_calls(prompts, tokens, traits)
        say(f"{prompts:,} prompts, {tokens:,} tokens after each: at most {formula:,} calls")
        bill = bill_of_calls(caller, plan, formula, LENGTH)
        say(bill.said())
        refuse_beyond(caller, bill)

    limits = ApiLimits(plan.vocabulary, oracle.top or 0, plan.bias, plan.biased)
    log_p, error, calls = read_many(oracle.about, texts, asked, limits, approve)
    found = estimate_rank(log_p, error)
    spending = caller.spending
    record = HiddenSizeFile(
        format=1,
        command=list(plan.command),
        endpoint=caller.endpoint,
        model=caller.model,
        vocabulary=plan.vocabulary,
        prompts=prompts,
        tokens=log_p.shape[1],
        rank=found.rank,
        bounded=found.bounded,
        gap=found.gap,
        floor=found.floor,
        singular=found.singular.tolist(),
        error_median=error,
        formula=formula,
        asked=calls,
        spent={
            "calls": spending.calls,
            "prompt_tokens": spending.prompt_tokens,
            "completion_tokens": spending.completion_tokens,
            "dollars": spending.dollars,
        },
        seconds=time.monotonic() - began,
    )
    write_record(folder / HIDDEN_SIZE, record)
    return record
