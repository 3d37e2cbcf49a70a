"""`heed predict`: what a tuned run says of new texts."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from heed.cli.settings import parse
from heed.config import Section
from heed.errors import ConfigError, DataError, why
from heed.files import aside

if TYPE_CHECKING:
    from heed.tuning.predict import Prediction

AT_ONCE = 4096
"""Rows of a file that are read before they are classified."""


class PredictFlags(Section):
    """Classify texts with a run of heed tune: the class, and how sure the model is.

    RUN may be the folder of a whole tune: the best run of the advised method is taken. The text - stands for standard
    input, a text a line.

    examples:
      heed predict tunes/sst2 "a stirring , funny film" "apparently made in an afternoon"
      heed predict tunes/boolq/runs/lora-1 "is the sky blue" --pair "On clear days the sky is blue."
      heed predict tunes/reviews --file new.csv --text review --out predicted.csv
      heed predict tunes/sst2 --file new.jsonl --json
      heed predict tunes/sst2 - < lines.txt
    """

    run: Annotated[Path, tyro.conf.Positional]
    """The folder of a tuned run, or of a tune."""
    texts: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Texts, each in quotation marks."""
    pair: str | None = None
    """The second text of a pair; with --file the column of second texts."""
    file: Path | None = None
    """A table of texts (.csv .tsv .jsonl .parquet)."""
    text: str = "text"
    """With --file: the column of the texts (name, or number from 1 where no line names them)."""
    encoding: str = "utf-8"
    """Encoding of the file."""
    out: Path | None = None
    """Where to write: .csv, .tsv or .jsonl. Default: standard output."""
    overwrite: bool = False
    """Write over a file that is there."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to compute."""
    json_: Annotated[bool, tyro.conf.arg(name="json")] = False
    """Print one JSON object a text on standard output."""


def main(argv: list[str]) -> int:
    """Classify; 0 when done."""
    flags = parse(PredictFlags, argv, "predict")
    if bool(flags.texts) == (flags.file is not None):
        raise ConfigError('give texts in quotation marks, or --file: heed predict RUN "a fine film"')
    if flags.file is None and (flags.text, flags.encoding) != ("text", "utf-8"):
        raise ConfigError("--text and --encoding are about a table: give it with --file, or leave them out")
    if flags.out is not None:
        if flags.file is not None and flags.out.resolve() == flags.file.resolve():
            raise ConfigError(f"--out: {flags.out} is the table that is read: choose another name")
        if flags.out.suffix not in (".csv", ".tsv", ".jsonl"):
            raise ConfigError(f"--out: {flags.out} must end in .csv, .tsv or .jsonl")
        if flags.json_:
            raise ConfigError("--json is for standard output, and --out writes a file: give a name that ends in .jsonl")
        if flags.out.exists() and not flags.overwrite:
            raise ConfigError(f"--out: {flags.out} exists: choose another name, or --overwrite it")

    from heed.cli.train import tell
    from heed.tuning.predict import Predictor, read_texts

    predictor = Predictor(flags.run, flags.device)
    tell(f"run: {predictor.folder}")
    found: list[Prediction] = []
    if flags.file is None:
        texts = _lines() if flags.texts == ("-",) else flags.texts
        pairs = None if flags.pair is None else [flags.pair] * len(texts)
        found = predictor.predict(texts, pairs)
    else:
        rows = list(read_texts(flags.file, flags.text, flags.pair, flags.encoding))
        if not rows:
            raise DataError(f"{flags.file} has no rows: give one with texts")
        for first in range(0, len(rows), AT_ONCE):
            places, texts, seconds = zip(*rows[first : first + AT_ONCE], strict=True)
            found += predictor.predict(texts, None if flags.pair is None else seconds, places)
    if predictor.cut:
        tell(f"note: {predictor.cut:,} of {len(found):,} have more than {predictor.max_length} tokens and were cut")
    _write(found, predictor.classes, flags)
    return 0


def _lines() -> list[str]:
    """Return the lines of standard input. Raises `DataError` when there are none, or they are no text."""
    try:
        lines = [line.rstrip("\r\n") for line in sys.stdin]
    except UnicodeDecodeError as error:
        raise DataError(f"standard input is not {error.encoding}: give a table with --file and --encoding") from None
    if not lines:
        raise DataError("standard input is empty: give a text a line")
    return lines


def _write(found: Sequence[Prediction], classes: Sequence[str], flags: PredictFlags) -> None:
    """Write or print the predictions."""
    if flags.out is None:
        for one in found:
            line = f"{one.predicted}  {one.probability:.3f}  {' '.join(one.text.split())}"  # a line a text
            print(json.dumps(one.as_dict(), ensure_ascii=False) if flags.json_ else line)
        return
    try:
        with aside(flags.out) as other, other.open("w", encoding="utf-8", newline="") as file:
            if flags.out.suffix == ".jsonl":
                file.writelines(json.dumps(one.as_dict(), ensure_ascii=False) + "\n" for one in found)
            else:
                _write_table(file, found, classes, tabs=flags.out.suffix == ".tsv")
    except OSError as error:
        raise DataError(f"{flags.out} cannot be written: {why(error)}; make room, or choose another --out") from error
    print(f"{len(found):,} texts classified: {flags.out}", file=sys.stderr)


def _write_table(file: Any, found: Iterable[Prediction], classes: Sequence[str], *, tabs: bool) -> None:
    """Write a line a text: place, text, second text, class, probability, and the probability of each class."""
    rows = csv.writer(file, delimiter="\t" if tabs else ",", lineterminator="\n")
    rows.writerow(["place", "text", "pair", "predicted", "probability", *(f"p({name})" for name in classes)])
    for one in found:
        chances = [f"{one.probabilities[name]:.6f}" for name in classes]
        rows.writerow([one.place, one.text, one.pair or "", one.predicted, f"{one.probability:.6f}", *chances])
