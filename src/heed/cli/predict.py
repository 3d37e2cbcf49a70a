"""`heed predict`: what a tuned run says of new texts."""

from __future__ import annotations

import csv
import itertools
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Literal

import tyro

from heed.cli.settings import parse
from heed.config import Section
from heed.errors import ConfigError, DataError, why
from heed.files import growing

if TYPE_CHECKING:
    from heed.targets import Target
    from heed.tuning.predict import Prediction, Predictor, TextToClassify

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

    examples:
      heed predict tunes/sst2 "a stirring , funny film" "apparently made in an afternoon"
      heed predict tunes/boolq/runs/lora-1 "is the sky blue" --pair "On clear days the sky is blue."
      heed predict tunes/reviews --file new.csv --out predicted.csv
      heed predict tunes/reviews --file other.csv --text comment --strict
      heed predict tunes/sst2 --file new.jsonl --json
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
    strict: bool = False
    """Classify nothing where a row or line holds no text."""
    out: Path | None = None
    """Where to write: .csv, .tsv or .jsonl. Default: standard output."""
    overwrite: bool = False
    """Write over a file that is there."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to compute."""
    json_: Annotated[bool, tyro.conf.arg(name="json")] = False
    """Print one JSON object a text on standard output."""


def main(argv: list[str]) -> int:
    """Classify; 0 when all texts have a class, 1 when some could not be read."""
    flags = parse(PredictFlags, argv, "predict")
    _check(flags)

    from heed.cli import tell
    from heed.tuning.predict import Predictor

    predictor = Predictor(flags.run, flags.device)
    tell(f"run: {predictor.folder}")
    mended: Counter[str] = Counter()
    asked = _given(flags, predictor, tell, mended)
    if flags.strict or (flags.file is None and flags.texts != ("-",)):
        asked = list(asked)
        predictor.refuse(asked)
    first = next(iter_asked := iter(asked), None)
    if first is None:
        what = "standard input is empty" if flags.file is None else f"{flags.file} has no rows"
        raise DataError(f"{what}: give {'a text a line' if flags.file is None else 'one with texts'}")
    count, wrong = 0, []
    with _writer(flags, predictor.target) as write:
        for some in _batches(itertools.chain([first], iter_asked)):
            found = predictor.classify(some)
            write(found)
            count += len(found)
            wrong += [one.error for one in found if one.error is not None]
    for what, number in mended.items():
        tell(f"note: {what}: {number:,}")
    if predictor.cut:
        tell(f"note: {predictor.cut:,} of {count:,} have more than {predictor.max_length} tokens and were cut")
    if flags.out is not None:
        tell(f"{count - len(wrong):,} texts classified: {flags.out}")
    if wrong:
        shown = "; ".join(wrong[:TOLD]) + ("; ..." if len(wrong) > TOLD else "")
        tell(f"note: {len(wrong):,} of {count:,} could not be classified, and are marked: {shown}")
    return 1 if wrong else 0


def _check(flags: PredictFlags) -> None:
    """Raise `ConfigError` for flags that contradict each other."""
    if bool(flags.texts) == (flags.file is not None):
        raise ConfigError('give texts in quotation marks, or --file: heed predict RUN "a fine film"')
    if flags.file is None and (flags.text, flags.encoding) != (None, "utf-8"):
        raise ConfigError("--text and --encoding are about a table: give it with --file, or leave them out")
    if flags.out is None:
        return
    if flags.file is not None and flags.out.resolve() == flags.file.resolve():
        raise ConfigError(f"--out: {flags.out} is the table that is read: choose another name")
    if flags.out.suffix not in (".csv", ".tsv", ".jsonl"):
        raise ConfigError(f"--out: {flags.out} must end in .csv, .tsv or .jsonl")
    if flags.json_:
        raise ConfigError("--json is for standard output, and --out writes a file: give a name that ends in .jsonl")
    if flags.out.exists() and not flags.overwrite:
        raise ConfigError(f"--out: {flags.out} exists: choose another name, or --overwrite it")


