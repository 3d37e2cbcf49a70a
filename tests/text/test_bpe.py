"""Byte-pair encoding: what can be worked out by hand, the rules that always hold, files, and what is refused."""

import json
import pickle
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heed.errors import CheckpointError, ConfigError, DataError
from heed.text.tokenizers import END_OF_TEXT, load_tokenizer, train_tokenizer
from heed.text.tokenizers.bpe import LONG, Bpe, merge
from heed.text.tokenizers.bpe_trainer import count_pieces, train_bpe
from heed.text.tokenizers.patterns import BYTE_OF, chunks, make_pattern

HARD = [
    "",
    " ",
    "\n\n\n",
    "  two  spaces\t\ttabs \r\n\r\n line ends \n",
    "It's they'll WE'RE I'D 'tis '''",
    "👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽 é",  # joiners, a variation selector, a skin tone, a combining accent
    "漢字かな交じり文 한국어 ไทย",
    "שלום עולם مرحبا",
    "a\u00a0b\u2003c\u3000d\u200be\ufefff",
    "\x00\x01\x1b\x1c\x1d\x1e\x1f\x7f\x85",
    "½ Ⅷ ² ١٢٣ १२३ 12345678",
    "Dž ſ İ ẞ \U0001d400\U0010ffff\u0378",
    "new letters \u0558 a\U000323b0b 1\U00011de0!",  # beyond Unicode 16: letters to the module regex only
    " " * 300 + "x" * 300 + "\n" * 300,
    f"text with {END_OF_TEXT} in it",
]


@pytest.fixture(scope="module")
def trained() -> Bpe:
    return train_bpe([" ".join(HARD), "the cat and the hat and the bat " * 3], vocab_size=300)


def learned(bpe: Bpe) -> list[str]:
    return [bpe.tokens[left] + "+" + bpe.tokens[right] for left, right in bpe.merge_list]


def test_worked_example_with_the_smallest_ids_first_among_ties() -> None:
    # aa occurs 4 times. Then Z=aa leaves ZabdZabac: Za and ab twice each; a (65) < Z (257), so ab. Then Zab twice.
    bpe = train_bpe(["aaabdaaabac"], vocab_size=260)
    assert learned(bpe) == ["a+a", "a+b", "aa+ab"]
    assert [bpe.tokens[id] for id in bpe.encode("aaabdaaabac")] == ["aaab", "d", "aaab", "a", "c"]


def test_ids_begin_with_the_end_of_text_then_the_bytes_then_what_was_merged() -> None:
    bpe = train_bpe(["ab ab"], vocab_size=258)
    assert bpe.tokens == [END_OF_TEXT, *BYTE_OF, "ab"]
    assert bpe.tokens[1] == "!"
    assert bpe.tokens[256] == "\u0143"
    assert bpe.end_id == 0
    assert bpe.vocab_size == 258


def test_merges_stay_inside_pieces_and_inside_documents() -> None:
    assert "b+Ġ" not in learned(train_bpe(["ab ab ab ab"], vocab_size=400))
    bpe = train_bpe(["a", "b", "a", "b", "cd"], vocab_size=400)
    assert learned(bpe) == ["c+d"]


def test_training_counts_the_same_in_one_document_as_in_a_stream_of_many() -> None:
    lines = [f" line {number} of some text\n" for number in range(300)]
    whole, parts = train_bpe(["".join(lines)], 300), train_bpe(iter(lines), 300)
    assert whole.hash == parts.hash


def test_a_smaller_vocabulary_than_asked_for_is_said() -> None:
    bpe = train_bpe(["abc"], vocab_size=1000)
    assert bpe.vocab_size == 259
    assert bpe.note == "the text gives only 259 tokens, 1000 were asked for: everything is merged"
    assert train_bpe(["abc"], vocab_size=259).note == ""


@pytest.mark.parametrize(
    ("documents", "size", "message"),
    [
        ([], 300, "no text to train"),
        (["", ""], 300, "no text to train"),
        (["a b"], 300, None),
        (["a", "b"], 300, "largest vocabulary is 257"),
        (["text"], 256, "at least 257"),
        (["bad \ud800"], 300, "lone surrogate U\\+D800"),
    ],
)
def test_what_cannot_be_trained_on(documents: list[str], size: int, message: str | None) -> None:
    if message is None:
        assert train_bpe(documents, size).vocab_size == 258
        return
    with pytest.raises(DataError, match=message):
        train_bpe(documents, size)


def test_unknown_kind_and_pattern_are_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean 'word'"):
        train_tokenizer("words", ["a"], 300)
    with pytest.raises(ConfigError, match="gpt2"):
        train_tokenizer("bpe", ["a"], 300, pattern="gpt3")


