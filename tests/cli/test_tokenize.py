"""`heed data tokenize`, and all that reads what it makes: as on the text itself."""

import json
import os
import re
import shutil
import sys

import pytest
from safetensors.numpy import load_file

from cli.conftest import TINY, settled
from heed.cli import main
from heed.cli.data import main as data
from heed.errors import ConfigError, DataError
from heed.records.kept import read_record
from heed.records.slurm import ManifestFile
from heed.text.tokenizers import train_tokenizer

TEXTS = [f"the {('cat', 'dog', 'owl', 'bee')[n % 4]} number {n} sat {n % 9} times on the mat. " * 3 for n in range(120)]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Return a folder with a text, its tokenizer, its shards, and a run on each of the two."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    train_tokenizer("bpe", TEXTS, 300).save(folder / "t.json")
    assert data(tokenize(folder, "--data.validation-fraction", "0.2")) == 0
    text = [folder / "a.jsonl", "--tokenizer.file", folder / "t.json", "--data.validation-fraction", "0.2"]
    for name, source in (("text", text), ("shards", [folder / "tokens"])):
        argv = ["train", *source, *TINY, "--run.folder", folder / "runs", "--run.name", name, "--run.device", "cpu"]
        assert main(settled(argv)) == 0
    return folder


def tokenize(folder, *more):
    argv = ["tokenize", folder / "a.jsonl", "--tokenizer", folder / "t.json", "--out", folder / "tokens"]
    return settled([*argv, "--shards", "3", "--workers", "1", *more])


def figures(run):
    return {
        split: {name: value for name, value in found.items() if name != "evaluation_seconds"}
        for split, found in json.loads((run / "evaluation.json").read_text()).items()
    }


def losses(run):
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [(line["event"], line["step"], line["loss"]) for line in lines if line["event"] in ("train", "evaluation")]


def weights(run, step=6):
    return load_file(run / "checkpoints" / f"step-{step:08d}" / "model.safetensors")


def test_a_run_on_shards_is_the_run_on_their_text(made):
    text, shards = made / "runs" / "text", made / "runs" / "shards"
    assert losses(text) == losses(shards)
    assert figures(text) == figures(shards)
    one, other = weights(text), weights(shards)
    assert all((one[name] == other[name]).all() for name in one)
    states = [json.loads((run / "checkpoints/step-00000006/state.json").read_text())["state"] for run in (text, shards)]
    assert states[0]["batches"] == states[1]["batches"]
    assert "validation_fraction: 0.2" in (shards / "config.yaml").read_text()


def test_it_goes_on_and_is_measured_and_verified(made, tmp_path, capsys):
    run = shutil.copytree(made / "runs" / "shards", tmp_path / "run")
    assert main(["eval", str(run), "--json"]) == 0
    (said,) = json.loads(capsys.readouterr().out)["results"]
    assert said["loss"] == pytest.approx(figures(run)["validation"]["loss"], abs=1e-12)
    assert main(["verify", str(run)]) == 0
    assert "2 splits" in capsys.readouterr().out
    assert main(["train", "--resume", str(run), "--train.steps", "8"]) == 0
    text = shutil.copytree(made / "runs" / "text", tmp_path / "text")
    assert main(["train", "--resume", str(text), "--train.steps", "8"]) == 0
    one, other = weights(run, 8), weights(text, 8)
    assert all((one[name] == other[name]).all() for name in one)


@pytest.mark.parametrize("harm", ["missing", "altered", "swapped", "index", "tokenizer", "gone", "another text"])
def test_a_damaged_folder_is_one_line_for_all_that_read_it(made, tmp_path, harm, capsys):
    run = shutil.copytree(made / "runs" / "shards", tmp_path / "runs" / "shards")
    away = shutil.copytree(made / "tokens", tmp_path / "whole")
    try:
        tokens = made / "tokens"
        one, two = (tokens / f"train-0000{number}-of-00003.tokens" for number in (1, 2))
        if harm == "missing":
            one.unlink()
        elif harm == "altered":
            one.write_bytes(one.read_bytes()[:-3] + b"abc")
        elif harm == "swapped":
            shutil.copy(one, two)
        elif harm == "index":
            (tokens / "index.json").write_text((tokens / "index.json").read_text().replace("00001-of", "00002-of"))
        elif harm == "tokenizer":
            train_tokenizer("bpe", TEXTS, 290).save(tokens / "tokenizer.json")
        elif harm == "gone":
            shutil.rmtree(tokens)
        else:
            shutil.rmtree(tokens)
            assert data(tokenize(made, "--data.validation-fraction", "0.3")) == 0
        capsys.readouterr()
        for argv in (["train", "--resume", run, "--train.steps", "8"], ["eval", run], ["train", tokens, *TINY]):
            if harm == "another text" and argv[:2] == ["train", tokens]:
                continue
            code = main(settled([*argv, "--run.folder", tmp_path / "new"] if argv[1] == tokens else argv))
            said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("heed: ")]
            if harm == "tokenizer" and run in argv:
                assert code == 0  # a run has its own
                continue
            assert (code, len(said)) == (2, 1), (argv, said)
        code = main(["verify", str(run)])
        assert code == (0 if harm in ("tokenizer", "gone", "another text") else 1)  # 0: no text that could be tried
    finally:
        shutil.rmtree(made / "tokens", ignore_errors=True)
        shutil.copytree(away, made / "tokens")


