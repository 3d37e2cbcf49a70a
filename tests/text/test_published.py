"""The two files of a published vocabulary: found, told apart, and read with the ids of transformers."""

import json
import pickle
from pathlib import Path

import pytest

from heed.errors import ConfigError, DataError
from heed.text.tokenizers import END_OF_TEXT, load_tokenizer, train_tokenizer
from heed.text.tokenizers.patterns import BYTE_OF
from heed.text.tokenizers.published import PAIRS

GPT1 = {"<unk>": 0, "a": 1, "b": 2, "a</w>": 3, "b</w>": 4, "ab</w>": 5}
GPT2 = {character: id for id, character in enumerate(BYTE_OF)} | {"Ġa": 256, END_OF_TEXT: 257}


def write_pair(folder: Path, names: tuple[str, str], ids: dict[str, int], merges: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names[0]).write_text(json.dumps(ids), encoding="utf-8")
    (folder / names[1]).write_text(f"#version: 0.2\n{merges}\n", encoding="utf-8")
    return folder


def message(path: object) -> str:
    with pytest.raises(DataError) as caught:
        load_tokenizer(str(path))
    return str(caught.value)


@pytest.mark.parametrize("names", PAIRS)
def test_the_merges_tell_which_way_it_is(tmp_path: Path, names: tuple[str, str]) -> None:
    one = load_tokenizer(write_pair(tmp_path / "one", names, GPT1, "a b</w>"))
    assert one.encode("AB b ba?") == [5, 4, 2, 3, 0]  # lower case; ? is not in the vocabulary
    assert (one.end_id, one.unknown_id) == (None, 0)
    two = load_tokenizer(write_pair(tmp_path / "two", names, GPT2, "Ġ a"))
    assert two.encode(" ab") == [256, GPT2["b"]]
    assert two.end_id == 257


def test_a_name_is_a_folder_here_or_among_the_data_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pair(tmp_path / "data" / "mine", PAIRS[0], GPT1, "a b</w>")
    (tmp_path / "data" / "texts").mkdir()
    monkeypatch.setenv("HEED_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    assert load_tokenizer("mine").vocab_size == 6
    write_pair(tmp_path / "mine", PAIRS[1], GPT2, "Ġ a")
    assert load_tokenizer("mine").vocab_size == 258  # what is here comes first
    for other in ("texts", "absent", "../data/mine-not"):
        assert f"no such tokenizer: {other}" in message(other)


def test_a_tokenizer_json_beside_the_two_files_wins(tmp_path: Path) -> None:
    folder = write_pair(tmp_path, PAIRS[2], GPT1, "a b</w>")
    load_tokenizer(folder).save(folder)
    (folder / "merges.txt").write_text("broken")
    assert load_tokenizer(folder).encode("ab") == [5]


@pytest.mark.parametrize(
    ("ids", "merges", "said"),
    [
        ({"a": 0, "b": 1, "b</w>": 2, "ab</w>": 3}, "a b</w>", "lacks a special token"),  # no <unk>
        ({**GPT1, "x": 9}, "a b</w>", "without a gap"),
        (GPT1, "a c</w>", "are not the two files of a BPE vocabulary"),
        (GPT1, "a b", "not byte-level"),  # without </w> they can only be those of GPT-2
    ],
)
def test_files_that_do_not_go_together(tmp_path: Path, ids: dict[str, int], merges: str, said: str) -> None:
    text = message(write_pair(tmp_path, PAIRS[2], ids, merges))
    assert said in text
    assert "vocab.json" in text
    assert "\n" not in text


def lines_of(shared_data: Path) -> list[str]:
    return (shared_data / "wikitext-2" / "valid.txt").read_text(encoding="utf-8").splitlines(keepends=True)[:120]


def test_gpt1_files_give_the_ids_of_transformers(shared_data: Path) -> None:
    from transformers import OpenAIGPTTokenizerFast

    folder = shared_data / "gpt1-bpe"
    ours = load_tokenizer(folder)
    assert (ours.vocab_size, ours.unknown_id, ours.end_id) == (40_478, 0, None)
    theirs = OpenAIGPTTokenizerFast(
        vocab=str(folder / "encoder_bpe_40000.json"), merges=str(folder / "vocab_40000.bpe")
    )
    theirs.backend_tokenizer.encode_special_tokens = True  # as heed: the <unk> of WikiText is five characters of text
    for line in lines_of(shared_data):
        assert ours.encode(line) == theirs.backend_tokenizer.encode(line).ids


def test_gpt1_reads_unk_as_transformers_do_where_it_is_asked_to(shared_data: Path, tmp_path: Path) -> None:
    from tokenizers import Tokenizer as RustTokenizer
    from transformers import OpenAIGPTTokenizer

    folder = shared_data / "gpt1-bpe"
    ours = load_tokenizer(folder).reading_unknown()
    theirs = OpenAIGPTTokenizer(vocab=str(folder / "encoder_bpe_40000.json"), merges=str(folder / "vocab_40000.bpe"))
    ours.save(tmp_path)
    again = load_tokenizer(tmp_path)  # a run is enough by itself
    rust = RustTokenizer.from_file(str(tmp_path / "tokenizer.json"))
    odd = ["<unk>", "<unk><unk>", "a<unk>b", "< unk >", "<UNK>", "the <unk> , and", "", " <unk> ", "<unk", "漢<unk>"]
    for line in [*lines_of(shared_data), *odd]:
        expected = theirs(line)["input_ids"]
        assert ours.encode(line) == again.encode(line) == rust.encode(line).ids == expected
        assert ours.decode(expected).rstrip() == theirs.decode(expected).rstrip()
    assert (again.hash, again.kind) == (ours.hash, "bpe")
    assert again.hash != load_tokenizer(folder).hash  # other ids, so another tokenizer
    assert pickle.loads(pickle.dumps(ours)).encode("<unk>") == [0]  # as worker processes get it


def test_wikitext_under_gpt1_has_as_many_tokens_as_for_the_assignment(shared_data: Path) -> None:
    text = (shared_data / "wikitext-2" / "valid.txt").read_text(encoding="utf-8")
    lines = [line for line in text.split("\n") if line.strip()]
    ours = load_tokenizer(shared_data / "gpt1-bpe")
    assert sum(len(ours.encode_array(line)) for line in lines) == 255_063
    reading = ours.reading_unknown()
    assert sum(len(reading.encode_array(line)) for line in lines) == 231_627


def test_what_has_no_unk_cannot_read_it(shared_data: Path) -> None:
    with pytest.raises(ConfigError, match=r"tokenizer\.read_unk: this bpe tokenizer has no <unk>"):
        load_tokenizer(shared_data / "gpt2-bpe").reading_unknown()
    with pytest.raises(ConfigError, match=r"this char tokenizer has no <unk>"):
        train_tokenizer("char", ["abc"], 10).reading_unknown()
    words = train_tokenizer("word", ["a b <unk>"], 10)
    assert words.reading_unknown().encode("<unk> a") == [0, words.encode("a")[0]]


def test_gpt2_files_give_the_ids_of_transformers(shared_data: Path) -> None:
    from transformers import GPT2TokenizerFast

    folder = shared_data / "gpt2-bpe"
    ours = load_tokenizer(folder)
    assert (ours.vocab_size, ours.end_id) == (50_257, 50_256)
    theirs = GPT2TokenizerFast(vocab=str(folder / "encoder.json"), merges=str(folder / "vocab.bpe"))
    for line in lines_of(shared_data):
        assert ours.encode(line) == theirs.backend_tokenizer.encode(line).ids
