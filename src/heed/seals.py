"""What heed reads of its own is what it wrote: `hashes.json` holds the SHA-256 of each record in a folder.

    {"config.yaml": [[812, "9f86..."]], "metrics.jsonl": [[5120, "2c26..."]], "self": "b5bb..."}

Each hash is of the first so many bytes. A file that grows (metrics.jsonl) may go on beyond them, all others end there.
A hash is noted before its file is written, beside that of the file which is still there, so that a process which dies
in between leaves one that is known. Files without a hash come from an earlier heed and are read as they are.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from heed import files
from heed.errors import CheckpointError, why

SEALS, SELF = files.HASHES, "self"
GROWING = ("metrics.jsonl",)
"""Files that are appended to."""
TRUST_CODE = "HEED_TRUST_CODE"
"""The variable of the environment that is 1 where code out of a run may be used: --trust-code, in every process of the
command."""

Hash = list[Any]
"""[bytes, SHA-256 of the first so many bytes]."""


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write a file whole or not at all, and keep its hash. Raises `OSError`, and `CheckpointError` for bad hashes."""
    path = Path(path)
    _note(path.parent, {path.name: content})
    files.write_bytes(path, content)


def write_text(path: str | Path, text: str) -> None:
    """Write a text in UTF-8 whole or not at all, and keep its hash."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: str | Path, content: Any) -> None:
    """Write JSON that a person can read, whole or not at all, and keep its hash. Raises `ValueError` for NaN."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def seal(folder: str | Path, names: Iterable[str]) -> None:
    """Keep the hashes of files as they are now, for those that another writer has written."""
    there = [path for name in names if (path := Path(folder, name)).is_file()]
    for path in there:
        files.sync(path)  # the hash must not outlive what it is of
    if there:
        _note(Path(folder), {path.name: path.read_bytes() for path in there})


def read_bytes(path: str | Path) -> bytes:
    """Return the content of a file as heed wrote it.

    Raises `OSError` as `Path.read_bytes` does, and `CheckpointError` where it is not what heed wrote.
    """
    path = Path(path)
    content = path.read_bytes()
    if (known := _read(path.parent).get(path.name)) and not _fits(path.name, content, known):
        raise CheckpointError(
            f"{path} is not as heed wrote it (its SHA-256 differs): bring it back, or delete {SEALS} beside it to take "
            "it as it is"
        )
    return content


def knows(path: str | Path) -> bool:
    """Whether a file has a hash. Raises `CheckpointError` where the hashes are damaged."""
    return Path(path).name in _read(Path(path).parent)


def read_text(path: str | Path) -> str:
    """Return a text in UTF-8 as heed wrote it; raises what `read_bytes` raises, and `UnicodeDecodeError`."""
    return read_bytes(path).decode("utf-8")


def read_json(path: str | Path) -> Any:
    """Return JSON as heed wrote it; raises what `read_bytes` raises, and `ValueError` where it is no JSON."""
    try:
        return json.loads(read_bytes(path))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def altered(folder: str | Path) -> dict[str, str | None]:
    """Hold every file that has a hash against it: what is wrong with each, None where it is as heed wrote it.

    A file that is gone is not among them: its hash was noted before it was written, and stays when it is deleted.
    Raises `CheckpointError` where the hashes themselves are damaged.
    """
    found: dict[str, str | None] = {}
    for name in _read(Path(folder)):
        try:
            read_bytes(Path(folder, name))
            found[name] = None
        except FileNotFoundError:
            continue
        except CheckpointError:
            found[name] = "is not as heed wrote it (its SHA-256 differs)"
        except OSError as error:
            found[name] = f"cannot be read: {why(error)}"
    return found


def _note(folder: Path, contents: dict[str, bytes]) -> None:
    """Keep the hashes of what files are about to hold, beside those of what they hold now."""
    path = folder / SEALS
    with files.aside(path) as other:  # two processes take turns
        known = _read(folder)
        for name, content in contents.items():
            new, kept = _hash(content), list(known.get(name, []))
            if (folder / name).is_file():
                now = (folder / name).read_bytes()
                kept = [one for one in kept if _fits(name, now, [one])] if kept else [_hash(now)]
            known[name] = [new] if name in GROWING else [*[one for one in kept if one != new][-1:], new]
        text = json.dumps(known | {SELF: _hash_all(known)}, indent=1)
        other.write_bytes((text + "\n").encode("utf-8"))


def _read(folder: Path) -> dict[str, list[Hash]]:
    """Return the hashes that are known in a folder. Raises `CheckpointError` where they are damaged."""
    path = folder / SEALS
    try:
        known = json.loads(path.read_bytes())
        if known.pop(SELF) == _hash_all(known):
            return known
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {why(error)}; bring it back, or delete it") from error
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        pass
    raise CheckpointError(f"{path} is damaged: bring it back, or delete it to take the files beside it as they are")


def _fits(name: str, content: bytes, known: list[Hash]) -> bool:
    return any(
        hashlib.sha256(content[:size]).hexdigest() == digest and (len(content) == size or name in GROWING)
        for size, digest in known
    )


def _hash(content: bytes) -> Hash:
    return [len(content), hashlib.sha256(content).hexdigest()]


def _hash_all(known: dict[str, list[Hash]]) -> str:
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()
