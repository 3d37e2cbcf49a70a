"""Tokenizers of characters and words, and those of others, on cases small enough for paper and on the real files."""

import json
import pickle
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers import Tokenizer as Rust

from heed.errors import DataError
from heed.text.tokenizers import END_OF_TEXT, from_json, load_tokenizer, train_tokenizer
from heed.text.tokenizers.characters import Characters, train_characters
from heed.text.tokenizers.foreign import Foreign
from heed.text.tokenizers.words import Words, train_words


def read(shared_data: Path, name: str) -> str:
    return (shared_data / name).read_text(encoding="utf-8")


def test_characters_are_sorted_and_ids_are_their_places() -> None:
    tokenizer = train_characters(["hello\n"], vocab_size=10)
    assert tokenizer.alphabet == ["\n", "e", "h", "l", "o"]
    assert tokenizer.encode("hole\n") == [2, 4, 3, 1, 0]
    assert tokenizer.decode([2, 4, 3, 1]) == "hole"
    assert tokenizer.end_id is None


def test_characters_of_several_documents_have_an_end_of_text_token_unless_told() -> None:
    assert train_characters(["ab", "c"], 10).end_id == 3
    assert train_characters(["ab", "c"], 10, end_of_text=False).end_id is None
    tokenizer = train_characters(["ab"], 10, end_of_text=True)
    assert tokenizer.decode([0, 2]) == "a" + END_OF_TEXT


def test_a_character_never_seen_is_named_with_the_remedy() -> None:
    tokenizer = train_characters(["abc"], 10)
    for text in ("é", "ab\u4e00", "a`"):  # above the alphabet, far above, below
        with pytest.raises(
            DataError, match=r"\(U\+[0-9A-F]{4,6}, at \d\) is not in this tokenizer's alphabet of 3: .*bpe"
        ):
            tokenizer.encode(text)
    with pytest.raises(DataError, match="lone surrogate"):
        tokenizer.encode("a\ud800")


