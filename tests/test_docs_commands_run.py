"""The commands of README and docs do what the pages say: each is run, in the order of its page.

Long ones make two steps, read the beginnings of the data sets and measure short sequences (`SHORTER`); servers are
started and asked at another port; what needs a GPU, a cluster or the network is in `LEFT`, with what runs it instead.
"""

import fnmatch
import io
import os
import re
import subprocess
import sys
import time
from contextlib import ExitStack

import pytest

from docs_folder import BEFORE, QUICK, make_data, make_materials, make_runs, stage
from forked import fork_what_heed_starts, heed_process
from heed import experiment
from heed.cli import main
from test_docs_commands import COMMANDS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

LEFT = {
    "*--gpus*": "GPUs; tests/gpu",
    "*--device cuda*": "a GPU; tests/gpu",
    "*--push hf:me/my-model": "the hub; tests/cli/test_export_push.py pushes to a server here",
    "*--push hf:me/my-model --public": "as above",
    "*--push hf:me/my-adapter": "as above",
    "*wandb,trackio*": "packages that no test installs; tests/training tries their adapters",
    "* --shard array*": "a task of an array; tests/slurm runs one",
}
"""Commands that are not run, and why."""

SHORTER = {
    "train": QUICK,
    "pretrain": QUICK,
    "finetune": QUICK,
    "bench attention": ["--lengths", "16", "32", "--widths", "16", "--heads", "2", "--budget", "0.05"],
    "bench memory": ["--batch-sizes", "1", "2", "--contexts", "16", "32"],
    "bench devices": ["--steps", "2", "--train.batch-size", "2"],
    "tune": ["--seeds", "1", "--epochs", "1", "--search", "none", "--train-examples", "32", "--max-length", "16"],
    "explore": ["--windows", "2", "--sequences", "2", "--repeat", "8"],
    "prompt": ["--items", "4"],
    "recover --hidden-size": ["--hidden-size", "20", "--vocab-size", "300"],
    "sample --api": ["--max-tokens", "1"],
    "runs gc": ["--yes"],
    "runs rm": ["--yes"],
    "verify": ["--steps", "2"],
}
"""What is put in the place of a command's own flags, by its verb."""
LISTS = {"--lengths", "--widths", "--batch-sizes", "--contexts"}
"""Flags of several values."""
SAID = {
    "quiz*": "q\n",
    "predict * -": "a fine film\n",
}
"""What is typed in."""
CODES = {"grade homework": 1}
"""Exit codes other than 0: the exercises are blank."""


def shorter(words):
    """Return a command that takes a second or two."""
    verb = next((verb for verb in (" ".join(words[:2]), words[0]) if verb in SHORTER), None)
    more = [] if verb is None else list(SHORTER[verb])
    if "--on" in words:
        more, verb = ["--dry-run"], None
    if "--resume" in words:
        more = ["--train.steps", "4"]
    if words[:2] == ["tune", "suggest"] or (words[0] == "tune" and words[1].startswith("tunes/")):
        more = []
    if words[0] == "tune" and any("prompt" in word.split(",") for word in words):
        more += ["--method.tokens", "2"]  # of 128 to each text of 16
    if words[0] == "tune" and "--methods" in words:
        more += ["--encoders", "encoders/bert-base-uncased"]  # a tiny one; minilm is tuned where no method is named
    if "--soup" in words:
        more[more.index("--seeds") + 1] = "2"
    if "--shards" in words:
        more += ["--shards", "4", "--workers", "1"]
    if "--open" in words:
        words = [word for word in words if word != "--open"]
    return replaced(words, more)


def replaced(words, flags):
    """Return a command with these flags in the place of its own.

    >>> replaced(["bench", "x", "--lengths", "8", "9", "--json"], ["--lengths", "2"])
    ['bench', 'x', '--json', '--lengths', '2']
    """
    gone, kept, values = {flag for flag in flags if flag.startswith("--")}, [], 0
    for word in words:
        if word.startswith("--"):
            values = (99 if word in LISTS else 1) if word in gone else 0
            kept += [] if values else [word]
        elif values:
            values -= 1
        else:
            kept.append(word)
    return [*kept, *flags]


