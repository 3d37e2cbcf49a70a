"""Believable study folders made of numbers alone: variants, seeds and figures of a study that nobody ran."""

import json
import random
from pathlib import Path
from typing import Any

from fake_runs import figures, metrics, samples, write_run

from heed.config import make_config

EFFECTS = {"pre-norm": 0.0, "post-norm": 0.06, "rotary": -0.08, "no-bias": 0.001}
CHANGES: dict[str, dict[str, Any]] = {
    "pre-norm": {},
    "post-norm": {"model.norm_order": "post"},
    "rotary": {"model.positions": "rotary"},
    "no-bias": {"model.bias": False},
}


def shifted(events: list[dict[str, Any]], by: float, speed: float) -> list[dict[str, Any]]:
    """The events of a run whose losses lie higher, and whose clock runs slower."""
    out = []
    for event in events:
        copy = dict(event)
        if event["event"] in ("train", "evaluation"):
            copy["seconds"] = event["seconds"] * speed
        if event["event"] == "train":
            copy["loss"] = event["loss"] + by
        if event["event"] == "evaluation":
            copy |= figures(event["loss"] + by)
        out.append(copy)
    return out


def cell(variant: str, seed: int, loss: float, **other: Any) -> dict[str, Any]:
    """One finished cell."""
    return {
        "variant": variant,
        "seed": seed,
        "state": "finished",
        "message": "",
        "folder": f"runs/{variant}/seed-{seed}",
        "figures": {"validation": figures(loss), "test": figures(loss + 0.03, "test")},
        "seconds": 118.0 + 3 * seed,
        "tokens": 2_048_000,
        "tokens_per_second": 17_300.0 + 100 * seed,
        "memory": {"steady": 300 * 2**20, "peak": 366 * 2**20},
        "leaks": None,
    } | other


def study(effects: dict[str, float] | None = None, seeds: tuple[int, ...] = (1, 2, 3), **other: Any) -> dict[str, Any]:
    """The content of a study.json; losses have noise that the variants of a seed share, and a little of their own."""
    effects = EFFECTS if effects is None else effects
    cells = []
    for place, (name, effect) in enumerate(effects.items()):
        for seed in seeds:
            common, own = random.Random(seed).gauss(0, 0.05), random.Random(f"{name}{seed}").gauss(0, 0.006)
            found = cell(name, seed, 2.5 + common + effect + own)
            found["seconds"] += 20 * place
            found["memory"] = {key: value + place * 2**24 for key, value in found["memory"].items()}
            cells.append(found)
    return {
        "title": "Where the norm stands",
        "figure": "bits_per_byte",
        "baseline": next(iter(effects)),
        "budget": {"kind": "tokens", "amount": 2_048_000},
        "seeds": list(seeds),
        "base": make_config({}).model_dump(),
        "variants": {
            name: {
                "changes": CHANGES.get(name, {"train.learning_rate": 1e-4 * (place + 1)}),
                "parameters": 841_600 - 512 * place,
                "flops_per_token": 5_000_000,
                "steps": 1000,
            }
            for place, name in enumerate(effects)
        },
        "cells": cells,
        "machine": {"system": "Linux", "processor": "AVX2", "cores": 2, "memory_bytes": 8 * 2**30, "gpus": []},
        "command": "heed compare configs/studies/norm.yaml --out studies/norm",
        "search": None,
    } | other


ENDS = "model.positions learned ends at the 128 tokens of training"


def lengths_study(seeds: tuple[int, ...] = (1, 2, 3)) -> dict[str, Any]:
    """A study of the loss over contexts, trained on 128 tokens; see `write_lengths`."""
    effects = {"alibi": 0.0, "rotary": -0.08, "learned": 0.11}
    content = study(effects, seeds, figure="loss", lengths=[64, 128, 256, 512], title="Positions beyond the training")
    for name in effects:
        content["variants"][name]["changes"] = {"model.positions": name}
    return content


def write_lengths(folder: Path, content: dict[str, Any]) -> None:
    """Write what each run came to: alibi holds, rotary rises by 0.5 a doubling, learned ends at 128."""
    for each in content["cells"]:
        loss, name, found = each["figures"]["validation"]["loss"], each["variant"], {}
        for step, length in enumerate(content["lengths"]):
            own = random.Random(f"{name}{each['seed']}{length}").gauss(0, 0.005)
            value = figures(loss + own + (0.5 * max(0, step - 1) if name == "rotary" else -0.01 * step))
            passport = value["passport"] | {"context": length, "stride": length}
            found[str(length)] = value | {"passport": passport}
            if name == "learned" and length > 128:
                found[str(length)] = {"reason": ENDS}
        run = folder / each["folder"]
        run.mkdir(parents=True, exist_ok=True)
        (run / "lengths.json").write_text(json.dumps(found), encoding="utf-8")


def write_study_folder(folder: Path, content: dict[str, Any] | None = None, runs: bool = True) -> Path:
    """Write study.json and a run folder for each finished cell."""
    content = study() if content is None else content
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "study.json").write_text(json.dumps(content), encoding="utf-8")
    events = metrics(steps=400, every=10)
    for place, each in enumerate(content["cells"] if runs else ()):
        if each["state"] != "finished":
            continue
        loss = each["figures"]["validation"]["loss"]
        last = [event for event in events if event["event"] == "evaluation"][-1]["loss"]
        moved = shifted(events, loss - last, 1 + 0.05 * place)
        run = folder / each["folder"]
        write_run(run, events=moved, evaluation=each["figures"], texts=[samples(1000, "def", 3 + place)])
        (run / "report.html").write_text("<!doctype html><title>run</title>", encoding="utf-8")
    return folder
