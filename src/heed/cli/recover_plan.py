"""What is to be recovered, out of the flags and the files that they name, and what that would take."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from heed.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

    from heed.cli.recover_flags import RecoverFlags
    from heed.recovery.methods import RecoveryWish
    from heed.recovery.recovery_run import RecoveryPlan
    from heed.text.tokenizers import Tokenizer

LOCAL = ("127.0.0.1", "localhost", "::1")


def needs_budget(api: str, budget: str | None) -> None:
    """Raise `ConfigError` where somebody else's API is to be asked and nobody said what may be spent."""
    if budget is None and urlsplit(api).hostname not in LOCAL:
        raise ConfigError(
            "--api is not this machine: say what may be spent with --budget, such as --budget '5000 calls', after a "
            "look at the terms of the provider"
        )


def plan_of(flags: RecoverFlags, argv: list[str]) -> RecoveryPlan:
    """Return what the flags ask for, with the tokenizer, the matrix and the truth read."""
    from heed.recovery.recovery_run import RecoveryPlan
    from heed.recovery.token_names import TokenNames

    tokenizer = find_tokenizer(flags)
    ids = None if tokenizer is None or flags.prompt is None else prompt_ids_of(tokenizer, flags.prompt)
    wish = wish_of(flags)
    truth = None
    if flags.truth is not None:
        if ids is None:
            raise ConfigError(f"--truth {flags.truth} has no tokenizer.json: name one with --tokenizer")
        truth = (flags.truth.name, true_log_p(flags.truth, ids))
    sizes = {
        "--vocab-size": flags.vocab_size,
        "the output matrix": None if wish.matrix is None else len(wish.matrix),
        "--truth": None if truth is None else len(truth[1]),
        "the tokenizer": None if tokenizer is None else tokenizer.vocab_size,
    }
    known = {name: size for name, size in sizes.items() if size is not None}
    if not known:
        raise ConfigError("how many tokens does the model have? give --tokenizer, or --vocab-size")
    vocabulary = next(iter(known.values()))
    for name, size in known.items():
        if name != "the tokenizer" and size != vocabulary:  # a model may have rows that no token needs
            raise ConfigError(f"{next(iter(known))} says {vocabulary:,} tokens and {name} {size:,}: which is it?")
    return RecoveryPlan(
        prompt=flags.prompt or "",
        prompt_ids=ids,
        vocabulary=vocabulary,
        wish=wish,
        names=None if tokenizer is None else TokenNames(tokenizer.pieces),
        top=flags.top,
        bias=flags.bias_limit,
        biased=flags.most_biased,
        drift=flags.drift,
        truth=truth,
        command=("heed", "recover", *argv),
    )


def find_tokenizer(flags: RecoverFlags) -> Tokenizer | None:
    """Return the tokenizer that is named, or that of the truth or the matrix where they have one."""
    from heed.text.tokenizers import load_tokenizer

    beside = [path for path in (flags.truth, flags.matrix) if path is not None and (path / "tokenizer.json").is_file()]
    named = [flags.tokenizer] if flags.tokenizer is not None else beside[:1]
    return load_tokenizer(named[0]) if named else None


def prompt_ids_of(tokenizer: Tokenizer, prompt: str) -> tuple[int, ...]:
    """Return the token ids that a model reads of a prompt. Raises `ConfigError` where there are none."""
    ids = [*tokenizer.start_ids, *tokenizer.encode(prompt)] or ([] if tokenizer.end_id is None else [tokenizer.end_id])
    if not ids:
        raise ConfigError("the prompt is empty, and this tokenizer has no end-of-text token to begin with: give one")
    return tuple(ids)


def wish_of(flags: RecoverFlags) -> RecoveryWish:
    """Return the method with what it needs."""
    from heed.recovery.methods import RecoveryWish
    from heed.recovery.output_matrix import read_output_matrix

    matrix, bias = read_output_matrix(flags.matrix) if flags.matrix is not None else (None, None)
    if flags.estimate_from:
        from heed.recovery.hidden_size import estimated_matrix

        matrix = estimated_matrix(flags.estimate_from)
    estimated = bool(flags.estimate_from)
    return RecoveryWish(flags.method, flags.accuracy, flags.top_p, matrix, bias, estimated, seed=flags.seed)


def true_log_p(run: Path, ids: tuple[int, ...]) -> np.ndarray:
    """Return the log-probabilities (V,) of what comes after some ids, by a run on this machine."""
    import torch

    from heed.training.run import load_run

    model, _, _ = load_run(run)
    if len(ids) > model.context:
        raise ConfigError(f"the prompt has {len(ids):,} tokens, and {run} reads {model.context:,}: give a shorter one")
    with torch.inference_mode():
        hidden = model.hidden(torch.tensor([ids]))[:, -1]
        return model.logits(hidden).double().log_softmax(dim=-1)[0].numpy()


def print_bills(flags: RecoverFlags, plan: RecoveryPlan) -> int:
    """Print what each method would take, for the number of tokens that --top names."""
    from heed.recovery.control import control_calls
    from heed.recovery.methods import METHODS, expected_calls
    from heed.recovery.oracle import ApiLimits
    from heed.recovery.recovery_run import PROBE

    top = flags.top if flags.top is not None else 5
    limits = ApiLimits(plan.vocabulary, top, plan.bias, plan.biased)
    prices = flags.known_prices()
    length = plan.prompt_tokens
    rows = []
    for method, what in METHODS.items():
        if (method == "low-rank" and plan.wish.matrix is None) or (method == "anchor" and top < 2):
            continue
        calls = expected_calls(method, limits, "biased" if top > 1 else "raw", plan.wish)
        calls += PROBE + control_calls(calls)
        row = {"method": method, "calls": calls, "prompt_tokens": calls * length, "answer_tokens": calls}
        rows.append(
            row | ({} if prices is None else {"dollars": prices.dollars(calls * length, calls)}) | {"what": what}
        )
    if flags.json_:
        print(json.dumps({"vocabulary": plan.vocabulary, "top": top, "bills": rows}, indent=2))
        return 0
    print(f"{plan.vocabulary:,} tokens, {top} shown a call; the probe and the controls are counted, nothing was asked")
    for row in rows:
        cost = f"  ${row['dollars']:.4f}" if "dollars" in row else ""
        most = "<=" if row["method"] == "nucleus" else "  "
        tokens = row["calls"] + row["prompt_tokens"]
        print(f"  {row['method']:<10} {most}{row['calls']:>10,} calls {tokens:>14,} tokens{cost}  {row['what']}")
    return 0
