"""Code of the user's own, by its place: `package.module:name`."""

from __future__ import annotations

import importlib
import os
import sys

from heed.errors import ConfigError


def load_object(path: str, who: str, form: str) -> object:
    """Return what is at `path`, of this `form`, importable from here or the current folder.

    `who` begins the message of the `ConfigError` where it cannot be imported or is not there.
    """
    module_name, _, attribute = path.partition(":")
    if not all(part.isidentifier() for part in (*module_name.split("."), attribute)):
        raise ConfigError(f"{who}: {path!r} is not of the form {form}")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # behind everything else: a file here must not hide an installed package
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # importing runs somebody's code, which may raise anything
        reason = " ".join(str(error).split())
        raise ConfigError(f"{who}: cannot import {module_name}: {type(error).__name__}: {reason}") from error
    found = getattr(module, attribute, None)
    if found is None:
        raise ConfigError(f"{who}: {module_name} has no {attribute!r}")
    return found
