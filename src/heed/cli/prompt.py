"""`heed prompt`: few-shot evaluation of a language model, behind an API or on this machine."""

from __future__ import annotations

import json
import os
import platform
import re
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from pydantic import Field

import heed
from heed.cli import tell
from heed.cli.api_flags import ApiFlags
from heed.cli.place import PlaceFlags, cluster_of, send
from heed.cli.settings import AsJson, parse
from heed.config import Section
from heed.errors import CheckpointError, ConfigError, one_line
from heed.files import HASHES, is_left, sweep, working_in

if TYPE_CHECKING:
    from heed.api import Caller
    from heed.prompting.evaluation import Evaluation
    from heed.prompting.task import PromptTask

EVERY = 10.0
"""Seconds between two lines of progress."""
MILLION = "dollars for a million tokens"


class PromptQuestion(Section):
    """What is asked of which model, and how."""

    task: Annotated[str, tyro.conf.Positional]
    """boolq, sst2, grammar, instructions, or a YAML file."""
    api: str | None = None
    """The base URL of an OpenAI-compatible API, such as http://127.0.0.1:8000/v1."""
    model: str | None = None
    """The name of the model there."""
    run: str | None = None
    """Instead of an API: a run folder, a folder of transformers, or hf:NAME."""
    shots: int | None = Field(default=None, ge=0)
    """Demonstrations before each item. Default: the task's."""
    items: int | None = Field(default=None, ge=1)
    """Items to test, of each class its share. Default: all of the split."""
    by: Literal["text", "first-token", "logprob", "logprob-per-token"] = "text"
    """How an answer is read: its text, the likeliest first tokens, or how likely the word of each class is."""
    calibrate: bool = False
    """Contextual calibration (Zhao et al. 2021): divide by what is said of inputs without content."""
    draws: int = Field(default=1, ge=1, le=1000)
    """Draws of other demonstrations."""
    orders: int = Field(default=1, ge=1, le=1000)
    """Orders of the demonstrations of each draw."""
    seed: int = Field(default=1, ge=0)
    """Seed of the demonstrations, and of answers where the temperature is above 0."""
    data: str | None = None
    """Another source of items: a file, a folder, hf:NAME, sst2 or boolq."""
    text: str | None = None
    """The column of the texts."""
    pair: str | None = None
    """The column of second texts."""
    label: str | None = None
    """The column of the labels."""
    group: str | None = None
    """A column whose equal values are never in a demonstration and an item."""
    split: Literal["test", "validation", "train", "all"] | None = None
    """The split that is tested. Default: the task's."""
    chat: bool = False
    """Ask the chat interface, with demonstrations as turns."""
    top: int = Field(default=5, ge=1)
    """With --by first-token: the likeliest tokens that the API is asked for."""
    temperature: float = Field(default=0.0, ge=0)
    """With --by text: above 0 answers are drawn."""
    max_tokens: int | None = Field(default=None, ge=1)
    """Tokens of an answer at most. Default: the task's."""
    against: tuple[Path, ...] = ()
    """Folders of heed tune or heed prompt that answered the same items: compared in pairs, on one page."""


class PromptFlags(PlaceFlags, ApiFlags, PromptQuestion):
    """Ask a language model the items of a task after some demonstrations, and say how often it is right.

    TASK is boolq, sst2, grammar, instructions, or a YAML file of yours (docs/guide/prompt.md). The model is behind any
    OpenAI-compatible API (--api and --model), or on this machine (--run), with the same results. Demonstrations are
    drawn by seed, as many of each class, in turns, and never from what is tested.

    Every answer is kept in the run folder as it comes: a command that was cut off goes on when it is given again, and
    nothing is paid twice. The key comes from $HEED_API_KEY, --key-env or --key-file, and is never written.

    examples:
      heed prompt boolq --api http://127.0.0.1:8000/v1 --model quickstart --items 30
      heed prompt boolq --run runs/quickstart --shots 4 --by logprob --calibrate
      heed prompt sst2 --api URL --model NAME --draws 3 --orders 2 --budget "2000 calls, $1" --prices 0.5 1.5
      heed prompt sst2 --data reviews.csv --text review --label mood --run hf:gpt2 --dry-run
      heed prompt my.yaml --api URL --model NAME --key-file ~/key --json
      heed prompt boolq --run runs/quickstart --against tunes/boolq      beside fine-tuned models, paired
      heed prompt boolq --run hf:gpt2 --on slurm --slurm.time 30 --slurm.gpus 1
    """

    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """With --run: where to compute."""
    checkpoint: str = "best"
    """With --run: best, last, or a step."""
    out: Path | None = None
    """The run folder. Default: runs/prompt-TASK-MODEL."""
    overwrite: bool = False
    """Begin anew in a run folder that was asked otherwise; answers are kept."""
    dry_run: bool = False
    """Print every prompt and the bill, and ask nothing. With --on slurm: print the script of the job."""
    json_: AsJson = False


