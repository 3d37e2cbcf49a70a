"""What belongs to the folder of a run, and how it is told from others."""

from __future__ import annotations

from pathlib import Path

from heed import seals
from heed.records.answers import ANSWERS, SUMMARY, TRUST
from heed.records.calibration import CALIBRATION
from heed.records.checkpoints import CHECKPOINTS, CONFIG
from heed.records.events import METRICS
from heed.records.run import ENVIRONMENT, EVALUATION, LENGTHS

TOKENIZER, SAMPLES, PAGE, CODE = "tokenizer.json", "samples.jsonl", "report.html", "code"
OWN = (
    CONFIG, ENVIRONMENT, METRICS, CHECKPOINTS, TOKENIZER, seals.SEALS,
    EVALUATION, LENGTHS, SAMPLES, PAGE, CODE, "hf", "peft", "onnx",
    ANSWERS, SUMMARY, TRUST,
    "events.out.tfevents.heed", "wandb", ".trackio",
    "result.json", "predictions-validation.jsonl", "predictions-test.jsonl", CALIBRATION,
)  # fmt: skip
"""What belongs to a run folder; nothing else is ever deleted."""


def is_run(path: Path) -> bool:
    """Whether a folder is a run's: it has the config and the environment that `Run.create` writes."""
    return (path / CONFIG).is_file() and (path / ENVIRONMENT).is_file()
