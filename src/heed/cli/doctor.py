"""`heed doctor`: what this machine can do, and what is missing; what training a model would need of it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from heed.cli.settings import AsJson, parse, split_settings
from heed.cli.streams import show
from heed.config import PRESETS, Config, Section
from heed.errors import ConfigError

if TYPE_CHECKING:
    from heed.benches.planning import Plan

PACKAGES = {
    "torch": "core", "numpy": "core", "safetensors": "core", "tokenizers": "core", "pydantic": "core",
    "transformers": "hf", "datasets": "hf", "huggingface_hub": "hf", "pyarrow": "data", "zstandard": "data",
}  # fmt: skip
"""Packages that heed can use, and the extra that brings each."""


class DoctorFlags(Section):
    """Say what this machine can do: versions, cores, memory, devices, speed of matrix products, data found.

    With --plan: what training a model would need of it, by measured steps on random tokens: memory, the largest batch,
    the time of so many tokens. Every model, tokenizer and train setting can be given as a dotted flag.

    examples:
      heed doctor
      heed doctor --json
      heed doctor --plan gpt2 --tokenizer.vocab-size 50257 --tokens 2500000000
      heed doctor --plan runs/quickstart --model.n-layers 12
    """

    plan: str | None = None
    """A preset (see `heed list presets`), a run folder or a YAML configuration."""
    tokens: int | None = Field(default=None, ge=1)
    """Tokens to train on; default: 20 a parameter (Hoffmann et al. 2022)."""
    json_: AsJson = False


def main(argv: list[str]) -> int:
    """Examine this machine, or plan a training, and print what was found; 0 when done."""
    settings, rest = split_settings(argv)
    flags = parse(DoctorFlags, rest, "doctor", ("model", "tokenizer", "train"))
    if flags.plan is not None:
        return plan(flags, settings)
    if settings or flags.tokens is not None:
        raise ConfigError("settings and --tokens are for a plan: name a preset, a run or a file with --plan")
    facts = examine()
    if flags.json_:
        print(json.dumps(facts, indent=2))
        return 0
    for group, values in facts.items():
        print(group)
        for key, value in values.items():
            print(f"  {key:<24}{value}")
    return 0


def plan(flags: DoctorFlags, settings: dict[str, Any]) -> int:
    """Measure what training a model would need, and print it; 0 when done."""
    from heed.cli.bench_training import read_config, said_model

    os.environ |= {"KINETO_LOG_LEVEL": "99", "TORCH_CPP_LOG_LEVEL": "ERROR"}  # before torch: its profiler's own lines
    assert flags.plan is not None
    if flags.plan in PRESETS:
        settings = {**settings, "model": {"preset": flags.plan, **settings.get("model", {})}}
    config = read_config(None if flags.plan in PRESETS else Path(flags.plan), settings)
    import torch

    from heed.benches.planning import make_plan
    from heed.cli import tell
    from heed.training.devices import choose_device, describe_device, take_threads

    device = choose_device("cuda" if torch.cuda.is_available() else "cpu")
    take_threads(None)
    made = make_plan(config, device, flags.tokens, tell)
    if flags.json_:
        shown = {"device": describe_device(device), "model": said_model(config), **made.as_dict()}
        print(json.dumps(shown, indent=2, allow_nan=False))
        return 0
    print(f"{said_model(config)}, context {config.model.context:,}, {made.precision}; {describe_device(device)}")
    show(said_plan(made, config))
    return 0


def said_plan(made: Plan, config: Config) -> list[str]:
    """Return what a plan says, a line each."""
    from heed.report.numbers import human_bytes, human_count, human_seconds

    lines = [
        f"parameters  {human_count(made.parameters)}, {human_count(made.flops_per_token)} operations a trained token",
        f"memory      {human_bytes(made.weights)} of weights, {human_bytes(made.gradients)} of gradients, "
        f"{human_bytes(made.optimizer)} of {config.train.optimizer}'s state, whatever the batch",
    ]
    for fit in made.fits:
        row = f"{human_bytes(fit.row_bytes)} for each row of {config.model.context:,} tokens"
        way = f"train.recompute {'yes' if fit.recompute else 'no'}: "
        if fit.largest_batch:
            batch = f"at most {fit.largest_batch:,} rows at once, in {human_bytes(made.free)} (80 % of what is free)"
        else:
            batch = f"one does not fit, in {human_bytes(fit.bytes)} of {human_bytes(made.free)} (80 % of what is free)"
        lines.append(f"batch       {way}{row}; {batch}")
    if made.step_seconds is None or made.tokens_per_second is None:
        return [*lines, "time        not measured, since no step fits"]
    lines.append(
        f"speed       a step of {made.step_rows:,} rows takes {human_seconds(made.step_seconds)}: "
        f"{made.tokens_per_second:,.0f} tokens/s, "
        f"{made.tokens_per_second * made.flops_per_token / 1e9:,.0f} GFLOP/s"
    )
    each = made.tokens / made.parameters
    lines.append(
        f"time        {human_count(made.tokens)} tokens ({each:.3g} a parameter) take {human_seconds(made.seconds)}, "
        "evaluation left out"
    )
    return lines


def examine() -> dict[str, dict[str, Any]]:
    """Return what was found, by group; the speeds are measured now, in about a second."""
    import psutil
    import torch

    from heed.text.named import data_folders

    memory = psutil.virtual_memory()
    machine = {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "torch threads": torch.get_num_threads(),
        "memory": f"{memory.total / 2**30:.1f} GiB, {memory.available / 2**30:.1f} GiB free",
        "disk free here": f"{shutil.disk_usage(Path.cwd()).free / 2**30:.1f} GiB",
    }
    devices: dict[str, Any] = {"cpu fp32": f"{matrix_speed('cpu', torch.float32):.0f} GFLOP/s"}
    devices["cpu bf16"] = f"{matrix_speed('cpu', torch.bfloat16):.0f} GFLOP/s"
    for index in range(torch.cuda.device_count()):
        name, free = torch.cuda.get_device_name(index), torch.cuda.mem_get_info(index)[0]
        speed = matrix_speed(f"cuda:{index}", torch.bfloat16, size=4096)
        devices[f"cuda:{index}"] = f"{name}, {free / 2**30:.1f} GiB free, bf16 {speed / 1000:.0f} TFLOP/s"
    if torch.backends.mps.is_available():
        devices["mps"] = f"fp32 {matrix_speed('mps', torch.float32):.0f} GFLOP/s"
    packages = {}
    for name, extra in PACKAGES.items():
        try:
            packages[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            packages[name] = f"not installed: pip install 'heed-lm[{extra}]'"
    folders = ", ".join(map(str, data_folders()))
    data = {
        "HEED_DATA": os.environ.get("HEED_DATA", "not set"),
        "data sets found in": folders or "nowhere: named corpora come from the hub",
        "hub": "offline (HF_HUB_OFFLINE)" if os.environ.get("HF_HUB_OFFLINE") == "1" else "allowed",
    }
    return {"machine": machine, "devices": devices, "packages": packages, "data": data}


def matrix_speed(device: str, dtype: Any, size: int = 512, seconds: float = 0.2) -> float:
    """Return the speed of square matrix products in GFLOP/s (2 size^3 operations each), after a warm-up."""
    import torch

    left, right = torch.ones(size, size, device=device, dtype=dtype), torch.ones(size, size, device=device, dtype=dtype)
    synchronise = {"cuda": torch.cuda.synchronize, "mps": torch.mps.synchronize}.get(device.split(":")[0], lambda: None)
    torch.mm(left, right)
    synchronise()
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        torch.mm(left, right)
        synchronise()
        count += 1
    return 2 * size**3 * count / (time.perf_counter() - start) / 1e9