def main(argv: list[str]) -> int:
    """Ask, and write the run folder with its page; 0 when done."""
    flags = parse(PromptFlags, argv, "prompt")
    _check(flags)
    from heed.prompting.evaluation import Evaluation, PromptPlan
    from heed.prompting.items import open_items
    from heed.prompting.task import open_task

    task = _with_flags(open_task(flags.task), flags)
    sampling = {"temperature": flags.temperature} | ({"seed": flags.seed} if flags.temperature else {})
    plan = PromptPlan(
        shots=task.shots if flags.shots is None else flags.shots, seed=flags.seed, draws=flags.draws,
        orders=flags.orders, how=flags.by, calibrate=flags.calibrate, chat=flags.chat, top=flags.top,
        sampling=sampling,
    )  # fmt: skip
    evaluation = Evaluation(task, open_items(task, flags.items), plan)
    for note in evaluation.items.notes:
        tell(f"note: {one_line(note)}")
    name = _name(flags)
    folder = flags.out or Path("runs") / f"prompt-{task.name}-{name}"
    if (slurm := cluster_of(flags)) is not None:
        return send(flags, slurm, ["prompt", *argv], [], folder.name)
    if flags.dry_run:
        return _dry_run(flags, evaluation)
    with working_in(folder, f"asking in {folder}", "choose another --out"):
        sweep(folder)
        return _ask(flags, evaluation, folder)


def _ask(flags: PromptFlags, evaluation: Evaluation, folder: Path) -> int:
    """Ask everything in a run folder, and write down what came of it."""
    from heed.prompting.against import check_rivals
    from heed.prompting.evaluation import as_rows
    from heed.prompting.page import write_prompt_page
    from heed.prompting.record import PROMPT, PromptFile, write_items
    from heed.records.kept import write_record

    caller = _caller(flags, folder)
    try:
        settings = _settings(flags, evaluation, caller)
        _refuse_other(folder, settings, overwrite=flags.overwrite)
        file = PromptFile.model_validate(
            {"format": 1, "state": "asking", "settings": settings, **_facts(flags, evaluation, caller)}
        )
        check_rivals(file, evaluation.items.tested, flags.against)
        tell(f"bill: {evaluation.bill(caller).said()}")
        write_record(folder / PROMPT, file)
        asked = evaluation.ask(caller, _progress())
    finally:
        caller.close()
        tell(f"spent: {caller.spending.said()}")
    write_items(folder, as_rows(asked, evaluation.rounds))
    rounds = _rounds(evaluation, asked)
    spending = caller.spending
    spent = {"calls": spending.calls, "prompt_tokens": spending.prompt_tokens, "dollars": spending.dollars,
             "completion_tokens": spending.completion_tokens, "said": spending.said()}  # fmt: skip
    write_record(
        folder / PROMPT, PromptFile.model_validate({**file.plain(), "state": "done", "rounds": rounds, "spent": spent})
    )
    page = write_prompt_page(folder)
    return _show(flags, folder, page)


def _show(flags: PromptFlags, folder: Path, page: Path) -> int:
    """Print the figures."""
    from heed.prompting.accuracy import accuracy_of, sentences
    from heed.prompting.against import compared, rivals_of
    from heed.prompting.page import verdict
    from heed.prompting.record import read_prompt
    from heed.report.tuning_findings import pair_sentences

    record = read_prompt(folder)
    figures = accuracy_of(record)
    pairs = compared(record, rivals_of(record, record.file.against)) if figures and record.file.against else []
    if flags.json_:
        values = _json(record, figures, pairs)
        print(json.dumps(values | {"run": str(folder), "page": str(page)}, ensure_ascii=False, indent=2))
        return 0
    print(verdict(record, figures))
    for line in [*(sentences(figures) if figures else []), *pair_sentences(record.grading, pairs)]:
        print(line)
    if figures is None or figures.unread:
        for row in record.rows if figures is None else [row for row in record.rows if row["predicted"] is None][:5]:
            print(f"  {row['place']}: {one_line(repr(row['answer']), 200)}")
    print(f"report: {page}")
    return 0


