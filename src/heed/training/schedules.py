r"""Learning-rate schedules: pure functions from the number of an update to a share of the peak learning rate.

Updates are counted from 1. Over the warm-up the share rises linearly and reaches 1 at update `warmup_steps`; at the
last update it is `final_fraction`. One that ends at 0 reaches it a step later: an update at a rate of 0 would be
computed and change nothing. `cosine` is Loshchilov & Hutter 2017 (SGDR) without restarts, `wsd` the
warm-up, stable, decay of Hu et al. 2024 (MiniCPM) with a linear decay.

    share
      1 |   /‾‾‾‾‾‾‾‾‾‾‾\            wsd: stable until the last decay_fraction of all steps
        |  /             \
        | /               \ final_fraction
        +----------------------- update
          warmup            steps (steps + 1, where final_fraction is 0)
"""

from __future__ import annotations

import math
from collections.abc import Callable

from heed.config import TrainConfig


def constant(step: int, plan: TrainConfig) -> float:
    """Stay at the peak."""
    return 1.0


def linear(step: int, plan: TrainConfig) -> float:
    """Fall in a straight line from the end of the warm-up to the last step."""
    return _between(1.0, plan.final_fraction, _progress(step, plan.warmup_steps, final_step(plan)))


def cosine(step: int, plan: TrainConfig) -> float:
    """Fall along half a cosine from the end of the warm-up to the last step."""
    progress = _progress(step, plan.warmup_steps, final_step(plan))
    return _between(plan.final_fraction, 1.0, 0.5 * (1.0 + math.cos(math.pi * progress)))


def wsd(step: int, plan: TrainConfig) -> float:
    """Stay at the peak, then fall in a straight line over the last `decay_fraction` of all steps."""
    decay_start = max(plan.warmup_steps, plan.steps - round(plan.decay_fraction * plan.steps))
    return _between(1.0, plan.final_fraction, _progress(step, decay_start, final_step(plan)))


SCHEDULES: dict[str, Callable[[int, TrainConfig], float]] = {
    "constant": constant,
    "cosine": cosine,
    "linear": linear,
    "wsd": wsd,
}
"""What `train.schedule` can be: the share of the peak after the warm-up."""


PARTS = 1_000_000
"""So finely a training that ends by the clock is divided for its schedule."""


def learning_rate_share(step: int, plan: TrainConfig, used: float | None = None) -> float:
    """Return the share of the peak learning rate for update `step` (from 1) under `plan`.

    With `used`, the part from 0 to 1 of the training's time that is gone, the schedule goes by that instead of the
    number of the step, and what it gives is multiplied by the warm-up.

    >>> plan = TrainConfig(steps=10, warmup_steps=4, schedule="linear", final_fraction=0.1)
    >>> [round(learning_rate_share(step, plan), 2) for step in (1, 2, 4, 7, 10)]
    [0.25, 0.5, 1.0, 0.55, 0.1]
    """
    if used is not None:
        timed = plan.model_copy(update={"steps": PARTS, "warmup_steps": 0})
        rise = min(1.0, step / plan.warmup_steps) if plan.warmup_steps else 1.0
        return rise * SCHEDULES[plan.schedule](round(PARTS * min(1.0, used)), timed)
    if step < plan.warmup_steps:
        return step / plan.warmup_steps
    return SCHEDULES[plan.schedule](step, plan)


def final_step(plan: TrainConfig) -> int:
    """Return the step at which the share is `final_fraction`: the last, or where that is 0 the one that would follow.

    >>> final_step(TrainConfig(steps=10, final_fraction=0.1)), final_step(TrainConfig(steps=10, final_fraction=0))
    (10, 11)
    """
    return plan.steps + (plan.final_fraction == 0)


def _progress(step: int, start: int, end: int) -> float:
    """How far `step` is from `start` (0) to `end` (1), held between the two."""
    if step <= start:
        return 0.0
    return min(1.0, (step - start) / (end - start))


def _between(a: float, b: float, share: float) -> float:
    """Return the point at `share` of the way from a to b."""
    return a + (b - a) * share
