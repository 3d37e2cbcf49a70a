"""A text larger than a process should hold: tokenised in shards, trained on, gone on with. Time, and peaks of memory.

    nice python benchmarks/corpus_beyond_memory.py --folder /tmp/big     # 2 GB of text, 6 GB of disk, some 20 minutes

The text is made: JSON lines of 2 to 300 of 200,000 sentences, of 60,000 invented words that are as frequent as Zipf's
law has them; the same bytes every time. Memory is read from /proc of every process that a command begins, each 50 ms:
`own` is what it holds itself (RssAnon), `mapped` what it has mapped of files, libraries and token files (RssFile),
which the system takes back where others need room. Of each the largest that any one process came to.

Checked on the way: two processes make the bytes of one, the shards hold the ids of a single file in its order, and a
training that is killed and gone on with ends with the weights of one that was not, on the single file.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil

SYLLABLES = [a + b + c for a in "bdfgklmnprstvz" for b in ("a", "e", "i", "o", "u", "ai") for c in ("", "n", "r", "s")]
TRAIN = [
    "--model.n-layers", "2", "--model.d-model", "128", "--model.context", "256", "--train.batch-size", "32",
    "--train.eval-every", "25", "--train.checkpoint-every", "25", "--train.eval-tokens", "50000",
    "--train.final-tokens", "200000", "--run.device", "cpu", "--run.threads", "1",
]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--bytes", type=float, default=2e9)
    parser.add_argument("--shards", type=int, default=16)
    parser.add_argument("--steps", type=int, default=50)
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    text = asked.folder / "text.jsonl"
    begin = time.perf_counter()
    documents = make_text(text, int(asked.bytes))
    size = text.stat().st_size
    print(
        f"text: {size / 1e9:.2f} GB, {documents:,} documents, made in {time.perf_counter() - begin:.0f} s", flush=True
    )
    run(
        asked.folder,
        "train the tokenizer",
        ["tokenizer", "train", text.name, "--vocab-size", "8192", "--out", "t.json"],
    )
    tokenise = ["data", "tokenize", text.name, "--tokenizer", "t.json", "--data.validation-fraction", "0.005"]
    many = ["--shards", str(asked.shards)]
    run(asked.folder, "two processes", [*tokenise, *many, "--workers", "2", "--out", "two"], size)
    train = ["train", "two", *TRAIN, "--train.warmup-steps", "5", "--train.steps", str(asked.steps), "--run.name"]
    run(asked.folder, "train to the middle", [*train, "cut"], at=asked.steps // 2)
    run(asked.folder, "go on", ["train", "--resume", "runs/cut"])
    run(asked.folder, "train, 2 processes", [*train, "ranks", "--processes", "2"])
    run(asked.folder, "one process", [*tokenise, *many, "--workers", "1", "--out", "one"], size)
    assert hashes(asked.folder / "one") == hashes(asked.folder / "two")
    run(asked.folder, "a single file", [*tokenise, "--workers", "1", "--out", "single"], size)
    print(f"the same bytes of one process; the same {same_ids(asked.folder):,} ids in a single file", flush=True)
    run(asked.folder, "train on a single file, uncut", ["train", "single", *train[2:], "single"])
    last = f"checkpoints/step-{asked.steps:08d}/model.safetensors"
    weights = [(asked.folder / "runs" / name / last).read_bytes() for name in ("single", "cut")]
    assert weights[0] == weights[1], "the weights differ"
    print("the same weights: cut in two and gone on with on the shards, uncut on a single file")


def make_text(path: Path, size: int) -> int:
    """Write about `size` bytes of JSON lines, and return how many there are; what is there already is kept."""
    if path.exists() and path.stat().st_size >= size:
        with path.open("rb") as file:
            return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 24), b""))
    draw = np.random.default_rng(35)
    parts = draw.integers(len(SYLLABLES), size=(60_000, 3))
    words = ["".join(SYLLABLES[part] for part in some[: 1 + number % 3]) for number, some in enumerate(parts)]
    share = np.cumsum(1 / np.arange(1, len(words) + 1))
    lengths = draw.integers(4, 25, size=200_000)
    chosen = iter(np.searchsorted(share, draw.random(int(lengths.sum())) * share[-1]).tolist())
    sentences = [" ".join([words[next(chosen)] for _ in range(length)]) + ". " for length in lengths.tolist()]
    written = documents = 0
    other = path.with_suffix(".part")
    with other.open("w", encoding="ascii") as file:
        while written < size:
            counts = np.clip(np.exp(draw.normal(2.8, 1.0, 2000)), 2, 300).astype(int)
            places = np.split(draw.integers(len(sentences), size=int(counts.sum())), np.cumsum(counts)[:-1])
            for some in places:
                text = "".join([sentences[place] for place in some.tolist()])
                written += file.write(f'{{"id": {documents}, "text": "{text}"}}\n')
                documents += 1
    other.rename(path)
    return documents


def run(folder: Path, what: str, argv: list[str], size: int = 0, at: int | None = None) -> None:
    """Run a verb and print what it took; `size` bytes of text go through it, and at step `at` it is killed."""
    begin = time.perf_counter()
    own: dict[int, int] = {}
    mapped: dict[int, int] = {}
    with (folder / "log").open("a") as log:
        process = subprocess.Popen([sys.executable, "-m", "heed", *argv], cwd=folder, stdout=log, stderr=log)
        watched = psutil.Process(process.pid)
        while process.poll() is None:
            for one in [watched, *descendants(watched)]:
                note(one.pid, own, mapped)
            if (
                at is not None
                and (folder / "runs" / argv[-1] / "checkpoints" / f"step-{at:08d}" / "state.json").exists()
            ):
                process.kill()
            time.sleep(0.05)
    if process.returncode and at is None:
        raise SystemExit(f"{what} failed, see {folder / 'log'}")
    seconds = time.perf_counter() - begin
    speed = f", {size / seconds / 1e6:.1f} MB/s" if size else ""
    print(
        f"{what}: {seconds:.0f} s{speed}; own {max(own.values()) / 2**20:.0f} MiB, mapped "
        f"{max(mapped.values()) / 2**20:.0f} MiB, {len(own)} processes", flush=True,
    )  # fmt: skip


def descendants(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def note(pid: int, own: dict[int, int], mapped: dict[int, int]) -> None:
    """Note the peaks of a process, in bytes."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:  # it has ended
        return
    found = {
        name: int(rest.split()[0]) << 10 for name, _, rest in (line.partition(":") for line in lines) if "Rss" in name
    }
    own[pid] = max(own.get(pid, 0), found.get("RssAnon", 0))
    mapped[pid] = max(mapped.get(pid, 0), found.get("RssFile", 0))


def hashes(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file that is not of the moment."""
    found = {}
    for path in sorted(folder.iterdir()):
        with path.open("rb") as file:
            found[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def same_ids(folder: Path) -> int:
    """Hold ids and ends of the shards against those of a single file, and return how many ids there are."""
    from heed.config import DataConfig
    from heed.text.sharded_corpus import open_shards, shard_tokens

    corpora = [open_shards(folder / name, DataConfig()) for name in ("two", "single")]
    shards, single = (shard_tokens(corpus, corpus.tokenizer()) for corpus in corpora)
    for split in single:
        assert np.array_equal(shards[split].ends, single[split].ends)
        for begin in range(0, len(single[split].ids), 1 << 24):
            some = slice(begin, begin + (1 << 24))
            assert np.array_equal(np.asarray(shards[split].ids[some]), single[split].ids[some])
    return sum(len(file.ids) for file in single.values())


if __name__ == "__main__":
    main()
