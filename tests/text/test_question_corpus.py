"""Questions as a corpus: splits by the question, rows by hand, and errors that name the line."""

import pytest

from heed.errors import DataError
from heed.text.question_corpus import open_questions, question_tokens
from heed.text.sources import draw
from heed.text.tokenizers import MASK, train_tokenizer


def write(path, pairs):
    path.write_text("".join(f"{question}\t{answer}\n" for question, answer in pairs), encoding="utf-8")
    return path


@pytest.fixture
def pairs(tmp_path):
    return write(tmp_path / "pairs.tsv", [(f"who is {n % 180}?", f"n{n}") for n in range(200)])


def test_every_question_stands_in_one_split_with_its_equals(pairs):
    corpus = open_questions(pairs, validation_fraction=0.2, test_fraction=0.1)
    splits = {split: corpus.questions(split) for split in corpus.splits}
    assert sorted(q.line for questions in splits.values() for q in questions) == list(range(1, 201))
    prompts = [{q.prompt for q in questions} for questions in splits.values()]
    assert not prompts[0] & prompts[1]
    assert not prompts[1] & prompts[2]
    # the hash of a question alone decides, with the test split at the low end, as for other text
    assert all(draw(q.prompt) < 0.1 for q in splits["test"])
    assert all(0.1 <= draw(q.prompt) < 0.3 for q in splits["validation"])
    assert [q.line for q in splits["train"]] == sorted(q.line for q in splits["train"])
    assert next(corpus.documents("validation")) == f"{splits['validation'][0].prompt} {splits['validation'][0].answer}"


def test_given_splits_and_none(pairs, tmp_path):
    dev = write(tmp_path / "dev.tsv", [("a?", "b")])
    corpus = open_questions(pairs, validation=dev, test="none", test_fraction=0.0)
    assert corpus.splits == ("train", "validation")
    assert [len(corpus.questions(split)) for split in corpus.splits] == [200, 1]
    assert open_questions(pairs, validation_fraction=0.0).splits == ("train",)
    before = open_questions(dev, validation_fraction=0.0).fingerprint
    write(dev, [("a?", "c")])
    assert open_questions(dev, validation_fraction=0.0).fingerprint != before


def test_a_single_question_is_not_split(tmp_path):
    with pytest.raises(DataError, match="a single question, too few to be split"):
        open_questions(write(tmp_path / "one.tsv", [("a?", "b")]))


def test_rows_by_hand_and_what_the_vocabulary_lacks(tmp_path):
    corpus = open_questions(write(tmp_path / "two.tsv", [("ab?", "c"), ("b?", "ac")]), validation_fraction=0.0)
    tokenizer = train_tokenizer("char", ["abc?"], 10, specials=[MASK])
    tokens = question_tokens(corpus, tokenizer)["train"]
    assert tokenizer.decode(tokens.ids.tolist()) == f"ab?{MASK}c{MASK}b?{MASK}ac{MASK}"
    assert tokens.ends.tolist() == [6, 12]
    assert [q.answer for q in tokens.questions] == ["c", "ac"]
    with pytest.raises(DataError, match=r"two\.tsv, line 2: character 'b' .* alphabet"):
        question_tokens(
            open_questions(write(tmp_path / "two.tsv", [("a?", "c"), ("b?", "c")]), validation_fraction=0.0),
            train_tokenizer("char", ["ac?"], 10, specials=[MASK]),
        )
    with pytest.raises(DataError, match=r"^this tokenizer has no mask token"):
        question_tokens(corpus, train_tokenizer("char", ["abc?"], 10))
