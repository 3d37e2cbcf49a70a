"""Token files: a split of a corpus as token ids, written once and then mapped into memory.

    bytes 0..7      b"HEEDTOK1"
    bytes 8..4095   header, JSON in UTF-8, filled up with spaces; it holds the SHA-256 of all else in the file
    from 4096       ids, uint16 (vocabularies up to 65,536) or uint32, little-endian, filled up to 8 bytes
    then            one uint64 a document: the index one past its last token

A file is written beside its place, synced and renamed, so that a file under its own name is always whole. It is hashed
again whenever it is opened: wholly up to `WHOLE` bytes, a larger one in `BLOCKS` places, and wholly where that is asked
for. Files of an earlier heed have no hash and are written anew.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, BinaryIO

import numpy as np

from heed import files
from heed.errors import DataError, why
from heed.npz import read_arrays
from heed.text.corpus import Corpus
from heed.text.encoding import encoded
from heed.text.sources import digest
from heed.text.stream import TokenIds
from heed.text.tokenizers import Tokenizer

MAGIC = b"HEEDTOK1"
HEADER_BYTES = 4096
VERSION = 2
WHOLE, BLOCKS, BLOCK = 64 << 20, 64, 64 << 10
"""Bytes up to which a file is hashed wholly when it is opened; else how many places of it, and the bytes at each."""


class AlteredTokensError(DataError):
    """A token file is not as heed wrote it."""


Progress = Callable[[int, int | None], object]
"""Is told the bytes of text that are done, and all there are where that is known."""


@dataclass(frozen=True)
class TokenFile:
    """Token ids and where documents end.

    `ids` (N,) uint16 or uint32; `ends` (documents,) uint64, each the index one past the end of a document.
    """

    ids: TokenIds
    ends: np.ndarray
    header: dict[str, Any]

    @classmethod
    def open(cls, path: str | Path, *, tokenizer_hash: str | None = None, verify: bool = False) -> TokenFile:
        """Map a token file into memory; `verify` reads the whole of a large one too.

        Raises `DataError` when it is missing, is no token file, has lost its end, is not as it was written, or was
        made with a tokenizer other than the one with `tokenizer_hash`.
        """
        path = Path(path)
        header = _read_header(path)
        ids = np.dtype(header["dtype"]).newbyteorder("<")
        start = HEADER_BYTES + _padded(header["tokens"] * ids.itemsize)
        expected = start + 8 * header["documents"]
        actual = path.stat().st_size
        if actual != expected:
            raise AlteredTokensError(
                f"{path} has {actual:,} bytes and should have {expected:,}: delete it, it is made anew"
            )
        if tokenizer_hash is not None and header["tokenizer_hash"] != tokenizer_hash:
            raise DataError(f"{path} was made with another tokenizer: delete it, or use the tokenizer of its run")
        if header.get("sha256") and not _is_as_written(path, header, whole=verify or actual <= WHOLE):
            raise AlteredTokensError(
                f"{path} is not as it was written (its SHA-256 differs): delete it, it is made anew"
            )
        return cls(
            # As plain arrays: indexing a memmap object costs several times more.
            np.memmap(path, ids, "r", HEADER_BYTES, header["tokens"]).view(np.ndarray),
            np.memmap(path, "<u8", "r", start, header["documents"]).view(np.ndarray),
            header,
        )


def count_of(ids: TokenIds, id: int | None) -> int:
    """Return how often an id stands in a row of ids, which is read piece by piece."""
    steps = range(0, len(ids), WHOLE)
    return sum(int(np.count_nonzero(np.asarray(ids[begin : begin + WHOLE]) == id)) for begin in steps)


def counts_of(ids: TokenIds, vocabulary: int, most: int = 1 << 25) -> np.ndarray:
    """Return how often each of `vocabulary` ids stands among the first `most` of a row of ids, int64."""
    return np.bincount(np.asarray(ids[:most]), minlength=vocabulary)


def _read_header(path: Path) -> dict[str, Any]:
    """Return the header. Raises `DataError` when the file does not begin as a token file does."""
    try:
        with path.open("rb") as stream:
            block = stream.read(HEADER_BYTES)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    try:
        header = json.loads(block[len(MAGIC) :])
    except ValueError:
        header = None
    keys = {"version", "dtype", "tokens", "documents", "tokenizer_hash"}
    damaged = AlteredTokensError(f"{path} is no token file of heed, or is damaged: delete it, it is made anew")
    if not block.startswith(MAGIC) or not isinstance(header, dict) or not keys <= header.keys():
        raise damaged
    if header["version"] != VERSION:
        raise DataError(f"{path} is a token file of version {header['version']}, heed reads {VERSION}: delete it")
    counts = header["tokens"], header["documents"]
    if header["dtype"] not in ("uint16", "uint32") or not all(type(count) is int and count >= 1 for count in counts):
        raise damaged
    return header


def _is_as_written(path: Path, header: dict[str, Any], *, whole: bool) -> bool:
    """Whether a file and its header give the hashes that the header holds; without `whole` some blocks are read."""
    said = header["sha256"]
    with path.open("rb") as stream:
        found = _hash(stream, header, whole=whole)
    return isinstance(said, dict) and said.get("whole" if whole else "blocks") == found


def _hash(stream: BinaryIO, header: dict[str, Any], *, whole: bool) -> str:
    """Return the SHA-256 of a header, without the hashes in it, and of what follows it, or of blocks of that."""
    found = hashlib.sha256(json.dumps({key: header[key] for key in header if key != "sha256"}, sort_keys=True).encode())
    size = stream.seek(0, io.SEEK_END) - HEADER_BYTES
    last = max(0, size - BLOCK)
    places = range(0, size, BLOCK) if whole else [last * number // (BLOCKS - 1) for number in range(BLOCKS)]
    for place in places:
        stream.seek(HEADER_BYTES + place)
        found.update(stream.read(BLOCK))
    return found.hexdigest()


def _padded(size: int) -> int:
    return -(-size // 8) * 8


def write_token_file(
    path: str | Path,
    documents: Iterable[str],
    tokenizer: Tokenizer,
    *,
    header: dict[str, Any],
    workers: int = 0,
    progress: Progress | None = None,
    place: str = "data.cache",
) -> TokenFile:
    """Encode documents to a token file, in the order given, and open it.

    `tokenizer.end_id` is written after each document, unless the document ends in it already, and into the header
    (null: there is none). A word tokenizer's `<eos>` ends a line and is another id: a document may end in both.
    `header` may add `word_rule` ("words" if absent), `corpus_fingerprint` and `split`. `workers` processes encode, 0
    for one a core; small input is encoded here. They are spawned: a script that calls this on much text needs the
    usual `if __name__ == "__main__":`. `place` is the setting that chooses the folder.

    Raises `DataError` when there are no tokens, when the disk is full (the unfinished file is removed), and whatever
    the documents or the tokenizer raise.
    """
    path = Path(path)
    dtype = "uint16" if tokenizer.vocab_size <= 1 << 16 else "uint32"
    totals = dict.fromkeys(("tokens", "documents", "bytes", "words", "first_words", "first_bytes"), 0)
    rule = header.get("word_rule", "words")
    try:
        files.make_folder(path.parent)
        with files.aside(path) as other, other.open("w+b") as stream, TemporaryFile(dir=path.parent) as ends:
            stream.write(b" " * HEADER_BYTES)
            for part in encoded(documents, tokenizer, rule, dtype, workers):
                stream.write(part.ids.data)
                ends.write((part.ends + np.uint64(totals["tokens"])).data)
                totals["tokens"] += len(part.ids)
                totals["documents"] += len(part.ends)
                for name in ("bytes", "words", "first_words", "first_bytes"):
                    totals[name] += getattr(part, name)
                if progress is not None:
                    progress(totals["bytes"], None)
            if totals["tokens"] == 0:
                raise DataError(f"there is no text for {path.name}: not a single token came out of it")
            size = totals["tokens"] * np.dtype(dtype).itemsize
            stream.write(bytes(_padded(size) - size))
            ends.seek(0)
            shutil.copyfileobj(ends, stream)
            own = {
                "version": VERSION,
                "dtype": dtype,
                **totals,
                "tokenizer_hash": tokenizer.hash,
                "end_id": tokenizer.end_id,
            }
            _finish(stream, {**header, "word_rule": rule, **own})
    except OSError as error:
        raise _refused(path, error, place) from None
    return TokenFile.open(path)


def _refused(path: Path, error: OSError, place: str = "data.cache") -> DataError:
    """Return what is said of a token file that the system does not let us write."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DataError(f"the disk is full: {path} needs more room, free some or set {place}")
    return DataError(f"{path} cannot be written: {why(error)}; choose a folder with {place}")


