"""Killed at every file event, or out of disk there: the same command ends as if nothing had been.

Each verb runs once undisturbed, which gives its file events and what it comes to. Then it is killed at each of them in
a fresh copy of where it began, and begun again. Nothing of chance is left out: every event is met.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from api.small_server import Served
from cli.conftest import settled, write_text
from heed.api import AnswerStore
from heed.explore.exploration_folder import read_exploration
from heed.records.events import hold, read_event
from heed.report.record import changes_of
from heed.report.recovery_record import read_recovery
from prompting.model_server import model_server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

TINY = [
    "--model.n-layers", "1", "--model.n-heads", "2", "--model.d-model", "16", "--model.context", "16",
    "--train.batch-size", "4", "--train.warmup-steps", "1", "--train.eval-every", "2", "--train.checkpoint-every", "2",
    "--train.keep-last", "1", "--data.workers", "1", "--tokenizer.kind", "char", "--run.device", "cpu",
    "--run.threads", "1",
]  # fmt: skip
VOLATILE = {
    "time", "seconds", "evaluation_seconds", "command", "tokens_per_second", "examples_per_second", "memory",
    "memory_bytes", "machine", "self", "git_commit", "path", "spent",
}  # fmt: skip
"""What differs between two runs that are the same."""


@dataclass(frozen=True)
class Verb:
    """A command that is struck, and where it begins."""

    argv: list[str]
    before: tuple[list[str], ...] = ()
    """What is run before, undisturbed."""
    resumes: str | None = None
    """The run that is gone on with where it is there, in place of the same command."""
    goes_on: tuple[str, ...] = ()
    """Flags of going on."""
    every: int = 1
    """Of a long one, every so many events."""


TRAIN = ["train", "animals.txt", *TINY, "--run.name", "a"]
TUNE = [
    "tune", "reviews.csv", "--encoders", "tiny", "--out", "t", "--epochs", "1", "--max-length", "16", "--threads", "1",
    "--device", "cpu",
]  # fmt: skip
KNOW = [
    "--train.batch-size", "4", "--train.warmup-steps", "1", "--train.eval-every", "2", "--train.checkpoint-every", "2",
    "--train.keep-last", "1", "--train.steps", "2", "--data.workers", "1", "--run.device", "cpu", "--run.threads", "1",
]  # fmt: skip
PRETRAIN = [
    "pretrain", "wiki.txt", *KNOW, "--tokenizer.kind", "char", "--model.n-layers", "1", "--model.n-heads", "2",
    "--model.d-model", "16", "--model.context", "48", "--run.name", "text",
]  # fmt: skip
LORA = [*TUNE, "--methods", "lora", "--search", "none", "--seeds", "1", "--encoder.pooling", "native"]
SHORT = [*TRAIN, "--train.steps", "2"]
PROMPTED = [*SHORT, "--tokenizer.kind", "bpe", "--tokenizer.vocab-size", "300", "--model.context", "300"]
PROMPT = ["prompt", "moods.yaml", "--items", "2", "--shots", "0", "--out", "p"]
EXPLORE = [
    "explore", "runs/a", "--windows", "2", "--window", "8", "--sequences", "2", "--repeat", "4", "--device", "cpu",
    "--out", "e",
]  # fmt: skip
SERVED = ["--api", "API", "--model", "a", "--threads", "1"]
"""Asks runs/a behind a server, whose address takes the place of API; no call may be made twice."""
RECOVER = ["recover", "the cat", *SERVED, "--tokenizer", "runs/a", "--top", "2", "--out", "r"]
TOKENIZE = [
    "data", "tokenize", "animals.txt", "--tokenizer", "t.json", "--out", "shards", "--shards", "3", "--workers", "1",
    "--data.separator", "\n",
]  # fmt: skip
FINETUNE = ["finetune", "runs/text", "pairs.tsv", *KNOW, "--run.name", "asked"]
VERBS = {
    "train": Verb([*TRAIN, "--train.steps", "4"], resumes="runs/a"),
    "train on two": Verb(
        [*TRAIN, "--train.steps", "4", "--processes", "2"],
        resumes="runs/a",
        goes_on=("--processes", "2"),
        every=2,
    ),
    "train in parts": Verb(
        [*TRAIN, "--train.steps", "4", "--processes", "2", "--train.shard", "true"],
        resumes="runs/a",
        goes_on=("--processes", "2"),
        every=4,
    ),
    "resume": Verb(
        ["train", "--resume", "runs/a", "--train.steps", "4", "--train.learning-rate", "0.002"],
        ([*TRAIN, "--train.steps", "2"],),
    ),
    "overwrite": Verb(
        [*TRAIN, "--train.steps", "2", "--run.seed", "2", "--overwrite"],
        ([*TRAIN, "--train.steps", "2"],),
    ),
    "compare": Verb(["compare", "study.yaml", "--out", "studies/x"]),
    "tune": Verb([*TUNE, "--methods", "head", "--rates", "1e-3,1e-2", "--seeds", "1"]),
    "tune soup": Verb([*TUNE, "--methods", "full", "--rates", "1e-3,1e-2", "--seeds", "2", "--soup"], every=4),
    "tune overwrite": Verb(
        [*TUNE, "--methods", "head", "--search", "none", "--seeds", "1", "--train.weight-decay", "0.5", "--overwrite"],
        ([*TUNE, "--methods", "head,lora", "--search", "none", "--seeds", "1"],),
    ),
    "export": Verb(["export", "runs/a", "--to", "hf", "--out", "hf"], ([*TRAIN, "--train.steps", "2"],)),
    "export overwrite": Verb(
        ["export", "runs/b", "--to", "hf", "--out", "hf", "--overwrite"],
        (
            [*TRAIN, "--train.steps", "2"],
            [*TRAIN, "--train.steps", "3", "--run.name", "b", "--model.norm", "layer"],
            ["export", "runs/a", "--to", "hf", "--out", "hf"],
        ),
    ),
    "export peft": Verb(["export", "t/runs/lora-1", "--to", "peft", "--out", "out"], (LORA,)),
    "export onnx": Verb(["export", "t/runs/lora-1", "--to", "onnx", "--out", "out"], (LORA,)),
    "pretrain": Verb(PRETRAIN, resumes="runs/text"),
    "finetune": Verb(FINETUNE, (PRETRAIN,), resumes="runs/asked"),
    "eval qa": Verb(
        ["eval", "runs/asked", "--task", "qa", "--questions", "pairs.tsv", "--device", "cpu"], (PRETRAIN, FINETUNE)
    ),
    "predict": Verb(
        ["predict", "t/runs/lora-1", "--file", "reviews.csv", "--text", "text", "--out", "said.csv"], (LORA,)
    ),
    "import": Verb(["import", "hf", "--out", "runs/b"], (SHORT, ["export", "runs/a", "--to", "hf", "--out", "hf"])),
    "tokenizer train": Verb(["tokenizer", "train", "animals.txt", "--vocab-size", "300", "--out", "t.json"]),
    "tokenizer overwrite": Verb(
        ["tokenizer", "train", "animals.txt", "--vocab-size", "300", "--out", "t.json", "--overwrite"],
        (["tokenizer", "train", "animals.txt", "--kind", "char", "--out", "t.json"],),
    ),
    "tokenize": Verb(TOKENIZE, (["tokenizer", "train", "animals.txt", "--vocab-size", "300", "--out", "t.json"],)),
    "tokenize the rest": Verb(
        TOKENIZE,
        (
            ["tokenizer", "train", "animals.txt", "--vocab-size", "300", "--out", "t.json"],
            [*TOKENIZE, "--shard", "1"],
        ),
    ),
    "prompt": Verb([*PROMPT, "--run", "runs/a", "--device", "cpu"], (PROMPTED,)),
    "prompt over http": Verb([*PROMPT, *SERVED], (PROMPTED,)),
    "recover": Verb(RECOVER, (SHORT,)),
    "recover otherwise": Verb([*RECOVER, "--method", "nucleus", "--top-p", "0.5"], (SHORT, RECOVER)),
    "explore": Verb(EXPLORE, (SHORT,)),
    "explore overwrite": Verb([*EXPLORE, "--prompt", "the cat", "--overwrite"], (SHORT, EXPLORE)),
    "explore cards": Verb(["explore", "--static", "cards.html"]),
    "biographies": Verb(["data", "biographies", "--out", "people", "--people", "20"]),
}
STUDY: dict[str, Any] = {
    "base": {
        "tokenizer": {"kind": "char"},
        "model": {"n_layers": 1, "n_heads": 2, "d_model": 16, "context": 16},
        "train": {"batch_size": 4, "eval_every": 2, "checkpoint_every": 2, "keep_last": 1},
        "data": {"source": "animals.txt", "workers": 1},
        "run": {"device": "cpu", "threads": 1},
    },
    "variants": {"pre": {}, "post": {"model.norm_order": "post"}},
    "seeds": [1],
    "budget": {"steps": 2},
}


class Server:
    """A process that runs verbs and is told where to strike."""

    def __init__(self) -> None:
        self.asked = 0
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", "HF_HUB_OFFLINE": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(Path(__file__).with_name("server.py"))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def run(self, folder: Path, argv: list[str], how: str | None = None, at: int = 0) -> dict[str, Any]:
        """Run a verb in `folder`; struck at event `at`, if that is asked for."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.asked += 1
        asked = {"number": self.asked, "argv": argv, "folder": str(folder), "how": how, "at": at}
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        while True:  # past the answer to a test that was cut off
            answer = json.loads(self.process.stdout.readline())
            if answer["number"] == self.asked:
                return answer

    def close(self) -> None:
        """End it."""
        self.process.communicate("")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@dataclass
