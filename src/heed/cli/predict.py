"""`heed predict`: what a tuned run says of new texts."""

from __future__ import annotations

import itertools
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from pydantic import Field

from heed.cli.settings import COMMAS, parse
from heed.cli.streams import show
from heed.config import Section
from heed.errors import ConfigError, DataError, why
from heed.files import growing

if TYPE_CHECKING:
    from heed.cli.prediction_rows import PredictionRows, Said
    from heed.text.formats import OtherColumns
    from heed.tuning.labelled import LabelledAnswers
    from heed.tuning.predict import Predictor, TextToClassify

AT_ONCE = 512
"""Texts that are classified and written together: what is lost at most when the process dies."""
TOLD = 3
"""Texts without an answer that are told one by one."""


class PredictFlags(Section):
    """Classify texts with a run of heed tune: the class, and how sure the model is.

    RUN may be the folder of a whole tune: the best run of the advised method is taken. The text - stands for standard
    input, a text a line. A text that begins with a dash is written behind --.

    Rows of a file and lines of standard input that hold no text are marked in the output, with the reason, and the
    others are classified; the exit code is 1 then. What is done is written at once, with --out to FILE.partial, which
    becomes FILE at the end.

    With --label the run is scored on the file: figures as those of its test split, and how the file differs from that.
    Rows without a text, with a bad label, or with one that the run has never seen, are named and in no figure (exit
    code 1). Predictions are written only with --out then.

    examples:
      heed predict tunes/sst2 "a stirring , funny film" "apparently made in an afternoon"
      heed predict tunes/boolq/runs/lora-1 "is the sky blue" --pair "On clear days the sky is blue."
      heed predict tunes/reviews --file new.csv --out predicted.csv
      heed predict tunes/reviews --file other.csv --text comment --strict
      heed predict tunes/sst2 --file new.jsonl --json
      heed predict tunes/reviews --file march.csv --label stars --report march.html
      heed predict tunes/reviews --file new.csv --keep id,date --top 3 --out predicted.csv
      heed predict tunes/reviews --file new.csv --calibrated --thresholds pos=0.9,neg=0.6
      heed predict tunes/sst2 - < lines.txt
      heed predict tunes/sst2 -- "--- what a film"
    """

    run: Annotated[Path, tyro.conf.Positional]
    """The folder of a tuned run, or of a tune."""
    texts: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Texts, each in quotation marks."""
    pair: str | None = None
    """The second text of a pair; with --file the column of second texts. Default there: the one of the tuned run."""
    file: Path | None = None
    """A table of texts (.csv .tsv .jsonl .json .parquet)."""
    text: str | None = None
    """With --file: the column of the texts (name, or number from 1 where no line names them). Default: the one that the
    run was tuned on."""
    encoding: str = "utf-8"
    """Encoding of the file."""
    label: str | None = None
    """With --file: the column of its labels. The figures of the run on this file are printed."""
    report: Path | None = None
    """With --label: also write them as a page, FILE.html."""
    keep: Annotated[str | None, COMMAS] = None
    """With --file: columns that stand before heed's own in what is written; all: every one that heed does not write
    itself. One that is called as heed's own gets input. before its name."""
    top: int | None = Field(default=None, ge=1)
    """Also name the so many likeliest classes, with their probabilities."""
    calibrated: bool = False
    """Give probabilities at the temperature that heed tune RUN --calibrate chose on validation."""
    thresholds: Annotated[str | None, COMMAS] = None
    """Say a class only from so probable on, as pos=0.8,neg=0.5; below that none is said, and the likeliest stands under
    abstained. Of several labels a text: say each from there on, in the place of 0.5."""
    strict: bool = False
    """Classify nothing where a row or line holds no text, or its label is bad or new."""
    out: Path | None = None
    """Where to write: .csv, .tsv or .jsonl. Default: standard output."""
    overwrite: bool = False
    """Write over a file that is there."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to compute."""
    json_: Annotated[bool, tyro.conf.arg(name="json")] = False
    """Print one JSON object a text on standard output; with --label one of all figures."""


