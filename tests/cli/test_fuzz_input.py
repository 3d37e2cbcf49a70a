"""Thousands of broken inputs, drawn with fixed seeds: each ends in time with exit code 0 or 2, and a line a problem.

Configurations and studies go through `heed check`, most of them being sound ones with little changed; of those that are
accepted some are trained. Corpora are read, other verbs are refused.
"""

import contextlib
import gzip
import io
import json
import random
import re
import string
import traceback
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
import yaml

import heed.experiment  # noqa: F401 - torch, whose import may take longer than any verb
from cli.conftest import write_text
from cli.test_odd_input import limit
from heed.cli import VERBS, main
from heed.config import Config, Section, overlay
from heed.errors import HeedError
from heed.text.corpus import open_corpus
from heed.text.tokenizers import load_tokenizer, train_tokenizer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600), pytest.mark.filterwarnings("ignore")]
SECONDS = 60
"""Longer than this is a hang."""
PROGRESS = (
    *("device: ", "tokenizer: ", "text: ", "note: ", "model: ", "measuring ", "repeating ", "step ", "going on "),
    *("questions: ", "classes: ", "bill: ", "spent: ", "probing ", "asking "),
)
"""How lines begin that say what is being done."""
ODD_TEXT = [
    "",
    " ",
    "\n",
    "None",
    "null",
    "true",
    "1e400",
    "-1",
    "0",
    "nan",
    "inf",
    "\u200b",
    "é",
    "日本",
    "\u202eabc",
    "\x1b[2J",
    "../x",
    "/",
    "~",
    "~nosuchuser",
    "a" * 300,
    "{}",
    "[]",
    "{a: 1}",
    "*",
    "?",
    "hf:x",
    "--",
    "=",
    "\ud800",
    "1_000",
    "0x10",
    "1:30",
    "2001-01-01",
    "<|endoftext|>",
    "%s",
    "{0}",
    "a.b.c",
    ".",
    "..",
    "-",
]
RAW = [
    ".nan",
    ".inf",
    "-.inf",
    "1e400",
    "1.0e+400",
    "9" * 30,
    "9" * 5000,
    "~",
    "null",
    "yes",
    "!!binary aGk=",
    "!!set {a, b}",
    "!!python/object:os.system x",
    "!!python/name:os.system",
    "2001-01-01",
    "2001-99-99",
    "!!int x",
    "!!timestamp 1",
    "[1, [2, [3]]]",
    "{a: {b: {c: 1}}}",
    "*nothing",
    "&a [*a]",
    "'",
    '"',
    "{",
    "[",
    "|",
    "> x",
    "? a",
    "- b",
    "0o8",
    "!!float x",
    "!!omap [a: 1]",
    "!!pairs [a: 1]",
    "\t",
    "%",
    "@",
    "`",
    "!",
    "!!",
    "&",
    "*",
    "0b2",
    "1__0",
    "\x00",
]


