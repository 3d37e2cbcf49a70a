"""What heed gave before: small runs of every objective, a study, a tune, an old run folder, and what they came to.

`test_golden.py` holds today's heed against `golden.json`. `python tests/golden/golden_cases.py [PART ...]` writes it
anew, or some parts of it (`old-run` writes the old run itself); do that only where a change is meant, and say so.

Everything is made here: texts by a toy grammar, models of one layer. Batches are whole numbers, so they must be equal;
figures may differ in the last digits between processors.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from heed.build import build_tokenizer
from heed.cli import main
from heed.config import Config, make_config
from heed.objectives import objective_of
from heed.training.streams import stream_seed

HERE = Path(__file__).parent
GOLDEN, OLD = HERE / "golden.json", HERE / "old-run"
BATCHES = 50

MODEL = {"n_layers": 1, "d_model": 16, "context": 48}
HEADS = {"n_heads": 2}
TRAIN = {"steps": 12, "batch_size": 4, "warmup_steps": 2, "eval_every": 6, "checkpoint_every": 6, "precision": "fp32"}
CASES: dict[str, dict[str, Any]] = {
    "next-token": {"data": {"source": "lines.txt"}, "tokenizer": {"vocab_size": 300}},
    "lstm-padded": {
        "data": {"source": "lines.txt", "separator": "\n", "layout": "padded", "group_batches": 2},
        "tokenizer": {"kind": "word", "vocab_size": 60},
        "model": {"kind": "lstm"},
        "train": {"loss": "sequence", "optimizer": "momentum", "schedule": "constant", "learning_rate": 0.1},
    },
    "gru-stream": {
        "data": {"source": "lines.txt", "layout": "stream"},
        "tokenizer": {"kind": "char"},
        "model": {"kind": "gru", "recurrent": {"carry": True}},
        "train": {"schedule": "wsd", "average_fraction": 0.5},
    },
    "masked": {"data": {"source": "lines.txt"}, "tokenizer": {"vocab_size": 300}, "model": {"kind": "encoder"}},
    "classes": {
        "data": {"source": "reviews.csv", "label": "label", "test_fraction": 0.2},
        "tokenizer": {"vocab_size": 300},
        "model": {"kind": "encoder", "attention": {"mechanism": "fastformer"}},
    },
    **{
        objective: {
            "data": {"source": "people.txt", "separator": "\n", "layout": "padded", "objective": objective},
            "tokenizer": {"vocab_size": 300},
        }
        for objective in ("single-span", "spans", "salient-span", "recall-span")
    },
    "mixture": {
        "data": {
            "source": "people.txt", "separator": "\n", "layout": "padded", "objective": "single-span",
            "questions": "questions.tsv", "questions_share": 0.4, "plain_share": 0.3,
        },
        "tokenizer": {"vocab_size": 300},
    },
    "answers": {
        "data": {"source": "questions.tsv", "layout": "padded", "objective": "answers"},
        "tokenizer": {"kind": "char"},
        "train": {"optimizer": "muon"},
    },
}  # fmt: skip
STUDY = """
base:
  data: {source: lines.txt, workers: 1}
  tokenizer: {kind: char}
  model: {n_layers: 1, n_heads: 2, d_model: 16, context: 16}
  train: {batch_size: 4, eval_every: 4, checkpoint_every: 4, precision: fp32}
  run: {device: cpu, threads: 1}
