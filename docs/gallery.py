"""Make the pages of the gallery with heed itself: `python docs/gallery.py FOLDER`; about 15 minutes of one core.

Each command runs in FOLDER, those that are done already are not made again, and their pages go to docs/gallery/, with a
picture of the first screen of each. The pages are those that everybody gets; nothing in them is changed.

    --pictures    take the pictures again, and run nothing
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
HERE = ROOT / "docs" / "gallery"
WIDTH, HEIGHT = 1100, 760
PROMPT = "The import statement combines two operations; it searches for the named module, then it binds it to a name."


class Shown(NamedTuple):
    """A page of the gallery: its command, what serves while it runs, and where heed writes it."""

    command: str
    page: str
    serves: str = ""


PAGES = {
    "run": Shown("heed train --config configs/quickstart.yaml --run.threads 1", "runs/quickstart/report.html"),
    "maps": Shown(
        f'heed explore runs/quickstart --windows 16 --prompt "{PROMPT}" --out explored/quickstart',
        "explored/quickstart/report.html",
    ),
    "study": Shown(
        "heed compare configs/studies/norm-order.yaml --out studies/norm-order", "studies/norm-order/report.html"
    ),
    "tune": Shown(
        "heed tune sst2 --methods head,lora,bitfit --seeds 2 --epochs 1 --train-examples 800 --max-length 48"
        " --threads 1 --out tunes/sst2",
        "tunes/sst2/report.html",
    ),
    "recovery": Shown(
        'heed recover "The import statement" --api http://127.0.0.1:{port}/v1 --model quickstart'
        " --truth runs/quickstart --out recovered/quickstart",
        "recovered/quickstart/report.html",
        "heed serve runs/quickstart --top-logprobs 2 --logprobs processed --port 0 --no-access-log",
    ),
}


def make(folder: Path) -> None:
    """Run what has not written its page yet, and copy all pages."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "configs").exists():
        (folder / "configs").symlink_to(ROOT / "configs")
    HERE.mkdir(exist_ok=True)
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    for name, shown in PAGES.items():
        if not (folder / shown.page).exists():
            _run(shown, folder, env)
        shutil.copy(folder / shown.page, HERE / f"{name}.html")


def _run(shown: Shown, folder: Path, env: dict[str, str]) -> None:
    if not shown.serves:
        subprocess.run(shlex.split(shown.command), cwd=folder, env=env, check=True)
        return
    server = subprocess.Popen(shlex.split(shown.serves), cwd=folder, env=env, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        port = re.search(r"127\.0\.0\.1:(\d+)", server.stdout.readline())
        assert port is not None
        subprocess.run(shlex.split(shown.command.format(port=port[1])), cwd=folder, env=env, check=True)
    finally:
        server.terminate()
        server.wait()


def photograph() -> None:
    """Take a picture of the first screen of each page, in light colours."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
        for name in PAGES:
            page.goto((HERE / f"{name}.html").as_uri())
            page.wait_for_timeout(500)
            page.screenshot(path=HERE / f"{name}.png")
        browser.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--pictures", action="store_true")
    asked = parser.parse_args()
    if not asked.pictures:
        if asked.folder is None:
            parser.error("name a folder to work in")
        make(asked.folder.resolve())
    photograph()
