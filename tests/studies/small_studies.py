"""Small studies for the tests: made text, a tiny base, and runs that are made up."""

import random
from pathlib import Path
from typing import Any

import yaml

from heed.records.study import Outcome
from heed.studies.plan import StudyPlan
from heed.studies.plan_reading import read_plan
from heed.studies.runner import Task

TINY = {
    "tokenizer": {"kind": "char"},
    "model": {"n_layers": 1, "n_heads": 2, "d_model": 16, "context": 16},
    "train": {"batch_size": 4, "learning_rate": 0.01, "eval_every": 3, "checkpoint_every": 2},
    "data": {"workers": 1},
    "run": {"device": "cpu", "threads": 1},
}


def make_text(path: Path, sentences: int = 300) -> Path:
    draw = random.Random(0)
    nouns, verbs = ["the cat", "a dog", "my heron", "one fox"], ["sees", "hears", "follows", "dreams of"]
    lines = [f"{draw.choice(nouns)} {draw.choice(verbs)} {draw.choice(nouns)}." for _ in range(sentences)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def write_study(folder: Path, **keys: Any) -> Path:
    """Write the file of a study of the tiny base; `keys` replace what stands here."""
    text = folder / "animals.txt"
    if not text.exists():
        make_text(text)
    base = {**TINY, "data": {"source": str(text), "workers": 1}}
    usual = {
        "base": base,
        "variants": {"pre": {}, "post": {"model.norm_order": "post"}},
        "seeds": [1, 2],
        "budget": {"steps": 6},
    }
    file = folder / "study.yaml"
    file.write_text(yaml.safe_dump({k: v for k, v in {**usual, **keys}.items() if v is not None}, sort_keys=False))
    return file


def plan_of(folder: Path, **keys: Any) -> StudyPlan:
    return read_plan(write_study(folder, **keys))


def made_up(task: Task, value: float, figure: str = "bits_per_byte") -> Outcome:
    """Return the record of a run that came to `value`, and leave a folder where it would have been."""
    task.folder.mkdir(parents=True, exist_ok=True)
    figures = {"validation": {figure: value, "loss": value}}
    return Outcome.of("finished", figures=figures, seconds=1.0, tokens=384, tokens_per_second=384.0)


def variant_of(task: Task) -> str:
    return task.folder.parent.name
