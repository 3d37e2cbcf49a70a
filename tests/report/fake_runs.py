"""A believable run folder made of numbers alone: curves, figures and texts of a run that nobody trained."""

import json
import math
import random
import re
from pathlib import Path
from typing import Any

from heed.config import make_config, read_yaml, write_yaml
from heed.records.checkpoints import hash_state, step_name

PASSPORT = {
    "unit": "token",
    "tokenizer": "bpe 4096 1f3a9c20",
    "context": 128,
    "stride": 128,
    "documents": "joined",
    "split": "validation",
    "tokens": 17_920,
    "words": 11_204,
    "bytes": 70_811,
    "word_rule": "words",
    "partial": False,
    "corpus": "python-reference 88c1d2e0",
}
WORDS = re.findall(
    r"[`_]+| ?\w+|\W",
    "The statement is evaluated in the scope of the enclosing class, and an attribute reference that"
    " names a method object is bound to the instance.\nIf the object is mutable, a ``__set__``"
    " call raises TypeError; otherwise the value of that expression is discarded.",
)


def figures(loss: float, split: str = "validation") -> dict[str, Any]:
    """Figures of one split with their passport, consistent with each other."""
    passport = {**PASSPORT, "split": split}
    nats = loss * passport["tokens"]
    return {
        "loss": loss,
        "token_perplexity": math.exp(loss),
        "word_perplexity": math.exp(nats / passport["words"]),
        "bits_per_byte": nats / math.log(2) / passport["bytes"],
        "tokens": passport["tokens"],
        "passport": passport,
    }


