"""A recovery from the bill to the folder.

how many it shows ──> probe ──> bill, budget ──> the calls of the method, controls among them ──> files
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from heed.api import Bill, Caller, SpentError
from heed.records.recovery import RecoveryFile
from heed.recovery.api_oracle import ApiOracle, agree
from heed.recovery.control import DRIFT, Controlled, control_calls
from heed.recovery.methods import RecoveryWish, expected_calls, recover
from heed.recovery.oracle import ApiLimits
from heed.recovery.probe import ApiTraits
from heed.recovery.readings import Distribution
from heed.recovery.recovery_folder import truth_check, write_recovery_files
from heed.recovery.token_names import TokenNames

PROBE = 3
"""Calls that tell how an API behaves; methods use one of them or two themselves."""
SHOWS = {
    "biased": "probabilities after the bias",
    "raw": "probabilities before the bias",
    "nothing": "no probabilities",
}


@dataclass(frozen=True)
class RecoveryPlan:
    """What is to be recovered, from what is known of the API."""

    prompt: str
    prompt_ids: tuple[int, ...] | None
    """What is sent where it is known; else the text is."""
    vocabulary: int
    wish: RecoveryWish
    names: TokenNames | None = None
    top: int | None = None
    """Likeliest tokens to ask for; None: as many as the API agrees to."""
    bias: float = 100.0
    biased: int = 1024
    drift: float = DRIFT
    truth: tuple[str, np.ndarray] | None = None
    """A model at hand by its name, and its log-probabilities (V,)."""
    command: tuple[str, ...] = field(default=())

    @property
    def sent(self) -> str | tuple[int, ...]:
        """The prompt as it is sent."""
        return self.prompt if self.prompt_ids is None else self.prompt_ids

    @property
    def prompt_tokens(self) -> int:
        """Tokens of the prompt, guessed by its bytes where it is sent as text."""
        return len(self.prompt.encode()) // 4 + 1 if self.prompt_ids is None else len(self.prompt_ids)


def run_recovery(
    plan: RecoveryPlan,
    caller: Caller,
    folder: Path,
    say: Callable[[str], None],
    progress: Callable[[int], None] = lambda calls: None,
) -> tuple[RecoveryFile, Distribution]:
    """Recover a distribution into a folder and return what came of it.

    Raises `ApiError` where the API allows no method, has changed, or the budget does not reach; answers are kept.
    """
    began = time.monotonic()
    oracle = ApiOracle(caller, plan.sent, plan.names, progress)
    agree(oracle, plan.top)
    controlled = Controlled(oracle, plan.drift, plan.bias)
    limits = ApiLimits(plan.vocabulary, oracle.top or 0, plan.bias, plan.biased)
    formula = 0

    def approve(traits: ApiTraits, method: str) -> None:
        nonlocal formula
        formula = expected_calls(method, traits.limits, traits.shows, plan.wish)
        most = "at most " if method == "nucleus" else ""
        shows = SHOWS[traits.shows] + (f", {traits.limits.top} a call" if traits.shows != "nothing" else "")
        say(f"the API shows {shows}: {method} takes {most}{formula:,} calls, besides {control_calls(formula)} controls")
        bill = bill_of_calls(caller, plan, formula + control_calls(formula))
        say(bill.said())
        if method != "nucleus":
            refuse_beyond(caller, bill)

    def noise() -> float:
        controlled.finish()
        return controlled.noise

    traits, found = recover(controlled, limits, plan.wish, approve, noise)
    names = [name_of(token, plan.names, oracle.texts) for token in range(plan.vocabulary)]
    record = record_of(plan, caller, traits, found, formula, controlled.controls, time.monotonic() - began)
    truth = None
    if plan.truth is not None:
        truth = plan.truth[1]
        record = record.but(truth=truth_check(found, truth, plan.truth[0]))
    write_recovery_files(folder, record, found, names, truth)
    return record, found


def bill_of_calls(caller: Caller, plan: RecoveryPlan, calls: int, length: int | None = None) -> Bill:
    """Return what so many calls cost at most, less the answers that are kept; prompts of `length` tokens, or plan's."""
    kept = min(calls, 0 if caller.store is None else len(caller.store))
    prompt = length or plan.prompt_tokens
    left = calls - kept
    prices = caller.spending.prices
    dollars = None if prices is None else prices.dollars(left * prompt, left)
    return Bill(left, kept, left * prompt, left, length is None and plan.prompt_ids is None, dollars)


def refuse_beyond(caller: Caller, bill: Bill) -> None:
    """Raise `SpentError` where a bill is beyond the budget: a part of a distribution would be paid for in vain."""
    limit, spent = caller.spending.limit, caller.spending
    needs = {
        "calls": (bill.calls + spent.calls, limit.calls),
        "tokens": (bill.prompt_tokens + bill.completion_tokens, limit.tokens),
        "dollars": (bill.dollars or 0.0, limit.dollars),
    }
    for unit, (need, most) in needs.items():
        if most is not None and need > most:
            raise SpentError(
                f"the budget of {most:,} {unit} is less than the {need:,.10g} that this takes: nothing was read; raise "
                "it, or take fewer calls with --method nucleus, --method low-rank or a larger --top"
            )


def record_of(
    plan: RecoveryPlan,
    caller: Caller,
    traits: ApiTraits,
    found: Distribution,
    formula: int,
    controls: int,
    seconds: float,
) -> RecoveryFile:
    """Return the record of a recovery."""
    asked = plan.vocabulary if plan.wish.tokens is None else len(plan.wish.tokens)
    wanted = range(plan.vocabulary) if plan.wish.tokens is None else plan.wish.tokens
    nucleus = found.method == "nucleus"
    mass, off = found.seen_mass
    seen = found.seen
    errors = found.error[seen]
    spending = caller.spending
    return RecoveryFile(
        format=1,
        command=list(plan.command),
        prompt=plan.prompt,
        prompt_ids=None if plan.prompt_ids is None else list(plan.prompt_ids),
        endpoint=caller.endpoint,
        model=caller.model,
        vocabulary=plan.vocabulary,
        method=found.method,
        shows=traits.shows,
        top=traits.limits.top,
        bias=traits.limits.bias,
        resolution=traits.resolution.name,
        noise=traits.resolution.noise,
        formula=found.calls if nucleus else formula,
        asked=found.calls,
        controls=controls,
        spent={
            "calls": spending.calls,
            "prompt_tokens": spending.prompt_tokens,
            "completion_tokens": spending.completion_tokens,
            "dollars": spending.dollars,
        },
        seconds=seconds,
        wanted=int(seen.sum()) if nucleus else asked,
        seen=int(seen.sum()),
        seen_mass=mass,
        seen_mass_error=off if np.isfinite(off) else 1.0,
        unseen_mass=found.unseen_mass,
        unseen=[] if nucleus else [token for token in wanted if not seen[token]],
        error_median=float(np.median(errors)) if errors.size else None,
        error_worst=float(errors.max()) if errors.size else None,
        facts=dict(found.facts),
        notes=list(found.notes),
    )


def name_of(token: int, names: TokenNames | None, texts: dict[int, str]) -> str:
    """Return how a token is shown: by the tokenizer, as the API wrote it, or by its id."""
    if names is not None and token < len(names):
        return names.name(token)
    return texts.get(token, f"<{token}>")
