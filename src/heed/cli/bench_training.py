"""`heed bench devices` and `heed bench memory`: what training steps cost on this machine, in time and in memory."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from pydantic import Field

from heed.cli.settings import AsJson, layered, parse, split_settings
from heed.config import Config, Section, read_yaml
from heed.errors import ConfigError

if TYPE_CHECKING:
    from heed.benches.device_speed import Speed

NO_TEXT = ("data", "run")
"""Sections that a measurement of steps has no use for: it trains on random tokens, and writes no run."""


class DevicesFlags(Section):
    """Time the same training steps on the CPU (one thread, all threads) and on the GPU, where there is one.

    Every model, tokenizer and train setting can be given as a dotted flag. Tokens are random: speed does not depend on
    which they are. The first steps warm up and do not count; a GPU is waited for before and after each step.

    examples:
      heed bench devices
      heed bench devices --steps 50 --config runs/quickstart/config.yaml
      heed bench devices --model.preset small --train.batch-size 8 --json
    """

    steps: int = Field(default=20, ge=1)
    """Steps that count."""
    config: Path | None = None
    """A YAML configuration; default: heed's defaults."""
    json_: AsJson = False


class MemoryFlags(Section):
    """Split the memory of one training step into weights, gradients, optimizer state and activations.

    Every model, tokenizer and train setting can be given as a dotted flag. The peak is measured on a real step, and
    the parts are what is alive at that moment: gradients that do not exist yet do not count.

    examples:
      heed bench memory
      heed bench memory runs/quickstart --batch-sizes 8 16 32 --contexts 128 256 512
      heed bench memory configs/quickstart.yaml --out memory/
      heed bench memory --model.preset gpt2 --batch-sizes 1 2 4 --device cuda --json
    """

    what: Annotated[Path | None, tyro.conf.Positional] = None
    """A run folder or a YAML configuration; default: heed's defaults."""
    batch_sizes: tuple[int, ...] = ()
    """Sequences in a step; default: a quarter, a half, once and twice train.batch_size."""
    contexts: tuple[int, ...] = ()
    """Tokens in a sequence; default: model.context."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto takes cuda where there is one."""
    out: Path | None = None
    """Folder for memory.json and the figures, memory.svg and memory.png; default: print the table alone."""
    json_: AsJson = False


def devices(argv: list[str]) -> int:
    """Measure every device, print a table and what it comes to; 0 when done."""
    settings, rest = split_settings(argv)
    flags = parse(DevicesFlags, rest, "bench devices", ("model", "tokenizer", "train"))
    config = read_config(flags.config, settings)
    from heed.benches.device_speed import measure_devices, tokens_of_step
    from heed.cli import tell
    from heed.cli.list import columns
    from heed.report.numbers import human_seconds

    found = measure_devices(config, flags.steps, tell)
    if flags.json_:
        content = {"config": _shape(config), "devices": [speed.as_dict() for speed in found]}
        print(json.dumps(content, indent=2, allow_nan=False))
        return 0
    rows, many = f"batch {config.train.batch_size} × {config.model.context:,}", config.train.accumulation
    step = f"{rows}{f', {many} passes' if many > 1 else ''}, {tokens_of_step(config):,} tokens a step"
    print(f"{said_model(config)}, {step}; median of {flags.steps} steps after a warm-up")
    print()
    rows = [["device", "precision", "step", "fastest", "slowest", "tokens/s", "as fast"]]
    for speed in found:
        times = [human_seconds(seconds) for seconds in (speed.median, speed.fastest, speed.slowest)]
        rows.append([speed.device, speed.precision, *times, f"{speed.tokens_per_second:,.0f}", f"{speed.ratio:.2f} x"])
    print("\n".join(columns(rows, shrink=(0,))))
    print()
    if len({speed.kind for speed in found}) == 1:
        print("There is one device only, the CPU: torch finds no GPU on this machine.")
    print("\n".join(said_ratios(found)))
    return 0


def said_ratios(found: Sequence[Speed]) -> list[str]:
    """Say how fast each device is beside the first, with an interval; who is faster, only where it leaves out 1."""
    from heed.report.numbers import said_ratio

    lines = []
    for speed in found[1:]:
        times = f"{said_ratio(speed.ratio, speed.ratio_interval)} times as fast as {found[0].device}"
        low, high = speed.ratio_interval or (0.0, math.inf)
        shown = "" if low > 1 or high < 1 else ": no difference was shown"
        lines.append(f"{speed.device}: {times}{shown}.")
    return lines


