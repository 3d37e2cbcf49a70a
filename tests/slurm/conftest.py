"""A verb in this process, and a folder whose name has blanks in it, in which text lies."""

from types import SimpleNamespace

import pytest
from slurm_flags import write_animals

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
    write_animals(folder)
    monkeypatch.chdir(folder)
    return folder
