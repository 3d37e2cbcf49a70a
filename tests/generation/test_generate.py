"""Decoding as a whole: the cache, batches, the sliding window, ends, seeds, best-of, and what is refused."""

import math

import pytest
import torch
from generation_doubles import Bytes, Pieces, Table, chain, small_gpt

from heed.errors import CheckpointError, ConfigError
from heed.generation import Sampling, decoding, generate, score, stream

GREEDY = Sampling(temperature=0)
PROMPTS = ["a", "hello", "the quick brown f", "0123456789abcdefghij"]  # 1 to 20 tokens, of a context of 24


def only(answers):
    [[answer]] = answers
    return answer


class TestReading:
    """40 tokens after these prompts pass the context of 24 two or three times, each row at its own moment."""

    @pytest.mark.parametrize("settings", [{}, {"positions": "rotary", "n_kv_heads": 1, "norm": "rms"}, {"context": 3}])
    def test_a_batch_of_different_lengths_gives_what_each_prompt_gives_alone_without_cache(self, settings):
        model = small_gpt(**settings)
        together = generate(model, Bytes(), PROMPTS, GREEDY, max_tokens=40, logprobs=0)
        for prompt, [answer] in zip(PROMPTS, together, strict=True):
            alone = only(generate(model, Bytes(), [prompt], GREEDY, max_tokens=40, logprobs=0, cache=False))
            assert answer.ids == alone.ids
            assert answer.slides == alone.slides > 0
            assert answer.token_logprobs == pytest.approx(
                alone.token_logprobs, abs=1e-9
            )  # float64, other order of sums
            assert len(set(answer.ids)) > 3  # the text varies, so a slip would show

    def test_the_window_slides_to_its_last_half(self):
        model = small_gpt()
        ids = Bytes().encode(PROMPTS[2])
        answer = only(generate(model, Bytes(), [ids], GREEDY, max_tokens=20))
        window = list(ids)
        for token in answer.ids:
            window = window[-12:] if len(window) > 24 else window
            assert token == int(model(torch.tensor([window]))[0, -1].argmax())
            window.append(token)

    def test_stop_ends_where_the_model_can_read_no_more(self):
        answer = only(
            generate(small_gpt(), Bytes(), ["0123456789abcdefghij"], GREEDY, max_tokens=9, on_overflow="stop")
        )
        assert len(answer.ids) == 24 - 20 + 1  # the last token need not be read
        assert (answer.finish_reason, answer.slides) == ("length", 0)

    def test_error_refuses_before_the_first_token(self):
        ask = {"max_tokens": 6, "on_overflow": "error"}
        with pytest.raises(ConfigError, match=r"20 tokens of prompt and 6 of answer .* 24: ask for at most 5"):
            generate(small_gpt(), Bytes(), ["0123456789abcdefghij"], GREEDY, **ask)
        assert generate(small_gpt(), Bytes(), ["0123456789abcdefghi"], GREEDY, **ask)

    def test_a_prompt_beyond_the_context_loses_its_beginning_only_when_sliding(self):
        model, prompt = small_gpt(), "abcdefghijklmnopqrstuvwxyz0123456789"
        answer = only(generate(model, Bytes(), [prompt], GREEDY, max_tokens=5))
        assert answer.dropped_tokens == 36 - 24
        assert answer.ids == only(generate(model, Bytes(), [prompt[-24:]], GREEDY, max_tokens=5)).ids
        for policy in ("stop", "error"):
            with pytest.raises(ConfigError, match="the prompt has 36 tokens, and the model reads 24"):
                generate(model, Bytes(), [prompt], GREEDY, max_tokens=1, on_overflow=policy)

    def test_dropout_is_off_while_reading_and_the_mode_is_given_back(self):
        model = small_gpt(dropout=0.5).train()
        first = generate(model, Bytes(), ["abc"], GREEDY, max_tokens=10)
        assert model.training
        assert first == generate(model.eval(), Bytes(), ["abc"], GREEDY, max_tokens=10)

    def test_half_precision_is_chosen_from_in_float32(self):
        answer = only(generate(small_gpt().bfloat16(), Bytes(), ["abc"], Sampling(), max_tokens=3, logprobs=0))
        assert len(answer.ids) == 3