def _finish(stream: BinaryIO, header: dict[str, Any]) -> None:
    """Write the header in its place, with the hashes of it and of all that follows."""
    header = json.loads(json.dumps(header))  # as it will be read
    header["sha256"] = {"whole": _hash(stream, header, whole=True), "blocks": _hash(stream, header, whole=False)}
    block = MAGIC + json.dumps(header).encode()
    if len(block) > HEADER_BYTES:
        raise DataError(f"the header of a token file holds {HEADER_BYTES} bytes, not {len(block)}: shorten its entries")
    stream.seek(0)
    stream.write(block.ljust(HEADER_BYTES))


def token_files(
    corpus: Corpus,
    tokenizer: Tokenizer,
    folder: str | Path,
    workers: int = 0,
    progress: Progress | None = None,
    verify: bool = False,
) -> dict[str, TokenFile]:
    """Return a token file for each split, out of `folder` where nothing has changed, else encoded and kept there.

    A file belongs to the corpus fingerprint, the tokenizer hash and the split; a damaged one is written anew, and one
    of an earlier heed that has no hash. Where another process is writing one, that is waited for. `verify` reads the
    whole of large files, where some blocks would do, and writes no damaged one anew: it raises `AlteredTokensError`.
    Raises what `write_token_file` raises.
    """
    found: dict[str, TokenFile] = {}
    with suppress(OSError):  # of a process that died when its file was done
        files.sweep(Path(folder))
    for split in corpus.splits:
        key = digest(corpus.fingerprint, tokenizer.hash, split, VERSION)
        path = Path(folder) / f"{_safe(corpus.name)}-{split}-{key[:16]}.tokens"
        header = corpus.facts(split) | {"word_rule": corpus.word_rule}
        known: dict[str, Any] = {"corpus_fingerprint": corpus.fingerprint, "split": split}
        kept = kept_tokens(path, tokenizer, verify=verify, **known)
        if kept is None:
            with _writing(path):
                kept = kept_tokens(path, tokenizer, verify=verify, **known)
                if kept is None:
                    report = _with_total(progress, corpus.expected_bytes(split))
                    texts = corpus.documents(split)
                    kept = write_token_file(path, texts, tokenizer, header=header, workers=workers, progress=report)
        found[split] = kept
    return found


