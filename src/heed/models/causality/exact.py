"""The same model in float64: does a doubt come of the model, or of its rounding?

A look-ahead of weight 1e-6 is there in any arithmetic. A row that is divided by its own sum moves by rounding alone,
and falls to 0 / 0 where the future is so large that the past underflows: in exact arithmetic nothing moves.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from heed.models.causality.chance import PlainMode
from heed.models.causality.probe import Probe, altered, widened

NARROW = (torch.float16, torch.bfloat16, torch.float32)


class Double(PlainMode):
    """What would be made in a narrower type is made in float64, as by `x.float()` in a norm or a softmax."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation of torch."""
        options = {key: torch.float64 if value in NARROW else value for key, value in (kwargs or {}).items()}
        return func(*(torch.float64 if isinstance(x, torch.dtype) and x in NARROW else x for x in args), **options)


@contextmanager
def doubled(probe: Probe, T: int) -> Iterator[Probe]:
    """Let a function compute in float64, and give a probe of it. It raises `UnreadableError` where that cannot be.

    What the function still gives in a coarser type counts as the rounding that it is.
    """
    usual = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with widened(_modules(probe), NARROW, torch.float64):

            def function(ids: Tensor) -> Any:
                if probe.module is not None:
                    probe.module.eval()
                with Double():
                    return probe.function(ids)

            with Probe(function, probe.vocab_size, seed=probe.seed, device=probe.device) as exact:
                _, watch = exact.watch(exact.draw(1, T))
                exact.floor = watch.epsilon
                yield exact
    finally:
        torch.set_default_dtype(usual)


def _modules(probe: Probe) -> list[nn.Module]:
    """Return the module that is probed, or those that a plain function calls."""
    if probe.module is not None:
        return [probe.module]
    seen: dict[int, nn.Module] = {}

    def note(module: nn.Module, inputs: Any, output: Any) -> None:
        seen[id(module)] = module

    with altered(note):
        probe(probe.draw(1, 2))
    return list(seen.values())
