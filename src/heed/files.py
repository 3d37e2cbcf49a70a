"""How heed writes, locks and hashes: a file on the disk is the old one or the new one, never a half.

    aside      written under another name ──> synced ──> renamed ──> the folder's names synced
    growing    of use before it is whole, under another name until then
    together   several files of a folder, which count from the moment that one of them, the marker, is there
    appended   a line at the end, which is taken back where the disk fills up in the middle of it
    removed    renamed away ──> deleted: whoever looks sees all of it or nothing
    locked     one process at a time, and the others are told which

What is written aside has one name, `.NAME.writing`, so that a process which dies leaves at most that, and the next
writer takes it over. `OSError` passes through: only the caller knows what to advise.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import IO, Any, Literal

from heed.errors import CheckpointError, DataError, why

try:
    import fcntl
except ImportError:  # Windows has none: there nothing keeps two processes apart, and an open file stays where it is
    fcntl = None


HASHES = "hashes.json"
"""The hashes of what heed wrote in a folder (`seals.py`), which by themselves are nothing that is to stay."""
WRITING, REMOVING, LOCK = ".writing", ".removing", ".lock"
"""What is on its way into a folder, what is on its way out of it, and its lock."""
_held: set[str] = set()
"""The locks that this process holds."""


@contextmanager
def aside(path: str | Path) -> Iterator[Path]:
    """Give the name to write a file under; once the block ends well it is synced and takes the place of `path`.

    A block that raises leaves `path` as it was and nothing beside it. Two writers of one file take turns. A link stays
    one, and what is no file (`/dev/null`, a pipe) is written to as it is.
    """
    path = Path(os.path.realpath(path))
    if _is_device(path):
        yield path
        return
    other = path.with_name(f".{path.name}{WRITING}")
    with _alone(other):
        try:
            yield other
            sync(other)
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
    other, old = path.with_name(f".{path.name}{WRITING}"), path.with_name(f".{path.name}{REMOVING}")
    _delete(other)
    make_folder(path.parent)
    other.mkdir()
    try:
        yield other
        _sync_all(other)
        if path.exists():
            _delete(old)
            os.replace(path, old)
        os.replace(other, path)
    except BaseException:
        shutil.rmtree(other, ignore_errors=True)
        raise
    sync_folder(path.parent)
    _delete(old)


@contextmanager
def together(folder: str | Path, marker: str, replacing: Iterable[str] = ()) -> Iterator[Path]:
    """Give an empty folder to fill; once the block ends well its entries take their places in `folder`.

    They belong together: `marker`, one of them, goes first of the old ones and comes last of the new ones, so that
    whoever finds it finds all of the same. Entries named in `replacing` go with the old ones, all others stay. A block
    that raises leaves the folder as it was; a process that dies may leave one without the marker, with `.writing` or
    `.removing` in it, which the next call takes over. The caller keeps other processes out (`locked`).
    """
    folder = Path(folder)
    new, old = folder / WRITING, folder / REMOVING
    make_folder(folder)
    dead, moved = is_half(folder), []
    _delete(new)
    new.mkdir()

    def move(source: Path, target: Path) -> None:
        os.replace(source, target)
        moved.append((source, target))

    try:
        yield new
        _sync_all(new)
        _delete(old)
        old.mkdir()
        names = sorted(os.listdir(new), key=lambda name: (name == marker, name))
        for name in dict.fromkeys([marker, *replacing, *names]):
            if os.path.lexists(folder / name):
                move(folder / name, old / name)
        for name in names:
            move(new / name, folder / name)
    except BaseException:
        with suppress(OSError):
            for source, target in reversed(moved):
                os.replace(target, source)
            if not dead:  # else it goes on telling that a process died here
                sweep(folder)
        raise
    sync_folder(folder)
    sweep(folder)


def is_half(folder: Path) -> bool:
    """Whether a process died in a folder while something was on its way into it or out of it."""
    return (folder / WRITING).exists() or (folder / REMOVING).exists()


def is_left(name: str) -> bool:
    """Whether a file or folder of this name is what a process that died may have left.

    >>> [name for name in (".lock", ".a.json.writing", ".removing", "a.json", ".git") if is_left(name)]
    ['.lock', '.a.json.writing', '.removing']
    """
    return name.startswith(".") and name.endswith((WRITING, REMOVING, LOCK))


def holds_something(folder: Path, marker: str) -> bool:
    """Whether a folder holds what is to stay: more than what processes that died have left of `together`.

    Where one died that had done its work, what it left is tidied away.
    """
    names = set(os.listdir(folder)) if folder.is_dir() else set()
    left = set(filter(is_left, names))
    stays = bool(names - left - {HASHES}) and (marker in names or not is_half(folder))
    if stays and left:
        lock = folder / LOCK
        with suppress(OSError, CheckpointError), nullcontext() if is_ours(lock) else locked(lock, f"tidying {folder}"):
            sweep(folder)
    return stays


def sweep(folder: Path) -> None:
    """Delete what processes that died have left in a folder; what another one is writing stays."""
    odd = [path for end in (REMOVING, WRITING, LOCK) for path in folder.glob(f".*{end}")]
    for left in [folder / REMOVING, folder / WRITING, *odd]:
        if left.is_file() and not left.is_symlink():
            with left.open("rb") as file:
                if not _lock(file, wait=False):
                    continue
                _let_go(file)
                left.unlink(missing_ok=True)
        else:
            _delete(left)


def append(path: str | Path, text: str | bytes) -> None:
    """Add a text in UTF-8, or bytes, to the end of a file, whole or not at all; it reaches the operating system."""
    content = memoryview(text.encode("utf-8") if isinstance(text, str) else text)
    with Path(path).open("ab", buffering=0) as file:
        before = file.seek(0, os.SEEK_END)
        try:
            while content:
                content = content[file.write(content) :]
        except OSError:
            with suppress(OSError):
                file.truncate(before)
            raise


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
            _let_go(file)
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
    other = path.with_name(f".{path.name}{REMOVING}")
    _delete(other)
    with suppress(FileNotFoundError):
        if path.is_dir() and not path.is_symlink():
            os.replace(path, other)
            _delete(other)
        else:
            path.unlink()


def relocate(source: Path, target: Path) -> None:
    """Give a folder another name on the same disk, at once; what is there already stays. Raises `OSError`."""
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
    os.rename(source, target)
    sync_folder(target.parent)
    sync_folder(source.parent)


@contextmanager
def locked(path: str | Path, doing: str, *, wait: bool = False) -> Iterator[None]:
    """Keep other processes out for as long as the block runs; `path` is the lock's file, gone afterwards.

    `doing` is what is to be said of this process to the others, for example "training in runs/a". Raises
    `CheckpointError` that names the other process where there is one, unless it is to `wait` for it.
    """
    path = Path(os.path.realpath(path))
    while True:
        with path.open("a+", encoding="utf-8") as file:
            if not _lock(file, wait=wait) and not _lock_soon(file):
                file.seek(0)
                raise CheckpointError(f"{file.read().strip() or 'another process'} already: wait for it, or end it")
            if not _is_at(file, path):  # whoever held it deleted it in between
                continue
            _held.add(str(path))
            try:
                with suppress(OSError):  # on a full disk it has no name, and holds all the same
                    file.truncate(0)
                    os.write(file.fileno(), f"process {os.getpid()} is {doing}".encode())  # nothing waits in a buffer
                yield
            finally:
                _held.discard(str(path))
                _let_go(file)
                path.unlink(missing_ok=True)
            return


def open_plain(path: str | Path) -> IO[bytes]:
    """Open a file for reading that is one: no link is followed, and no pipe is waited for. Raises `OSError`."""
    number = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    if stat.S_ISREG(os.fstat(number).st_mode):
        return os.fdopen(number, "rb")
    os.close(number)
    raise OSError(errno.EINVAL, "it is no file", str(path))


def what_is(path: str | Path) -> Literal["file", "folder", "other", "missing"]:
    """Return what there is of this name; "other" is what cannot be read to an end: a pipe, a socket, a device.

    Raises `DataError` where the system does not tell: a name too long, a link to itself, a folder that is closed.
    """
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return "missing"
    except OSError as error:
        raise DataError(f"{shortened(path)} cannot be read: {advice(error)}") from None
    except ValueError:  # a null character
        return "missing"
    return "file" if stat.S_ISREG(mode) else "folder" if stat.S_ISDIR(mode) else "other"


def expanded(path: str | Path) -> Path:
    """Return a path with the home folder for ~. Raises `DataError` where there is none."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        user = Path(path).parts[0]
        raise DataError(f"{shortened(path)}: there is no user {user[1:60]!r}: write ./ before a name with ~") from None


