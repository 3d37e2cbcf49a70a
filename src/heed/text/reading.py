"""The settings of `data` that say how running text is read and split, and the corpus that they describe."""

from __future__ import annotations

from typing import Any

from heed.config import DataConfig
from heed.text.corpus import Corpus, open_corpus
from heed.text.named import locate

READ = ("column", "encoding", "separator", "line_ends")
"""How files are read."""
SPLIT = ("validation", "test", "validation_fraction", "test_fraction")
"""Where the held-out splits come from."""


def corpus_of(data: DataConfig) -> Corpus:
    """Open the running text of a configuration; raises what `open_corpus` raises."""
    return open_corpus(locate(data.source), **reading(data), **splits(data))


def reading(data: DataConfig) -> dict[str, Any]:
    """Return how files of running text are read."""
    return {name: getattr(data, name) for name in READ}


def splits(data: DataConfig) -> dict[str, Any]:
    """Return where the held-out splits come from; a path may lie in a folder of data sets."""
    return {
        "validation": None if data.validation is None else locate(data.validation),
        "test": None if data.test is None else locate(data.test),
        "validation_fraction": data.validation_fraction,
        "test_fraction": data.test_fraction,
    }