def memory(argv: list[str]) -> int:
    """Measure every batch size at every context, print the table, write the figures; 0 when done."""
    settings, rest = split_settings(argv)
    flags = parse(MemoryFlags, rest, "bench memory", ("model", "tokenizer", "train"))
    config = read_config(flags.what, settings)
    size = config.train.batch_size
    if size == "auto" and not flags.batch_sizes:
        raise ConfigError("train.batch_size is auto: name the sizes to measure with --batch-sizes")
    sizes = flags.batch_sizes
    if size != "auto" and not sizes:
        sizes = tuple(sorted({max(1, size // 4), max(1, size // 2), size, 2 * size}))
    contexts = flags.contexts or (config.model.context,)
    if min(*sizes, *contexts) < 1:
        raise ConfigError("--batch-sizes and --contexts must hold numbers of at least 1")
    # torch's profiler writes to standard error that it sees blocks go which came before it: they are known here
    os.environ |= {"KINETO_LOG_LEVEL": "99", "TORCH_CPP_LOG_LEVEL": "ERROR"}
    import torch

    from heed.benches.training_memory import measure_all
    from heed.cli import tell
    from heed.training.devices import choose_device, describe_device
    from heed.training.precision import settle_precision

    auto = "cuda" if torch.cuda.is_available() else "cpu"  # MPS does not say how much it has held
    device = choose_device(auto if flags.device == "auto" else flags.device)
    config = settle_precision(config, device)
    rows = [found.as_dict() for found in measure_all(config, device, sizes, contexts, tell)]
    how = f"{config.train.optimizer}, {config.train.precision}; {describe_device(device)}, torch {torch.__version__}"
    caption = f"{said_model(config)}, {how}"
    if flags.out is not None:
        from heed.report.memory_figure import draw_memory
        from heed.report.sheet import write_sheets

        results = {"measured": caption, "steps": rows}
        write_sheets(flags.out, "memory.json", results, {"memory": partial(draw_memory, rows, caption)})
        tell(f"figure: {flags.out / 'memory.svg'}")
    if flags.json_:
        print(json.dumps({"measured": caption, "steps": rows}, indent=2, allow_nan=False))
        return 0
    print(caption)
    print()
    print("\n".join(_table(rows)))
    return 0


def read_config(file: Path | None, settings: dict[str, Any]) -> Config:
    """Return the configuration of a run folder or a YAML file with settings over it.

    Raises `ConfigError` for a file that is no good, and for a setting that a measurement has no use for.
    """
    for section in NO_TEXT:
        if section in settings:
            raise ConfigError(f"heed bench takes no --{section} settings: it trains on random tokens and keeps no run")
    if file is not None and file.is_dir():
        file = file / "config.yaml"
    return layered(read_yaml(file) if file is not None else {}, settings)


def _shape(config: Config) -> dict[str, Any]:
    return {
        "model": config.model.model_dump(),
        "batch_size": config.train.batch_size,
        "accumulation": config.train.accumulation,
        "vocab_size": config.tokenizer.vocab_size,
        "optimizer": config.train.optimizer,
    }


def said_model(config: Config) -> str:
    """Say what is trained."""
    model = config.model
    layers = f"{model.n_layers} layer{'s' if model.n_layers > 1 else ''}"
    return f"{model.kind} of {layers}, width {model.d_model}, vocabulary {config.tokenizer.vocab_size:,}"


def _table(rows: list[dict[str, Any]]) -> list[str]:
    """Return the table of memory and what is said below it."""
    from heed.cli.list import columns
    from heed.report.memory_figure import PARTS, memory_sentence
    from heed.report.numbers import human_bytes

    cells = [["batch", "context", *PARTS, "together"]]
    for row in rows:
        place = [str(row["batch_size"]), f"{row['context']:,}"]
        amounts = [human_bytes(row[part]) for part in (*PARTS, "total")]
        cells.append([*place, *(["–"] * len(PARTS) + [row["problem"]] if row["problem"] else amounts)])
    return [*columns(cells, shrink=(6,)), "", memory_sentence(rows) + "."]
