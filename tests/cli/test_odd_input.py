"""What is odd about names, folders, texts and sizes: one line, exit code 2, and no hang."""

import os
import signal
import socket
import subprocess
from contextlib import contextmanager

import pytest

from cli.conftest import TINY, write_text
from cli.test_bad_input import complaint
from heed.text.corpus import open_corpus

CHARACTERS = [*TINY, "--tokenizer.kind", "char"]


@contextmanager
def limit(seconds: int):
    """Raise `TimeoutError` when the block takes longer."""

    def stop(*_):
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("kind", ["gpt", "encoder"])
def test_a_text_of_one_character(heed, tmp_path, kind):
    (tmp_path / "a.txt").write_text("a" * 3000)
    argv = ["train", tmp_path / "a.txt", *CHARACTERS, "--model.kind", kind, "--run.folder", tmp_path / "runs"]
    assert "a has a single character in it" in complaint(heed(*argv))
    assert not (tmp_path / "runs").exists()


def test_what_is_no_file_in_a_folder_is_left_out_and_counted(tmp_path):
    write_text(tmp_path / "a.txt")
    os.mkfifo(tmp_path / "pipe.txt")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s.txt"))
    (tmp_path / "gone.txt").symlink_to("nowhere")
    with limit(20):
        corpus = open_corpus(tmp_path)
        assert "(1 link to nothing, 2 no file)" in corpus.notes[0]
        assert open_corpus(str(tmp_path / "*.txt")).splits == ("train", "validation")


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="no devices")
def test_pipes_and_devices_by_name(heed, tmp_path):
    os.mkfifo(tmp_path / "pipe.txt")
    with limit(60):
        for source in (tmp_path / "pipe.txt", "/dev/zero", "/dev/null"):
            for verb in (["train", source], ["tune", source], ["check", "--data.source", source],
                         ["tokenizer", "train", source]):  # fmt: skip
                assert "is a pipe, a socket or a device" in complaint(heed(*verb))


def test_a_link_to_itself(heed, tmp_path):
    (tmp_path / "a.txt").symlink_to("a.txt")
    for source in (tmp_path, tmp_path / "a.txt", tmp_path / "*.txt"):
        line = complaint(heed("train", source, *CHARACTERS, "--run.folder", tmp_path / "runs"))
        assert "a.txt cannot be read: Too many levels of symbolic links" in line


def test_a_very_deep_folder(heed, tmp_path):
    number = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("deep", dir_fd=number)
        below = os.open("deep", os.O_RDONLY, dir_fd=number)
        os.close(number)
        number = below
    os.close(number)
    try:
        line = complaint(heed("train", tmp_path, *CHARACTERS, "--run.folder", tmp_path / "runs"))
        assert "cannot be read: File name too long" in line
        assert len(line) < 400
    finally:
        subprocess.run(["rm", "-rf", str(tmp_path / "deep")], check=True)


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_may_not_be_read(heed, tmp_path, kind, monkeypatch):
    texts = tmp_path / "texts"
    texts.mkdir()
    write_text(texts / "a.txt")
    closed = texts / "closed" if kind == "folder" else texts / "closed.txt"
    closed.mkdir() if kind == "folder" else write_text(closed)
    closed.chmod(0)
    if os.geteuid() == 0:  # whom nothing is closed to
        if not os.path.exists("/proc/self"):
            pytest.skip("needs another user")
        os.chmod(tmp_path, 0o755)
        for above in tmp_path.parents[:3]:
            os.chmod(above, 0o755)
        os.seteuid(65534)
    try:
        line = complaint(heed("check", "--data.source", texts)) if kind == "folder" else str(refusal(texts))
    finally:
        if os.getuid() == 0:
            os.seteuid(0)
        closed.chmod(0o755)
    assert f"{closed} cannot be read: Permission denied: change its permissions" in line


def refusal(source):
    from heed.errors import DataError

    with pytest.raises(DataError) as caught:
        open_corpus(source)
    return caught.value


