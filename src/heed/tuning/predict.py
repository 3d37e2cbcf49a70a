"""What a tuned run says of texts that it has never seen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from heed.errors import CheckpointError, DataError
from heed.report.tuning_advice import advised, gaps_of
from heed.report.tuning_record import read_tuning
from heed.text.formats import kind_of, read_rows
from heed.text.splits import Rows
from heed.training.settings import CONFIG, is_run
from heed.tuning.measure import measure
from heed.tuning.run import EVALUATION, load_tuned
from heed.tuning.texts import encode


@dataclass(frozen=True)
class Prediction:
    """The class of a text, and how sure the model is."""

    place: str
    text: str
    pair: str | None
    predicted: str
    probability: float
    probabilities: Mapping[str, float]
    """Of every class, by its name."""

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "place": self.place,
            "text": self.text,
            "pair": self.pair,
            "predicted": self.predicted,
            "probability": self.probability,
            "probabilities": dict(self.probabilities),
        }


class Predictor:
    """A tuned run that is ready to be asked; `folder` is the run's, or that of a tune, of which it takes the best run.

    Raises `CheckpointError` when there is none, or its encoder is another one by now.
    """

    def __init__(self, folder: str | Path, device: str = "auto") -> None:
        self.folder = choose_run(Path(folder))
        self.tuned, self.encoder, run, self.classes = load_tuned(self.folder, device)
        self.max_length = run.config.encoder.max_length
        self.pairs = run.config.data.pair is not None
        self.cut = 0
        """Texts so far that were longer than what the run reads."""

    def predict(
        self, texts: Sequence[str], pairs: Sequence[str] | None = None, places: Sequence[str] | None = None
    ) -> list[Prediction]:
        """Return what the run says of each text. Raises `DataError` for an empty text, and pairs too many or few."""
        places = [f"text {number}" for number in range(1, len(texts) + 1)] if places is None else list(places)
        self._check(texts, pairs, places)
        rows = Rows(list(texts), None if pairs is None else list(pairs), np.zeros(len(texts), np.int64), places)
        encoded = encode(rows, self.encoder.tokenizer, self.max_length, self.encoder.pad_id)
        self.cut += encoded.cut
        device = next(self.tuned.parameters()).device
        chances = measure(self.tuned, encoded, batch_size=EVALUATION, device=device).probabilities
        return [
            Prediction(
                place=places[number],
                text=rows.texts[number],
                pair=None if rows.pairs is None else rows.pairs[number],
                predicted=self.classes[int(row.argmax())],
                probability=float(row.max()),
                probabilities={name: float(chance) for name, chance in zip(self.classes, row, strict=True)},
            )
            for number, row in enumerate(chances)
        ]

    def _check(self, texts: Sequence[str], pairs: Sequence[str] | None, places: Sequence[str]) -> None:
        if self.pairs and pairs is None:
            raise DataError(f"{self.folder} was tuned on pairs of texts: give the second one with --pair")
        if pairs is not None and not self.pairs:
            raise DataError(f"{self.folder} was tuned on single texts: leave --pair out")
        if pairs is not None and len(pairs) != len(texts):
            raise DataError(f"there are {len(texts):,} texts and {len(pairs):,} second ones: give one for each")
        for some in (texts, *([] if pairs is None else [pairs])):
            for place, text in zip(places, some, strict=True):
                if not text.strip():
                    raise DataError(f"{place} is empty: leave it out")


def choose_run(folder: Path) -> Path:
    """Return the folder of a run: itself, or of a tune the run of the advised arm with the lowest validation loss."""
    if is_run(folder) or (folder / CONFIG).is_file():  # the second has lost a file, as opening it will tell
        return folder
    if not (folder / "tune.json").is_file():
        what = "holds no run and no tune" if folder.is_dir() else "does not exist"
        raise CheckpointError(f"{folder} {what}: give a folder that heed tune wrote, with its config.yaml or tune.json")
    record = read_tuning(folder)
    arm = advised(record, gaps_of(record))
    if arm is None or not arm.runs:
        raise CheckpointError(f"{folder} has no finished run yet: go on with {' '.join(record.command) or 'heed tune'}")
    return folder / arm.best_run.folder


def read_texts(
    path: Path, text: str, pair: str | None = None, encoding: str = "utf-8"
) -> Iterator[tuple[str, str, str | None]]:
    """Yield (place, text, second text) of each row of a table.

    Raises `DataError` for what is no table, for a missing column, and for a row that has no text.
    """
    if kind_of(path) in (None, ".txt", ".md"):
        raise DataError(f"{path} is no table (.csv .tsv .jsonl .parquet): for a text a line, heed predict RUN - < FILE")
    wanted = {"--text": text} | ({} if pair is None else {"--pair": pair})
    for place, values in read_rows(path, wanted, encoding):
        for value, setting in zip(values, wanted, strict=True):
            if not isinstance(value, str) or not value.strip():
                raise DataError(f"{place} has no text in {wanted[setting]!r} ({setting}): fill it in or leave it out")
        yield place, values[0], values[1] if pair is not None else None