def write_little(patch):
    """Runs write texts of 16 tokens, and of 8 while they train: 160 take half of the time of so short a run."""
    patch.setattr(experiment, "SAMPLE_TOKENS", 16)


class Servers:
    """Servers that a page starts, and where they are."""

    def __init__(self, folder):
        self.folder, self.running, self.at = folder, [], ""

    def start(self, words):
        """Start one at a port that is free, and wait until it says where it is."""
        said = self.folder / f"said-{len(self.running)}.log"
        with said.open(
            "w", encoding="utf-8"
        ) as file:  # no pipe: a server that nobody reads stands still when it is full
            process = heed_process(*words, "--port", "0", cwd=self.folder, stdout=file, stderr=subprocess.STDOUT)
        self.running.append(process)
        while not (found := re.search(r"http://127\.0\.0\.1:(\d+)", said.read_text(encoding="utf-8"))):
            assert process.poll() is None, said.read_text(encoding="utf-8")
            time.sleep(0.1)
        self.at = found[1]

    def stop(self):
        """End all of them."""
        for process in self.running:
            process.terminate()
        for process in self.running:
            process.wait(timeout=30)


@pytest.fixture(scope="session")
def materials(tmp_path_factory, shared_data):
    folder = tmp_path_factory.mktemp("docs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEED_DATA", str(make_data(shared_data, folder / "data")))
        patch.chdir(make_materials(folder / "here"))
        write_little(patch)
        make_runs(folder / "here")
    return folder


def left(words):
    """Return why a command is not run, or None."""
    return next((why for form, why in LEFT.items() if fnmatch.fnmatch(" ".join(words), form)), None)


@pytest.mark.parametrize("page", [page for page, found in COMMANDS.items() if found])
def test_commands_of_a_page_run_in_its_order(page, materials, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HEED_DATA", str(materials / "data"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("COLUMNS", "120")
    fork_what_heed_starts(monkeypatch)
    write_little(monkeypatch)
    before = set(sys.modules)
    monkeypatch.chdir(stage(page, materials / "here", tmp_path / "here"))
    wrong = []
    with ExitStack() as stack:
        servers = Servers(tmp_path / "here")
        stack.callback(servers.stop)
        for words in BEFORE.get(page, []):
            assert main(shorter(words)) == 0, capsys.readouterr().err
        for words in COMMANDS[page]:
            if left(words):
                continue
            command = [word.replace("127.0.0.1:8000", f"127.0.0.1:{servers.at}") for word in shorter(words)]
            if words[0] in ("serve", "board") or words == ["explore"]:
                servers.start(command)
                continue
            typed = " ".join(words)
            monkeypatch.setattr(
                sys,
                "stdin",
                io.StringIO(next((said for form, said in SAID.items() if fnmatch.fnmatch(typed, form)), "")),
            )
            begun = os.times()
            code = main(command)
            spent = os.times()
            shown = capsys.readouterr()
            if os.environ.get("SHOWN"):
                with capsys.disabled():
                    print(f"\n{sum(spent[:4]) - sum(begun[:4]):5.1f} s {code} heed {' '.join(command)[:200]}")
                    if code != CODES.get(typed, 0):
                        print((shown.out + shown.err)[-600:])
            if code != CODES.get(typed, 0):
                wrong.append(f"exit code {code}: heed {' '.join(command)}\n{(shown.out + shown.err)[-1200:]}")
    for name in set(sys.modules) - before:
        if name.split(".")[0] in ("my_module", "my_package", "my_scores"):
            del sys.modules[name]
    assert not wrong, "\n\n".join(wrong)


def test_what_is_not_run_is_on_a_page():
    typed = [" ".join(words) for found in COMMANDS.values() for words in found]
    for form in (*LEFT, *SAID, *CODES):
        assert any(fnmatch.fnmatch(one, form) for one in typed), form