def main(argv: list[str]) -> int:
    """Classify; 0 when all texts have a class, 1 when some could not be read, or are in no figure."""
    flags = parse(PredictFlags, argv, "predict")
    _check(flags)
    thresholds = _thresholds(flags.thresholds)

    from heed.cli import tell
    from heed.tuning.predict import Predictor

    predictor = Predictor(flags.run, flags.device, calibrated=flags.calibrated)
    predictor.say_from(thresholds)
    rows = _rows(flags, predictor)
    tell(f"run: {predictor.folder}")
    if predictor.calibration is not None:
        chosen_on = predictor.calibration.validation.examples
        tell(f"probabilities at temperature {predictor.temperature:.4g}, chosen on {chosen_on:,} validation texts")
    mended: Counter[str] = Counter()
    others = kept_columns(flags.keep, None if flags.label is None else predictor.columns.get("group"))
    asked = _given(flags, predictor, tell, mended, others)
    if flags.strict or (flags.file is None and flags.texts != ("-",)):
        asked = list(asked)
        predictor.refuse(asked)
    first = next(iter_asked := iter(asked), None)
    if first is None:
        what = "standard input is empty" if flags.file is None else f"{flags.file} has no rows"
        raise DataError(f"{what}: give {'a text a line' if flags.file is None else 'one with texts'}")
    for name in rows.keep(others.wanted or others.names):
        tell(f"note: the column {name!r} is called as one of heed's own and is written as 'input.{name}'")
    labelled = None
    if flags.label is not None:
        from heed.tuning.labelled import LabelledAnswers

        labelled = LabelledAnswers(predictor, flags.label, groups=others.has_optional)
    if labelled is not None and flags.strict:
        for one in asked:
            labelled.label_of(one)
    count, abstained, wrong = 0, 0, []
    with _writer(flags, rows) as write:
        for some in batches(itertools.chain([first], iter_asked)):
            found = predictor.classify(some)
            bad = [None] * len(some) if labelled is None else labelled.add(some, found)
            write(list(zip(some, found, bad, strict=True)))
            count += len(found)
            abstained += sum(one.abstained is not None for one in found)
            wrong += [one.error or label for one, label in zip(found, bad, strict=True) if one.error or label]
    _tell_notes(flags, predictor, tell, mended, others, count)
    if flags.thresholds is not None and predictor.target.kind == "classes":
        tell(f"note: {abstained:,} of {count:,} are below the threshold of their class: none is said of them")
    if flags.out is not None:
        tell(f"{count - len(wrong):,} texts classified: {flags.out}")
    if wrong:
        shown = "; ".join(wrong[:TOLD]) + ("; ..." if len(wrong) > TOLD else "")
        what = "could not be classified, and are marked" if labelled is None else "are in no figure"
        tell(f"note: {len(wrong):,} of {count:,} {what}: {shown}")
    if labelled is not None and flags.file is not None:
        _show_figures(flags, labelled, argv, tell)
    return 1 if wrong else 0


def _tell_notes(
    flags: PredictFlags,
    predictor: Predictor,
    tell: Callable[[str], None],
    mended: Counter[str],
    others: OtherColumns,
    count: int,
) -> None:
    """Say what was changed in texts, cut off them, and left out of what is kept."""
    for what, number in mended.items():
        tell(f"note: {what}: {number:,}")
    if predictor.cut:
        tell(f"note: {predictor.cut:,} of {count:,} have more than {predictor.max_length} tokens and were cut")
    if others.wanted is None and others.late:
        names = ", ".join(map(repr, sorted(others.late)))
        tell(f"note: not kept, as the first object of {flags.file} has no such keys: {names}; name them with --keep")


def _show_figures(
    flags: PredictFlags, labelled: LabelledAnswers, argv: Sequence[str], tell: Callable[[str], None]
) -> None:
    """Print the figures on a labelled file, and write their page."""
    assert flags.file is not None
    scored = labelled.scored(flags.file)
    if flags.json_:
        print(json.dumps(scored.as_dict(), indent=2, ensure_ascii=False))
    else:
        show(scored.lines())
    if flags.report is not None:
        from heed.report.scored_page import write_scored

        tell(f"report: {write_scored(flags.report, scored, ('heed', 'predict', *argv))}")


