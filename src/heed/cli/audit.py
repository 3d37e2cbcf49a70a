"""`heed audit`: does a model see the tokens that it should predict?"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import os
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from pydantic import Field

from heed.cli.settings import AsJson, parse
from heed.config import Section
from heed.errors import CheckpointError, ConfigError, require

MARKS = {True: "ok", False: "FAILS", None: "-"}
"""How the outcome of a check is shown; -: it could not look."""


class AuditFlags(Section):
    """Audit a model for leaks: does anything earlier depend on anything later, or a row on another? Any model.

    TARGET is a run folder; package.module:name, a function f(ids (B, T)) -> logits (B, T, V), a module, or a function
    without arguments that makes one; or hf:NAME, a folder or a name on the hub (safetensors only).

    Exit code 0: causal. 1: it leaks. 2: it could not be told, and why.

    examples:
      heed audit runs/quickstart
      heed audit my_package.model:build --vocab-size 256
      heed audit hf:gpt2 --json
      heed audit --contracts my_package.my_mechanism    every contract of an attention mechanism of yours
    """

    target: Annotated[str | None, tyro.conf.Positional] = None
    """A run folder, package.module:name, or hf:NAME."""
    contracts: str | None = None
    """Instead of TARGET: package.module or package.module:Class, mechanisms that must keep their contracts."""
    vocab_size: int | None = Field(default=None, ge=2, le=1 << 40)
    """Number of tokens. Default: what the model, its config or its embedding says."""
    context: int | None = Field(default=None, ge=2)
    """Longest sequence to read. Default: the model's context, up to 512; without one, 128."""
    pairs: int | None = Field(default=None, ge=1)
    """Pairs of neighbouring tokens to try. Default: all of a vocabulary of up to 64, fewer of a large model."""
    seed: int = Field(default=0, ge=-(1 << 63), lt=1 << 63)
    """Seed of the random tokens."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "cpu"
    """auto takes cuda, then mps, then cpu."""
    json_: AsJson = False


def main(argv: list[str]) -> int:
    """Audit and print; 0 causal, 1 leaks, 2 could not tell."""
    flags = parse(AuditFlags, argv, "audit")
    if (flags.target is None) == (flags.contracts is None):
        raise ConfigError(
            "name one thing to audit: a run folder, package.module:name, hf:NAME, or --contracts MODULE, "
            "such as: heed audit runs/quickstart"
        )
    if flags.contracts is not None:
        for name in ("vocab_size", "context", "pairs", "seed", "device"):
            if getattr(flags, name) != AuditFlags.model_fields[name].default:
                flag = name.replace("_", "-")
                raise ConfigError(f"--contracts tries a mechanism by itself, without a model: take --{flag} away")
        return audit_contracts(flags.contracts, as_json=flags.json_)
    assert flags.target is not None
    with redirect_stdout(sys.stderr):  # what somebody's model prints is no part of the answer
        verdict, about = judge(flags, flags.target)
    if flags.json_:
        print(json.dumps({"target": flags.target, **about, **verdict.as_dict()}, indent=2, allow_nan=False))
    else:
        print("\n".join(lines_of(flags.target, verdict)))
    return {True: 0, False: 1, None: 2}[verdict.causal]


def judge(flags: AuditFlags, target: str) -> tuple[Any, dict[str, Any]]:
    """Return the verdict on a target, and the vocabulary and context that it was found with."""
    from torch import nn

    from heed.models.causality import audit, context_of
    from heed.training.devices import choose_device

    device = choose_device(flags.device)
    model = find_target(target)
    if isinstance(model, nn.Module):
        try:
            model = model.to(device).eval()
        except (NotImplementedError, RuntimeError) as error:  # without weights, or too large for it
            raise ConfigError(f"{target} cannot be put on {device}: {' '.join(str(error).split())[:300]}") from None
    if getattr(model, "causal", None) is False:
        raise ConfigError(f"{target} is an encoder, which sees both sides by design: there is nothing to audit")
    vocab_size = flags.vocab_size or vocabulary_of(model)
    longest = context_of(model)
    if flags.context is not None and longest is not None and flags.context > longest:
        raise ConfigError(f"--context {flags.context} is longer than the model's {longest}: take at most that")
    verdict = audit(model, vocab_size, context=flags.context, seed=flags.seed, device=device, pairs=flags.pairs)
    return verdict, {"vocab_size": vocab_size, "context": flags.context or longest}


def lines_of(target: str, verdict: Any) -> list[str]:
    """Return a verdict as people read it."""
    lines = [f"{target}: {verdict.sentence()}"]
    if verdict.causal is False:
        lines.append(
            f"  effect {verdict.effect:.3g} in the logits; noise {verdict.noise:.3g}, "
            f"threshold {verdict.threshold:.3g}; cause: {verdict.cause}"
        )
    width = max((len(check.name) for check in verdict.checks), default=0)
    return lines + [f"  {check.name:<{width}}  {MARKS[check.ok]:<5}  {check.detail}" for check in verdict.checks]


def find_target(target: str) -> Any:
    """Return the model or the function that a word names. Raises `HeedError` in one line."""
    if target.startswith("hf:"):
        return from_transformers(target)
    if os.path.isdir(target):  # False, too, for what can be no path
        from heed.training.run import load_run

        return load_run(target)[0]
    module_name, colon, attribute = target.partition(":")
    names = [*module_name.split("."), *attribute.split(".")]
    if not colon or not all(name.isidentifier() for name in names):
        raise CheckpointError(
            f"no run folder {target[:200]}; a function is written package.module:name, a model hf:NAME"
        )
    found: Any = import_module(module_name)
    for name in attribute.split("."):
        found = getattr(found, name, None)
    if not callable(found):
        raise ConfigError(f"{module_name} has no function {attribute!r}")
    return made(found, target)


def made(found: Any, target: str) -> Any:
    """Return the model itself, or what a function without required arguments (or a class) makes."""
    from torch import nn

    if isinstance(found, nn.Module):
        return found
    try:
        parameters = inspect.signature(found).parameters.values()
    except (TypeError, ValueError):
        return found  # built-in code tells nothing: it is the function itself
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    is_module = isinstance(found, type) and issubclass(found, nn.Module)
    if any(p.kind == inspect.Parameter.VAR_POSITIONAL for p in parameters) and not is_module:
        return found
    if any(p.default is inspect.Parameter.empty and p.kind in positional for p in parameters):
        if isinstance(found, type):
            raise ConfigError(f"{target} is a class whose arguments are not known: name a function that makes a model")
        return found
    try:
        model = found()
    except (Exception, SystemExit) as error:  # somebody's code may raise anything
        raise ConfigError(f"{target}() failed: {type(error).__name__}: {' '.join(str(error).split())[:300]}") from error
    if not callable(model):
        raise ConfigError(f"{target}() made a {type(model).__name__}, not a model or a function of ids")
    return model


def from_transformers(target: str) -> Any:
    """Return the causal language model of a folder or a name on the hub; no pickle, no code of others."""
    transformers = require("transformers", "hf")
    from heed.models.hub import hub_folder, refuse_shards_outside

    name = target.removeprefix("hf:")
    folder = Path(name) if os.path.isdir(name) else hub_folder(target)
    refuse_shards_outside(folder)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    try:
        return transformers.AutoModelForCausalLM.from_pretrained(
            folder, trust_remote_code=False, use_safetensors=True, local_files_only=True
        )
    except Exception as error:  # whatever transformers says of a folder that it cannot load
        raise CheckpointError(f"{target} cannot be loaded: {' '.join(str(error).split())[:300]}") from error


def vocabulary_of(model: Any) -> int:
    """Return the number of tokens that a model says, or that its first embedding holds."""
    from torch import nn

    for holder in (model, getattr(model, "config", None)):
        value = getattr(holder, "vocab_size", None)
        if isinstance(value, int) and value > 1:
            return value
    parts = model.modules() if isinstance(model, nn.Module) else ()
    for part in parts:
        if isinstance(part, nn.Embedding):
            return part.num_embeddings
    raise ConfigError("the size of the vocabulary is not known: give --vocab-size N")


def audit_contracts(name: str, *, as_json: bool) -> int:
    """Hold mechanisms to every contract and print what was found; 1 when one is broken."""
    from heed.attention.contracts import check_mechanism

    with redirect_stdout(sys.stderr):  # what somebody's code prints is no part of the answer
        found = [
            (kind.__name__, finding) for kind in mechanisms_in(name) for finding in check_mechanism(kind, kind.__name__)
        ]
    broken = sum(not finding.ok for _, finding in found)
    if as_json:
        values = [{"mechanism": who, "name": f.name, "ok": f.ok, "detail": f.detail} for who, f in found]
        print(json.dumps({"ok": not broken, "findings": values}, indent=2))
        return 1 if broken else 0
    width = max(len(finding.name) for _, finding in found)
    for who in dict.fromkeys(who for who, _ in found):
        print(who)
        for finding in (finding for other, finding in found if other == who):
            print(f"  {finding.name:<{width}}  {MARKS[finding.ok]:<5}  {finding.detail}")
    print(f"{broken} of {len(found)} contracts broken" if broken else f"all {len(found)} contracts hold")
    return 1 if broken else 0


def mechanisms_in(name: str) -> list[Any]:
    """Return the mechanism `package.module:Class`, the one of a catalogue name, or all that a module defines."""
    from heed.attention import Mechanism, catalogue, find_mechanism

    if ":" in name or name in catalogue():
        return [find_mechanism(name)]
    if "." not in name and _is_missing(name):
        return [find_mechanism(name)]  # which says what there is instead
    module = import_module(name)
    kinds = [
        kind
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, Mechanism) and kind.__module__ == module.__name__
    ]
    if not kinds:
        raise ConfigError(f"{name} defines no subclass of heed.attention.Mechanism: name one as package.module:Class")
    # through the door that training uses, which refuses what declares nothing
    bases = {base for kind in kinds for base in kind.__mro__[1:]}  # what only others build upon may declare nothing
    return [find_mechanism(f"{name}:{kind.__name__}") for kind in kinds if hasattr(kind, "facts") or kind not in bases]


def _is_missing(name: str) -> bool:
    """Whether neither the current folder nor the installed packages hold a module of this name."""
    return importlib.util.find_spec(name) is None and not os.path.exists(f"{name}.py") and not os.path.isdir(name)


def import_module(name: str) -> Any:
    """Import a module, from the current folder too."""
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # behind everything else: a file here must not hide an installed package
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:  # importing runs somebody's code, which may raise anything
        reason = " ".join(str(error).split())[:300]
        raise ConfigError(f"cannot import {name}: {type(error).__name__}: {reason}") from error
