"""A tiny trained run that the tests of the command line share."""

import random
import re
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from heed.cli import main

TINY = [
    "--model.n-layers", "1", "--model.n-heads", "2", "--model.d-model", "16", "--model.context", "16",
    "--train.steps", "6", "--train.batch-size", "4", "--train.warmup-steps", "1", "--train.eval-every", "3",
    "--train.checkpoint-every", "2", "--data.workers", "1",
]  # fmt: skip
"""Flags of a run that takes a second."""


SEVERAL = ("--prompt", "--stop")
"""Options that may be given several times."""


def settled(argv: Sequence[object]) -> list[str]:
    """Return a command line in which an option stands in the place of an earlier one, which heed itself refuses.

    So a test can change what `TINY` has.
    """
    words: list[list[str]] = []  # an option and its values, or a word by itself
    for word in map(str, argv):
        if re.match("--[a-z]", word):
            words = [other for other in words if other[0] != word or word in SEVERAL]
            words.append([word])
        elif words and words[-1][0].startswith("--") and len(words[-1]) == 1:
            words[-1].append(word)
        else:
            words.append([word])
    return [word for some in words for word in some]


def write_text(path: Path, sentences: int = 400, seed: int = 0) -> Path:
    """Write sentences of a toy grammar, a document a line end apart."""
    draw = random.Random(seed)
    nouns, verbs = ["the cat", "a dog", "my heron", "one fox"], ["sees", "hears", "follows", "dreams of"]
    lines = [f"{draw.choice(nouns)} {draw.choice(verbs)} {draw.choice(nouns)}." for _ in range(sentences)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def text(tmp_path_factory) -> Path:
    return write_text(tmp_path_factory.mktemp("text") / "animals.txt")


@pytest.fixture(scope="session")
def trained(tmp_path_factory, text) -> Path:
    """A run folder with checkpoints at steps 4 and 6 (and the best), character tokenizer."""
    runs = tmp_path_factory.mktemp("runs")
    argv = ["train", str(text), *TINY, "--tokenizer.kind", "char", "--run.folder", str(runs), "--run.name", "tiny"]
    assert main(argv) == 0
    return runs / "tiny"


@pytest.fixture
def heed(capsys):
    """Run a verb: `heed("sample", ...)` gives code, out and err."""

    def run(*argv: object) -> SimpleNamespace:
        capsys.readouterr()
        code = main(settled(argv))
        captured = capsys.readouterr()
        return SimpleNamespace(code=code, out=captured.out, err=captured.err)

    return run
