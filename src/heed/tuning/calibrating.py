"""The temperature of a tuned run: chosen on its validation split, kept beside it, and what it is worth on the test.

    texts of predictions-validation.jsonl ──the run, again──> p ──> T with the least loss ──> calibration.json

The files of predictions hold probabilities of six digits, which are no logits: a class of 1e-7 would be one of 0. So
the run reads the texts that they name again.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from heed.errors import CheckpointError, ConfigError
from heed.records.calibration import CALIBRATION, CalibratedFigures, CalibratedSplit, CalibrationFile
from heed.records.kept import write_record
from heed.report.calibration import calibration
from heed.report.classification import figures
from heed.report.gradings import grading_of
from heed.report.temperature import at_temperature, chosen_temperature
from heed.report.tuning_predictions import PredictionReader, Split, SplitExamples
from heed.tuning.predict import Predictor, TextToClassify, weights_of

ALIKE = 0.01
"""How far a probability may be from the one that was kept: other devices sum in another order."""


def calibrate(folder: Path, device: str = "auto") -> tuple[Path, CalibrationFile]:
    """Choose the temperature of a run, or of the best run of a tune; return its folder, and what was kept there.

    Raises `ConfigError` for a run that gives no probabilities of classes, `CheckpointError` where its predictions on
    validation are gone or are not those of its weights, `DataError` where these cannot choose.
    """
    predictor = Predictor(folder, device)
    if predictor.target.kind != "classes":
        raise ConfigError(f"--calibrate is for classes, and {predictor.folder} says {predictor.target.said}")
    examples, p = again(predictor, "validation")
    T = chosen_temperature(examples.labels, p)
    test = None
    if (predictor.folder / "predictions-test.jsonl").is_file():
        of_test, on_test = again(predictor, "test")
        test = _split(of_test.labels, on_test, T)
    record = CalibrationFile(
        format=1,
        temperature=T,
        weights=weights_of(predictor.folder),
        validation=_split(examples.labels, p, T),
        test=test,
    )
    write_record(predictor.folder / CALIBRATION, record)
    return predictor.folder, record


def again(predictor: Predictor, split: Split) -> tuple[SplitExamples, np.ndarray]:
    """Return the examples of a split and what the run says of them now, (n, outputs), to all digits.

    Raises `CheckpointError` where its predictions are gone, or say otherwise.
    """
    folder = predictor.folder.resolve()
    reader = PredictionReader(folder.parent, grading_of(predictor.target))
    kept = reader.read(folder.name, split, None)
    if kept is None:
        raise CheckpointError(
            f"{predictor.folder}/predictions-{split}.jsonl is needed and cannot be used: {' '.join(reader.notes)} Give "
            "the command of the tune again, which writes it"
        )
    examples = reader.examples[split]
    found = predictor.answers(
        [TextToClassify(*row) for row in zip(examples.places, examples.texts, examples.pairs, strict=True)]
    )
    if predictor.temperature is None and np.abs(found - kept.probabilities).max() > ALIKE:
        raise CheckpointError(
            f"{predictor.folder} says other probabilities of its {split} texts than it once did: are predictions and "
            "checkpoints of one run? Tune it again"
        )
    return examples, found


def _split(labels: np.ndarray, p: np.ndarray, T: float) -> CalibratedSplit:
    """Return a split at temperature 1 and at T."""
    values = figures(labels, p)
    before, after = (_figures(labels, one) for one in (p, at_temperature(p, T)))
    return CalibratedSplit(examples=len(labels), accuracy=values["accuracy"], before=before, after=after)


def _figures(labels: np.ndarray, p: np.ndarray) -> CalibratedFigures:
    sure = np.minimum(1.0, p.max(axis=1))
    found = calibration(sure, p.argmax(axis=1) == labels)
    return CalibratedFigures(
        loss=figures(labels, p)["loss"],
        error=found.error,
        interval=list(found.interval),
        chance_most=found.chance_most,
        confidence=float(sure.mean()),
    )