def _thresholds(given: str | None) -> dict[str, float]:
    """Return thresholds by class. Raises `ConfigError` for what is no NAME=NUMBER.

    >>> _thresholds("pos=0.8, a=b=0.5")
    {'pos': 0.8, 'a=b': 0.5}
    """
    found: dict[str, float] = {}
    for part in [] if given is None else given.split(","):
        name, _, number = part.rpartition("=")
        try:
            least = float(number)
        except ValueError:
            least = float("nan")
        if not name.strip() or least != least:
            raise ConfigError(f"--thresholds: {part!r} is no threshold: write them as pos=0.8,neg=0.5")
        if name.strip() in found:
            raise ConfigError(f"--thresholds: {name.strip()!r} is given twice: leave one out")
        found[name.strip()] = least
    return found


def _rows(flags: PredictFlags, predictor: Predictor) -> PredictionRows:
    """Return how predictions are written. Raises `ConfigError` for what scores do not have."""
    from heed.cli.prediction_rows import PredictionRows

    target = predictor.target
    if flags.top and not target.chances:
        raise ConfigError(f"--top: {predictor.folder} says {target.said}, which have no probability: leave it out")
    if flags.thresholds is not None and flags.label is not None and target.kind != "classes":
        raise ConfigError("--thresholds: figures of several labels a text are from 0.5 on: leave out --label, or this")
    top, abstains = min(flags.top or 0, len(target.names)), flags.thresholds is not None and target.kind == "classes"
    return PredictionRows(target, top, flags.label is not None, abstains, predictor.temperature)


def kept_columns(keep: str | None, optional: str | None = None) -> OtherColumns:
    """Return the columns that `--keep` names, and one that is read where there is one. Raises `ConfigError`."""
    from heed.text.formats import OtherColumns

    names = [name.strip() for name in (keep or "").split(",") if name.strip()]
    if keep is not None and (not names or len(set(names)) < len(names)):
        raise ConfigError(f"--keep: {keep!r} names no column, or one twice: write names with commas between")
    return OtherColumns(None if names == ["all"] else names, optional)


def _check(flags: PredictFlags) -> None:
    """Raise `ConfigError` for flags that contradict each other."""
    if bool(flags.texts) == (flags.file is not None):
        raise ConfigError('give texts in quotation marks, or --file: heed predict RUN "a fine film"')
    if flags.file is None and (flags.text, flags.encoding) != (None, "utf-8"):
        raise ConfigError("--text and --encoding are about a table: give it with --file, or leave them out")
    if flags.file is None and (flags.label, flags.keep) != (None, None):
        raise ConfigError("--label and --keep are columns of a table: give it with --file, or leave them out")
    if flags.keep is not None and flags.out is None and (flags.label is not None or not flags.json_):
        raise ConfigError("--keep: a line for people has no room for columns: give --out FILE, or --json")
    _check_report(flags)
    check_out(flags.out, flags.file, flags.overwrite, as_json=flags.json_ and flags.label is None)


def check_out(out: Path | None, file: Path | None, overwrite: bool, *, as_json: bool) -> None:
    """Raise `ConfigError` for a file that predictions cannot be written to."""
    if out is None:
        return
    if file is not None and out.resolve() == file.resolve():
        raise ConfigError(f"--out: {out} is the table that is read: choose another name")
    if out.suffix not in (".csv", ".tsv", ".jsonl"):
        raise ConfigError(f"--out: {out} must end in .csv, .tsv or .jsonl")
    if as_json:
        raise ConfigError("--json is for standard output, and --out writes a file: give a name that ends in .jsonl")
    if out.exists() and not overwrite:
        raise ConfigError(f"--out: {out} exists: choose another name, or --overwrite it")


def _check_report(flags: PredictFlags) -> None:
    """Raise `ConfigError` for a page that is of nothing, or has no place."""
    if flags.report is None:
        return
    if flags.label is None:
        raise ConfigError("--report: the page is of figures on a labelled file: give --label, or leave it out")
    if flags.report.suffix not in (".html", ".htm"):
        raise ConfigError(f"--report: {flags.report} must end in .html")
    if not flags.report.parent.is_dir():
        raise ConfigError(f"--report: there is no folder {flags.report.parent}: make it first")
    if flags.report.exists() and not flags.overwrite:
        raise ConfigError(f"--report: {flags.report} exists: choose another name, or --overwrite it")