def _json(record: Any, figures: Any, pairs: Any) -> dict[str, Any]:
    """Return what --json prints."""
    file = record.file
    plan = file.settings["plan"]
    values = {"task": file.name, "model": file.model, "items": len(record.items), "rounds": record.rounds,
              "shots": plan["shots"], "by": plan["how"], "calibrated": plan["calibrate"],
              "unread": int(record.unread.sum()), "spent": file.spent}  # fmt: skip
    if figures is not None:
        beside = figures.beside_majority
        values |= {
            "accuracy": figures.mean, "interval": list(figures.interval), "by_round": list(figures.each),
            "deviation": figures.deviation, "majority": None if beside is None else list(figures.majority),
            "p_against_majority": None if beside is None else beside.p,
        }  # fmt: skip
    if pairs:
        values["against"] = [
            {"name": one.a, "points": one.points, "interval": [100 * bound for bound in one.interval],
             "gained": one.gained, "lost": one.lost, "p": one.p, "p_holm": one.p_holm, "test": one.test}
            for one in pairs
        ]  # fmt: skip
    return values


def _check(flags: PromptFlags) -> None:
    """Raise `ConfigError` for flags that contradict each other."""
    problems = []
    if flags.api is None and flags.run is None and not flags.dry_run:
        problems.append("give --api URL --model NAME, or --run FOLDER (or --dry-run, which asks nothing)")
    if flags.api is not None and flags.run is not None:
        problems.append("--api and --run: give one of them")
    if flags.api is not None and flags.model is None and not flags.dry_run:
        problems.append("--api needs --model, the name of the model there")
    if flags.run is not None:
        asked = {"--model": flags.model, "--key-env": flags.key_env, "--key-file": flags.key_file,
                 "--requests-per-minute": flags.requests_per_minute, "--tokens-per-minute": flags.tokens_per_minute,
                 "--chat": flags.chat or None}  # fmt: skip
        problems += [
            f"{name} is for an API: leave it out with --run" for name, value in asked.items() if value is not None
        ]
    if flags.on == "slurm" and re.match(r"https?://(localhost|127\.|\[::1\])", flags.api or ""):
        problems.append(f"--api {flags.api} is another machine for a job: name the one that the server is on")
    if flags.temperature and flags.by != "text":
        problems.append(f"--temperature draws answers, and --by {flags.by} reads probabilities: leave it out")
    if problems:
        raise ConfigError(*problems)


def _with_flags(task: PromptTask, flags: PromptFlags) -> PromptTask:
    """Return a task with the settings that the command line has in their place."""
    from heed.prompting.task import make_task

    given = {"source": flags.data, "text": flags.text, "pair": flags.pair, "label": flags.label, "group": flags.group,
             "split": flags.split}  # fmt: skip
    changed = {key: value for key, value in given.items() if value is not None}
    values = task.model_dump()
    if changed:
        values["template"] = task.template_by_parts()
        if task.data is None and "source" not in changed:
            raise ConfigError(
                f"{task.name} has items of its own: name another source with --data, or leave columns out"
            )
        if "source" in changed:  # columns are those of the other source
            split = {"split": task.data.split} if task.data is not None else {}
            values |= {"data": split | changed, "items": ()}
        else:
            values["data"] |= changed
    if flags.max_tokens is not None:
        values["max_tokens"] = flags.max_tokens
    return make_task(values, flags.task)


def _caller(flags: PromptFlags, folder: Path) -> Caller:
    """Return who asks: over HTTP, or on this machine, which alone needs torch."""
    if flags.api is not None:
        return flags.open_caller(flags.api, flags.model or "", folder, tell)
    from heed.api import ANSWERS, AnswerStore, Caller, Spending, SpendingLimit, read_limit
    from heed.prompting.local import LocalModel

    store = AnswerStore(folder / ANSWERS)
    for note in store.notes:
        tell(f"note: {note}")
    limit = SpendingLimit() if flags.budget is None else read_limit(flags.budget)
    completer = LocalModel(flags.run or "", checkpoint=flags.checkpoint, device=flags.device)
    return Caller(completer, store=store, spending=Spending(limit, flags.known_prices()), threads=1, say=tell)


