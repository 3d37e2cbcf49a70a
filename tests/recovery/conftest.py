"""A run whose distributions are recovered."""

from pathlib import Path

import pytest

from heed.cli import main

PROMPT = "The import statement"


@pytest.fixture(scope="session")
def small_run(tmp_path_factory) -> Path:
    """A run with a vocabulary of 2,000 tokens that has learned a little."""
    folder = tmp_path_factory.mktemp("runs")
    argv = [
        "train", "python-reference", "--tokenizer.vocab-size", "2000", "--model.n-layers", "1", "--model.n-heads", "2",
        "--model.d-model", "32", "--model.context", "32", "--train.steps", "60", "--train.batch-size", "8",
        "--train.learning-rate", "0.02", "--train.warmup-steps", "2", "--train.eval-every", "60",
        "--train.checkpoint-every", "60", "--run.folder", str(folder), "--run.name", "small", "--run.threads", "1",
    ]  # fmt: skip
    assert main(argv) == 0
    return folder / "small"
