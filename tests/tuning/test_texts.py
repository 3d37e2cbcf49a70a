"""Texts as token ids: what is cut, what is padded, which batch comes when; the ids are those of transformers."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import transformers
from tiny_encoders import SPECIALS, WORDS, tokenizer
from tokenizers import Tokenizer, models

from heed.errors import CheckpointError, ConfigError, DataError
from heed.text.splits import SplitRows
from heed.tuning.texts import POOL, FeatureBatches, TextBatches, encode, in_order

CLS, SEP, PAD = 2, 3, 0


def rows(texts, pairs=None):
    places = [f"t.csv, line {number}" for number in range(2, 2 + len(texts))]
    return SplitRows(list(texts), None if pairs is None else list(pairs), np.arange(len(texts)) % 2, places)


def ids_of(text):
    return [len(SPECIALS["bert"]) + WORDS.index(word) for word in text.split()]


def read(encoded, number):
    """The ids and parts of one text, from its batch."""
    source = encoded.batch(np.array([number])).source[0]
    return source[0].tolist(), source[1].tolist()


@pytest.fixture(scope="module")
def bert():
    return tokenizer("bert", lower=True)


def test_the_passage_is_cut_and_not_the_question(bert):
    question, passage = "was it good", "the film is not bad and not dull it is very good again and again"
    encoded = encode(rows([question], [passage]), bert, 12, PAD)
    ids, parts = read(encoded, 0)
    kept = ids_of(passage)[:6]  # 12 less 3 special tokens and 3 of the question
    assert ids == [CLS, *ids_of(question), SEP, *kept, SEP]
    assert parts == [1] * 5 + [2] * 7
    assert encoded.cut == 1


def test_a_question_that_leaves_no_room_keeps_four_tokens_of_the_passage(bert):
    long = "the film is not bad and not dull it is very good"
    encoded = encode(rows([long, long, "it is"], [long, "a film", "good"]), bert, 12, PAD)
    assert read(encoded, 0)[0] == [CLS, *ids_of(long)[:5], SEP, *ids_of(long)[:4], SEP]
    assert read(encoded, 1)[0] == [CLS, *ids_of(long)[:7], SEP, *ids_of("a film"), SEP]
    assert read(encoded, 2)[0] == [CLS, *ids_of("it is"), SEP, *ids_of("good"), SEP]
    assert encoded.cut == 2


def test_a_text_is_cut_at_its_end_and_counted_once_it_is_one_too_long(bert):
    encoded = encode(rows(["a good film", "a very good film"]), bert, 5, PAD)
    assert read(encoded, 0)[0] == [CLS, *ids_of("a good film"), SEP]
    assert read(encoded, 1)[0] == [CLS, *ids_of("a very good"), SEP]
    assert encoded.cut == 1


def test_padding_is_0_in_the_plane_of_parts(bert):
    encoded = encode(rows(["a good film", "bad", "it is bad"]), bert, 16, PAD)
    batch = encoded.batch(np.array([1, 0]))
    assert batch.source.shape == (2, 2, 5)
    assert batch.source[0].tolist() == [[CLS, *ids_of("bad"), SEP, PAD, PAD], [1, 1, 1, 0, 0]]
    assert batch.source[1].tolist() == [[CLS, *ids_of("a good film"), SEP], [1] * 5]
    assert batch.target.tolist() == [1, 0]
    assert batch.source.dtype == batch.target.dtype == np.int64


def test_a_tokenizer_that_truncates_and_pads_by_itself_is_kept_from_it(bert):
    own = tokenizer("bert", lower=True)
    own.backend_tokenizer.enable_truncation(4)
    own.backend_tokenizer.enable_padding(length=20)
    texts = rows(["a good film again and again", "bad"])
    assert encode(texts, own, 16, PAD).ids.tolist() == encode(texts, bert, 16, PAD).ids.tolist()


@pytest.mark.parametrize("kind", ["bert", "roberta", "gpt2"])
def test_ids_and_types_are_those_of_transformers(kind, shared_data):
    """Real vocabularies and real questions with their passages; most are too long, and none of the questions is."""
    real = real_tokenizer(kind, shared_data)
    lines = (shared_data / "boolq" / "dev.jsonl").read_text(encoding="utf-8").splitlines()[:60]
    found = [json.loads(line) for line in lines]
    questions, passages = [one["question"] for one in found], [one["passage"] for one in found]
    for pairs in (None, passages):
        encoded = encode(rows(questions, pairs), real, 96 if pairs else 10, 0)
        cut = "only_first" if pairs is None else "only_second"
        wanted = real(questions, pairs, truncation=cut, max_length=96 if pairs else 10, return_token_type_ids=True)
        for number in range(len(questions)):
            ids, parts = read(encoded, number)
            assert ids == wanted["input_ids"][number]
            if kind == "bert":
                assert [part - 1 for part in parts] == wanted["token_type_ids"][number]
        assert encoded.cut > 10


def real_tokenizer(kind, data):
    if kind == "bert":
        return transformers.BertTokenizerFast(vocab=str(data / "bert-vocab" / "vocab.txt"))
    merges = str(data / "gpt2-bpe" / "vocab.bpe")  # RoBERTa's are GPT-2's
    if kind == "gpt2":
        return transformers.GPT2TokenizerFast(vocab=str(data / "gpt2-bpe" / "encoder.json"), merges=merges)
    return transformers.RobertaTokenizerFast(vocab=str(data / "roberta-bpe" / "vocab.json"), merges=merges)


@pytest.mark.parametrize(("limit", "pairs"), [(2, None), (10, ["it is"])])
def test_no_room_is_an_error(bert, limit, pairs):
    with pytest.raises(ConfigError, match=rf"encoder.max_length: {limit} leaves no room beside [23] special tokens"):
        encode(rows(["a film"], pairs), bert, limit, PAD)


@pytest.mark.parametrize(("texts", "pairs"), [(["a", " ", "b"], None), (["a", "b"], ["the", "\n"])])
def test_a_text_without_a_token_is_named(bert, texts, pairs):
    with pytest.raises(DataError, match=r"t.csv, line 3: the tokenizer makes no token of this text"):
        encode(rows(texts, pairs), bert, 16, PAD)


@pytest.fixture(scope="module")
def many(bert):
    """403 texts of 3 to 32 tokens; the label of each is its number, so that a batch says which texts it holds."""
    draw = np.random.default_rng(0)
    texts = [" ".join(draw.choice(WORDS, draw.integers(1, 31))) for _ in range(403)]
    return encode(replace(rows(texts), labels=np.arange(403)), bert, 64, PAD)


def test_every_text_once_an_epoch_in_another_order(many):
    batches, orders = TextBatches(many, 8, seed=1), []
    for epoch in (1, 2):
        steps = [next(batches).target.tolist() for _ in range(batches.steps_per_epoch)]
        assert [len(step) for step in steps] == [8] * 50 + [3]
        assert batches.epoch == epoch
        orders.append([number for step in steps for number in step])
        assert sorted(orders[-1]) == list(range(403))
    assert orders[0] != orders[1]
    assert next(TextBatches(many, 8, seed=2)).target.tolist() != orders[0][:8]


def test_a_batch_holds_texts_of_one_length(many):
    """In random order a quarter of a batch is padding; sorted in pools of 50 batches next to nothing."""
    batches = TextBatches(many, 8, seed=1)
    real = padded = 0
    for _ in range(batches.steps_per_epoch):
        parts = next(batches).source[:, 1]
        real, padded = real + int((parts > 0).sum()), padded + parts.size
    draw = np.random.default_rng(0).permutation(403)
    random = sum(int(many.lengths[draw[i : i + 8]].max()) * len(draw[i : i + 8]) for i in range(0, 403, 8))
    assert POOL * 8 == 400  # one pool of all but three texts
    assert 1 - real / padded < 0.03 < 0.2 < 1 - real / random


@pytest.mark.parametrize("steps", [0, 7, 51, 60])
def test_going_on_gives_exactly_the_next_batch(many, steps):
    whole, first = TextBatches(many, 8, seed=1), TextBatches(many, 8, seed=1)
    for _ in range(steps):
        next(whole), next(first)
    state = json.loads(json.dumps(first.state()))
    again = TextBatches(many, 8, seed=1)
    again.load_state(state)
    for _ in range(60):
        one, other = next(whole), next(again)
        assert np.array_equal(one.source, other.source)
        assert np.array_equal(one.target, other.target)


def test_a_state_of_other_batches_is_refused(many):
    state = TextBatches(many, 8, seed=1).state()
    with pytest.raises(CheckpointError, match="have batch_size 8, these have 4"):
        TextBatches(many, 4, seed=1).load_state(state)
    with pytest.raises(CheckpointError, match="have texts 403, these have 10"):
        TextBatches(many.take(np.arange(10)), 8, seed=1).load_state(state)


def test_features_come_in_the_order_of_their_texts(many):
    features = np.arange(403, dtype=np.float32)[:, None].repeat(2, axis=1)
    texts, vectors = TextBatches(many, 8, seed=1), FeatureBatches(many, features, 8, seed=1)
    for _ in range(60):
        one, other = next(texts), next(vectors)
        assert other.source[:, 0].tolist() == one.target.tolist() == other.target.tolist()


def test_texts_in_order_begin_with_the_longest(many):
    found = list(in_order(many, 64))
    assert sorted(int(n) for numbers, _ in found for n in numbers) == list(range(403))
    lengths = [many.lengths[n] for numbers, _ in found for n in numbers]
    assert lengths == sorted(lengths, reverse=True)


def test_some_of_the_texts(many):
    some = many.take(np.array([5, 400, 2]))
    for place, number in enumerate((5, 400, 2)):
        assert read(some, place) == read(many, number)
    assert some.labels.tolist() == many.labels[[5, 400, 2]].tolist()


def test_a_text_that_the_tokenizer_cannot_read_is_named():
    backend = Tokenizer(models.WordLevel({"a": 0}, unk_token="[UNK]"))  # whose unknown token is not in the vocabulary
    with pytest.raises(DataError, match=r"t.csv, line 3: the tokenizer cannot read this text .*: leave the row out"):
        encode(rows(["a", "z"]), SimpleNamespace(backend_tokenizer=backend), 16, PAD)
