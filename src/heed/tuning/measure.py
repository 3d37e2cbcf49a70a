"""How well a tuned model does on a split: every text once, deterministic; its figures and each prediction."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from heed import seals
from heed.errors import CheckpointError, why
from heed.objectives.classes import KINDS
from heed.objectives.honest import evaluating
from heed.report.classification import figures
from heed.report.measured import Figures
from heed.text.splits import SplitRows
from heed.tuning.model import Tuned
from heed.tuning.texts import EncodedTexts, in_order


def measure(
    tuned: Tuned, texts: EncodedTexts, *, batch_size: int, device: torch.device, features: np.ndarray | None = None
) -> Figures:
    """Classify a split; `features` (n, D) stand in the place of its texts where they were computed before."""
    logits = np.empty((len(texts), tuned.classes), dtype=np.float64)
    with evaluating(tuned):
        for numbers, batch in in_order(texts, batch_size):
            source = batch.source if features is None else features[numbers]
            logits[numbers] = tuned(torch.from_numpy(source).to(device)).double().cpu().numpy()
    shifted = logits - logits.max(axis=1, keepdims=True)
    probabilities = np.exp(shifted) / np.exp(shifted).sum(axis=1, keepdims=True)
    return figures_of(texts.labels, probabilities)


def figures_of(labels: np.ndarray, probabilities: np.ndarray) -> Figures:
    """Return the figures of labels (n,) and probabilities (n, C); the refined loss chooses the best checkpoint.

    (See `heed.report.classification`.)
    """
    values = figures(labels, probabilities)
    interval = {"accuracy": tuple(values.pop("accuracy_interval"))}
    return Figures(values, KINDS, interval, headline="accuracy", chosen_by="refined_loss", probabilities=probabilities)


def compute_features(tuned: Tuned, texts: EncodedTexts, *, batch_size: int, device: torch.device) -> np.ndarray:
    """Return the pooled vector (n, D) float32 of each text, in evaluation mode."""
    found = np.empty((len(texts), tuned.shape.d_model), dtype=np.float32)
    with evaluating(tuned):
        for numbers, batch in in_order(texts, batch_size):
            found[numbers] = tuned.features(torch.from_numpy(batch.source).to(device)).float().cpu().numpy()
    return found


def write_predictions(path: Path, rows: SplitRows, classes: tuple[str, ...], probabilities: np.ndarray) -> None:
    """Write a line a text: place, text, label, group where there are any, what the model says and how surely.

    Raises `CheckpointError` when the disk is full.
    """
    try:
        lines = (json.dumps(line, ensure_ascii=False) + "\n" for line in _predictions(rows, classes, probabilities))
        seals.write_text(path, "".join(lines))
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be written: {why(error)}; make room and give the same command again"
        ) from error


def _predictions(rows: SplitRows, classes: tuple[str, ...], probabilities: np.ndarray) -> Iterator[dict[str, Any]]:
    for number, chances in enumerate(probabilities):
        best = int(chances.argmax())
        yield {
            "place": rows.places[number],
            "text": rows.texts[number],
            "pair": None if rows.pairs is None else rows.pairs[number],
            **({} if rows.groups is None else {"group": short_group(rows.groups[number])}),
            "label": classes[int(rows.labels[number])],
            "predicted": classes[best],
            "probability": round(float(chances[best]), 6),
            "probabilities": [round(float(chance), 6) for chance in chances],
        }


def short_group(group: str) -> str:
    """Return a group in a few letters, the same for the same one: a group may be a whole passage."""
    return hashlib.sha256(group.encode("utf-8")).hexdigest()[:16]
