"""Can a method learn a few texts by heart? Where it cannot, something is wrong before any comparison begins."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from heed.errors import DataError
from heed.training.devices import choose_device, take_threads
from heed.training.step import Updater
from heed.training.streams import Streams
from heed.tuning.encoders import load_encoder
from heed.tuning.measure import measure
from heed.tuning.methods import frozen_features, parts
from heed.tuning.plan import Plan, Say, check_methods, open_labelled_splits
from heed.tuning.record import name_arms
from heed.tuning.run import Material, build, changed

MOST_STEPS = 300
"""Steps after which a method that has not learned the texts is taken to be unable."""


def overfit(plan: Plan, size: int, say: Say) -> dict[str, float]:
    """Return the accuracy of each method on `size` texts (as many of each class as can be) that it was trained on.

    Dropout and weight decay are off, every step sees all of them, and the highest of the method's rates is taken.
    Raises `DataError` when there are fewer texts than that.
    """
    take_threads(plan.config.run.threads)
    check_methods(plan)
    names = name_arms(plan.pairs)
    splits = open_labelled_splits(plan.config)
    device = choose_device(plan.config.run.device)
    found: dict[str, float] = {}
    for name in plan.encoders:
        base = changed(plan.config, encoder={"name": name}, train={"weight_decay": 0.0, "warmup_steps": 0})
        encoder = load_encoder(base.encoder, splits.classes, native=False)
        texts = Material.of(splits, encoder, base.encoder.max_length).encoded["train"]
        if len(texts) < size:
            raise DataError(f"--overfit: there are only {len(texts):,} training texts: take at most that")
        texts = texts.take(_mixed(texts.labels, size))
        for method in plan.methods:
            rate = max(part.rates[-1] for part in parts(method))
            settings: dict[str, Any] = {"learning_rate": rate, "schedule": "constant", "steps": MOST_STEPS}
            config = changed(base, method={"name": method}, train=settings)
            streams = Streams(config.run.seed)
            tuned, _, _ = build(config, splits.classes)
            tuned.to(device).eval()  # without dropout
            updater = Updater(tuned, config.train, device, streams, say)
            batch, accuracy = texts.batch(np.arange(size)), 0.0
            if frozen_features(method):
                with torch.no_grad():
                    vectors = tuned.features(torch.from_numpy(batch.source).to(device)).cpu().numpy()
                batch = type(batch)(vectors, batch.target, None)
            for step in range(1, MOST_STEPS + 1):
                updater.update(step, [batch])
                if step % 10 == 0:
                    accuracy = measure(tuned, texts, batch_size=size, device=device).figures["accuracy"]
                    if accuracy == 1:
                        say(f"{method}: by heart after {step} steps")
                        break
            found[names[name, method]] = accuracy
    return found


def _mixed(labels: np.ndarray, size: int) -> np.ndarray:
    """Return the numbers of `size` texts, taken from the classes in turn."""
    rank = np.zeros(len(labels), np.int64)
    for name in np.unique(labels):
        where = np.flatnonzero(labels == name)
        rank[where] = np.arange(len(where))
    return np.sort(np.lexsort((labels, rank))[:size])
