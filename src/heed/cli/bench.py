"""`heed bench attention`: what each mechanism costs, measured, beside what it declares.

`heed bench devices` and `heed bench memory` are in bench_training.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from pydantic import Field

from heed.cli.settings import AsJson, parse
from heed.config import Section
from heed.errors import ConfigError, DataError, did_you_mean, why

if TYPE_CHECKING:
    from heed.benches.mechanism_cost import Setup
    from heed.report.cost import CostCurve


def bench_devices(argv: list[str]) -> int:
    """Measure training steps on each device; 0 when done."""
    from heed.cli.bench_training import devices

    return devices(argv)


def bench_memory(argv: list[str]) -> int:
    """Measure the memory of a step; 0 when done."""
    from heed.cli.bench_training import memory

    return memory(argv)


ACTIONS = {"devices": bench_devices, "memory": bench_memory}
"""What can be measured besides attention."""


class BenchFlags(Section):
    """Measure time and peak memory of attention mechanisms over T, and hold their growth against what they declare.

    A pass is the mixing of q, k and v alone, without projections. Each length is timed until the median is steady;
    a length that would take longer than the budget, or half of the free memory, is not tried, and the table says so.

    `heed bench devices --help` times training steps on CPU and GPU; `heed bench memory --help` splits their memory.

    examples:
      heed bench attention
      heed bench attention softmax performer linear --backward --threads 1
      heed bench attention linformer fastformer --bidirectional --lengths 512 1024 2048
      heed bench attention sliding-window --option sliding-window.window=128 --out costs/
      heed bench attention softmax linear --device cuda --lengths 4096 8192 16384 32768 --json
    """

    what: Annotated[Literal["attention"], tyro.conf.Positional]
    """What to measure: attention."""
    names: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Mechanisms (`heed list attention`, or package.module:Class); default: all that fit. softmax is added."""
    lengths: tuple[int, ...] = (256, 512, 1024, 2048, 4096, 8192)
    """Tokens T."""
    widths: tuple[int, ...] = (64,)
    """Model widths D."""
    heads: int = Field(default=4, ge=1)
    """Heads; must divide the widths."""
    batch: int = Field(default=1, ge=1)
    """Rows."""
    bidirectional: bool = False
    """As in an encoder; default: causal."""
    backward: bool = False
    """Measure forward and backward; default: forward alone."""
    option: tuple[str, ...] = ()
    """Options of mechanisms, such as performer.features=128; default: their own defaults."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto takes cuda where there is one."""
    threads: int | None = Field(default=None, ge=1)
    """Threads of the CPU; default: torch's choice. With 1, CPU seconds are measured, and other work does not count."""
    budget: float = Field(default=5.0, gt=0)
    """Seconds that one pass may take."""
    out: Path | None = None
    """Folder for cost.json and the figures, cost.svg and cost.png; default: print the table alone."""
    json_: AsJson = False


def main(argv: list[str]) -> int:
    """Measure, print the table, write the figures; 0 when done."""
    what = argv[0] if argv and not argv[0].startswith("-") else "attention"
    if what in ACTIONS:
        return ACTIONS[what](argv[1:])
    if what != "attention":
        raise ConfigError(f"bench: there is no {what!r} to measure, {did_you_mean(what, ['attention', *ACTIONS])}")
    flags = parse(BenchFlags, argv, "bench")
    if not flags.lengths or not flags.widths or min(*flags.lengths, *flags.widths) < 1:
        raise ConfigError("--lengths and --widths must hold numbers of at least 1")
    for name, values in (("lengths", flags.lengths), ("widths", flags.widths)):
        if len(set(values)) < len(values):
            raise ConfigError(f"--{name} names a number twice: give each once")
    for width in flags.widths:
        if width % flags.heads:  # said now, and not after the minutes that the other widths take
            raise ConfigError(f"width {width} does not divide into {flags.heads} heads: change --widths or --heads")
    if flags.out is not None:
        make_folder(flags.out)
    from heed.training.devices import take_threads, threads_kept

    with threads_kept():
        take_threads(flags.threads)
        return measure(flags)


def measure(flags: BenchFlags) -> int:
    """Measure what the flags name and tell it; 0 when done."""
    import torch

    from heed.benches.mechanism_cost import Setup
    from heed.cli import tell
    from heed.training.devices import choose_device

    device = choose_device("cpu" if flags.device == "auto" and not torch.cuda.is_available() else flags.device)
    setup = Setup(flags.heads, flags.batch, not flags.bidirectional, flags.backward, device, flags.budget)
    curves = measure_all(flags, setup, tell)
    if not any(curve.cells for curve in curves):
        raise ConfigError(f"no length could be measured: {curves[0].stopped}; give shorter --lengths")
    caption = describe(flags, setup)
    results = summary(curves, caption)
    if flags.out is not None:
        write(flags.out, curves, results, caption)
        tell(f"figure: {flags.out / 'cost.svg'}")
    if flags.json_:
        print(json.dumps(results, indent=2, allow_nan=False))
        return 0
    print(caption)
    print()
    print("\n".join(table(results["curves"])))
    return 0


