"""Full disks, closed descriptors and files that cannot be had: one line that names the file, exit code 2."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from heed.cli import main

pytestmark = pytest.mark.slow  # each starts a process or many verbs
PRINTING = [
    ["--help"], ["--version"], ["list", "attention"], ["check"], ["check", "--schema"], ["tokenizer"], ["data"],
    ["train", "--help"], ["doctor"],
]  # fmt: skip


def shell(line: str, *argv: str) -> subprocess.CompletedProcess:
    heed = [sys.executable, "-m", "heed", *argv]
    quoted = " ".join("'" + word.replace("'", "'\\''") + "'" for word in heed)
    return subprocess.run(["bash", "-c", f"{quoted} {line}"], capture_output=True, text=True, timeout=120)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
@pytest.mark.parametrize("argv", PRINTING)
def test_a_full_disk_behind_standard_output(argv):
    done = shell("> /dev/full", *argv)
    assert done.returncode == 2
    assert done.stderr == "heed: standard output: No space left on device: free some room, or choose another place\n"


@pytest.mark.parametrize("argv", PRINTING[:4])
def test_standard_output_that_is_closed(argv):
    done = shell(">&-", *argv)
    assert done.returncode == 2
    assert done.stderr == "heed: standard output is closed: send it to a file, or to /dev/null\n"


@pytest.mark.parametrize("line", ["2>&-", "2> /dev/full", "<&- 2>&-", "<&- >&- 2>&-", "> /dev/full 2> /dev/full"])
@pytest.mark.parametrize("argv", [["list", "presets"], ["lsit"]])
def test_standard_error_that_cannot_be_written(line, argv):
    done = shell(line, *argv)
    assert done.returncode == (2 if argv == ["lsit"] or ">&- 2" in line or "> /dev/full 2" in line else 0)
    assert done.stderr == ""


def test_a_reader_that_has_gone():
    done = shell("| true; exit ${PIPESTATUS[0]}", "check", "--schema")
    assert done.returncode in (0, 141)
    assert done.stderr == ""


def test_standard_output_in_ascii(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "heed", "list", "attention"],
        capture_output=True, text=True, timeout=120, env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "No space left on device: free some room"),
        (errno.EACCES, "Permission denied: change its permissions"),
        (errno.ENAMETOOLONG, "File name too long: choose a shorter one"),
        (errno.ELOOP, "a link that leads to itself"),
        (errno.EROFS, "Read-only file system: choose another place"),
        (errno.EIO, "check the disk"),
    ],
)
def test_the_last_resort_names_the_file(capsys, monkeypatch, number, words):
    import heed.cli.list

    def fail(argv):
        raise OSError(number, os.strerror(number), "/some/file")

    monkeypatch.setattr(heed.cli.list, "main", fail)
    assert main(["list"]) == 2
    line = capsys.readouterr().err
    assert line.startswith("heed: /some/file: ")
    assert words in line
    assert line.count("\n") == 1


@pytest.mark.parametrize("error", [ValueError("bug"), OSError("no number"), KeyError("bug"), RuntimeError("bug")])
def test_a_bug_is_a_traceback(monkeypatch, error):
    import heed.cli.list

    def fail(argv):
        raise error

    monkeypatch.setattr(heed.cli.list, "main", fail)
    with pytest.raises(type(error)):
        main(["list"])


def test_names_that_no_terminal_should_get(capsys, tmp_path):
    for name in ("a\nb", "a\x1b[2Jb", "a" * 300, "b/" * 2500, "~nosuchuser/x", "\udcff.txt"):
        for argv in (["train", name], ["tune", name], ["check", name], ["check", "--data.source", name],
                     ["compare", name], ["predict", name, "x"], ["sample", name], ["eval", name], ["report", name],
                     ["audit", name], ["export", name], ["import", name], ["tokenizer", "report", name, name],
                     ["tokenizer", "train", name, "--out", str(tmp_path / "t")], ["ask", name, "who?"],
                     ["train", "--resume", name], ["train", "--config", name], ["finetune", name, name],
                     ["pretrain", name], ["train", "x.txt", "--tokenizer.file", name], [name],
                     ["train", "--data.validation", name],
                     ["train", "--model.start-from", name], ["compare", "x", "--out", name]):  # fmt: skip
            assert main(argv) == 2, argv
            lines = [line for line in capsys.readouterr().err.split("\n") if not line.startswith("device: ")]
            assert len(lines) == 2, argv
            assert lines[0].startswith("heed: "), argv
            assert len(lines[0]) < 1000, argv
            assert "\x1b" not in lines[0]
    assert not list(Path(tmp_path).iterdir())


@pytest.mark.parametrize(
    ("verb", "code", "said"),
    [
        ("return 3", 3, ""),
        ("sys.exit(4)", 4, ""),
        ("sys.exit()", 0, ""),
        ("sys.exit('no')", 1, "no"),
        ("raise ValueError('ours')", 1, "ValueError: ours"),
        ("threading.Thread(target=lambda: (time.sleep(0.5), print('thread'))).start(); return 0", 0, ""),
    ],
)
def test_a_process_ends_at_once_but_loses_nothing(verb, code, said):
    program = f"""
import atexit, sys, threading, time
import heed.cli
def verb(arguments):
    atexit.register(lambda: print("registered"))
    print("buffered")
    {verb}
heed.cli._run = verb
heed.cli.program()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == code
    assert done.stdout.split() == ["buffered", *(["thread"] if "thread" in verb else []), "registered"]
    assert said in done.stderr
    assert ("Traceback" in done.stderr) == ("raise" in verb)
