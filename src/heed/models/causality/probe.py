"""How the audit for leaks calls a model that it knows nothing about, and how it compares two answers.

Whatever a call could leave behind is put back: random generators, buffers (batch statistics, random features), the
training mode of each part. Each call begins with the same random seed (of torch, numpy and Python), so dropout hides
the same units each time, as long as the call draws as many numbers in the same shapes.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from heed.models.causality.chance import Watch, has_drawn, seed_all

ROUNDING = 32
"""Units of the dtype's rounding, relative to the largest logit, by which two equal computations may differ."""
HALF_ROUNDING = 4
"""The same in half precision, whose unit is so coarse that 32 of bfloat16's would be a quarter of the largest logit."""
NOISE = 4.0
"""How many times the difference of repeated runs an effect must be to count."""

SWAPPED = "give it with its last two axes swapped, logits.mT"
"""What is said of an answer (B, V, T), which at T = V looks like logits."""
HALVES = (torch.float16, torch.bfloat16)

Function = Callable[[Tensor], Any]
"""ids (B, T) int64 -> logits (B, T, V), as a tensor, an object with `.logits`, or a tuple that begins with them."""


class UnreadableError(Exception):
    """The function raised, or its answer is nothing that can be compared; the message says which."""


@dataclass(frozen=True)
class Base:
    """The answer on some ids (B, T), and how much it differs from itself."""

    ids: Tensor
    logits: Tensor
    noise: float
    """Largest difference of the same call, repeated."""
    rounding: float
    """What the rounding of the dtype alone may differ by."""
    training: bool

    @property
    def threshold(self) -> float:
        """The smallest difference that counts as an effect."""
        return max(self.rounding, NOISE * self.noise)


