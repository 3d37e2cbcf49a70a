"""Ids equal to the last one with those of independent implementations: `tokenizers`, tiktoken and transformers."""

import json
from pathlib import Path
from typing import Any

import pytest
import tiktoken
from hypothesis import given, settings
from hypothesis import strategies as st
from test_bpe import HARD
from tokenizers import Regex, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as Rust

from heed.text.tokenizers import END_OF_TEXT, bpe_trainer, from_json, load_tokenizer
from heed.text.tokenizers.bpe import Bpe
from heed.text.tokenizers.bpe_trainer import train_bpe
from heed.text.tokenizers.patterns import BYTE_OF, SPLITS, make_pattern


@pytest.fixture(scope="module")
def gpt2(shared_data: Path) -> Bpe:
    return Bpe.from_gpt2_files(shared_data / "gpt2-bpe" / "encoder.json", shared_data / "gpt2-bpe" / "vocab.bpe")


@pytest.fixture(scope="module")
def gpt1(shared_data: Path) -> Bpe:
    folder = shared_data / "gpt1-bpe"
    return Bpe.from_gpt1_files(folder / "encoder_bpe_40000.json", folder / "vocab_40000.bpe")


@pytest.fixture(scope="module")
def real_text(shared_data: Path) -> list[str]:
    files = ("wikitext-2/valid.txt", "tinyshakespeare/input.txt")
    return [(shared_data / file).read_text(encoding="utf-8")[:150_000] for file in files]


def rust_of(bpe: Bpe) -> Rust:
    """The same tokenizer.json in Rust, told to take special tokens in the text as text."""
    rust = Rust.from_str(json.dumps(bpe.to_json()))
    rust.encode_special_tokens = True
    return rust


def rust_trained(documents: list[str], vocab_size: int) -> dict[str, Any]:
    rust = Rust(models.BPE())
    rust.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    rust.train_from_iterator(documents, trainer)
    return json.loads(rust.to_str())["model"]


def assert_same_training(documents: list[str], vocab_size: int) -> None:
    ours, theirs = train_bpe(documents, vocab_size), rust_trained(documents, vocab_size)
    assert [(ours.tokens[left], ours.tokens[right]) for left, right in ours.merge_list] == [
        *map(tuple, theirs["merges"])
    ]
    assert ours.vocabulary == theirs["vocab"]


def test_gpt2_ids_equal_those_of_tiktoken_and_tokenizers(gpt2: Bpe, real_text: list[str]) -> None:
    ranks = {piece: id for id, piece in enumerate(gpt2.pieces) if id != gpt2.end_id}
    openai = tiktoken.Encoding("gpt2", pat_str=SPLITS["gpt2"], mergeable_ranks=ranks, special_tokens={})
    rust = rust_of(gpt2)
    assert gpt2.end_id == 50256
    assert gpt2.encode("Hello world") == [15496, 995]  # as everybody knows them
    for text in [*HARD, *real_text]:
        ids = gpt2.encode(text)
        assert ids == openai.encode_ordinary(text) == rust.encode(text).ids
        assert rust.decode(ids) == gpt2.decode(ids) == text


def test_gpt4_pattern_gives_the_ids_of_tiktoken_and_tokenizers(real_text: list[str]) -> None:
    bpe = train_bpe(real_text, 1000, "gpt4")
    ranks = {piece: id - 1 for id, piece in enumerate(bpe.pieces) if id != bpe.end_id}
    openai = tiktoken.Encoding("gpt4", pat_str=SPLITS["gpt4"], mergeable_ranks=ranks, special_tokens={})
    rust = rust_of(bpe)
    for text in [*HARD, *real_text]:
        ids = bpe.encode(text)
        assert ids == [id + 1 for id in openai.encode_ordinary(text)] == rust.encode(text).ids
        assert rust.decode(ids) == text


@given(
    st.text(
        alphabet=st.one_of(st.sampled_from("aAsS'tT \n\r\t.1½\u00a0\x1c\u0558\u0301漢ſ"), st.characters(codec="utf-8"))
    )
)
@settings(max_examples=300, deadline=None)
def test_any_text_splits_as_in_tokenizers(text: str) -> None:
    for name, split in SPLITS.items():
        theirs = pre_tokenizers.Split(Regex(split), "isolated").pre_tokenize_str(text)
        assert make_pattern(name).split(text) == [piece for piece, _ in theirs]


def test_every_character_of_unicode_is_the_same_kind_as_in_tokenizers() -> None:
    # When this fails after an update of regex or tokenizers, their versions of Unicode moved: mend patterns._NEWER.
    theirs = pre_tokenizers.Split(Regex(SPLITS["gpt2"]), "isolated")
    ours = make_pattern("gpt2")
    assert ours._exact("a\u0558") == ["a", "\u0558"]
    characters = [chr(point) for point in range(0x40000) if not 0xD800 <= point < 0xE000]  # beyond: no letter, no digit
    for start in range(0, len(characters), 10_000):
        text = "".join(f"a{character}1" for character in characters[start : start + 10_000])
        assert ours.split(text) == [piece for piece, _ in theirs.pre_tokenize_str(text)]


@given(st.lists(st.text(alphabet="ab ", min_size=1, max_size=30), min_size=1, max_size=5), st.integers(258, 300))
@settings(max_examples=100, deadline=None)
def test_training_on_texts_full_of_ties_and_overlaps_learns_what_tokenizers_learns(parts: list[str], size: int) -> None:
    assert_same_training(["aab", *parts], size)


