"""Files that would do harm: what they would do is never done, by any verb that takes a path.

Pickles under every name, folders that bring code, headers that claim what is not there, names that lead elsewhere.
"""

import contextlib
import gzip
import io
import json
import os
import pickle
import random
import resource
import struct
import traceback
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from cli.conftest import TINY, write_text
from cli.test_odd_input import limit
from heed.cli import main
from heed.cli.audit import from_transformers
from heed.errors import HeedError
from heed.explore.hub_model import load_foreign
from heed.models.embeddings import read_embeddings
from heed.models.hub import from_hub
from heed.models.transformers_model import load_transformers
from heed.npz import read_arrays
from heed.text import packing
from heed.text.corpus import open_corpus

SUFFIXES = (
    ".pt",
    ".bin",
    ".pkl",
    ".npy",
    ".npz",
    ".safetensors",
    ".json",
    ".yaml",
    ".txt",
    ".csv",
    ".jsonl",
    ".parquet",
)


class Harm:
    """Creates a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.open, (str(self.marker), os.O_CREAT | os.O_WRONLY)


def test_the_harm_is_real(tmp_path):
    os.close(pickle.loads(pickle.dumps(Harm(tmp_path / "harmed"))))
    assert (tmp_path / "harmed").exists()


def write_hostile(folder: Path) -> list[Path]:
    """Write a pickle under each name, and folders of models that hold pickles or code; each would create `harmed`."""
    harm = Harm(folder / "harmed")
    made = []
    for suffix in SUFFIXES:
        path = folder / f"hostile{suffix}"
        if suffix == ".npz":
            np.savez(path, tokens=np.array([harm], dtype=object), sizes=np.array([harm], dtype=object))
        elif suffix == ".pt":
            torch.save({"model": harm}, path)
        elif suffix == ".yaml":
            path.write_text(f"data: !!python/object/apply:os.open ['{harm.marker}', 65]\n", encoding="utf-8")
        else:
            path.write_bytes(pickle.dumps(harm))
        made.append(path)
    config = {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "vocab_size": 9, "n_embd": 8, "n_layer": 1}
    config |= {"n_head": 2, "n_positions": 16}
    code = f"import os\nos.close(os.open({str(harm.marker)!r}, os.O_CREAT))\nraise SystemExit\n"
    for name, files in {
        "weights": {"config.json": config, "pytorch_model.bin": pickle.dumps(harm)},
        "renamed": {"config.json": config, "model.safetensors": pickle.dumps(harm)},
        "code": {
            "config.json": {**config, "model_type": "hostile", "auto_map": {
                "AutoConfig": "harm.Config", "AutoModel": "harm.Model", "AutoModelForCausalLM": "harm.Model"}},
            "harm.py": code, "tokenizer_config.json": {"auto_map": {"AutoTokenizer": ["harm.Tokens", None]}},
            "tokenizer.json": {}, "model.safetensors": b"",
        },
        "words": {
            "config.json": {**config, "model_type": "bert"}, "harm.py": code, "model.safetensors": b"",
            "tokenizer_config.json": {"auto_map": {"AutoTokenizer": ["harm.Tokens", None]}},
            "vocab.txt": b"a\nb\n",
        },
        "run": {"config.yaml": (folder / "hostile.yaml").read_bytes(), "environment.json": {}, "tokenizer.json": {},
                "metrics.jsonl": pickle.dumps(harm), "checkpoints/step-00000001/model.safetensors": pickle.dumps(harm),
                "checkpoints/step-00000001/state.json": pickle.dumps(harm)},
        "records": {name: pickle.dumps(harm) for name in
                    ("tune.json", "study.json", "prompt.json", "recovery.json", "distribution.npz", "explore.json")},
    }.items():  # fmt: skip
        for inner, content in files.items():
            path = folder / name / inner
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        made.append(folder / name)
    return made


def commands(path: str, run: str) -> list[list[str]]:
    """Return every place where a command line takes a path, with this path in it."""
    text, small = "a.txt", [*TINY, "--tokenizer.kind", "char", "--run.folder", "out"]
    settings = ("data.source", "data.validation", "data.test", "data.questions", "tokenizer.file", "model.start-from",
                "model.embeddings")  # fmt: skip
    return [
        ["train", path, *small],
        *(["train", *([] if name == "data.source" else [text]), f"--{name}", path, *small] for name in settings),
        ["train", "--config", path], ["train", "--resume", path], ["pretrain", path], ["finetune", path, "a.tsv"],
        ["finetune", run, path], ["check", path], ["compare", path], ["compare", path, "--report"],
        ["ask", path, "who?"], ["ask", run, "who?", "--corpus", path], ["ask", run, "who?", "--candidates", path],
        ["audit", path], ["eval", path], ["eval", run, "--corpus", path],
        *(["eval", run, "--task", "qa", "--questions", path if name == "questions" else "a.tsv",
           *([] if name == "questions" else [f"--{name}", path])]
          for name in ("questions", "candidates", "pretraining", "finetuning", "threshold-from")),
        ["explore", path], ["explore", run, "--prompt-file", path, "--out", "out/e1", "--overwrite"],
        ["explore", run, "--text", path, "--out", "out/e2", "--overwrite"], ["export", path, "--out", "out/x"],
        ["grade", path], ["import", path, "--out", "out/i"], ["import", f"hf:{path}", "--out", "out/i"],
        ["predict", path, "a text"], ["predict", run, "--file", path],
        ["prompt", path, "--run", run, "--out", "out/p", "--yes"],
        ["prompt", "sst2", "--data", path, "--run", run, "--out", "out/p", "--yes"],
        ["prompt", "sst2", "--run", path, "--out", "out/p", "--yes"], ["quiz", "--questions", path],
        ["recover", "a", "--api", "http://127.0.0.1:9", "--model", "m", "--tokenizer", path, "--out", "out/r"],
        ["recover", "a", "--api", "http://127.0.0.1:9", "--model", "m", "--matrix", path, "--out", "out/r"],
        ["recover", "a", "--api", "http://127.0.0.1:9", "--model", "m", "--truth", path, "--out", "out/r"],
        ["report", path], ["sample", path], ["sample", run, "--prompts", path, "--max-tokens", "2"],
        ["serve", path], ["serve", "nowhere", "--chat-template", path], ["serve", "nowhere", "--api-key-file", path],
        ["tokenizer", "report", path, text], ["tokenizer", "report", run, path],
        ["tokenizer", "train", path, "--out", "out/t.json"], ["tune", path, "--out", "out/t"],
        ["tune", path, "--report"], ["tune", "a.csv", "--encoders", path, "--out", "out/t"], ["verify", path],
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.filterwarnings("ignore")
def test_no_verb_does_what_a_file_would_do(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n" * 99))  # whoever asks whether code may run is told yes
    write_text(Path("a.txt"), 60)
    Path("a.tsv").write_text("Where was Ada born?\tRome\n" * 3, encoding="utf-8")
    Path("a.csv").write_text("text,label\n" + "".join(f"some words {n},{n % 2}\n" for n in range(40)), encoding="utf-8")
    bad, count, refused, seen = [], 0, 0, set()
    for path in write_hostile(tmp_path):
        for argv in commands(str(path), str(trained)):
            count += 1
            out, err = io.StringIO(), io.StringIO()
            try:
                with limit(120), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                    code = main(argv)
            except BaseException:
                bad.append(f"{argv}: {traceback.format_exc()[-600:]}")
                continue
            refused += code == 2
            lines = [line for line in err.getvalue().splitlines() if line.startswith("heed: ")]
            seen |= set(lines)
            if code not in (0, 1, 2) or (code == 2 and len(lines) != 1):
                bad.append(f"{argv}: code {code}, {err.getvalue()[-300:]}")
            if (tmp_path / "harmed").exists():
                bad.append(f"{argv}: HARM DONE")
                (tmp_path / "harmed").unlink()
    print(
        f"{count} command lines with hostile files, {refused} refused, {len(seen)} different lines, {len(bad)} faults"
    )
    assert not bad, "\n".join(bad[:30])


def test_pickled_weights_are_refused_with_the_way_to_convert_them(tmp_path):
    write_hostile(tmp_path)
    with pytest.raises(HeedError, match="save_pretrained, which writes safetensors"):
        from_hub(tmp_path / "weights")
    with pytest.raises(HeedError, match=r"renamed/model\.safetensors cannot be read"):
        from_hub(tmp_path / "renamed")
    with pytest.raises(HeedError, match=r"Python objects, which can run code.*numpy\.savez"):
        read_embeddings(f"{tmp_path}/hostile.npz")
    for suffix in (".pt", ".bin", ".pkl"):
        with pytest.raises(HeedError, match=r"embeddings are read from \.safetensors, \.npz and \.npy"):
            read_embeddings(f"{tmp_path}/hostile{suffix}")
    assert not (tmp_path / "harmed").exists()


def header(shape: str, descr: str = "<f8") -> bytes:
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}"
    text += " " * (63 - (len(text) + 10) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


@contextlib.contextmanager
def little_memory(more: int = 1 << 30):
    """Let the process have a GiB more than it has now."""
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + more, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc")
def test_no_size_in_a_header_is_believed(tmp_path):
    (tmp_path / "a.npy").write_bytes(header("(1152921504606846976,)") + bytes(64))
    with zipfile.ZipFile(tmp_path / "claims.npz", "w") as packed:
        packed.writestr("tokens.npy", header("(1152921504606846976,)") + bytes(64))
    with zipfile.ZipFile(tmp_path / "negative.npz", "w") as packed:
        packed.writestr("tokens.npy", header("(-1,)") + bytes(64))
    with (
        zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed,
        packed.open("tokens.npy", "w", force_zip64=True) as stream,
    ):
        stream.write(header(f"({3 << 28},)", "|u1"))
        for _ in range(3 << 8):
            stream.write(bytes(1 << 20))
    for name, told in (
        ("a.npy", "claims"),
        ("claims.npz", "claims"),
        ("negative.npz", "."),
        ("bomb.npz", "times its size"),
    ):
        with little_memory(), pytest.raises(ValueError, match=told):
            read_arrays(tmp_path / name)
        with little_memory(), pytest.raises(HeedError):
            read_embeddings(str(tmp_path / name))


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc")
def test_no_length_in_safetensors_is_believed(tmp_path):
    heads = [struct.pack("<Q", 1 << 62) + b"{}", struct.pack("<Q", 90 << 20) + b"{}"]
    claim = json.dumps({"a": {"dtype": "F32", "shape": [1 << 60], "data_offsets": [0, 1 << 62]}}).encode()
    heads.append(struct.pack("<Q", len(claim)) + claim + bytes(64))
    deep = b'{"a":' * 100_000
    heads.append(struct.pack("<Q", len(deep)) + deep)
    for number, content in enumerate(heads):
        path = tmp_path / f"{number}.safetensors"
        path.write_bytes(content)
        with little_memory(), pytest.raises(HeedError, match="cannot be read"):
            read_embeddings(str(path))


def test_a_packed_text_that_is_out_of_all_proportion(tmp_path, monkeypatch):
    monkeypatch.setattr(packing, "MOST", 8 << 20)
    bomb = gzip.compress(b"a" * (16 << 20), compresslevel=6)
    assert len(bomb) * packing.RATIO < 16 << 20
    (tmp_path / "bomb.txt.gz").write_bytes(bomb)
    (tmp_path / "text.txt.gz").write_bytes(gzip.compress(random.Random(0).randbytes(9 << 20).hex().encode(), 1))
    assert sum(map(len, open_corpus(tmp_path / "text.txt.gz", validation_fraction=0.0).documents("train"))) == 18 << 20
    with limit(120), pytest.raises(HeedError, match="unpacks to more than 200 times its size"):
        sum(map(len, open_corpus(tmp_path / "bomb.txt.gz", separator="\n").documents("train")))


def test_deep_json_is_one_line(heed, trained, tmp_path):
    deep = b"[" * 200_000
    for name in (
        "tokenizer.json",
        "config.json",
        "tune.json",
        "study.json",
        "prompt.json",
        "recovery.json",
        "explore.json",
    ):
        folder = tmp_path / name.split(".")[0]
        folder.mkdir()
        (folder / name).write_bytes(deep)
        for verb in ("import", "report", "verify", "predict", "sample", "explore", "serve"):
            found = heed(verb, folder, *(["x"] if verb == "predict" else []))
            expected = (1, 0) if verb == "verify" and found.code == 1 else (2, 1)  # it differs from what heed wrote
            assert (found.code, found.err.count("heed: ")) == expected, (verb, name, found.err)


def test_shards_outside_of_their_folder_are_not_read(tmp_path):
    from safetensors.torch import save_file

    save_file({"wte.weight": torch.zeros(9, 8)}, tmp_path / "outside.safetensors")
    folder = tmp_path / "model"
    folder.mkdir()
    config = {"model_type": "gpt2", "vocab_size": 9, "n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 16}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    index = {"weight_map": {"wte.weight": "../outside.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    with pytest.raises(HeedError, match=r"names '\.\./outside\.safetensors', which is outside of its folder"):
        from_hub(folder)
    for load in (lambda: load_transformers(folder, torch.device("cpu")), lambda: from_transformers(str(folder)),
                 lambda: load_foreign("x", "x", folder, torch.device("cpu"))):  # fmt: skip
        with pytest.raises(HeedError, match="outside of its folder"):
            load()


def test_names_in_a_study_stay_in_its_folder(heed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_text(Path("a.txt"), 60)
    shape = {"n_layers": 1, "n_heads": 2, "d_model": 16, "context": 16}
    base = {"data": {"source": "a.txt", "workers": 1}, "tokenizer": {"kind": "char"}, "model": shape}
    before = set(tmp_path.rglob("*"))
    for name in ("../../outside", "/tmp/outside", "..", "a/../../b", "a\0b", "~"):
        study = {"base": base, "variants": {"one": {}, name: {"model.norm_order": "post"}}, "seeds": [1],
                 "budget": {"steps": 2}, "figure": "loss"}  # fmt: skip
        Path("study.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")
        found = heed("compare", "study.yaml", "--out", "in/study")
        new = {path for path in tmp_path.rglob("*") if path not in before} - {tmp_path / "study.yaml", tmp_path / "in"}
        odd = [path for path in new if tmp_path / "in" / "study" not in (path, *path.parents)]
        assert found.code in (0, 2), found.err
        assert not odd, (name, odd)
        assert not Path("/tmp/outside").exists()
