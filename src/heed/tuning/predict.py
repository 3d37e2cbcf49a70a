"""What a tuned run says of texts that it has never seen."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from heed import seals
from heed.errors import CheckpointError, ConfigError, DataError, did_you_mean
from heed.files import sha256
from heed.records.calibration import CALIBRATION, CalibrationFile
from heed.records.checkpoints import CHECKPOINTS, CONFIG
from heed.records.folder import is_run
from heed.records.kept import read_record
from heed.report.temperature import at_temperature
from heed.report.tuning_advice import advised, gaps_of
from heed.report.tuning_record import read_tuning
from heed.targets.labels import THRESHOLD
from heed.text.formats import OtherColumns, kind_of, read_every_row, whole_characters, whole_value
from heed.text.labelled_rows import Wanted
from heed.text.splits import SplitRows
from heed.training.checkpoint import MODEL, find_checkpoint
from heed.tuning.measure import answers_of
from heed.tuning.texts import encode, unreadable
from heed.tuning.tuned_run import EVALUATION, load_tuned


@dataclass(frozen=True)
class TextToClassify:
    """A text to classify and where it stands; or, where there is no text, why not."""

    place: str
    text: str = ""
    pair: str | None = None
    error: str | None = None
    label: Any = None
    """What stands in the column of labels, where one is read."""
    others: tuple[Any, ...] = ()
    """What stands in other columns of its row."""


@dataclass(frozen=True)
class Prediction:
    """What a run says of a text, and how sure it is; or why it says nothing."""

    place: str
    text: str
    pair: str | None
    predicted: Any = None
    """A class, a number, or a list of labels: see `heed.targets`; None too where none is sure enough."""
    probability: float | None = None
    """Of the class that is predicted."""
    probabilities: Mapping[str, float] | None = None
    """Of every class or label, by its name."""
    error: str | None = None
    """Why the text could not be classified."""
    abstained: str | None = None
    """The likeliest class, where it is below its threshold and so not predicted."""

    def as_dict(self) -> dict[str, Any]:
        """Return plain values; `abstained` and `error` are among them only where there is one."""
        values = {
            "place": self.place,
            "text": self.text,
            "pair": self.pair,
            "predicted": self.predicted,
            "probability": self.probability,
            "probabilities": None if self.probabilities is None else dict(self.probabilities),
        }
        values |= {} if self.abstained is None else {"abstained": self.abstained}
        return values if self.error is None else values | {"error": self.error}

    def likeliest(self, count: int) -> list[tuple[str, float]]:
        """Return the classes or labels that are likeliest with their probabilities, the first of equal ones first."""
        return sorted((self.probabilities or {}).items(), key=lambda one: -one[1])[:count]


class Predictor:
    """A tuned run that is ready to be asked; `folder` is the run's, or that of a tune, of which it takes the best run.

    `calibrated` gives probabilities at the temperature that `heed tune RUN --calibrate` has kept. Raises
    `CheckpointError` when there is none, or its encoder is another one by now.
    """

    def __init__(self, folder: str | Path, device: str = "auto", *, calibrated: bool = False) -> None:
        self.folder = choose_run(Path(folder))
        self.calibration = read_calibration(self.folder) if calibrated else None
        self.tuned, self.encoder, run, self.target = load_tuned(self.folder, device)
        self.max_length = run.config.encoder.max_length
        self.columns = columns_of(run.config.data)
        self.text, self.pair = self.columns["text"], self.columns.get("pair")
        self.thresholds: Mapping[str, float] = {}
        """From which probability a class or label is said."""
        self.cut = 0
        """Texts so far that were longer than what the run reads."""

    @property
    def temperature(self) -> float | None:
        """That of the probabilities; None: they are as the model gives them."""
        return None if self.calibration is None else self.calibration.temperature

    def say_from(self, thresholds: Mapping[str, float]) -> None:
        """Say a class or label from a probability on. Raises `ConfigError` for one that the run does not have."""
        if thresholds and not self.target.chances:
            raise ConfigError(f"--thresholds: {self.folder} says {self.target.said}, which have no probability")
        for name, least in thresholds.items():
            if name not in self.target.names:
                near = did_you_mean(name, self.target.names)
                raise ConfigError(f"--thresholds: {name!r} is no {self.target.output} of the run, {near}")
            if not 0 <= least <= 1:
                raise ConfigError(f"--thresholds: {name}={least:g} is no probability: give one from 0 to 1")
        self.thresholds = thresholds

    def held_out_texts(self) -> list[str]:
        """Return the texts of the run's validation and test splits, with their second ones, where these are kept."""
        found = []
        for split in ("validation", "test"):
            path = self.folder / f"predictions-{split}.jsonl"
            rows = map(json.loads, seals.read_text(path).splitlines()) if path.is_file() else ()
            found += [row["text"] if row.get("pair") is None else f"{row['text']}\n{row['pair']}" for row in rows]
        return found

    def predict(
        self, texts: Sequence[str], pairs: Sequence[str] | None = None, places: Sequence[str] | None = None
    ) -> list[Prediction]:
        """Return what the run says of each text. Raises `DataError` for an empty text, and pairs too many or few."""
        places = [f"text {number}" for number in range(1, len(texts) + 1)] if places is None else places
        if pairs is not None and len(pairs) != len(texts):
            raise DataError(f"there are {len(texts):,} texts and {len(pairs):,} second ones: give one for each")
        self.check_pairs(pairs is not None)
        seconds = [None] * len(texts) if pairs is None else pairs
        asked = [TextToClassify(*row) for row in zip(places, texts, seconds, strict=True)]
        self.refuse(asked)
        return self.classify(asked)

    def classify(self, asked: Sequence[TextToClassify]) -> list[Prediction]:
        """Return what the run says of each text, or why it says nothing."""
        filled = [one for one in asked if one.error is None and one.text.strip() and (one.pair or "x").strip()]
        try:
            classified = list(self._classify(filled))
        except DataError:  # there is one that the tokenizer makes nothing of
            filled = [one for one in filled if self.wrong(one) is None]
            classified = list(self._classify(filled))
        found = {id(one): prediction for one, prediction in zip(filled, classified, strict=True)}
        return [found.get(id(one)) or Prediction(one.place, one.text, one.pair, error=self.wrong(one)) for one in asked]

    def refuse(self, asked: Sequence[TextToClassify]) -> None:
        """Raise `DataError` for the first text that cannot be classified."""
        for one in asked:
            if (error := self.wrong(one)) is not None:
                raise DataError(f"{error}: leave it out")

    def wrong(self, one: TextToClassify) -> str | None:
        """Return why a text cannot be classified, with its place; None where it can."""
        if one.error is not None:
            return one.error
        for text in (one.text, *(() if one.pair is None else (one.pair,))):
            if not text.strip():
                return f"{one.place} is empty"
            if why := unreadable(self.encoder.tokenizer, text):
                return f"{one.place}: {why}"
        return None

    def check_pairs(self, given: bool) -> None:
        """Raise `DataError` where second texts are given or missing unlike in training."""
        if self.pair is not None and not given:
            raise DataError(f"{self.folder} was tuned on pairs of texts: give the second one with --pair")
        if self.pair is None and given:
            raise DataError(f"{self.folder} was tuned on single texts: leave --pair out")

    def _classify(self, asked: Sequence[TextToClassify]) -> Iterator[Prediction]:
        """Yield what is said of each text. Raises `DataError` for one that the tokenizer makes nothing of."""
        for one, row in zip(asked, self.answers(asked), strict=True):
            said = self.target.line(row)
            chances = said.get("probabilities")
            named = None if chances is None else dict(zip(self.target.names, chances, strict=True))
            found = Prediction(one.place, one.text, one.pair, said["predicted"], said.get("probability"), named)
            yield self._sure_enough(found) if self.thresholds else found

    def _sure_enough(self, found: Prediction) -> Prediction:
        """Return what is predicted where a class must be so sure, or each label."""
        chances = found.probabilities or {}
        if self.target.kind == "classes":
            least = self.thresholds.get(found.predicted, 0.0)
            sure = found.probability is None or found.probability >= least
            return found if sure else replace(found, predicted=None, abstained=found.predicted)
        said = [name for name, chance in chances.items() if chance >= self.thresholds.get(name, THRESHOLD)]
        return replace(found, predicted=said)

    def answers(self, asked: Sequence[TextToClassify]) -> np.ndarray:
        """Return what is said of each text, (n, outputs) float64: see `Target.answers`; at the temperature of classes.

        Raises `DataError` for a text that the tokenizer makes nothing of.
        """
        if not asked:
            return np.empty((0, len(self.target.names)))
        pairs = None if self.pair is None else [one.pair or "" for one in asked]
        places = [one.place for one in asked]
        rows = SplitRows([one.text for one in asked], pairs, np.zeros(len(asked), np.int64), places)
        encoded = encode(rows, self.encoder.tokenizer, self.max_length, self.encoder.pad_id)
        self.cut += encoded.cut
        device = next(self.tuned.parameters()).device
        answers = answers_of(self.tuned, encoded, batch_size=EVALUATION, device=device)
        return answers if self.temperature is None else at_temperature(answers, self.temperature)


