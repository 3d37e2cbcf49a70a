"""Flags of a run that takes a second, and its text."""

import random
from pathlib import Path

TINY = [
    "--model.n-layers", "1", "--model.n-heads", "2", "--model.d-model", "16", "--model.context", "16",
    "--train.batch-size", "4", "--train.warmup-steps", "1", "--data.workers", "1", "--tokenizer.kind", "char",
    "--run.device", "cpu", "--run.threads", "1",
]  # fmt: skip


def write_animals(folder: Path) -> None:
    """Write a text whose name has a blank in it."""
    draw = random.Random(0)
    words = ["the cat", "a dog", "my heron", "one fox", "sees", "hears", "follows", "dreams of"]
    lines = [" ".join(draw.choices(words, k=3)) for _ in range(400)]
    (folder / "ani mals.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
