"""Broken files of the other kinds, drawn with fixed seeds: task files, quizzes, checkpoints, records of runs, what a
server answers, students' files. Each ends in time, with a result or one line.
"""

import json
import random
import shutil
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from api.small_server import Reply, completion, serving
from cli.test_fuzz_input import Tried, noise, value, written
from cli.test_hostile_files import little_memory
from heed.api import CompletionClient, CompletionRequest
from heed.coursework import EXERCISES
from heed.coursework.grader import grade_folder
from heed.errors import HeedError
from heed.explore.quiz import OWN, QuizRound, read_quiz
from heed.prompting.task import SHIPPED, open_task
from heed.records.checkpoints import hash_state

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600), pytest.mark.filterwarnings("ignore")]


def places(content, inside=()):
    """Yield the way to every value of nested lists and mappings."""
    for key in content if isinstance(content, dict) else range(len(content)) if isinstance(content, list) else ():
        yield (*inside, key)
        yield from places(content[key], (*inside, key))


def changed(content, draw: random.Random, times: int = 2):
    """Return plain values of which some are others, are gone, or stand elsewhere."""
    content = json.loads(json.dumps(content))
    for _ in range(draw.randrange(1, times + 1)):
        ways = list(places(content))
        if not ways:
            break
        way = draw.choice(ways)
        at = content
        for key in way[:-1]:
            at = at[key]
        if draw.random() < 0.2:
            del at[way[-1]]
        elif draw.random() < 0.1 and isinstance(at, dict):
            at[draw.choice(["", "x", "format", "é", "__class__"])] = value(draw)
        else:
            at[way[-1]] = draw.choice([None, 0, -1, 10**30, 1e300, "x", "", [], {}, [[1]], True, 1.5, value(draw)])
    return content


def shipped(name: str) -> dict:
    import heed.prompting

    return yaml.safe_load((Path(heed.prompting.__file__).parent / "tasks" / f"{name}.yaml").read_text(encoding="utf-8"))


def test_task_files(tmp_path):
    tried, path, tasks = Tried(), tmp_path / "t.yaml", [shipped(name) for name in SHIPPED]
    with little_memory():
        for seed in range(800):
            draw = random.Random(50_000 + seed)
            path.write_bytes(written(draw, changed(draw.choice(tasks), draw)) if seed % 10 else noise(draw))
            tried.call(lambda: open_task(str(path)), seed=seed, what=path.read_bytes()[:300])
    tried.end(800)


def test_quizzes(tmp_path):
    tried, path = Tried(), tmp_path / "q.yaml"
    whole = {"questions": yaml.safe_load(OWN.read_text(encoding="utf-8"))["questions"][:4]}
    with little_memory():
        for seed in range(600):
            draw = random.Random(60_000 + seed)
            path.write_bytes(written(draw, changed(whole, draw, 3)) if seed % 10 else noise(draw))

            def play(draw=draw):
                game = QuizRound(read_quiz(path), seed=1)
                for _ in range(20):
                    with suppress(HeedError):  # of an answer that is none
                        game.answer(draw.choice(["a", "b", "a b", "1.5", "", "nan", "é", "9" * 400, "a" * 100, "-"]))

            tried.call(play, seed=seed, what=path.read_bytes()[:300])
    tried.end(600)


def test_checkpoints_that_are_whole_and_wrong(trained, tmp_path, monkeypatch):
    """The hash of a state is right, so that what it says is read."""
    run, tried = tmp_path / "run", Tried()
    for seed in range(150):
        draw = random.Random(70_000 + seed)
        shutil.rmtree(run, ignore_errors=True)
        shutil.copytree(trained, run)
        for path in run.glob("checkpoints/*/state.json"):
            content = json.loads(path.read_text(encoding="utf-8"))
            content.pop("self")
            content = changed(content, draw)
            path.write_text(json.dumps({**content, "self": hash_state(content)}), encoding="utf-8")
        verb = draw.choice(["eval", "sample", "train", "verify"])
        argv = ["train", "--resume", str(run), "--train.steps", "8"] if verb == "train" else [verb, str(run)]
        tried.verb(*argv, seed=seed, lines=None)
    tried.bad = [line for line in tried.bad if "code 1" not in line]  # it differs from what heed wrote
    tried.end(150)


