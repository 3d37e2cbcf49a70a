"""Pages of hostile runs in a real browser: whatever stands in their records runs nothing and fetches nothing."""

import contextlib
import json
import os
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from browsing import chromium
from cli.damaging import KINDS, make, run, working, write_texts
from heed.cli import main

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
ATTACK = (
    '</script><script>window.harmed=1</script><img src=x onerror="window.harmed=2">'
    "<a href='javascript:window.harmed=3'>a</a>'\"><svg/onload=window.harmed=4></style><style>*{background:url(http://127.0.0.1:9/x)}</style>"
    '<link rel=stylesheet href=http://127.0.0.1:9/y><meta http-equiv=refresh content="0;url=http://127.0.0.1:9/z">'
    "<iframe src=http://127.0.0.1:9/f></iframe><base href=http://127.0.0.1:9/>]]><!--\u2028${7*7}{{7*7}}"
)
PAGES = {
    "language": ("report", "runs/language"),
    "classes": ("report", "runs/classes"),
    "questions": ("report", "runs/questions"),
    "tuned": ("tune", "tune", "--report"),
    "study": ("compare", "study", "--report"),
    "explored": ("report", "explored"),
    "asked": ("report", "runs"),
}
MORE = {
    "explored": ("language", "explored", ["explore", "runs/language", "--prompt", "the cat", "--out", "explored"]),
    "asked": ("questions", "runs", ["eval", "runs/questions", "--task", "qa", "--questions", "questions.tsv"]),
}
"""Of which run they are made, their folder, and by which command."""


class Tags(HTMLParser):
    """The elements of a page that do something, and attributes that could."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.counts: dict[str, int] = {}
        self.bad: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        if tag in ("script", "style", "link", "meta", "iframe", "base", "object", "embed", "form"):
            self.counts[tag] = self.counts.get(tag, 0) + 1
        for name, value in attrs:
            reaches = name in ("src", "href", "action", "data", "srcset", "poster", "xlink:href")
            if name.startswith("on") or (
                reaches and not re.match(r"#|data:(,$|image/png;base64,)|[\w./-]*$", value or "")
            ):
                self.bad.append(f"{tag} {name}={value!r}")


def strings(value, names: set[str], found: set[str], name: str = ""):
    """Return plain values in which the strings under some names end in the attack; note every name of a string."""
    if isinstance(value, dict):
        return {key: strings(one, names, found, key) for key, one in value.items()}
    if isinstance(value, list):
        return [strings(one, names, found, name) for one in value]
    if isinstance(value, str):
        found.add(name)
        return value + ATTACK if name in names else value
    return value


def attacked(root: Path, names: set[str]) -> set[str]:
    """Put the attack into every record below a folder; return the names of all strings there."""
    found: set[str] = set()
    for path in sorted(root.rglob("*.json*")):
        if path.name in ("hashes.json", "tokenizer.json", "best.json") or "checkpoints" in path.parts:
            continue
        lines = path.read_text(encoding="utf-8").split("\n") if path.suffix == ".jsonl" else [path.read_text("utf-8")]
        made = [json.dumps(strings(json.loads(line), names, found)) if line else line for line in lines]
        path.write_text("\n".join(made), encoding="utf-8")
    for path in root.rglob("hashes.json"):
        path.unlink()
    return found


def root_of(kind: str) -> Path:
    return Path(MORE[kind][1] if kind in MORE else KINDS[kind][0])


def page_of(root: Path) -> Path:
    """Return the page of a folder, or of the one run in it."""
    return next(
        path for path in (root / "report.html", root / "knowledge.html", *root.rglob("report.html")) if path.is_file()
    )


@contextlib.contextmanager
def copy(place: Path, kind: str):
    """Work in a copy of the workplace, whose folder is called as an attack, too."""
    there = place / f'{kind} x"><img src=x onerror=window.harmed=5>'
    shutil.rmtree(there, ignore_errors=True)
    shutil.copytree(place / "whole", there)
    with working(there):
        yield root_of(kind)


@pytest.mark.parametrize("kind", PAGES)
def test_records_that_hold_scripts(tmp_path, kind):
    (tmp_path / "whole").mkdir()
    with working(tmp_path / "whole"):
        write_texts()
        for file in ("lines.txt", "reviews.csv"):
            text = Path(file).read_text(encoding="utf-8")
            Path(file).write_text(text.replace("the cat", "the cat <img src=x onerror=window.harmed=6>"), "utf-8")
        make(MORE[kind][0] if kind in MORE else kind)
        if kind in MORE:
            assert main(MORE[kind][2]) == 0
    tried, taken = 0, set()
    with copy(tmp_path, kind) as root:
        assert run(PAGES[kind])[0] == 0
        whole = Tags(page_of(root).read_text(encoding="utf-8"))
        assert whole.bad == []
        names = attacked(root, set())
    for name in sorted(names):
        with copy(tmp_path, kind) as root:
            attacked(root, {name})
            code, told, _ = run(PAGES[kind])
            tried += 1
            assert code in (0, 1, 2), (name, told)  # 1: a study all of whose cells failed, which its page says
            if code == 2:
                continue
            taken.add(name)
            for page in root.rglob("*.html"):
                tags = Tags(page.read_text(encoding="utf-8"))
                assert tags.bad == [], (name, page)
                assert page != page_of(root) or tags.counts == whole.counts, (name, page)
    with copy(tmp_path, kind) as root, chromium() as browser:
        attacked(root, taken)
        code, told, _ = run(PAGES[kind])
        assert code in (0, 1), told
        pages = [path for path in root.rglob("*.html") if "window.harmed" in path.read_text(encoding="utf-8")]
        assert pages
        for path in pages:
            page = browser.new_page()
            requests, dialogs = [], []
            page.on("request", lambda request, seen=requests: seen.append(request.url))
            page.on("dialog", lambda dialog, seen=dialogs: seen.append(dialog.message))
            address = Path(os.path.abspath(path)).as_uri()
            page.goto(address)
            for details in page.query_selector_all("details"):
                details.evaluate("element => { element.open = true }")
            page.wait_for_timeout(200)
            for link in page.query_selector_all("a")[:40]:
                assert not (link.get_attribute("href") or "").lower().startswith("javascript"), path
            assert page.evaluate("() => window.harmed === undefined"), path
            assert requests == [address]
            assert dialogs == []
            assert page.url == address
            page.close()
    print(f"{kind}: {tried} kinds of strings, {len(taken)} taken by the page, {len(pages)} pages in the browser")
