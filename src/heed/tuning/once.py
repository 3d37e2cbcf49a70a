"""One run of a tune, made once: a finished one is taken as it is, one that was stopped goes on.

runs/<name>/result.json    {"key": what the result depends on, as a hash; "result": what tune.json holds of it}
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from heed import seals
from heed.config.tuning import TuneConfig
from heed.files import remove
from heed.training.checkpoint import latest_step
from heed.training.fit import FitResult
from heed.training.run import Run, is_run, read_metrics
from heed.tuning.plan import Tuning
from heed.tuning.record import RESULT, counted, write_whole
from heed.tuning.run import Material, changed, train_run


def run_once(
    now: Tuning, config: TuneConfig, material: Material, name: str, rate: float, steps: int, every: int,
    *, measured: Sequence[str], last: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Make a run, go on with it where it was stopped, or take its result where it is there already.

    `last` measures the last weights alone: what a search goes by, and its checkpoints are not kept.
    """
    folder = now.folder / "runs" / name
    warmup = config.train.warmup_steps if "warmup_steps" in now.plan.config.train.model_fields_set else steps // 20
    settings = {"steps": steps, "learning_rate": rate, "warmup_steps": warmup}
    settings |= {"eval_every": steps if last else every, "checkpoint_every": 10**9 if last else every}
    if config.train.optimizer == "muon":
        settings["muon_learning_rate"] = rate * config.train.muon_learning_rate / config.train.learning_rate
    config = changed(config, train=settings, run={"name": name, "folder": str(now.folder / "runs")})
    key = _key(config, material)
    kept = folder / RESULT
    if (found := kept_result(kept, key)) is not None:
        if last:
            remove(folder / "checkpoints")  # of a process that died before
        return found
    begun = is_run(folder) and Run[TuneConfig](folder, config).fact("key") == key
    resume = begun and latest_step(folder / "checkpoints") is not None
    kept.unlink(missing_ok=True)
    done = train_run(
        config, material, folder, measured=tuple(measured), measures_training=not last, resume=resume,
        facts={"key": key}, progress=None if now.progress is None else now.progress(steps),
    )  # fmt: skip
    now.stopped = done.fit.reason == "interrupted"
    result: dict[str, Any] = {"folder": f"runs/{name}", "best_epoch": None, "test": None}
    result |= _timing(folder, done.fit)
    result |= {split: found.as_dict() for split, found in done.measures.items()}
    if not now.stopped:
        write_whole(kept, {"key": key, "result": result})
        if last:
            remove(folder / "checkpoints")
    return result


def kept_result(path: Path, key: str) -> dict[str, Any] | None:
    """Return what a result.json says came of a run; None where there is none, or its key is another one."""
    try:
        found = seals.read_json(path)
        return found["result"] if found["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _timing(folder: Path, fit: FitResult) -> dict[str, Any]:
    """Return seconds, speed and curve of a run from its metrics."""
    events = read_metrics(folder / "metrics.jsonl")
    curve: list[dict[str, Any]] = []
    losses: list[float] = []
    epochs = {event["step"]: event["epoch"] for event in events if event["event"] == "train"}
    for event in events:
        if event["event"] == "train":
            losses.append(event["loss"])
        elif event["event"] == "evaluation":
            known = [step for step in epochs if step <= event["step"]]
            curve.append(
                {
                    "epoch": epochs[max(known)] if known else None,
                    "train_loss": sum(losses) / len(losses) if losses else None,
                    "validation_loss": event["loss"],
                    "validation_accuracy": event["accuracy"],
                    "train_measured_loss": event.get("train", {}).get("loss"),
                    "train_accuracy": event.get("train", {}).get("accuracy"),
                    "step": event["step"],
                }
            )
            losses = []
    best = next((point["epoch"] for point in curve if point["step"] == fit.best_step), None)
    return {
        "seconds": fit.seconds,
        "examples_per_second": fit.tokens / max(fit.seconds, 1e-9),
        "reason": fit.reason,
        "best_epoch": best,
        "curve": [{key: value for key, value in point.items() if key != "step"} for point in curve],
    }


def _key(config: TuneConfig, material: Material) -> str:
    """Return what a run's result depends on, as a hash; where it is written and on how many threads do not count."""
    values = counted(config)
    values["run"] = {"seed": config.run.seed, "device": config.run.device}
    parts_ = [values, material.splits.fingerprint, len(material.encoded["train"]), material.sha256]
    return hashlib.sha256(json.dumps(parts_, sort_keys=True).encode()).hexdigest()