def _given(
    flags: PredictFlags, predictor: Predictor, tell: Callable[[str], None], mended: Counter[str]
) -> Iterator[TextToClassify]:
    """Return the texts that are to be classified, one after the other; what is mended in them is counted."""
    from heed.text.formats import whole_characters
    from heed.tuning.predict import TextToClassify, read_texts

    if flags.file is not None:
        columns = _columns(flags, predictor, tell)
        return read_texts(flags.file, columns, flags.encoding, mended)
    predictor.check_pairs(flags.pair is not None)
    pair = whole_characters(flags.pair, mended)
    if flags.texts == ("-",):
        return (TextToClassify(place, text, pair, error) for place, text, error in _lines())
    texts = (whole_characters(text, mended) or "" for text in flags.texts)
    return (TextToClassify(f"text {number}", text, pair) for number, text in enumerate(texts, 1))


def _columns(flags: PredictFlags, predictor: Predictor, tell: Callable[[str], None]) -> dict[str, str]:
    """Return the columns to read by setting: those of the tuned run, or those that are asked for, which is told."""
    columns: dict[str, str] = {}
    for setting, given, tuned in (("--text", flags.text, predictor.text), ("--pair", flags.pair, predictor.pair)):
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


def _batches(asked: Iterable[TextToClassify]) -> Iterator[list[TextToClassify]]:
    """Yield the texts some at a time."""
    asked = iter(asked)
    while some := list(itertools.islice(asked, AT_ONCE)):
        yield some


@contextmanager
def _writer(flags: PredictFlags, target: Target) -> Iterator[Callable[[Sequence[Prediction]], None]]:
    """Give what writes or prints predictions at once; a file has its name when all are written."""
    if flags.out is None:
        yield lambda found: _print(found, target, as_json=flags.json_)
        return
    partial, suffix = f"{flags.out}.partial", flags.out.suffix
    try:
        with growing(flags.out) as file:
            if suffix != ".jsonl":
                _write_names(file, target.chances, tabs=suffix == ".tsv")
            yield lambda found: _write(file, found, target, suffix)
    except OSError as error:
        done = f", and what was done is in {partial}" if os.path.exists(partial) else ""
        raise DataError(
            f"{flags.out} cannot be written: {why(error)}{done}; make room, or choose another --out"
        ) from error
    except KeyboardInterrupt:
        print(f"heed: what was done is in {partial}", file=sys.stderr)
        raise


def _print(found: Iterable[Prediction], target: Target, *, as_json: bool) -> None:
    """Print a line a text."""
    for one in found:
        if as_json:
            print(json.dumps(one.as_dict(), ensure_ascii=False))
        elif one.error is not None:
            print(f"-  -  {' '.join(one.error.split())}")
        else:
            print(f"{target.shown(one.as_dict())}  {' '.join(one.text.split())}")
    sys.stdout.flush()


def _write_names(file: IO[str], names: Sequence[str], *, tabs: bool) -> None:
    """Write the line of names. In a .tsv they are quoted, by which readers of tables know that fields may be."""
    heads = ["place", "text", "pair", "predicted", "probability", *(f"p({name})" for name in names), "error"]
    quoting = csv.QUOTE_ALL if tabs else csv.QUOTE_MINIMAL
    csv.writer(file, delimiter="\t" if tabs else ",", lineterminator="\n", quoting=quoting).writerow(heads)


def _write(file: IO[str], found: Iterable[Prediction], target: Target, suffix: str) -> None:
    """Write a line a text: place, text, second text, class, its probability and that of each class, what is wrong."""
    rows = csv.writer(file, delimiter="\t" if suffix == ".tsv" else ",", lineterminator="\n")
    for one in found:
        if suffix == ".jsonl":
            file.write(json.dumps(one.as_dict(), ensure_ascii=False) + "\n")
            continue
        chances = [one.probability, *((one.probabilities or {}).get(name) for name in target.chances)]
        numbers = ["" if chance is None else f"{chance:.6f}" for chance in chances]
        predicted = "" if one.predicted is None else target.cell(one.predicted)
        rows.writerow([one.place, one.text, one.pair or "", predicted, *numbers, one.error or ""])
    file.flush()
