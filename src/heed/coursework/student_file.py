"""A student's file: read without the folder around it, so that nothing else in there is ever run."""

from __future__ import annotations

import ast
import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType

NAME = "heed_student_file"
"""Of the module: no file of a folder hides or is hidden by it."""
DOES_IT = {
    "heed": "heed, whose own parts it is held against",
    "scaled_dot_product_attention": "torch's own attention",
    "multi_head_attention_forward": "torch's own attention",
    "MultiheadAttention": "torch's own attention",
    "layer_norm": "torch's own normalisation",
    "LayerNorm": "torch's own normalisation",
    "rms_norm": "torch's own normalisation",
    "RMSNorm": "torch's own normalisation",
    "peft": "peft, which has LoRA",
    "tokenizers": "tokenizers, which has BPE",
    "tiktoken": "tiktoken, which has BPE",
}
"""Names that do an exercise instead of the student, and what each is."""


def loaded(file: Path) -> ModuleType:
    """Run a file as a module and return it; its folder is no place that anything is imported from.

    Whatever the file raises passes through.
    """
    spec = importlib.util.spec_from_file_location(NAME, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[NAME] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module


def helpers_in(file: Path) -> list[str]:
    """Return what a file uses that does an exercise for it, in words; nothing is run."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError, OSError, RecursionError):
        return []
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = {part for alias in node.names for part in alias.name.split(".")}
        elif isinstance(node, ast.ImportFrom):
            names = {*(node.module or "").split("."), *(alias.name for alias in node.names)}
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) != "self":
            names = {node.attr}
        else:
            continue
        found += [f"line {node.lineno} uses {DOES_IT[name]} ({name})" for name in sorted(names & DOES_IT.keys())]
    return list(dict.fromkeys(found))


def raised(error: BaseException, file: Path) -> str:
    """Return what an error says and in which line of the student's file, on one line."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
    line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else None
    text = error.msg if isinstance(error, SyntaxError) else " ".join(str(error).split())[:200]
    where = f" (line {line})" if line else ""
    return f"{type(error).__name__}{': ' if text else ''}{text}{where}"
