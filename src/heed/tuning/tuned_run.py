"""One tuned run: an encoder, a method, a learning rate and a seed; from labelled texts to a run folder.

    splits ─> token ids ─> [vectors, once, where nothing but the head learns] ─> fit ─> best weights ─> predictions

The folder is a run's (see `heed.training.run`): `config.yaml`, `environment.json` (which encoder, its files' hash, the
classes), `metrics.jsonl`, `checkpoints/`, and `predictions-<split>.jsonl`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from heed.config.tuning import TuneConfig
from heed.errors import CheckpointError, DataError
from heed.report.measured import Figures
from heed.targets import Target, target_of
from heed.text.examples import fixed_part, texts_measured
from heed.text.splits import Splits, beginning_rows
from heed.training.checkpoint import find_checkpoint, load_checkpoint
from heed.training.devices import choose_device, take_threads, threads_kept
from heed.training.fit import FitResult, fit
from heed.training.progress import Progress
from heed.training.run import Run, load_weights, open_as
from heed.training.streams import Streams, seed_torch, stream_seed
from heed.tuning.encoders import load_encoder
from heed.tuning.measure import compute_features, measure, write_predictions
from heed.tuning.methods import apply, frozen_features, is_native
from heed.tuning.model import Tuned
from heed.tuning.pretrained import Pretrained
from heed.tuning.texts import EncodedTexts, FeatureBatches, TextBatches, encode

EVALUATION = 64
"""Texts that are classified at once."""


@dataclass
class Material:
    """Labelled texts with their token ids, and the vectors that were computed, for all runs of one encoder."""

    splits: Splits
    encoded: dict[str, EncodedTexts]
    features: dict[str, np.ndarray] = field(default_factory=dict)
    sha256: str = ""
    """Of the encoder's files."""

    def first(self, size: int) -> Material:
        """Return the same with so many training texts, of each class its share; fewer are a part of more.

        Raises `DataError` when there are not so many, or a class is not among them.
        """
        texts, rows = self.encoded["train"], self.splits.rows["train"]
        target = self.splits.target
        numbers = np.array(beginning_rows(rows, size, target))
        if target.missing(texts.labels[numbers]):
            raise DataError(f"--sizes: among {size:,} training texts not every {target.output} occurs: take more")
        features = {name: some[numbers] if name == "train" else some for name, some in self.features.items()}
        return Material(self.splits, self.encoded | {"train": texts.take(numbers)}, features, self.sha256)

    def compute(self, config: TuneConfig, tuned: Tuned) -> None:
        """Compute the vectors of all splits, where nothing but the head learns; later runs find them."""
        if not frozen_features(config.method.name):
            return
        device = choose_device(config.run.device)
        tuned.to(device)
        for name, texts in self.encoded.items():
            if name not in self.features:
                self.features[name] = compute_features(tuned, texts, batch_size=EVALUATION, device=device)

    @classmethod
    def of(cls, splits: Splits, encoder: Pretrained, max_length: int) -> Material:
        """Return the texts as `encoder` reads them."""
        encoded = {
            name: encode(rows, encoder.tokenizer, max_length, encoder.pad_id) for name, rows in splits.rows.items()
        }
        return cls(splits, encoded, sha256=hash_encoder(encoder.folder))


@dataclass(frozen=True)
class TunedRun:
    """What came of one run."""

    run: Run[TuneConfig]
    fit: FitResult
    trained_parameters: int
    measures: dict[str, Figures]
    """The figures of the best weights on each split that was asked for; none where it was interrupted."""


def build(config: TuneConfig, target: Target) -> tuple[Tuned, Pretrained, int]:
    """Return (model, encoder, trained parameters): the encoder that a configuration names, made to learn its way.

    The first weights are those of the run's seed. Raises what `load_encoder` and `apply` raise.
    """
    with torch.random.fork_rng(devices=[]):
        seed_torch(stream_seed(config.run.seed, "initialisation"))
        native = is_native(config.encoder, config.method.name)
        encoder = load_encoder(config.encoder, target, native=native)
        tuned = Tuned(encoder, target)
        if config.adversarial:
            tuned.move_words(config.adversarial)
        learn = apply(tuned, config.method, config.encoder.max_length)
    return tuned, encoder, learn


def batches_of(config: TuneConfig, material: Material, tuned: Tuned) -> TextBatches:
    """Return the endless training batches: of texts, or of their vectors where these never change."""
    size, texts = config.train.batch_size, material.encoded["train"]
    assert size != "auto"
    seed = stream_seed(config.run.seed, "data") % 2**32
    material.compute(config, tuned)
    if frozen_features(config.method.name):
        return FeatureBatches(texts, material.features["train"], size, seed)
    return TextBatches(texts, size, seed)


