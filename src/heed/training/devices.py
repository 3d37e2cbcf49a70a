"""Which device a run takes, what the machine is, and how much memory the process has needed."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import psutil
import torch

from heed.config import RunConfig
from heed.errors import ConfigError, HeedError
from heed.text.encoding import asked_threads, cores

Precision = Literal["fp32", "bf16"]


def choose_device(name: str = "auto") -> torch.device:
    """Return the device called `name`; auto takes cuda, then mps, then cpu.

    Raises `ConfigError` when the device is asked for by name and is not here.
    """
    here = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(kind for kind, present in here.items() if present))
    if name not in here:
        raise ConfigError(f"run.device: unknown value {name!r}, choose one of 'auto', 'cpu', 'cuda', 'mps'")
    if not here[name]:
        present = ", ".join(kind for kind, present in here.items() if present)
        raise ConfigError(f"run.device: torch finds no {name} on this machine, only {present}; take run.device auto")
    return torch.device(name)


def describe_device(device: torch.device) -> str:
    """Say for people what a run takes, such as `cpu (Intel Xeon, 2 threads)` or `cuda (NVIDIA H200, 139 GiB)`."""
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        return f"cuda ({properties.name}, {properties.total_memory / 2**30:.0f} GiB)"
    if device.type == "mps":
        return f"mps ({_processor()})"
    threads = torch.get_num_threads()
    return f"cpu ({_processor()}, {threads} thread{'s' if threads > 1 else ''})"


def take_threads(asked: int | Literal["auto"] | None) -> None:
    """Take `run.threads` threads of the CPU; auto (`threads.py`) and None leave OMP_NUM_THREADS or torch's choice."""
    if isinstance(asked, int):
        torch.set_num_threads(asked)


@contextmanager
def threads_kept() -> Iterator[None]:
    """Leave torch with as many threads as it had, whatever the block or the function takes: sums depend on them.

    So what is computed next in this process has the bits that it would have in a process of its own.
    """
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)


def take_device(run: RunConfig, say: Callable[[str], object]) -> torch.device:
    """Take the threads that a run asks for, choose its device and say it."""
    take_threads(run.threads)
    device = choose_device(run.device)
    say(f"device: {describe_device(device)}")
    return device


def threads_each(jobs: int) -> int:
    """Return the threads of each of `jobs` runs side by side: as OMP_NUM_THREADS asks, else a share of the cores."""
    return asked_threads() or max(1, cores() // jobs)


def fast_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 in hardware.

    A CPU without AVX512-bf16 or AMX does bf16 autocast 8 to 12 times slower than fp32.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0) or torch.version.hip is not None
    if device.type == "cpu":
        capabilities = getattr(torch.cpu, "get_capabilities", dict)()
        return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    return False


def has_amx() -> bool:
    """Whether the CPU multiplies tiles of bfloat16 (AMX), several times as fast as float32."""
    return bool(getattr(torch.cpu, "get_capabilities", dict)().get("amx_bf16"))


def choose_precision(asked: str, device: torch.device) -> tuple[Precision, str | None]:
    """Return the precision for `train.precision`, and a warning when what is asked for will be slow.

    auto takes bf16 on a GPU that has it, and fp32 everywhere else; `settle_precision` knows more.
    """
    if asked == "auto":
        return ("bf16" if device.type == "cuda" and fast_bf16(device) else "fp32"), None
    if asked == "bf16" and not fast_bf16(device):
        return "bf16", f"bf16 is slow on this {device.type} (8 to 12 times slower than fp32 on most CPUs)"
    return ("bf16" if asked == "bf16" else "fp32"), None


def peak_memory(device: torch.device) -> int:
    """Return the most bytes that the process has held: on a GPU of device memory, else of main memory (resident)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:  # Windows
        return psutil.Process().memory_info()._asdict()["peak_wset"]
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024  # macOS counts bytes, Linux KiB


def available_memory(device: torch.device) -> int:
    """Return the bytes that could still be taken: free on the GPU, else main memory that needs no swapping."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return min(psutil.virtual_memory().available, _container_limit())


def machine_facts() -> dict[str, Any]:
    """Return what `environment.json` and `heed doctor` say of the machine: plain values."""
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "system": f"{platform.system()} {platform.release()}",
        "processor": _processor(),
        "cores": cores(),
        "memory_bytes": psutil.virtual_memory().total,
        "gpus": gpus,
        "cuda": torch.version.cuda,
        "mps": torch.backends.mps.is_available(),
        "threads": torch.get_num_threads(),
        "fast_bf16": fast_bf16(torch.device("cuda" if gpus else "cpu")),
    }


def _processor() -> str:
    """The processor's name: from /proc/cpuinfo on Linux, else from Python's platform module."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _container_limit() -> int:
    """What a container (cgroup 2) still allows, or a very large number outside of one."""
    group = Path("/sys/fs/cgroup")
    try:
        return max(0, int((group / "memory.max").read_text()) - int((group / "memory.current").read_text()))
    except (OSError, ValueError):  # no cgroup, or "max"
        return sys.maxsize


def out_of_memory(error: BaseException | None) -> bool:
    """Whether an error, or one that it came from, says that memory ran out: in the words of heed or of torch."""
    while error is not None:
        if isinstance(error, torch.OutOfMemoryError | MemoryError):
            return True
        words = ("can't allocate memory", "out of memory")  # torch's allocator on a CPU; heed, and CUDA's libraries
        if isinstance(error, RuntimeError | HeedError) and any(some in str(error) for some in words):
            return True
        error = error.__cause__ or error.__context__
    return False