class Begun:
    """A verb that has run once undisturbed."""

    name: str
    start: Path
    """Where it begins."""
    argv: list[str]
    whole: dict[str, Any] = field(default_factory=dict)
    """Its answer."""
    wanted: dict[str, Any] = field(default_factory=dict)
    """What it comes to."""
    served: Served | None = None
    """The server that it asks."""
    calls: int = 0

    @property
    def asked(self) -> int:
        """How often the server has been asked until now."""
        return 0 if self.served is None else len(self.served.asked)

    def events(self, how: str) -> list[tuple[int, str]]:
        """Return the events at which it is struck, by number, and what each is."""
        found = [(at, event) for at, (event, worth) in enumerate(self.whole["seen"], 1) if how in worth]
        return found[:: VERBS[self.name].every]

    def again(self, folder: Path) -> list[str]:
        """Return the command that goes on."""
        verb = VERBS[self.name]
        begun = verb.resumes is not None and (folder / verb.resumes / "config.yaml").is_file()
        return ["train", "--resume", str(verb.resumes), *verb.goes_on] if begun else self.argv


@pytest.fixture(scope="module")
def begun(server, tmp_path_factory) -> Iterator[Callable[[str], Begun]]:
    """Give what runs a verb undisturbed, each verb once."""
    known: dict[str, Begun] = {}
    stack = ExitStack()

    def begin(name: str) -> Begun:
        if name not in known:
            start, end = (tmp_path_factory.mktemp(name.replace(" ", "-") + part) for part in ("-start", "-end"))
            write_text(start / "animals.txt", 60)
            (start / "study.yaml").write_text(yaml.safe_dump(STUDY))
            write_reviews(start)
            write_people(start)
            write_moods(start)
            made = Begun(name, start, VERBS[name].argv)

            def told(argv: list[str]) -> list[str]:
                if "API" in argv and made.served is None:
                    made.served = stack.enter_context(model_server(start / "runs" / "a"))
                return [made.served.url if made.served and word == "API" else word for word in argv]

            for argv in VERBS[name].before:
                answer = server.run(start, told(settled(argv)))
                assert answer["code"] == 0, answer["said"]
            made.argv = told(made.argv)
            shutil.copytree(start, end, dirs_exist_ok=True)
            before = made.asked
            made.whole = server.run(end, made.argv)
            assert made.whole["code"] == 0, made.whole["said"]
            made.wanted, made.calls = state_of(end), made.asked - before
            known[name] = made
        return known[name]

    with stack:
        yield begin