class Tried:
    """Calls that were tried, and those that did not end as they should."""

    def __init__(self) -> None:
        self.count, self.accepted = 0, 0
        self.bad: list[str] = []
        self.told: set[str] = set()
        """What was said, without the values that it was said of."""

    def noted(self, line: str) -> None:
        """Count a line among what was said."""
        self.told.add(re.sub(r"'[^']*'|\"[^\"]*\"|[\w./-]*\d[\w./-]*|/\S+", "~", line)[:80])

    def verb(self, *argv: str, seed: int, lines: int | None = 1) -> None:
        """Run a verb; `lines` of it may be told at most, None for any number."""
        self.count += 1
        out, err = io.StringIO(), io.StringIO()
        try:
            with limit(SECONDS), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                code = main(list(argv))
        except SystemExit as stop:  # --help
            code = stop.code or 0
        except BaseException as error:
            self.note(seed, argv, error)
            return
        told = [line for line in err.getvalue().split("\n") if line and not line.startswith(PROGRESS)]
        self.accepted += code == 0
        for line in told if code == 2 else ():
            self.noted(line)
        if (
            code not in (0, 2)
            or (code == 2 and not told and "--json" not in argv)
            or (lines and code == 2 and len(told) > lines)
        ):
            self.bad.append(f"seed {seed}: {argv}: code {code}, told {told}")
        if code == 2 and not all(line.startswith("heed: ") and len(line) < 5000 for line in told):
            self.bad.append(f"seed {seed}: {argv}: told {told}")

    def call(self, function, *, seed: int, what: object) -> None:
        """Call a function, which may raise a `HeedError` of one line."""
        self.count += 1
        try:
            with limit(SECONDS):
                function()
            self.accepted += 1
        except HeedError as error:
            self.noted(str(error))
            if "\n" in str(error).replace("x\ny", "xy") or not str(error):  # a name with a line end
                self.bad.append(f"seed {seed}: {what}: {error!r}")
        except BaseException as error:
            self.note(seed, what, error)

    def note(self, seed: int, what: object, error: BaseException) -> None:
        frames = traceback.extract_tb(error.__traceback__)
        at = " < ".join(f"{Path(f.filename).name}:{f.lineno}" for f in reversed(frames[-5:]))
        self.bad.append(f"seed {seed}: {str(what)[:300]!r}: {type(error).__name__} {str(error)[:150]} at {at}")

    def end(self, least: int) -> None:
        print(
            f"{self.count:,} inputs, {self.accepted:,} accepted, {len(self.told):,} different errors, "
            f"{len(self.bad):,} bad"
        )
        assert self.count >= least
        assert not self.bad, "\n".join(self.bad[:40])


def settings() -> list[tuple[str, str]]:
    return [(s, name) for s, field in Config.model_fields.items() for name in field.annotation.model_fields]


SETTINGS = settings()
OUTSIDE = {("data", "source"), ("run", "device"), ("run", "folder"), ("data", "cache"), ("train", "compile")}
"""Settings that a sound configuration keeps."""
SAFE = [(s, n) for s, n in SETTINGS if n not in ("workers", "threads", "embeddings")]


def value(draw: random.Random, depth: int = 0):
    """Return a value of any kind that YAML can hold."""
    kind = draw.randrange(10 if depth < 3 else 7)
    if kind == 0:
        return draw.choice([0, 1, -1, 2, 3, 7, 64, 257, 10**12, 2**63, -(2**64), 10**30])
    if kind == 1:
        return draw.choice([0.0, 0.5, 1.0, 1.5, -0.1, 1e-300, 1e300, float("nan"), float("inf"), -float("inf")])
    if kind == 2:
        return draw.choice([True, False, None])
    if kind in (3, 4):
        return draw.choice([text for text in ODD_TEXT if "\ud800" not in text])
    if kind == 5:
        return draw.choice(["gpt", "encoder", "lstm", "window", "char", "word", "bpe", "padded", "stream", "answers",
                            "sgd", "muon", "rotary", "alibi", "performer", "bigbird", "aft-local", "linformer", "auto",
                            "small", "sequence", "cosine", "swiglu", "none", "spans", "text", "label"])  # fmt: skip
    if kind == 6:
        return draw.choice([1, 2, 4, 8, 16, 32])
    if kind == 7:
        return [value(draw, depth + 1) for _ in range(draw.randrange(4))]
    keys = [name for _, name in SETTINGS] + ODD_TEXT[:12]
    return {draw.choice(keys): value(draw, depth + 1) for _ in range(draw.randrange(4))}


def configuration(draw: random.Random) -> dict:
    """Return nested settings, most of them known ones with values of any kind."""
    made: dict = {}
    for _ in range(draw.randrange(1, 6)):
        section, name = draw.choice(SAFE)
        if draw.random() < 0.1:
            section = draw.choice(["data", "trian", "", "1", "model"])
        if draw.random() < 0.1:
            name = draw.choice([name[:-1], name.upper(), "x", "", name + "é"])
        inner = made.setdefault(section, {})
        if isinstance(inner, dict):
            inner[name] = value(draw)
        if draw.random() < 0.05:
            made[section] = value(draw)
    return made


