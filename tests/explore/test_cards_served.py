"""The page of cards as it is served and written: its files and no others, by `heed explore` and by `heed serve`."""

import http.client
import re
import signal
import subprocess
import sys
import threading

import pytest

from heed.cli import main
from heed.explore.cards import make_server, page_files, single_file


@pytest.fixture
def heed(capsys):
    def run(*argv):
        code = main([str(word) for word in argv])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture(scope="module")
def port():
    with make_server() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def asked(port, path, method="GET"):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(method, path)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer, content


def test_every_file_is_served_with_its_policy(port):
    for name, (content, kind) in page_files().items():
        answer, given = asked(port, f"/{name}")
        assert (answer.status, given) == (200, content), name
        assert answer.headers["Content-Type"] == f"{kind}; charset=utf-8"
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    answer, given = asked(port, "/page.js?again", "HEAD")
    assert (answer.status, given) == (200, b"")
    assert int(answer.headers["Content-Length"]) > 1000


@pytest.mark.parametrize(
    "path", ["/../cards.py", "/cards.py", "//etc/passwd", "/cards/", "/%2e%2e/cards.py", "/explore.css/"]
)
def test_nothing_else_is(port, path):
    assert asked(port, path)[0].status == 404
    assert asked(port, path, "POST")[0].status == 501


def test_a_port_in_use_is_one_line(heed, port):
    code, _, err = heed("explore", "--port", port)
    assert code == 2
    assert (
        err.strip() == f"heed: --port {port} cannot be used (Address already in use): give another, or 0 for a free one"
    )


def test_what_the_page_imports_is_there():
    """Each module by a path beside it, and each name that is imported is exported."""
    files = {name: content.decode() for name, (content, _) in page_files().items()}
    count = 0
    for name, source in files.items():
        for names, path in re.findall(r'^import \{ ([\w, ]+) \} from "(.+)";$', source, re.MULTILINE):
            folder = name.split("/")[:-1] if path.startswith("./") else []
            other = files["/".join([*folder, path.split("/", 1)[1]])]
            for each in names.split(", "):
                assert re.search(rf"^export (const|function|async function|class) {each}\b", other, re.MULTILINE), (
                    name,
                    each,
                )
                assert len(re.findall(rf"\b{each}\b", source)) > 1, f"{name} imports {each} and does not use it"
                count += 1
    assert count > 100


def test_neither_page_nor_verb_needs_torch():
    code = (
        "import sys; from heed.explore.cards import make_server, single_file; make_server().server_close(); "
        "single_file(); import heed.cli.explore, heed.cli.explore_cards; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize(("end", "card"), [(signal.SIGINT, ""), (signal.SIGTERM, "scaling?width=4")])
def test_the_verb_serves_until_a_signal(end, card):
    argv = [sys.executable, "-m", "heed", "explore", "--port", "0", *(["--card", card] if card else [])]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        line = server.stdout.readline()
        found = re.fullmatch(
            rf"cards at http://127\.0\.0\.1:(\d+)/{re.escape(card and '#' + card)} \(Ctrl-C ends it\)\n", line
        )
        assert found, line
        assert b"turned by hand" in asked(int(found[1]), "/")[1]
        server.send_signal(end)
        assert server.wait(30) == 0


def test_one_file_without_a_network(heed, tmp_path):
    code, said, _ = heed("explore", "--static", tmp_path / "cards.html")
    assert (code, said.strip()) == (0, f"cards: {tmp_path / 'cards.html'}")
    page = (tmp_path / "cards.html").read_text(encoding="utf-8")
    assert page == single_file()
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    assert "connect-src" not in page
    assert "unsafe" not in page


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--prompt", "a"], "--prompt looks into a model"),
        (["--prompt-file", "a"], "--prompt-file looks into a model"),
        (["--layers", "1"], "--layers looks into a model"),
        (["runs/a", "--static", "b.html"], "--static is for the page of cards"),
        (["runs/a", "--open"], "--open is for the page of cards"),
        (["runs/a", "--card", "hard"], "--card is for the page of cards"),
        (["--card", "hart"], "unknown card 'hart', did you mean 'hard'?"),
        (["--card", "hard", "--static", "b.html"], "--card is for a page that is served: open the file with #hard"),
        (["--static", "/dev/null/cards.html"], "/dev/null/cards.html cannot be written"),
    ],
)
def test_what_does_not_go_together_is_one_line(heed, argv, words):
    code, _, err = heed("explore", *argv)
    assert code == 2
    assert words in err
    assert len(err.strip().splitlines()) == 1


def test_heed_serve_has_the_same_page():
    fastapi = pytest.importorskip("fastapi")
    from starlette.testclient import TestClient

    from heed.serving.playground import add_playground

    app = fastapi.FastAPI()
    add_playground(app)
    with TestClient(app) as client:
        for name, (content, _) in page_files().items():
            answer = client.get(f"/explore/{name}")
            assert (answer.status_code, answer.content) == (200, content)
        assert client.get("/explore", follow_redirects=False).headers["location"] == "/explore/"
        assert client.get("/explore/playground.js").status_code == 404
        assert b"controls.css" in client.get("/").content
        assert client.get("/controls.css").status_code == 200
