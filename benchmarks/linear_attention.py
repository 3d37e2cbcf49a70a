"""Linear attention and Performer beside torch's exact attention: causal forward and backward, over the length T.

    python benchmarks/linear_attention.py

In one process, on one thread, the sides take turns; the least CPU time of --repeat tries counts, for processes beside
this one disturb the others. q, k, v and the gradient of y are float32, B = 1 and H = 4. It prints milliseconds, how
many times as long exact attention takes, and from which length on each side is faster.

  exact       torch.nn.functional.scaled_dot_product_attention(is_causal=True), as it comes
  linear      heed's linear attention, elu(x) + 1
  performer   heed's FAVOR+ with K log K positive features (112 for K = 32, 272 for K = 64)

--memory adds what one forward and backward pass allocates at most beyond q, k, v and their gradients, in MiB, measured
by torch's profiler. Must reach: each side faster than exact attention beyond some length.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from torch.profiler import ProfilerActivity, profile

from heed.attention import MECHANISMS, Shape, make_mask

LENGTHS = (256, 512, 1024, 2048, 4096, 8192)
HEADS = 4
SIDES = ("exact", "linear", "performer")


def passes(side: str, T: int, K: int) -> Callable[[], object]:
    """Return forward and backward of one side as a function."""
    generator = torch.Generator().manual_seed(0)
    q, k, v, pull = (torch.randn(1, HEADS, T, K, generator=generator) for _ in range(4))
    leaves = [x.requires_grad_() for x in (q, k, v)]
    if side == "exact":
        attend = torch.nn.functional.scaled_dot_product_attention
        return lambda: torch.autograd.grad(attend(q, k, v, is_causal=True), leaves, pull)
    mechanism = MECHANISMS[side](Shape(HEADS * K, HEADS, T))
    mechanism.initialise(generator)
    mask = make_mask(T, causal=True)
    return lambda: torch.autograd.grad(mechanism(q, k, v, mask), leaves, pull)


def seconds(sides: list[Callable[[], object]], repeat: int) -> list[float]:
    """Return the least CPU time of each, measured in turns after one round to warm up."""
    best = [float("inf")] * len(sides)
    for turn in range(repeat + 1):
        for i, side in enumerate(sides):
            begin = time.process_time()
            side()
            if turn:
                best[i] = min(best[i], time.process_time() - begin)
    return best


def peak_mebibytes(side: Callable[[], object]) -> float:
    """Return the most that one pass holds at a time, gradients of q, k and v included, in MiB."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        side()
    held = peak = 0
    for event in sorted(record.profiler.kineto_results.events(), key=lambda event: event.start_ns()):
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return peak / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--longest", type=int, default=LENGTHS[-1])
    parser.add_argument("--memory", action="store_true")
    wanted = parser.parse_args()
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, 1 thread, {torch.backends.cpu.get_cpu_capability()}, B 1, H {HEADS}, float32")
    for K in (32, 64):
        heads = [f"{f'{side} ms':>14}" + (f"{'MiB':>8}" if wanted.memory else "") for side in SIDES]
        print(f"\nK {K:>3}", *heads, *[f"{f'exact/{side}':>18}" for side in SIDES[1:]], sep="")
        ratios: dict[int, list[float]] = {}
        for T in (T for T in LENGTHS if wanted.longest >= T):
            sides = [passes(side, T, K) for side in SIDES]
            times = seconds(sides, wanted.repeat)
            memory = [f"{peak_mebibytes(side):8.0f}" if wanted.memory else "" for side in sides]
            ratios[T] = [times[0] / other for other in times[1:]]
            cells = [f"{1e3 * t:>14.1f}{m}" for t, m in zip(times, memory, strict=True)]
            print(f"{T:>5}", *cells, *[f"{ratio:>18.2f}" for ratio in ratios[T]], sep="", flush=True)
        for i, side in enumerate(SIDES[1:]):
            print(f"{side}: {crossover({T: row[i] for T, row in ratios.items()})}")


def crossover(ratios: dict[int, float]) -> str:
    """Say beyond which length a side stays faster than exact attention; `ratios` by length, above 1 where it is.

    >>> crossover({256: 0.5, 512: 1.5})
    'faster from T = 512 on (at 256 not yet)'
    """
    slower = [T for T, ratio in ratios.items() if ratio <= 1]
    later = [T for T in ratios if max(slower, default=0) < T]
    if not later:
        return f"slower up to T = {max(ratios)}"
    return f"faster from T = {min(later)} on" + (f" (at {max(slower)} not yet)" if slower else "")


if __name__ == "__main__":
    main()
