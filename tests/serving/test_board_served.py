"""The board over HTTP: who may ask, what is answered to nonsense, and that nothing of the disk can be asked for."""

import json
import subprocess
import sys

import pytest
from starlette.testclient import TestClient

from heed.board.live import MOST_CHOSEN, Board
from heed.cli import main
from heed.serving.board import FILES, make_board_app
from heed.serving.settings import ServerSettings
from report.fake_runs import write_run


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("board")
    write_run(root / "a")
    return root


def client(root, **settings):
    app = make_board_app(Board([root]), ServerSettings(access_log=False, **settings))
    return TestClient(app, base_url="http://localhost", raise_server_exceptions=False)


def test_the_page_and_its_files_are_served_with_the_policy(root):
    with client(root) as asked:
        for path in (*FILES, "/places.css"):
            reply = asked.get(path)
            assert reply.status_code == 200
            assert "default-src 'none'; script-src 'self'" in reply.headers["Content-Security-Policy"]
            assert asked.head(path).status_code == 200
        page = asked.get("/").text
        for name in ("style.css", "page.js", "board.js", "places.css"):
            assert name in page


def test_what_is_new_is_answered(root):
    with client(root) as asked:
        said = asked.post("/v1/board", json={"curves": ["train/loss"]})
        assert said.status_code == 200
        [row] = said.json()["rows"]
        assert row["state"] == "finished"
        assert said.headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"null", b'{"since": -1}', b'{"since": "1"}', b'{"path": "/etc/passwd"}', b"\xff",
        b'{"chosen": [1]}', json.dumps({"chosen": ["a"] * (MOST_CHOSEN + 1)}).encode(), b'{"known": {"a": 1}}',
        b'{"where": ["' + b"a" * 50 + b'"]}', b'{"known": {"a": {"train/loss": [1, 2, 3, 4, 99]}}}', b"[" * 5000,
        b'{"sort": "' + b"x" * 300 + b'"}', b'{"known": {"a": {"train/loss": [0, 1, 999999999999999999999]}}}',
    ],
)  # fmt: skip
def test_nonsense_is_answered_in_one_line(root, body):
    with client(root) as asked:
        reply = asked.post("/v1/board", content=body)
        assert reply.status_code in (200, 400)
        if reply.status_code == 400:
            assert "\n" not in reply.json()["error"]["message"]
        else:
            assert "rows" in reply.json()


@pytest.mark.parametrize(
    "path", ["/../a/config.yaml", "/a/config.yaml", "/%2e%2e/", "/static/board.js", "/v1/", "/v1/models"]
)
def test_nothing_else_can_be_asked_for(root, path):
    with client(root) as asked:
        assert asked.get(path).status_code == 404
        assert asked.post("/").status_code == 405


def test_a_key_keeps_strangers_out_and_a_name_of_its_own_too(root):
    with client(root, api_keys=("secret",)) as asked:
        assert asked.post("/v1/board", json={}).status_code == 401
        assert asked.post("/v1/board", json={}, headers={"Authorization": "Bearer wrong"}).status_code == 401
        assert asked.post("/v1/board", json={}, headers={"Authorization": "Bearer secret"}).status_code == 200
        assert asked.get("/").status_code == 200  # the page asks for the key
    with client(root) as asked:
        assert asked.post("/v1/board", json={}, headers={"Host": "evil.example"}).status_code == 403


def test_a_large_question_is_refused(root):
    with client(root, max_body=1000) as asked:
        assert asked.post("/v1/board", content=b" " * 2000).status_code == 413


def test_an_address_that_others_reach_needs_a_key(root, capsys, monkeypatch):
    monkeypatch.delenv("HEED_API_KEY", raising=False)
    assert main(["board", str(root), "--host", "0.0.0.0", "--port", "0"]) == 2
    assert "can be reached from elsewhere" in capsys.readouterr().err
    assert main(["board", str(root / "none")]) == 2


def test_no_torch_is_loaded():
    code = (
        "import sys, heed.cli.board, heed.board.live, heed.serving.board, heed.serving.listening; "
        "assert not {'torch', 'scipy', 'matplotlib', 'transformers', 'fastapi'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