def columns_of(data: Any) -> dict[str, str]:
    """Return the columns that a run was tuned on: "text", "label", and those of "pair" and "group" that there are.

    `data` is the section of its configuration; a named corpus has columns of its own.
    """
    return Wanted(data.text, data.pair, data.label, data.group).of(data.source, group=True)


def weights_of(folder: Path) -> str:
    """Return the SHA-256 of the weights that a run predicts with."""
    return sha256(find_checkpoint(folder / CHECKPOINTS, "best") / MODEL)


def read_calibration(folder: Path) -> CalibrationFile:
    """Return the temperature of a run. Raises `CheckpointError` where there is none, or it is of other weights."""
    again = f"heed tune {folder} --calibrate"
    if not (folder / CALIBRATION).is_file():
        raise CheckpointError(f"--calibrated: {folder} has no temperature yet: choose it on validation with {again}")
    try:
        found = read_record(CalibrationFile, folder / CALIBRATION)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder / CALIBRATION} cannot be read ({error}): give {again}") from error
    if found.weights != weights_of(folder):
        raise CheckpointError(f"{folder / CALIBRATION} is of other weights than the run has now: give {again}")
    return found


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
    path: Path,
    columns: Mapping[str, str],
    encoding: str = "utf-8",
    mended: Counter[str] | None = None,
    label: str | None = None,
    others: OtherColumns | None = None,
) -> Iterator[TextToClassify]:
    """Yield each row of a table, those that have no text with the reason.

    `columns` holds that of the texts and, of pairs, that of the second ones, each by the setting that chose it; `label`
    is the column of the labels, `others` are further ones. What is mended in texts is counted in `mended`, as where
    labelled texts are read. Raises `DataError` for what is no table,
    and for a missing column; where a table breaks off the reason is its last row.
    """
    if kind_of(path) in (None, ".txt", ".md"):
        known = ".csv .tsv .jsonl .json .parquet"
        raise DataError(f"{path} is no table ({known}): for a text a line, heed predict RUN - < FILE")
    mended = Counter() if mended is None else mended
    begun = False
    try:
        wanted = columns if label is None else {**columns, "--label": label}
        for place, values in read_every_row(path, wanted, encoding, others):
            begun = True
            if isinstance(values, DataError):
                yield TextToClassify(place, error=str(values))
                continue
            one = _asked(place, values[: len(columns)], columns, mended)
            rest = [whole_value(value, mended) for value in values[len(columns) :]]
            known = None if label is None else rest.pop(0)
            yield replace(one, label=known, others=tuple(rest))
    except DataError as error:
        if not begun:
            raise
        yield TextToClassify(str(path), error=f"{error}; what follows is not read")


def _asked(place: str, values: Sequence[Any], columns: Mapping[str, str], mended: Counter[str]) -> TextToClassify:
    """Return a row, with the reason where it lacks a text."""
    texts = [whole_characters(value, mended) if isinstance(value, str) else None for value in values]
    error = None
    for value, text, (setting, column) in zip(values, texts, columns.items(), strict=True):
        if text is None or not text.strip():
            shown = "" if value is None or isinstance(value, str) else f" but {str(value)[:20]}"
            error = f"{place} has no text in {column!r} ({setting.split(',')[0]}){shown}"
            break
    return TextToClassify(place, texts[0] or "", texts[1] if len(texts) > 1 else None, error)