@pytest.mark.parametrize(
    ("documents", "message"),
    [([], "no text"), ([""], "no text"), (["abcdef"], "needs 6 tokens"), (["\udfff"], "surrogate")],
)
def test_characters_that_cannot_be_trained(documents: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        train_characters(documents, vocab_size=5)


@given(st.text(alphabet=st.characters(codec="utf-8"), min_size=1))
@settings(max_examples=100, deadline=None)
def test_characters_come_back_and_equal_those_of_tokenizers(text: str) -> None:
    tokenizer = train_characters([text], 1000, end_of_text=True)
    rust = Rust.from_str(json.dumps(tokenizer.to_json()))
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert rust.encode(text).ids == ids
    assert rust.decode(ids) == text
    assert rust.token_to_id(END_OF_TEXT) == tokenizer.end_id


def test_tiny_shakespeare_has_65_characters(shared_data: Path) -> None:
    text = read(shared_data, "tinyshakespeare/input.txt")
    tokenizer = train_tokenizer("char", [text], vocab_size=4096)
    assert tokenizer.vocab_size == 65
    assert tokenizer.encode("hii there") == [46, 47, 47, 1, 58, 46, 43, 56, 43]  # as in nanoGPT's lecture
    ids = tokenizer.encode_array(text)
    assert ids.shape == (1_115_394,)
    assert tokenizer.decode(ids[:5000]) == text[:5000]


def test_words_follow_the_conventions_of_wikitext() -> None:
    tokenizer = train_words([" b a b \n c <unk> \n"], vocab_size=10)
    assert tokenizer.words == ["<unk>", "<eos>", "b", "a", "c"]  # a and c occur once: a came first
    assert tokenizer.encode(" a  b\tnew \n") == [3, 2, 0, 1]
    assert tokenizer.encode("<unk>\n\n") == [0, 1, 1]
    assert tokenizer.decode([2, 3, 1, 4]) == " b a \n c"
    assert tokenizer.encode("") == []
    assert tokenizer.end_id is None
    assert tokenizer.note == ""


def test_a_bounded_vocabulary_keeps_the_most_frequent_and_says_what_is_lost() -> None:
    tokenizer = train_words(["c b a b a a d"], vocab_size=4)
    assert tokenizer.words == ["<unk>", "<eos>", "a", "b"]
    assert tokenizer.note == "2 of 4 distinct words are left out; 28.6% of the running words become <unk>"


def test_the_end_of_text_written_in_the_text_is_a_word_like_any_other() -> None:
    tokenizer = train_words([f"a {END_OF_TEXT} b", "c"], vocab_size=10)
    assert tokenizer.end_id == 5
    assert tokenizer.encode(f"a {END_OF_TEXT}") == [2, 0]
    rust = Rust.from_str(json.dumps(tokenizer.to_json()))
    assert rust.token_to_id(END_OF_TEXT) == 5
    rust.encode_special_tokens = True
    assert rust.encode(f"a {END_OF_TEXT}").ids == [2, 0]


@pytest.mark.parametrize(
    ("documents", "size", "message"),
    [([" \n"], 10, "no word"), (["a"], 2, "at least 3"), (["a", "b"], 3, "at least 4"), (["\ud800"], 9, "surrogate")],
)
def test_words_that_cannot_be_trained(documents: list[str], size: int, message: str) -> None:
    with pytest.raises(DataError, match=message):
        train_words(documents, size)


def test_wikitext_2_has_the_published_counts_and_comes_back_byte_for_byte(shared_data: Path) -> None:
    train = read(shared_data, "wikitext-2/train.txt")
    tokenizer = train_tokenizer("word", [train], vocab_size=1_000_000)
    assert tokenizer.vocab_size == 33_278
    counts = {"train": (2_088_628, 54_625), "valid": (217_646, 11_718), "test": (245_569, 15_218)}
    for split, (tokens, unknown) in counts.items():
        text = read(shared_data, f"wikitext-2/{split}.txt")
        ids = tokenizer.encode_array(text)
        assert (len(ids), int((ids == tokenizer.unknown_id).sum())) == (tokens, unknown)
        if split == "valid":
            assert tokenizer.decode(ids) == text
            rust = Rust.from_str(json.dumps(tokenizer.to_json()))
            assert rust.encode(text[:100_000]).ids == tokenizer.encode(text[:100_000])


@given(st.text(alphabet="ab \n\t\r\x0b\x1c\x1d\x1e\x1f\x85\u00a0\u2003\u2028\u3000\u200b"))
@settings(max_examples=200, deadline=None)
def test_white_space_is_the_same_as_in_tokenizers(text: str) -> None:
    tokenizer = Words(["<unk>", "<eos>", "a", "b", "ab"])
    assert Rust.from_str(json.dumps(tokenizer.to_json())).encode(text).ids == tokenizer.encode(text)


@pytest.mark.parametrize("kind", ["char", "word"])
@pytest.mark.parametrize("documents", [["to be"], ["to be", "or not"]])
def test_saved_loaded_and_pickled_they_are_the_same(tmp_path: Path, kind: str, documents: list[str]) -> None:
    tokenizer = train_tokenizer(kind, documents, vocab_size=50)
    tokenizer.save(tmp_path)
    for back in (load_tokenizer(tmp_path), pickle.loads(pickle.dumps(tokenizer))):
        assert isinstance(back, Characters if kind == "char" else Words)
        assert (back.hash, back.end_id, back.vocab_size) == (tokenizer.hash, tokenizer.end_id, tokenizer.vocab_size)
        assert back.encode("to be") == tokenizer.encode("to be")


@pytest.mark.parametrize("kind", ["char", "word"])
def test_a_post_processor_that_adds_nothing_changes_nothing(kind: str) -> None:
    tokenizer = train_tokenizer(kind, ["no", "yes"], vocab_size=50)
    data = tokenizer.to_json()
    single, pair = [{"Sequence": {"id": "A", "type_id": 0}}], [{"Sequence": {"id": "B", "type_id": 0}}]
    data["post_processor"] = {"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": {}}
    assert from_json(data).hash == tokenizer.hash  # as transformers saves it
    data["decoder"] = {"type": "Metaspace", "replacement": "_", "prepend_scheme": "never", "split": True}
    assert from_json(data).kind == "foreign"  # and it holds no letter a


@pytest.fixture
def wordpiece() -> Rust:
    names = ["[UNK]", "[CLS]", "[SEP]", "play", "##ing", "games"]
    rust = Rust(models.WordPiece({name: id for id, name in enumerate(names)}, unk_token="[UNK]"))
    rust.normalizer, rust.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    rust.decoder = decoders.WordPiece()
    rust.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    rust.add_special_tokens(names[:3])
    rust.enable_truncation(2)
    return rust


def test_a_foreign_tokenizer_adds_nothing_cuts_nothing_and_takes_special_tokens_as_text(wordpiece: Rust) -> None:
    foreign = from_json(json.loads(wordpiece.to_str()))
    assert isinstance(foreign, Foreign)
    assert foreign.vocab_size == 6
    assert (foreign.unknown_id, foreign.end_id) == (0, 2)
    ids = foreign.encode("Playing games games")
    assert ids == [3, 4, 5, 5]
    assert foreign.decode(ids) == "playing games games"
    assert [foreign.token_bytes(id) for id in ids[:3]] == [b" play", b"ing", b" games"]
    assert 2 not in foreign.encode("[SEP]")
    assert pickle.loads(pickle.dumps(foreign)).hash == foreign.hash
    with pytest.raises(DataError, match="outside this vocabulary"):
        foreign.decode([99])
    with pytest.raises(DataError, match="surrogate"):
        foreign.encode("\ud800")


def test_the_end_of_text_of_a_foreign_tokenizer_is_what_its_configuration_says(tmp_path: Path, wordpiece: Rust) -> None:
    wordpiece.save(str(tmp_path / "tokenizer.json"))
    for token in ("[CLS]", {"content": "[CLS]"}):
        (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": token}))
        foreign = load_tokenizer(tmp_path)
        assert foreign.end_id == 1
        assert pickle.loads(pickle.dumps(foreign)).end_id == 1
    (tmp_path / "tokenizer_config.json").write_text("{")
    with pytest.raises(DataError, match=r"tokenizer_config\.json cannot be read"):
        load_tokenizer(tmp_path)


def test_foreign_bytes_of_sentencepiece_vocabularies() -> None:
    names = ["<unk>", "<s>", "</s>", "<0x0A>", "<0xC3>", "▁the", "s", "▁", "t", "h", "e", "a"]
    model = models.BPE({name: id for id, name in enumerate(names)}, [], unk_token="<unk>", byte_fallback=True)
    rust = Rust(model)
    rust.pre_tokenizer = pre_tokenizers.Metaspace()
    rust.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    rust.add_special_tokens([AddedToken("</s>", special=True)])
    foreign = Foreign(json.loads(rust.to_str()))
    assert foreign.end_id == 2
    assert [foreign.token_bytes(id) for id in (3, 4, 5, 6)] == [b"\n", b"\xc3", b" the", b"s"]
