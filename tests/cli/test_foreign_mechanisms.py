"""A mechanism of somebody else's that does not work: one line before there is a run folder, whatever it does."""

import pytest

from heed.cli import main

BROKEN = """
from dataclasses import replace
import torch
from heed.attention import Mechanism, Softmax

class Unbuildable(Mechanism):
    facts = Softmax.facts
    def __init__(self, shape, **common):
        super().__init__(shape, **common)
        raise KeyError("width")

class Raises(Mechanism):
    facts = Softmax.facts
    def forward(self, q, k, v, mask, bias=None):
        raise ValueError("no luck")

class NotANumber(Mechanism):
    facts = Softmax.facts
    def forward(self, q, k, v, mask, bias=None):
        return q * torch.nan
"""


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Unbuildable", "attention 'somebodys:Unbuildable' cannot be built: KeyError: 'width'"),
        ("Raises", "the audit for leaks could not tell"),
        ("NotANumber", "the audit for leaks could not tell"),
    ],
)
def test_a_broken_mechanism_is_one_line_and_leaves_no_run(name, message, tmp_path, monkeypatch, capsys):
    (tmp_path / "somebodys.py").write_text(BROKEN)
    (tmp_path / "text.txt").write_text("the cat sat on the mat. " * 100)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    small = "--tokenizer.kind char --model.n-layers 1 --model.d-model 16 --model.n-heads 2 --model.context 16"
    code = main(["train", "text.txt", *small.split(), "--model.attention.mechanism", f"somebodys:{name}"])
    assert code == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("heed: ")
    assert message in last
    assert not list(tmp_path.glob("runs/*/config.yaml"))
