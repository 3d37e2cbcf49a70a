"""Can a method learn a few texts by heart? Where it cannot, something is wrong before any comparison begins.

    FOLDER/overfit.json    the texts, and of each arm its accuracy and loss by step and what it says of each text
    FOLDER/report.html     the same to look at

The accuracy is of the texts that it is trained on, in evaluation mode: whoever learns them by heart has 100 %.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from heed.config.tuning import TuneConfig
from heed.errors import CheckpointError, ConfigError, DataError
from heed.files import make_folder
from heed.records.kept import write_record
from heed.report.measured import Figures
from heed.report.overfit_page import FILE, PAGE, write_overfit
from heed.studies.rates import WIDE, own_rates
from heed.studies.tune_plan import Say, TunePlan, arm_config, check_methods, open_labelled_splits
from heed.studies.tune_record import Pair, name_arms
from heed.targets import Target
from heed.targets.classes import ClassTarget
from heed.text.batches import Batch
from heed.text.splits import Splits
from heed.training.devices import choose_device, machine_facts, take_threads, threads_kept
from heed.training.step import Updater
from heed.training.streams import Streams
from heed.tuning.encoders import load_encoder
from heed.tuning.measure import measure
from heed.tuning.methods import frozen_features, parts
from heed.tuning.model import Tuned
from heed.tuning.texts import EncodedTexts
from heed.tuning.tuned_run import Material, build, changed

MOST_STEPS = 300
"""Steps after which a method that has not learned the texts is taken to be unable."""
EVERY = 10
"""Steps between two looks."""


@threads_kept()
def overfit(plan: TunePlan, size: int, say: Say, folder: Path | None = None) -> dict[str, float]:
    """Return the accuracy of each arm on `size` texts (as many of each class as can be) that it was trained on.

    Dropout and weight decay are off, every step sees all of them, and the highest of the arm's rates is taken, the
    middle one where they are a wide grid. How it went is kept in `folder`, where one is given. Raises `DataError` when
    there are fewer texts than that, `CheckpointError` for a folder that holds something else.
    """
    take_threads(plan.config.run.threads)
    check_methods(plan)
    names = name_arms(plan.pairs)
    splits = open_labelled_splits(plan.config)
    if not isinstance(splits.target, ClassTarget):
        raise ConfigError(f"--overfit: it is about classes, and this is {splits.target.kind}: leave it out")
    record: dict[str, Any] = {}
    for encoder in plan.encoders:
        texts, numbers = _some(plan, encoder, splits, size)
        record = record or _begin(plan, splits, numbers)
        if folder is not None:
            _refuse_others(folder)
        for pair in (pair for pair in plan.pairs if pair.encoder == encoder):
            arm = {"name": names[pair], **pair._asdict(), **_learn(plan, pair, texts, splits.target, say)}
            record["arms"].append(arm)
            if arm["accuracy"] == 1:
                say(f"{arm['name']}: by heart after {arm['curve'][-1]['step']} steps")
            if folder is not None:
                write_record(folder / FILE, record)
                write_overfit(folder)
    if folder is not None:
        say(f"report: {folder / PAGE}")
    return {arm["name"]: arm["accuracy"] for arm in record["arms"]}


def _learn(plan: TunePlan, pair: Pair, texts: EncodedTexts, target: Target, say: Say) -> dict[str, Any]:
    """Train one arm on all texts at once until it knows them, and return how it went."""
    device = choose_device(plan.config.run.device)
    config = _config(plan, pair)
    tuned, _, _ = build(config, target)
    tuned.to(device).eval()  # without dropout
    updater = Updater(tuned, config.train, device, Streams(config.run.seed), say)
    batch = _whole(tuned, texts, device, frozen_features(pair.method))
    found = _look(tuned, texts, device)
    curve = [_point(0, found)]
    for step in range(1, MOST_STEPS + 1):
        updater.update(step, [batch])
        if step % EVERY == 0:
            found = _look(tuned, texts, device)
            curve.append(_point(step, found))
            if found["accuracy"] == 1:
                break
    predicted = [target.line(row)["predicted"] for row in found.answers]
    rate = config.train.learning_rate
    return {
        "learning_rate": rate, "accuracy": found["accuracy"], "curve": curve, "predicted": predicted
    }  # fmt: skip


def _config(plan: TunePlan, pair: Pair) -> TuneConfig:
    """Return the configuration of an arm that is to learn by heart."""
    settings = {"weight_decay": 0.0, "warmup_steps": 0, "schedule": "constant", "steps": MOST_STEPS}
    config = arm_config(plan, pair)
    own = [own_rates(part.name, pair.optimizer) for part in parts(pair.method)]
    far = -1 if pair.optimizer not in WIDE else len(own[0]) // 2  # the highest of a wide grid may well be too high
    settings |= {
        "learning_rate": max(plan.rates or (rates[far] for rates in own)),
        "precision": plan.config.train.precision,
    }
    return changed(config, train=settings)


def _some(plan: TunePlan, name: str, splits: Splits, size: int) -> tuple[EncodedTexts, np.ndarray]:
    """Return the texts as an encoder reads them, and their numbers in the training split."""
    config = arm_config(plan, Pair(name, plan.methods[0]))
    encoder = load_encoder(config.encoder, splits.target, native=False)
    texts = Material.of(splits, encoder, config.encoder.max_length).encoded["train"]
    if len(texts) < size:
        raise DataError(f"--overfit: there are only {len(texts):,} training texts: take at most that")
    numbers = _mixed(texts.labels, size)
    return texts.take(numbers), numbers


def _begin(plan: TunePlan, splits: Splits, numbers: np.ndarray) -> dict[str, Any]:
    """Return the record before any arm has learned."""
    rows = splits.rows["train"]
    chosen = [
        {
            "place": rows.places[number],
            "text": rows.texts[number],
            "pair": None if rows.pairs is None else rows.pairs[number],
            "label": splits.target.written(rows.labels[number]),
        }
        for number in numbers
    ]
    device = choose_device(plan.config.run.device).type
    return {
        "format": 1,
        "command": list(plan.command),
        "machine": machine_facts() | {"device": device},
        "data": {"name": splits.name, **splits.target.facts(), "fingerprint": splits.fingerprint},
        "most_steps": MOST_STEPS,
        "texts": chosen,
        "arms": [],
    }


def _refuse_others(folder: Path) -> None:
    """Make the folder; raise `CheckpointError` where it cannot be, or holds something else than an earlier check."""
    try:
        make_folder(folder)
    except OSError as error:
        raise CheckpointError(f"{folder} cannot be made: {error.strerror}; choose another --out") from error
    if any(folder.iterdir()) and not (folder / FILE).is_file():
        raise CheckpointError(f"{folder} holds something else than a check by heart: choose another --out")


def _whole(tuned: Tuned, texts: EncodedTexts, device: torch.device, frozen: bool) -> Batch:
    """Return all texts as one batch, of their vectors where these never change."""
    batch = texts.batch(np.arange(len(texts)))
    if not frozen:
        return batch
    with torch.no_grad():
        vectors = tuned.features(torch.from_numpy(batch.source).to(device)).cpu().numpy()
    return Batch(vectors, batch.target, None)


def _look(tuned: Tuned, texts: EncodedTexts, device: torch.device) -> Figures:
    return measure(tuned, texts, batch_size=len(texts), device=device)


def _point(step: int, found: Figures) -> dict[str, float]:
    return {"step": step, "accuracy": found["accuracy"], "loss": found["loss"]}


def _mixed(labels: np.ndarray, size: int) -> np.ndarray:
    """Return the numbers of `size` texts, taken from the classes in turn."""
    rank = np.zeros(len(labels), np.int64)
    for name in np.unique(labels):
        where = np.flatnonzero(labels == name)
        rank[where] = np.arange(len(where))
    return np.sort(np.lexsort((labels, rank))[:size])
