"""Where an answer may come from: the name in a question, the lines that name it, and the nearest of them."""

import gzip

import pytest

from heed.errors import DataError
from heed.text.formats import Reading
from heed.text.support import Corpora, holds, name_in, words_of

TEXT = """Ada Byron was a writer .
Ada Byron's father was a poet. Ada Byron lived in New York .
Ada Byron was born in York .
The Bell family. Alexander Graham Bell and Ada Smith met George Byron .
José Martí was born in Havana .
"""


@pytest.fixture
def corpora(tmp_path):
    (tmp_path / "wiki.txt").write_text(TEXT, encoding="utf-8")
    (tmp_path / "train.tsv").write_text("Where was Ada Smithson born?\tParis\nWhere was Ada Byron born?\tYork\n")
    return Corpora(tmp_path / "wiki.txt", tmp_path / "train.tsv")


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("Where was Khatchig Mouradian born?", "Khatchig Mouradian"),
        ("Where was Jean-Luc de la Rue born?", "Jean-Luc de la Rue"),
        ("Where was José O'Brien-Martí born?", "José O'Brien-Martí"),
        ("In which year was Apollo 11 launched?", "Apollo 11"),
        ("Where was J. N. Williamson born?", "J. N. Williamson"),
        ("where was nobody born?", "where was nobody born?"),
        ("Where?", "Where?"),
    ],
)
def test_the_name_in_a_question(prompt, name):
    assert name_in(prompt) == name


def test_the_rule_for_names_holds_for_real_people(shared_data):
    lines = (shared_data / "birth-places" / "birth_dev.tsv").read_text(encoding="utf-8").splitlines()
    prompts = [line.split("\t")[0] for line in lines]
    whole = [["where", "was", *words_of(name_in(prompt)), "born"] for prompt in prompts]
    assert whole == [words_of(prompt) for prompt in prompts]


def test_words_are_whole_and_side_by_side():
    assert words_of("Ada’s father, O'Brien (b. 1957)") == ["ada", "father", "o'brien", "b", "1957"]
    assert holds("born in New York City", "new york")
    assert not holds("born in New York City", "York New")
    assert not holds("the Yorkshire moors", "York")
    assert not holds("anything", "")


def test_seen_means_that_a_line_names_the_person(corpora):
    assert corpora.seen("Where was Ada Byron born?") == "pretraining"
    assert corpora.seen("Where was Ada Smithson born?") == "fine-tuning only"
    assert corpora.seen("Where was Ada Bell born?") == "never"  # both words stand in one line, apart
    assert corpora.seen("Where was Byron Ada born?") == "never"
    assert corpora.seen("Where was Paris Bell born?") == "never"  # an answer is no name that was asked about


def test_the_nearest_passage_holds_the_answer_if_one_does(corpora):
    passage = corpora.support("Where was Ada Byron born?", "York")
    assert (passage.line, passage.holds_answer) == (3, True)  # of two with "York", the one with "was" and "born"
    passage = corpora.support("Where was Ada Byron born?", "New York")
    assert (passage.line, passage.holds_answer) == (2, True)
    passage = corpora.support("Where was Ada Byron born?", "Oslo")
    assert (passage.line, passage.holds_answer) == (3, False)
    assert corpora.support("Where was Ada Smithson born?", "Paris") is None
    assert corpora.support("Where was jOSÉ MARTÍ born?", "havana").line == 5


def test_a_line_is_what_an_editor_calls_one(tmp_path):
    (tmp_path / "wiki.txt").write_text("one\u2028two\nAda C\n", encoding="utf-8")
    assert Corpora(tmp_path / "wiki.txt", None).support("Who is Ada C?", "x").line == 2


@pytest.mark.parametrize(
    ("name", "content", "reading"),
    [
        ("wiki.txt", "Bea Ö\nAda C\n".encode("cp1252"), Reading(encoding="cp1252")),
        ("wiki.txt.gz", gzip.compress(b"Bea\nAda C\n", mtime=0), Reading()),
        ("wiki.txt", b"\xef\xbb\xbfBea\r\nAda C\r\n", Reading()),
        ("wiki.jsonl", b'{"body": "Bea"}\n{"body": "\\u0041da\\nC"}\n', Reading(column="body")),
        ("wiki.csv", b'body,id\nBea,1\n"Ada\nC",2\n', Reading(column="body")),
    ],
)
def test_a_text_is_searched_as_it_was_read_for_training(tmp_path, name, content, reading):
    (tmp_path / name).write_bytes(content)
    corpora = Corpora(tmp_path / name, None, reading=reading)
    passage = corpora.support("Who is Ada C?", "x")
    assert (passage.text, passage.line) == ("Ada C", 2)


def test_no_corpus_no_support(tmp_path):
    corpora = Corpora(None, None)
    assert corpora.seen("Where was Ada Byron born?") == "never"
    assert corpora.support("Where was Ada Byron born?", "York") is None


@pytest.mark.parametrize(
    ("content", "message"), [(None, "cannot be read"), (b" \n", "no text"), (b"caf\xe9", "not utf-8 at byte 3")]
)
def test_a_corpus_that_cannot_be_searched(tmp_path, content, message):
    path = tmp_path / "wiki.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        Corpora(path, None)


def test_real_passages_hold_the_places_that_the_data_says(shared_data):
    folder = shared_data / "birth-places"
    corpora = Corpora(folder / "wiki.txt", folder / "birth_places_train.tsv")
    pairs = [line.split("\t") for line in (folder / "birth_dev.tsv").read_text(encoding="utf-8").splitlines()]
    found = [corpora.support(prompt, place) for prompt, place in pairs]
    # every person has a line of their own, line i of train, dev and test joined; 479 hold the letters of the place,
    # and in one of these they are a part of a longer word
    assert [one.line for one in found] == list(range(2001, 2501))
    assert sum(one.holds_answer for one in found) == 478
    assert {corpora.seen(prompt) for prompt, _ in pairs} == {"pretraining"}