class TestEnds:
    def test_the_end_token_ends_the_text_and_is_no_part_of_it(self):
        model = chain(0, 1, 2, 3, vocab_size=4)
        tokenizer = Pieces(b"a", b"b", b"c", b"<end>", end_id=3)
        answer = only(generate(model, tokenizer, ["a"], GREEDY, max_tokens=9, logprobs=0))
        assert (answer.text, answer.ids, answer.finish_reason) == ("bc", [1, 2], "end")
        assert len(answer.token_logprobs) == 2
        ignored = only(generate(model, tokenizer, ["a"], GREEDY, max_tokens=3, ignore_end=True))
        assert (ignored.text, ignored.finish_reason) == ("bc<end>", "length")

    def test_a_stop_string_over_token_boundaries(self):
        model = chain(0, 1, 2, 3, 4, vocab_size=5)
        tokenizer = Pieces(b"a", b"bcST", b"O", b"Pde", b"f")
        answer = only(generate(model, tokenizer, ["a"], GREEDY, max_tokens=9, stop=["STOP"], logprobs=1))
        assert (answer.text, answer.finish_reason) == ("bc", "stop")
        assert (answer.ids, answer.tokens) == ([1], ["bc"])  # the token that begins before the stop string, cut
        assert len(answer.token_logprobs) == len(answer.top_logprobs) == 1

    def test_tokens_join_to_the_text_even_inside_a_character(self):
        model = chain(0, 1, 2, vocab_size=3)
        answer = only(generate(model, Pieces(b"a", b"\xc3", b"\xa9"), ["a"], GREEDY, max_tokens=2))
        assert (answer.text, answer.tokens) == ("é", ["", "é"])
        unfinished = only(generate(model, Pieces(b"a", b"\xc3", b"\xa9"), ["a"], GREEDY, max_tokens=1))
        assert (unfinished.text, unfinished.tokens) == ("\ufffd", ["\ufffd"])

    def test_no_tokens_at_all(self):
        answer = only(generate(small_gpt(), Bytes(), ["abc"], GREEDY, max_tokens=0, echo=True))
        assert (answer.text, answer.finish_reason, len(answer.prompt)) == ("", "length", 3)

    def test_rows_that_end_early_leave_the_others_as_they_were(self):
        table = torch.full((6, 6), -20.0)
        for a, b in [(0, 1), (1, 5), (2, 3), (3, 4), (4, 2)]:
            table[a, b] = 20.0
        tokenizer = Pieces(b"a", b"b", b"c", b"d", b"e", b"$", end_id=5)
        answers = generate(Table(table), tokenizer, ["a", "c", "b", "d", "a"], GREEDY, max_tokens=7)
        assert [answer.text for [answer] in answers] == ["b", "decdecd", "", "ecdecde", "b"]

    def test_an_empty_prompt_begins_after_the_end_token(self):
        model = chain(3, 0, 1, vocab_size=4)
        tokenizer = Pieces(b"a", b"b", b"c", b"$", end_id=3)
        assert only(generate(model, tokenizer, [[]], GREEDY, max_tokens=2)).text == "ab"
        with pytest.raises(ConfigError, match="the prompt is empty"):
            generate(small_gpt(), Bytes(), [""], GREEDY, max_tokens=2)


