"""`heed recover`: the whole next-token distribution out of an API that shows a few words and takes a logit bias."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal
from urllib.parse import urlsplit

import tyro
from pydantic import Field

from heed.cli.settings import parse
from heed.config import Section
from heed.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

    from heed.api import Caller
    from heed.records import HiddenSizeFile
    from heed.recovery.methods import RecoveryWish
    from heed.recovery.recovery_run import RecoveryPlan
    from heed.text.tokenizers import Tokenizer


class RecoverFlags(Section):
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
    budget: str | None = None
    """What may be spent at most: "2000 calls, 50000 tokens, $2"; needed where the API is not on this machine."""
    prices: tuple[float, float] | None = None
    """Dollars for a million tokens of prompt, and of answer: --prices 0.5 1.5."""
    key_env: str | None = None
    """The variable of the environment that holds the key. Default: HEED_API_KEY."""
    key_file: Path | None = None
    """The file that holds the key."""
    threads: int = Field(default=8, ge=1, le=256)
    """Calls under way at a time."""
    requests_per_minute: float | None = Field(default=None, gt=0)
    """At most so many calls a minute."""
    tokens_per_minute: float | None = Field(default=None, gt=0)
    """At most so many tokens a minute."""
    timeout: float = Field(default=120.0, gt=0)
    """Seconds that an answer may take."""
    tries: int = Field(default=6, ge=1, le=100)
    """Times that a call is tried."""
    dry_run: bool = False
    """Ask nothing: print what each method would take."""
    json_: Annotated[bool, tyro.conf.arg(name="json")] = False
    """Print one JSON object on standard output."""


LOCAL = ("127.0.0.1", "localhost", "::1")


def main(argv: list[str]) -> int:
    """Probe, print the bill, read, write the folder; 0 when every token that was asked for was seen, else 1."""
    flags = parse(RecoverFlags, argv, "recover")
    from heed.recovery.recovery_run import run_recovery
    from heed.recovery.size_run import run_hidden_size
    from heed.report.recovery_page import verdict, write_recovery

    if not flags.dry_run:
        needs_budget(flags.api, flags.budget)
    check_flags(flags)
    plan = plan_of(flags, argv)
    if flags.dry_run:
        return print_bills(flags, plan)
    folder = flags.out or free_folder(flags.model)
    say = lambda line: print(line, file=sys.stderr, flush=True)
    caller = open_caller(flags, folder, say)
    try:
        with progress_line() as progress:
            if flags.hidden_size is not None:
                return show_size(flags, run_hidden_size(plan, flags.hidden_size, caller, folder, say, progress), folder)
            record, _ = run_recovery(plan, caller, folder, say, progress)
    finally:
        caller.close()
    page = write_recovery(folder)
    if flags.json_:
        json.dump(
            {**record.plain(), "folder": str(folder), "report": str(page)}, sys.stdout, ensure_ascii=False, indent=2
        )
        print()
    else:
        print(verdict(record))
        if record.truth is not None:
            print(f"largest difference to {record.truth.name}: {record.truth.worst:.3g} nats")
        if record.unseen:
            print(f"never seen: {len(record.unseen):,} tokens, {', '.join(map(str, record.unseen[:10]))}")
        print(f"report: {page}")
    return 1 if record.unseen else 0


def check_flags(flags: RecoverFlags) -> None:
    """Raise `ConfigError` for flags that do not go together."""
    if (flags.prompt is None) == (flags.hidden_size is None):
        raise ConfigError(
            'heed recover needs a PROMPT, or --hidden-size N, such as: heed recover "The import" --api '
            "http://127.0.0.1:8000/v1 --model quickstart --tokenizer runs/quickstart (heed recover --help shows all)"
        )
    if flags.hidden_size is not None:
        odd = [name for name in ("matrix", "estimate_from", "truth", "dry_run") if getattr(flags, name)]
        odd += ["method"] if flags.method != "auto" else []
        if odd:
            raise ConfigError(f"--{odd[0].replace('_', '-')} says nothing with --hidden-size: leave it out")
    if (flags.matrix or flags.estimate_from) and flags.method != "low-rank":
        raise ConfigError("--matrix and --estimate-from are for --method low-rank: add it, or leave them out")
    if flags.matrix and flags.estimate_from:
        raise ConfigError("take --matrix or --estimate-from: one reads the output matrix, the other guesses it")


def show_size(flags: RecoverFlags, record: HiddenSizeFile, folder: Path) -> int:
    """Write the page of a hidden size and print what it says; 1 where there were too few prompts to tell."""
    from heed.report.hidden_size_page import size_verdict, write_hidden_size

    page = write_hidden_size(folder)
    if flags.json_:
        print(json.dumps({**record.plain(), "folder": str(folder), "report": str(page)}, indent=2))
    else:
        print(f"{size_verdict(record)}\nreport: {page}")
    return 1 if record.bounded else 0


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


def open_caller(flags: RecoverFlags, folder: Path, say: Callable[[str], None]) -> Caller:
    """Return the caller of the API, whose answers are kept in the folder."""
    from heed.api import ANSWERS, Prices, RetryPlan, open_api, read_key, read_limit

    return open_api(
        flags.api,
        flags.model,
        read_key(flags.api, variable=flags.key_env, file=flags.key_file),
        answers=folder / ANSWERS,
        limit=None if flags.budget is None else read_limit(flags.budget),
        prices=None if flags.prices is None else Prices(*flags.prices),
        requests_per_minute=flags.requests_per_minute,
        tokens_per_minute=flags.tokens_per_minute,
        retries=RetryPlan(tries=flags.tries),
        timeout=flags.timeout,
        threads=flags.threads,
        say=say,
    )


def print_bills(flags: RecoverFlags, plan: RecoveryPlan) -> int:
    """Print what each method would take, for the number of tokens that --top names."""
    from heed.api import Prices
    from heed.recovery.control import control_calls
    from heed.recovery.methods import METHODS, expected_calls
    from heed.recovery.oracle import ApiLimits
    from heed.recovery.recovery_run import PROBE

    top = flags.top if flags.top is not None else 5
    limits = ApiLimits(plan.vocabulary, top, plan.bias, plan.biased)
    prices = None if flags.prices is None else Prices(*flags.prices)
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


def free_folder(model: str) -> Path:
    """Return the first folder recovered/MODEL-N that is not there."""
    stem = "".join(c if c.isalnum() or c in "-_." else "-" for c in model).strip(".") or "model"
    number = 1
    while (path := Path("recovered") / f"{stem}-{number}").exists():
        number += 1
    return path


@contextmanager
def progress_line() -> Iterator[Callable[[int], None]]:
    """Give what counts calls on standard error: in place on a terminal, else a line now and then."""
    terminal, began, count, last = sys.stderr.isatty(), time.monotonic(), 0, 0.0

    def step(calls: int) -> None:
        nonlocal count, last
        count += calls
        now = time.monotonic()
        if now - last < (0.2 if terminal else 30.0) or (not last and not terminal and now - began < 30.0):
            return
        last = now
        line = f"{count:,} answers, {count / max(now - began, 1e-9):,.0f} a second"
        print(f"\r{line}  " if terminal else line, end="" if terminal else "\n", file=sys.stderr, flush=True)

    try:
        yield step
    finally:
        if terminal and last:
            print(file=sys.stderr)
