"""Shards: the same bytes whoever makes them, together the single token file; what is whole is kept, else it is told."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time

import numpy as np
import psutil
import pytest

import heed.text.shards as shards
from heed import files
from heed.config import DataConfig
from heed.errors import CheckpointError, ConfigError, DataError
from heed.records.shards import INDEX, ShardIndex, record_name, shards_in
from heed.text.joined import JoinedTokens
from heed.text.reading import corpus_of
from heed.text.sharded_corpus import open_shards, shard_tokens, shards_of
from heed.text.shards import Tokenisation, tokenise
from heed.text.tokenfile import token_files
from heed.text.tokenizers import train_tokenizer

TEXTS = [f"text {number} of {number % 7} and {number * number}. " * (number % 5 + 1) for number in range(400)]
TOKENIZER = train_tokenizer("bpe", TEXTS[:50], 300)
N = 5


@pytest.fixture
def source(tmp_path):
    lines = [json.dumps({"text": text}) for text in TEXTS]
    lines[100:100] = ['{"text": null}', '{"text": " "}']
    (tmp_path / "a.jsonl").write_text("\n".join(lines) + "\n")
    return tmp_path / "a.jsonl"


def asked(source, folder, n=N, tokenizer=TOKENIZER, **data):
    settings = {"source": str(source), "test_fraction": 0.1} | data
    return Tokenisation(DataConfig(**settings), tokenizer, folder, n)


def make(source, folder, wanted=None, workers=1, n=N, **data):
    return tokenise(
        asked(source, folder, n, **data), range(n) if wanted is None else wanted, workers, lambda line: None
    )


def bytes_of(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def opened(folder, tokenizer=TOKENIZER, verify=False, **data):
    return shard_tokens(open_shards(folder, DataConfig(source=str(folder), **data)), tokenizer, verify)


def test_shards_together_are_the_single_token_file(source, tmp_path):
    index = make(source, tmp_path / "out")
    config = DataConfig(source=str(source), test_fraction=0.1)
    single = token_files(corpus_of(config), TOKENIZER, tmp_path / "cache", workers=1)
    joined = opened(tmp_path / "out", verify=True)
    assert joined.keys() == single.keys() == {"train", "validation", "test"}
    for split, file in single.items():
        assert isinstance(joined[split], JoinedTokens)
        assert np.array_equal(np.asarray(joined[split].ids), file.ids)
        assert np.array_equal(joined[split].ends, file.ends)
        assert {key: file.header[key] for key in file.header if key != "sha256"} == {
            key: joined[split].header[key] for key in file.header if key != "sha256"
        }
        entries = index.splits[split]
        assert sum(entry.tokens for entry in entries) == file.header["tokens"]
        assert sum(entry.first_bytes for entry in entries) == file.header["first_bytes"]
    assert index.left_out == {"empty documents left out": 1, "rows without a text (null) left out": 1}
    assert corpus_of(config).fingerprint == index.text.corpus_fingerprint
    assert len(index.splits["train"]) == N


def test_one_by_one_in_any_order_they_are_the_same_bytes(source, tmp_path):
    make(source, tmp_path / "whole")
    for shard in (3, 0, 4, 2):
        assert make(source, tmp_path / "each", [shard]) is None
        assert not (tmp_path / "each" / INDEX).exists()
    with pytest.raises(DataError, match=r"is not whole, 4 of 5 shards are done: heed data tokenize makes the others"):
        open_shards(tmp_path / "each", DataConfig())
    assert isinstance(make(source, tmp_path / "each", [1]), ShardIndex)
    assert bytes_of(tmp_path / "each") == bytes_of(tmp_path / "whole")


@pytest.mark.slow
def test_several_processes_make_the_same_bytes(source, tmp_path, monkeypatch):
    make(source, tmp_path / "one")
    make(source, tmp_path / "three", workers=3)
    monkeypatch.setattr("heed.text.encoding.WORTHWHILE", 1)
    monkeypatch.setattr("heed.text.encoding.CHUNK", 100)
    make(source, tmp_path / "inside", [1], workers=2)
    whole, inside = bytes_of(tmp_path / "one"), bytes_of(tmp_path / "inside")
    assert bytes_of(tmp_path / "three") == whole
    assert inside == {name: whole[name] for name in inside}


def test_what_is_whole_is_kept_and_what_is_damaged_made_anew(source, tmp_path, monkeypatch):
    folder = tmp_path / "out"
    make(source, folder)
    whole = bytes_of(folder)
    written = []
    own = shards.write_token_file
    monkeypatch.setattr(
        shards, "write_token_file", lambda path, *rest, **more: (written.append(path.name), own(path, *rest, **more))[1]
    )
    make(source, folder)
    assert written == []
    (folder / "train-00001-of-00005.tokens").unlink()
    (folder / "train-00002-of-00005.tokens").write_bytes((folder / "train-00003-of-00005.tokens").read_bytes())
    (folder / record_name(4, N)).write_text("{")
    (folder / INDEX).write_text("{")
    (folder / ".train-00000-of-00005.tokens.writing").write_text("of a process that died")
    make(source, folder)
    assert bytes_of(folder) == whole
    assert {name.split("-")[1] for name in written} == {"00001", "00002", "00004"}


def test_two_at_once_share_the_work(source, tmp_path, monkeypatch):
    """Another process holds shard 0: the others are made first, then it is waited for."""
    folder = tmp_path / "out"
    folder.mkdir()
    made = []
    own = shards._write

    def write(asked, corpus, split, shard, workers):
        made.append(shard)
        return own(asked, corpus, split, shard, workers)

    monkeypatch.setattr(shards, "_write", write)
    result = []
    worker = threading.Thread(target=lambda: result.append(make(source, folder)))
    with files.locked(folder / f".{record_name(0, N)}.lock", "at it"):
        worker.start()
        while len(set(made)) < N - 1 and worker.is_alive():
            time.sleep(0.01)
        assert set(made) == {1, 2, 3, 4}
    worker.join()
    assert isinstance(result[0], ShardIndex)
    assert list(dict.fromkeys(made)) == [1, 2, 3, 4, 0]


def test_a_folder_of_something_else_is_refused(source, tmp_path):
    folder = tmp_path / "out"
    make(source, folder, [0])
    before = bytes_of(folder)
    other = train_tokenizer("bpe", TEXTS[:50], 290)
    cases = {
        "holds a text in 5 shards: give --shards 5": asked(source, folder, 4),
        "shards of another text, or one that was read or split otherwise": asked(source, folder, test_fraction=0.2),
        "shards of another tokenizer": asked(source, folder, tokenizer=other),
        r"holds other files \(a.jsonl\): give --out an empty": asked(source, tmp_path),
    }
    for said, plan in cases.items():
        with pytest.raises(DataError, match=said):
            tokenise(plan, [1], 1, lambda line: None)
    assert bytes_of(folder) == before
    (folder / record_name(0, N)).unlink()
    with pytest.raises(DataError, match="shards of another tokenizer"):
        tokenise(asked(source, folder, tokenizer=other), [1], 1, lambda line: None)
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="file cannot be written: File exists; choose another --out"):
        make(source, tmp_path / "file")


def test_a_text_that_changes_between_tasks_is_told(source, tmp_path):
    make(source, tmp_path / "out", [0])
    with source.open("a") as file:
        file.write('{"text": "one more"}\n')
    with pytest.raises(DataError, match="shards of another text"):
        make(source, tmp_path / "out", [1])


def test_given_splits_and_parts_without_text(tmp_path):
    """Two files that cannot be cut, in five shards: three are empty, and the held-out text is in the first."""
    for name in ("a", "b", "held"):
        (tmp_path / f"{name}.txt").write_text(f"{name} " * 50)
    index = make(str(tmp_path / "[ab].txt"), tmp_path / "out", validation=str(tmp_path / "held.txt"), test_fraction=0)
    assert {split: [entry.name[-21:-16] for entry in some] for split, some in index.splits.items()} == {
        "train": ["00000", "00002"],
        "validation": ["00000"],
    }
    joined = opened(tmp_path / "out")
    assert [TOKENIZER.decode(file.ids[:-1].tolist()) for file in joined["train"].files] == ["a " * 50, "b " * 50]
    assert TOKENIZER.decode(joined["validation"].ids[:-1].tolist()) == "held " * 50


def test_a_single_document_is_cut_by_position(tmp_path):
    (tmp_path / "a.txt").write_text("to be or not to be\n" * 40)
    make(tmp_path / "a.txt", tmp_path / "out", test_fraction=0)
    single = token_files(
        corpus_of(DataConfig(source=str(tmp_path / "a.txt"))), TOKENIZER, tmp_path / "cache", workers=1
    )
    assert all(np.array_equal(file.ids, single[split].ids) for split, file in opened(tmp_path / "out").items())


DAMAGES = {
    "missing": (r"train-00002-of-00005.tokens is missing", lambda path: path.unlink()),
    "cut": (r"train-00002-of-00005.tokens has [\d,]+ bytes and should have", lambda path: os.truncate(path, 5000)),
    "empty": ("is no token file of heed, or is damaged", lambda path: path.write_bytes(b"")),
    "altered": (
        "is not as it was written",
        lambda path: path.write_bytes(path.read_bytes()[:-1] + b"\x01"),
    ),
    "swapped": (
        "is not the file that index.json names",
        lambda path: shutil.copy(path.with_name("train-00003-of-00005.tokens"), path),
    ),
    "of another split": (
        "is not the file that index.json names",
        lambda path: shutil.copy(path.with_name("validation-00002-of-00005.tokens"), path),
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_shard_is_one_line(source, tmp_path, damage):
    make(source, tmp_path / "out")
    said, harm = DAMAGES[damage]
    harm(tmp_path / "out" / "train-00002-of-00005.tokens")
    with pytest.raises(DataError, match=said) as error:
        opened(tmp_path / "out")
    assert str(error.value).endswith(": heed data tokenize with the same words makes it anew")
    assert "\n" not in str(error.value)
    make(source, tmp_path / "out")
    opened(tmp_path / "out")


def test_a_shard_of_other_text_under_the_right_name_is_told(source, tmp_path):
    """All of it is whole: the file, its hash, its number, its tokenizer."""
    make(source, tmp_path / "out")
    make(source, tmp_path / "other", test_fraction=0.2)
    shutil.copy(tmp_path / "other" / "train-00002-of-00005.tokens", tmp_path / "out")
    with pytest.raises(DataError, match=r"is not the file that index\.json names"):
        opened(tmp_path / "out")


EDITS = {
    "another file": lambda text: text.replace('"train-00001', '"train-00002', 1),
    "half": lambda text: text[: len(text) // 2],
    "no object": lambda text: "[]",
    "another type": lambda text: text.replace('"shards": 5', '"shards": "5"'),
    "a shard less": lambda text: re.sub(r'\{\s+"name": "train-00001.*?\},', "", text, flags=re.DOTALL),
}


@pytest.mark.parametrize("edit", EDITS)
def test_a_damaged_index_is_one_line(source, tmp_path, edit):
    make(source, tmp_path / "out")
    whole = bytes_of(tmp_path / "out")
    path = tmp_path / "out" / INDEX
    path.write_text(EDITS[edit](path.read_text()))
    for hashes in (True, False):
        if not hashes and edit != "a shard less":  # which nothing else tells
            (tmp_path / "out" / "hashes.json").unlink()
        with pytest.raises((DataError, CheckpointError)) as error:
            opened(tmp_path / "out")
        assert "\n" not in str(error.value)
    make(source, tmp_path / "out")
    opened(tmp_path / "out")
    assert bytes_of(tmp_path / "out").items() >= {n: h for n, h in whole.items() if n != "hashes.json"}.items()


def test_settings_that_were_settled_when_the_shards_were_made(source, tmp_path):
    make(source, tmp_path / "out")
    folder = tmp_path / "out"
    with pytest.raises(
        ConfigError, match=r"data\.separator: x is asked for, but .*out was made with None: leave it out"
    ):
        open_shards(folder, DataConfig(separator="x"))
    with pytest.raises(ConfigError, match=r"data\.test_fraction: 0\.0 is asked for, but .* was made with 0\.1"):
        open_shards(folder, DataConfig(test_fraction=0.0))
    corpus = open_shards(folder, DataConfig(test="none"))
    assert corpus.splits == ("train", "validation")
    assert corpus.settings["test"] == "none"
    assert open_shards(folder, DataConfig(**open_shards(folder, DataConfig()).settings)).splits[2] == "test"
    with pytest.raises(DataError, match="token ids and no text"):
        list(corpus.documents("train"))
    with pytest.raises(DataError, match="made with another tokenizer"):
        opened(folder, train_tokenizer("char", ["ab"], 10))
    train_tokenizer("char", ["ab"], 10).save(folder / "tokenizer.json")
    with pytest.raises(DataError, match="is not the tokenizer that made the shards"):
        corpus.tokenizer()
    with pytest.raises(DataError, match="holds shards, which are token ids"):
        corpus_of(DataConfig(source=str(folder)))


def test_what_is_a_folder_of_shards(source, tmp_path, monkeypatch):
    make(source, tmp_path / "out", [2])
    assert shards_of(str(tmp_path / "out")) == tmp_path / "out"
    assert shards_in(tmp_path / "out") == {N}
    for other in (str(tmp_path), str(source), "python-reference", "hf:a/b", "no/such", "nul\0l", "x" * 300):
        assert shards_of(other) is None
    (tmp_path / "x y\u00e4\n'$(a)").mkdir()
    odd = tmp_path / "x y\u00e4\n'$(a)" / "\u202eout"
    assert isinstance(make(source, odd, n=2), ShardIndex)
    assert set(opened(odd)) == {"train", "validation", "test"}
    monkeypatch.chdir(odd)
    assert set(opened(odd.relative_to(odd))) == {"train", "validation", "test"}


@pytest.mark.slow
def test_processes_end_with_the_one_that_began_them(source, tmp_path):
    """SIGKILL to the first process: no other one is left, and the same command makes the rest."""
    TOKENIZER.save(tmp_path / "t.json")
    big = tmp_path / "big.jsonl"
    big.write_text(source.read_text() * 300)
    argv = ["data", "tokenize", str(big), "--tokenizer", str(tmp_path / "t.json"), "--out", str(tmp_path / "out")]
    argv += ["--shards", "4", "--workers", "2"]
    process = subprocess.Popen([sys.executable, "-m", "heed", *argv], stderr=subprocess.DEVNULL)
    me = psutil.Process(process.pid)
    while not list((tmp_path / "out").glob("*.tokens")):
        assert process.poll() is None
        time.sleep(0.02)
    children = me.children(recursive=True)
    assert len(children) >= 2
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs(children, timeout=30)
    assert not alive
    assert subprocess.run([sys.executable, "-m", "heed", *argv], check=False).returncode == 0
    make(big, tmp_path / "again", n=4, test_fraction=0)
    assert bytes_of(tmp_path / "out") == bytes_of(tmp_path / "again")


def ids_or_line(folder):
    try:
        return {split: np.asarray(file.ids).tolist() for split, file in opened(folder).items()}
    except (DataError, CheckpointError) as error:
        return str(error)


@pytest.mark.slow
@pytest.mark.parametrize("hashes", [True, False])
def test_any_damage_is_told_or_changes_nothing(source, tmp_path, hashes):
    """Bytes of a file are changed, taken out, doubled or swapped: the ids are as they were written, or it is a line."""
    make(source, tmp_path / "whole")
    wanted = ids_or_line(tmp_path / "whole")
    random, told = np.random.default_rng(5), 0
    names = sorted(bytes_of(tmp_path / "whole"))
    for number in range(400):
        folder = tmp_path / "damaged"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(tmp_path / "whole", folder)
        if not hashes:
            (folder / "hashes.json").unlink()
        path = folder / names[number % len(names)]
        content = bytearray(path.read_bytes() if path.exists() else b"{}")
        start, end = sorted(random.integers(0, len(content) + 1, 2).tolist())
        how = int(random.integers(5))
        if how == 0 and content:
            content[min(start, len(content) - 1)] ^= 1 << int(random.integers(8))
        elif how == 1:
            del content[start : min(end, start + 40)]
        elif how == 2:
            content[start:start] = content[start : min(end, start + 40)]
        elif how == 3:
            content = bytearray((folder / names[int(random.integers(len(names)))]).read_bytes() if hashes else b"")
        else:
            digits = [place for place, byte in enumerate(content) if chr(byte).isdigit()] or [0]
            content[int(random.choice(digits))] = ord(str(random.integers(10)))
        path.write_bytes(content)
        found = ids_or_line(folder)
        told += isinstance(found, str)
        assert "\n" not in found if isinstance(found, str) else found == wanted, (number, path.name, how)
    print(f"{told} of 400 told")
    assert told > 100
