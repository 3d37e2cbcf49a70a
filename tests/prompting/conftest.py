"""A language model that has read reviews with their moods, and new reviews to ask it about."""

import csv
import random
from pathlib import Path

import pytest

from heed.cli import main

GOOD, BAD = ("fine", "lovely", "warm", "bright", "clever"), ("dull", "poor", "cold", "grim", "empty")
THINGS = ("film", "story", "cast", "ending", "music", "plot")


def reviews(count: int, seed: int) -> list[tuple[str, str]]:
    """Return sentences, each with its mood."""
    draw = random.Random(seed)
    found = []
    for _ in range(count):
        good = draw.random() < 0.5
        one, other = draw.sample(THINGS, 2)
        word = draw.choice(GOOD if good else BAD)
        found.append((f"the {one} and the {other} are {word}", "good" if good else "bad"))
    return found


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small GPT over words that was trained on reviews in the form of the task below, three to a document."""
    folder = tmp_path_factory.mktemp("mood")
    shown = reviews(3000, seed=1)
    blocks = [f"Review : {text}\nMood : {mood}" for text, mood in shown]
    documents = ["\n\n".join(blocks[begin : begin + 3]) for begin in range(0, len(blocks), 3)]
    (folder / "text").mkdir()
    for place, document in enumerate(documents):
        (folder / "text" / f"{place:04d}.txt").write_text(document, encoding="utf-8")
    assert main(
        ["train", str(folder / "text"), "--tokenizer.kind", "bpe", "--tokenizer.vocab-size", "320",
         "--model.n-layers", "2", "--model.n-heads", "2", "--model.d-model", "32", "--model.context", "80",
         "--train.steps", "150", "--train.batch-size", "8", "--train.learning-rate", "3e-3",
         "--train.warmup-steps", "20", "--train.eval-every", "150", "--train.checkpoint-every", "150",
         "--data.workers", "1", "--run.folder", str(folder), "--run.name", "mood"]
    ) == 0  # fmt: skip
    return folder / "mood"


def write_reviews(path: Path, count: int = 120, seed: int = 2) -> Path:
    """Write a table of new reviews."""
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["review", "mood"])
        rows.writerows(dict(reviews(4 * count, seed)).items())
    return path


def write_task(path: Path, data: Path) -> Path:
    """Write a task file about them."""
    path.write_text(
        "name: mood\n"
        "description: Whether a review is good or bad\n"
        'template: "Review : {review}\\nMood :"\n'
        "labels: {bad: [bad], good: [good]}\n"
        "shots: 2\n"
        "max_tokens: 3\n"
        f"data: {{source: '{data}', text: review, label: mood, validation_fraction: 0.1, test_fraction: 0.3}}\n",
        encoding="utf-8",
    )
    return path
