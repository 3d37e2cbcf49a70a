"""A key goes to the one address that it is for, and stands nowhere else: not in a file, a page, a line or a log."""

import csv
import http.client
import itertools
import json
import logging
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from api.small_server import Reply, completion, serving
from forked import heed_process

KEY = "sk-MARKED-0123456789abcdef"


def refusal(status, **headers):
    return Reply({"error": {"message": f"wrong: Bearer {KEY}", "type": "x", "code": KEY}}, status, headers)


ANSWERS = {
    "well": lambda path, body: Reply(completion(" good")),
    "repeats the key": lambda path, body: Reply(completion(f" good {KEY}")),
    "401": lambda path, body: refusal(401),
    "403": lambda path, body: Reply(f"<p>{KEY}</p>".encode(), 403),
    "404": lambda path, body: refusal(404),
    "429": lambda path, body: refusal(429, **{"Retry-After": "0"}),
    "500": lambda path, body: refusal(500),
    "no JSON": lambda path, body: Reply(f"key={KEY}".encode()),
    "another form": lambda path, body: Reply({"error": KEY, "choices": KEY}),
    "hangs up": lambda path, body: Reply(None),
}


def write_task(folder: Path) -> list[str]:
    with (folder / "reviews.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["review", "mood"])
        rows.writerows([f"the film {n} is {'fine' if n % 2 else 'dull'}", ("bad", "good")[n % 2]] for n in range(60))
    (folder / "mood.yaml").write_text(
        'name: mood\ndescription: moods\ntemplate: "Review : {review}\\nMood :"\nlabels: {bad: [bad], good: [good]}\n'
        "shots: 2\nmax_tokens: 2\ndata: {source: reviews.csv, text: review, label: mood, validation_fraction: 0.1, "
        "test_fraction: 0.2}\n",
        encoding="utf-8",
    )
    return ["prompt", "mood.yaml", "--items", "4", "--draws", "1"]


def sampling(run: Path) -> list[str]:
    return ["--tokenizer", str(run), "--prompt", "the cat", "--max-tokens", "2", "--top-p", "0.9"]


def places(folder: Path, said: str, but: Path) -> list[str]:
    """Return where the key stands."""
    found = [
        str(path) for path in folder.rglob("*") if path.is_file() and path != but and KEY.encode() in path.read_bytes()
    ]
    return [*found, *(["what was said"] if KEY in said else [])]


@pytest.mark.slow
@pytest.mark.parametrize("how", ["environment", "file"])
@pytest.mark.parametrize("kind", ANSWERS)
def test_no_verb_shows_the_key_whatever_the_server_does(heed, trained, tmp_path, monkeypatch, caplog, kind, how):
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.DEBUG)
    file = tmp_path / "key"
    file.write_text(KEY + "\n", encoding="utf-8")
    given = ["--key-file", "key"]
    if how == "environment":
        monkeypatch.setenv("HEED_API_KEY", KEY)
        given = []
    task, said = write_task(tmp_path), ""
    with serving(ANSWERS[kind]) as served:
        api = ["--api", served.url, "--model", "m", *given]
        for argv in (
            [*task, *api, "--tries", "2", "--out", "p"], [*task, *api, "--tries", "2", "--out", "p"], ["report", "p"],
            ["recover", "a", *api, "--tries", "2", "--vocabulary", "50", "--out", "r"], ["report", "r"],
            ["sample", *api, *sampling(trained)], ["sample", *api, *sampling(trained), "--json"],
        ):  # fmt: skip
            found = heed(*argv)
            said += found.out + found.err
            assert found.code in (0, 1, 2), argv
        assert served.headers[0]["authorization"] == f"Bearer {KEY}"
    assert places(tmp_path, said + caplog.text, file) == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_takes_neither_key_nor_prompt_along(heed, trained, tmp_path, monkeypatch, status):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEED_API_KEY", KEY)
    with serving(ANSWERS["well"]) as other:
        elsewhere = {"Location": f"{other.url}/completions"}
        with serving(lambda path, body: Reply({}, status, elsewhere)) as served:
            found = heed("sample", "--api", served.url, "--model", "m", *sampling(trained))
    assert found.code == 2
    assert "sends elsewhere" in found.err
    assert other.asked == []
    assert KEY not in found.out + found.err


def call(place: str, method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
    with closing(http.client.HTTPConnection(place, timeout=60)) as connection:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()


def test_a_server_writes_its_keys_nowhere(trained, tmp_path):
    (tmp_path / "keys").write_text(KEY + "\n", encoding="utf-8")
    argv = ["serve", trained, "--port", "0", "--api-key-file", tmp_path / "keys"]
    with (tmp_path / "log").open("wb") as log:
        process = heed_process(*argv, stdout=subprocess.PIPE, stderr=log)
    try:
        url = process.stdout.readline().decode().split("://")[1].split("/")[0]
        said = b""
        bodies = [b'{"prompt": "the cat", "max_tokens": 2}', b"{", json.dumps({"prompt": KEY, "model": KEY}).encode()]
        for body, key in itertools.product(bodies, (KEY, KEY + "x", KEY[:-1])):
            headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json", "Host": "localhost"}
            status, content = call(url, "POST", f"/v1/completions?key={KEY}", body, headers)
            said += b"" if status == 404 else content  # which names the model that it lacks
        said += call(url, "GET", "/metrics", b"", {"Authorization": f"Bearer {KEY}"})[1]
    finally:
        process.terminate()
        process.wait(60)
        process.stdout.close()
    assert b"completion_tokens" in said
    assert b"invalid_api_key" in said
    assert places(tmp_path, said.decode(), tmp_path / "keys") == []