def test_a_home_that_is_none(heed, tmp_path, monkeypatch):
    for verb in (["train"], ["tune"], ["check", "--data.source"], ["tokenizer", "train"], ["pretrain"]):
        assert "there is no user 'nosuchuser'" in complaint(heed(*verb, "~nosuchuser/x"))
    monkeypatch.setenv("HEED_DATA", "~nosuchuser/x")
    assert "there is no user 'nosuchuser'" in complaint(heed("train", "shakespeare"))


def test_long_names(heed, tmp_path):
    """A name of a text that a file may have is none too long for what heed makes of it."""
    for stem in ("n" * 250, "日" * 80):
        write_text(tmp_path / f"{stem}.txt", 200)
        argv = [tmp_path / f"{stem}.txt", *CHARACTERS, "--run.folder", tmp_path / "runs"]
        assert heed("train", *argv, "--train.steps", 2).code == 0
    for length in (300, 5000):
        for setting in ("--run.name", "--data.cache", "--data.source", "--run.folder"):
            argv = ["train", *CHARACTERS, "--run.folder", tmp_path / "r", setting, "x" * length]
            with_source = (
                argv if setting == "--data.source" else [*argv, "--data.source", tmp_path / f"{'n' * 250}.txt"]
            )
            assert len(complaint(heed(*with_source))) < 1000 + length


def test_sizes_that_no_model_has(heed):
    with limit(120):
        for name in ("d-model", "n-heads", "context", "n-layers", "d-hidden", "window", "n-kv-heads"):
            for value in (10**12, 9 * 10**18, 10**30, "9" * 5000):
                assert f"model.{name.replace('-', '_')}: " in complaint(heed("check", f"--model.{name}", value))
    for name in ("train.steps", "train.batch-size", "run.seed", "tokenizer.vocab-size", "train.eval-tokens"):
        assert name.replace("-", "_") in complaint(heed("check", f"--{name}", 10**30))
    for name in ("train.learning-rate", "train.weight-decay", "model.init-std", "train.clip"):
        for value in ("nan", "inf", "1e400"):
            assert name.replace("-", "_") in complaint(heed("check", f"--{name}", value))


def test_a_study_that_never_ends(heed, tmp_path):
    path = tmp_path / "study.yaml"
    axes = ", ".join(f"train.x{n}: [1, 2, 3, 4, 5, 6, 7, 8]" for n in range(9))
    for content, words in (
        (f"budget: {{steps: 2}}\naxes: {{{axes}}}", "they come to 134,217,728 variants"),
        ("budget: {steps: 2}\nvariants: {a: {}}\nseeds: 1000000000", "seeds: a study has at most 1,000"),
        (f"budget: {{steps: {10**30}}}\nvariants: {{a: {{}}}}", "budget.steps: must be below 2^63"),
        (f"budget: {{tokens: {'9' * 5000}}}\nvariants: {{a: {{}}}}", "is no int"),
        ("budget: {flops: 1.0e+400}\nvariants: {a: {}}", "budget.flops: input should be a finite number"),
        (
            f"budget: {{steps: 2}}\nvariants: {{a: {{model: {{d_model: {10**30}}}}}}}",
            "a: model.d_model: input should be",
        ),
    ):
        path.write_text(content)
        with limit(60):
            for verb in (["compare", path, "--dry-run"], ["check", path], ["compare", path, "--out", tmp_path / "o"]):
                answer = heed(*verb)
                assert answer.code == 2
                assert words in answer.err
    assert not (tmp_path / "o").exists()


def test_the_file_of_a_study_is_checked_as_one(heed, tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text("budget: {steps: 2}\nvariants: {a: {}, b: {model.norm_order: post}}\nseeds: 3\n")
    answer = heed("check", path)
    assert answer.code == 0
    assert answer.out.split() == ["variants", "2", "seeds", "3", "runs", "6"]
    path.write_text("budget: {steps: 2}\nvariants: {a: {}, b: {model.norm_ordr: post}}\nseeds: 3\n")
    assert "b: model.norm_ordr: unknown setting, did you mean 'norm_order'?" in complaint(heed("check", path))
    assert "is for the file of a study: run that with heed compare" in complaint(heed("train", "--config", path))
