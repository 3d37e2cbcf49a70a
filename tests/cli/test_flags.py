"""Flags are read the same whether or not the groups of settings that no word names are shown to tyro."""

import importlib

import pytest

from heed.cli import settings
from heed.cli.settings import parse, taken
from heed.errors import ConfigError

CASES = [
    ("train", "book.txt"),
    ("train", "train.txt --run-nothing"),
    ("train", "book.txt --on slurm --slurm.nodes 2 --slurm.time 3:00:00 --dry-run"),
    ("train", "book.txt --slurm.nodez 2"),
    ("train", "book.txt --slurm.nodes two"),
    ("train", "book.txt --slurm"),
    ("train", "book.txt --config"),
    ("train", "--help"),
    ("compare", "study.yaml --jobs 2 --no-dry-run"),
    ("compare", "study.yaml --slurm.gpus 1"),
    ("tune", "films.csv --methods head,lora --seeds 2"),
    ("tune", "films.csv --sedes 2"),
    ("sample", "runs/a --prompt x"),
]


def answer(verb, words, capsys):
    """What is read, or why not, and what is printed."""
    found = taken(importlib.import_module(f"heed.cli.{verb}").main)
    try:
        read = parse(found.flags, words, verb, found.sections, found.config).model_dump()
    except ConfigError as error:
        read = str(error)
    except SystemExit as end:
        read = end.code
    return read, capsys.readouterr().out


@pytest.mark.parametrize(("verb", "line"), CASES)
def test_what_is_not_named_need_not_be_shown(verb, line, capsys, monkeypatch):
    short = answer(verb, line.split(), capsys)
    with monkeypatch.context() as whole:
        whole.setattr(settings, "_unasked", lambda flags, argv: ())
        assert answer(verb, line.split(), capsys) == short