class Probe:
    """A function as the audit sees it. Use it as a context manager: on leaving, all stands where it stood."""

    def __init__(
        self, function: Function, vocab_size: int, *, seed: int = 0, device: torch.device | str | None = None
    ) -> None:
        self.function, self.vocab_size, self.seed = function, vocab_size, seed
        self.module = function if isinstance(function, nn.Module) else None
        parameter = next(self.module.parameters(), None) if self.module is not None else None
        self.device = torch.device(device) if device else torch.device("cpu") if parameter is None else parameter.device
        self.generator = torch.Generator().manual_seed(seed)
        self.random = False
        """Whether the function was seen to have random numbers of its own."""
        self.floor = 0.0
        """Rounding of the coarsest type that is known to be at work inside, where that was looked at."""
        self.modes = (False, True) if self.module is not None else (False,)

    def __enter__(self) -> Probe:
        parts = list(self.module.modules()) if self.module is not None else []
        self._training = [(part, part.training) for part in parts]
        self._buffers = [
            (part, name, buffer, buffer.clone())
            for part in parts
            for name, buffer in part.named_buffers(recurse=False, remove_duplicate=False)
        ]
        devices = [self.device] if self.device.type == "cuda" else []
        self._fork = torch.random.fork_rng(devices=devices)
        self._fork.__enter__()
        self._others = random.getstate(), np.random.get_state()
        return self

    def __exit__(self, *error: object) -> None:
        self._fork.__exit__(None, None, None)
        random.setstate(self._others[0])
        np.random.set_state(self._others[1])
        self._restore()
        for part, training in self._training:
            part.training = training

    def __call__(self, ids: Tensor, *, training: bool = False, seed: int | None = None) -> Tensor:
        """Return detached logits (B, T, C) of ids (B, T). Raises `UnreadableError`.

        `seed` is that of the random numbers which the function draws; default: always the same.
        """
        usual = self.seed
        self.seed = usual if seed is None else seed
        try:
            with torch.no_grad():
                return self.call(ids, training=training).detach()
        finally:
            self.seed = usual

    def watch(self, ids: Tensor, *, training: bool = False) -> tuple[Tensor, Watch]:
        """Return detached logits (B, T, C), and what was drawn on the way. Raises `UnreadableError`."""
        with Watch() as watch:
            logits = self(ids, training=training)
        watch.add_others(self.seed)
        return logits, watch

    def is_random(self, ids: Tensor) -> bool:
        """Whether the function draws random numbers, or answers otherwise when it is asked again."""
        if not self.random:
            logits = self(ids)
            self.random = has_drawn(self.seed) or bool(difference(logits, self(ids)).max() > 0)
        return self.random

    def draws_otherwise(self, ids: Tensor, other: Tensor) -> bool:
        """Whether the function has other random numbers for other ids, so that its answers differ by chance too."""
        if self.random:
            return True
        (first, drew), (_, also) = self.watch(ids), self.watch(other)
        if not drew.as_many_draws(also) or bool(difference(first, self(ids)).max() > 0):
            self.random = True
            return True
        return False

    def call(self, ids: Tensor, *, training: bool = False, **options: Any) -> Tensor:
        """Return logits (B, T, C), with their gradients where they are wanted. Raises `UnreadableError`."""
        return self.check(logits_of(self.raw(ids, training=training, **options)), ids)

    def raw(self, ids: Tensor, *, training: bool = False, **options: Any) -> Any:
        """Return what the function answers. Raises `UnreadableError` when it raises."""
        if self.module is not None:
            self.module.train(training)
        seed_all(self.seed)
        try:
            return self.function(ids.to(self.device, copy=True), **options)  # a copy: it may write into its ids
        except (Exception, SystemExit) as error:  # whatever somebody else's model may raise
            first = (str(error).strip() or "no message").splitlines()[0][:300]
            hint = "; audit a function f(ids) that gives it what it needs" if "required" in first else ""
            raise UnreadableError(f"{type(error).__name__}: {first}{hint}") from error
        finally:
            if training:
                self._restore()

    def check(self, logits: Any, ids: Tensor) -> Tensor:
        """Return `logits` if they can be those of `ids`, else raise `UnreadableError`."""
        if not isinstance(logits, Tensor):
            hint = "; name a function without arguments that makes it" if isinstance(logits, nn.Module) else ""
            raise UnreadableError(f"the answer is a {type(logits).__name__}, not logits (B, T, V){hint}")
        if logits.dim() != 3 or logits.shape[:2] != ids.shape:
            raise UnreadableError(
                f"the answer to ids {tuple(ids.shape)} has shape {tuple(logits.shape)}, "
                f"not ({ids.shape[0]}, {ids.shape[1]}, V){_hint(logits, ids)}"
            )
        if not logits.is_floating_point() or logits.dtype.itemsize < 2 or logits.layout != torch.strided:
            kind = logits.dtype if logits.layout == torch.strided else logits.layout
            raise UnreadableError(f"the answer holds {kind}, not floating-point logits")
        if logits.is_meta or not logits.numel():
            raise UnreadableError(f"the answer, of shape {tuple(logits.shape)}, holds no numbers")
        return logits

    def base(self, ids: Tensor, *, training: bool = False, repeats: int = 2) -> Base:
        """Return the answer on `ids` with its noise over repeated calls. Raises `UnreadableError`, also for NaN."""
        logits = self(ids, training=training)
        if logits.isnan().any():
            where = logits.isnan().any(-1).nonzero()[0, 1].item()
            mode = "training" if training else "evaluation"
            raise UnreadableError(f"the logits at position {where} are NaN in {mode} mode")
        if not logits.isfinite().any():
            raise UnreadableError("no logit is finite")
        noise = max(
            (difference(logits, self(ids, training=training)).max().item() for _ in range(repeats)), default=0.0
        )
        return Base(ids, logits, noise, self.rounding(logits) * largest(logits), training)

    def rounding(self, logits: Tensor) -> float:
        """Return by what share of the largest logit two equal computations of one shape may differ."""
        epsilon = self.epsilon(logits)
        return (ROUNDING if epsilon < 1e-5 else HALF_ROUNDING) * epsilon

    def epsilon(self, logits: Tensor) -> float:
        """Return the coarsest rounding among the logits and the module's parameters."""
        kinds = {logits.dtype}
        if self.module is not None:
            kinds |= {p.dtype for p in self.module.parameters() if p.is_floating_point()}
        return max(self.floor, *(torch.finfo(kind).eps for kind in kinds))

    def draw(self, rows: int, T: int) -> Tensor:
        """Return random ids (rows, T)."""
        return torch.randint(0, self.vocab_size, (rows, T), generator=self.generator)

    def other(self, ids: Tensor) -> Tensor:
        """Return random ids of the same shape that differ from `ids` everywhere."""
        return (ids + torch.randint(1, self.vocab_size, ids.shape, generator=self.generator)) % self.vocab_size

    def _restore(self) -> None:
        with torch.no_grad():
            for part, name, buffer, before in self._buffers:
                part.register_buffer(name, buffer.copy_(before), name not in part._non_persistent_buffers_set)