def _given(
    flags: PredictFlags,
    predictor: Predictor,
    tell: Callable[[str], None],
    mended: Counter[str],
    others: OtherColumns,
) -> Iterator[TextToClassify]:
    """Return the texts that are to be classified, one after the other; what is mended in them is counted."""
    from heed.text.formats import whole_characters
    from heed.tuning.predict import TextToClassify, read_texts

    if flags.file is not None:
        columns = columns_to_read(flags.text, flags.pair, predictor, tell)
        if flags.label in columns.values():
            raise ConfigError(f"--label: {flags.label!r} is the column of the texts: name that of the labels")
        return read_texts(flags.file, columns, flags.encoding, mended, flags.label, others)
    predictor.check_pairs(flags.pair is not None)
    pair = whole_characters(flags.pair, mended)
    if flags.texts == ("-",):
        return (TextToClassify(place, text, pair, error) for place, text, error in _lines())
    texts = (whole_characters(text, mended) or "" for text in flags.texts)
    return (TextToClassify(f"text {number}", text, pair) for number, text in enumerate(texts, 1))


def columns_to_read(
    text: str | None, pair: str | None, predictor: Predictor, tell: Callable[[str], None]
) -> dict[str, str]:
    """Return the columns to read by setting: those of the tuned run, or those that are asked for, which is told."""
    columns: dict[str, str] = {}
    for setting, given, tuned in (("--text", text, predictor.text), ("--pair", pair, predictor.pair)):
        if given is not None and tuned is None:
            predictor.check_pairs(True)
        if given is None and tuned is not None:
            columns[f"{setting}, as the run was tuned on {tuned!r}"] = tuned
        elif given is not None:
            columns[setting] = given
            if given != tuned:
                tell(f"note: {setting} is {given!r} here, and was {tuned!r} where the run was tuned")
    return columns


def _lines() -> Iterator[tuple[str, str, str | None]]:
    """Yield the lines of standard input: where it stands, the text, and what is wrong with it where it is no text."""
    encoding = getattr(sys.stdin, "encoding", None) or "utf-8"
    for number, line in enumerate(getattr(sys.stdin, "buffer", sys.stdin), 1):
        place = f"text {number}"
        try:
            text = line.decode(encoding) if isinstance(line, bytes) else line
        except UnicodeDecodeError:
            hint = "give a table with --file and --encoding"
            yield place, "", f"{place}: this line of standard input is not {encoding}: {hint}"
            continue
        yield place, (text.removeprefix("\ufeff") if number == 1 else text).rstrip("\r\n"), None


def batches(asked: Iterable[TextToClassify]) -> Iterator[list[TextToClassify]]:
    """Yield the texts some at a time."""
    asked = iter(asked)
    while some := list(itertools.islice(asked, AT_ONCE)):
        yield some


@contextmanager
def _writer(flags: PredictFlags, rows: PredictionRows) -> Iterator[Callable[[Sequence[Said]], None]]:
    """Give what writes or prints predictions at once; a file has its name when all are written."""
    if flags.out is None:
        yield lambda said: None if flags.label is not None else _print(said, rows, as_json=flags.json_)
        return
    partial, suffix = f"{flags.out}.partial", flags.out.suffix
    try:
        with growing(flags.out) as file:
            if suffix != ".jsonl":
                rows.write_names(file, tabs=suffix == ".tsv")
            yield lambda said: rows.write(file, said, suffix)
    except OSError as error:
        done = f", and what was done is in {partial}" if os.path.exists(partial) else ""
        raise DataError(
            f"{flags.out} cannot be written: {why(error)}{done}; make room, or choose another --out"
        ) from error
    except KeyboardInterrupt:
        print(f"heed: what was done is in {partial}", file=sys.stderr)
        raise


def _print(said: Iterable[Said], rows: PredictionRows, *, as_json: bool) -> None:
    """Print a line a text."""
    for one in said:
        print(json.dumps(rows.as_dict(one), ensure_ascii=False, default=str) if as_json else rows.line(one))
    sys.stdout.flush()
