"""The folder in which commands of README and docs are run: small texts, tables, runs and models by pages' names."""

import json
import re
import shutil
from itertools import islice
from pathlib import Path

from cli.conftest import write_text
from heed.cli import main
from heed.text.biographies import Dials, write_biographies
from test_docs import ROOT
from test_docs_commands import FENCED
from tuning.small import labelled
from tuning.tiny_encoders import save_tiny

ROWS = {
    "tinyshakespeare/input.txt": 600,
    "wikitext-2/train.txt": 60,
    "wikitext-2/valid.txt": 20,
    "wikitext-2/test.txt": 20,
}
ROWS |= {f"sst2/{split}.tsv": 48 for split in ("train", "dev", "test")}
ROWS |= {"boolq/dev.jsonl": 64, "tinystories/sample.txt": 200, "birth-places/wiki.txt": 3000}
ROWS |= {"birth-places/birth_places_train.tsv": 60, "birth-places/birth_dev.tsv": 20}
"""So many lines are taken of each data set."""
QUICK = ["--train.steps", "2", "--train.batch-size", "2", "--train.warmup-steps", "1", "--train.eval-every", "2"]
QUICK += ["--train.checkpoint-every", "2", "--data.workers", "1"]
TEST = ["--data.test-fraction", "0.1"]
SMALL = ["--model.n-layers", "1", "--model.n-heads", "2", "--model.d-model", "16", "--tokenizer.vocab-size", "300"]
MODEL = '''
"""A model that sees no later token."""
import torch


def build():
    torch.manual_seed(0)
    return torch.nn.Embedding(256, 256)
'''


def make_data(shared: Path, folder: Path) -> Path:
    """Write the beginnings of the data sets, and of tokenizers all."""
    for name, rows in ROWS.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        with (shared / name).open(encoding="utf-8") as whole:
            (folder / name).write_text("".join(islice(whole, rows)), encoding="utf-8")
    for name in ("gpt1-bpe", "gpt2-bpe"):
        (folder / name).symlink_to(shared / name)
    return folder