SOUND = [
    {"model": {"kind": "gpt"}},
    {"model": {"kind": "gpt", "positions": "rotary", "norm": "rms"}, "tokenizer": {"kind": "bpe", "vocab_size": 300}},
    {"model": {"kind": "lstm"}, "data": {"layout": "stream"}},
    {"model": {"kind": "window", "window": 3}},
    {"model": {"kind": "encoder"}, "data": {"source": "moods.csv", "label": "label"}},
    {"model": {"kind": "encoder"}},
    {"data": {"objective": "spans", "layout": "padded"}},
    {"data": {"objective": "answers", "layout": "padded", "source": "pairs.tsv"}, "model": {"context": 32}},
]
"""Runs of a second, in what differs from `SMALL`."""
SMALL = {
    "data": {"source": "animals.txt", "workers": 1},
    "tokenizer": {"kind": "char"},
    "model": {"n_layers": 1, "d_model": 16, "context": 16},
    "train": {"batch_size": 4, "steps": 2, "warmup_steps": 1, "eval_every": 1, "eval_tokens": 64, "final_tokens": 64},
    "run": {"device": "cpu", "threads": 1},
}


def write_sources(folder: Path) -> None:
    """Write the texts of `SOUND`."""
    write_text(folder / "animals.txt", 60)
    moods = "".join(f"the {word} is {'fine' if n % 2 else 'dull'},{n % 2}\n" for n, word in enumerate("abcdefghij" * 4))
    (folder / "moods.csv").write_text(f"text,label\n{moods}")
    (folder / "pairs.tsv").write_text("".join(f"Where is {n}?\t{'Rome' if n % 2 else 'Oslo'}\n" for n in range(40)))


def likely(draw: random.Random, kind: Any, default: Any) -> Any:
    """Return a value of the kind of a setting; it may be one that does not go together with others."""
    inner = [one for one in get_args(kind) if one is not type(None)]
    if get_origin(kind) is Literal:
        return draw.choice(get_args(kind))
    if inner:
        return None if len(inner) < len(get_args(kind)) and draw.random() < 0.3 else likely(draw, inner[0], default)
    if isinstance(kind, type) and issubclass(kind, Section):
        some = draw.sample(list(kind.model_fields.items()), draw.randrange(1, 3))
        return {name: likely(draw, field.annotation, field.default) for name, field in some}
    if kind is bool:
        return draw.random() < 0.5
    if kind is int:
        return draw.choice([1, 2, 3, 4, 8, default if isinstance(default, int) and default < 1000 else 1])
    if kind is float:
        return draw.choice([0.0, 0.1, 0.5, 1.0, 1, 1e-3, default])
    return default if draw.random() < 0.8 else draw.choice(["a", "1", "utf-8", "\n", "nowhere.txt"])


def sound(draw: random.Random) -> dict[str, Any]:
    """Return nested settings that are right, most of the time, and then again not."""
    made = json.loads(json.dumps(overlay(SMALL, draw.choice(SOUND))))
    for _ in range(draw.randrange(4)):
        section, name = draw.choice([(s, n) for s, n in SAFE if (s, n) not in OUTSIDE])
        field = Config.model_fields[section].annotation.model_fields[name]
        made[section][name] = likely(draw, field.annotation, field.default)
    if draw.random() < 0.25:
        section, name = draw.choice(SAFE)
        made[section][draw.choice([name, name[:-1]])] = value(draw)
    return made