variants: {pre: {}, post: {model.norm_order: post}}
seeds: [1, 2]
budget: {steps: 8}
figure: loss
"""
TUNE = [
    "reviews.csv", "--methods", "head,full,lora", "--encoders", "encoder", "--seeds", "2", "--epochs", "2",
    "--rates", "1e-2", "--batch-size", "8", "--max-length", "16", "--threads", "1", "--train.precision", "fp32",
]  # fmt: skip
VOLATILE = (
    "seconds", "tokens_per_second", "examples_per_second", "memory_bytes", "memory", "time", "evaluation_seconds",
    "machine", "command",
    "git_commit", "versions", "heed", "torch", "python", "numpy", "learning_rate", "training_seconds",
)  # fmt: skip
"""What depends on the machine, the moment or the version (a learning rate is told by the losses that it led to)."""


def write_texts(folder: Path) -> None:
    """Write the texts of the cases: running text, lines about people, questions about them, reviews with labels."""
    draw = random.Random(0)
    nouns, verbs = ["the cat", "a dog", "my heron", "one fox"], ["sees", "hears", "follows", "dreams of"]
    lines = [f"{draw.choice(nouns)} {draw.choice(verbs)} {draw.choice(nouns)}." for _ in range(400)]
    (folder / "lines.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    names = [
        f"{first} {last}" for first in ("Ada", "Béla", "Chen", "Dora") for last in ("Ek", "Fox", "Gül", "Hay", "Iwo")
    ]
    places = {name: draw.choice(["Rome", "Oslo", "Lima", "New York"]) for name in names}
    told = [f"{n}. {n} was born in {p} in {draw.randint(1900, 1999)} and wrote books." for n, p in places.items()]
    (folder / "people.txt").write_text("\n".join(told * 3) + "\n", encoding="utf-8")
    asked = [f"Where was {name} born?\t{place}" for name, place in places.items()]
    (folder / "questions.tsv").write_text("\n".join(asked) + "\n", encoding="utf-8")
    good, bad = ["a joy", "so warm", "great fun"], ["a bore", "so cold", "no fun"]
    rows = [
        f'"{draw.choice(good if label else bad)}, {draw.choice(nouns)} {draw.choice(verbs)} {number}",{label}'
        for number, label in enumerate([0, 1] * 40)
    ]
    (folder / "reviews.csv").write_text("text,label\n" + "\n".join(rows) + "\n", encoding="utf-8")


def write_encoder(folder: Path) -> None:
    """Write a tiny pretrained encoder: BERT, its words those of the reviews."""
    import torch
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    text = (folder / "reviews.csv").read_text(encoding="utf-8")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *sorted(set("".join(c if c.isalnum() else " " for c in text).split()))]
    made = Tokenizer(WordLevel({word: id for id, word in enumerate(words)}, unk_token="[UNK]"))
    made.pre_tokenizer = Whitespace()
    pair = "[CLS] $A [SEP] $B:1 [SEP]:1"
    made.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair=pair, special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=made, **names).save_pretrained(folder / "encoder")
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=len(words), max_position_embeddings=32, **shape)).save_pretrained(
        folder / "encoder"
    )


def config_of(name: str) -> Config:
    """Return the configuration of a case."""
    given = CASES[name]
    model = {**MODEL, **given.get("model", {})}
    model |= {} if model.get("kind") in ("lstm", "gru") else HEADS
    values = {"model": model, "train": {**TRAIN, **given.get("train", {})}}
    run = {"folder": "runs", "name": name, "device": "cpu", "threads": 1}
    return make_config({**given, **values, "data": {**given["data"], "workers": 1}, "run": run})


def hash_of_batches(name: str) -> str:
    """Return the SHA-256 of the first batches of a case."""
    config, quiet = config_of(name), lambda line: None
    objective = objective_of(config)
    corpora = objective.open(config)
    tokenizer = build_tokenizer(config, corpora, objective.specials(config), quiet)
    files = objective.encode(corpora, tokenizer, config, quiet)
    values = config.model_dump()
    values["tokenizer"] |= {"vocab_size": tokenizer.vocab_size}
    values["train"]["steps"] = config.train.steps
    stream = objective.stream(files, tokenizer, make_config(values), stream_seed(config.run.seed, "data"), quiet)
    found = hashlib.sha256()
    for _ in range(BATCHES):
        batch = next(stream)
        for array in (batch.source, batch.target, batch.mask):
            found.update(b"-" if array is None else repr(array.shape).encode() + np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def say(*argv: str) -> tuple[int, str]:
    """Run a verb in this process; return its exit code and what it printed on standard output."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(list(argv))
    if code == 2:
        raise RuntimeError(f"heed {' '.join(argv)}: {err.getvalue()}")
    return code, out.getvalue()


def answer(*argv: str) -> Any:
    """Return the JSON that a verb prints, without what depends on the machine."""
    code, out = say(*argv, "--json")
    return {"exit": code, "json": steady(json.loads(out))}


