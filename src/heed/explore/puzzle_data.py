"""The puzzles as a module of the page: what is given, and the judge that checks an answer, by its fields.

The page checks answers itself, without Python, so it gets the fields of each judge of `judges.py`. The file is
in the package, since writing it needs torch, which reading the page does not: `python docs/generate.py` writes it.
"""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import numpy as np

from heed.explore.generators import KINDS, generate
from heed.explore.judges import Judge
from heed.explore.puzzle import Puzzle
from heed.explore.puzzles import puzzles

SEEDS = 8
"""Generated puzzles of each kind."""
DUST = 1e-12
"""What is nearer to 0 is what rounding left of it, other digits on each processor: numbers of a puzzle are about 1."""


def puzzle_data() -> list[dict[str, Any]]:
    """Return the puzzles of the page as plain data: those of the assignments, then generated ones."""
    every = [*puzzles().values(), *(generate(kind, seed) for kind in KINDS for seed in range(SEEDS))]
    return [_plain_puzzle(puzzle) for puzzle in every]


def puzzle_module() -> str:
    """Return the module `puzzle_data.js`, a puzzle a line."""
    lines = ",\n".join(json.dumps(puzzle, ensure_ascii=False, separators=(",", ":")) for puzzle in puzzle_data())
    return f"// Written by docs/generate.py from heed's explore/puzzles.py.\nexport const PUZZLES = [\n{lines},\n];\n"


def _plain_puzzle(puzzle: Puzzle) -> dict[str, Any]:
    proof = puzzle.certificate
    return {
        "id": puzzle.id,
        "text": puzzle.text,
        "kind": puzzle.kind,
        "given": _plain(puzzle.given),
        "shape": list(puzzle.shape),
        "answer": _plain(puzzle.answer),
        "certificate": None if proof is None else {"outside": _plain(proof.outside), "inside": _plain(proof.inside)},
        "hint": puzzle.hint,
        "judge": _plain_judge(puzzle.judge),
    }


def _plain_judge(judge: Judge) -> dict[str, Any]:
    return {"kind": judge.kind, **{field.name: _plain(getattr(judge, field.name)) for field in fields(judge)}}


def _plain(value: Any) -> Any:
    """Return arrays as lists, and numbers to ten digits: the rest, or what is left of a 0, differs between machines."""
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, dict):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, float):
        value = 0.0 if abs(value) < DUST else float(f"{value:.10g}")
        return int(value) if value.is_integer() else value
    return value