def written(draw: random.Random, content: object, damaged: float = 0.5) -> bytes:
    """Return YAML, in so many of the cases with damage done to its text."""
    text = yaml.safe_dump(content, allow_unicode=True)
    for _ in range(draw.randrange(1, 3) if draw.random() < damaged else 0):
        at = draw.randrange(len(text) + 1)
        how = draw.randrange(5)
        if how == 0:
            text = text[:at] + draw.choice(RAW) + text[at:]
        elif how == 1:
            text = text[:at] + text[at + draw.randrange(1, 5) :]
        elif how == 2:
            lines = text.split("\n")
            text = "\n".join([*lines, draw.choice(lines)])
        elif how == 3:
            lines = text.split("\n")
            place = draw.randrange(len(lines))
            key, colon, _ = lines[place].partition(":")
            lines[place] = f"{key}{colon} {draw.choice(RAW)}"
            text = "\n".join(lines)
        else:
            text = text[:at] + chr(draw.choice([0, 7, 9, 13, 0x2028, 0xFEFF, 0x202E, 0x1F600])) + text[at:]
    data = text.encode("utf-8", "surrogatepass")
    if draw.random() < 0.1 * damaged:
        data = bytes(byte ^ (draw.random() < 0.02) for byte in data)
    return data


def test_configurations(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_sources(tmp_path)
    tried, trained, path = Tried(), Tried(), tmp_path / "c.yaml"
    for seed in range(900):
        draw = random.Random(seed)
        wild = draw.random() < 0.3
        path.write_bytes(written(draw, configuration(draw)) if wild else written(draw, sound(draw), 0.1))
        before = tried.accepted
        tried.verb("check", str(path), *(["--json"] if seed % 9 == 1 else []), seed=seed, lines=None)
        if tried.accepted > before and not wild and seed % 3 == 0:
            short = ["--train.steps=2", "--run.folder=runs", "--run.name=a", "--data.cache=tokens", "--overwrite"]
            trained.verb("train", "--config", str(path), *short, seed=seed)
    trained.end(40)
    assert trained.accepted >= 0.9 * trained.count, trained.told  # only the text can tell the rest
    assert tried.accepted >= 900 // 5
    tried.end(900)


def wild_study(draw: random.Random) -> dict[str, Any]:
    """Return a study of any values."""
    study: dict[str, Any] = {
        "budget": {draw.choice(["steps", "tokens", "flops", "seconds"]): draw.choice([1, 10, 1e9, value(draw)])},
        "variants": {draw.choice(["a", "b", "é", "x/y", 1, "c" * 300]): configuration(draw) for _ in range(2)},
        "seeds": draw.choice([1, 3, [1, 2], value(draw)]),
        "base": draw.choice([{}, configuration(draw), "nowhere.yaml", "s.yaml", value(draw)]),
        "axes": {
            ".".join(draw.choice(SAFE)): [value(draw) for _ in range(draw.randrange(3))]
            for _ in range(draw.randrange(3))
        },
    }
    if draw.random() < 0.5:
        parameters = {
            ".".join(draw.choice(SAFE)): draw.choice([[1, 2], {"low": 1, "high": 2}, value(draw)]) for _ in range(2)
        }
        study["search"] = {"parameters": parameters, draw.choice(["trials", "method", "seeds", "x"]): value(draw)}
    for _ in range(draw.randrange(3)):
        study[draw.choice([*study, "lengths", "figure", "baseline", "title", "set", "x"])] = value(draw)
    if draw.random() < 0.3:
        study.pop(draw.choice(list(study)))
    return study


CHANGES: dict[str, list[Any]] = {
    "model.n_layers": [1, 2],
    "model.positions": ["learned", "rotary", "alibi", "none"],
    "model.norm_order": ["pre", "post"],
    "model.d_model": [8, 16],
    "train.learning_rate": [1e-3, 1e-2],
    "train.optimizer": ["adamw", "sgd", "muon"],
    "train.batch_size": [2, 4],
    "model.activation": ["relu", "swiglu"],
}
"""What variants may differ in."""


def sound_study(draw: random.Random) -> dict[str, Any]:
    """Return a study that is right, unless one of its parts was changed for another."""
    base = overlay(SMALL, draw.choice(SOUND[:2]))
    base["train"] = {name: one for name, one in base["train"].items() if name not in ("steps", "final_tokens")}
    first, second, third = draw.sample(list(CHANGES), 3)
    study: dict[str, Any] = {
        "budget": {"steps": 2} if draw.random() < 0.7 else {"tokens": 256},
        "base": json.loads(json.dumps(base)),
        "variants": {"a": {}, "b": {first: draw.choice(CHANGES[first])}},
        "seeds": draw.choice([1, 2, [3]]),
    }
    if draw.random() < 0.4:
        study["axes"] = {second: CHANGES[second][: draw.randrange(1, 3)]}
    if draw.random() < 0.2:
        study["search"] = {
            "parameters": {third: CHANGES[third]},
            "method": draw.choice(["random", "grid"]),
            "trials": 2,
        }
    if draw.random() < 0.3:
        study |= draw.choice([{"title": "é: a"}, {"baseline": "b"}, {"figure": "loss"}, {"lengths": [8, 16]}])
    if draw.random() < 0.3:
        place = draw.choice([study, study["base"]["model"], study["base"]["train"], study["variants"]["b"]])
        place[draw.choice(list(place) or ["x"])] = value(draw)
    return study


def test_studies(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_sources(tmp_path)
    tried, made, path = Tried(), Tried(), tmp_path / "s.yaml"
    for seed in range(500):
        draw = random.Random(10_000 + seed)
        wild = draw.random() < 0.4
        path.write_bytes(written(draw, wild_study(draw)) if wild else written(draw, sound_study(draw), 0.1))
        command = draw.choice([("check", str(path)), ("compare", str(path), "--jobs", "0")])
        before = tried.accepted
        tried.verb(*(command if wild else ("check", str(path))), seed=seed, lines=None)
        if tried.accepted > before and not wild and seed % 12 == 0:  # a step of each variant is measured
            made.verb("compare", str(path), "--dry-run", seed=seed)
    assert tried.accepted >= 500 // 5
    assert made.accepted == made.count
    made.end(12)
    tried.end(500)


def test_flags(tmp_path, monkeypatch):
    """Random command lines; one word that no verb takes sees to it that none does anything."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("some words\n" * 50)
    tried = Tried()
    names = ["--json", "--out", "--help2", "--n", "--seed", "--device", "--config", "--resume", "--overwrite",
             "--prompt", "--file", "--text", "--methods", "--rates", "--epochs", "--split", "--kind", "--to", "--jobs",
             "-h2", "--no-json", "--logit-bias", "--lengths", "--people"]  # fmt: skip
    names += [f"--{s}.{n.replace('_', '-')}" for s, n in SETTINGS]
    words = [text for text in ODD_TEXT if text != "--"] + [
        "a.txt",
        "runs/x",
        "train",
        "report",
        "attention",
        "biographies",
    ]
    for seed in range(800):
        draw = random.Random(20_000 + seed)
        verb = draw.choice(list(VERBS))
        argv = []
        for _ in range(draw.randrange(6)):
            name = draw.choice(names)
            if draw.random() < 0.2:
                name = name[: draw.randrange(2, len(name) + 1)]
            argv += draw.choice(
                [[name], [name, draw.choice(words)], [f"{name}={draw.choice(words)}"], [draw.choice(words)]]
            )
        argv.insert(draw.randrange(len(argv) + 1), f"--{''.join(draw.choices(string.ascii_lowercase, k=9))}=1")
        tried.verb(verb, *argv, seed=seed)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt"]
    tried.end(800)


def noise(draw: random.Random) -> bytes:
    """Return the content of a file: random bytes, a text in some encoding, control characters, or nothing."""
    kind = draw.randrange(9)
    if kind == 0:
        return draw.randbytes(draw.randrange(400))
    if kind == 1:
        text = "".join(chr(draw.randrange(0xD800)) for _ in range(draw.randrange(200)))
        return text.encode(draw.choice(["utf-8", "utf-16", "utf-16-le", "utf-32", "utf-8-sig"]))
    if kind == 2:
        return "Käse und Öl\r\n".encode(
            draw.choice(["latin-1", "cp1252", "utf-8", "utf-16", "cp437"])
        ) * draw.randrange(9)
    if kind == 3:
        return bytes(draw.choice(b"\x00\x01\x07\t\n\v\f\r\x1a\x1b \x7f") for _ in range(draw.randrange(60)))
    if kind == 4:
        return b""
    if kind == 5:
        return b"x" * draw.randrange(200_000)
    if kind == 6:
        return b" \n\t\r\n" * draw.randrange(90)
    rows = [
        json.dumps(draw.choice([{"text": value(draw)}, {"text": "words"}, value(draw)]), default=str) for _ in range(9)
    ]
    if kind == 7:
        return "\n".join(rows).encode("utf-8", "surrogatepass")
    cells = ["a", '"b"', '"c', "d,e", "", " ", '" f"', "g\th", "\x00", "é"]
    return ("text,label\n" + "\n".join(",".join(draw.choices(cells, k=draw.randrange(5))) for _ in range(9))).encode()


def test_corpora(tmp_path):
    tried = Tried()
    suffixes = [
        ".txt",
        ".md",
        ".jsonl",
        ".csv",
        ".tsv",
        ".parquet",
        ".txt.gz",
        ".jsonl.gz",
        ".csv.zst",
        ".txt.zst",
        ".png",
    ]
    for seed in range(900):
        draw = random.Random(30_000 + seed)
        folder = tmp_path / str(seed)
        for _ in range(draw.randrange(1, 5)):
            name = draw.choice(["a", "b", "sub/c", "sub/d/e", ".hidden", "é", "x\ny"]) + draw.choice(suffixes)
            data = noise(draw)
            if name.endswith(".gz") and draw.random() < 0.7:
                data = gzip.compress(data)
                data = data[: draw.randrange(len(data) + 1)] if draw.random() < 0.3 else data
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
        how = {
            "encoding": draw.choice(
                ["utf-8"] * 4 + ["latin-1", "utf-16", "cp1252", "shift_jis", "idna", "utf-7", "cp037"]
            ),
            "separator": draw.choice([None, None, "\n", "\r\n", "x", "<|endoftext|>"]),
            "line_ends": draw.choice(["unix", "keep"]),
            "column": draw.choice(["text", "1", "label", ""]),
            "validation_fraction": draw.choice([0.0, 0.1]),
        }

        def read(folder=folder, how=how):
            corpus = open_corpus(folder, **how)
            for split in corpus.splits:
                for text in corpus.documents(split):
                    text.encode()
            assert all("\n" not in note.replace("x\ny", "xy") for note in corpus.notes)

        tried.call(read, seed=seed, what=(sorted(str(path) for path in folder.rglob("*.*")), how))
    tried.end(900)


def test_tokenizer_files(tmp_path):
    texts = ["to be or not to be, that is the question"] * 3
    sound = []
    for kind in ("bpe", "char", "word"):
        train_tokenizer(kind, texts, 300).save(tmp_path / "t.json")
        sound.append(json.loads((tmp_path / "t.json").read_text()))
    tried, path = Tried(), tmp_path / "x.json"
    for seed in range(500):
        draw = random.Random(40_000 + seed)
        whole = json.loads(json.dumps(draw.choice(sound)))
        for _ in range(draw.randrange(1, 3)):
            at = whole
            while True:  # somewhere in it
                key = draw.choice(list(at) if isinstance(at, dict) else range(len(at))) if at else None
                if key is None or not isinstance(at[key], dict | list) or draw.random() < 0.3:
                    break
                at = at[key]
            if key is not None:
                at[key] = draw.choice(
                    [None, 0, -1, 10**12, 10**30, "x", "", [], {}, [[1]], True, 1.5, at[key], value(draw)]
                )
            if key is not None and draw.random() < 0.3 and isinstance(at, dict):
                del at[key]
        data = json.dumps(whole, default=str).encode()
        if draw.random() < 0.2:
            data = data[: draw.randrange(len(data))]
        elif draw.random() < 0.1:
            data = noise(draw)
        path.write_bytes(data)

        def load(path=path):
            tokenizer = load_tokenizer(path)
            tokenizer.decode(tokenizer.encode("to be é"))

        tried.call(load, seed=seed, what=data[:200])
    tried.end(500)
