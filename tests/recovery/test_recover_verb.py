"""`heed recover` over HTTP, against a server that shows little, fails at times and may change."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time

import numpy as np
import pytest

from forked import heed_process
from heed.cli import main
from heed.recovery.anchor import anchor_calls
from heed.report.recovery_record import read_recovery
from recovery.restricted_server import RestrictedServer, serving
from recovery.simulated_api import SimulatedApi, log_softmax, some_logits

pytest.importorskip("openai")


def recover(server: RestrictedServer, folder, *more: str, vocabulary: int | None = None) -> int:
    vocabulary = vocabulary or len(server.api.logits)
    argv = ["recover", "Once", "--api", server.url, "--model", "m", "--vocab-size", str(vocabulary)]
    return main([*argv, "--out", str(folder), *more])


def error_line(capsys) -> str:
    return capsys.readouterr().err.strip().splitlines()[-1]


def test_every_token_by_formula(tmp_path, capsys):
    with serving(SimulatedApi(some_logits(300), dtype=np.float32), most=2) as server:
        assert recover(server, tmp_path, "--json") == 0
        calls = server.calls
    shown = capsys.readouterr()
    result = json.loads(shown.out)
    assert "298 calls" not in shown.err
    assert "anchor takes 299 calls, besides 3 controls" in shown.err
    assert result["formula"] == anchor_calls(300, 2) == 299  # V - 1
    assert calls == 299 + 1 + result["controls"]
    assert result["asked"] == 300
    assert result["spent"]["calls"] == calls + 2  # two refusals until the API agrees to show two
    record, tokens = read_recovery(tmp_path)
    truth = log_softmax(some_logits(300).astype(np.float64))
    assert np.abs(tokens.log_p - truth).max() <= 1e-5
    assert np.all(np.abs(tokens.log_p - truth) <= tokens.error)
    assert list(tokens.names[:2]) == ["t0", "t1"]
    assert record.unseen == []
    lines = [json.loads(line) for line in (tmp_path / "distribution.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines] == list(range(300))
    assert [line["log_p"] for line in lines] == tokens.log_p.tolist()
    with np.load(tmp_path / "distribution.npz", allow_pickle=False) as arrays:
        assert set(arrays.files) == {"id", "token", "log_p", "error"}
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "All 300 tokens were read in" in page


def test_one_call_in_ten_fails(tmp_path):
    with serving(SimulatedApi(some_logits(200), top=5, dtype=np.float32), most=5, failing=0.1) as server:
        assert recover(server, tmp_path) == 0
        assert server.failures > 2
    _, tokens = read_recovery(tmp_path)
    assert np.abs(tokens.log_p - log_softmax(some_logits(200).astype(np.float64))).max() <= 1e-5


def test_a_second_time_costs_nothing(tmp_path):
    with serving(SimulatedApi(some_logits(100), top=5), most=5) as server:
        assert recover(server, tmp_path) == 0
        calls, first = server.calls, (tmp_path / "distribution.npz").read_bytes()
        assert recover(server, tmp_path) == 0
        assert server.calls == calls
        assert (tmp_path / "distribution.npz").read_bytes() == first


def test_a_model_that_changes_is_one_line_and_no_result(tmp_path, capsys):
    api = SimulatedApi(some_logits(300), later=some_logits(300, 1), changes_at=150)
    with serving(api, most=2) as server:
        assert recover(server, tmp_path) == 2
    assert "the model behind the API has changed" in error_line(capsys)
    assert not (tmp_path / "recovery.json").exists()


def test_what_was_never_seen_is_said(tmp_path, capsys):
    fixed = frozenset([0, 1, 2])
    with serving(SimulatedApi(some_logits(100), top=5, fixed=fixed), most=5) as server:
        assert recover(server, tmp_path) == 1
    assert "never seen: 3 tokens, 0, 1, 2" in capsys.readouterr().out
    record, _ = read_recovery(tmp_path)
    assert record.unseen == [0, 1, 2]
    assert record.unseen_mass == pytest.approx(
        np.exp(log_softmax(some_logits(100).astype(np.float64)))[:3].sum(), abs=1e-6
    )
    assert "Never seen" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_no_probabilities_at_all(tmp_path, capsys):
    with serving(SimulatedApi(some_logits(40), mode="nothing"), most=0) as server:
        assert recover(server, tmp_path, "--accuracy", "0.1") == 0
    assert "no probabilities: bisection takes" in capsys.readouterr().err
    _, tokens = read_recovery(tmp_path)
    assert np.all(np.abs(tokens.log_p - log_softmax(some_logits(40).astype(np.float64))) <= tokens.error)


def test_a_budget_that_does_not_reach_is_refused_before_it_is_spent(tmp_path, capsys):
    with serving(SimulatedApi(some_logits(300)), most=2) as server:
        assert recover(server, tmp_path, "--budget", "100 calls") == 2
        assert server.calls == 3  # the probe
    assert "the budget of 100 calls is less than the" in error_line(capsys)


def test_a_dry_run_asks_nothing(tmp_path, capsys):
    with serving(SimulatedApi(some_logits(300)), most=2) as server:
        prices = ["--prices", "1.5", "2"]
        assert recover(server, tmp_path / "new", "--dry-run", "--top", "2", *prices) == 0
        assert server.calls == 0
    shown = capsys.readouterr().out
    assert "  anchor              305 calls" in shown  # 299, a probe of 3 and 3 controls
    assert "$" in shown
    assert not (tmp_path / "new").exists()


def test_another_machine_needs_a_budget(tmp_path, capsys):
    argv = ["recover", "Once", "--api", "https://api.example.org/v1", "--model", "m", "--vocab-size", "10"]
    assert main([*argv, "--out", str(tmp_path)]) == 2
    assert "--budget" in error_line(capsys)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--method", "low-rank"], "needs the output matrix"),
        (["--matrix", "nowhere"], "for --method low-rank"),
        (["--top", "9"], "logprobs must be at most 2"),
        (["--methd", "anchor"], "did you mean '--method'"),
    ],
)
def test_mistakes_are_one_line(tmp_path, capsys, flags, said):
    with serving(SimulatedApi(some_logits(50)), most=2) as server:
        assert recover(server, tmp_path, *flags) == 2
    assert said in error_line(capsys)


def test_a_folder_of_something_else_is_left_alone(tmp_path, capsys):
    (tmp_path / "config.yaml").write_text("model: {}\n")
    with serving(SimulatedApi(some_logits(50)), most=2) as server:
        assert recover(server, tmp_path) == 2
        assert "holds other things (config.yaml)" in error_line(capsys)
        assert recover(server, tmp_path / "a") == 0
        argv = ["--api", server.url, "--model", "m", "--vocab-size", "50", "--out", str(tmp_path / "a")]
        assert main(["recover", "Twice", *argv]) == 2
        assert "of another prompt or model" in error_line(capsys)
        assert main(["recover", "--hidden-size", "5", *argv]) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "config.yaml"]


def test_a_server_that_is_down_is_one_line(tmp_path, capsys):
    argv = ["recover", "Once", "--api", "http://127.0.0.1:9/v1", "--model", "m", "--vocab-size", "10"]
    assert main([*argv, "--out", str(tmp_path)]) == 2
    assert "does not answer" in error_line(capsys)


def test_tokens_that_are_written_as_text_need_a_tokenizer(tmp_path, capsys):
    with serving(SimulatedApi(some_logits(50)), most=2, ids=False) as server:
        assert recover(server, tmp_path) == 2
    assert "--tokenizer" in error_line(capsys)


def test_the_vocabulary_must_be_known(tmp_path, capsys):
    assert main(["recover", "Once", "--api", "http://127.0.0.1:9/v1", "--model", "m"]) == 2
    assert "--vocab-size" in error_line(capsys)


@pytest.mark.skipif(os.name == "nt", reason="kill -9 is of POSIX")
def test_killed_and_given_again_it_goes_on(tmp_path):
    class Slow(SimulatedApi):
        def answer(self, question):
            time.sleep(0.01)
            return super().answer(question)

    with serving(Slow(some_logits(400), top=2, dtype=np.float32), most=2) as server:
        argv = ["recover", "Once", "--api", server.url, "--model", "m", "--vocab-size", "400", "--out", str(tmp_path)]
        process = heed_process(*argv, stderr=subprocess.PIPE)
        while server.calls < 150 and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        before = server.calls
        assert 150 <= before < 300
        assert not (tmp_path / "recovery.json").exists()
        assert main(argv) == 0
        assert server.calls <= 400 + 5 + 8 + 1  # all that a whole one takes, and what was under way
    _, tokens = read_recovery(tmp_path)
    assert np.abs(tokens.log_p - log_softmax(some_logits(400).astype(np.float64))).max() <= 1e-5


@pytest.mark.parametrize("mode", ["biased", "raw"])
def test_strings_are_told_apart_by_a_tokenizer(tmp_path, mode):
    """Without ids a string may be several tokens: of those that one bias is on, it is that; else it is none."""
    from heed.api import open_api
    from heed.recovery.api_oracle import ApiOracle, agree
    from heed.recovery.methods import RecoveryWish
    from heed.recovery.methods import recover as read_all
    from heed.recovery.token_names import TokenNames

    pieces = [f"t{token}".encode() for token in range(60)]
    pieces[20], pieces[45] = b"\xe2", b"\xe3"  # both are written as U+FFFD
    pieces[30] = b"t31"

    api = SimulatedApi(some_logits(60), top=3, mode=mode, dtype=np.float32)
    with serving(api, most=3, ids=False) as server:
        server.name = lambda token: pieces[token].decode("utf-8", errors="replace")
        caller = open_api(server.url, "m", answers=tmp_path / "a.jsonl")
        oracle = ApiOracle(caller, "Once", TokenNames(pieces))
        agree(oracle, None)
        _, found = read_all(oracle, api.limits, RecoveryWish())
        caller.close()
    seen = found.seen
    assert seen.sum() >= 58
    assert np.abs(found.log_p - api.log_p)[seen].max() <= 1e-5
    assert np.all(np.abs(found.log_p - api.log_p)[seen] <= found.error[seen])
