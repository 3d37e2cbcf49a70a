"""`heed recover`: the whole next-token distribution out of an API that shows a few words and takes a logit bias."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from heed.cli import tell
from heed.cli.recover_flags import RecoverFlags
from heed.cli.recover_plan import needs_budget, plan_of, print_bills
from heed.cli.settings import parse
from heed.errors import ConfigError
from heed.files import HASHES, is_left, working_in
from heed.records.hidden_size import HIDDEN_SIZE, HiddenSizeFile
from heed.records.kept import read_record
from heed.records.recovery import RECOVERY, RecoveryFile

if TYPE_CHECKING:
    from heed.recovery.recovery_run import RecoveryPlan

OWN = (
    RECOVERY, HIDDEN_SIZE, HASHES, "answers.jsonl", "distribution.npz", "distribution.jsonl", "report.html",
)  # fmt: skip
"""What a folder of a recovery holds."""


def main(argv: list[str]) -> int:
    """Probe, print the bill, read, write the folder; 0 when every token that was asked for was seen, else 1."""
    flags = parse(RecoverFlags, argv, "recover")
    if not flags.dry_run:
        needs_budget(flags.api, flags.budget)
    check_flags(flags)
    plan = plan_of(flags, argv)
    if flags.dry_run:
        return print_bills(flags, plan)
    folder = flags.out or free_folder(flags.model)
    with working_in(folder, f"recovering into {folder}", "choose another --out"):
        check_folder(flags, folder)
        return ask(flags, plan, folder)


def ask(flags: RecoverFlags, plan: RecoveryPlan, folder: Path) -> int:
    """Ask the API, and write down what came of it."""
    from heed.recovery.recovery_run import run_recovery
    from heed.recovery.size_run import run_hidden_size

    caller = flags.open_caller(flags.api, flags.model, folder, tell)
    try:
        with progress_line() as progress:
            if flags.hidden_size is not None:
                return show_size(
                    flags, run_hidden_size(plan, flags.hidden_size, caller, folder, tell, progress), folder
                )
            record, _ = run_recovery(plan, caller, folder, tell, progress)
    finally:
        caller.close()
    return show_distribution(flags, record, folder)


def show_distribution(flags: RecoverFlags, record: RecoveryFile, folder: Path) -> int:
    """Write the page of a distribution and print what it says; 1 where tokens were asked for and never seen."""
    from heed.report.recovery_page import verdict, write_recovery

    page = write_recovery(folder)
    if flags.json_:
        print(json.dumps({**record.plain(), "folder": str(folder), "report": str(page)}, ensure_ascii=False, indent=2))
        return 1 if record.unseen else 0
    print(verdict(record))
    if record.truth is not None:
        print(f"largest difference to {record.truth.name}: {record.truth.worst:.3g} nats")
    if record.unseen:
        print(f"never seen: {len(record.unseen):,} tokens, {', '.join(map(str, record.unseen[:10]))}")
    print(f"report: {page}")
    return 1 if record.unseen else 0


def check_folder(flags: RecoverFlags, folder: Path) -> None:
    """Raise `ConfigError` where a folder holds something else, or what was recovered of another prompt or model."""
    other = next((path.name for path in sorted(folder.iterdir()) if not (path.name in OWN or is_left(path.name))), None)
    if other is not None:
        raise ConfigError(f"{folder} holds other things ({other}): choose another --out")
    asked = (flags.prompt, flags.model)
    for name, kind in ((RECOVERY, RecoveryFile), (HIDDEN_SIZE, HiddenSizeFile)):
        if (folder / name).is_file():
            there = read_record(kind, folder / name)
            if (there.prompt if isinstance(there, RecoveryFile) else None, there.model) != asked:
                raise ConfigError(f"{folder} holds what was recovered of another prompt or model: choose another --out")


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
