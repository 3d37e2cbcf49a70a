"""The page of a recovered distribution says what the record says."""

from __future__ import annotations

import numpy as np
import pytest

from heed.cli import main
from heed.errors import CheckpointError
from heed.records.recovery import RecoveryFile, TruthCheck
from heed.recovery.readings import Distribution
from heed.recovery.recovery_folder import truth_check, write_recovery_files
from heed.report.recovery_page import error_figure, rank_figure, render, verdict
from heed.report.recovery_record import read_recovery

TRUTH = np.log(np.array([0.5, 0.25, 0.125, 0.0625, 0.0625]))


def record(**values) -> RecoveryFile:
    usual = {
        "prompt": "Once <b>", "model": "m", "vocabulary": 5, "method": "anchor", "shows": "biased", "top": 2,
        "bias": 100.0, "resolution": "float32", "formula": 4, "asked": 5, "controls": 1, "wanted": 5, "seen": 5,
        "seen_mass": 1.0, "seen_mass_error": 1e-6, "unseen_mass": 0.0, "error_worst": 2e-6, "command": ["heed", "a b"],
    }  # fmt: skip
    return RecoveryFile.model_validate({**usual, **values})


def written(folder, off: float = 0.0, bar: float = 1e-6, **values):
    log_p = TRUTH + off
    found = Distribution("anchor", log_p, np.full(5, bar))
    truth = truth_check(found, TRUTH, "mine")
    names = ["\n", " the", "<script>", "a\0", "b"]
    write_recovery_files(folder, record(truth=truth, **values), found, names, TRUTH)
    return read_recovery(folder)


def test_what_is_written_is_read(tmp_path):
    found, tokens = written(tmp_path)
    assert found.truth is not None
    assert (found.truth.worst, found.truth.outside) == (0.0, 0)
    assert np.array_equal(tokens.log_p, TRUTH)
    assert tokens.order.tolist() == [0, 1, 2, 3, 4]
    assert tokens.names[3] == "a\u2400"


def test_the_page_escapes_what_comes_from_outside_and_is_equal_for_equal_records(tmp_path):
    pair = written(tmp_path)
    page = render(*pair)
    assert page == render(*pair)
    assert "<script>'" not in page
    assert "Once &lt;b&gt;" in page
    assert "&#39;&lt;script&gt;&#39;" in page
    assert "heed &#39;a b&#39;" in page
    assert main(["report", str(tmp_path)]) == 0
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == page


def test_figures_say_the_finding(tmp_path):
    pair = written(tmp_path)
    rank, error = rank_figure(*pair), error_figure(*pair)
    assert rank is not None
    assert error is not None
    assert rank.title == "Half of the probability lies in one token"
    assert [line.label for line in rank.lines] == ["recovered", "truth"]
    assert list(rank.lines[0].y) == pytest.approx(np.exp(TRUTH))
    assert error.title == "No difference is larger than its error bar"


def test_a_truth_of_another_model_is_a_warning(tmp_path):
    pair = written(tmp_path, off=0.01)
    assert pair[0].truth is not None
    assert pair[0].truth.outside == 5
    assert "5 tokens are further from mine than their error bars" in render(*pair)


def test_verdicts():
    assert verdict(record()) == "All 5 tokens were read in 6 calls, each log-probability within 2e-6 nats."
    assert verdict(record(method="low-rank")).startswith("All 5 tokens are known after 6 calls")
    partly = record(seen=4, unseen=[2], unseen_mass=0.125)
    assert verdict(partly).startswith("4 of 5 tokens were read in 6 calls")
    assert verdict(partly).endswith("the others have 12 % of the probability.")
    few = record(method="nucleus", seen=2, seen_mass=0.75)
    assert verdict(few).startswith("The 2 likeliest tokens have 75 % of the probability, read in 6 calls")


def test_a_damaged_distribution_is_one_line(tmp_path, capsys):
    written(tmp_path)
    (tmp_path / "distribution.npz").write_bytes(b"no zip")
    with pytest.raises(CheckpointError):
        read_recovery(tmp_path)
    assert main(["report", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_truth_check_counts_what_is_outside_its_bar():
    found = Distribution("anchor", TRUTH + np.array([0, 0.1, 0, 0, 0]), np.full(5, 0.05))
    check = truth_check(found, TRUTH, "a")
    assert isinstance(check, TruthCheck)
    assert (check.worst, check.outside) == (pytest.approx(0.1), 1)
