"""`heed prompt` from its command line to its page, over HTTP and without it."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from api.small_server import Reply, completion, serving
from forked import heed_process
from heed.cli import main
from heed.prompting.page import render
from heed.prompting.record import read_prompt
from prompting.conftest import write_reviews, write_task
from prompting.model_server import model_server


@pytest.fixture
def task(tmp_path):
    return write_task(tmp_path / "mood.yaml", write_reviews(tmp_path / "reviews.csv"))


def asked(capsys, *argv: object) -> dict:
    assert main(["prompt", *map(str, argv), "--json"]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def refused(capsys, *argv: object) -> str:
    assert main(["prompt", *map(str, argv)]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("heed: ")
    return said


HOW = [["--by", "text"], ["--by", "first-token"], ["--by", "logprob"], ["--by", "logprob-per-token", "--calibrate"]]


@pytest.mark.parametrize("how", HOW, ids=lambda how: how[1])
def test_over_http_and_without_it_the_results_are_the_same(capsys, tmp_path, task, run, how):
    common = [task, *how, "--items", "20"]
    here = asked(capsys, *common, "--run", run, "--out", tmp_path / "here", "--device", "cpu")
    with model_server(run) as served:
        api = ["--api", served.url, "--model", "mood"]
        there = asked(capsys, *common, *api, "--out", tmp_path / "there")
        calls = len(served.asked)
        again = asked(capsys, *common, *api, "--out", tmp_path / "there")
        assert len(served.asked) == calls  # every answer is kept
    assert here["unread"] < 5
    assert {k: v for k, v in here.items() if k not in ("run", "page", "spent")} == {
        k: v for k, v in there.items() if k not in ("run", "page", "spent")
    }
    assert again["accuracy"] == there["accuracy"]
    one, other = (read_prompt(tmp_path / name).rows for name in ("here", "there"))
    assert one == other
    assert (tmp_path / "there" / "report.html").is_file()


def test_without_torch_over_http(tmp_path, task):
    code = (
        "import gc, sys; from heed.cli import main; gc.set_threshold(10_000)\n"
        "code = main(sys.argv[1:]); assert code == 0, code\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)\n"
    )
    with serving(lambda path, body: Reply(completion(" good"))) as served:
        argv = [
            "prompt",
            str(task),
            "--api",
            served.url,
            "--model",
            "m",
            "--out",
            str(tmp_path / "out"),
            "--items",
            "6",
        ]
        done = subprocess.run([sys.executable, "-c", code, *argv], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_what_could_not_be_read_is_counted_and_shown(capsys, tmp_path, task):
    def answer(path: str, body: dict) -> Reply:
        return Reply(completion(" perhaps" if "fine" in body["prompt"].rsplit("Review", 1)[1] else " good"))

    with serving(answer) as served:
        api = ["--api", served.url, "--model", "m", "--out", tmp_path / "out", "--items", "30"]
        found = asked(capsys, task, *api)
        assert main(["prompt", str(task), *map(str, api)]) == 0
    rows = read_prompt(tmp_path / "out").rows
    unread = [row for row in rows if row["predicted"] is None]
    assert 0 < len(unread) == found["unread"]
    assert not any(row["right"] for row in unread)
    assert found["accuracy"] == sum(row["predicted"] == row["label"] for row in rows) / 30
    out = capsys.readouterr().out
    assert f"{len(unread)} of 30 answers could not be read, and count as wrong" in out
    assert "' perhaps'" in out
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert f"Could not be read: {len(unread)}" in page
    assert "not read (it begins with no word of a class)" in page


def test_items_that_are_refused_for_their_own_sake_do_not_stop_the_others(capsys, tmp_path, task):
    def answer(path: str, body: dict) -> Reply:
        if "dull" in body["prompt"].rsplit("Review", 1)[1]:
            return Reply({"error": {"message": "too long"}}, 400)
        return Reply(completion(" good"))

    with serving(answer) as served:
        found = asked(capsys, task, "--api", served.url, "--model", "m", "--out", tmp_path / "out", "--items", "30")
    problems = [row["problem"] for row in read_prompt(tmp_path / "out").rows if row["predicted"] is None]
    assert 0 < len(problems) == found["unread"] < 30
    assert all("too long" in problem for problem in problems)
    with serving(lambda path, body: Reply({"error": {"message": "too long"}}, 400)) as served:
        said = refused(capsys, task, "--api", served.url, "--model", "m", "--out", tmp_path / "all", "--items", "6")
    assert "every item is refused" in said
    assert "lower --shots" in said


def test_a_dry_run_asks_nothing(capsys, tmp_path, task, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["prompt", str(task), "--dry-run", "--items", "4", "--prices", "1", "2"]) == 0
    out = capsys.readouterr().out
    assert out.count("--- draw 1, order 1, ") == 4
    assert out.count("Review : ") == 4 * 3
    assert "bill: 4 calls, about " in out
    assert "$" in out
    assert not (tmp_path / "runs").exists()


def test_a_budget_stops_before_it_is_passed_and_the_same_command_goes_on(capsys, tmp_path, task):
    with serving(lambda path, body: Reply(completion(" good"))) as served:
        common = [task, "--api", served.url, "--model", "m", "--out", tmp_path / "out", "--items", "12"]
        said = refused(capsys, *common, "--budget", "5 calls")
        assert "the budget of 5 calls could be passed by the next call" in said
        assert len(served.asked) == 5
        assert "Still asking" in render(read_prompt(tmp_path / "out"))
        found = asked(capsys, *common, "--budget", "7 calls")
        assert len(served.asked) == 12
    assert found["items"] == 12


def test_a_killed_command_goes_on(capsys, tmp_path, task):
    def answer(path: str, body: dict) -> Reply:
        time.sleep(0.02)
        return Reply(completion(" good"))

    with serving(answer) as served:
        argv = [str(task), "--api", served.url, "--model", "m", "--out", str(tmp_path / "out"), "--threads", "2"]
        process = heed_process("prompt", *argv)
        while len(served.asked) < 10:
            assert process.poll() is None
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        found = asked(capsys, *argv)
        calls = len(served.asked)
    different = len({json.dumps(one) for one in served.asked})
    assert found["items"] == different
    assert calls <= different + 2  # what was under way in two threads


def test_draws_and_orders(capsys, tmp_path, task):
    with serving(lambda path, body: Reply(completion(" good"))) as served:
        found = asked(capsys, task, "--api", served.url, "--model", "m", "--out", tmp_path / "out", "--items", "10",
                      "--shots", "4", "--draws", "2", "--orders", "3")  # fmt: skip
    record = read_prompt(tmp_path / "out")
    assert found["rounds"] == len(found["by_round"]) == 6
    assert found["deviation"] == 0
    of = [[shot["text"] for shot in one.demonstrations] for one in record.file.rounds]
    assert sorted(of[0]) == sorted(of[1]) == sorted(of[2]) != sorted(of[3])
    assert len({tuple(texts) for texts in of[:3]}) > 1
    tested = {row["text"] for row in record.items}
    assert not tested & {text for texts in of for text in texts}
    assert [shot["answer"] for shot in record.file.rounds[0].demonstrations] == ["bad", "good"] * 2
    for number, row in enumerate(record.rows):
        shots = of[number // 10]
        assert row["prompt"].count("Review : ") == 5
        assert all(f"Review : {text}\nMood : " in row["prompt"] for text in shots)


def test_the_page_is_made_again_to_the_byte(capsys, tmp_path, task):
    with serving(lambda path, body: Reply(completion(" good"))) as served:
        asked(capsys, task, "--api", served.url, "--model", "m", "--out", tmp_path / "out", "--items", "6")
    page = tmp_path / "out" / "report.html"
    before = page.read_bytes()
    page.unlink()
    assert main(["report", str(tmp_path / "out")]) == 0
    assert page.read_bytes() == before


def test_texts_are_held_against_references(capsys, tmp_path):
    right = {"They was late for the meeting.": "They were late for the meeting."}

    def answer(path: str, body: dict) -> Reply:
        sentence = body["prompt"].rsplit("Sentence: ", 1)[1].split("\n")[0]
        return Reply(completion(f" {right.get(sentence, sentence)}"))

    with serving(answer) as served:
        found = asked(capsys, "grammar", "--api", served.url, "--model", "m", "--out", tmp_path / "out")
    assert (found["items"], found["accuracy"], found["shots"]) == (20, 1 / 20, 4)
    assert served.asked[0]["stop"] == ["\n"]


def test_a_chat_gets_turns(capsys, tmp_path, task):
    choice = {"index": 0, "message": {"role": "assistant", "content": "Good."}, "finish_reason": "stop"}
    with serving(lambda path, body: Reply({"choices": [choice]})) as served:
        found = asked(
            capsys, task, "--api", served.url, "--model", "m", "--out", tmp_path / "out", "--items", "4", "--chat"
        )
    assert [turn["role"] for turn in served.asked[0]["messages"]] == ["user", "assistant"] * 2 + ["user"]
    assert found["unread"] == 0


def test_two_runs_are_compared_in_pairs(capsys, tmp_path, task):
    with serving(lambda path, body: Reply(completion(" good"))) as served:
        common = [task, "--api", served.url, "--model", "m", "--items", "20"]
        asked(capsys, *common, "--out", tmp_path / "one")
    truth = {row["text"]: row["label"] for row in read_prompt(tmp_path / "one").rows}

    def answer(path: str, body: dict) -> Reply:
        return Reply(completion(f" {truth[body['prompt'].rsplit('Review : ', 1)[1].split(chr(10))[0]]}"))

    with serving(answer) as served:
        common = [task, "--api", served.url, "--model", "oracle", "--items", "20"]
        found = asked(capsys, *common, "--out", tmp_path / "two", "--against", tmp_path / "one")
        assert found["accuracy"] == 1.0
        (pair,) = found["against"]
        wrong = sum(label != "good" for label in truth.values())
        assert (pair["name"], pair["gained"], pair["lost"]) == ("m, 2-shot", wrong, 0)
        assert pair["p"] == pytest.approx(2 * 0.5**wrong)
        page = (tmp_path / "two" / "report.html").read_text(encoding="utf-8")
        assert "oracle, 2-shot is better than m, 2-shot" in page
        calls = len(served.asked)
        said = refused(capsys, *common[:-1], "40", "--out", tmp_path / "three", "--against", tmp_path / "one")
        assert "was not asked all of these 40 items" in said
        assert len(served.asked) == calls  # told before anything is paid


def test_mistakes_are_a_line_each(capsys, tmp_path, task, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "give --api URL --model NAME, or --run FOLDER" in refused(capsys, task)
    assert "--api needs --model" in refused(capsys, task, "--api", "http://x/v1")
    assert "did you mean 'boolq'?" in refused(capsys, "bolq", "--dry-run")
    assert "cannot be read: No such file" in refused(capsys, "none.yaml", "--dry-run")
    assert "start the server, or check the address" in refused(
        capsys, task, "--api", "http://127.0.0.1:9/v1", "--model", "m", "--out", "a")  # fmt: skip
    assert "is no address of an API" in refused(capsys, task, "--api", "localhost", "--model", "m", "--out", "b")
    assert "--calibrate needs probabilities" in refused(capsys, task, "--calibrate", "--dry-run")
    assert "is for classes" in refused(capsys, "grammar", "--by", "logprob", "--dry-run")
    assert "there is one draw" in refused(capsys, "grammar", "--draws", "2", "--dry-run")
    assert "holds no key" in refused(capsys, task, "--api", "http://x/v1", "--model", "m", "--key-env", "NO_SUCH_KEY")
    assert "needs the prices" in refused(
        capsys, task, "--api", "http://x/v1", "--model", "m", "--budget", "$1", "--out", "c")  # fmt: skip
    assert "no column 'txt'" in refused(capsys, task, "--text", "txt", "--dry-run")
    assert "lower --shots" in refused(capsys, task, "--shots", "9999", "--dry-run")
    task.write_text(task.read_text().replace("bad: [bad]", "awful: [bad]"))
    assert "has the label 'bad', for which the task mood has no word" in refused(capsys, task, "--dry-run")
    with serving(lambda path, body: Reply(b"<html>")) as served:
        common = ["grammar", "--api", served.url, "--model", "m", "--items", "3"]
        assert "answers with no JSON" in refused(capsys, *common, "--out", "d")
        (tmp_path / "e").mkdir()
        (tmp_path / "e" / "no.txt").touch()
        assert "holds no.txt and is no run of heed prompt" in refused(capsys, *common, "--out", "e")


def test_another_plan_does_not_go_into_the_same_folder(capsys, tmp_path, task):
    with serving(lambda path, body: Reply(completion(" good"))) as served:
        common = [task, "--api", served.url, "--model", "m", "--items", "6", "--out", tmp_path / "out"]
        asked(capsys, *common)
        assert "was asked with another plan" in refused(capsys, *common, "--shots", "4")
        assert asked(capsys, *common, "--shots", "4", "--overwrite")["shots"] == 4


def test_the_key_is_nowhere_on_the_disk(capsys, tmp_path, task, monkeypatch):
    monkeypatch.setenv("HEED_API_KEY", "sk-not-to-be-seen")
    with serving(lambda path, body: Reply(completion(" good"))) as served:
        asked(capsys, task, "--api", served.url, "--model", "m", "--items", "4", "--out", tmp_path / "out")
    assert served.headers[0]["authorization"] == "Bearer sk-not-to-be-seen"
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(kept) >= 5
    assert not [path for path in kept if b"not-to-be-seen" in path.read_bytes()]