def kept_tokens(path: Path, tokenizer: Tokenizer, *, verify: bool = False, **expected: Any) -> TokenFile | None:
    """Return the token file that was written before, None where there is none that is whole.

    `expected` is what its header must say. `verify` reads the whole of a large one, and raises `AlteredTokensError` for
    one that is damaged.
    """
    expected |= {"end_id": tokenizer.end_id}  # of a foreign one it may be named elsewhere, and is not in the hash
    try:
        kept = TokenFile.open(path, tokenizer_hash=tokenizer.hash, verify=verify)
        if {"sha256", "first_words"} <= kept.header.keys() and expected.items() <= kept.header.items():
            return kept
    except AlteredTokensError:
        if verify:
            raise
    except DataError:  # it is of another tokenizer, an earlier heed, or not there
        pass
    return None


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Wait until no other process is writing this token file, and keep others waiting."""
    with ExitStack() as lock:
        try:
            files.make_folder(path.parent)
            files.sweep(path.parent)
            lock.enter_context(files.locked(path.with_name(f".{path.name}.lock"), f"writing {path}", wait=True))
        except OSError as error:
            raise _refused(path, error) from None
        yield


def _with_total(progress: Progress | None, total: int | None) -> Progress | None:
    return None if progress is None else lambda done, _: progress(done, total)


def _safe(name: str) -> str:
    """Return a name that every file system takes.

    >>> _safe("Salesforce/wikitext")
    'Salesforce-wikitext'
    """
    plain = "".join(c if c.isalnum() or c in "-_." else "-" for c in name)[:60]
    return plain.encode()[:120].decode(errors="ignore")


def load_npz(path: str | Path) -> TokenFile:
    """Read an `npz` of `tokens` (all ids in a row) and `sizes` (tokens of each document), as IFT6135 gives them.

    Raises `DataError` when it is no such file. Nothing in it is ever executed.
    """
    path = Path(path)
    try:
        arrays = read_arrays(path)
        tokens, sizes = arrays["tokens"], arrays["sizes"]
    except KeyError as error:
        raise DataError(f"{path} has no array {error}: it must hold 'tokens' and 'sizes'") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as npz: {error}") from None
    for name, array in (("tokens", tokens), ("sizes", sizes)):
        if array.ndim != 1 or array.dtype.kind not in "iu" or not len(array) or array.min() < 0 or array.max() >> 32:
            raise DataError(
                f"{path}: {name!r} must be a row of integers from 0 to 2^32, not {array.dtype} {array.shape}"
            )
    if sizes.sum() != len(tokens):
        raise DataError(f"{path}: the sizes add up to {sizes.sum():,}, but there are {len(tokens):,} tokens")
    ids = tokens.astype(np.uint16 if tokens.max() < 1 << 16 else np.uint32)
    header = {"tokens": len(ids), "documents": len(sizes), "split": path.stem}
    return TokenFile(ids, np.cumsum(sizes, dtype=np.uint64), header)
