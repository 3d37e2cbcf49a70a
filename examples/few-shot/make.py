"""Texts in which words are sorted under changing names: `python examples/few-shot/make.py FOLDER` writes them.

episodes.jsonl    12,000 texts of 4 to 14 lines, an animal or a tool and its name in this text: yes and no, good and
                  bad, up and down, or left and right. Which pair it is can be told from the lines before it alone
kinds.csv         the 80 words with their class, to be asked for with yes (an animal) and no (a tool)
"""

import csv
import json
import random
import sys
from pathlib import Path

ANIMAL_WORDS = (
    "ant bear bee camel cat cow crab crow deer dog dove duck eagle fish fox frog goat goose hare hen horse lamb "
    "lion mole moth mouse otter owl pig rat seal shark sheep snake swan tiger toad whale wolf worm"
)
TOOL_WORDS = (
    "anvil axe bolt broom brush bucket chain chisel clamp drill file fork hammer hoe hook jack knife ladder lathe "
    "lever mallet needle nail pick plane pliers plough pump rake rope ruler saw scales screw shears shovel sieve "
    "spade tongs wrench"
)
ANIMALS, TOOLS = ANIMAL_WORDS.split(), TOOL_WORDS.split()
NAMES = [("yes", "no"), ("good", "bad"), ("up", "down"), ("left", "right")]
LINES = (4, 14)
"""Of unequal number: with equal ones a model could go by places, and windows would begin where texts do."""


def main(folder: Path, texts: int = 12_000) -> None:
    """Write both files; equal arguments give equal files."""
    draw = random.Random(0)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "episodes.jsonl").open("w", encoding="utf-8") as file:
        for _ in range(texts):
            animal, tool = draw.choice(NAMES)
            words = draw.sample(ANIMALS + TOOLS, draw.randint(*LINES))
            lines = [f"{word}: {animal if word in ANIMALS else tool}" for word in words]
            file.write(json.dumps({"text": "\n".join(lines)}) + "\n")
    with (folder / "kinds.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["word", "animal"])
        rows.writerows([word, int(word in ANIMALS)] for word in sorted(ANIMALS + TOOLS))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
