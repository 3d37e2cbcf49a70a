"""A soup: one model out of an arm's seeds, the mean of their weights.

    w = (1/n) sum_i w_i        seeds 1, 2, 3 ──> one model, as small and as fast as each of them

Model soups: Wortsman et al. 2022, https://arxiv.org/abs/2203.05482, the uniform one. The seeds were trained for an
interval anyway, so it costs no training. All begin with the same pretrained weights and end near enough to each other
that the loss between them is low; their mean is mostly as good or better, and less sure than each (docs/tuning.md).
LoRA, prompts and prefixes begin at random, each seed in another place: they have no soup.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from heed.config.tuning import TuneConfig
from heed.records.kept import write_record
from heed.records.tune import RESULT, KeptResult, RunResult, SeedRun
from heed.report.measured import Figures
from heed.studies.tune_plan import TunePlan, arm_config
from heed.studies.tune_record import Pair, begin_arm, pair_of, soup_of
from heed.studies.tune_state import Tuning
from heed.studies.tuned_cells import kept_result
from heed.training.checkpoint import find_checkpoint, load_checkpoint, mark_best, save_checkpoint
from heed.training.devices import choose_device
from heed.training.run import Run, load_weights
from heed.tuning.methods import parts
from heed.tuning.tuned_run import build, changed, environment_of, predict_splits

COPIED = ("trained_parameters", "pooling", "formula", "options", "memory", "learning_rate", "epochs", "steps")
"""What a soup has of the arm that it is made of."""


def has_soup(method: str) -> bool:
    """Whether the mean of the weights of several seeds is a model of the same kind."""
    return all(part.averages for part in parts(method))


def soups(plan: TunePlan) -> list[Pair]:
    """Return the soups that a plan asks for."""
    return [soup_of(pair) for pair in plan.pairs if plan.soup and has_soup(pair.method)]


def mean_weights(runs: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Return the mean of each tensor, in float64, in the type that it has.

    >>> mean_weights([{"w": torch.tensor([1.0, 2.0])}, {"w": torch.tensor([3.0, 2.0])}])
    {'w': tensor([2., 2.])}
    """
    return {
        name: torch.stack([weights[name].double() for weights in runs]).mean(0).to(first.dtype)
        for name, first in runs[0].items()
    }


def add_soup(now: Tuning, pair: Pair) -> None:
    """Put the mean of an arm's seeds into the record as an arm of its own, where the plan asks for it.

    Raises `CheckpointError` for a run that is damaged or a full disk.
    """
    if soup_of(pair) not in soups(now.plan):
        return
    source = next(arm for arm in now.record.arms if pair_of(arm) == pair)
    runs = source.runs
    arm, _ = begin_arm(now.record, soup_of(pair))
    if source.status != "done" or len(runs) < 2:
        arm.status, arm.reason = "failed", f"{source.name} has no two finished seeds"
        now.write()
        return
    for key in COPIED:
        if key in source.model_fields_set:
            setattr(arm, key, getattr(source, key))
    arm.soup = [run.seed for run in runs]
    now.say(f"{arm.name}: the mean of the weights of {len(runs)} seeds")
    folder = now.folder / "runs" / arm.stem
    best = [find_checkpoint(now.folder / run.folder / "checkpoints", "best") for run in runs]
    key = hashlib.sha256(b"".join((path / "state.json").read_bytes() for path in best)).hexdigest()
    result = kept_result(folder / RESULT, key)
    if result is None:
        result = RunResult.model_validate(
            {split: found.as_dict() for split, found in _mix(now, pair, folder, best).items()}
        )
        write_record(folder / RESULT, KeptResult(key=key, result=result))
    timing = {"seconds": sum(run.seconds for run in runs), "examples_per_second": None, "best_epoch": None}
    where = {"seed": runs[0].seed, "folder": f"runs/{arm.stem}", "curve": []}
    arm.runs = [SeedRun.model_validate({**where, **timing, **result.plain()})]
    arm.status = "done"
    now.write()


def _mix(now: Tuning, pair: Pair, folder: Path, best: Sequence[Path]) -> dict[str, Figures]:
    """Write the mean of some checkpoints as a run in `folder`, and classify the splits with it."""
    config = changed(arm_config(now.plan, pair), run={"name": folder.name, "folder": str(folder.parent)})
    material = now.materials[pair.encoder]
    tuned, encoder, learn = build(config, material.splits.target)
    load_weights(tuned, mean_weights([load_checkpoint(path).model for path in best]))
    tuned.to(choose_device(config.run.device))
    splits = [split for split in ("validation", "test") if split in material.encoded]
    material.compute(config, tuned)
    facts = {"trained_parameters": learn, "soup": [path.parent.parent.name for path in best]}
    run = Run[TuneConfig].create(folder, config, overwrite=True, facts=environment_of(encoder, material) | facts)
    found = predict_splits(tuned, config, material, folder, splits)
    save_checkpoint(run.checkpoints, 0, tuned, {}, {})
    mark_best(run.checkpoints, 0, found["validation"].criterion)
    return found
