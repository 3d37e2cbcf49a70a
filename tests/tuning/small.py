"""Small labelled texts and plans over a tiny encoder, so that a whole tune takes a second."""

import csv
import json
import multiprocessing
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from heed.config import RunConfig, TrainConfig
from heed.config.tuning import TUNING, EncoderConfig, MethodConfig, TuneConfig, TuneData
from heed.studies.tune_plan import TunePlan

PRAISE, BLAME = ("good", "fine", "best"), ("bad", "dull", "worst")
OTHER = ["the", "a", "film", "is", "was", "not", "and", "very", "one", "of", "I", "it", "never", "saw", "again"]
LENGTH = 16


def labelled(rows: int, seed: int = 0, classes: tuple[str, str] = ("neg", "pos")) -> list[tuple[str, str]]:
    """Return texts with one telling word each, and their labels."""
    draw = random.Random(seed)
    found = []
    for _ in range(rows):
        kind = draw.randrange(2)
        words = draw.choices(OTHER, k=draw.randint(2, 9))
        words.insert(draw.randrange(len(words)), draw.choice(PRAISE if kind else BLAME))
        found.append((" ".join(words), classes[kind]))
    return found


def write_table(path: Path, rows: int = 60, *, seed: int = 0, classes: tuple[str, str] = ("neg", "pos")) -> Path:
    """Write labelled texts as a CSV file with the columns text and label."""
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *labelled(rows, seed, classes)])
    return path


def make_config(source: Path, place: Path | str, **sections: Any) -> TuneConfig:
    """Return the configuration of a run on a table; `sections` are other settings of some sections."""
    train = TUNING | {"batch_size": 8, "precision": "fp32"} | sections.pop("train", {})
    return TuneConfig(
        data=TuneData(
            source=str(source), **{"validation_fraction": 0.2, "test_fraction": 0.2} | sections.pop("data", {})
        ),
        encoder=EncoderConfig(**{"name": str(place), "max_length": LENGTH} | sections.pop("encoder", {})),
        method=MethodConfig(**sections.pop("method", {})),
        train=TrainConfig(**train),
        run=RunConfig(device="cpu", threads=1),
        **sections,
    )


def make_plan(source: Path, encoder: Path | str, *methods: str, sections: dict | None = None, **plan) -> TunePlan:
    """Return a plan of one seed and one pass, without a search and memory unless `plan` says so."""
    usual = {"encoders": (str(encoder),), "seeds": (1,), "epochs": (1,), "search": "none", "memory": False}
    return TunePlan(config=make_config(source, encoder, **(sections or {})), methods=methods, **usual | plan)


def read_tune(folder: Path) -> dict:
    """Return what tune.json says."""
    return json.loads((folder / "tune.json").read_text(encoding="utf-8"))


def timeless(value):
    """Return plain values without what another run of the same may have otherwise: times."""
    if isinstance(value, dict):
        return {k: timeless(v) for k, v in value.items() if k not in ("seconds", "examples_per_second", "command")}
    return [timeless(one) for one in value] if isinstance(value, list) else value


def exit_code_of(work: Callable[..., Any], *arguments: Any) -> int | None:
    """Do it in a process of its own, and return its exit code; a fork would inherit locks of threads that are not."""
    process = multiprocessing.get_context("spawn").Process(target=work, args=arguments)
    process.start()
    process.join(240)
    return process.exitcode
