"""Streams of documents with hidden spans: what they hold, what counts, and that they go on exactly where they stood."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heed.config import SPANS, SPANS_CONTEXT
from heed.errors import CheckpointError, ConfigError, DataError
from heed.text.batches import Batch, Padded
from heed.text.corruption import Corrupted, Corruption, corrupted_windows, mask_of
from heed.text.spans import SHORTEST, restore, restore_spans
from heed.text.tokenfile import TokenFile
from heed.text.tokenizers import END_OF_TEXT, MASK, Tokenizer, sentinels, train_tokenizer
from heed.text.tokenizers.characters import Characters

LINES = [f"Ada Name{n}. Ada Name{n} was born on {n} May 19{n:02} in Town{n % 7} ." for n in range(40)]


@pytest.fixture(scope="module")
def bpe() -> Tokenizer:
    return train_tokenizer("bpe", LINES, 330, specials=(MASK, *sentinels(10)))


@pytest.fixture(scope="module")
def characters() -> Tokenizer:
    return train_tokenizer("char", LINES, 200, specials=(MASK,))


def token_file(tokenizer: Tokenizer, documents: list[str]) -> TokenFile:
    """Documents as `write_token_file` writes them: each ends in the end token where there is one."""
    end = [] if tokenizer.end_id is None else [tokenizer.end_id]
    rows = [[*tokenizer.encode(document), *end] for document in documents]
    ids = np.array([id for row in rows for id in row], np.uint16)
    header = {"split": "train", "end_id": tokenizer.end_id, "tokenizer_hash": tokenizer.hash}
    return TokenFile(ids, np.cumsum([len(row) for row in rows], dtype=np.uint64), header)


def rows_of(batch: Batch) -> list[list[int]]:
    """The rows without padding, source and last target together."""
    assert batch.mask is not None
    rows = []
    for source, target, mask in zip(batch.source, batch.target, batch.mask, strict=True):
        length = int(np.flatnonzero(mask)[-1]) + 1
        assert not source[length:].any()
        assert not target[length:].any()
        assert source[1:length].tolist() == target[: length - 1].tolist()
        rows.append([*source[:length].tolist(), int(target[length - 1])])
    return rows


def take(stream, count: int) -> list[Batch]:
    return [next(stream) for _ in range(count)]


def same(one: list[Batch], other: list[Batch]) -> bool:
    return all(
        np.array_equal(a.source, b.source) and np.array_equal(a.target, b.target) and np.array_equal(a.mask, b.mask)  # pyright: ignore[reportArgumentType]
        for a, b in zip(one, other, strict=True)
    )


def document_of(row: list[int], tokenizer: Tokenizer, objective: str) -> str:
    array = np.array(row)
    spans = objective == "spans"
    return tokenizer.decode(
        restore_spans(array, tokenizer.sentinel_ids) if spans else restore(array, mask_of(tokenizer))
    )


# What a stream holds -------------------------------------------------------------------------------------------------


LOSSLESS = [name for name in SPANS if name != "recall-span"]


@pytest.mark.parametrize("objective", LOSSLESS)
def test_an_epoch_holds_each_document_once_and_nothing_is_lost(bpe, objective):
    stream = Corrupted(token_file(bpe, LINES), Corruption(objective, bpe, 64), 8, seed=1)
    assert stream.notes == []
    for _ in range(2):
        found = [document_of(row, bpe, objective) for batch in take(stream, 5) for row in rows_of(batch)]
        if objective == "single-span":  # cut at random: the beginning of some line
            assert all(any(line.startswith(text) for line in LINES) for text in found)
            assert len({text[:12] for text in found}) > 30
        else:
            assert sorted(found) == sorted(LINES)
    assert stream.epoch == 2.0


def test_the_assignments_rows_in_characters(characters):
    stream = Corrupted(token_file(characters, LINES), Corruption("single-span", characters, 48), 20, seed=0)
    texts = [characters.decode(row) for batch in take(stream, 4) for row in rows_of(batch)]
    for text in texts:
        prefix, suffix, span = text.split(MASK)
        assert any(line.startswith(prefix + span + suffix) for line in LINES)
        assert END_OF_TEXT not in text
        assert 4 <= len(prefix + span + suffix) <= 42
    lost = sum(len(line) - 42 for line in LINES) / sum(len(line) + 1 for line in LINES)
    assert stream.notes == [
        f"40 of 40 documents have more than 42 tokens: what comes after them, {lost:.1%} of all tokens, is cut off in "
        "rows with spans"
    ]


def test_whole_rows_count_or_only_what_is_hidden(characters):
    file = token_file(characters, LINES)
    rule = Corruption("single-span", characters, 64)
    whole, hidden = (next(Corrupted(file, rule, 16, 3, whole_rows=w)) for w in (True, False))
    assert np.array_equal(whole.source, hidden.source)
    assert whole.mask is not None
    assert hidden.mask is not None
    for row, counts in zip(rows_of(whole), hidden.mask, strict=True):
        span = characters.decode(row).split(MASK)[2]
        length = len(row) - 1
        assert np.flatnonzero(counts).tolist() == list(range(length - len(span), length))
    assert all(mask[: len(row) - 1].all() for row, mask in zip(rows_of(whole), whole.mask, strict=True))


def test_of_several_spans_all_behind_the_first_sentinel_counts(bpe):
    stream = Corrupted(token_file(bpe, LINES), Corruption("spans", bpe, 64), 16, 3, whole_rows=False)
    batch = next(stream)
    assert batch.mask is not None
    for row, counts in zip(rows_of(batch), batch.mask, strict=True):
        again = [place for place, id in enumerate(row) if id == bpe.sentinel_ids[0]][1]
        assert np.flatnonzero(counts).tolist() == list(range(again, len(row) - 1))


def test_a_share_of_the_rows_stays_plain_with_its_end_tokens(characters):
    documents = [f"{chr(97 + n)} text" for n in range(20)] * 20
    tokenizer = train_tokenizer("char", documents, 50, specials=(MASK,))
    stream = Corrupted(
        token_file(tokenizer, documents), Corruption("single-span", tokenizer, 16), 400, 2, plain_share=0.3
    )
    texts = [tokenizer.decode(row) for row in rows_of(next(stream))]
    plain = [text for text in texts if MASK not in text]
    assert len(plain) == pytest.approx(120, abs=46)  # standard deviation 9.2; five of them
    assert all(text.removeprefix(END_OF_TEXT)[1:] == " text" + END_OF_TEXT for text in plain)
    assert sum(not text.startswith(END_OF_TEXT) for text in plain) <= 1  # before the first document there is none
    everything = Corrupted(
        token_file(tokenizer, documents), Corruption("single-span", tokenizer, 16), 9, 2, plain_share=1
    )
    assert all(MASK not in tokenizer.decode(row) for row in rows_of(next(everything)))


def test_plain_rows_are_those_of_padded_batches_and_count_whole(characters):
    file = token_file(characters, ["Ada", "", "May", "Town6 " * 9])
    padded = next(Padded(file, 4, 32, 1, shuffle=False))
    rule = Corruption("single-span", characters, 32)
    plain = next(Corrupted(file, rule, 3, 1, shuffle=False, plain_share=1.0, whole_rows=False))
    keep = [0, 2, 3]  # the empty document has one target, its end token, and nothing to hide
    assert np.array_equal(plain.source, padded.source[keep])
    assert np.array_equal(plain.target, padded.target[keep])
    assert np.array_equal(plain.mask, padded.mask[keep])  # pyright: ignore


def test_batches_are_as_wide_as_their_longest_row_and_what_torch_takes(bpe):
    stream = Corrupted(token_file(bpe, ["Ada", "May"]), Corruption("salient-span", bpe, 128), 2, 1)
    batch = next(stream)
    assert batch.source.shape == batch.target.shape == (2, 8)
    for array in (batch.source, batch.target):
        assert array.dtype == np.int64
        assert array.flags.c_contiguous
        assert array.flags.writeable


def test_documents_without_end_tokens_and_of_one_token():
    tokenizer = Characters("ab" + MASK)
    file = TokenFile(np.array([0, 1, 1], np.uint16), np.array([1, 1, 3], np.uint64), {"split": "train"})
    stream = Corrupted(file, Corruption("single-span", tokenizer, 8), 2, 1, plain_share=1.0, shuffle=False)
    assert stream.notes == ["empty documents are left out: 1"]
    batch = next(stream)
    # Nothing follows a document of one token, so it cannot be plain: mask, mask, a.
    assert rows_of(batch) == [[2, 2, 0], [1, 1]]


def test_the_mask_character_in_the_text_is_said():
    tokenizer = Characters("ab" + MASK)
    stream = Corrupted(token_file(tokenizer, ["ab" + MASK, "ba"]), Corruption("single-span", tokenizer, 8), 2, 1)
    assert stream.notes == ["mask characters in the text itself: 1; take them out, their rows are ambiguous"]


# Going on ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("objective", SPANS)
@pytest.mark.parametrize("done", [0, 1, 7, 12])
def test_a_stream_goes_on_with_exactly_the_next_batch(bpe, objective, done):
    def make(seed: int = 5) -> Corrupted:
        return Corrupted(token_file(bpe, LINES), Corruption(objective, bpe, 64), 7, seed, plain_share=0.4)

    whole = take(make(), 16)
    first, second = make(), make()
    take(first, done)
    second.load_state(json.loads(json.dumps(first.state())))
    assert same(take(second, 16 - done), whole[done:])
    assert not same(take(make(6), 3), whole[:3])
    with pytest.raises(CheckpointError, match="seed"):
        make(6).load_state(first.state())


@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=8), seed=st.integers(0, 20))
@settings(max_examples=25, deadline=None)
def test_what_is_drawn_does_not_depend_on_the_batches(bpe, sizes, seed):
    file, rule = token_file(bpe, LINES[:6]), Corruption("single-span", bpe, 32)
    total = sum(sizes)
    whole = rows_of(Corrupted(file, rule, total, seed, plain_share=0.5).take(total))
    parts = Corrupted(file, rule, 1, seed, plain_share=0.5)
    assert [row for size in sizes for row in rows_of(parts.take(size))] == whole


def test_every_epoch_hides_something_else(bpe):
    stream = Corrupted(token_file(bpe, LINES[:1]), Corruption("single-span", bpe, 64), 1, 1)
    assert len({tuple(rows_of(next(stream))[0]) for _ in range(12)}) > 9


# Evaluation ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("objective", SPANS)
def test_the_evaluation_hides_the_same_whatever_the_batches(bpe, objective):
    file, rule = token_file(bpe, LINES), Corruption(objective, bpe, 64)

    def hidden(size: int, count: int | None = None) -> list[list[int]]:
        return [row for batch in corrupted_windows(file, rule, size, count) for row in rows_of(batch)]

    assert hidden(1) == hidden(7) == hidden(100)
    assert hidden(7, 9) == hidden(7)[:9]
    if objective in ("salient-span", "spans"):
        assert [document_of(row, bpe, objective) for row in hidden(3)] == LINES
    for batch in corrupted_windows(file, rule, 7):
        assert batch.mask is not None
        assert not batch.mask[:, 0].any()  # only what is hidden counts


# What is refused -----------------------------------------------------------------------------------------------------


def test_what_cannot_be(bpe, characters):
    plain = train_tokenizer("bpe", LINES, 300)
    for objective in ("single-span", "salient-span"):
        with pytest.raises(DataError, match="no mask token"):
            Corruption(objective, plain, 64)
    assert SPANS_CONTEXT == 2 * SHORTEST
    with pytest.raises(ConfigError, match="documents with hidden spans need at least 8"):
        Corruption("single-span", bpe, SPANS_CONTEXT - 1)
    with pytest.raises(DataError, match="needs 4 sentinel tokens at this context, the tokenizer has 0"):
        Corruption("spans", characters, 64)
    with pytest.raises(DataError, match="needs 18 sentinel tokens at this context, the tokenizer has 10"):
        Corruption("spans", bpe, 384)
    with pytest.raises(ConfigError, match="did you mean 'single-span'"):
        Corruption("single_span", bpe, 64)
    with pytest.raises(ConfigError, match=r"between 0 and 1, not 1\.5"):
        Corruption("single-span", bpe, 64, share=1.5)
    with pytest.raises(ConfigError, match=r"at least 1 token, not 0\.5"):
        Corruption("spans", bpe, 64, mean_length=0.5)
    with pytest.raises(ConfigError, match="at least 8"):
        Corruption("single-span", bpe, 7)
    with pytest.raises(DataError, match="the train split has no document"):
        Corrupted(token_file(bpe, ["", ""]), Corruption("single-span", bpe, 64), 4, 1)


def test_real_lines_of_wikipedia(shared_data):
    text = (shared_data / "birth-places" / "wiki.txt").read_text(encoding="utf-8")
    lines = text.split("\n")[:-1]
    tokenizer = train_tokenizer("char", lines, 400, specials=(MASK,))
    stream = Corrupted(token_file(tokenizer, lines), Corruption("single-span", tokenizer, 128), 64, 1)
    for batch in take(stream, 3):
        for row in rows_of(batch):
            assert document_of(row, tokenizer, "single-span") in {line[: len(row) - 2] for line in lines}


def test_a_recall_row_holds_the_name_what_stands_before_a_span_and_the_span(bpe):
    stream = Corrupted(token_file(bpe, LINES), Corruption("recall-span", bpe, 64), 8, seed=1, whole_rows=False)
    near, places = set(), set()
    for batch in take(stream, 20):
        assert batch.mask is not None
        for row, target, mask in zip(batch.source, batch.target, batch.mask, strict=True):
            length = int(np.flatnonzero(mask)[-1]) + 1
            text = bpe.decode([*row[:length], target[length - 1]])
            asked, span, rest = text.split(MASK)
            assert rest == ""
            assert bpe.decode(target[mask]) == span + MASK  # what counts is the span and what closes it
            (line,) = [line for line in LINES if " " + line.partition(". ")[0] + "." in asked]
            before, context = asked.split(" " + line.partition(". ")[0] + ".")
            places.add((before != "", context != ""))
            context = before + context
            assert context + span in line
            near.add(len(bpe.encode(context)))
    assert len(places) == 4  # the name stands first, last, in between or alone
    assert min(near) == 0
    assert 3 <= max(near) <= 7
    # a row of 65 has two masks, and its source is all but the last
    assert Corruption("recall-span", bpe, 64).most == 62


def test_a_document_reads_as_it_does_behind_a_space(bpe):
    corruption = Corruption("recall-span", bpe, 64)
    for text in [*LINES, "Ada", "Zoë Ñandú. Zoë was", "(Ada) Name", "1916 was", "Ada\nName. In", " Ada Name", "⁈ x"]:
        ids = np.array(bpe.encode(text), np.int64)
        again = text if text.startswith(" ") else " " + text
        assert corruption.behind_a_space(ids).tolist() == bpe.encode(again), text
        assert Corruption("salient-span", bpe, 64).behind_a_space(ids) is ids


@given(st.text(st.sampled_from("aAé. \n\t1⁈"), min_size=1, max_size=12))
def test_behind_a_space_no_text_is_lost(bpe, text):
    ids = Corruption("recall-span", bpe, 64).behind_a_space(np.array(bpe.encode(text), np.int64))
    assert bpe.decode(ids.tolist()).removeprefix(" ") == text.removeprefix(" ")


def test_plain_rows_of_recall_read_so_too(bpe, characters):
    for tokenizer, space in [(bpe, " "), (characters, "")]:
        corruption = Corruption("recall-span", tokenizer, 64)
        stream = Corrupted(token_file(tokenizer, LINES), corruption, 8, seed=1, plain_share=1.0)
        texts = [tokenizer.decode(row) for batch in take(stream, 5) for row in rows_of(batch)]
        ends = [text.replace(END_OF_TEXT, "|") for text in texts]
        assert all(text.strip("|") in {(space + line)[: len(text.strip("|"))] for line in LINES} for text in ends)
