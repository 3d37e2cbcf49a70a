"""The figures of a tuned run on a new labelled file: labels are read as in training, answers graded as on its test.

A row without a text, with a label that cannot be read, or with one that the run has never seen, is in no figure, and is
named.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from heed.errors import DataError
from heed.files import sha256
from heed.report.drift import drift_of
from heed.report.gradings import Grading, RunAnswers, grading_of
from heed.report.scored import Abstaining, Marked, ScoredFile
from heed.report.tuning_predictions import PredictionReader, SplitExamples, as_numbers, line_up
from heed.tuning.calibrating import again
from heed.tuning.measure import short_group
from heed.tuning.predict import Prediction, Predictor, TextToClassify


class LabelledAnswers:
    """What a run says of the rows of a labelled file, as they come; `column` is that of the labels."""

    def __init__(self, predictor: Predictor, column: str, *, groups: bool = False) -> None:
        self.predictor, self.column = predictor, column
        self.grading: Grading = grading_of(predictor.target)
        self.groups = groups
        """Whether the last of the other columns of a row says which group it is of."""
        self.left_out: list[str] = []
        self.unseen: Counter[str] = Counter()
        self.rows = 0
        self._rows: list[Mapping[str, Any]] = []
        self._abstained: list[bool] = []

    def label_of(self, one: TextToClassify) -> Any:
        """Return the label of a row as a plain value. Raises `DataError` where it has none, or an unknown one."""
        target = self.predictor.target
        label = target.read(one.label, self.column, one.place, "--label")
        if unknown := target.unseen(label):
            for name in unknown:
                self.unseen[name] += 1
            names = ", ".join(map(repr, unknown))
            raise DataError(f"{one.place} has the label {names}, which the run has never seen")
        return target.written(target.numbers([label], [one.place], "new")[0])

    def add(self, asked: Sequence[TextToClassify], found: Sequence[Prediction]) -> list[str | None]:
        """Take what is said of some rows; return what is wrong with the label of each, None where nothing is."""
        return [self._add(one, said) for one, said in zip(asked, found, strict=True)]

    def _add(self, one: TextToClassify, said: Prediction) -> str | None:
        self.rows += 1
        if said.error is not None:
            self.left_out.append(said.error)
            return None
        try:
            label = self.label_of(one)
            group = self._group(one)
        except DataError as error:
            self.left_out.append(str(error))
            return str(error)
        predicted = said.predicted if said.abstained is None else said.abstained
        probabilities = None if said.probabilities is None else list(said.probabilities.values())
        line = {"place": one.place, "text": one.text, "pair": one.pair, "label": label, "group": group}
        row = as_numbers({**line, "predicted": predicted, "probabilities": probabilities}, self.grading)
        if row is None:
            self.left_out.append(f"{one.place}: the run gives no number for it")
            return self.left_out[-1]
        self._rows.append(row)
        self._abstained.append(said.abstained is not None)
        return None

    def _group(self, one: TextToClassify) -> str | None:
        """Return the group of a row in a few letters, None where none is read. Raises `DataError` where it has none."""
        if not self.groups:
            return None
        if (value := one.others[-1]) is None or not str(value).strip():
            raise DataError(f"{one.place} has no group in {self.predictor.columns['group']!r}, as rows had in training")
        return short_group(str(value))

    def scored(self, file: Path) -> ScoredFile:
        """Return all that is told of the file. Raises `DataError` where no row has a figure."""
        if not self._rows:
            raise DataError(f"{file}: no row has both a text and a label that the run knows: {self.left_out[0]}")
        examples, answers = line_up(self._rows, self.grading)
        if (why := self.predictor.target.unmeasurable(answers.labels)) is not None:
            raise DataError(f"{file}: all rows have {why} in {self.column!r}, so nothing can be measured")
        new, test = Marked.of(self.grading, examples, answers), self._test()
        calibration = self.predictor.calibration
        return ScoredFile(
            run=str(self.predictor.folder),
            file=str(file),
            sha256=sha256(file),
            column=self.column,
            grading=self.grading,
            new=new,
            test=test,
            drift=None if test is None else drift_of(self.grading, new.answers, test.answers),
            rows=self.rows,
            left_out=self.left_out,
            unseen=dict(self.unseen.most_common()),
            max_length=self.predictor.max_length,
            temperature=self.predictor.temperature,
            chosen_on=0 if calibration is None else calibration.validation.examples,
            abstaining=self._abstaining(answers),
        )

    def _test(self) -> Marked | None:
        """Return the run's test split as it was predicted, at the temperature; None where it has none."""
        folder = self.predictor.folder.resolve()
        if not (folder / "predictions-test.jsonl").is_file():
            return None
        reader = PredictionReader(folder.parent, self.grading)
        answers = reader.read(folder.name, "test", None)
        if answers is None:
            raise DataError(f"the test split of {self.predictor.folder} cannot be read: {' '.join(reader.notes)}")
        examples = reader.examples["test"]
        if self.predictor.temperature is not None:
            answers = self._at_temperature(examples, answers)
        return Marked.of(self.grading, examples, answers)

    def _at_temperature(self, examples: SplitExamples, answers: RunAnswers) -> RunAnswers:
        """Return the answers on the test split at the temperature, for which six digits of them are too few."""
        _, found = again(self.predictor, "test")
        return self.grading.mark(examples.labels, answers.predicted, found, answers.groups)

    def _abstaining(self, answers: RunAnswers) -> Abstaining | None:
        """Return what is left where classes must be sure enough."""
        thresholds = self.predictor.thresholds
        if not thresholds:
            return None
        given = ~np.array(self._abstained)
        right, groups = answers.right[given], None if answers.groups is None else answers.groups[given]
        interval = self.grading.interval(right[None], groups) if len(right) else None
        return Abstaining(thresholds, int(given.sum()), int(right.sum()), len(given), interval)
