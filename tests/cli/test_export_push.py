"""`heed export --push`: the real client of the hub against a server on this machine that answers as the hub does."""

import base64
import json
import re
import shutil
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import huggingface_hub
import pytest
from huggingface_hub import ModelCard, constants

NAMES = ["README.md", "config.json", "generation_config.json", "model.safetensors", "tokenizer.json"]
NAMES.append("tokenizer_config.json")


class Hub(BaseHTTPRequestHandler):
    """Repositories by name: whether private, and the files of the one commit."""

    def log_message(self, *_):
        pass

    def answer(self, content, status=200):
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        name = self.path.split("?")[0].removeprefix("/api/models/").removesuffix("/revision/main")
        if name not in self.server.repositories:
            return self.answer({"error": "no such repository"}, 404)
        private = self.server.repositories[name]["private"]
        return self.answer({"id": name, "private": private, "sha": "0" * 40, "siblings": []})

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.asked.append(self.path.split("?")[0])
        if self.headers.get("Authorization") != "Bearer hf_right":
            return self.answer({"error": "Invalid username or password."}, 401)
        if self.path == "/api/repos/create":
            asked = json.loads(body)
            name = "/".join([asked["organization"], asked["name"]])
            there = name in self.server.repositories
            private = asked.get("private", asked.get("visibility") == "private")
            self.server.repositories.setdefault(name, {"private": private, "files": {}})
            return self.answer({"url": f"{self.server.address}/{name}"}, 409 if there else 200)
        if self.path == "/api/validate-yaml":
            return self.answer({"errors": [], "warnings": []})
        name, verb = re.fullmatch(r"/api/models/(\S+?/\S+?)/(preupload|commit)/main\S*", self.path).groups()
        if verb == "preupload":
            files = [file["path"] for file in json.loads(body)["files"]]
            modes = [{"path": file, "uploadMode": "regular", "shouldIgnore": False} for file in files]
            return self.answer({"files": modes})
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "file":
                content = base64.b64decode(line["value"]["content"])
                self.server.repositories[name]["files"][line["value"]["path"]] = content
        return self.answer(
            {"success": True, "commitUrl": f"{self.server.address}/{name}/commit/1", "commitOid": "1" * 40}
        )


@pytest.fixture
def hub(monkeypatch):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.address = f"http://127.0.0.1:{server.server_port}"
    server.repositories, server.asked = {}, []
    thread = Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", server.address)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_whole_model_goes_and_is_private(heed, trained, tmp_path, hub):
    out = tmp_path / "out"
    answer = heed("export", trained, "--out", out, "--push", "hf:me/mine")
    assert (answer.code, answer.out) == (0, f"{out}\n{hub.address}/me/mine (private)\n")
    there = hub.repositories["me/mine"]
    assert there["private"] is True
    assert there["files"] == {name: (out / name).read_bytes() for name in NAMES}
    assert sorted(path.name for path in out.iterdir() if not path.name.startswith(".")) == NAMES


def test_public_only_where_it_is_asked_for(heed, trained, tmp_path, hub):
    push = lambda *more: heed("export", trained, "--out", tmp_path / "o", "--overwrite", "--push", "hf:me/mine", *more)
    assert push("--public").out.endswith("/me/mine (public)\n")
    assert hub.repositories["me/mine"]["private"] is False
    hub.repositories["me/mine"]["files"].clear()
    answer = push()
    assert (answer.code, hub.repositories["me/mine"]["files"]) == (2, {})
    assert "hf:me/mine is there and public; nothing was sent: add --public" in answer.err
    hub.repositories["me/mine"]["private"] = True
    assert push("--public").out.endswith("/me/mine (private)\n")


def test_dry_run_says_what_would_go_and_asks_nobody(heed, trained, tmp_path, hub, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    answer = heed("export", trained, "--out", tmp_path / "out", "--overwrite", "--push", "hf:me/mine", "--dry-run")
    assert (answer.code, hub.asked) == (0, [])
    assert re.findall(r"^  (\S+)  [\d.]+ \S+$", answer.out, re.MULTILINE) == NAMES
    assert answer.out.endswith("6 files would go to hf:me/mine, private where it is new; nothing was sent\n")


def test_refusals_are_one_line_and_before_any_work(heed, trained, tmp_path, hub, monkeypatch):
    def refused(*more):
        answer = heed("export", trained, "--out", tmp_path / "out", *more)
        assert answer.code == 2, answer
        assert answer.err.count("\n") == 1
        return answer.err

    for name in ("me/mine", "hf:mine", "hf:me/mi--ne", "hf:me/", "hf:/abs/x", "hf:me/a b", "hf:", "hf:a/b/c", "hf:é/b"):
        assert "is written hf:OWNER/NAME" in refused("--push", name), name
    assert "--dry-run: is for --push" in refused("--dry-run")
    assert "--public: is for --push" in refused("--public")
    with monkeypatch.context() as patched:
        patched.setattr(constants, "HF_HUB_OFFLINE", True)
        patched.delattr(huggingface_hub, "constants")  # a new process has not imported it
        assert "HF_HUB_OFFLINE forbids the network" in refused("--push", "hf:me/mine")
    with monkeypatch.context() as patched:
        patched.delenv("HF_TOKEN")
        patched.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
        assert "there is no token: hf auth login" in refused("--push", "hf:me/mine")
    assert not (tmp_path / "out").exists()
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert "cannot push to hf:me/mine:" in refused("--push", "hf:me/mine")
    assert hub.repositories == {}


def test_without_a_network_it_is_one_line(heed, trained, tmp_path, hub, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    answer = heed("export", trained, "--out", tmp_path / "out", "--push", "hf:me/mine")
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert "cannot push to hf:me/mine:" in answer.err


def test_the_lines_of_the_card_write(heed, trained, tmp_path, monkeypatch, text):
    """What README.md says to type is typed."""
    assert heed("export", trained, "--out", tmp_path / "out").code == 0
    card = ModelCard.load(tmp_path / "out" / "README.md")
    assert str(text.parent) not in card.content
    assert text.name in card.content
    code = re.search(r"```python\n(.*?)```", card.content, re.DOTALL)[1].replace('"Once"', '"the cat"')
    monkeypatch.chdir(tmp_path / "out")
    found = {}
    exec(code.replace("print(", "FOUND = ("), found)
    assert found["FOUND"].startswith("the cat")
    assert len(found["FOUND"]) > len("the cat")
    assert "token_type_ids" not in found["read"]


def test_of_another_checkpoint_no_figures_are_shown(heed, trained, tmp_path):
    last = heed("export", trained, "--checkpoint", "4", "--out", tmp_path / "four")
    assert last.code == 0
    figures = json.loads((trained / "evaluation.json").read_text())["validation"]
    best = (tmp_path / "best").resolve()
    assert heed("export", trained, "--out", best).code == 0
    loss = f"{figures['loss']:.4f} (nats per token)"
    assert loss in (best / "README.md").read_text()
    assert loss not in (tmp_path / "four" / "README.md").read_text()


@pytest.mark.parametrize("damage", ["gone", "a folder", "empty"])
def test_a_run_whose_events_are_gone_is_not_called_imported(heed, trained, tmp_path, damage):
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    (run / "metrics.jsonl").unlink()
    if damage == "a folder":
        (run / "metrics.jsonl").mkdir()
    if damage == "empty":
        (run / "metrics.jsonl").write_text("")
    answer = heed("export", run, "--out", tmp_path / "out")
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert "metrics.jsonl" in answer.err
    assert not (tmp_path / "out").exists()