def measure_all(flags: BenchFlags, setup: Setup, tell: Any) -> list[CostCurve]:
    """Return the curves of every mechanism that was named, at every width; softmax first."""
    from heed.attention import catalogue, find_mechanism
    from heed.benches.mechanism_cost import measure_curve, refuse_mode

    kinds = {name: find_mechanism(name) for name in flags.names}
    if not kinds:
        for name, entry in catalogue().items():
            try:
                if entry.kind is not None:
                    refuse_mode(entry.kind, name, setup)
                    kinds[name] = entry.kind
            except ConfigError as error:
                tell(f"left out: {error}")
    for name, kind in kinds.items():
        refuse_mode(kind, name, setup)
    kinds = {"softmax": find_mechanism("softmax"), **kinds}
    options = read_given(flags.option, kinds)
    curves = []
    for width in flags.widths:
        for name, kind in kinds.items():
            tell(f"{len(curves) + 1} of {len(kinds) * len(flags.widths)}: {name}, D = {width}")
            curves.append(measure_curve(kind, name, setup, flags.lengths, width, options.get(name)))
    return curves


def read_given(given: tuple[str, ...], kinds: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the options of each mechanism from words such as performer.features=128, in their types."""
    from heed.models.block import read_options

    words: dict[str, dict[str, str]] = {}
    for word in given:
        target, equals, value = word.partition("=")
        name, dot, option = target.rpartition(".")
        if not equals or not dot or name not in kinds:
            raise ConfigError(f"--option {word}: write MECHANISM.OPTION=VALUE with a mechanism that is measured")
        words.setdefault(name, {})[option.replace("-", "_")] = value
    return {name: read_options(name, kinds[name], values) for name, values in words.items()}


def describe(flags: BenchFlags, setup: Setup) -> str:
    """Say how the figures were measured."""
    import time

    import torch

    from heed.training.devices import describe_device

    clock = "CPU seconds" if setup.clock is time.process_time else "wall clock"
    return (
        f"{'forward and backward' if setup.backward else 'forward'}, {'causal' if setup.causal else 'bidirectional'}, "
        f"batch {setup.batch}, width {', '.join(map(str, flags.widths))} in {setup.heads} heads, float32; "
        f"{describe_device(setup.device)}, {clock}, torch {torch.__version__}"
    )


def summary(curves: list[CostCurve], caption: str) -> dict[str, Any]:
    """Return every figure as plain values."""
    from heed.report.cost import cost_rows

    return {"measured": caption, "curves": cost_rows(curves)}


def table(rows: list[dict[str, Any]]) -> list[str]:
    """Return the table of the curves, and what is said below it."""
    from heed.cli.list import columns, wrapped
    from heed.report.cost import said_crossing
    from heed.report.numbers import human_bytes, human_seconds

    longest = max((max(row["lengths"]) for row in rows if row["lengths"]), default=0)
    several = len({row["width"] for row in rows}) > 1
    head = ["mechanism", f"T = {longest:,}", "grows as", "declared", "memory", "grows as", "declared"]
    cells = [[*head, "faster than softmax"]]
    for row in rows:
        name = f"{row['mechanism']} D={row['width']}" if several else row["mechanism"]
        if not row["lengths"]:
            cells.append([name, row["stopped"]])
            continue
        at = "" if row["lengths"][-1] == longest else f" at {row['lengths'][-1]:,}"
        cells.append([
            name, human_seconds(row["seconds"][-1]) + at, power(row["time"]), declared(row["time"]),
            human_bytes(row["memory_bytes"][-1]), power(row["memory"]), declared(row["memory"]),
            said_crossing(row, "time").replace("T = ", ""),
        ])  # fmt: skip
    lines = columns(cells, shrink=(7,))
    options = {row["mechanism"]: row["options"] for row in rows}
    set_to = {name: [f"{k} {v}" for k, v in given.items() if v is not None] for name, given in options.items()}
    said = "; ".join(f"{name} {', '.join(given)}" for name, given in set_to.items() if given)
    lines += ["", *(wrapped("options: ", said) if said else [])]
    lines += [f"{row['mechanism']}: {row['stopped']}" for row in rows if row["stopped"]]
    return [
        *lines,
        "Powers are fitted over the upper half of the lengths, with 95 % intervals. Faster: the 95 % interval of the",
        "ratio of the medians leaves out 1; it is over the passes, and knows nothing of what else the machine did.",
    ]


def power(fit: dict[str, Any]) -> str:
    """Return a fitted power of T with its interval."""
    if fit["exponent"] is None:
        return "–"
    return f"T^{fit['exponent']:.2f}" + ("" if fit["half_width"] is None else f" ± {fit['half_width']:.2f}")


def declared(fit: dict[str, Any]) -> str:
    """Return the declared power of T, and how what was measured compares."""
    return f"T^{fit['declared']}" + ("" if fit["verdict"] == "as declared" else f" {fit['verdict']}")


def make_folder(folder: Path) -> None:
    """Make the folder for the figures, or say in one line why it cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"cannot write to {folder}: {why(error)}") from error


def write(folder: Path, curves: list[CostCurve], results: dict[str, Any], caption: str) -> None:
    """Write cost.json and a figure for each width."""
    from heed.report.cost_figure import draw_costs
    from heed.report.sheet import write_sheets

    figures: dict[str, Callable[[str], bytes]] = {}
    for width in sorted({curve.width for curve in curves if curve.cells}):
        chosen = [curve for curve in curves if curve.width == width]
        figures[f"cost-{width}" if figures else "cost"] = partial(draw_costs, chosen, caption)
    write_sheets(folder, "cost.json", results, figures)
