"""A verb in this process, and a folder whose name has blanks in it, in which text lies."""

import random
from types import SimpleNamespace

import pytest

from heed.cli import main


@pytest.fixture
def heed(capsys):
    """Run a verb: `heed("jobs")` gives code, out and err."""

    def run(*argv: object) -> SimpleNamespace:
        capsys.readouterr()
        code = main([str(word) for word in argv])
        captured = capsys.readouterr()
        return SimpleNamespace(code=code, out=captured.out, err=captured.err)

    return run


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The folder that the verbs run in."""
    folder = tmp_path / "my work"
    folder.mkdir()
    draw = random.Random(0)
    words = ["the cat", "a dog", "my heron", "one fox", "sees", "hears", "follows", "dreams of"]
    lines = [" ".join(draw.choices(words, k=3)) for _ in range(400)]
    (folder / "ani mals.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    monkeypatch.chdir(folder)
    return folder
