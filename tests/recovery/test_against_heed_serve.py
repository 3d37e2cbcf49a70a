"""`heed recover` against `heed serve` that hides most of what it knows; the truth is the run itself."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from heed.cli import main
from heed.recovery.anchor import anchor_calls
from heed.recovery.forced import forced_calls
from heed.report.recovery_record import read_recovery
from recovery.conftest import PROMPT
from recovery.heed_server import served

pytestmark = pytest.mark.slow
for package in ("openai", "fastapi", "uvicorn"):
    pytest.importorskip(package)


def recover(url: str, run: Path, folder: Path, *more: str, code: int = 0) -> dict:
    argv = ["recover", PROMPT, "--api", url, "--model", run.name, "--truth", str(run), "--out", str(folder), *more]
    assert main([*argv]) == code
    return json.loads((folder / "recovery.json").read_text()) if (folder / "recovery.json").exists() else {}


@pytest.mark.parametrize("top", [2, 5, 20])
def test_every_token_of_two_thousand(small_run, tmp_path, top):
    with served(small_run, "--top-logprobs", str(top), "--logprobs", "processed") as url:
        record = recover(url, small_run, tmp_path)
    assert record["method"] == "anchor"
    assert record["vocabulary"] == record["seen"] == 2_000
    assert record["asked"] == anchor_calls(2_000, top) + 1
    assert record["truth"]["worst"] <= 1e-5
    assert record["truth"]["outside"] == 0
    assert record["resolution"] == "float32"


def test_forced_reading_of_raw_probabilities(small_run, tmp_path):
    with served(small_run, "--top-logprobs", "2") as url:
        record = recover(url, small_run, tmp_path)
    assert record["method"] == "forced"
    assert record["asked"] == forced_calls(2_000, 2) + 1
    assert record["seen"] == 2_000
    assert record["truth"]["worst"] <= 1e-5
    assert record["truth"]["outside"] == 0


@pytest.mark.parametrize("flags", [("--round-logprobs", "0.125"), ("--round-logprobs", "0.001", "--fail-rate", "0.1")])
def test_rounding_and_failures(small_run, tmp_path, flags):
    with served(small_run, "--top-logprobs", "5", "--logprobs", "processed", *flags) as url:
        record = recover(url, small_run, tmp_path)
    assert record["seen"] == 2_000
    assert record["truth"]["outside"] == 0
    assert record["resolution"] == ("1/8" if flags[1] == "0.125" else "0.001")
    assert record["error_worst"] < 1.6 * float(flags[1])


def test_a_hidden_bias_is_read_by_force(small_run, tmp_path):
    with served(small_run, "--top-logprobs", "5", "--logprobs", "processed", "--bias", "hidden") as url:
        record = recover(url, small_run, tmp_path)
    assert record["method"] == "forced"
    assert record["truth"]["worst"] <= 1e-5


def test_a_nucleus_takes_few_calls(small_run, tmp_path):
    with served(small_run, "--top-logprobs", "2", "--logprobs", "processed") as url:
        record = recover(url, small_run, tmp_path, "--method", "nucleus", "--top-p", "0.8")
    assert record["seen_mass"] >= 0.8
    assert record["asked"] <= record["seen"]
    assert record["truth"]["outside"] == 0
    _, tokens = read_recovery(tmp_path)
    best = np.argsort(-tokens.truth)[: record["seen"]]
    assert set(best.tolist()) == set(tokens.order.tolist())


def test_the_runs_own_output_matrix_saves_calls(small_run, tmp_path):
    with served(small_run, "--top-logprobs", "5", "--logprobs", "processed") as url:
        record = recover(url, small_run, tmp_path, "--method", "low-rank", "--matrix", str(small_run))
    assert record["asked"] == anchor_calls(64, 5) + 1
    assert record["seen"] == 2_000
    assert record["truth"]["outside"] == 0
    assert record["truth"]["worst"] < 1e-4
    assert record["facts"]["columns"] == 32


@pytest.mark.parametrize(("logprobs", "method"), [("processed", "low-rank"), ("raw", "auto")])
def test_only_the_taken_token_is_shown(small_run, tmp_path, logprobs, method):
    flags = ["--method", method, *(["--matrix", str(small_run), "--accuracy", "0.02"] if method == "low-rank" else [])]
    with served(small_run, "--top-logprobs", "0", "--logprobs", logprobs) as url:
        record = recover(url, small_run, tmp_path, *flags)
    assert record["top"] == 0
    assert record["method"] == {"processed": "low-rank", "raw": "forced"}[logprobs]
    assert record["seen"] == 2_000
    assert record["truth"]["outside"] == 0
    assert record["error_worst"] < (1 if logprobs == "processed" else 1e-5)
