"""Questions with answers: their files and what is wrong with them, their rows, and what counts."""

import gzip
import json

import numpy as np
import pytest

from heed.errors import CheckpointError, DataError
from heed.text.qa import (
    Question,
    Questions,
    answer_ids,
    commonest_answer,
    normalise,
    question_ids,
    question_windows,
    read_questions,
)
from heed.text.tokenizers import MASK, train_tokenizer
from heed.text.tokenizers.bpe import Bpe
from heed.text.tokenizers.characters import Characters

PAIRS = [Question(f"Where was P{n} born?", f"Town{n % 3}", n + 1, "pairs.tsv") for n in range(10)]


@pytest.fixture(scope="module")
def characters() -> Characters:
    tokenizer = train_tokenizer("char", ["Where was P0123456789 born?Town"], 100, end_of_text=False, specials=(MASK,))
    assert isinstance(tokenizer, Characters)
    return tokenizer


@pytest.fixture
def write(tmp_path):
    def file(content: str | bytes, name: str = "pairs.tsv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return file


# Files --------------------------------------------------------------------------------------------------------------


def test_tab_separated_lines(write):
    path = write("Where was Ada born?\tLondon\r\nWhere was Zoë born?\t New York \n\n")
    assert read_questions(path) == [
        Question("Where was Ada born?", "London", 1, str(path)),
        Question("Where was Zoë born?", "New York", 2, str(path)),
    ]
    assert read_questions(path)[1].place == f"{path}, line 2"


def test_a_byte_order_mark_other_encodings_and_packed_files(write):
    for path in (write("\ufeffZoë?\tŁódź\n"), write(gzip.compress("Zoë?\tŁódź\n".encode()), "pairs.tsv.gz")):
        assert [(q.prompt, q.answer) for q in read_questions(path)] == [("Zoë?", "Łódź")]
    latin = write("Zoë?\tKöln\n".encode("latin-1"), "latin.txt")
    assert read_questions(latin, encoding="latin-1")[0].answer == "Köln"
    wide = write("Zoë?\tKöln\nb\tc".encode("utf-16"), "wide.tsv")
    assert [q.prompt for q in read_questions(wide, encoding="utf-16")] == ["Zoë?", "b"]


def test_unusual_line_ends_are_part_of_a_text(write):
    assert read_questions(write("a\u2028b?\tc\x0bd\n"))[0].prompt == "a\u2028b?"


def test_json_lines(write):
    rows = [{"question": "a?", "answer": "b", "id": 1}, {"prompt": " c? ", "answer": " d\t"}]
    path = write("\n".join(map(json.dumps, rows)), "pairs.jsonl")
    assert [(q.prompt, q.answer, q.line) for q in read_questions(path)] == [("a?", "b", 1), ("c?", "d", 2)]


def test_answers_may_be_missing_where_it_is_said(write):
    path = write("a?\nb?\tc\n")
    assert [q.answer for q in read_questions(path, answers=False)] == [None, "c"]
    path = write('{"question": "a?"}\n{"question": "b?", "answer": null}', "open.jsonl")
    assert [q.answer for q in read_questions(path, answers=False)] == [None, None]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.tsv", "a\tb\nc d\n", r"p\.tsv, line 2 has no tab: write the question, a tab and the answer"),
        ("p.tsv", "a\tb\tc\n", r"p\.tsv, line 1 has 3 columns"),
        ("p.tsv", "a\tb\n\nc\td\n", r"p\.tsv, line 2 is empty: take the line out"),
        ("p.tsv", "a\tb\n\tc\n", r"p\.tsv, line 2 has an empty question"),
        ("p.tsv", "a\t \nb\tc", r"p\.tsv, line 1 has an empty answer"),
        ("p.tsv", "a\tb\nc\t\n", r"p\.tsv, line 2 has an empty answer"),
        ("p.tsv", f"a\tb\nc{MASK}\td\n", r"p\.tsv, line 2 holds ⁇ \(U\+2047\), which stands for the mask"),
        ("p.tsv", f"a\tb{MASK}\n", r"p\.tsv, line 1 holds ⁇"),
        ("p.tsv", "", r"p\.tsv is empty: give a file"),
        ("p.tsv", " \n\n", r"p\.tsv is empty"),
        ("p.tsv", b"a\tb\nc\t\xe9\n", r"p\.tsv, line 2 is not utf-8: convert it to UTF-8; for training, --data\.enc"),
        ("p.jsonl", '{"question": "a", "answer": "b"}\n{"question"', r"p\.jsonl, line 2 is not valid JSON"),
        ("p.jsonl", "[]", r"p\.jsonl, line 1 must be an object"),
        ("p.jsonl", '{"text": "a", "answer": "b"}', r'line 1 must be an object with "question" \(or "prompt"\)'),
        ("p.jsonl", '{"question": "a", "prompt": "c", "answer": "b"}', r"line 1 must be an object"),
        ("p.jsonl", '{"question": "a"}', r'line 1 has no "answer"'),
        ("p.jsonl", '{"question": "a", "answer": 1867}', r"line 1: the answer is 1867 and must be text"),
        ("p.jsonl", '{"question": null, "answer": "b"}', r"line 1: the question is None and must be text"),
        ("p.csv", "a,b", r"p\.csv: questions are read from \.tsv"),
        ("p.tsv.gz", gzip.compress(b"a\tb\n" * 999, mtime=0)[:-9], r"p\.tsv\.gz is damaged or cut off"),
        ("p.tsv.gz", b"a\tb\n", r"p\.tsv\.gz cannot be read"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_line(write, name, content, message):
    with pytest.raises(DataError, match=message) as caught:
        read_questions(write(content, name))
    assert "\n" not in str(caught.value)


def test_no_such_file_or_encoding(tmp_path, write):
    with pytest.raises(DataError, match=r"gone\.tsv cannot be read: No such file"):
        read_questions(tmp_path / "gone.tsv")
    with pytest.raises(DataError, match="utf-99"):
        read_questions(write("a\tb"), encoding="utf-99")


def test_the_real_pairs(shared_data):
    folder = shared_data / "birth-places"
    train, dev = (read_questions(folder / name) for name in ("birth_places_train.tsv", "birth_dev.tsv"))
    assert (len(train), len(dev)) == (2000, 500)
    assert train[0] == Question(
        "Where was Khatchig Mouradian born?", "Lebanon", 1, str(folder / "birth_places_train.tsv")
    )
    assert commonest_answer(dev) == ("London", 25)  # the assignment's baseline: 5.0 %
    assert len(read_questions(folder / "birth_test_inputs.tsv", answers=False)) == 437
    with pytest.raises(DataError, match="line 1 has no tab"):
        read_questions(folder / "birth_test_inputs.tsv")


def test_the_commonest_answer_by_hand():
    assert commonest_answer([Question("a", "Rome", 1), Question("b", "Oslo", 2), Question("c", None, 3)]) == ("Rome", 1)
    with pytest.raises(DataError, match="none of these questions has an answer"):
        commonest_answer([Question("a", None, 1)])
    assert normalise(" New  York\n") == "New  York"


# Rows ---------------------------------------------------------------------------------------------------------------


def test_a_row_by_hand():
    tokenizer = Characters("ab?" + MASK)
    assert question_ids(tokenizer, "a?") == [0, 2, 3]
    assert answer_ids(tokenizer, "ba") == [1, 0, 3]
    (batch,) = question_windows([Question("a?", "ba", 1), Question("?", "b", 2)], tokenizer, 8, 5)
    assert batch.source.tolist() == [[0, 2, 3, 1, 0, 0, 0, 0], [2, 3, 1, 0, 0, 0, 0, 0]]
    assert batch.target.tolist() == [[2, 3, 1, 0, 3, 0, 0, 0], [3, 1, 3, 0, 0, 0, 0, 0]]
    assert batch.mask is not None
    assert [np.flatnonzero(row).tolist() for row in batch.mask] == [[2, 3, 4], [1, 2]]


def test_subwords_of_an_answer_are_those_of_running_text():
    bpe = train_tokenizer("bpe", ["born in Paris. " * 20], 275, specials=(MASK,))
    assert isinstance(bpe, Bpe)
    ids = answer_ids(bpe, "Paris")
    assert ids[:-1] == bpe.encode(" in Paris")[len(bpe.encode(" in")) :] != bpe.encode("Paris")
    assert ids[-1] == bpe.mask_id
    assert normalise(bpe.decode(ids[:-1])) == "Paris"


def rows(batches) -> list[tuple[list[int], list[int], list[bool]]]:
    """Rows without the columns that hold only padding, which depend on the batch."""
    return [
        (source[:24].tolist(), target[:24].tolist(), mask[:24].tolist())
        for batch in batches
        for source, target, mask in zip(batch.source, batch.target, batch.mask, strict=True)
    ]


def test_an_epoch_has_every_question_once_in_an_order_of_its_own(characters):
    stream = Questions(PAIRS, characters, 5, 32, seed=2)
    assert stream.notes == []
    inorder = rows(question_windows(PAIRS, characters, 32, 3))
    orders = []
    for _ in range(3):
        found = rows([next(stream), next(stream)])
        assert sorted(found) == sorted(inorder)
        orders.append(found)
    assert orders[0] != orders[1] != orders[2]
    assert stream.epoch == 3.0


@pytest.mark.parametrize("done", [0, 1, 4, 9])
def test_a_stream_goes_on_with_exactly_the_next_batch(characters, done):
    whole = Questions(PAIRS, characters, 3, 32, seed=2)
    batches = rows(next(whole) for _ in range(12))
    first = Questions(PAIRS, characters, 3, 32, seed=2)
    for _ in range(done):
        next(first)
    second = Questions(PAIRS, characters, 3, 32, seed=2)
    second.load_state(json.loads(json.dumps(first.state())))
    assert rows(next(second) for _ in range(12 - done)) == batches[3 * done :]
    for other in (PAIRS[:-1], [*PAIRS[:-1], Question("Where was P9 born?", "Town", 10)]):
        with pytest.raises(CheckpointError, match="not what the run began with"):
            Questions(other, characters, 3, 32, seed=2).load_state(first.state())


def test_what_cannot_be_learned_is_named_with_its_line(characters):
    def refused(question: Question, context: int = 32, tokenizer=characters) -> str:
        with pytest.raises(DataError) as caught:
            Questions([*PAIRS, question], tokenizer, 3, context, seed=1)
        return str(caught.value)

    strange = refused(Question("Where was Zoë born?", "Town", 11, "more.tsv"))
    assert strange.startswith("more.tsv, line 11: character 'Z' (U+005A, at 10) is not in this tokenizer's alphabet")
    assert refused(Question("Where was P1 born?", "Ł", 11, "more.tsv")).startswith("more.tsv, line 11: character 'Ł'")
    # 18 characters, the mask, 5 characters: the closing mask is a target only
    assert refused(PAIRS[0], context=23).startswith("pairs.tsv, line 1 needs 24 tokens with its answer, model.context")
    assert len(list(question_windows(PAIRS, characters, 24, 5))) == 2
    assert refused(Question("Where was P1 born?", None, 11)).startswith("the questions, line 11 has no answer")
    unmasked = train_tokenizer("bpe", ["some text"], 260)
    assert "no mask token" in refused(PAIRS[0], tokenizer=unmasked)
    with pytest.raises(DataError, match="there are no questions"):
        Questions([], characters, 3, 32, seed=1)


def test_answers_of_unknown_words_are_said():
    words = train_tokenizer("word", ["Where was Ada born ? Rome"], 20, end_of_text=False, specials=(MASK,))
    pairs = [Question("Where was Ada born ?", place, 1) for place in ("Rome", "Oslo")]
    said = ["1 of 2 answers hold words that the vocabulary lacks: they are never right"]
    assert Questions(pairs, words, 2, 16, 1).notes == said