def logits_of(answer: Any) -> Any:
    """Return the logits in an answer: itself, its `.logits` or `["logits"]`, or the first of a tuple."""
    if hasattr(answer, "logits"):
        return answer.logits
    if isinstance(answer, Mapping):
        return answer.get("logits", answer)
    return answer[0] if isinstance(answer, tuple | list) and answer else answer


def difference(a: Tensor, b: Tensor) -> Tensor:
    """Return the largest difference (B, T) of two answers (B, T, C); infinite where only one of two is a number."""
    apart = torch.where(a == b, torch.zeros_like(a), (a - b).abs())  # equal infinities do not differ
    return apart.float().nan_to_num(nan=torch.inf).amax(-1)


def largest(logits: Tensor) -> float:
    """Return the largest finite magnitude, and never 0; a component that is the same everywhere does not count.

    Such a component is a fill: -1e9 for tokens that never come would make a threshold behind which all leaks hide.
    """
    finite = logits.masked_fill(~logits.isfinite(), 0).abs()
    fill = (logits == logits[:1, :1]).flatten(0, 1).all(0)
    return max((finite if fill.all() else finite[..., ~fill]).max().item(), 1e-30)


def _hint(logits: Tensor, ids: Tensor) -> str:
    """Return what may help when the logits have another shape than (B, T, V)."""
    B, T = ids.shape
    if logits.dim() == 3 and logits.shape[:2] == (B, 1):
        return ": the last position alone; audit a function that asks for all, as f(ids) = model(ids, ids)[0]"
    if logits.dim() == 3 and logits.shape[::2] == (B, T):
        return f": {SWAPPED}"
    return ""


@contextmanager
def widened(modules: Iterable[nn.Module], narrow: Sequence[torch.dtype], wide: torch.dtype) -> Iterator[None]:
    """Let modules hold their parameters and buffers of the `narrow` types in a `wide` one, which takes them exactly."""
    parts = list({id(part): part for module in modules for part in module.modules()}.values())
    parameters = [(p, p.data) for part in parts for p in part.parameters(recurse=False) if p.dtype in narrow]
    buffers = [
        (part._buffers, name, buffer)
        for part in parts
        for name, buffer in part._buffers.items()
        if buffer is not None and buffer.dtype in narrow
    ]
    try:
        for parameter, stored in parameters:
            parameter.data = stored.to(wide)
        for holder, name, buffer in buffers:
            holder[name] = buffer.to(wide)
        yield
    finally:
        for parameter, stored in parameters:
            parameter.data = stored
        for holder, name, buffer in buffers:
            holder[name] = buffer


@contextmanager
def altered(change: Callable[[nn.Module, tuple[Any, ...], Any], Any]) -> Iterator[None]:
    """Let `change(module, inputs, output)` replace the output of any module that is called inside; None keeps it."""
    handle = torch.nn.modules.module.register_module_forward_hook(change)
    try:
        yield
    finally:
        handle.remove()