def test_an_array_makes_what_one_command_does(made, tmp_path, monkeypatch, capsys):
    for number in (2, 0, 1):
        monkeypatch.setenv("SLURM_ARRAY_TASK_ID", str(number))
        more = ["--data.validation-fraction", "0.2", "--shard", "array", "--out", tmp_path / "out", "--json"]
        assert data(tokenize(made, *more)) == 0
        splits = json.loads(capsys.readouterr().out)["splits"]
        assert (splits is None) == (number != 1)
    assert splits["train"]["documents"] + splits["validation"]["documents"] == len(TEXTS)
    names = os.listdir(made / "tokens")
    assert sorted(names) == sorted(os.listdir(tmp_path / "out"))
    assert all((made / "tokens" / name).read_bytes() == (tmp_path / "out" / name).read_bytes() for name in names)


def test_what_is_said(made, tmp_path, capsys):
    assert data(tokenize(made, "--out", tmp_path / "out", "--shard", "1")) == 0
    assert "other shards are missing; whoever makes the last one writes the index" in capsys.readouterr().out
    assert data(tokenize(made, "--out", tmp_path / "out")) == 0
    out, err = capsys.readouterr()
    assert re.search(r"^train: [\d,]+ tokens, 1\d\d documents in 3 files$", out, re.MULTILINE)
    assert err.splitlines()[1].startswith("shard 1 of 3: train ")
    (tmp_path / "one.txt").write_text("one text " * 9)
    argv = ["tokenize", str(tmp_path / "one.txt"), "--tokenizer", str(made / "t.json"), "--out", str(tmp_path / "one")]
    assert data([*argv, "--shards", "4", "--data.validation-fraction", "0", "--workers", "1"]) == 0
    assert (
        "note: 3 of 4 shards are empty: compressed files, tables, files of hf:stream: and texts without"
        in capsys.readouterr().err
    )


def test_a_job_array(made, tmp_path, capsys, monkeypatch):
    """The script of an array; and what is submitted, to an sbatch that keeps what it is given."""
    monkeypatch.chdir(tmp_path)
    argv = tokenize(made, "--on", "slurm", "--slurm.time", "30", "--slurm.array-limit", "2", "--data.separator", "x")
    assert data([*argv, "--dry-run"]) == 0
    assert "#SBATCH --array=0-2%2" in capsys.readouterr().out
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "sbatch").write_text("#!/bin/sh\necho 12\n")
    (tmp_path / "bin" / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    assert data(argv) == 0
    assert "job 12: tokenize-tokens, an array of 3 tasks, 2 at a time" in capsys.readouterr().out
    (manifest,) = tmp_path.glob("slurm/*/manifest.json")
    tasks = read_record(ManifestFile, manifest).tasks
    assert [task.name for task in tasks] == [f"tokens, shard {number} of 3" for number in range(3)]
    command = tasks[2].command
    assert command[:3] == [sys.executable, "-m", "heed"]
    assert command[-2:] == ["--shard", "2"]
    assert not [word for word in command if "slurm" in word]
    assert main(settled([*command[3:], "--out", tmp_path / "made", "--data.separator", "y"])) == 0
    assert (tmp_path / "made" / "shard-00002-of-00003.json").is_file()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--shards", "0"], "--shards"),
        (["--shard", "3"], "--shard 3: shards go from 0 to 2, or are named by array"),
        (["--shard", "-1"], "--shard"),
        (["--shard", "array"], "this is no task of a Slurm array"),
        (["--workers", "-2"], "--workers"),
        (["--data.layout", "padded"], "--data.layout is nothing of token files: leave it to heed train"),
        (["--data.workers", "2"], "leave it to --workers"),
        (["--train.steps", "2"], "takes no --train.steps"),
        (["--shard", "1", "--on", "slurm"], "with --on slurm each shard is a task of its own"),
        (["--slurm.time", "1:00:00"], "add --on slurm"),
        (["--slurm.gpus", "1", "--on", "slurm"], "each task is a process without a GPU"),
        (["--tokenizer", "no/such"], "no such tokenizer: no/such"),
    ],
)
def test_mistakes_are_one_line(made, tmp_path, monkeypatch, more, said):
    monkeypatch.delenv("SLURM_ARRAY_TASK_ID", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ConfigError, DataError), match=re.escape(said)) as error:
        data(tokenize(made, "--out", "out", *more))
    assert "\n" not in str(error.value)
    assert not any(tmp_path.iterdir())


def test_token_ids_are_tokenised_already(tmp_path):
    with pytest.raises(ConfigError, match="is token ids already: heed train reads them as they are"):
        data(["tokenize", str(tmp_path / "a.npz"), "--tokenizer", "t.json", "--out", str(tmp_path / "out")])
