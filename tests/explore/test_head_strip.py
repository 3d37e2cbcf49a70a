"""The page of a run shows its heads on a text that it wrote; nothing else in the run folder changes."""

import copy
import re
import shutil

import pytest
import torch

from cli.conftest import TINY, write_text
from explore.small_subjects import TEXT, Squares, subject_of
from heed.attention import Shape
from heed.cli import main
from heed.errors import ConfigError
from heed.explore.exploration import PromptIds, explore
from heed.explore.head_strip import strip_of, write_run_report
from heed.explore.own_model import OwnModel


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    text = write_text(folder / "animals.txt")
    words = ["--tokenizer.kind", "char", "--run.folder", str(folder), "--run.name", "tiny"]
    assert main(["train", str(text), *TINY, *words]) == 0
    return folder / "tiny"


def test_the_page_of_a_run_shows_its_heads(run):
    page = (run / "report.html").read_text()
    assert re.findall(r'<img src="data:image/png;base64,[^"]+"[^>]* alt="Head ([\d.]+): ', page) == ["0.0", "0.1"]
    assert "heed explore tiny" in page
    assert 'type="application/json"' not in page  # small maps need no script


def test_no_file_of_the_run_is_new(run):
    plain = {path.relative_to(run): path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert main(["report", str(run)]) == 0
    after = {path.relative_to(run): path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert after == plain  # the page as well: it is the same with the model at hand and from the checkpoint


def test_a_page_without_a_whole_checkpoint_says_why_it_has_no_maps(run, tmp_path):
    other = tmp_path / "tiny"
    shutil.copytree(run, other)
    for weights in other.glob("checkpoints/*/model.safetensors"):
        weights.write_bytes(weights.read_bytes()[:-1])
    page = write_run_report(other).read_text()
    assert "Its heads are not shown: checkpoint step-00000006 cannot be used: model.safetensors is cut off" in page
    shutil.rmtree(other / "checkpoints")
    page = write_run_report(other).read_text()
    assert "tiny has no checkpoint yet" in page
    assert "<img" not in page


def test_of_many_heads_layers_are_left_out_evenly():
    subject = subject_of()
    subject.model.blocks.extend([copy.deepcopy(subject.blocks[0]) for _ in range(62)])  # type: ignore[union-attr]
    strip = strip_of(subject.model, subject.tokenizer, TEXT)
    assert strip is not None
    assert len(strip.maps) == 48
    assert {one.layer for one in strip.maps} >= {0, 63}
    assert len(strip.tokens) == len(TEXT[:48])


def test_no_strip_of_what_has_no_weights():
    subject = subject_of("encoder")
    for block in subject.blocks:
        block.attention.mechanism = Squares(Shape(16, 2, 64, causal=False))
    assert strip_of(subject.model, subject.tokenizer, TEXT) is None
    subject = OwnModel("tiny", "tiny", subject.model, subject.tokenizer)
    with pytest.raises(ConfigError, match="no weighted mean of them: there are no weights to show"):
        explore(subject, PromptIds(subject.encode(TEXT), TEXT), [0, 1], None, None)
    with pytest.raises(ConfigError, match="no attention"):
        strip_of(torch.nn.Linear(2, 2), subject.tokenizer, TEXT)  # type: ignore[arg-type]
