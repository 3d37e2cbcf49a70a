"""`heed data`: make data whose truth is known."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from heed.cli.settings import AsJson, act, parse
from heed.config import Section
from heed.text.biographies import DEV, PHRASINGS, TRAIN, TRUTH, WIKI, Dials, write_biographies


class BiographiesFlags(Section):
    """Invent people with known attributes; write text about them, questions with answers, and the truth.

    wiki.txt has a line `NAME. ...` each time a person is written about, birth_places_train.tsv and birth_dev.tsv have
    questions and answers as CS224N's birth places do, truth.jsonl has every attribute of every person and the lines
    that state it. The same seed gives the same people whatever the other dials say.

    examples:
      heed data biographies --out people
      heed data biographies --out half-seen --seen 0.5              half of the dev people are not in the text
      heed data biographies --out hard --phrasings 1 --sentences 5  one wording each, among four other facts
      heed data biographies --out often --lines 5                   five lines a person, in other words each time
      heed data biographies --out jobs --ask profession employer
      heed data biographies --out small --people 200 --seed 2 --json
    """

    out: Path
    """The folder to write; it must be empty or new."""
    people: int = Dials.people
    """People in all."""
    dev: float = Dials.dev
    """Share of the people whose questions are kept for evaluation (birth_dev.tsv)."""
    seen: float = Dials.seen
    """Share of the dev people who stand in the text. What is asked of the others can only be guessed."""
    sentences: int = Dials.sentences
    """Sentences in a line, 1 to 5, each on another attribute; what is asked is always among them."""
    lines: int = Dials.lines
    """Lines about each person, in other words and another order each time."""
    phrasings: int = PHRASINGS
    """Ways of stating each attribute, the plainest first."""
    ask: tuple[str, ...] = Dials.ask
    """Attributes that are asked for: birth-place, birth-year, profession, employer, home."""
    seed: int = Dials.seed
    """Another seed gives other people."""
    overwrite: bool = False
    """Replace the four files in a folder that is not empty."""
    json_: AsJson = False


def main(argv: list[str]) -> int:
    """Make data; 0 when done."""
    about = "invented people with known attributes: text, questions with answers, and the truth"
    return act("data", {"biographies": (_biographies, about)}, argv)


def _biographies(argv: list[str]) -> int:
    flags = parse(BiographiesFlags, argv, "data biographies")
    chosen = flags.model_dump(exclude={"out", "overwrite", "json_"})
    summary = write_biographies(flags.out, Dials(**chosen), overwrite=flags.overwrite)
    if flags.json_:
        print(json.dumps({**asdict(summary), "folder": str(summary.folder), "dials": chosen}, indent=2))
        return 0
    right, questions = summary.commonest["correct"], summary.dev_questions
    rows = {
        WIKI: f"{summary.lines:,} lines, {summary.characters:,} characters, the longest line {summary.longest_line}",
        TRAIN: f"{summary.train_questions:,} questions with answers",
        DEV: f"{questions:,} questions with answers; {summary.seen_dev_people:,} of {summary.dev_people:,} people are "
        f"in the text; always {summary.commonest['answer']!r}: {right:,} right ({right / questions:.1%})",
        TRUTH: f"{summary.people:,} people: every attribute, and the lines that state it",
    }
    for name, about in rows.items():
        print(f"{summary.folder / name}: {about}")
    return 0