@pytest.mark.parametrize("text", HARD)
def test_hard_text_comes_back_exactly(trained: Bpe, text: str) -> None:
    ids = trained.encode(text)
    assert trained.decode(ids) == text
    assert b"".join(map(trained.token_bytes, ids)) == text.encode()
    assert trained.end_id not in ids


@given(st.text())
@settings(max_examples=200, deadline=None)
def test_any_text_comes_back_exactly(text: str) -> None:
    for pattern in ("gpt2", "gpt4"):
        bpe = BYTES[pattern]
        assert bpe.decode(bpe.encode_array(text)) == text


BYTES = {pattern: Bpe([END_OF_TEXT, *BYTE_OF], [], pattern) for pattern in ("gpt2", "gpt4")}


def test_encode_array_is_uint32_and_writable_and_the_same_ids(trained: Bpe) -> None:
    ids = trained.encode_array("the cat")
    assert ids.dtype == np.uint32
    assert ids.tolist() == trained.encode("the cat")
    ids[0] = 1  # torch.from_numpy warns of arrays that cannot be written
    assert trained.encode_array("").shape == (0,)


def test_lone_surrogates_and_ids_out_of_range_are_refused(trained: Bpe) -> None:
    with pytest.raises(DataError, match="U\\+DC80"):
        trained.encode("caf\udc80")
    for id in (-1, trained.vocab_size):
        with pytest.raises(DataError, match="outside this vocabulary"):
            trained.decode([id])


def test_half_a_character_decodes_to_the_replacement_character() -> None:
    bpe = BYTES["gpt2"]
    assert bpe.decode(bpe.encode("é")[:1]) == "\ufffd"


def test_the_cache_starts_anew_when_it_is_full(trained: Bpe, monkeypatch: pytest.MonkeyPatch) -> None:
    text = " ".join(f"word{number}" for number in range(500))
    expected = trained.encode(text)
    monkeypatch.setattr(type(trained._cache), "MOST", 7)
    trained._cache.clear()
    assert trained.encode(text) == expected
    assert len(trained._cache) <= 7


def plainly(bpe: Bpe, piece: str) -> list[int]:
    return merge([bpe.vocabulary[symbol] for symbol in bpe.pattern.symbols(piece)], bpe.merges)


@given(st.text(alphabet="abcd", min_size=20, max_size=200), st.text(alphabet="abcdé", min_size=LONG, max_size=3 * LONG))
@settings(max_examples=200, deadline=None)
def test_a_long_piece_is_merged_as_the_plain_loop_does(learned_from: str, text: str) -> None:
    bpe = train_bpe([learned_from], 300)
    assert bpe.encode(text) == plainly(bpe, text)


@pytest.mark.parametrize("length", [LONG - 1, LONG, LONG + 1])
def test_where_a_piece_becomes_long_its_tokens_stay_the_same(trained: Bpe, length: int) -> None:
    text = ("thecatandthehat" * length)[:length]
    assert trained.encode(text) == plainly(trained, text)


def test_merges_in_any_order_are_done_by_rank_in_a_long_piece() -> None:
    # bc stands before ab, and abc can be made of a + bc alone; ids do not grow with rank
    tokens = ["abc", "ab", "bc", *BYTE_OF]
    ids = {token: id for id, token in enumerate(tokens)}
    pairs = [("b", "c"), ("a", "b"), ("ab", "c"), ("a", "bc"), ("a", "b")]
    bpe = Bpe(tokens, [(ids[left], ids[right]) for left, right in pairs], specials=())
    text = "abcabbc" * LONG
    assert bpe.encode(text) == plainly(bpe, text) == [0, 1, 2] * LONG
    twice = [(ids["a"], ids["b"]), (ids["b"], ids["c"]), (ids["a"], ids["b"])]  # the last rank counts
    bpe = Bpe(tokens, twice, specials=())
    assert bpe.encode("abc" * LONG) == plainly(bpe, "abc" * LONG) == [ids["a"], ids["bc"]] * LONG


def test_a_very_long_piece_takes_no_quadratic_time(trained: Bpe) -> None:
    text = "x" * 100_000  # 0.03 seconds; the plain loop would take minutes
    assert trained.decode(trained.encode(text)) == text


def test_a_very_long_piece_is_learned_from_in_no_quadratic_time() -> None:
    text = "".join(
        random.Random(1).choices("abcdefgh", k=100_000)
    )  # a second; looking through it for each pair, minutes
    assert train_bpe([text], 8_000).vocab_size == 8_000