class TestChance:
    def test_the_same_seed_gives_the_same_text_in_any_company(self):
        model, ask = small_gpt(), {"max_tokens": 30, "seed": 7}
        together = generate(model, Bytes(), PROMPTS, Sampling(top_p=0.9), n=3, **ask)
        small = generate(model, Bytes(), PROMPTS, Sampling(top_p=0.9), n=3, batch_size=5, **ask)
        first = generate(model, Bytes(), PROMPTS[:1], Sampling(top_p=0.9), **ask)
        assert together == small
        assert together[0][0] == first[0][0]
        assert len({answer.text for answers in together for answer in answers}) == 12
        other = generate(model, Bytes(), PROMPTS[:1], Sampling(top_p=0.9), max_tokens=30, seed=8)
        assert other[0][0].text != first[0][0].text

    def test_rows_that_end_leave_the_chance_of_the_others_alone(self):
        model, tokenizer = Table(torch.zeros(6, 6)), Pieces(b"a", b"b", b"c", b"d", b"e", b"$", end_id=5)
        together = generate(model, tokenizer, ["a", "a"], n=6, max_tokens=20, logprobs=1)
        apart = generate(model, tokenizer, ["a", "a"], n=6, max_tokens=20, logprobs=1, batch_size=1)
        assert together == apart
        assert len({len(answer.ids) for answers in together for answer in answers}) > 4  # they end at various moments

    def test_the_same_prompt_twice_gives_two_texts(self):
        [[first], [second]] = generate(small_gpt(), Bytes(), ["abc", "abc"], max_tokens=20)
        assert first.text != second.text

    def test_torch_and_numpy_seeds_are_neither_used_nor_moved(self):
        model = small_gpt()
        torch.manual_seed(1)
        before = torch.get_rng_state()
        first = generate(model, Bytes(), ["abc"], max_tokens=9)
        assert torch.equal(before, torch.get_rng_state())
        torch.manual_seed(2)
        assert generate(model, Bytes(), ["abc"], max_tokens=9) == first

    def test_a_longer_answer_begins_as_the_shorter_one(self):
        model = small_gpt()
        long = only(generate(model, Bytes(), ["abc"], max_tokens=12))
        assert only(generate(model, Bytes(), ["abc"], max_tokens=5)).ids == long.ids[:5]

    def test_tokens_come_as_often_as_the_model_says(self):
        model = Table(torch.tensor([[0.5, 0.3, 0.2]] * 3, dtype=torch.float64).log())
        answers = generate(model, Pieces(b"a", b"b", b"c"), ["a"], n=4000, max_tokens=1, batch_size=4000)
        counts = torch.tensor([answer.ids[0] for answer in answers[0]]).bincount(minlength=3) / 4000
        # three standard deviations of a share of 0.5 among 4,000; the seed is fixed
        assert counts.tolist() == pytest.approx([0.5, 0.3, 0.2], abs=3 * math.sqrt(0.25 / 4000))

    def test_best_of_takes_the_highest_mean_logprob(self):
        model, ask = small_gpt(), {"max_tokens": 6, "seed": 1}
        drawn = generate(model, Bytes(), ["abc"], n=8, logprobs=0, **ask)[0]
        best = generate(model, Bytes(), ["abc"], n=2, best_of=8, **ask)[0]
        ranked = sorted(drawn, key=lambda answer: -sum(answer.token_logprobs) / 6)
        assert [answer.text for answer in best] == [answer.text for answer in ranked[:2]]
        assert best[0].token_logprobs is None  # not asked for

    def test_best_of_counts_the_end_token_too(self):
        # "b" then the end: mean of ln 0.4 and ln 0.9 is -0.51; "c" then the end: of ln 0.6 and ln 0.1 is -1.41, and
        # the best without the end; "ca": of ln 0.6 and ln 0.45 is -0.65
        table = torch.tensor([[0, 0.4, 0.6, 0], [0.05, 0.05, 0, 0.9], [0.45, 0.45, 0, 0.1], [1, 0, 0, 0]]).log()
        tokenizer = Pieces(b"a", b"b", b"c", b"$", end_id=3)
        best = generate(Table(table), tokenizer, ["a"], n=1, best_of=20, max_tokens=2)
        assert (best[0][0].text, best[0][0].finish_reason) == ("b", "end")

    def test_best_of_leaves_out_what_an_ended_row_reads_while_it_idles(self):
        # "b" and the end have a mean of ln 0.1 / 2 = -1.15, any text of c and d one of -0.66; after the end
        # comes another with certainty, which would lift the first to ln 0.1 / 20 = -0.12
        half = [0, 0, 0.5, 0.5, 0]
        table = torch.tensor([[0, 0.1, 0.9, 0, 0], [0, 0, 0, 0, 1], half, half, [0, 0, 0, 0, 1]]).log()
        ask = {"max_tokens": 20, "seed": 1, "batch_size": 20}
        tokenizer = Pieces(b"a", b"b", b"c", b"d", b"$", end_id=4)
        drawn = generate(Table(table), tokenizer, ["a"], n=20, **ask)[0]
        assert 0 < sum(answer.text == "b" for answer in drawn) < 5  # some, and too few to be left out at once
        assert generate(Table(table), tokenizer, ["a"], best_of=20, **ask)[0][0].text[0] == "c"