def test_records_of_runs_without_hashes(trained, tmp_path):
    run, tried = tmp_path / "run", Tried()
    for seed in range(200):
        draw = random.Random(80_000 + seed)
        shutil.rmtree(run, ignore_errors=True)
        shutil.copytree(trained, run)
        (run / "hashes.json").unlink()
        name = draw.choice(["environment.json", "evaluation.json", "metrics.jsonl", "samples.jsonl", "tokenizer.json"])
        lines = (
            (run / name).read_text(encoding="utf-8").splitlines() if name.endswith("l") else [(run / name).read_text()]
        )
        number = draw.randrange(len(lines))
        lines[number] = json.dumps(changed(json.loads(lines[number]), draw))
        (run / name).write_text("\n".join(lines), encoding="utf-8")
        tried.verb(draw.choice(["report", "verify", "eval"]), str(run), seed=seed, lines=None)
    tried.bad = [line for line in tried.bad if "code 1" not in line]
    tried.end(200)


def answer(draw: random.Random) -> Reply:
    """Return what a server may answer that is broken, or means harm."""
    whole = completion(logprobs={"tokens": [" a"], "token_logprobs": [-1.5], "top_logprobs": [{" a": -1.5}],
                                 "text_offset": [0]})  # fmt: skip
    kind = draw.randrange(8)
    if kind == 0:
        return Reply(noise(draw) or b" ")
    if kind == 1:
        return Reply(b"[" * 100_000)
    if kind == 2:
        return Reply(value(draw), draw.choice([200, 201, 204, 302, 400, 404, 418, 429, 500, 599]))
    if kind == 3:
        return Reply(None)
    if kind == 4:
        return Reply(json.dumps(whole).encode()[: draw.randrange(200)])
    headers = draw.choice([{}, {"Retry-After": draw.choice(["-1", "nan", "inf", "x", "1e400"])}, {"X": "a" * 9000}])
    return Reply(changed(whole, draw), headers=headers)


def test_what_a_server_answers():
    tried, draw = Tried(), random.Random(0)
    with little_memory(), serving(lambda path, body: answer(draw)) as served:
        for seed in range(600):
            draw.seed(90_000 + seed)
            logprobs = seed % 3 or None
            client = CompletionClient(served.url, "m", timeout=20)
            tried.call(
                lambda client=client, logprobs=logprobs: client.complete(CompletionRequest("a", logprobs=logprobs)),
                seed=seed, what="answer",
            )  # fmt: skip
            client.close()
    tried.end(600)


def test_verbs_that_ask_a_hostile_server(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = "".join(f"the film {n} is {'fine' if n % 2 else 'dull'},{n % 2}\n" for n in range(40))
    Path("r.csv").write_text("text,label\n" + rows, encoding="utf-8")
    Path("t.yaml").write_text(
        'name: t\ntemplate: "{text} :"\nlabels: {"0": [bad], "1": [good]}\ndata: {source: r.csv}\n', encoding="utf-8"
    )
    tried, draw = Tried(), random.Random(0)
    with serving(lambda path, body: answer(draw)) as served:
        for seed in range(60):
            draw.seed(100_000 + seed)
            api = ["--api", served.url, "--model", "m", "--tries", "2"]
            argv = draw.choice(
                [
                    ["prompt", "t.yaml", *api, "--items", "3", "--out", f"p{seed}"],
                    ["recover", "a", *api, "--vocabulary", "40", "--out", f"r{seed}"],
                    ["sample", *api[:4], "--tokenizer", str(trained), "--prompt", "the cat", "--top-p", "0.9",
                     "--max-tokens", "2"],
                ]
            )  # fmt: skip
            tried.verb(*argv, seed=seed, lines=None)
    tried.end(60)


STUDENTS = {
    "ends": "import os\nos._exit(0)\n",
    "ends well": "raise SystemExit(0)\n",
    "loops": "while True: pass\n",
    "deep": "def f(n): return f(n + 1)\nf(0)\n",
    "much memory": "x = bytearray(1 << 40)\n",
    "floods": "print('x' * (1 << 24))\nimport sys\nsys.stderr.write('y' * (1 << 24))\n",
    "writes messages": "import os\nfor n in range(3, 64):\n try: os.write(n, b'{}\\n[]\\n')\n except OSError: pass\n",
    "no text": b"\xff\xfe\x00\x00",
    "no Python": "def f(:\n",
    "bad names": "__name__ = None\nattention = 5\nimport builtins\nbuiltins.callable = None\n",
    "threads": "import threading as t, time\n[t.Thread(target=time.sleep, args=(999,)).start() for _ in range(50)]\n",
}


def test_students_files(tmp_path):
    tried = Tried()
    name = next(iter(EXERCISES))
    for number, content in enumerate(STUDENTS.values()):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())

        def grade(folder=folder):
            grades = grade_folder(folder, seconds=5.0)
            assert not any(file.passing for file in grades)

        tried.call(grade, seed=number, what=content)
    tried.end(len(STUDENTS))
