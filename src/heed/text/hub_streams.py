"""Data sets of the Hugging Face hub that are read as they come and kept nowhere: `hf:stream:OWNER/NAME/CONFIG`.

For sets that are larger than the disk. Each reading fetches the rows anew, so what reads a text more than once (a
tokenizer, then each split) fetches it as often; `heed data tokenize` writes token ids, and training reads those. A
set is dealt by its files: part k of N has the files that begin in it, so that a part can be read without the others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from heed.errors import DataError, require
from heed.text.formats import checked_text
from heed.text.sources import STREAM, Documents, Source, digest, draw, hub_splits, not_loaded, on_hub


def streamed_sources(address: str, column: str) -> dict[str, Source]:
    """Return the splits of `hf:stream:NAME`, each row a document. Raises `DataError` when the set cannot be had."""
    return {
        split: _source(address, split, stream, print_, column)
        for split, (stream, print_) in on_hub("hf:" + address.removeprefix(STREAM), _streams).items()
    }


def _streams(name: str, config: str | None) -> dict[str, tuple[Any, str]]:
    """Return the splits of a data set as streams, each with what its rows depend on: files and their versions."""
    datasets: Any = require("datasets", "hf")
    try:
        builder = datasets.load_dataset_builder(name, config)
        streams = {str(split): stream for split, stream in builder.as_streaming_dataset().items()}
        files = {str(split): found for split, found in (builder.config.data_files or {}).items()}
    except Exception as error:  # the package and what it stands on raise many types
        raise not_loaded(name, config, error) from None
    prints = {
        split: digest("stream", builder.hash, [*map(str, found)], getattr(found, "origin_metadata", None))
        for split, found in files.items()
    }
    return hub_splits(name, {split: (stream, prints.get(split, "")) for split, stream in streams.items()})


def _source(address: str, split: str, stream: Any, print_: str, column: str) -> Source:
    where = f"{address} ({split})"

    def part(skipped: Counter[str], number: int = 0, of: int = 1) -> Documents:
        files = stream.num_shards
        for file in range(-(-files * number // of), -(-files * (number + 1) // of)):
            for row in _rows(stream.shard(num_shards=files, index=file), where):
                if column not in row:
                    names = ", ".join(map(repr, row))
                    raise DataError(f"{where} has no column {column!r}: choose one of {names} with --data.column")
                text = checked_text(row[column], column, where)
                if text is None:
                    skipped["rows without a text (null) left out"] += 1
                elif not text.strip():
                    skipped["empty documents left out"] += 1
                else:
                    yield draw(text), text

    return Source(address.removeprefix(STREAM), digest(address, print_, column), part, part=part)


def _rows(stream: Any, where: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of a stream. Raises `DataError` where it breaks off."""
    rows = iter(stream)
    while True:
        try:
            row = next(rows, None)
        except Exception as error:
            reason = f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
            raise DataError(
                f"{where} broke off ({reason}): give the command again; shards that are whole are kept"
            ) from None
        if row is None:
            return
        yield row
