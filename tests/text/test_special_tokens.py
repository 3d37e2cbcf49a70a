"""The mask and the sentinels in every kind of tokenizer: there when asked for, never made from text, saved."""

import json
import pickle

import pytest
from tokenizers import Tokenizer as Rust
from tokenizers import models, pre_tokenizers, trainers

from heed.errors import ConfigError, DataError
from heed.text.tokenizers import END_OF_TEXT, MASK, from_json, load_tokenizer, sentinels, train_tokenizer
from heed.text.tokenizers.foreign import Foreign

TEXT = ["the cat sat on the mat", "the cat and the hat"]


@pytest.mark.parametrize("kind", ["bpe", "word"])
def test_special_tokens_are_never_made_from_text_and_come_back_from_a_file(kind, tmp_path):
    texts = [*TEXT, f"a {MASK} in the text and <extra_id_0> {MASK}"] * 3
    tokenizer = train_tokenizer(kind, texts, 290, specials=(MASK, *sentinels(3)))
    plain = train_tokenizer(kind, texts, 290)
    assert (plain.mask_id, plain.sentinel_ids) == (None, ())
    mask = tokenizer.mask_id
    assert mask is not None
    assert tokenizer.token_bytes(mask) == MASK.encode()
    assert [tokenizer.token_bytes(id).decode() for id in tokenizer.sentinel_ids] == list(sentinels(3))
    assert tokenizer.end_id not in (None, mask)
    assert not {mask, *tokenizer.sentinel_ids} & set(tokenizer.encode(texts[2]))
    tokenizer.save(tmp_path)
    for back in (load_tokenizer(tmp_path), pickle.loads(pickle.dumps(tokenizer))):
        assert type(back) is type(tokenizer)
        assert (back.hash, back.mask_id, back.sentinel_ids) == (tokenizer.hash, mask, tokenizer.sentinel_ids)
    rust = Rust.from_file(str(tmp_path / "tokenizer.json"))
    assert rust.token_to_id(MASK) == mask
    rust.encode_special_tokens = True
    assert rust.encode(texts[2]).ids == tokenizer.encode(texts[2])


def test_the_mask_is_a_character_of_a_character_tokenizer(tmp_path):
    tokenizer = train_tokenizer("char", TEXT, 50, specials=(MASK,))
    assert tokenizer.mask_id == tokenizer.encode(MASK)[0]
    assert tokenizer.decode(tokenizer.encode(f"a{MASK}t")) == f"a{MASK}t"
    tokenizer.save(tmp_path)
    assert load_tokenizer(tmp_path).mask_id == tokenizer.mask_id
    assert train_tokenizer("char", TEXT, 50).mask_id is None
    assert train_tokenizer("char", [*TEXT, MASK], 50).mask_id is not None
    with pytest.raises(DataError, match="more than the 14"):
        train_tokenizer("char", ["the cat sat on the mat"], 14, end_of_text=True, specials=(MASK, "x", "y", "z", "w"))


def test_bpe_with_special_tokens_is_that_of_tokenizers():
    bpe = train_tokenizer("bpe", TEXT, 275, specials=(MASK, *sentinels(2)))
    rust = Rust(models.BPE())
    rust.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    names = [END_OF_TEXT, MASK, *sentinels(2)]
    trainer = trainers.BpeTrainer(vocab_size=275, special_tokens=names, initial_alphabet=alphabet, show_progress=False)
    rust.train_from_iterator(TEXT, trainer)
    assert json.loads(rust.to_str())["model"]["vocab"] == bpe.to_json()["model"]["vocab"]
    assert (bpe.end_id, bpe.mask_id, bpe.sentinel_ids) == (0, 1, (2, 3))


def test_special_tokens_take_the_place_of_learned_ones():
    assert train_tokenizer("bpe", TEXT, 270, specials=(MASK,)).vocab_size == 270
    words = train_tokenizer("word", TEXT, 7, specials=(MASK,))
    assert words.vocab_size == 7
    assert (words.end_id, words.mask_id) == (5, 6)
    with pytest.raises(DataError, match="take at least 5"):
        train_tokenizer("word", TEXT, 4, specials=(MASK,))


@pytest.mark.parametrize(
    ("kind", "specials", "message"),
    [
        ("char", sentinels(1), "a character tokenizer has no token '<extra_id_0>'"),
        ("bpe", ("a",), "'a' is the name of a byte"),
        ("bpe", (MASK, MASK), "must be different"),
        ("word", (END_OF_TEXT,), "none of them"),
        ("bpe", ("",), "not empty"),
    ],
)
def test_special_tokens_that_cannot_be(kind, specials, message):
    with pytest.raises(ConfigError, match=message):
        train_tokenizer(kind, TEXT, 300, specials=specials)


@pytest.mark.parametrize("name", ["<mask>", "[MASK]", MASK])
def test_the_mask_of_other_tokenizers(name):
    rust = Rust(models.WordPiece({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    rust.pre_tokenizer = pre_tokenizers.Whitespace()
    rust.add_special_tokens([name, "<extra_id_1>", "<extra_id_0>"])
    foreign = from_json(json.loads(rust.to_str()))
    assert isinstance(foreign, Foreign)
    assert (foreign.mask_id, foreign.sentinel_ids) == (2, (4, 3))
    assert 2 not in foreign.encode(f"a {name}")
