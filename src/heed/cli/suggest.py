"""`heed tune suggest`: which texts to label next."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, Literal

import tyro
from pydantic import Field

from heed.cli.settings import COMMAS, parse
from heed.config import Section
from heed.errors import ConfigError, DataError, why
from heed.files import growing

if TYPE_CHECKING:
    from heed.tuning.predict import Prediction, Predictor, TextToClassify

TOLD = 3
"""Rows without a text that are told one by one."""


class SuggestFlags(Section):
    """Name the texts of a table that a tuned run is least sure of: labels of these teach it the most.

    What is written has the columns that the run was tuned on, that of the labels empty: fill it in, and add it to the
    training texts. No two texts are nearly equal, and none is of the run's validation or test split. Texts that are
    chosen so are no fair sample: never test on them.

    examples:
      heed tune suggest tunes/reviews --file unlabelled.csv --count 50 --out to-label.csv
      heed tune suggest tunes/reviews --file all.csv --label stars --keep id,date --out to-label.csv
      heed tune suggest tunes/reviews --file unlabelled.jsonl --by entropy --json
    """

    run: Annotated[Path, tyro.conf.Positional]
    """The folder of a tuned run, or of a tune: the best run of the advised method."""
    file: Path
    """A table of texts (.csv .tsv .jsonl .json .parquet)."""
    count: int = Field(default=50, ge=1)
    """Texts to name."""
    by: Literal["margin", "entropy"] = "margin"
    """How unsure: by the distance of the two likeliest classes, or by the entropy of all (Settles 2009)."""
    text: str | None = None
    """The column of the texts; default: the one that the run was tuned on."""
    pair: str | None = None
    """The column of second texts; default: the one of the run."""
    label: str | None = None
    """A column of labels: rows that have one already are left out."""
    keep: Annotated[str | None, COMMAS] = None
    """Columns that stand before heed's own in what is written; all: every one that heed does not write itself."""
    encoding: str = "utf-8"
    """Encoding of the file."""
    out: Path | None = None
    """Where to write: .csv, .tsv or .jsonl. Default: a line a text on standard output."""
    overwrite: bool = False
    """Write over a file that is there."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to compute."""
    json_: Annotated[bool, tyro.conf.arg(name="json")] = False
    """Print one JSON object a text on standard output."""


def suggest(argv: list[str]) -> int:
    """Name the texts; 0 when done, 1 where rows could not be read."""
    flags = parse(SuggestFlags, argv, "tune suggest")

    from heed.cli import predict, tell
    from heed.tuning.predict import Predictor, read_texts

    predict.check_out(flags.out, flags.file, flags.overwrite, as_json=flags.json_)
    others = predict.kept_columns(flags.keep)
    if flags.keep is not None and flags.out is None and not flags.json_:
        raise ConfigError("--keep: a line for people has no room for columns: give --out FILE, or --json")
    predictor = Predictor(flags.run, flags.device)
    if not predictor.target.chances:
        raise ConfigError(f"{predictor.folder} says {predictor.target.said}: without probabilities none is least sure")
    tell(f"run: {predictor.folder}")
    mended: Counter[str] = Counter()
    columns = predict.columns_to_read(flags.text, flags.pair, predictor, tell)
    asked: list[TextToClassify] = []
    found: list[Prediction] = []
    rows, wrong, done = 0, [], 0
    for some in predict.batches(read_texts(flags.file, columns, flags.encoding, mended, flags.label, others)):
        rows += len(some)
        open_ = [one for one in some if one.label is None or not str(one.label).strip()]
        done += len(some) - len(open_)
        for one, said in zip(open_, predictor.classify(open_), strict=True):
            if said.error is not None:
                wrong.append(said.error)
                continue
            asked.append(one)
            found.append(said)
    if not rows:
        raise DataError(f"{flags.file} has no rows: give one with texts")
    for what, number in mended.items():
        tell(f"note: {what}: {number:,}")
    if done:
        tell(f"note: {done:,} of {rows:,} rows have a label in {flags.label!r} and are left out")
    if wrong:
        shown = "; ".join(wrong[:TOLD]) + ("; ..." if len(wrong) > TOLD else "")
        tell(f"note: {len(wrong):,} of {rows:,} could not be classified and are left out: {shown}")
    if not found:
        raise DataError(f"{flags.file}: no row is left to choose from")
    lines = _chosen(flags, predictor, asked, found, others.wanted or others.names, tell)
    _put(flags, lines)
    if flags.out is not None:
        tell(f"{len(lines):,} texts to label: {flags.out}")
    return 1 if wrong else 0


