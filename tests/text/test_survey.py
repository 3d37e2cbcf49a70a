"""The data report, counted again in other ways."""

import difflib
import json
import random
import re
import sys
import unicodedata
from collections import Counter

import numpy as np
import pytest

from heed.cli import main
from heed.errors import DataError
from heed.report.survey_page import render, survey_lines
from heed.text import survey as surveying
from heed.text.corpus import open_corpus
from heed.text.survey import PASSAGES, clean, odd_of, shingles, survey
from heed.text.tokenizers import train_tokenizer

ENGLISH = "the quick brown fox jumps over a lazy dog while seven wizards boil eggs in the old kitchen of this house"
GERMAN = "der schnelle Fuchs springt über den faulen Hund während sieben Zauberer in der alten Küche Eier kochen"
GREEK = "η γρήγορη αλεπού πηδά πάνω από το τεμπέλικο σκυλί ενώ επτά μάγοι βράζουν αυγά στην παλιά κουζίνα"


def text_of(words, random, count):
    return " ".join(random.choices(words.split(), k=count))


@pytest.fixture
def folder(tmp_path):
    """Training, validation and test as JSON lines, with duplicates, leaks, odd characters and long lines in them."""
    draw = random.Random(0)
    train = [text_of(ENGLISH, draw, draw.randrange(12, 90)) for _ in range(60)]
    train += [text_of(GERMAN, draw, 30) for _ in range(30)] + [text_of(GREEK, draw, 30) for _ in range(10)]
    train += [train[3], train[7], train[3], train[9] + " at last"]
    train += ["zero\u200bwidth and \ufffd and \x00 and \ue000", "dÃ©jÃ\u00a0 vu, itâ€™s so", "", "x" * 700 + "\nshort"]
    parts = {
        "train": train,
        "validation": [train[5], text_of(ENGLISH, draw, 40), train[11].replace(" ", "  "), train[12] + " indeed"],
        "test": [text_of(ENGLISH, draw, 40), "short"],
    }
    for name, texts in parts.items():
        lines = (json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts)
        (tmp_path / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    parts["train"].remove("")  # empty documents are left out by every reader
    return tmp_path, parts


def opened(folder):
    path, _ = folder
    held_out = {name: path / f"{name}.jsonl" for name in ("validation", "test")}
    return open_corpus(path / "train.jsonl", **held_out)


def test_every_count_by_a_plain_loop(folder):
    _, parts = folder
    found = survey(opened(folder), "train.jsonl")
    for split, texts in parts.items():
        own = found.splits[split]
        assert own.documents == len(texts)
        assert own.bytes == sum(len(text.encode()) for text in texts)
        assert own.characters == sum(map(len, texts))
        assert own.words == sum(len(text.split()) for text in texts)
        assert own.lines == sum(len(text.split("\n")) for text in texts)
        lengths = sorted(map(len, texts))
        assert (own.shortest, own.longest) == (lengths[0], lengths[-1])
        for said, share in ((own.median, 0.5), (own.p95, 0.95)):
            exact = lengths[int(np.ceil(share * len(lengths))) - 1]
            assert said == pytest.approx(exact, rel=0.01, abs=1)
        assert sum(count for _, count in own.lengths) == len(texts)
        for start, count in own.lengths:
            assert count == sum(start <= length < 2 * max(1, start) for length in lengths)
        assert own.duplicates == len(texts) - len(set(texts))
        lines = [(len(line), number, place) for number, text in enumerate(texts, 1)
                 for place, line in enumerate(text.split("\n"), 1)]  # fmt: skip
        best = sorted(lines, key=lambda one: -one[0])[:5]
        assert [line.characters for line in own.longest_lines] == [length for length, _, _ in best]
        assert {(one.characters, one.document, one.line) for one in own.longest_lines} <= set(lines)


def test_writing_systems_and_odd_characters_by_their_names(folder):
    _, parts = folder
    found = survey(opened(folder), "train.jsonl").splits["train"]
    letters = Counter(
        unicodedata.name(c).split()[0] for text in parts["train"] for c in text if unicodedata.category(c)[0] == "L"
    )
    assert found.scripts["Latin"] == letters["LATIN"] + letters["FEMININE"] + letters["MASCULINE"]
    assert found.scripts["Greek"] == letters["GREEK"]
    assert list(found.scripts) == ["Latin", "Greek"]
    assert found.odd == {
        "U+0000 (control)": 1,
        "U+200B ZERO WIDTH SPACE": 1,
        "U+E000 (private use)": 1,
        "U+FFFD REPLACEMENT CHARACTER": 1,
    }
    assert found.misread == 3
    assert odd_of(np.bincount([9, 10, 13, 0xAD], minlength=0x110000)) == {"U+00AD SOFT HYPHEN": 1}


def test_good_accents_are_not_misread(tmp_path):
    """What is right in French, German, Portuguese and typography is not told as damage."""
    (tmp_path / "a.txt").write_text(
        "Déjà vu à Noël, naïve Ärzte in Zürich, São João, Ângela não é Â, „so“ – it’s … 5 €, Ã", encoding="utf-8"
    )
    corpus = open_corpus(tmp_path / "a.txt", validation_fraction=0)
    assert survey(corpus, "a.txt").splits["train"].misread == 0
    damaged = "é ü ’ “ ß à €".encode().decode("cp1252")
    (tmp_path / "a.txt").write_text(damaged, encoding="utf-8")
    corpus = open_corpus(tmp_path / "a.txt", validation_fraction=0)
    assert survey(corpus, "a.txt").splits["train"].misread == 7


def test_languages(folder):
    found = survey(opened(folder), "train.jsonl").splits["train"].languages
    assert found["de"] == 30
    assert found["el"] == 10
    assert found["en"] >= 50
    assert sum(found.values()) == 107


def test_without_py3langid_all_else_is_told(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "py3langid", None)
    found = survey(opened(folder), "train.jsonl")
    assert found.splits["train"].documents == 107
    assert "languages were not told" in found.notes[-1]
    assert "pip install" in "\n".join(survey_lines(found))
    assert "Writing" in render(found, ["heed"]) or "writing" in render(found, ["heed"])


def test_the_sample_of_passages_is_fair():
    """Of ten times more passages than are kept, each tenth has its share."""
    counting = surveying.Counting(None, seed=3)
    for number in range(10 * PASSAGES):
        counting._sample(f"{number}")
    tenths = Counter(int(passage) // PASSAGES for passage in counting.passages)
    assert len(counting.passages) == PASSAGES
    assert max(abs(tenths[tenth] - 100) for tenth in range(10)) < 40  # four standard deviations


def jaccard(a, b):
    return len(shingles(a) & shingles(b)) / len(shingles(a) | shingles(b))


def test_near_duplicates_against_every_pair(folder):
    _, parts = folder
    train = parts["train"]
    found = survey(opened(folder), "train.jsonl", near=0.7)
    close = [any(jaccard(text, other) >= 0.7 for other in train[:number]) for number, text in enumerate(train)]
    equal = [text in train[:number] for number, text in enumerate(train)]
    assert found.splits["train"].duplicates == sum(equal) == 3
    assert found.splits["train"].near_duplicates == sum(c and not e for c, e in zip(close, equal, strict=True)) == 1
    (shared,) = found.shared
    assert (shared.split, shared.documents, shared.places, shared.near) == ("validation", 1, (1,), 2)


def test_minhash_finds_what_is_similar_and_nothing_else():
    """Against the exact similarity of 200 pairs, those within three standard errors of the bound aside."""
    draw, words = random.Random(1), [f"w{number}" for number in range(3000)]
    pairs = []
    for _ in range(200):
        first = [draw.choice(words) for _ in range(120)]
        cut = draw.randrange(0, 60)
        pairs.append((" ".join(first), " ".join(first[cut:] + [draw.choice(words) for _ in range(cut)])))
    for a, b in pairs:
        alike = surveying.Alike(0.6)
        alike.add("train", a)
        alike.add("train", b)
        exact = jaccard(a, b)
        if abs(exact - 0.6) > 3 * (0.6 * 0.4 / 128) ** 0.5:
            assert alike.close("train", "train").tolist() == [False, exact > 0.6]


def test_a_hostile_text_is_told_in_plain_words_and_runs_nothing(tmp_path):
    (tmp_path / "a.txt").write_text("<script>alert(1)</script>\n" * 3 + "\u202e<img src=x>" * 30, encoding="utf-8")
    corpus = open_corpus(tmp_path / "a.txt", validation_fraction=0)
    page = render(survey(corpus, "a.txt"), ["heed", "data", "report", "<b>"])
    assert "<script>alert" not in page
    assert "<img src" not in page
    assert "RIGHT-TO-LEFT OVERRIDE" in page


def test_sentences_and_page_have_the_figures(folder):
    tokenizer = train_tokenizer("word", iter(["the quick brown fox"] * 3), 8)
    found = survey(opened(folder), "train.jsonl", tokenizer=tokenizer, near=0.7)
    own = found.splits["train"]
    ids = [tokenizer.encode(text) for text in folder[1]["train"]]
    assert own.tokens == sum(map(len, ids))
    assert own.unknown_tokens == sum(line.count(tokenizer.unknown_id) for line in ids)
    said = "\n".join(survey_lines(found))
    assert "1 (25 %) of the documents of validation stand in training too (the first: 1)" in said
    assert f"{own.unknown_tokens:,} tokens are unknown to the tokenizer." in said
    page = render(found, ["heed", "data", "report", "train.jsonl"])
    assert "Held-out text stands in training too" in page
    plain = re.sub(r"<[^>]+>", " ", page)
    for number in (own.documents, own.bytes, own.words, own.tokens):
        assert f"{number:,}" in plain


def test_what_is_left_is_clean(folder):
    """No duplicate of any kind is left, nothing of the held-out splits, and nothing else is gone."""
    _, parts = folder
    kept, counts = clean(opened(folder), None)
    expected = []
    for text in parts["train"]:
        if text not in expected and text not in parts["validation"] and text not in parts["test"]:
            expected.append(text)
    assert list(kept) == expected
    assert counts == {"equal to an earlier one": 3, "in the validation split too": 1, "in the test split too": 0}
    kept, counts = clean(opened(folder), 0.7)
    kept = list(kept)
    assert sum(counts.values()) == len(parts["train"]) - len(kept)
    held_out = parts["validation"] + parts["test"]
    assert not any(jaccard(text, other) >= 0.7 for text in kept for other in held_out)
    assert not any(jaccard(a, b) >= 0.7 for n, a in enumerate(kept) for b in kept[:n])
    again = difflib.SequenceMatcher(None, expected, kept, autojunk=False)
    assert all(tag in ("equal", "delete") for tag, *_ in again.get_opcodes())  # in the order of before


@pytest.mark.parametrize("near", [-1, 0.1, 1, 3])
def test_a_similarity_that_is_none(folder, near):
    with pytest.raises(DataError, match=r"from a similarity of 0\.3 to below 1"):
        survey(opened(folder), "train.jsonl", near=near)


def test_on_the_command_line(folder, capsys):
    path, parts = folder
    text = [str(path / "train.jsonl"), "--data.validation", str(path / "validation.jsonl"), "--data.test",
            str(path / "test.jsonl")]  # fmt: skip
    out = path / "it's a report.html"
    assert main(["data", "report", *text, "--out", str(out)]) == 0
    assert capsys.readouterr().out.endswith(f"report: {out}\n")
    assert main(["data", "report", *text, "--out", str(out)]) == 2
    assert "exists: give another --out, or --overwrite" in capsys.readouterr().err
    assert main(["data", "report", *text, "--out", str(path / "a.txt")]) == 2
    assert "must end in .html" in capsys.readouterr().err
    assert main(["data", "report", *text, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["splits"]["train"]["documents"] == len(parts["train"])
    assert main(["data", "clean", *text, "--out", str(path / "clean.jsonl")]) == 0
    assert "left out, equal to an earlier one: 3" in capsys.readouterr().out
    left = [json.loads(line)["text"] for line in (path / "clean.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(left) == len(parts["train"]) - 4
    again = survey(open_corpus(path / "clean.jsonl", validation_fraction=0), "clean.jsonl").splits["train"]
    assert (again.documents, again.duplicates) == (len(left), 0)
    (path / "b.jsonl.partial").mkdir()  # where the file would grow
    assert main(["data", "clean", *text, "--out", str(path / "b.jsonl")]) == 2
    assert f"{path / 'b.jsonl'} cannot be written: " in capsys.readouterr().err
    assert main(["data", "report", str(path / "nothing")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