def metrics(steps: int = 1000, every: int = 5, overfit: bool = False, clip: float = 1.0) -> list[dict[str, Any]]:
    """Events of a run of `steps` steps of 16 x 128 tokens on two cores, without its `end`."""
    noise = random.Random(1)
    events: list[dict[str, Any]] = []
    for step in range(every, steps + 1, every):
        part = step / steps
        loss = 2.1 + 6.2 * math.exp(-9 * part) + 0.9 * math.exp(-2 * part)
        warm = min(1.0, step / (0.1 * steps))
        events.append(
            {
                "event": "train",
                "step": step,
                "loss": loss + noise.gauss(0, 0.09),
                "learning_rate": 1e-3 * warm * (0.55 + 0.45 * math.cos(math.pi * max(0.0, (part - 0.1) / 0.9))),
                "gradient_norm": clip * math.exp(noise.gauss(-0.7 + 1.6 * math.exp(-6 * part), 0.3)),
                "tokens": step * 2048,
                "seconds": 0.118 * step,
                "tokens_per_second": 17_400 * (1 + noise.gauss(0, 0.03)) * (0.6 if step == every else 1),
                "memory_bytes": int((352 + 14 * min(1, 8 * part)) * 2**20),
                "epoch": step * 2048 / 161_000,
            }
        )
        if step % (steps // 8) == 0:
            worse = 0.9 * max(0.0, part - 0.5) ** 1.5 if overfit else 0.0
            held_out = loss + 0.12 + 0.25 * part + worse
            events.append(
                {
                    **figures(held_out),
                    "event": "evaluation",
                    "step": step,
                    "tokens": step * 2048,
                    "seconds": 0.118 * step,
                }
            )
            events.append({"event": "sample", "step": step, "texts": [samples(step, "", step)]})
            events.append({"event": "checkpoint", "step": step, "path": f"checkpoints/step-{step:08d}"})
    return events


def samples(step: int = 1000, prompt: str = "def", seed: int = 3) -> dict[str, Any]:
    """One line of samples.jsonl."""
    noise = random.Random(seed)
    tokens = []
    for word in WORDS:
        logprob = -(noise.random() ** 3) * 8
        tokens.append({"text": word, "logprob": logprob, "rank": 1 + int(math.exp(-logprob) / 3)})
    return {
        "step": step,
        "prompt": prompt,
        "prompt_tokens": 1,
        "sampling": {"temperature": 0.8, "top_k": 50, "seed": seed},
        "tokens": tokens,
        "text": prompt + "".join(WORDS),
    }


def write_run(
    folder: Path, *, events: list[dict[str, Any]] | None = None, end: str | None = "finished", texts: Any = None,
    evaluation: dict[str, Any] | None = None, config: dict[str, Any] | None = None,
) -> Path:  # fmt: skip
    """Write a whole run folder; pass a part to replace it."""
    folder.mkdir(parents=True)
    write_yaml(make_config(config or {}), folder / "config.yaml")
    events = metrics() if events is None else events
    lines = [*events, *([{"event": "end", "reason": end}] if end else [])]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    if evaluation is None:
        last = [event for event in events if event["event"] == "evaluation"]
        loss = last[-1]["loss"] if last else 3.0
        evaluation = {"validation": figures(loss), "test": figures(loss + 0.03, "test")}
    (folder / "evaluation.json").write_text(json.dumps(evaluation), encoding="utf-8")
    texts = [samples(1000), samples(1000, "class", 5)] if texts is None else texts
    (folder / "samples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in texts), encoding="utf-8")
    environment = {
        "command": ["heed", "train", "python-reference"],
        "python": "3.11.7",
        "torch": "2.13.0",
        "git_commit": "3f2c9aa1",
        "machine": {"system": "Linux", "processor": "AVX2", "cores": 2, "memory_bytes": 8 * 2**30, "gpus": []},
        "parameters": 841_600,
        "seed": 1,
        "streams": {"initialisation": 7_262_816_405_413_013_157, "data": 2},
    }
    (folder / "environment.json").write_text(json.dumps(environment), encoding="utf-8")
    return folder


def write_state(run: Path, step: int = 1000, **other: dict[str, Any]) -> None:
    """Write the state of a checkpoint: the settings in config.yaml, but for `other` ones of some sections."""
    settings = read_yaml(run / "config.yaml")
    settings |= {section: settings[section] | values for section, values in other.items()}
    content = {"format": 1, "step": step, "state": {"settings": settings}}
    folder = run / "checkpoints" / step_name(step)
    folder.mkdir(parents=True)
    (folder / "state.json").write_text(json.dumps(content | {"self": hash_state(content)}), encoding="utf-8")


def classified(accuracy: float, split: str = "validation") -> dict[str, Any]:
    """Figures of a classifier over 200 examples of three classes, the last of which the split does not have."""
    right = round(100 * accuracy)
    return {
        "loss": 1.2 - accuracy,
        "accuracy": accuracy,
        "accuracy_interval": [accuracy - 0.05, accuracy + 0.04],
        "majority": 0.5,
        "examples": 200,
        "recall": {"bad": right / 100, "good": right / 100, "neither": None},
        "confusion": [[right, 100 - right, 0], [100 - right, right, 0], [0, 0, 0]],
        "passport": {
            **PASSPORT, "unit": "example", "stride": 128, "documents": "separate", "split": split, "tokens": 200,
            "words": 0, "bytes": 0,
        },
    }  # fmt: skip


def write_classifier(folder: Path) -> Path:
    """Write the run folder of a classifier: no perplexities, no texts, accuracy instead."""
    events = []
    for event in metrics():
        place = {key: event[key] for key in ("event", "step", "tokens", "seconds") if key in event}
        if event["event"] == "train":
            events.append({**event, "tokens": event["step"] * 32})
        elif event["event"] == "evaluation":
            events.append({**classified(0.5 + 0.3 * event["step"] / 1000), **place, "tokens": event["step"] * 32})
    evaluation = {"validation": classified(0.8), "test": classified(0.79, "test")}
    config = {"data": {"source": "sst2", "label": "label"}, "model": {"kind": "encoder"}}
    return write_run(folder, events=events, texts=[], evaluation=evaluation, config=config)
