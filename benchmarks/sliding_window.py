"""How fast sliding-window and BigBird attention are against full attention (torch's fused kernel).

    python benchmarks/sliding_window.py                     # window 256, BigBird's default blocks, T = 512 .. 8,192
    python benchmarks/sliding_window.py --window 128 --width 64
    python benchmarks/sliding_window.py --encoder           # not causal

One thread; CPU milliseconds of this process, the least of several turns, in which the sides alternate. The memory is
the most that tensors took at once beyond q, k and v, forward and backward (torch.profiler). The ratio is how many
times faster than full attention.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from functools import partial

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported

import torch
from torch import Tensor

from heed.attention import BigBird, Mechanism, Shape, SlidingWindow, Softmax, make_mask

Side = Callable[[], Tensor]


def milliseconds(sides: dict[str, Side], leaf: Tensor, turns: int) -> dict[str, tuple[float, float]]:
    """Return the least CPU time of each side: forward, and forward with backward."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    for turn in range(turns + 1):
        for name, side in sides.items():
            begin = time.process_time()
            y = side()
            middle = time.process_time()
            torch.autograd.grad(y.sum(), leaf)
            if turn:  # the first warms up
                times[name].append((middle - begin, time.process_time() - begin))
    return {name: tuple(1e3 * min(part) for part in zip(*all, strict=True)) for name, all in times.items()}


def peak_memory(side: Side, leaf: Tensor) -> int:
    """Return the most bytes that tensors took at once, forward and backward."""
    with torch.profiler.profile(profile_memory=True) as profile:
        torch.autograd.grad(side().sum(), leaf)
    events = profile.profiler.kineto_results.events()
    held = peak = 0
    for event in sorted((e for e in events if e.name() == "[memory]"), key=lambda e: e.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def main() -> None:
    """Print one line a length."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--window", type=int, default=256)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--width", type=int, default=32, help="width per head")
    parser.add_argument("--encoder", action="store_true", help="queries see both sides")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--longest", type=int, default=8192)
    wanted = parser.parse_args()
    torch.set_num_threads(1)
    H, K, sides_seen = wanted.heads, wanted.width, "both sides" if wanted.encoder else "causal"
    print(f"{sides_seen}, batch {wanted.batch}, {H} heads of {K}, window {wanted.window}, float32; CPU ms (times full)")
    print(f"{'T':>6} {'mechanism':>15} {'forward':>16} {'and backward':>18} {'peak memory':>14}")
    for T in (512 << i for i in range(5) if 512 << i <= wanted.longest):
        x = torch.randn(wanted.batch, T, 3 * H * K, requires_grad=True)
        q, k, v = x.view(wanted.batch, T, 3, H, K).permute(2, 0, 3, 1, 4)
        mask, shape = make_mask(T, causal=not wanted.encoder), Shape(H * K, H, T, causal=not wanted.encoder)
        mechanisms: dict[str, Mechanism] = {
            "full": Softmax(shape),
            "sliding-window": SlidingWindow(shape, window=wanted.window),
            "bigbird": BigBird(shape),
        }
        mechanisms["bigbird"].initialise(torch.Generator().manual_seed(0))
        sides: dict[str, Side] = {name: partial(mix, q, k, v, mask) for name, mix in mechanisms.items()}
        times = milliseconds(sides, x, wanted.turns)
        for name, (forward, both) in times.items():
            full = times["full"]
            memory = peak_memory(sides[name], x) / 2**20
            print(
                f"{T:6} {name:>15} {forward:9.1f} ({full[0] / forward:4.1f}) {both:11.1f} ({full[1] / both:4.1f}) "
                f"{memory:10.1f} MiB"
            )


if __name__ == "__main__":
    main()
