"""What a run of a study takes beside its steps: a process that starts, evaluations, texts, a page.

    start         a whole run of a tiny model in a process of its own, as the study makes them: mostly what is imported
    evaluations   seconds a token on a part of the validation split, times the tokens of every evaluation
    texts         seconds a token, times what is written at each evaluation and at the end

and what a step has in it: how many of its places are tokens of the text, and how wide its rows are once padding that no
row needs is cut off.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory

import numpy as np

from heed.build import build_model
from heed.config import Config, aim_of
from heed.errors import HeedError
from heed.experiment import measured_tokens
from heed.files import write_text
from heed.generation.samples import SAMPLE_TOKENS, SAMPLES, samples
from heed.objectives import measure, objective_of
from heed.objectives import open_text as open_files
from heed.studies.prepare import Text, text_settings
from heed.studies.runner import Process, Task
from heed.text.masking import special_ids
from heed.text.stream import COLUMNS, Batch
from heed.text.tokenfile import TokenFile
from heed.text.tokenizers import Tokenizer, load_tokenizer
from heed.training.devices import choose_device
from heed.training.streams import stream_seed

DRAWN = 16
"""Batches that are looked at."""
MEASURED, WRITTEN = 4096, 8
"""Tokens that are evaluated and written to be timed."""


@dataclass(frozen=True)
class Contents:
    """What stands in the batches of a variant."""

    tokens: float
    """Tokens of the text in a batch: padding is none."""
    places: float
    """Rows times columns of a batch, as it is computed."""
    width: int
    """Columns of a batch, the mean."""


@dataclass(frozen=True)
class Opened:
    """The text of a variant as a run has it."""

    config: Config
    """With the size of the tokenizer as it came out."""
    tokenizer: Tokenizer
    files: dict[str, TokenFile]


def open_text(config: Config, text: Text, folder: Path) -> Opened:
    """Return the tokenizer and token files that were prepared in `folder`."""
    tokenizer = load_tokenizer(text.file or str(config.tokenizer.file))
    data = config.data.model_copy(update={"cache": text_settings(config, text, folder)["data"]["cache"]})
    own = config.tokenizer.model_copy(update={"vocab_size": text.vocabulary})
    config = config.model_copy(update={"data": data, "tokenizer": own})
    return Opened(config, tokenizer, open_files(config, tokenizer))


def contents(opened: Opened) -> Contents:
    """Return the tokens, places and columns of a batch, as means over the first ones."""
    config, context = opened.config, opened.config.model.context
    seed = stream_seed(config.run.seed, "data")
    stream = objective_of(config).stream(opened.files, opened.tokenizer, config, seed, _quiet)
    drawn = list(islice(stream, DRAWN))
    columns = fmean(batch.source.shape[1] for batch in drawn)
    return Contents(
        fmean(tokens_of(batch, config) for batch in drawn),
        fmean(batch.source.size for batch in drawn),
        min(context, -(-round(columns) // COLUMNS) * COLUMNS),
    )


def tokens_of(batch: Batch, config: Config) -> int:
    """Return how many places of a batch hold text; those behind the last target of a row are padding."""
    if batch.target.ndim == 1:  # a class for each text
        return int((batch.source != special_ids(config.tokenizer.vocab_size)[1]).sum())
    if batch.mask is None or aim_of(config).both_sides:  # whose mask says what is hidden, in full windows
        return batch.source.size
    last = batch.mask.shape[1] - np.argmax(batch.mask[:, ::-1], axis=1)
    return int(np.where(batch.mask.any(axis=1), last, 0).sum())


def evaluation_seconds(text: Text, opened: Opened, steps: int) -> float:
    """Return the seconds of all evaluations and texts of a run of so many steps; 0 where they cannot be made."""
    config = opened.config
    device = choose_device(config.run.device)
    held_out = {name: file for name, file in opened.files.items() if name in ("validation", "test")}
    validation = held_out.get("validation")
    if validation is None:
        return 0.0
    try:
        model = build_model(config.model, text.vocabulary, classes=text.classes).to(device)
        measure(model, opened.tokenizer, validation, config, device=device, max_tokens=MEASURED // 8)  # warms up
        begin = time.perf_counter()
        measure(model, opened.tokenizer, validation, config, device=device, max_tokens=MEASURED)
        a_token = (time.perf_counter() - begin) / max(1, min(MEASURED, len(validation.ids)))
        writing = 0.0
        if model.causal:
            begin = time.perf_counter()
            samples(model, opened.tokenizer, stream_seed(config.run.seed, "sampling"), count=1, max_tokens=WRITTEN)
            writing = (time.perf_counter() - begin) / WRITTEN
    except (HeedError, RuntimeError, MemoryError):
        return 0.0
    evaluations = -(-steps // config.train.eval_every)
    each, whole = measured_tokens(held_out, config.train)
    texts = evaluations * (SAMPLE_TOKENS // 2) + SAMPLES * SAMPLE_TOKENS
    return a_token * (evaluations * each + whole) + writing * texts


def start_seconds(threads: int | None) -> float:
    """Return the seconds of a run that hardly trains, in a process of its own: what every run takes besides."""
    with TemporaryDirectory() as place:
        source = Path(place) / "text.txt"
        write_text(source, "the cat sees a dog and a dog hears the cat. " * 50)
        values = {
            "data": {"source": str(source), "workers": 1, "cache": str(Path(place) / "tokens")},
            "tokenizer": {"kind": "char"},
            "model": {"n_layers": 1, "n_heads": 1, "d_model": 8, "context": 8},
            "train": {"steps": 2, "batch_size": 2},
            "run": {"folder": place, "name": "start", "device": "cpu", "threads": threads or 1},
        }
        begin = time.perf_counter()
        worker = Process(Task("start", values, Path(place) / "record.json", 2), threads)
        try:
            while worker.poll() is None:
                time.sleep(0.05)
        finally:
            worker.kill()
        return time.perf_counter() - begin


def wall_seconds(runs: Sequence[float], seeds: int, jobs: int) -> float:
    """Return how long runs of so many seconds take with each seed, `jobs` at a time, each begun when one has ended.

    >>> wall_seconds([10.0, 10.0, 4.0], 1, 2)
    14.0
    """
    free = [0.0] * jobs
    for seconds in list(runs) * seeds:
        free[free.index(min(free))] += seconds
    return max(free)


def _quiet(line: str) -> None:
    """Say nothing: it was said when the text was prepared."""