class TestPenalties:
    def greedy(self, **penalties: float) -> str:
        """Text of a model that likes a best (3.0), then b (2.0), then c (1.0), whatever came before."""
        model = Table(torch.tensor([[3.0, 2.0, 1.0]] * 3))
        return only(generate(model, Pieces(b"a", b"b", b"c"), ["a"], Sampling(0, **penalties), max_tokens=4)).text

    def test_none(self):
        assert self.greedy() == "aaaa"

    def test_repetition_counts_the_prompt(self):
        assert self.greedy(repetition_penalty=4.0) == "bcaa"  # a 0.75: b; b 0.5: c; c 0.25: a again, for good

    def test_repetition_can_leave_the_prompt_out(self):
        left_out = {"repetition_penalty": 4.0, "repetition_penalty_scope": "generated"}
        assert self.greedy(**left_out) == "abca"  # a 3.0 although the prompt has it; then as above
        with pytest.raises(ConfigError, match="repetition_penalty_scope must be 'all' or 'generated'"):
            Sampling(repetition_penalty_scope="prompt")

    @pytest.mark.parametrize("scope", ["all", "generated"])
    def test_repetition_is_that_of_transformers(self, scope):
        from transformers import RepetitionPenaltyLogitsProcessor

        model, ids = small_gpt(), Bytes().encode("hello")
        ignored = None if scope == "all" else len(ids)
        judge = RepetitionPenaltyLogitsProcessor(1.7, prompt_ignore_length=ignored)
        sampling = Sampling(0, repetition_penalty=1.7, repetition_penalty_scope=scope)
        ours = only(generate(model, Bytes(), [ids], sampling, max_tokens=18)).ids
        plain = only(generate(model, Bytes(), [ids], GREEDY, max_tokens=18)).ids
        written = list(ids)
        for token in ours:
            logits = model(torch.tensor([written]))[:, -1].detach()
            assert token == int(judge(torch.tensor([written]), logits).argmax())
            written.append(token)
        assert ours != plain

    def test_presence_counts_the_answer_alone_and_once(self):
        assert self.greedy(presence_penalty=1.5) == "abaa"  # a 1.5: b; b 0.5: a 1.5 is the largest, for good

    def test_frequency_counts_each_time(self):
        assert self.greedy(frequency_penalty=0.8) == "aaba"  # a 2.2; a 1.4: b 1.2; a 1.4 again

    def test_rows_that_leave_take_their_counts_along(self):
        table = torch.tensor([[3.0, 2.0, 1.0, 0.0]] * 3 + [[-9.0, -9.0, -9.0, 9.0]])
        tokenizer = Pieces(b"a", b"b", b"c", b"$", end_id=3)
        sampling = Sampling(0, repetition_penalty=1.01, frequency_penalty=0.8)
        answers = generate(Table(table), tokenizer, [[3], [0], [3], [3]], sampling, max_tokens=6)
        alone = generate(Table(table), tokenizer, [[0]], sampling, max_tokens=6)
        assert [answer.text for [answer] in answers] == ["", alone[0][0].text, "", ""]

    def test_bias_and_bans(self):
        model, tokenizer = Table(torch.tensor([[3.0, 2.0, 1.0]] * 3)), Pieces(b"a", b"b", b"c")
        for sampling, text in [(Sampling(0, banned=(0,)), "b"), (Sampling(0, logit_bias={2: 2.5}), "c")]:
            assert only(generate(model, tokenizer, ["a"], sampling, max_tokens=1)).text == text


