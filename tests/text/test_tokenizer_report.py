"""The tokenizer report against figures counted by hand, and on real text."""

import json
from pathlib import Path

import pytest

from heed.errors import DataError
from heed.text.tokenizers.bpe_trainer import train_bpe
from heed.text.tokenizers.characters import Characters
from heed.text.tokenizers.report import report_tokenizer
from heed.text.tokenizers.words import Words


def test_figures_by_hand() -> None:
    words = Words(["<unk>", "<eos>", "a", "bé", "never"])
    report = report_tokenizer(words, [" a a bé x \n", " a \n"])
    assert (report.kind, report.vocabulary, report.documents, report.tokens) == ("word", 5, 2, 7)
    assert report.bytes_per_token == 16 / 7  # 12 bytes (é has two) and 4
    assert report.characters_per_token == 15 / 7
    assert report.tokens_per_word == 7 / 5
    assert report.one_token_words == 4 / 5  # all but x
    assert (report.unused_ids, report.unused_share, report.unknown_tokens) == (1, 0.2, 1)
    assert report.round_trip == "differs in document 1 at character 8: 'x \\n' became '<unk> \\n'"
    assert report.longest_tokens == [" <unk>", " never", " bé", " \n", " a"]
    assert report.most_frequent_tokens == [(" a", 3), (" \n", 2), (" <unk>", 1), (" bé", 1)]


def test_characters_without_a_space_in_the_alphabet() -> None:
    report = report_tokenizer(Characters("ab"), ["ab", "a"])
    assert report.one_token_words == 0.5
    assert report.round_trip == "exact"
    assert report.tokens_per_word == 1.5


def test_bytes_that_are_no_text_are_written_out() -> None:
    report = report_tokenizer(train_bpe(["é é"], 257), ["é"])
    assert report.most_frequent_tokens == [("\\xa9", 1), ("\\xc3", 1)]


def test_no_text_is_refused() -> None:
    with pytest.raises(DataError, match="no text to report on"):
        report_tokenizer(Characters("ab"), [""])


def test_real_text(shared_data: Path) -> None:
    text = (shared_data / "tinyshakespeare" / "input.txt").read_text(encoding="utf-8")
    report = report_tokenizer(train_bpe([text], 1000), [text[:200_000]])
    assert report.round_trip == "exact"
    assert 2 < report.bytes_per_token == report.characters_per_token < 3
    assert 0.5 < report.one_token_words < 1
    assert json.loads(json.dumps(report.as_dict()))["vocabulary"] == 1000
    lines = report.as_text().splitlines()
    assert len(lines) == 13
    assert lines[1] == "vocabulary            1,000"
    assert lines[10] == "round trip            exact"
