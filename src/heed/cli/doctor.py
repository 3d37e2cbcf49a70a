"""`heed doctor`: what this machine can do, and what is missing."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import time
from pathlib import Path
from typing import Any

from heed.cli.settings import AsJson, parse
from heed.config import Section

PACKAGES = {
    "torch": "core", "numpy": "core", "safetensors": "core", "tokenizers": "core", "pydantic": "core",
    "transformers": "hf", "datasets": "hf", "huggingface_hub": "hf", "pyarrow": "data", "zstandard": "data",
}  # fmt: skip
"""Packages that heed can use, and the extra that brings each."""


class DoctorFlags(Section):
    """Say what this machine can do: versions, cores, memory, devices, speed of matrix products, data found.

    examples:
      heed doctor
      heed doctor --json
    """

    json_: AsJson = False


def main(argv: list[str]) -> int:
    """Examine this machine and print what was found; 0 always."""
    flags = parse(DoctorFlags, argv, "doctor")
    facts = examine()
    if flags.json_:
        print(json.dumps(facts, indent=2))
        return 0
    for group, values in facts.items():
        print(group)
        for key, value in values.items():
            print(f"  {key:<24}{value}")
    return 0


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