def _chosen(
    flags: SuggestFlags,
    predictor: Predictor,
    asked: Sequence[TextToClassify],
    found: Sequence[Prediction],
    kept: Sequence[str],
    tell: Any,
) -> list[dict[str, Any]]:
    """Return the texts to label as rows, the most uncertain first."""
    import numpy as np

    from heed.text.formats import whole_characters
    from heed.tuning.suggesting import MEASURES, choose_texts

    measure, sign = MEASURES[flags.by]
    p = np.array([list((one.probabilities or {}).values()) for one in found])
    values = measure(p, exclusive=predictor.target.kind == "classes")
    whole = [one.text if one.pair is None else f"{one.text}\n{one.pair}" for one in found]
    chosen, passed = choose_texts(sign * values, whole, flags.count, predictor.held_out_texts())
    if passed:
        tell(f"note: {passed:,} texts were passed over: nearly equal to a chosen one, or in the run's own splits")
    if len(chosen) < flags.count:
        tell(f"note: {flags.count:,} were asked for, and the file has {len(chosen):,}")
    names = {role: name for role, name in predictor.columns.items() if not name.isdecimal()}
    own = [names.get(role, role) for role in ("text", *(["pair"] if predictor.pair is not None else []), "label")]
    own += ["place", "predicted", "probability", flags.by]
    whole_names = [str(whole_characters(name, Counter())) for name in kept]
    called = [f"input.{name}" if name in own else name for name in whole_names]
    if twice := next((name for name in called if called.count(name) > 1), None):
        raise ConfigError(f"--keep: two columns would be called {twice!r}: rename one of them in the file")
    lines = []
    for place in chosen:
        one, said = asked[place], found[place]
        texts = [one.text] if predictor.pair is None else [one.text, one.pair]
        values_of = [*texts, None, said.place, said.predicted, said.probability, float(values[place])]
        lines.append({**dict(zip(called, one.others, strict=False)), **dict(zip(own, values_of, strict=True))})
    return lines


def _put(flags: SuggestFlags, lines: Sequence[dict[str, Any]]) -> None:
    """Write the rows, or print them."""
    if flags.out is None:
        for line in lines:
            text = line.get("text") or next(iter(line.values()))
            shown = f"{line[flags.by]:.3f}  {line['predicted']}  {' '.join(str(text).split())}"
            print(json.dumps(line, ensure_ascii=False, default=str) if flags.json_ else shown)
        return
    try:
        with growing(flags.out) as file:
            _write(file, lines, flags.out.suffix)
    except OSError as error:
        raise DataError(f"{flags.out} cannot be written: {why(error)}; make room, or choose another --out") from error


def _write(file: IO[str], lines: Sequence[dict[str, Any]], suffix: str) -> None:
    """Write rows as the suffix of the file has them."""
    from heed.cli.prediction_rows import cell

    if suffix == ".jsonl":
        file.writelines(json.dumps(line, ensure_ascii=False, default=str) + "\n" for line in lines)
        return
    tabs = suffix == ".tsv"
    mark = "\t" if tabs else ","
    names = csv.writer(file, delimiter=mark, lineterminator="\n", quoting=csv.QUOTE_ALL if tabs else csv.QUOTE_MINIMAL)
    names.writerow(lines[0])
    rows = csv.writer(file, delimiter=mark, lineterminator="\n")
    for line in lines:
        rows.writerow(f"{value:.6f}" if isinstance(value, float) else cell(value) for value in line.values())