def shortened(path: object, most: int = 200) -> str:
    """Return a name as far as a line can hold it, its middle left out.

    >>> shortened("a" * 300, 20)
    'aaaaaaaa...aaaaaaaaa'
    """
    text = str(path)
    return text if len(text) <= most else f"{text[: (most - 3) // 2]}...{text[-((most - 2) // 2) :]}"


def advice(error: OSError) -> str:
    """Return the reason of an `OSError`, and what to do next where that is known."""
    reason = why(error)
    next_step = _NEXT.get(error.errno or 0)
    return f"{reason}: {next_step}" if next_step else reason


_NEXT = {
    errno.ENOSPC: "free some room, or choose another place",
    errno.EDQUOT: "free some room, or choose another place",
    errno.EACCES: "change its permissions, or choose another place",
    errno.EPERM: "change its permissions, or choose another place",
    errno.EROFS: "choose another place",
    errno.ENAMETOOLONG: "choose a shorter one",
    errno.ELOOP: "it is a link that leads to itself",
    errno.EMFILE: "raise the limit with ulimit -n",
    errno.ENOENT: "check the path",
    errno.EISDIR: "give a file",
    errno.ENOTDIR: "give a folder",
    errno.EEXIST: "choose another name",
    errno.EIO: "check the disk",
}


