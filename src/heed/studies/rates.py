"""The learning rate of a method: a grid, or Optuna's TPE; every try has the same budget, and validation decides."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass

from heed.errors import ConfigError, require
from heed.tuning.methods import parts

SEARCHES = ("grid", "optuna", "none")
SPREAD = 3.0
"""Optuna draws rates from a third of the lowest of the grid to three times the highest."""

STEPS = (0.1, 0.3, 1.0, 3.0, 10.0)
"""Rates of optimizers other than Adam's kind, around one in the middle that is known roughly."""
MIDDLE = {"sgd": 0.3, "momentum": 0.03}
"""That of descent: a step along a gradient of norm 1 (`train.clip`) is as long as AdamW's, which moves each of n
numbers by about its rate, so sqrt(n) of it: 0.14 for `head` (n = 770), 0.5 for `full` (n = 23 million)."""
TIMES = {"adagrad": 10.0}
"""By how much the middle exceeds that of AdamW: Adagrad begins as AdamW does, and its steps shrink."""

WIDE = (*MIDDLE, *TIMES)
"""Optimizers whose rates are such a grid."""


@dataclass(frozen=True)
class Candidate:
    """What is tried."""

    rate: float
    epochs: int


def candidates(
    method: str, rates: Sequence[float] | None, epochs: Sequence[int], optimizer: str = "adamw"
) -> list[Candidate]:
    """Return every rate with every number of epochs; a method has its own rates where none are given."""
    own = rates if rates is not None else own_rates(method, optimizer)
    return [Candidate(rate, passes) for passes in epochs for rate in own]


def own_rates(method: str, optimizer: str) -> tuple[float, ...]:
    """Return the rates that a search tries, ascending: those of the method, which are AdamW's, or a wide grid.

    Rates of other optimizers are of another size, and what lies between is known roughly, so that more are tried.

    >>> own_rates("full", "adamw"), own_rates("full", "sgd")
    ((5e-05, 0.0001, 0.0002), (0.03, 0.09, 0.3, 0.9, 3.0))
    """
    rates = parts(method)[0].rates
    middle = MIDDLE.get(optimizer, TIMES.get(optimizer, 0.0) * rates[len(rates) // 2])
    return tuple(float(f"{middle * step:.2g}") for step in STEPS) if middle else rates


Search = Generator[Sequence[Candidate], Sequence[float | None], Candidate]
"""Yields candidates that may be tried side by side, is sent their refined losses on validation (None: it broke down),
and returns the one that was chosen."""


def search_rates(kind: str, grid: Sequence[Candidate], trials: int) -> Search:
    """Search for the candidate with the lowest refined loss (see `heed.report.classification`), the first of equals.

    One candidate alone is not tried. Raises `ConfigError` for an unknown kind and when every candidate broke down,
    `MissingPackageError` without optuna.
    """
    if kind not in SEARCHES:
        raise ConfigError(f"--search: {kind!r} is none of {', '.join(SEARCHES)}")
    if kind == "none" or (kind == "grid" and len(grid) == 1):
        return grid[(len(grid) - 1) // 2]
    if kind == "grid":
        found = list(zip(grid, map(_finite, (yield grid)), strict=True))
    else:
        found = yield from _by_optuna(grid, trials)
    best, loss = min(found, key=lambda one: one[1])
    if loss == math.inf:
        raise ConfigError("--rates: the loss became NaN or infinite at every learning rate: give lower ones")
    return best


def at_an_end(chosen: Candidate, grid: Sequence[Candidate]) -> str | None:
    """Say which end of a grid of several rates was chosen; None: one in between, or beyond it.

    >>> grid = [Candidate(rate, 3) for rate in (0.1, 0.2, 0.3)]
    >>> [at_an_end(one, grid) for one in grid]
    ['lowest', None, 'highest']
    """
    rates = {one.rate for one in grid}
    if len(rates) < 2 or chosen.rate not in (min(rates), max(rates)):
        return None
    return "highest" if chosen.rate == max(rates) else "lowest"


def _by_optuna(
    grid: Sequence[Candidate], trials: int
) -> Generator[Sequence[Candidate], Sequence[float | None], list[tuple[Candidate, float]]]:
    """Try `trials` rates by TPE, one after another, the middle of the grid first."""
    optuna = require("optuna", "lab")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    rates, epochs = [one.rate for one in grid], sorted({one.epochs for one in grid})
    study = optuna.create_study(direction="minimize", sampler=optuna.samplers.TPESampler(seed=1))
    middle = grid[len(grid) // 2]
    study.enqueue_trial({"rate": middle.rate, "epochs": middle.epochs})
    found = []
    for _ in range(trials):
        trial = study.ask()
        rate = trial.suggest_float("rate", min(rates) / SPREAD, max(rates) * SPREAD, log=True)
        candidate = Candidate(rate, trial.suggest_categorical("epochs", epochs))
        (loss,) = map(_finite, (yield [candidate]))
        study.tell(trial, loss)
        found.append((candidate, loss))
    return found


def _finite(loss: float | None) -> float:
    return math.inf if loss is None else loss
