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
from heed.objectives.honest import evaluating
from heed.report.gradings import grading_of
from heed.report.measured import Figures
from heed.targets import Target
from heed.text.splits import SplitRows
from heed.tuning.model import Tuned
from heed.tuning.texts import EncodedTexts, in_order


def measure(
    tuned: Tuned, texts: EncodedTexts, *, batch_size: int, device: torch.device, features: np.ndarray | None = None
) -> Figures:
    """Return the figures of a split; see `answers_of`."""
    answers = answers_of(tuned, texts, batch_size=batch_size, device=device, features=features)
    return grading_of(tuned.target).measured(texts.labels, answers)


def answers_of(
    tuned: Tuned, texts: EncodedTexts, *, batch_size: int, device: torch.device, features: np.ndarray | None = None
) -> np.ndarray:
    """Return what a model says of each text, (n, outputs) float64: see `Target.answers`.

    `features` (n, D) stand in the place of the texts where they were computed before.
    """
    logits = np.empty((len(texts), len(tuned.target.names)), dtype=np.float64)
    with evaluating(tuned):
        for numbers, batch in in_order(texts, batch_size):
            source = batch.source if features is None else features[numbers]
            logits[numbers] = tuned(torch.from_numpy(source).to(device)).double().cpu().numpy()
    return tuned.target.answers(logits)


def compute_features(tuned: Tuned, texts: EncodedTexts, *, batch_size: int, device: torch.device) -> np.ndarray:
    """Return the pooled vector (n, D) float32 of each text, in evaluation mode."""
    found = np.empty((len(texts), tuned.shape.d_model), dtype=np.float32)
    with evaluating(tuned):
        for numbers, batch in in_order(texts, batch_size):
            found[numbers] = tuned.features(torch.from_numpy(batch.source).to(device)).float().cpu().numpy()
    return found


def write_predictions(path: Path, rows: SplitRows, target: Target, answers: np.ndarray) -> None:
    """Write a line a text: place, text, label, group where there are any, what the model says and how surely.

    Raises `CheckpointError` when the disk is full.
    """
    try:
        lines = (json.dumps(line, ensure_ascii=False) + "\n" for line in _predictions(rows, target, answers))
        seals.write_text(path, "".join(lines))
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be written: {why(error)}; make room and give the same command again"
        ) from error


def _predictions(rows: SplitRows, target: Target, answers: np.ndarray) -> Iterator[dict[str, Any]]:
    for number, answer in enumerate(answers):
        yield {
            "place": rows.places[number],
            "text": rows.texts[number],
            "pair": None if rows.pairs is None else rows.pairs[number],
            **({} if rows.groups is None else {"group": short_group(rows.groups[number])}),
            "label": target.written(rows.labels[number]),
            **rounded(target.line(answer)),
        }


def rounded(line: dict[str, Any]) -> dict[str, Any]:
    """Return what is said of a text with its probabilities as a file has them."""
    found = dict(line)
    if "probability" in found:
        found["probability"] = round(found["probability"], 6)
    if "probabilities" in found:
        found["probabilities"] = [round(chance, 6) for chance in found["probabilities"]]
    return found


def short_group(group: str) -> str:
    """Return a group in a few letters, the same for the same one: a group may be a whole passage."""
    return hashlib.sha256(group.encode("utf-8")).hexdigest()[:16]
