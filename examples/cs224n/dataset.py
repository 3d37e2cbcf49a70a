"""Print four examples x and y of a data set of CS224N's assignment, as heed makes them.

    python dataset.py namedata          a question, the mask, the place, the mask
    python dataset.py charcorruption    prefix, mask, suffix, mask, the span that was taken out

y is x shifted by one; □ in y is what the loss does not count.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from assignment import BLOCK, PAD, run_script

from heed.text.corpus import open_corpus
from heed.text.corruption import mask_of, single_span
from heed.text.qa import answer_ids, question_ids, read_questions
from heed.text.tokenizers import MASK, Tokenizer, train_tokenizer

EXAMPLES = 4


def main(argv: Sequence[str]) -> int:
    """Print examples; 0 when done."""
    parser = argparse.ArgumentParser(
        "dataset.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("dataset_type", choices=("namedata", "charcorruption"))
    parser.add_argument("--wiki", default="wiki.txt", help="the wiki text; its characters are the vocabulary")
    parser.add_argument("--names", default="birth_places_train.tsv", help="questions with answers")
    parser.add_argument("--seed", type=int, default=1, help="of the spans")
    flags = parser.parse_args(argv)
    lines = list(open_corpus(flags.wiki, separator="\n", validation_fraction=0.0).documents("train"))
    tokenizer = train_tokenizer("char", lines, 100_000, specials=(MASK,))
    named = flags.dataset_type == "namedata"
    examples = names(tokenizer, flags.names) if named else corrupted(tokenizer, lines, flags.seed)
    for x, y in itertools.islice(examples, EXAMPLES):
        print("x:", x)
        print("y:", y)
    return 0


def names(tokenizer: Tokenizer, path: str) -> Iterator[tuple[str, str]]:
    """Yield x and y of questions; the loss counts the answer with the mask that ends it."""
    for question in read_questions(path):
        asked = tokenizer.decode(question_ids(tokenizer, question.prompt))
        answer = tokenizer.decode(answer_ids(tokenizer, question.answer or ""))
        yield padded(asked + answer), padded(PAD * len(asked) + answer, first=1)


def corrupted(tokenizer: Tokenizer, lines: Sequence[str], seed: int) -> Iterator[tuple[str, str]]:
    """Yield x and y of lines with a span moved to their end; the loss counts all of it."""
    random = np.random.default_rng(seed)
    for line in lines:
        ids = np.array(tokenizer.encode(line))
        row = tokenizer.decode(single_span(ids, mask_of(tokenizer), random, longest=BLOCK).tolist())
        yield padded(row), padded(row, first=1)


def padded(text: str, first: int = 0) -> str:
    """Return `BLOCK` - 1 characters of a text that is padded to `BLOCK`: from the first, or from the second."""
    return text.ljust(BLOCK, PAD)[first : first + BLOCK - 1]


if __name__ == "__main__":
    run_script(main)
