"""What a tuned run says of texts that it has never seen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from heed.errors import CheckpointError, DataError
from heed.records.checkpoints import CONFIG
from heed.report.tuning_advice import advised, gaps_of
from heed.report.tuning_record import read_tuning
from heed.text.formats import kind_of, read_every_row, whole_characters
from heed.text.labelled_rows import Wanted
from heed.text.splits import SplitRows
from heed.training.settings import is_run
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


@dataclass(frozen=True)
class Prediction:
    """What a run says of a text, and how sure it is; or why it says nothing."""

    place: str
    text: str
    pair: str | None
    predicted: Any = None
    """A class, a number, or a list of labels: see `heed.targets`."""
    probability: float | None = None
    """Of the class that is predicted."""
    probabilities: Mapping[str, float] | None = None
    """Of every class or label, by its name."""
    error: str | None = None
    """Why the text could not be classified."""

    def as_dict(self) -> dict[str, Any]:
        """Return plain values; `error` is among them only where there is one."""
        values = {
            "place": self.place,
            "text": self.text,
            "pair": self.pair,
            "predicted": self.predicted,
            "probability": self.probability,
            "probabilities": None if self.probabilities is None else dict(self.probabilities),
        }
        return values if self.error is None else values | {"error": self.error}


class Predictor:
    """A tuned run that is ready to be asked; `folder` is the run's, or that of a tune, of which it takes the best run.

    Raises `CheckpointError` when there is none, or its encoder is another one by now.
    """

    def __init__(self, folder: str | Path, device: str = "auto") -> None:
        self.folder = choose_run(Path(folder))
        self.tuned, self.encoder, run, self.target = load_tuned(self.folder, device)
        self.max_length = run.config.encoder.max_length
        self.text, self.pair = columns_of(run.config.data)
        self.cut = 0
        """Texts so far that were longer than what the run reads."""

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
        if not asked:
            return
        pairs = None if self.pair is None else [one.pair or "" for one in asked]
        places = [one.place for one in asked]
        rows = SplitRows([one.text for one in asked], pairs, np.zeros(len(asked), np.int64), places)
        encoded = encode(rows, self.encoder.tokenizer, self.max_length, self.encoder.pad_id)
        self.cut += encoded.cut
        device = next(self.tuned.parameters()).device
        answers = answers_of(self.tuned, encoded, batch_size=EVALUATION, device=device)
        for one, row in zip(asked, answers, strict=True):
            said = self.target.line(row)
            chances = said.get("probabilities")
            named = None if chances is None else dict(zip(self.target.names, chances, strict=True))
            yield Prediction(one.place, one.text, one.pair, said["predicted"], said.get("probability"), named)


def columns_of(data: Any) -> tuple[str, str | None]:
    """Return the columns of texts and of second texts (None: no pairs) that a run was tuned on.

    `data` is the section of its configuration; a named corpus has columns of its own.
    """
    columns = Wanted(data.text, data.pair, data.label).of(data.source, group=False)
    return columns["text"], columns.get("pair")


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
) -> Iterator[TextToClassify]:
    """Yield each row of a table, those that have no text with the reason.

    `columns` holds that of the texts and, of pairs, that of the second ones, each by the setting that chose it. What is
    mended in texts is counted in `mended`, as where labelled texts are read. Raises `DataError` for what is no table,
    and for a missing column; where a table breaks off the reason is its last row.
    """
    if kind_of(path) in (None, ".txt", ".md"):
        raise DataError(f"{path} is no table (.csv .tsv .jsonl .json .parquet): for a text a line, heed predict RUN - < FILE")
    mended = Counter() if mended is None else mended
    begun = False
    try:
        for place, values in read_every_row(path, columns, encoding):
            begun = True
            wrong = isinstance(values, DataError)
            yield TextToClassify(place, error=str(values)) if wrong else _asked(place, values, columns, mended)
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
