"""The text of web pages and notebooks."""

import json
from collections import Counter

import pytest

from heed.cli import main
from heed.errors import DataError
from heed.text.extracted import extracted, page_text

PAGES = {
    "<p>a<p>b": "a\nb",
    "<div>one<span> two</span></div>three": "one two\nthree",
    "a<!-- no -->b": "ab",
    "<style>p{}</style><script>if (a<b) document.write('<p>x</p>')</script>y": "y",
    "<pre>  keep\n   this</pre> and   not\n that": "keep\nthis\nand not that",
    "<ul><li>1<li>2</ul>": "1\n2",
    "caf&eacute; &#8364; &lt;b&gt;": "café € <b>",
    "<p hidden>secret</p>seen": "seen",
    "<svg><text>no</text></svg>yes": "yes",
    "<td>a</td><td>b</td>": "a\nb",
    "<p>never closed": "never closed",
    "": "",
    "<<<>>>&&&": "<<<>>>&&&",
    "<img hidden>after": "after",
}


@pytest.mark.parametrize(("html", "text"), PAGES.items())
def test_pages(html, text):
    assert page_text(html) == text


def test_the_titles_in_the_head_are_not_text():
    assert page_text("<html><head><title>t</title><meta charset=x></head><body>b</body></html>") == "b"


def test_a_deep_page_and_an_endless_tag():
    assert page_text("<div>" * 50_000 + "x") == "x"
    assert page_text("<a " * 1000 + "x").count("\n") <= 1000


@pytest.fixture
def site(tmp_path):
    folder = tmp_path / "a site"
    (folder / "deep").mkdir(parents=True)
    (folder / "index.HTML").write_text("<h1>Ünï</h1>", encoding="utf-8")
    (folder / "deep" / "empty.htm").write_text("<script>x</script>", encoding="utf-8")
    (folder / "photo.png").write_bytes(b"\x89PNG")
    cells = [
        {"cell_type": "markdown", "source": ["# Title\n", "words"]},
        {"cell_type": "code", "source": "print(1)", "outputs": [{"text": "1"}]},
        {"cell_type": "code", "source": ""},
    ]
    (folder / "deep" / "note.ipynb").write_text(json.dumps({"cells": cells, "nbformat": 4}), encoding="utf-8")
    return folder


def test_a_folder(site):
    left_out = Counter()
    found = {path.name: text for path, text in extracted(site, "utf-8", left_out)}
    assert found == {"index.HTML": "Ünï", "note.ipynb": "# Title\nwords\n\nprint(1)"}
    assert left_out == {"files of other kinds": 1, "files without text": 1}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{}",
        "[]",
        '{"cells": 3}',
        '{"cells": [{}]}',
        '{"cells": [{"cell_type": "code", "source": 3}]}',
        "[" * 100_000,
    ],
)
def test_what_is_no_notebook(tmp_path, content):
    (tmp_path / "a.ipynb").write_text(content)
    with pytest.raises(DataError, match="is no notebook"):
        list(extracted(tmp_path, "utf-8", Counter()))


def test_another_encoding(tmp_path):
    (tmp_path / "a.html").write_bytes("<p>na\xefve".encode("latin-1") + b" text" * 40)
    with pytest.raises(DataError, match="byte"):
        list(extracted(tmp_path / "a.html", "utf-8", Counter()))
    ((_, text),) = extracted(tmp_path / "a.html", "latin-1", Counter())
    assert text.startswith("naïve")


def test_on_the_command_line(site, tmp_path, capsys):
    out = tmp_path / "out.jsonl"
    assert main(["data", "extract", str(site), "--out", str(out)]) == 0
    lines = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [line["text"][:7] for line in lines] == ["# Title", "Ünï"]
    assert lines[1]["source"].endswith("index.HTML")
    assert "left out, files without text: 1" in capsys.readouterr().err
    assert main(["data", "report", str(out), "--data.validation-fraction", "0"]) == 0
    for argv in ([str(site)], [str(tmp_path / "no"), "--out", "b.jsonl"], [str(tmp_path), "--out", "b.txt"]):
        assert main(["data", "extract", *argv]) == 2
        assert capsys.readouterr().err.splitlines()[-1].startswith("heed: ")