@given(st.lists(st.text(alphabet="ab ", min_size=1, max_size=30), min_size=1, max_size=5), st.integers(258, 300))
@settings(max_examples=100, deadline=None)
def test_words_that_know_their_places_learn_the_same(parts: list[str], size: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bpe_trainer, "LONG", 2)
        assert_same_training(["aab", *parts], size)


def test_training_on_a_text_without_a_blank_learns_what_tokenizers_learns(real_text: list[str]) -> None:
    letters = [character for character in real_text[0] if character.isalpha()]
    assert_same_training(["".join(letters[:20_000]), "and short words", "".join(letters[20_000:21_000])], 2_000)


def test_a_text_without_a_blank_gives_the_ids_of_tiktoken_and_tokenizers(gpt2: Bpe, real_text: list[str]) -> None:
    letters = "".join(character for character in real_text[0] if character.isalpha())[:50_000]
    ranks = {piece: id for id, piece in enumerate(gpt2.pieces) if id != gpt2.end_id}
    theirs = tiktoken.Encoding("gpt2", pat_str=SPLITS["gpt2"], mergeable_ranks=ranks, special_tokens={})
    for text in (letters, " " + letters.lower(), "漢字" * 300 + "é" * 300 + letters, "=" * 20_000, "\n" * 20_000):
        ids = gpt2.encode(text)
        assert ids == theirs.encode_ordinary(text) == rust_of(gpt2).encode(text).ids


@pytest.mark.slow
def test_training_on_wikitext_to_8k_learns_what_tokenizers_learns(shared_data: Path) -> None:
    text = (shared_data / "wikitext-2" / "train.txt").read_text(encoding="utf-8")
    assert_same_training(text.splitlines(keepends=True), 8_000)


@pytest.mark.slow
def test_training_on_wikitext_to_32k_learns_what_tokenizers_learns(shared_data: Path) -> None:
    text = (shared_data / "wikitext-2" / "train.txt").read_text(encoding="utf-8")
    assert_same_training([text], 32_000)


def test_gpt1_ids_equal_those_of_transformers(
    gpt1: Bpe, shared_data: Path, real_text: list[str], tmp_path: Path
) -> None:
    from transformers import OpenAIGPTTokenizer

    folder = shared_data / "gpt1-bpe"
    lines = (folder / "vocab_40000.bpe").read_text(encoding="utf-8").split("\n")[1:]
    merges: Any = [tuple(line.split()) for line in lines if line]  # declared as strings there, used as pairs
    theirs = OpenAIGPTTokenizer(
        vocab=json.loads((folder / "encoder_bpe_40000.json").read_text(encoding="utf-8")),
        merges=merges,
    )
    theirs.save_pretrained(tmp_path)
    theirs.backend_tokenizer.encode_special_tokens = True
    rust = rust_of(gpt1)
    letters = "".join(character for character in real_text[0] if character.isalpha())[:2_000]
    for text in [*HARD, real_text[0][:50_000], "naïve Ünïcödé ΣΑΣ <unk> x", letters, f"{letters}ᚠ{letters}"]:
        ids = gpt1.encode(text)
        assert ids == theirs.backend_tokenizer.encode(text).ids == rust.encode(text).ids
        assert gpt1.decode(ids) == theirs.backend_tokenizer.decode(ids, skip_special_tokens=False)
    assert load_tokenizer(tmp_path).hash == gpt1.hash  # their file, read as ours
    assert gpt1.unknown_id in gpt1.encode("漢")


def test_files_of_others_are_read_as_ours_where_that_is_exact(gpt2: Bpe) -> None:
    data = gpt2.to_json()
    data["model"] = {key: data["model"][key] for key in ("dropout", "vocab", "merges")} | {
        "unk_token": "",
        "fuse_unk": False,
    }
    data["pre_tokenizer"] = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False}  # as on the hub
    data["post_processor"] = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False}
    data["model"]["merges"] = [merge.split(" ") for merge in data["model"]["merges"]]
    data["added_tokens"][0]["normalized"] = True  # nothing normalises, so nothing comes of it
    assert from_json(data).hash == gpt2.hash


@pytest.mark.parametrize("change", ["ignore_merges", "prefix space", "lower case", "another split", "single word"])
def test_files_that_ours_cannot_express_are_left_to_tokenizers(change: str) -> None:
    data = Bpe([END_OF_TEXT, *BYTE_OF, "ab"], [(65, 66)]).to_json()
    if change == "ignore_merges":
        data["model"]["ignore_merges"] = True
    elif change == "prefix space":
        data["pre_tokenizer"]["add_prefix_space"] = True
    elif change == "lower case":
        data["normalizer"] = {"type": "Lowercase"}
    elif change == "single word":
        data["added_tokens"][0]["single_word"] = True
    else:
        step = {"type": "Split", "pattern": {"Regex": r"\s+"}, "behavior": "Isolated", "invert": False}
        data["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [step, data["pre_tokenizer"]]}
    foreign = from_json(data)
    assert foreign.kind == "foreign"
    assert foreign.end_id == 0
    assert foreign.encode("ab é") == Rust.from_str(json.dumps(data)).encode("ab é").ids
    assert foreign.token_bytes(foreign.encode("é")[-1]) == b"\xa9"
