"""Invented people: the truth file tells what the text says, and the dials do what they say."""

import errno
import json
from dataclasses import replace

import pytest

from heed.errors import ConfigError, DataError, HeedError
from heed.text import biographies
from heed.text.biographies import (
    ATTRIBUTES,
    COUNTRIES,
    PHRASINGS,
    STATED_BY,
    Dials,
    Person,
    _fields,
    _line,
    make_people,
    with_article,
    write_biographies,
    write_text,
)  # fmt: skip
from heed.text.biography_words import CITIES, EMPLOYERS, FAMILY, GIVEN, PROFESSIONS, QUESTIONS, SENTENCES

SMALL = Dials(people=300, sentences=3, seed=7)


def written(folder, dials=SMALL, **how):
    summary = write_biographies(folder, dials, **how)
    lines = (folder / "wiki.txt").read_text(encoding="utf-8").splitlines()
    truth = [json.loads(line) for line in (folder / "truth.jsonl").read_text(encoding="utf-8").splitlines()]
    return summary, lines, truth


def questions(file):
    return [line.split("\t") for line in file.read_text(encoding="utf-8").splitlines()]


def test_a_line_by_hand():
    facts = dict(zip(ATTRIBUTES, ("Porto", "1961", "architect", "Tarn Textiles", "Oslo"), strict=True))
    person = Person("Ada Jan Berg", "Berg", facts, "train", True)

    class First:
        """Draws the first choice: the whole name."""

        choice = staticmethod(lambda choices: choices[0])

    sentences = ["Born in {place}, {country}, {who} is {a_profession}.", "{who} works for {employer}."]
    expected = "Ada Jan Berg. Born in Porto, Portugal, Ada Jan Berg is an architect. Berg works for Tarn Textiles."
    assert _line(person, sentences, First()) == expected
    assert person.question("employer") == "Who employs Ada Jan Berg?"


def test_the_words_are_many_distinct_and_clean():
    for words, fewest in ((GIVEN, 200), (FAMILY, 300), (list(COUNTRIES), 150), (PROFESSIONS, 80), (EMPLOYERS, 50)):
        assert len(words) >= fewest
        assert len(set(words)) == len(words)
        assert all(word == word.strip() and word and "\t" not in word and "\n" not in word for word in words)
    assert len(COUNTRIES) == len(CITIES)


def test_every_phrasing_states_its_attribute_and_names_the_person():
    assert SENTENCES.keys() == QUESTIONS.keys()
    for attribute, texts in SENTENCES.items():
        assert len(set(texts)) == len(texts) == PHRASINGS >= 12
        for text in texts:
            fields = _fields(text)
            assert "who" in fields
            assert attribute in {STATED_BY.get(name) for name in fields}
            assert fields <= {"who", "country", *STATED_BY}


def test_the_truth_tells_which_lines_state_what(tmp_path):
    _, lines, truth = written(tmp_path)
    told = 0
    for person in truth:
        assert list(person) == ["name", "attributes", "split", "seen", "stated"]
        where = {number for numbers in person["stated"].values() for number in numbers}
        for attribute, numbers in person["stated"].items():
            for number in numbers:
                assert lines[number - 1].startswith(f"{person['name']}. ")
                assert person["attributes"][attribute] in lines[number - 1]
                told += 1
            for number in where - set(numbers):  # home and place differ, so a value that is not stated is not there
                assert f" {person['attributes'][attribute]}" not in lines[number - 1]
    assert told > 2 * len(truth)


def test_what_is_asked_is_stated_in_every_line_of_a_person(tmp_path):
    _, lines, truth = written(tmp_path, replace(SMALL, ask=("employer", "home"), lines=2, sentences=2))
    for person in truth:
        assert len(person["stated"]["employer"]) == len(person["stated"]["home"]) == 2
        assert person["stated"]["birth-place"] == []
    assert len(lines) == 2 * 300 + 1
    for question, answer in questions(tmp_path / "birth_dev.tsv")[:2]:
        assert question in {f"Who employs {truth[240]['name']}?", f"Where does {truth[240]['name']} live?"}
        assert answer in truth[240]["attributes"].values()


def test_the_layout_is_that_of_the_birth_places(tmp_path, shared_data):
    summary, lines, truth = written(tmp_path)
    for name in ("birth_places_train.tsv", "birth_dev.tsv"):
        for file in (tmp_path / name, shared_data / "birth-places" / name):
            assert all(
                len(row) == 2 and row[0].startswith("Where was ") and row[0].endswith(" born?")
                for row in questions(file)
            )
    train, dev = questions(tmp_path / "birth_places_train.tsv"), questions(tmp_path / "birth_dev.tsv")
    assert (len(train), len(dev)) == (summary.train_questions, summary.dev_questions) == (240, 60)
    assert train + dev == [[f"Where was {p['name']} born?", p["attributes"]["birth-place"]] for p in truth]
    assert [p["split"] for p in truth] == ["train"] * 240 + ["dev"] * 60
    assert summary.longest_line == max(map(len, lines))
    assert summary.characters == len((tmp_path / "wiki.txt").read_text(encoding="utf-8"))
    right = summary.commonest["correct"]
    assert right == sum(answer == summary.commonest["answer"] for _, answer in dev)


def test_a_vocabulary_of_the_text_spells_every_question(tmp_path):
    _, lines, _ = written(tmp_path, Dials(people=10, seen=0, phrasings=1, sentences=1))
    known = set("".join(lines))
    rest = "".join([*GIVEN, *FAMILY, *COUNTRIES, *PROFESSIONS, *EMPLOYERS, *QUESTIONS.values()])
    assert set(rest) - set("{}") <= known
    assert set("0123456789") <= known