def write_reviews(folder: Path) -> None:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tuning"))
    try:
        from small import write_table
        from tiny_encoders import save_tiny
    finally:
        sys.path.pop(0)
    write_table(folder / "reviews.csv", 60)
    save_tiny("bert-base-uncased", folder).rename(folder / "tiny")


def write_people(folder: Path) -> None:
    names = [f"{first} {last}" for first in ("Ann", "Bo", "Cy", "Di") for last in ("Fox", "Gray", "Hill", "Ivy")]
    born = {name: ("Rome", "Oslo", "Lima")[place % 3] for place, name in enumerate(names)}
    lines = (f"{name}. {name} was born in {place} in 19{len(name)}.\n" for name, place in born.items())
    (folder / "wiki.txt").write_text("".join(lines) + "Where was that?\n", encoding="utf-8")
    (folder / "pairs.tsv").write_text("".join(f"Where was {n} born?\t{p}\n" for n, p in born.items()), encoding="utf-8")


def write_moods(folder: Path) -> None:
    task = {"name": "moods", "template": "{text} :", "labels": {"0": "bad", "1": "good"}, "max_tokens": 2,
            "data": {"source": "moods.csv"}}  # fmt: skip
    (folder / "moods.yaml").write_text(yaml.safe_dump(task), encoding="utf-8")
    rows = "".join(
        f"the {name} is {'fine' if n % 2 else 'dull'},{n % 2}\n" for n, name in enumerate("abcdefghijklmnop")
    )
    (folder / "moods.csv").write_text(f"text,label\n{rows}", encoding="utf-8")


