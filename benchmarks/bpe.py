"""Byte-pair encoding beside its peers, on WikiText-2: training, and encoding in bulk with GPT-2's vocabulary.

    python benchmarks/bpe.py --rounds 3     # about two minutes

Each measurement is a process of its own, the sides take turns, and medians are printed. CPU seconds add up all threads,
so that a busy machine disturbs them little. Encoding is the first pass over the text, with empty caches. Memory is the
peak of the whole process; documents are read from the file as they are needed: lines, one, or `letters`, its first
100,000 letters without anything between them, one piece. `again` is the second pass over these: in the first one heed
hands its merges over to Rust, as its peers have done before they are timed.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import chain, islice
from pathlib import Path

from heed.text.named import locate

FILE = Path(locate("wikitext-2/train.txt"))
GPT2 = Path(locate("gpt2-bpe"))
TASKS = {
    "train 8000 lines": ("heed", "tokenizers"),
    "train 8000 one": ("heed", "tokenizers"),
    "train 32000 lines": ("heed", "tokenizers"),
    "train 32000 one": ("heed", "tokenizers"),
    "encode gpt2 lines": ("heed", "tokenizers", "tiktoken"),
    "encode gpt2 one": ("heed", "tokenizers", "tiktoken"),
    "train 8000 letters": ("heed", "tokenizers"),
    "encode gpt2 letters": ("heed", "tokenizers", "tiktoken"),
    "encode gpt2 again": ("heed", "tokenizers", "tiktoken"),
}
LETTERS = 100_000
Row = dict[str, float]
Work = Callable[[Iterator[str]], int]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only", default="", help="the tasks whose name holds this")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(*arguments.one)))
        return
    for path in (FILE, GPT2):
        if not path.exists():
            sys.exit(
                f"{path} is not there: set HEED_DATA to the folder that holds it (heed doctor says where is looked)"
            )
    print(f"WikiText-2, {FILE.stat().st_size / 1e6:.1f} MB, medians of {arguments.rounds} (x: heed is 1)")
    for task, sides in TASKS.items():
        if arguments.only not in task:
            continue
        rows: dict[str, list[Row]] = {side: [] for side in sides}
        for _ in range(arguments.rounds):
            for side in sides:
                rows[side].append(apart(task, side))
        show(task, {side: median(measured) for side, measured in rows.items()})


def apart(task: str, side: str) -> Row:
    """Measure in a fresh process."""
    command = [sys.executable, __file__, "--one", task, side]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def median(rows: list[Row]) -> Row:
    return {key: statistics.median(row[key] for row in rows) for key in rows[0]}


def show(task: str, rows: dict[str, Row]) -> None:
    print(f"\n{task:<19} {'CPU s':>7} {'':>8} {'MB / CPU s':>10} {'memory MB':>10} {'':>8} {'tokens':>10}")
    ours = rows["heed"]
    for side, row in rows.items():
        ratios = {key: f"({row[key] / ours[key]:.2f} x)" for key in ("seconds", "memory")}
        speed = row["bytes"] / row["seconds"] / 1e6
        print(
            f"  {side:<17} {row['seconds']:>7.3f} {ratios['seconds']:>8} {speed:>10.1f} "
            f"{row['memory']:>10.0f} {ratios['memory']:>8} {row['tokens']:>10,.0f}"
        )


def measure(task: str, side: str) -> Row:
    """Return CPU seconds, peak memory in MB, bytes read, and tokens (learned, or written)."""
    verb, vocabulary, form = task.split()
    work = encoder(side) if verb == "encode" else trainer(side, int(vocabulary))
    if form == "again":
        work(documents(form))
    start = time.process_time()
    tokens = work(documents(form))
    seconds = time.process_time() - start
    return {
        "seconds": seconds,
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "bytes": sum(len(text.encode()) for text in documents(form)),
        "tokens": tokens,
    }


def documents(form: str) -> Iterator[str]:
    """Yield the text, line by line, as one document, or its first letters."""
    if form in ("letters", "again"):
        with FILE.open(encoding="utf-8") as file:
            yield "".join(islice(filter(str.isalpha, chain.from_iterable(file)), LETTERS))
        return
    if form == "one":
        yield FILE.read_text(encoding="utf-8")
        return
    with FILE.open(encoding="utf-8") as file:
        yield from file


def trainer(side: str, vocab_size: int) -> Work:
    if side == "heed":
        from heed.text.tokenizers.bpe_trainer import train_bpe

        return lambda texts: train_bpe(texts, vocab_size).vocab_size

    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    peer = Tokenizer(models.BPE())
    peer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    teacher = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )

    def train(texts: Iterator[str]) -> int:
        peer.train_from_iterator(texts, teacher)
        return peer.get_vocab_size()

    return train


def encoder(side: str) -> Work:
    from heed.text.tokenizers.bpe import Bpe
    from heed.text.tokenizers.patterns import SPLITS

    ours = Bpe.from_gpt2_files(GPT2 / "encoder.json", GPT2 / "vocab.bpe")
    if side == "heed":
        return lambda texts: sum(map(len, map(ours.encode_array, texts)))
    if side == "tokenizers":
        from tokenizers import Tokenizer

        peer = Tokenizer.from_str(json.dumps(ours.to_json()))
        batches = lambda texts: map(peer.encode_batch, iter(lambda: list(islice(texts, 1000)), []))
        return lambda texts: sum(len(encoding.ids) for encoding in chain.from_iterable(batches(texts)))

    import tiktoken

    ranks = {piece: id for id, piece in enumerate(ours.pieces) if id != ours.end_id}
    other = tiktoken.Encoding("gpt2", pat_str=SPLITS["gpt2"], mergeable_ranks=ranks, special_tokens={})
    return lambda texts: sum(map(len, map(other.encode_ordinary, texts)))


if __name__ == "__main__":
    main()
