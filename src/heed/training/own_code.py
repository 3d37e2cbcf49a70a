"""The code of a user's own mechanism or score: a run keeps the file that it was trained with.

    runs/NAME/code/my_module.py            a copy; its SHA-256 and whose it is stand in environment.json

When the run is opened again, the installed module is used where its file is the same. Where it is another one by now,
or is gone, the copy can be used instead, which is only done when that was asked for (`heed VERB ... --trust-code`): it
is code, and a run may come from anybody.
"""

from __future__ import annotations

import importlib.util
import inspect
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from heed import files
from heed.attention import MECHANISMS, SCORES, find_mechanism
from heed.attention.held import HELD, holding
from heed.attention.imported import load_object
from heed.config import ModelConfig
from heed.errors import CheckpointError, ConfigError, one_line
from heed.records.folder import CODE
from heed.seals import TRUST_CODE


def own_code(model: ModelConfig) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return what environment.json says of code that is not heed's, and the files by their names in the run.

    What has no file, as something that was typed into a shell, is not among them.
    """
    facts: dict[str, Any] = {}
    copies: dict[str, bytes] = {}
    for name in _foreign(model):
        found = _installed(name, model)
        path = _file_of(found)
        if path is None:
            continue
        content = path.read_bytes()
        facts[name] = {
            "module": found.__module__,
            "object": found.__qualname__,
            "sha256": files.sha256(path),
        }
        copies[f"{found.__module__}.py"] = content
    return ({"code": facts} if facts else {}), copies


def keep_code(folder: Path, copies: Mapping[str, bytes]) -> None:
    """Write the files of `own_code` into the folder of a run."""
    for name, content in copies.items():
        files.make_folder(folder / CODE)
        files.write_bytes(folder / CODE / name, content)


@contextmanager
def code_of(run: Path, noted: Any, model: ModelConfig) -> Iterator[None]:
    """Build the model of a run with the code that it was trained with; `noted` is what its environment.json says.

    Raises `CheckpointError` where the installed one is another by now, or is gone, and the copy of the run may not be
    used, has been altered, or does not work.
    """
    held: dict[str, Any] = {}
    for name, entry in (noted if isinstance(noted, Mapping) else {}).items():
        try:
            module, said, hashed = str(entry["module"]), str(entry["object"]), str(entry["sha256"])
        except (TypeError, KeyError):
            raise CheckpointError(f"{run}: environment.json is damaged where it names {name!r}") from None
        if name not in _foreign(model):
            continue
        state = _state(name, model, hashed)
        if state is None:
            continue
        copy = run / CODE / f"{module}.py"
        if not all(part.isidentifier() for part in module.split(".")):
            raise CheckpointError(f"{run}: environment.json is damaged where it names {name!r}")
        if os.environ.get(TRUST_CODE) != "1":
            raise CheckpointError(
                f"{run} was trained with {name}, which {state}: bring it back, or read {copy} and add "
                "--trust-code to use that"
            )
        held[name] = _load(copy, said, hashed)
    with holding({**HELD.get(), **held}):  # within another one of the same run, which has them already
        yield


def _foreign(model: ModelConfig) -> list[str]:
    """Return the names of mechanism and score that are not heed's."""
    attention = model.attention
    return [name for name, own in ((attention.mechanism, MECHANISMS), (attention.score, SCORES)) if name not in own]


def _installed(name: str, model: ModelConfig) -> Any:
    if name == model.attention.mechanism:
        return find_mechanism(name)
    return load_object(name, "model.attention.score", "package.module:function")


def _file_of(found: Any) -> Path | None:
    """Return the file that holds a class or function."""
    try:
        path = inspect.getsourcefile(inspect.unwrap(found))
    except TypeError:
        return None
    return Path(path) if path is not None and Path(path).is_file() else None


def _state(name: str, model: ModelConfig, hashed: str) -> str | None:
    """Return what is wrong with the installed code, None where it is that of the run."""
    try:
        path = _file_of(_installed(name, model))
    except ConfigError:
        return "cannot be imported here"
    if path is None:
        return "has no file here"
    return None if files.sha256(path) == hashed else f"is another one by now ({path})"


def _load(copy: Path, said: str, hashed: str) -> Any:
    """Return a class or function out of the copy of a run."""
    if not copy.is_file() or files.sha256(copy) != hashed:
        raise CheckpointError(f"{copy} is not there, or not as heed wrote it: bring it back, it is part of the run")
    name = f"heed_run_code_{hashed[:16]}"
    spec = importlib.util.spec_from_file_location(name, copy)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
        found: Any = module
        for part in said.split("."):
            found = getattr(found, part)
    except (Exception, SystemExit) as error:  # it is somebody's code, which may raise anything
        del sys.modules[name]
        raise CheckpointError(
            f"{copy} does not work by itself: {type(error).__name__}: {one_line(error, 300)}"
        ) from error
    return found
