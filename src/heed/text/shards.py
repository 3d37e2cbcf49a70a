"""A corpus tokenised in shards: numbered token files that any number of processes and machines make side by side.

    text      |- part 0 -|- part 1 -|- part 2 -| ...            see `cuts.py`
    shard 0   train-00000-of-00016.tokens  validation-00000-of-00016.tokens  shard-00000-of-00016.json
    shard 1   train-00001-of-00016.tokens  validation-00001-of-00016.tokens  shard-00001-of-00016.json
    all       index.json, tokenizer.json

Shard k of N is made of part k of the text alone, so that it has the same bytes whoever makes it, and the shards one
after the other are the token file of the whole text. The folder is all that processes share: each takes a shard that
nobody is at (a lock says so) and that is not there, and who finds the last one done writes the index. What was killed
in the middle has left nothing under a name that counts.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from heed import files
from heed.config import DataConfig
from heed.errors import CheckpointError, DataError, why
from heed.files import HASHES, is_left
from heed.records.kept import read_record, write_record
from heed.records.shards import (
    INDEX,
    ShardIndex,
    ShardRecord,
    ShardText,
    ShardTokens,
    is_of_shards,
    record_name,
    shards_in,
    tokens_name,
)
from heed.text.corpus import SPLITS, Corpus
from heed.text.encoding import asked_threads, cores, end_with_parent
from heed.text.reading import READ, SPLIT, corpus_of
from heed.text.sharded_corpus import is_the_one, read_index
from heed.text.tokenfile import kept_tokens, write_token_file
from heed.text.tokenizers import Tokenizer, load_tokenizer

Say = Callable[[str], object]
TOKENIZER = "tokenizer.json"
COUNTED = ("tokens", "documents", "bytes", "words", "first_words", "first_bytes")
"""What the header of a token file counts."""


@dataclass(frozen=True)
class Tokenisation:
    """What is to be made: the shards of a text in a folder."""

    data: DataConfig
    tokenizer: Tokenizer
    folder: Path
    shards: int

    def text(self, corpus: Corpus) -> ShardText:
        """Return what all shards have in common."""
        return ShardText(
            corpus=corpus.name,
            corpus_fingerprint=corpus.fingerprint,
            split_rule=corpus.split_rule,
            word_rule=corpus.word_rule,
            tokenizer_hash=self.tokenizer.hash,
            end_id=self.tokenizer.end_id,
            shards=self.shards,
            data={name: getattr(self.data, name) for name in READ + SPLIT},
        )


def tokenise(asked: Tokenisation, wanted: Sequence[int], workers: int, say: Say) -> ShardIndex | None:
    """Make the `wanted` shards that are not there; return the index once all are, None while others are missing.

    `workers` processes make a shard each, or one shard together; 0 takes as many as OMP_NUM_THREADS asks for, or else
    one for each core. Two commands on one folder share the work. Raises `DataError` when the folder holds anything
    else, when the disk is full, when the text changes meanwhile, and what reading and encoding raise.
    """
    corpus = corpus_of(asked.data)
    text = asked.text(corpus)
    try:
        asked.folder.mkdir(parents=True, exist_ok=True)
        files.sweep(asked.folder)
        _claim(asked, text)
        for note in corpus.notes:
            say(f"note: {note}")
        workers = workers or asked_threads() or cores()
        busy: list[int] = []
        for shard, record in _made(asked, corpus, wanted, workers):
            if record is None:
                busy.append(shard)
            else:
                say(_said(record))
        for shard in busy:  # which another command has begun
            if record := _make(asked, corpus, shard, workers, wait=True):
                say(_said(record))
        return write_index(asked, text)
    except OSError as error:
        raise DataError(f"{asked.folder} cannot be written: {why(error)}; choose another --out") from error


def _claim(asked: Tokenisation, text: ShardText) -> None:
    """See that nothing but shards of this text is in the folder, and put the tokenizer there."""
    folder, path = asked.folder, asked.folder / TOKENIZER
    if other := shards_in(folder) - {asked.shards}:
        raise DataError(f"{folder} holds a text in {max(other)} shards: give --shards {max(other)}, or another --out")
    ours = {TOKENIZER, INDEX, HASHES}
    odd = [name for name in sorted(os.listdir(folder)) if not (name in ours or is_of_shards(name) or is_left(name))]
    if odd:
        raise DataError(f"{folder} holds other files ({odd[0]}): give --out an empty or new folder")
    for shard in range(asked.shards):
        if (record := _record(asked, shard)) is not None:
            _same_text(asked, text, record)
    if not path.exists():
        asked.tokenizer.save(path)
    elif load_tokenizer(folder).hash != text.tokenizer_hash:
        raise DataError(f"{folder} holds shards of another tokenizer: choose another --out, or delete it")


def _same_text(asked: Tokenisation, text: ShardText, record: ShardRecord) -> None:
    """Raise `DataError` where a shard is of another text, tokenizer or way of reading."""
    odd = [name for name, value in text.plain().items() if value != getattr(record.text, name)]
    if odd:
        what = (
            "another tokenizer" if "tokenizer_hash" in odd else "another text, or one that was read or split otherwise"
        )
        raise DataError(f"{asked.folder} holds shards of {what}: choose another --out, or delete it")


def _made(
    asked: Tokenisation, corpus: Corpus, wanted: Sequence[int], workers: int
) -> Iterator[tuple[int, ShardRecord | None]]:
    """Yield the record of each wanted shard once it is there, None for one that another command is at."""
    if workers == 1 or len(wanted) == 1:
        for shard in wanted:
            yield shard, _make(asked, corpus, shard, workers, wait=False)
        return
    before = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(
        min(workers, len(wanted)), multiprocessing.get_context("spawn"), _begin_process, (asked,)
    )
    try:
        begun = {pool.submit(_make_in_process, shard): shard for shard in wanted}
        for future in as_completed(begun):
            yield begun[future], future.result()
    except BrokenProcessPool:
        raise DataError(
            "a process that tokenises died, for want of memory or because the script lacks "
            "`if __name__ == '__main__':`; what is done is kept, and --workers 1 goes on without such processes"
        ) from None
    except BaseException:  # also Ctrl-C, which need not wait for whole shards
        for child in set(multiprocessing.active_children()) - before:
            child.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        with suppress(OSError):
            files.sweep(asked.folder)


_HERE: list[tuple[Tokenisation, Corpus]] = []


def _begin_process(asked: Tokenisation) -> None:
    """Open the text once in this process, which ends with the one that began it."""
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process ends this one
    os.environ.setdefault("USE_TORCH", "0")  # else `datasets` loads it for every stream: three seconds, 180 MB
    _HERE[:] = [(asked, corpus_of(asked.data))]


def _make_in_process(shard: int) -> ShardRecord | None:
    return _make(*_HERE[0], shard, workers=1, wait=False)


def _make(asked: Tokenisation, corpus: Corpus, shard: int, workers: int, *, wait: bool) -> ShardRecord | None:
    """Make a shard that is not there, and return its record; None: another process is at it, and there is no wait."""
    path = asked.folder / record_name(shard, asked.shards)
    with ExitStack() as lock:
        try:
            lock.enter_context(files.locked(path.with_name(f".{path.name}{files.LOCK}"), f"making {path}", wait=wait))
        except CheckpointError:
            return None
        record = _record(asked, shard)
        if record is not None and all(_is_there(asked, split, entry) for split, entry in record.splits.items()):
            return record
        splits = {split: _write(asked, corpus, split, shard, workers) for split in corpus.splits}
        record = ShardRecord(
            format=ShardRecord.FORMAT,
            shard=shard,
            text=asked.text(corpus),
            splits={split: entry for split, entry in splits.items() if entry is not None},
            left_out=dict(sorted(corpus.left_out.items())),
        )
        files.write_json(path, record.plain())
        return record


def _is_there(asked: Tokenisation, split: str, entry: ShardTokens) -> bool:
    """Whether a token file is the one that the record of its shard names."""
    file = kept_tokens(asked.folder / entry.name, asked.tokenizer)
    return file is not None and file.header.get("split") == split and is_the_one(file, entry)


def _write(asked: Tokenisation, corpus: Corpus, split: str, shard: int, workers: int) -> ShardTokens | None:
    """Write the token file of a split in a shard; None: it has no document of the split."""
    path = asked.folder / tokens_name(split, shard, asked.shards)
    documents = corpus.part(split, shard, asked.shards)
    first = next(documents, None)
    if first is None:
        return None
    header = corpus.facts(split) | {"word_rule": corpus.word_rule, "shard": shard, "shards": asked.shards}
    written = write_token_file(
        path, itertools.chain([first], documents), asked.tokenizer, header=header, workers=workers, place="--out"
    ).header
    return ShardTokens(
        name=path.name, sha256=written["sha256"]["whole"], **{count: written[count] for count in COUNTED}
    )


def _record(asked: Tokenisation, shard: int) -> ShardRecord | None:
    """Return the record of a shard, None where there is none that can be read."""
    try:
        return read_record(ShardRecord, asked.folder / record_name(shard, asked.shards))
    except (CheckpointError, FileNotFoundError, ValueError):
        return None


def write_index(asked: Tokenisation, text: ShardText) -> ShardIndex | None:
    """Write the index once every shard has its record, and return it; None: some are missing."""
    records = []
    for shard in range(asked.shards):
        if (record := _record(asked, shard)) is None:
            return None
        _same_text(asked, text, record)
        records.append(record)
    splits = {split: [one.splits[split] for one in records if split in one.splits] for split in SPLITS}
    left_out = sum((Counter(one.left_out) for one in records), Counter())
    index = ShardIndex(
        format=ShardIndex.FORMAT,
        text=text,
        splits={split: entries for split, entries in splits.items() if entries},
        left_out=dict(sorted(left_out.items())),
    )
    with suppress(DataError):  # of a damaged one, which is written anew
        if (there := read_index(asked.folder)) is not None and there.plain() == index.plain():
            return there
    write_record(asked.folder / INDEX, index)
    return index


def _said(record: ShardRecord) -> str:
    """Say what is in a shard."""
    parts = [f"{split} {said_tokens(entry.tokens, entry.documents)}" for split, entry in record.splits.items()]
    return f"shard {record.shard} of {record.text.shards}: {'; '.join(parts) or 'nothing, no text begins in it'}"


def said_tokens(tokens: int, documents: int) -> str:
    """Say how much there is.

    >>> said_tokens(1_200, 1), said_tokens(1, 3)
    ('1,200 tokens, 1 document', '1 token, 3 documents')
    """
    return f"{tokens:,} token{'s' * (tokens != 1)}, {documents:,} document{'s' * (documents != 1)}"