def make_materials(folder: Path) -> Path:
    """Write what pages call `my-texts/`, `book.txt`, `runs/quickstart` and so on."""
    for name in ("my-texts/one.txt", "my-texts/two.txt", "texts/one.txt", "book.txt", "other.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_text(folder / name, seed=len(name))
    lines = (folder / "book.txt").read_text(encoding="utf-8").splitlines()
    _json_lines(folder / "books.jsonl", [{"text": line} for line in lines])
    _json_lines(folder / "train.jsonl", [{"text": line} for line in lines[:200]])
    _json_lines(folder / "dev.jsonl", [{"text": line} for line in lines[200:240]])
    _table(folder / "table.csv", ["body"], [[line] for line in lines[:100]])
    rows = labelled(120)
    for name, columns in {"reviews.csv": ["review", "stars"], "march.csv": ["review", "stars"]}.items():
        _table(folder / name, columns, rows)
    _table(folder / "train.csv", ["text", "label"], rows)
    _table(folder / "dev.csv", ["text", "label"], labelled(30, 1))
    _table(folder / "test.csv", ["text", "label"], labelled(30, 2))
    for name in ("new.csv", "unlabelled.csv"):
        _table(folder / name, ["review"], [[text] for text, _ in labelled(40, 3)])
    _table(folder / "reviews.tsv", ["review", "verdict"], rows, "\t")
    (folder / "site").mkdir()
    (folder / "site" / "index.html").write_text(
        "<html><body><p>A page about herons.</p></body></html>", encoding="utf-8"
    )
    _json_lines(_made(folder / "OWNER" / "NAME" / "train.jsonl"), [{"text": line} for line in lines])
    save_tiny("bert-base-uncased", folder / "encoders")
    (folder / "letters.txt").write_text("abcd" * 500 + "\n", encoding="utf-8")
    _table(folder / "films.csv", ["text", "grade"], [[text, len(text) / 10] for text, _ in rows])
    (folder / "prompts.txt").write_text("The import\nA list\n", encoding="utf-8")
    _json_lines(folder / "prompts.jsonl", [{"prompt": "The import", "seed": 3}])
    (folder / "experiment.yaml").write_text("data: {source: my-texts/}\ntrain: {steps: 3}\n", encoding="utf-8")
    study = (ROOT / "configs" / "studies" / "norm-order.yaml").read_text(encoding="utf-8")
    study = re.sub(r"tokens: [\d_]+", "steps: 2", study.replace("[1, 2, 3, 4, 5]", "[1, 2]"))
    for name in ("study.yaml", "configs/studies/norm-order.yaml"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(study, encoding="utf-8")
    for config in (ROOT / "configs").glob("*.yaml"):
        shutil.copy(config, folder / "configs")
    shutil.copytree(ROOT / "examples" / "student", folder / "homework")
    people = Dials(people=60)
    write_biographies(folder / "people", people)
    for name, file in {
        "wiki.txt": "wiki.txt",
        "train.tsv": "birth_places_train.tsv",
        "dev.tsv": "birth_dev.tsv",
    }.items():
        shutil.copy(folder / "people" / file, folder / name)
    for name in ("birth_places_train.tsv", "birth_dev.tsv"):
        shutil.copy(folder / "people" / name, folder / name)
    write_biographies(folder / "others", Dials(people=60, seed=2))
    shutil.copy(folder / "others" / "birth_dev.tsv", folder / "held-out.tsv")
    for name in ("people", "others"):
        shutil.rmtree(folder / name)
    _table(folder / "labelled.tsv", *map(list, (rows[0], rows[1:])), "\t")
    (folder / "mine.yaml").write_text(written("docs/guide/quiz.md", "yaml", "questions:"), encoding="utf-8")
    own = written("docs/attention/your-own.md", "python", "class Mean(Mechanism)")
    (folder / "my_module.py").write_text(own, encoding="utf-8")
    (folder / "my_scores.py").write_text(
        written("docs/attention/scores.md", "python", "def manhattan"), encoding="utf-8"
    )
    (folder / "my_package").mkdir()
    (folder / "my_package" / "my_module.py").write_text(own.replace("Mean(", "MyMechanism("), encoding="utf-8")
    (folder / "my_package" / "__init__.py").touch()
    (folder / "my_package" / "model.py").write_text(MODEL, encoding="utf-8")
    return folder


def _made(path: Path) -> Path:
    path.parent.mkdir(parents=True)
    return path


def _json_lines(path: Path, rows: list[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _table(path: Path, columns: list[str], rows: list, separator: str = ",") -> None:
    lines = [separator.join(map(str, row)) for row in [columns, *rows]]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def written(page: str, language: str, begins: str) -> str:
    """Return the block of a page in a language that holds these words."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return next(block for _, kind, block in FENCED.findall(text) if kind == language and begins in block)


def make_runs(folder: Path) -> None:
    """Train what pages take to be there, in two steps each, and export one as `gpt2`."""
    shape = [*QUICK, *SMALL, "--run.folder", str(folder / "runs"), "--model.context", "128"]
    for name, more in {"quickstart": [], "rotary": ["--model.positions", "rotary", *TEST]}.items():
        assert main(["train", "python-reference", *shape, "--run.name", name, *more]) == 0
    for name in ("gpt2", "my-model", "openai-community/gpt2"):
        (folder / name).parent.mkdir(exist_ok=True)
        assert main(["export", str(folder / "runs" / "quickstart"), "--out", str(folder / name)]) == 0


RUNS = {
    "docs/guide/board.md": ["quickstart", "a", "b", "book-gpt-1"],
    "docs/guide/elsewhere.md": ["NAME"],
    "docs/guide/hub.md": ["my-texts-gpt-1"],
    "docs/guide/serve.md": ["quickstart", "small", "large"],
}
"""Runs that a page takes to be there; else `quickstart`."""
ROTARY = {"docs/guide/evaluation.md": ["quickstart", "a", "b"]}
"""Such with positions that go on beyond the context."""
GONE = {"docs/guide/elsewhere.md": ["my-model"], "docs/guide/hub.md": ["my-model"]}
"""What a page makes itself."""
READS = ["pretrain", "wiki.txt", "--tokenizer.kind", "char", "--run.name", "read"]
BEFORE = {
    "docs/guide/board.md": [["compare", "study.yaml", "--out", "studies/norms"]],
    "docs/guide/trust.md": [READS, ["finetune", "runs/read", "train.tsv", "--run.name", "places"]],
    "docs/guide/verify.md": [["tune", "sst2", "--methods", "lora", "--out", "tunes/sst2"]],
}
"""Commands whose results a page takes to be there."""


def stage(page: str, materials: Path, folder: Path) -> Path:
    """Copy what a page takes to be there into a new folder, and return it."""
    gone = GONE.get(page, [])
    shutil.copytree(materials, folder, ignore=shutil.ignore_patterns("runs", ".tokens", *gone))
    for name in RUNS.get(page, ["quickstart"]):
        shutil.copytree(materials / "runs" / ("rotary" if page in ROTARY else "quickstart"), folder / "runs" / name)
    for name in ROTARY.get(page, [])[1:]:
        shutil.copytree(materials / "runs" / "rotary", folder / "runs" / name)
    if page == "docs/guide/encoder.md":
        shutil.copy(folder / "labelled.tsv", folder / "train.tsv")
    return folder
