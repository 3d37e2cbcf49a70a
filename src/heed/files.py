"""How heed writes, locks and hashes: a file on the disk is the old one or the new one, never a half.

    aside      written under another name ──> synced ──> renamed ──> the folder's names synced
    growing    of use before it is whole, under another name until then
    removed    renamed away ──> deleted: whoever looks sees all of it or nothing
    locked     one process at a time, and the others are told which

What is written aside has one name, `.NAME.writing`, so that a process which dies leaves at most that, and the next
writer takes it over. `OSError` passes through: only the caller knows what to advise.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from heed.errors import CheckpointError

try:
    import fcntl
except ImportError:  # Windows has none, and there nothing keeps two processes apart
    fcntl = None


@contextmanager
def aside(path: str | Path) -> Iterator[Path]:
    """Give the name to write a file under; once the block ends well it is synced and takes the place of `path`.

    A block that raises leaves `path` as it was and nothing beside it. Two writers of one file take turns.
    """
    path = Path(path)
    other = path.with_name(f".{path.name}.writing")
    with _alone(other):
        try:
            yield other
            _sync(other)
            os.replace(other, path)
        except BaseException:
            other.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


@contextmanager
def aside_folder(path: str | Path) -> Iterator[Path]:
    """Give an empty folder to fill; once the block ends well it is synced and takes the place of the folder `path`.

    A block that raises leaves `path` as it was and nothing beside it.
    """
    path = Path(path)
    other = path.with_name(f".{path.name}.writing")
    shutil.rmtree(other, ignore_errors=True)
    other.mkdir(parents=True)
    try:
        yield other
        for folder, _, names in os.walk(other):
            for name in names:
                _sync(Path(folder, name))
            sync_folder(Path(folder))
        remove(path)
        os.replace(other, path)
    except BaseException:
        shutil.rmtree(other, ignore_errors=True)
        raise
    sync_folder(path.parent)


@contextmanager
def growing(path: str | Path) -> Iterator[IO[str]]:
    """Give a text file to write to, in UTF-8; once the block ends well it takes the place of `path`.

    Until then it is `NAME.partial`, which stays, as far as it was flushed, where the block raises or the process dies,
    and which the next writer begins anew. Raises `CheckpointError` while another process writes it.
    """
    path = Path(os.path.realpath(path))
    partial = path.with_name(f"{path.name}.partial")
    while True:
        with partial.open("a", encoding="utf-8", newline="") as file:
            if not _lock(file, wait=False):
                raise CheckpointError(f"another process is writing {path}: wait for it, or end it")
            if not _is_at(file, partial):  # whoever held it has put it in its place
                continue
            file.truncate(0)
            yield file
            file.flush()
            os.fsync(file.fileno())
            os.replace(partial, path)
        sync_folder(path.parent)
        return


def write_text(path: str | Path, text: str) -> None:
    """Write a text in UTF-8 with the line ends that it has, whole or not at all."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write some bytes, whole or not at all."""
    with aside(path) as other:
        other.write_bytes(content)


def write_json(path: str | Path, content: Any) -> None:
    """Write JSON that a person can read, whole or not at all. Raises `ValueError` for NaN and infinity."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def remove(path: str | Path) -> None:
    """Delete a file or a folder, which is gone at once: a process that dies over it leaves `.NAME.removing`."""
    path = Path(path)
    other = path.with_name(f".{path.name}.removing")
    if other.is_dir():
        shutil.rmtree(other)
    with suppress(FileNotFoundError):
        if path.is_dir() and not path.is_symlink():
            os.replace(path, other)
            shutil.rmtree(other)
        else:
            path.unlink()


@contextmanager
def locked(path: str | Path, doing: str) -> Iterator[None]:
    """Keep other processes out for as long as the block runs; `path` is the lock's file, gone afterwards.

    `doing` is what is to be said of this process to the others, for example "training in runs/a". Raises
    `CheckpointError` that names the other process where there is one.
    """
    path = Path(path)
    while True:
        with path.open("a+", encoding="utf-8") as file:
            if not _lock(file, wait=False):
                file.seek(0)
                raise CheckpointError(f"{file.read().strip() or 'another process'} already: wait for it, or end it")
            if not _is_at(file, path):  # whoever held it deleted it in between
                continue
            file.truncate(0)
            file.write(f"process {os.getpid()} is {doing}")
            file.flush()
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return


def sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable, not only the contents of its files."""
    if os.name == "nt":  # no folder can be opened there
        return
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _sync(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold a lock on an empty file that is to be written; wait for another process that holds it."""
    while True:
        with path.open("ab") as file:
            _lock(file, wait=True)
            if not _is_at(file, path):  # it has been renamed to where it belongs
                continue
            file.truncate(0)
            yield
            return


def _lock(file: IO[Any], *, wait: bool) -> bool:
    """Lock an open file until it is closed; whether that was possible."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


def _is_at(file: IO[Any], path: Path) -> bool:
    """Whether an open file is still the one of this name."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
