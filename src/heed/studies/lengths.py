"""What a trained run comes to at other contexts than its own: the whole validation split at each length.

    runs/<variant>/seed-<n>/lengths.json
      {"50": {"loss": ..., "passport": {...}}, ..., "800": {"reason": "model.positions learned ends at ..."}}

Windows do not overlap. A length has its figures or the reason why there are none. It is written after each length, so
that a study that was killed goes on with the next one.
"""

from __future__ import annotations

import math
import traceback
from collections.abc import Sequence
from pathlib import Path

import torch

from heed.build import Say, build_model
from heed.config import Config
from heed.errors import ConfigError, HeedError
from heed.models import with_context
from heed.records.figures import LengthFigures
from heed.records.kept import DamagedError, read_record, write_record
from heed.records.run import LENGTHS, LengthsFile
from heed.training.devices import out_of_memory

AGAIN = "failed: "
"""How a reason begins that another try may change."""


def missing_lengths(folder: Path, lengths: Sequence[int]) -> list[int]:
    """Return the lengths that a run has not been measured at, or failed at."""
    known = _read(folder)
    return [n for n in lengths if n not in known or (known[n].reason or "").startswith(AGAIN)]


def measure_lengths(folder: Path, lengths: Sequence[int], say: Say = lambda line: None) -> None:
    """Measure the best checkpoint of a run at those `lengths` that are missing, and write them to lengths.json.

    Whatever goes wrong at a length is the reason why it has no figures, and the next one is tried.
    """
    left = missing_lengths(folder, lengths)
    if not left:
        return
    from heed import objectives
    from heed.training.devices import choose_device, take_threads
    from heed.training.run import Run, load_run

    run = Run.open(folder)
    take_threads(run.config.run.threads)
    device = choose_device(run.config.run.device)
    model, tokenizer, config = load_run(folder, "best", device)
    with run.at_home():
        tokens = objectives.open_text(config, tokenizer, classes=run.classes, say=say).get("validation")
    for length in left:
        say(f"measuring the whole validation split at a context of {length}")
        try:
            if tokens is None:
                raise ConfigError("there is no validation split")
            figures = objectives.measure(model, tokenizer, tokens, config, context=length, device=device)
            found = figures.as_dict() if math.isfinite(figures.loss) else {"reason": "the loss is not finite"}
        except Exception as error:  # a length that cannot be read is a result, as a run that fails is
            say(traceback.format_exc())
            found = {"reason": reason_of(error)}
        known = _read(folder) | {length: LengthFigures.model_validate(found)}
        write_record(folder / LENGTHS, LengthsFile.model_validate({str(n): known[n] for n in sorted(known)}))


def reason_of(error: Exception) -> str:
    """Say in a line why there is no figure."""
    line = str(error).partition("\n")[0]
    if out_of_memory(error):
        return f"does not fit: {line}"
    return line if isinstance(error, HeedError) else f"{AGAIN}{type(error).__name__}: {line}"


def why_it_ends(config: Config, vocabulary: int, classes: int | None, length: int) -> str:
    """Say why a model cannot be read at a length, by its settings; empty where it can. No memory is taken."""
    with torch.device("meta"):
        model = build_model(config.model, vocabulary, classes=classes)
    try:
        with_context(model, length)
    except ConfigError as error:
        return str(error)
    return ""


def _read(folder: Path) -> dict[int, LengthFigures]:
    """Return what is there; a file that is missing or torn holds nothing."""
    try:
        return read_record(LengthsFile, folder / LENGTHS).lengths
    except (OSError, ValueError, DamagedError):
        return {}