class TestLogprobs:
    def test_they_are_the_models_own_whatever_the_sampling(self):
        model = Table(torch.tensor([[0.5, 0.3, 0.2]] * 3, dtype=torch.float64).log())
        sampling = Sampling(temperature=0, logit_bias={2: 5.0})
        answer = only(generate(model, Pieces(b"a", b"b", b"c"), ["a"], sampling, max_tokens=1, logprobs=2))
        assert answer.ids == [2]
        assert answer.token_logprobs == pytest.approx([math.log(0.2)])
        [[(first, p), (second, q)]] = answer.top_logprobs
        assert (first, second) == (0, 1)
        assert (p, q) == pytest.approx((math.log(0.5), math.log(0.3)))

    def test_echo_scores_the_prompt(self):
        model = small_gpt()
        answer = only(generate(model, Bytes(), ["hello"], GREEDY, max_tokens=3, echo=True, logprobs=2))
        assert answer.prompt == score(model, Bytes(), ["hello"], alternatives=2)[0]
        assert only(generate(model, Bytes(), ["hello"], GREEDY, max_tokens=3)).prompt is None

    def test_score_of_what_was_generated_is_what_generate_said(self):
        model = small_gpt()
        answer = only(generate(model, Bytes(), ["hello"], max_tokens=10, logprobs=0))
        scored = score(model, Bytes(), [[*b"hello", *answer.ids]])[0]
        assert [token.logprob for token in scored[5:]] == pytest.approx(answer.token_logprobs, abs=1e-9)


class TestStream:
    @pytest.mark.parametrize("stop", [(), ("e",), ("ab", "z")])
    def test_pieces_join_to_what_generate_gives(self, stop):
        model, ask = small_gpt(), {"max_tokens": 60, "stop": stop, "seed": 3, "logprobs": 1}
        pieces, feed = [], stream(model, Bytes(), "hello", **ask)
        while True:
            try:
                pieces.append(next(feed))
            except StopIteration as end:
                answer = end.value
                break
        assert answer == only(generate(model, Bytes(), ["hello"], **ask))
        assert "".join(pieces) == answer.text
        assert all(pieces)

    def test_a_piece_comes_as_soon_as_it_is_certain(self):
        model, tokenizer = chain(0, 1, 2, 3, 4, vocab_size=5), Pieces(b"a", b"x\xe2", b"\x82\xac", b"ST", b"Ay")
        pieces = list(stream(model, tokenizer, "a", GREEDY, max_tokens=4, stop=["STOP"]))
        assert pieces == ["x", "€", "STAy"]

    def test_a_stream_given_up_leaves_the_mode_as_it_was_and_gradients_on(self):
        model = small_gpt().train()
        feed = stream(model, Bytes(), "hello", max_tokens=9, on_overflow="stop")
        next(feed)
        assert torch.is_grad_enabled()
        assert not torch.is_inference_mode_enabled()
        feed.close()
        assert model.training

    def test_mistakes_are_said_before_the_first_piece(self):
        with pytest.raises(ConfigError, match="max_tokens"):
            stream(small_gpt(), Bytes(), "hello", max_tokens=-1)


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        ({"prompts": "abc"}, r"prompts must be a list: write \['abc'\]"),
        ({"stop": "abc"}, r"stop must be a list of strings: write \['abc'\]"),
        ({"stop": [""]}, "at least one character"),
        ({"n": 0}, "n must be 1 or more"),
        ({"n": 3, "best_of": 2}, r"best_of must be at least n \(3\), not 2"),
        ({"seed": -1}, "seed must be 0 or more"),
        ({"logprobs": -1}, "logprobs must be 0 or more"),
        ({"batch_size": 0}, "batch_size must be 1 or more"),
        ({"on_overflow": "wrap"}, "'slide', 'stop' or 'error', not 'wrap'"),
        ({"prompts": [[256]]}, "token 256, but the model's ids go from 0 to 255"),
    ],
)
def test_what_cannot_be_done_is_refused(ask, says):
    with pytest.raises(ConfigError, match=says):
        generate(small_gpt(), Bytes(), **{"prompts": ["abc"], "max_tokens": 1, **ask})


