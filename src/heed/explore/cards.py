"""The page of cards: its files by path, a server for them alone, and all of them in one file.

The page is plain modules in `static/`, which a browser reads as they are. In the one file each module is a function
that returns what it exports, called in the order of the imports: no network is needed, and the page's policy knows
the script and the style by their hashes.
"""

from __future__ import annotations

import json
import re
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from heed.errors import ConfigError, why
from heed.explore.quiz import read_quiz
from heed.report.parts import policy_hash
from heed.report.served import HEADERS, KINDS, LOOK

STATIC = Path(__file__).with_name("static")
IMPORT = re.compile(r'^import \{ ([\w, ]+) \} from "(\.[\w./]+)";$', re.MULTILINE)
EXPORT = re.compile(r"^export (?=(?:const|function|async function|class) (\w+))", re.MULTILINE)


@cache
def page_files() -> dict[str, tuple[bytes, str]]:
    """Return content and media type of every file of the page by its path, "" being the page itself."""
    found = {"": STATIC / "index.html", **LOOK, "explore.css": STATIC / "explore.css"}
    found |= {path.relative_to(STATIC).as_posix(): path for path in sorted(STATIC.rglob("*.js"))}
    files = {name: (path.read_bytes(), KINDS[path.suffix]) for name, path in found.items()}
    return files | {"quiz_data.js": (quiz_module().encode(), KINDS[".js"])}


def quiz_module() -> str:
    """Return heed's own concept questions as a module of the page, a question a line."""
    lines = ",\n".join(
        json.dumps(question.model_dump(exclude={"function"}), ensure_ascii=False, separators=(",", ":"))
        for question in read_quiz()
    )
    return f"// Written from heed's explore/questions.yaml.\nexport const QUESTIONS = [\n{lines},\n];\n"


def make_server(port: int = 0) -> ThreadingHTTPServer:
    """Return a server of the page that listens to this machine alone. Raises `ConfigError` for a port in use."""
    try:
        return ThreadingHTTPServer(("127.0.0.1", port), _Answer)
    except OSError as error:
        raise ConfigError(f"--port {port} cannot be used ({why(error)}): give another, or 0 for a free one") from None


class _Answer(BaseHTTPRequestHandler):
    """Gives the files of the page, and nothing else of the disk."""

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def _answer(self, body: bool) -> None:
        found = page_files().get(self.path.partition("?")[0].removeprefix("/"))
        content, kind = found or (b"There is no such page.\n", "text/plain")
        self.send_response(200 if found else 404)
        for name, value in {
            "Content-Type": f"{kind}; charset=utf-8",
            "Content-Length": len(content),
            **HEADERS,
        }.items():
            self.send_header(name, str(value))
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: who reads which card is nobody's business."""


def single_file() -> str:
    """Return the whole page as one HTML file, without a network and with a policy that knows its parts."""
    files = {name: content.decode() for name, (content, _) in page_files().items()}
    style = "\n".join(files[name] for name in (*LOOK, "explore.css"))
    script = _joined(files, "page.js")
    policy = (
        f"default-src 'none'; style-src '{policy_hash(style)}'; script-src '{policy_hash(script)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    page = re.sub(r'<link rel="stylesheet"[^>]*>\n', "", files[""])
    page = page.replace("<title>", f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n<title>', 1)
    loads = '<script src="page.js" type="module"></script>'
    assert loads in page
    return page.replace(loads, f'<style>{style}</style>\n<script type="module">{script}</script>')


def _joined(files: dict[str, str], first: str) -> str:
    """Return one script that does what the module `first` does with all that it imports."""
    done: dict[str, str] = {}

    def add(name: str) -> None:
        """Write a module after those that it imports."""
        if name in done:
            return
        done[name] = ""
        source = files[name]
        for imported in IMPORT.finditer(source):
            add(_beside(name, imported[2]))
        names = EXPORT.findall(source)
        body = IMPORT.sub(lambda found: f'const {{ {found[1]} }} = modules["{_beside(name, found[2])}"];', source)
        body = EXPORT.sub("", body)
        assert not re.search(r"^(import|export)\b", body, re.MULTILINE), f"{name}: write imports and exports plainly"
        del done[name]  # and again at the end: in the order of the imports
        done[name] = f'modules["{name}"] = (() => {{\n{body}return {{ {", ".join(names)} }};\n}})();\n'

    add(first)
    return "const modules = {};\n" + "".join(done.values())


def _beside(name: str, path: str) -> str:
    """Return the path of a module that another one imports.

    >>> _beside("cards/queries.js", "../algebra.js"), _beside("page.js", "./words.js")
    ('algebra.js', 'words.js')
    """
    parts = name.split("/")[:-1]
    for part in path.split("/"):
        if part == "..":
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts)