def is_held(lock: Path) -> bool:
    """Whether a process holds a lock, this one included; whoever takes it meanwhile tries again (`locked`)."""
    if is_ours(lock):
        return True
    if fcntl is None:
        return lock.exists()
    try:
        with lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def is_ours(lock: Path) -> bool:
    """Whether this process holds a lock."""
    return os.path.realpath(lock) in _held


@contextmanager
def working_in(folder: str | Path, doing: str, instead: str) -> Iterator[None]:
    """Make a folder where it is missing and keep other processes out of it; one that stays empty is gone afterwards.

    Raises `CheckpointError` that names the process which is at it, or says why the folder cannot be written to and
    what to do `instead`.
    """
    folder, lock = Path(folder), ExitStack()
    try:
        make_folder(folder)
        lock.enter_context(locked(folder / LOCK, doing))
    except OSError as error:
        with suppress(OSError):
            folder.rmdir()
        raise CheckpointError(f"{folder} cannot be written: {why(error)}; {instead}") from error
    try:
        with lock:
            yield
    finally:
        with suppress(OSError):  # it is not empty
            folder.rmdir()


def sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def make_folder(path: str | Path) -> None:
    """Make a folder where it is missing, and those above it; their names are as durable as what is put into them."""
    path = Path(path)
    if not path.is_dir():
        if not path.parent.exists():
            make_folder(path.parent)
        path.mkdir(exist_ok=True)
        with suppress(PermissionError):  # a folder that may be written to, and not be read
            sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable, not only the contents of its files."""
    if os.name == "nt":  # no folder can be opened there
        return
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def sync(path: Path) -> None:
    """Make the content of a file durable."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _sync_all(folder: Path) -> None:
    for below, _, names in os.walk(folder):
        for name in names:
            sync(Path(below, name))
        sync_folder(Path(below))


def _delete(path: Path) -> None:
    with suppress(FileNotFoundError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _is_device(path: Path) -> bool:
    """Whether there is something under this name that is no file of its own."""
    with suppress(FileNotFoundError, NotADirectoryError):
        return not stat.S_ISREG(path.stat().st_mode) and not path.is_dir()
    return False


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold a lock on an empty file that is to be written; wait for another process that holds it."""
    while True:
        with path.open("ab") as file:
            _lock(file, wait=True)
            if not _is_at(file, path):  # it has been renamed to where it belongs
                continue
            file.truncate(0)
            _let_go(file)
            yield
            return


def _let_go(file: IO[Any]) -> None:
    """Close a file that is about to be renamed or deleted where that must be; elsewhere its lock is held until then."""
    if fcntl is None:
        file.close()


def _lock(file: IO[Any], *, wait: bool) -> bool:
    """Lock an open file until it is closed; whether that was possible."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


def _lock_soon(file: IO[Any]) -> bool:
    """Try again for a second: a process that has just died may have one beside it that holds its files a moment on."""
    for _ in range(10):
        time.sleep(0.1)
        if _lock(file, wait=False):
            return True
    return False


def _is_at(file: IO[Any], path: Path) -> bool:
    """Whether an open file is still the one of this name."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