def steps_per_epoch(material: Material, config: TuneConfig) -> int:
    """Return the updates of a pass over the training texts."""
    size = config.train.batch_size
    assert size != "auto"
    return -(-len(material.encoded["train"]) // (size * config.train.accumulation))


@threads_kept()
def train_run(
    config: TuneConfig,
    material: Material,
    folder: Path,
    *,
    measured: tuple[str, ...] = ("validation",),
    measures_training: bool = True,
    progress: Progress | None = None,
    resume: bool = False,
    facts: Mapping[str, Any] | None = None,
    until: int | None = None,
) -> TunedRun:
    """Train, keep the best weights, and classify the splits in `measured` and a part of the training texts with them.

    After the step `until` it stops as if it had been interrupted there.
    Raises what `build` and `heed.training.fit.fit` raise.
    """
    take_threads(config.run.threads)
    device = choose_device(config.run.device)
    tuned, encoder, learn = build(config, material.splits.target)
    if config.class_weights == "balanced":
        tuned.class_weights = balanced(material.encoded["train"].labels, len(material.splits.target.names))
    batches = batches_of(config, material, tuned)
    if resume:
        run = Run[TuneConfig](folder, config)
    else:
        known = environment_of(encoder, material) | {"trained_parameters": learn} | dict(facts or {})
        run = Run[TuneConfig].create(folder, config, overwrite=True, facts=known)
    known = known_part(config, material) if measures_training else None
    result = fit(
        tuned,
        batches,
        config.train,
        run,
        validation=lambda: classify(tuned, config, material, "validation"),
        training=None if known is None else lambda: classify(tuned, config, material, "train", known),
        device=device,
        streams=Streams(config.run.seed),
        progress=progress,
        resume=resume,
        log_every=max(1, min(10, batches.steps_per_epoch)),
        until=until,
        evaluations_after=sum(len(some) for split, some in material.encoded.items() if split != "train")
        / len(material.encoded["validation"]),
    )
    if result.reason == "interrupted":  # the test is not for weights that are still on their way
        return TunedRun(run, result, learn, {})
    load_weights(tuned, load_checkpoint(find_checkpoint(run.checkpoints, "best")).model)
    found = predict_splits(tuned, config, material, folder, measured)
    if known is not None:
        found["train"] = classify(tuned, config, material, "train", known)
    return TunedRun(run, result, learn, found)


def known_part(config: TuneConfig, material: Material) -> np.ndarray | None:
    """Return the numbers of the training texts that are measured beside validation, the same for all; None: none are.

    See `train.eval_train_tokens`.
    """
    texts, held_out = material.encoded["train"], len(material.encoded["validation"])
    count = texts_measured(config.train.eval_train_tokens, texts.lengths, held_out)
    return fixed_part(len(texts), count) if count else None


def classify(
    tuned: Tuned, config: TuneConfig, material: Material, split: str, numbers: np.ndarray | None = None
) -> Figures:
    """Classify a split, or those of its texts that have some `numbers`, by vectors where these were computed once."""
    features = material.features[split] if frozen_features(config.method.name) else None
    texts, device = material.encoded[split], next(tuned.parameters()).device
    if numbers is not None:
        texts, features = texts.take(numbers), None if features is None else features[numbers]
    return measure(tuned, texts, batch_size=EVALUATION, device=device, features=features)


def predict_splits(
    tuned: Tuned, config: TuneConfig, material: Material, folder: Path, splits: Sequence[str]
) -> dict[str, Figures]:
    """Classify some splits and write each prediction into `folder`. Raises `CheckpointError` when the disk is full."""
    found = {}
    for split in splits:
        found[split] = classify(tuned, config, material, split)
        rows, target = material.splits.rows[split], material.splits.target
        write_predictions(folder / f"predictions-{split}.jsonl", rows, target, found[split].answers)
    return found


def balanced(labels: np.ndarray, classes: int) -> torch.Tensor:
    """Return a weight (C,) for each class that makes their sums over the texts equal, 1 on average over the texts.

    >>> balanced(np.array([0, 0, 0, 1]), 2)
    tensor([0.6667, 2.0000])
    """
    counts = np.bincount(labels, minlength=classes)
    return torch.tensor(len(labels) / (classes * counts), dtype=torch.float32)


def environment_of(encoder: Pretrained, material: Material) -> dict[str, Any]:
    """Return what a tuned run depends on beside its configuration."""
    splits = material.splits
    return {
        **splits.target.facts(),
        "encoder": {"source": encoder.source, "sha256": material.sha256},
        "data": {"name": splits.name, "fingerprint": splits.fingerprint},
    }


def hash_encoder(folder: Path) -> str:
    """Return the SHA-256 over the weights, the configuration and the tokenizer of an encoder's folder."""
    whole = hashlib.sha256()
    for path in sorted([*folder.glob("*.safetensors"), *folder.glob("config.json"), *folder.glob("tokenizer.json")]):
        with path.open("rb") as file:
            whole.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()


def load_tuned(folder: Path, device: str = "auto") -> tuple[Tuned, Pretrained, Run[TuneConfig], Target]:
    """Return (model in evaluation mode, encoder, run, target) of a finished run.

    Raises `CheckpointError` when it is no tuned run, was not finished, or its encoder is another one by now.
    """
    run = open_tuned(folder)
    try:
        target = target_of({"classes": run.classes, "target": run.environment.target})
    except (KeyError, TypeError, ValueError):
        raise CheckpointError(f"{folder} names no classes in environment.json: it is not a run of heed tune") from None
    tuned, encoder, _ = build(run.config, target)
    facts: Mapping[str, Any] = run.environment.encoder or {}
    if facts.get("sha256") != hash_encoder(encoder.folder):
        raise CheckpointError(
            f"{folder} was tuned from another {run.config.encoder.name} ({facts.get('source')}) than is here now "
            f"({encoder.source}): bring that one back"
        )
    load_weights(tuned, load_checkpoint(find_checkpoint(run.checkpoints, "best")).model)
    return tuned.to(choose_device(device)).eval(), encoder, run, target


def open_tuned(folder: Path) -> Run[TuneConfig]:
    """Open the folder of a tuned run. Raises `CheckpointError` when it is none."""
    return Run(Path(folder), open_as(folder, TuneConfig, "heed tune"))


def changed(config: TuneConfig, **sections: dict[str, Any]) -> TuneConfig:
    """Return a configuration with other settings in some sections, as `train={"steps": 3}`."""
    update = {name: getattr(config, name).model_copy(update=values) for name, values in sections.items()}
    return config.model_copy(update=update)
