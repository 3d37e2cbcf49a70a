"""A tuned run, verified: hashes, encoder, texts, the figures of its best weights, some steps of its training."""

from __future__ import annotations

import json
import re
from pathlib import Path

from heed.config.tuning import TuneConfig
from heed.records.checkpoints import CONFIG
from heed.records.events import METRICS
from heed.records.kept import read_record
from heed.records.run import ENVIRONMENT
from heed.records.tune import RESULT, KeptResult
from heed.text.splits import open_splits
from heed.training.checkpoint import find_checkpoint, load_checkpoint, saved_steps
from heed.training.devices import choose_device
from heed.training.run import Run, load_weights
from heed.tuning.encoders import load_encoder
from heed.tuning.tuned_run import (
    Material,
    TunedRun,
    build,
    classify,
    known_part,
    open_tuned,
    train_run,
)
from heed.verification.checks import VerifiedFolder
from heed.verification.hashes import check_checkpoints, check_hashes
from heed.verification.repeated import repeat
from heed.verification.runs import Say, elsewhere, trying

SPLITS = ("validation", "test")


def verify_tuned(folder: Path, steps: int, say: Say) -> VerifiedFolder:
    """Verify a run folder of `heed tune`. Raises `CheckpointError` where it is none."""
    found = VerifiedFolder(str(folder), "tuned run")
    check_hashes(found, folder, needed=(CONFIG, ENVIRONMENT, METRICS))
    check_checkpoints(found, folder)
    with trying(found, "run"):
        run = open_tuned(folder)
        found.elsewhere = elsewhere(run)
        material = _material(found, run, say)
        if material is None:
            return found
        if not saved_steps(run.checkpoints):
            found.note("final figures", "not checked", "it keeps no weights: only its learning rate was tried")
            return found
        _check_figures(found, run, material, say)
        with trying(found, "training"):
            say("repeating some steps of the training")
            repeat(found, folder, steps, lambda copy, until: _again(run, material, copy, until))
    return found


def _material(found: VerifiedFolder, run: Run[TuneConfig], say: Say) -> Material | None:
    """Return texts and encoder where they are those of the run, and note whether they are."""
    with trying(found, "text"):
        config, known = run.config, run.environment
        with run.at_home():
            splits = open_splits(**config.data.model_dump())
        encoder = load_encoder(config.encoder, splits.target, native=False)
        say(f"reading {splits.name} with {config.encoder.name}")
        material = Material.of(splits, encoder, config.encoder.max_length)
        kept = {
            "encoder": (known.encoder or {}).get("sha256"),
            "text": (known.plain().get("data") or {}).get("fingerprint"),
        }
        now = {"encoder": material.sha256, "text": splits.fingerprint}
        for name, what in (("encoder", config.encoder.name), ("text", splits.name)):
            same = kept[name] == now[name]
            said = f"{what}: the hash that the run noted" if same else f"{what} is another one than the run noted"
            found.note(name, "same" if same else "differs", said)
        if kept != now:
            return None
        if part := re.fullmatch(r".+-of-(\d+)", run.folder.name):  # a point of a learning curve
            material.compute(config, build(config, splits.target)[0])
            material = material.first(int(part[1]))
        return material
    return None


def _check_figures(found: VerifiedFolder, run: Run[TuneConfig], material: Material, say: Say) -> None:
    """Classify every split that the run has figures of by its best weights."""
    with trying(found, "final figures"):
        try:
            kept = read_record(KeptResult, run.folder / RESULT).result.plain()
        except FileNotFoundError:
            found.note("final figures", "not checked", f"there is no {RESULT}: the training has not ended")
            return
        config = run.config
        tuned, _, _ = build(config, material.splits.target)
        tuned.to(choose_device(config.run.device))
        material.compute(config, tuned)
        load_weights(tuned, load_checkpoint(find_checkpoint(run.checkpoints, "best")).model)
        say("measuring the best weights")
        measured = {split: classify(tuned, config, material, split) for split in SPLITS if kept.get(split)}
        if kept.get("train") and (part := known_part(config, material)) is not None:
            measured["train"] = classify(tuned, config, material, "train", part)
        now = json.loads(json.dumps({split: figures.as_dict() for split, figures in measured.items()}))
        found.compare("final figures", {split: kept[split] for split in measured}, now)


def _again(run: Run[TuneConfig], material: Material, copy: Path, until: int) -> TunedRun:
    measures = (run.folder / RESULT).is_file() and bool(read_record(KeptResult, run.folder / RESULT).result.train)
    return train_run(run.config, material, copy, measured=(), measures_training=measures, resume=True, until=until)