def steady(value: Any) -> Any:
    """Return plain values without what depends on the machine, the moment or the place."""
    if isinstance(value, dict):
        return {key: steady(each) for key, each in value.items() if key not in VOLATILE}
    if isinstance(value, list):
        return [steady(each) for each in value]
    if isinstance(value, str):
        return value.replace(os.getcwd(), "HERE")
    return value


def events(name: str, folder: str = "runs") -> list[Any]:
    """Return the events of a run that are not samples, which hang on the last digit of a probability."""
    lines = Path(folder, name, "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [steady(event) for event in map(json.loads, lines) if event["event"] != "sample"]


def train(name: str) -> dict[str, Any]:
    """Train a case; return its batches, events and figures."""
    import yaml

    file = Path(f"{name}.yaml")
    file.write_text(yaml.safe_dump(config_of(name).model_dump(exclude_unset=True)), encoding="utf-8")
    told = answer("train", "--config", str(file))
    return {"batches": hash_of_batches(name), "train": told, "events": events(name)}


def verbs() -> dict[str, Any]:
    """Return what each verb that measures says of the runs above."""
    return {
        "eval": answer("eval", "runs/next-token", "--stride", "8"),
        "eval-classes": answer("eval", "runs/classes", "--split", "test"),
        "eval-qa": answer("eval", "runs/answers", "--task", "qa", "--questions", "questions.tsv"),
        "ask": answer("ask", "runs/answers", "Where was Ada Ek born?"),
        "audit": answer("audit", "runs/next-token"),
        "sample": answer("sample", "runs/next-token", "--prompt", "the cat", "--max-tokens", "8", "--temperature", "0"),
        "tokenizer": answer("tokenizer", "report", "runs/next-token/tokenizer.json", "lines.txt"),
        "biographies": answer("data", "biographies", "--out", "people", "--people", "20"),
        "check": answer("check", "next-token.yaml"),
    }


def study() -> dict[str, Any]:
    """Return what a study comes to."""
    Path("study.yaml").write_text(STUDY, encoding="utf-8")
    return answer("compare", "study.yaml", "--out", "study")


def tune() -> dict[str, Any]:
    """Return what a tune and its runs come to."""
    write_encoder(Path.cwd())
    told = answer("tune", *TUNE, "--out", "tune")
    return {"tune": told, "predict": answer("predict", "tune", "a joy, the cat sees 1")}


def old() -> dict[str, Any]:
    """Return what the old run says, resumed from where it was cut off."""
    shutil.copytree(OLD, "old", dirs_exist_ok=True)
    code, _ = say("report", "old")
    found = {
        "eval": answer("eval", "old"),
        "sample": answer("sample", "old", "--prompt", "the cat", "--max-tokens", "8", "--temperature", "0"),
        "report": code,
        "export": say("export", "old", "--to", "hf", "--out", "old-hf")[0],
        "resume": answer("train", "--resume", "old", "--train.steps", "12"),
    }
    return {**found, "events": events("old", ".")}


def write_old() -> None:
    """Write the run that stays as it is: half of its steps, on the text of the cases."""
    config = config_of("next-token").model_dump(exclude_unset=True)
    config["tokenizer"] = {"kind": "char"}
    config["train"]["schedule"] = "constant"
    config["train"]["steps"] = 6
    config["run"]["name"] = "old-run"
    import yaml

    Path("old.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    assert say("train", "--config", "old.yaml")[0] == 0
    shutil.rmtree(OLD, ignore_errors=True)
    shutil.copytree("runs/old-run", OLD, ignore=shutil.ignore_patterns("report.html"))


PARTS = {
    **{name: lambda name=name: train(name) for name in CASES},
    "verbs": verbs,
    "study": study,
    "tune": tune,
    "old": old,
}


@contextlib.contextmanager
def workplace() -> Iterator[None]:
    """Work in an empty folder that holds the texts."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            write_texts(Path(folder))
            yield
        finally:
            os.chdir(before)


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"
    asked = sys.argv[1:] or list(PARTS)
    found = json.loads(GOLDEN.read_text(encoding="utf-8")) if GOLDEN.exists() else {}
    with workplace():
        if "old-run" in asked:
            write_old()
        for part in filter(PARTS.__contains__, asked):
            found[part] = PARTS[part]()
        found = {part: found[part] for part in PARTS if part in found}
        GOLDEN.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
