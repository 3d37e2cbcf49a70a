"""Answer "London" to every question: what a model must beat. CS224N's assignment, part d.

python london_baseline.py --eval_corpus_path birth_dev.tsv
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from assignment import result, run_script

from heed.text.qa import normalise, read_questions


def main(argv: Sequence[str]) -> int:
    """Print how many questions the one answer is right about; 0 when done."""
    parser = argparse.ArgumentParser(
        "london_baseline.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--eval_corpus_path", default="birth_dev.tsv", help="questions with answers")
    parser.add_argument("--city", default="London", help="the answer")
    flags = parser.parse_args(argv)
    gold = [normalise(question.answer or "") for question in read_questions(flags.eval_corpus_path)]
    print(result(gold.count(flags.city), len(gold)))
    return 0


if __name__ == "__main__":
    run_script(main)
