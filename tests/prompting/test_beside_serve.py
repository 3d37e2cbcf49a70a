"""`heed prompt` against `heed serve`: the same items, word for word, as without HTTP."""

import json
import os
import subprocess
import sys

import pytest

from heed.cli import main
from heed.prompting.record import read_prompt
from prompting.conftest import write_reviews, write_task

pytest.importorskip("heed.serving")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def url(run):
    """The address of a server in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "heed", "serve", str(run), "--port", "0", "--device", "cpu"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("serving mood at http://127.0.0.1:"), line
        yield line.split()[3].rstrip("/")
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("how", [["text"], ["first-token"], ["logprob", "--calibrate"], ["logprob-per-token"]])
def test_items_are_the_same(capsys, tmp_path, run, url, how):
    task = write_task(tmp_path / "mood.yaml", write_reviews(tmp_path / "reviews.csv"))
    common = ["prompt", str(task), "--by", *how, "--items", "20", "--draws", "2", "--json"]
    assert main([*common, "--run", str(run), "--device", "cpu", "--out", str(tmp_path / "here")]) == 0
    assert main([*common, "--api", url, "--model", "mood", "--out", str(tmp_path / "there")]) == 0
    one, other = (read_prompt(tmp_path / name).rows for name in ("here", "there"))
    assert len(one) == len(other) == 40
    for a, b in zip(one, other, strict=True):
        assert a | {"scores": None, "probabilities": None} == b | {"scores": None, "probabilities": None}
        for name in ("scores", "probabilities"):  # requests that are decoded together differ by rounding
            assert a[name] == (None if b[name] is None else pytest.approx(b[name], abs=1e-4))


def test_a_wrong_model_and_a_prompt_that_is_too_long(capsys, tmp_path, url):
    task = write_task(tmp_path / "mood.yaml", write_reviews(tmp_path / "reviews.csv"))
    common = ["prompt", str(task), "--api", url, "--items", "4"]
    assert main([*common, "--model", "mod", "--out", str(tmp_path / "a")]) == 2
    assert "there is no model 'mod', did you mean 'mood'?" in capsys.readouterr().err
    assert main([*common, "--model", "mood", "--shots", "20", "--out", str(tmp_path / "b")]) == 2
    assert "every item is refused" in capsys.readouterr().err
    assert json.loads((tmp_path / "b" / "prompt.json").read_text())["state"] == "asking"