def test_a_damaged_model_is_named():
    model = small_gpt()
    with torch.no_grad():
        model.head_weight[0, 0] = math.nan
    with pytest.raises(CheckpointError, match="NaN"):
        generate(model, Bytes(), ["abc"], max_tokens=1)


def test_ids_that_only_the_model_has_are_never_drawn():
    # the head is padded to 4 (as imported models are), the padding is by far the likeliest, and the tokenizer knows 2
    table = torch.tensor([[0.0, 1.0, 9.0, 9.0]] * 4)
    tokenizer = Pieces(b"a", b"b")
    tokenizer.vocab_size = 2
    (answer,) = generate(Table(table), tokenizer, [[0]], Sampling(temperature=0), max_tokens=3)[0]
    assert answer.text == "bbb"


def test_a_text_is_read_after_what_the_tokenizer_begins_every_text_with():
    """Llama's <s>: without it an imported model reads what it never saw in training."""
    model, begins = small_gpt(), Bytes(end_id=9, start_ids=(7, 8))
    ask = {"sampling": GREEDY, "max_tokens": 5}
    expected = [only(generate(model, Bytes(end_id=9), [ids], **ask)).ids for ids in ([7, 8, *b"hello"], [7, 8])]
    assert expected[0] != only(generate(model, Bytes(end_id=9), ["hello"], **ask)).ids  # it makes a difference
    assert [answer.ids for (answer,) in generate(model, begins, ["hello", ""], **ask)] == expected
    assert only(generate(model, begins, [list(b"hello")], **ask)).ids != expected[0]  # ids are taken as they are
    assert "".join(stream(model, begins, "hello", GREEDY, max_tokens=5)) == Bytes().decode(expected[0])
    [scored], [whole] = score(model, begins, ["hello"]), score(model, Bytes(), [[7, 8, *b"hello"]])
    assert scored == whole[2:]
    assert scored[0].logprob is not None


def test_random_numbers_stay_where_float64_is(monkeypatch):
    """MPS has no float64: the numbers in [0, 1) must not be sent there, whatever the logits are on."""

    class OnMps(torch.Tensor):
        device = property(lambda self: torch.device("mps"))

    class Drawn:
        def to(self, device):
            return torch.zeros(1, dtype=torch.int64)

    seen = []
    monkeypatch.setattr(decoding, "draw", lambda logits, uniform: seen.append(uniform) or Drawn())
    row = decoding.Draft(0, 0, [1], decoding.TextFeed())
    chooser = decoding.Chooser(Sampling(), 4, torch.device("cpu"))
    chooser.add([row])
    assert chooser.choose(torch.zeros(1, 4).as_subclass(OnMps)) == [0]
    assert (seen[0].device.type, seen[0].dtype) == ("cpu", torch.float64)


def test_seeds_give_each_prompt_what_it_gives_alone_wherever_it_stands():
    model, sampling = small_gpt(), Sampling(top_p=0.9)
    together = generate(model, Bytes(), PROMPTS, sampling, n=2, max_tokens=12, seeds=[3, 3, 5, 3], batch_size=3)
    for prompt, seed, answers in zip(PROMPTS, [3, 3, 5, 3], together, strict=True):
        alone = generate(model, Bytes(), [prompt], sampling, n=2, max_tokens=12, seed=seed)[0]
        assert [answer.ids for answer in answers] == [answer.ids for answer in alone]
    for seeds in ([1], [1, 2, 3, -4]):
        with pytest.raises(ConfigError, match="seeds must be 4 numbers, 0 or more"):
            generate(model, Bytes(), PROMPTS, sampling, max_tokens=1, seeds=seeds)


def test_a_long_answer_draws_on_as_if_all_its_numbers_were_drawn_at_once(monkeypatch):
    model, tokenizer = Table(torch.zeros(8, 8)), Pieces(*(bytes([97 + i]) for i in range(8)))
    whole = generate(model, tokenizer, ["a", "b"], max_tokens=50, seed=4)
    monkeypatch.setattr(decoding, "AHEAD", 7)
    again = generate(model, tokenizer, ["a", "b"], max_tokens=50, seed=4)
    assert [answer.ids for [answer] in again] == [answer.ids for [answer] in whole]
