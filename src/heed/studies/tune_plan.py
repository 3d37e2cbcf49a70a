"""What is to be tuned and compared: what the flags of `heed tune` come to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

from heed.config.tuning import TuneConfig
from heed.errors import ConfigError, DataError
from heed.studies.tune_record import Pair
from heed.text.splits import Splits, open_splits
from heed.training.devices import choose_device, has_amx
from heed.tuning.methods import parts
from heed.tuning.tuned_run import changed

Say = Callable[[str], None]


@dataclass(frozen=True)
class TunePlan:
    """What is tuned and compared."""

    config: TuneConfig
    methods: tuple[str, ...]
    encoders: tuple[str, ...] = ("minilm",)
    seeds: tuple[int, ...] = (1, 2, 3)
    epochs: tuple[int, ...] = (3,)
    """Passes over the texts; with several the search chooses among them, too."""
    rates: tuple[float, ...] | None = None
    """Learning rates to try; None: those of each method."""
    search: str = "grid"
    """grid, optuna, or none: the middle one of the rates."""
    trials: int = 8
    """Tries of a search by optuna."""
    optimizers: tuple[str, ...] = ()
    """Each is an arm with a search of its own; none: `train.optimizer` for all."""
    batch_sizes: tuple[int, ...] = ()
    """Each is an arm with a search of its own; none: `train.batch_size` for all."""
    sizes: tuple[int, ...] = ()
    """Numbers of training texts for a learning curve."""
    soup: bool = False
    """Average the weights of each arm's seeds, as an arm of its own."""
    memory: bool = True
    command: tuple[str, ...] = ()
    elsewhere: str | None = None
    """What the runs compute on (cuda, cpu) where that is not this machine."""

    @property
    def device(self) -> str:
        """What the runs compute on. Raises `ConfigError` where it is to be here and is not."""
        return self.elsewhere or choose_device(self.config.run.device).type

    @property
    def pairs(self) -> list[Pair]:
        """Every encoder with every method, optimizer and batch size; a size that is still to be found is 0."""
        size = self.config.train.batch_size
        optimizers = self.optimizers or (self.config.train.optimizer,)
        sizes = self.batch_sizes or (0 if size == "auto" else size,)
        return [Pair(*parts) for parts in product(self.encoders, self.methods, optimizers, sizes)]


def check_methods(plan: TunePlan) -> None:
    """Raise `ConfigError` for an unknown method, and for a setting of methods that none of those named reads."""
    read = {setting for name in plan.methods for part in parts(name) for setting in part.reads}
    unread = sorted(plan.config.method.model_fields_set - read - {"name"})
    if unread:
        verb = "does" if len(plan.methods) == 1 else "do"
        raise ConfigError(f"method.{unread[0]}: {', '.join(plan.methods)} {verb} not read it: leave it out")


def open_labelled_splits(config: TuneConfig) -> Splits:
    """Return the labelled texts that a configuration names, and refuse what cannot be tuned on."""
    splits = open_splits(**config.data.model_dump())
    if "validation" not in splits.rows:
        raise DataError("there is no validation split: give data.validation or a data.validation_fraction")
    target = splits.target
    for split, rows in splits.rows.items():
        if (same := target.unmeasurable(rows.labels)) is not None:
            raise DataError(f"all {len(rows):,} texts of the {split} split have {same}: nothing can be measured on it")
    if not target.weighable:
        given = {"class_weights": config.class_weights != "none", "train.label_smoothing": config.train.label_smoothing}
        if wrong := [name for name, value in given.items() if value]:
            raise ConfigError(f"{wrong[0]}: it is about classes, and this is {target.kind}: leave it out")
    return splits


def arm_config(plan: TunePlan, pair: Pair) -> TuneConfig:
    """Return the configuration of an arm, with the first seed and in the precision that it is trained in."""
    train: dict[str, Any] = {"optimizer": pair.optimizer or plan.config.train.optimizer}
    train["batch_size"] = pair.batch_size or plan.config.train.batch_size
    here = plan.elsewhere is None and plan.device == "cpu"
    if plan.config.train.precision == "auto" and here and has_amx():
        train["precision"] = "bf16"  # of MiniLM's step 0.59 of the time; see docs/speed.md
    return changed(
        plan.config, encoder={"name": pair.encoder}, method={"name": pair.method}, train=train,
        run={"seed": plan.seeds[0]},
    )  # fmt: skip