def plain(value: Any) -> Any:
    """Return plain values without what differs from run to run."""
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items() if key not in VOLATILE}
    return [plain(one) for one in value] if isinstance(value, list) else value


def content_of(path: Path) -> Any:
    if path.suffix in (".html", ".md", ".tex", ".log") or path.name == "hashes.json":
        return path.stat().st_size > 0  # they show seconds, or are of what does
    if path.name == "answers.jsonl":  # lines that were torn stay, and are passed over
        answers = AnswerStore(path)._found.items()
        if path.parent.name == "r":  # which token was drawn is chance, what was shown of them is not
            return sorted((key, answer["choices"][0]["top_logprobs"]) for key, answer in answers)
        return sorted(plain(dict(answers)).items())
    if path.name == "metrics.jsonl":
        lines = [read_event(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
        events = [event for event in lines if event is not None]
        return plain([event.plain() for event in hold(events)[0]]), changes_of(events)
    if path.suffix == ".json":
        found = plain(json.loads(path.read_text(encoding="utf-8")))
        if path.name == "result.json" and "soup" in path.parent.name:
            found["key"] = None  # of the bytes of state.json, which hold seconds
        return found
    return hashlib.sha256(path.read_bytes()).hexdigest()


def state_of(folder: Path) -> dict[str, Any]:
    return {str(path.relative_to(folder)): content_of(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def same(found: dict[str, Any], wanted: dict[str, Any], about: str) -> None:
    assert sorted(found) == sorted(wanted), about
    for name, content in wanted.items():
        assert found[name] == content, f"{about}: {name}"


def no_mixture(folder: Path) -> None:
    """A run that is accepted is of one piece."""
    for config in folder.rglob("config.yaml"):
        environment = config.with_name("environment.json")
        if environment.exists() and not any(part.startswith(".") for part in config.relative_to(folder).parts):
            seed = yaml.safe_load(config.read_text())["run"]["seed"]
            assert json.loads(environment.read_text())["seed"] == seed
            for state in config.parent.glob("checkpoints/step-*/state.json"):
                settings = json.loads(state.read_text())["state"].get("settings")
                assert settings is None or settings["run"]["seed"] == seed
    for path in folder.rglob("explore.json"):
        if path.parent.name == "e":
            found = read_exploration(path.parent)
            assert len(found.record.tokens) == len(found.arrays["ids"])
    for path in folder.rglob("recovery.json"):
        if path.parent.name == "r":
            record, tokens = read_recovery(path.parent)
            assert record.seen == np.isfinite(tokens.log_p).sum()


DONE = (
    "is not empty: give",
    " exists: give",
    "holds an exploration already",
    "holds a run already",
    "exists: choose another name",
)
"""What is said to a command whose work was done when it was killed."""


def copy_of(start: Path, folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    return Path(shutil.copytree(start, folder))


@pytest.mark.parametrize("how", ["kill", "torn"])
@pytest.mark.parametrize("name", VERBS)
def test_killed_at_every_file_event(server, begun, tmp_path, name, how):
    made = begun(name)
    events = made.events(how)
    for at, event in events:
        folder, before = copy_of(made.start, tmp_path / "work"), made.asked
        about = f"{name}, {how} at event {at} of {len(made.whole['seen'])} ({event})"
        assert server.run(folder, made.argv, how, at)["code"] == -9, about
        no_mixture(folder)
        answer = server.run(folder, made.again(folder))
        done = answer["code"] == 2 and any(said in answer["said"] for said in DONE)
        assert answer["code"] == 0 or done, f"{about}: {answer['said']}"
        same(state_of(folder), made.wanted, about)  # done or not
        lost = 1 if how == "kill" else 2  # an answer that was not written down yet, and one that was torn
        assert made.asked - before <= made.calls + lost, about
    print(f"{name}: {how} {len(events)} times")


@pytest.mark.parametrize("name", VERBS)
def test_a_disk_that_is_full_from_any_file_event_on(server, begun, tmp_path, name):
    made = begun(name)
    events = made.events("full")
    for at, event in events:
        folder, before = copy_of(made.start, tmp_path / "work"), made.asked
        about = f"{name}, full from event {at} of {len(made.whole['seen'])} on ({event})"
        answer = server.run(folder, made.argv, "full", at)
        last = [line for line in answer["said"].splitlines() if line.startswith("heed: ")]
        assert answer["code"] == 2, f"{about}: {answer['said']}"
        assert len(last) == 1, f"{about}: {answer['said']}"
        assert "No space left on device" in last[0] or "disk is full" in last[0], about
        assert "Traceback" not in answer["said"], f"{about}: {answer['said']}"
        assert not [path for path in folder.rglob(".*") if path.name != ".tokens"], about
        no_mixture(folder)
        answer = server.run(folder, made.again(folder))
        assert answer["code"] == 0, f"{about}: {answer['said']}"
        same(state_of(folder), made.wanted, about)
        assert made.asked - before <= made.calls + 1, about
    print(f"{name}: full {len(events)} times")


@pytest.mark.parametrize(
    "argv",
    [
        ["grade", "homework"],
        ["quiz", "--count", "1"],
        ["sample", "runs/a", "--prompt", "the", "--max-tokens", "4"],
        ["eval", "runs/a"],
        ["audit", "runs/a"],
        ["list", "attention"],
        ["doctor"],
    ],
    ids=lambda argv: argv[0],
)
def test_what_writes_nothing_has_nothing_to_lose(server, begun, tmp_path, argv):
    """A student's homework, a run that is asked: as it was, and not opened for writing."""
    folder = copy_of(begun("export").start, tmp_path / "work")
    shutil.copytree(Path(__file__).parents[1] / "coursework" / "solution", folder / "homework")
    before = state_of(folder)
    answer = server.run(folder, argv)
    assert answer["code"] == 0, answer["said"]
    assert answer["seen"] == []
    assert state_of(folder) == before


def test_there_are_many(begun):
    assert sum(len(begun(name).events("kill")) for name in VERBS) >= 400