@given(st.text(alphabet="ab1!' \n\ré½\u00a0\x1c漢\u0558", max_size=200), st.sampled_from(["gpt2", "gpt4"]))
@settings(max_examples=300, deadline=None)
def test_chunks_break_no_piece(text: str, name: str) -> None:
    pattern = make_pattern(name)
    pieces = [piece for chunk in chunks(text, size=3) for piece in pattern.split(chunk)]
    assert "".join(chunks(text, size=3)) == text
    assert pieces == pattern.split(text)


def test_pieces_of_the_two_patterns() -> None:
    text = "I'M 12345 days;\n\n  ok"
    assert make_pattern("gpt2").split(text) == ["I", "'", "M", " 12345", " days", ";", "\n\n ", " ok"]
    assert make_pattern("gpt4").split(text) == ["I", "'M", " ", "123", "45", " days", ";\n\n", " ", " ok"]
    assert count_pieces(["a b", "a b"], make_pattern("gpt2")) == {"a": 2, " b": 2}


@pytest.mark.parametrize("pattern", ["gpt2", "gpt4"])
def test_saved_and_loaded_it_is_the_same(tmp_path: Path, pattern: str) -> None:
    bpe = train_bpe(HARD, 280, pattern)
    bpe.save(tmp_path)
    for place in (tmp_path, tmp_path / "tokenizer.json"):
        back = load_tokenizer(place)
        assert isinstance(back, Bpe)
        assert back.hash == bpe.hash
        assert back.pattern.name == pattern
        assert all(back.encode(text) == bpe.encode(text) for text in HARD)


def test_saving_makes_the_folder_or_says_why_not(tmp_path: Path, trained: Bpe) -> None:
    trained.save(tmp_path / "new" / "mine.json")
    assert load_tokenizer(tmp_path / "new" / "mine.json").hash == trained.hash
    with pytest.raises(DataError, match=r"mine\.json.* cannot be written"):
        trained.save(tmp_path / "new" / "mine.json" / "tokenizer.json")


def test_pickled_it_is_the_same_and_keeps_its_note(trained: Bpe) -> None:
    trained.note = "a note"
    back = pickle.loads(pickle.dumps(trained))
    assert back.hash == trained.hash
    assert back.note == "a note"
    assert back.encode("the cat") == trained.encode("the cat")


def test_the_hash_tells_tokenizers_apart(trained: Bpe) -> None:
    fewer = Bpe(trained.tokens[:-1], trained.merge_list[:-1])
    other = Bpe(trained.tokens, trained.merge_list, "gpt4")
    assert len({trained.hash, fewer.hash, other.hash}) == 3


def test_paths_that_hold_no_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such tokenizer"):
        load_tokenizer(tmp_path / "absent.json")
    with pytest.raises(DataError, match="holds no tokenizer"):
        load_tokenizer(tmp_path)
    (tmp_path / "config.yaml").write_text("")
    with pytest.raises(CheckpointError, match=r"run folder .+ has no tokenizer"):
        load_tokenizer(tmp_path)
    file = tmp_path / "tokenizer.json"
    for content in ("{", "[]", '{"model": 3}', '{"model": {}}', '{"version": "1.0", "model": {"type": "BPE"}}'):
        file.write_text(content)
        with pytest.raises(DataError, match=r"tokenizer\.json"):
            load_tokenizer(tmp_path)


def test_files_that_do_not_belong_together_are_refused(tmp_path: Path, trained: Bpe) -> None:
    vocab, merges = tmp_path / "vocab.json", tmp_path / "merges.txt"
    vocab.write_text(json.dumps(trained.vocabulary), encoding="utf-8")
    merges.write_text("#version: 0.2\nq z\n", encoding="utf-8")
    with pytest.raises(DataError, match="'qz'"):
        Bpe.from_gpt2_files(vocab, merges)
    with pytest.raises(DataError, match="cannot be read"):
        Bpe.from_gpt2_files(vocab, tmp_path / "absent.txt")
    vocab.write_text('{"a": 0, "b": 2}')
    merges.write_text("")
    with pytest.raises(DataError, match="without a gap"):
        Bpe.from_gpt2_files(vocab, merges)
    with pytest.raises(DataError, match="lacks some of the 256 bytes"):
        Bpe(["a", "b"], [], specials=())


@pytest.mark.parametrize("kind", ["bpe", "char", "word"])
def test_a_text_never_has_fewer_tokens_than_the_fewest(kind):
    texts = ["to be or not to be, that is the question", "  one\n\ntwo  ", "é日本", "", "be" * 200, "<|endoftext|>" * 5]
    tokenizer = train_tokenizer(kind, texts, 300)
    for text in (*texts, "".join(texts)):
        assert tokenizer.fewest_tokens(text) <= len(tokenizer.encode(text))
    assert kind == "word" or tokenizer.fewest_tokens("be" * 5000) > 30