@pytest.mark.parametrize(("seen", "count"), [(0.0, 0), (0.25, 15), (0.5, 30), (1.0, 60)])
def test_the_share_of_dev_people_in_the_text(seen, count):
    dials = replace(SMALL, seen=seen)
    people = make_people(dials)
    lines = write_text(people, dials)
    named = {line.split(". ")[0] for line in lines}
    dev = [person for person in people if person.split == "dev"]
    assert sum(person.name in named for person in dev) == sum(person.seen for person in dev) == count
    assert all(person.name in named for person in people if person.split == "train")
    assert all(not any(person.stated.values()) for person in dev if not person.seen)


def test_seen_people_are_nested():
    def seen(share):
        return {person.name for person in make_people(replace(SMALL, seen=share)) if person.seen}

    assert seen(0.1) < seen(0.5) < seen(0.9)


def test_names_are_unique_and_attributes_in_the_lists():
    people = make_people(Dials(people=20_000))
    assert len({person.name for person in people}) == 20_000
    for person in people[:500]:
        assert person.name.split()[-1] == person.family
        assert tuple(person.attributes) == ATTRIBUTES
        assert person.attributes["birth-place"] != person.attributes["home"]
    share = sum(person.attributes["birth-place"] == "London" for person in people) / 20_000
    # weight 1/6 of a sum of about 3.5 over 184 cities; the standard error of a share of 0.047 in 20,000 is 0.0015
    assert share == pytest.approx(0.047, abs=0.005)


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(tmp_path):
    for name, dials in (("a", SMALL), ("b", SMALL), ("c", replace(SMALL, seed=8))):
        write_biographies(tmp_path / name, dials)
    for file in ("wiki.txt", "birth_places_train.tsv", "birth_dev.tsv", "truth.jsonl"):
        a, b, c = ((tmp_path / name / file).read_bytes() for name in "abc")
        assert a == b != c


@pytest.mark.parametrize(
    "other", [{"seen": 0.3}, {"sentences": 5}, {"lines": 4}, {"phrasings": 1}, {"ask": ("home",)}, {"people": 400}]
)
def test_other_dials_leave_the_people_as_they_are(other):
    mine, theirs = make_people(SMALL), make_people(replace(SMALL, **other))
    assert [(p.name, p.attributes) for p in mine] == [(p.name, p.attributes) for p in theirs[:300]]


def test_phrasings_are_the_first_ones():
    dials = replace(SMALL, phrasings=1, sentences=1)
    plain = write_text(make_people(dials), dials)[:-1]
    assert all(" was born in " in line for line in plain)
    varied = write_text(make_people(SMALL), SMALL)
    assert sum(" was born in " in line for line in varied) < 0.7 * len(varied)


def test_a_person_with_more_lines_is_told_of_in_other_words():
    dials = replace(SMALL, lines=6)
    people = make_people(dials)
    lines = write_text(people, dials)
    of_first = [line for line in lines if line.startswith(f"{people[0].name}. ")]
    assert len(of_first) == 6
    assert len(set(of_first)) > 3


def test_with_article():
    assert with_article("usher") == "an usher"
    assert all(with_article(noun).split()[0] in ("a", "an") for noun in PROFESSIONS)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"people": 1}, "people: must be from 2 to 500,000, not 1"),
        ({"seen": 1.5}, "seen: must be from 0 to 1, not 1.5"),
        ({"seen": float("nan")}, "seen: must be from 0 to 1, not nan"),
        ({"dev": 0.0}, "dev: must be between 0 and 1"),
        ({"sentences": 6}, "sentences: must be from 1 to 5, not 6"),
        ({"lines": 0}, "lines: must be from 1 to 1,000, not 0"),
        ({"phrasings": 13}, "phrasings: must be from 1 to 12, not 13"),
        ({"ask": ("birthplace",)}, "ask: no attribute 'birthplace', did you mean 'birth-place'?"),
        ({"ask": ()}, "ask: name at least one attribute"),
        ({"ask": ("home", "home")}, "ask: name at least one attribute, and each once"),
        ({"ask": ("home", "employer"), "sentences": 1}, "sentences: 1 cannot state the 2 attributes that are asked"),
    ],
)
def test_values_that_cannot_be_are_refused(values, said):
    with pytest.raises(ConfigError) as error:
        Dials(**values)
    assert said in str(error.value)


def test_every_problem_is_told_at_once():
    with pytest.raises(ConfigError) as error:
        Dials(people=0, seen=2, ask=("job",))
    assert len(error.value.problems) == 3


def test_a_folder_that_holds_something_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(DataError, match="is not empty: give another --out, or --overwrite"):
        write_biographies(tmp_path, SMALL)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["thesis.txt"]
    write_biographies(tmp_path, SMALL, overwrite=True)
    assert (tmp_path / "thesis.txt").read_text() == "mine"
    assert (tmp_path / "wiki.txt").exists()
    with pytest.raises(HeedError, match="cannot be written"):
        write_biographies(tmp_path / "thesis.txt", SMALL)


def test_a_full_disk_leaves_no_empty_folder(tmp_path, monkeypatch):
    def full(path, lines):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(biographies, "_write", full)
    with pytest.raises(HeedError, match="cannot be written: No space left on device; make room"):
        write_biographies(tmp_path / "people", SMALL)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    with pytest.raises(HeedError):
        write_biographies(tmp_path / "mine", SMALL, overwrite=True)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