def _dry_run(flags: PromptFlags, evaluation: Evaluation) -> int:
    """Print every prompt and the bill."""
    from heed.api import bill_of

    different = {request.key("", ""): request for request in evaluation.requests()}
    bill = bill_of(different.values(), prices=flags.known_prices())
    rows = []
    for number, item, prompt in evaluation.prompts():
        one = evaluation.rounds[number]
        shown = prompt if isinstance(prompt, str) else [vars(turn) for turn in prompt]
        rows.append({"draw": one.draw, "order": one.order, "place": item.place, "label": item.answer, "prompt": shown})
    if flags.json_:
        print(json.dumps({"bill": {**vars(bill), "said": bill.said()}, "prompts": rows}, ensure_ascii=False, indent=2))
        return 0
    for row in rows:
        print(f"--- draw {row['draw'] + 1}, order {row['order'] + 1}, {row['place']}, labelled {row['label']}")
        print(
            row["prompt"] if isinstance(row["prompt"], str) else json.dumps(row["prompt"], ensure_ascii=False, indent=1)
        )
    print(f"--- bill: {bill.said()}")
    return 0


def _settings(flags: PromptFlags, evaluation: Evaluation, caller: Caller) -> dict[str, Any]:
    """Return everything that decides what is asked, as JSON has it."""
    items = evaluation.items
    values = {
        "task": evaluation.task.model_dump(),
        "plan": vars(evaluation.plan),
        "items": len(items.tested),
        "fingerprint": items.fingerprint,
        "model": caller.model,
        "endpoint": caller.endpoint,
    }
    return json.loads(json.dumps(values))


def _facts(flags: PromptFlags, evaluation: Evaluation, caller: Caller) -> dict[str, Any]:
    """Return what else prompt.json says before anything is asked."""
    task, items = evaluation.task, evaluation.items
    counts = Counter(item.answer for item in items.tested) if task.kind == "classes" else {}
    return {
        "name": task.name,
        "description": task.description,
        "kind": task.kind,
        "classes": list(task.labels),
        "model": caller.model,
        "endpoint": caller.endpoint,
        "data": {"name": items.name, "split": items.split, "items": len(items.tested), "notes": list(items.notes),
                 "classes": dict(counts), "fingerprint": items.fingerprint},
        "against": [str(folder) for folder in flags.against],
        "rounds": _rounds(evaluation, []),
        "machine": {"heed": heed.__version__, "python": platform.python_version(), "system": platform.platform()},
        "command": [os.path.basename(sys.argv[0]), *sys.argv[1:]],
    }  # fmt: skip


def _rounds(evaluation: Evaluation, asked: Any) -> list[dict[str, Any]]:
    """Return the rounds as prompt.json has them."""
    found = []
    for number, one in enumerate(evaluation.rounds):
        own = [a for a in asked if a.round == number]
        marked = bool(own) and all(a.right is not None for a in own)
        shots = [{"place": d.place, "text": d.text, "pair": d.pair, "answer": d.answer} for d in one.demonstrations]
        found.append({
            "draw": one.draw, "order": one.order, "demonstrations": shots,
            "correct": sum(bool(a.right) for a in own) if marked else None,
            "unread": sum(a.scored.predicted is None for a in own),
            "empty": evaluation.empty[number] if len(evaluation.empty) > number else None,
        })  # fmt: skip
    return found


def _refuse_other(folder: Path, settings: dict[str, Any], *, overwrite: bool) -> None:
    """Raise `CheckpointError` where a folder holds something else, or was asked otherwise."""
    from heed.api import ANSWERS
    from heed.prompting.record import PROMPT, read_prompt

    if not (folder / PROMPT).exists():
        begun = (ANSWERS, HASHES)  # by a process that died
        if odd := [name for name in os.listdir(folder) if not is_left(name) and name not in begun]:
            raise CheckpointError(f"{folder} holds {odd[0]} and is no run of heed prompt: choose another --out")
        return
    if overwrite:
        return
    before = read_prompt(folder).file.settings
    if other := [key for key in settings if settings[key] != before.get(key)]:
        raise CheckpointError(
            f"{folder} was asked with another {' and '.join(other)}: choose another --out, or --overwrite it"
        )


def _name(flags: PromptFlags) -> str:
    """Return a name for the model in that of the run folder."""
    name = flags.model or (flags.run or "").rstrip("/").split("/")[-1].removeprefix("hf:")
    return re.sub(r"[^\w.-]+", "-", name).strip("-.")[:60] or "model"


def _progress() -> Callable[[int, int], None]:
    """Return what tells now and then how far it is."""
    last = [time.monotonic()]

    def told(done: int, total: int) -> None:
        if time.monotonic() - last[0] >= EVERY or done == total:
            last[0] = time.monotonic()
            tell(f"{done:,} of {total:,} items")

    return told
