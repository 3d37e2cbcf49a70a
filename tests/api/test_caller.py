"""Kept answers, budgets, rates, order, and a process that is killed."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from api.small_server import Reply, completion, serving
from heed.api import (
    AnswerStore,
    Bill,
    Caller,
    CompletionAnswer,
    CompletionChoice,
    CompletionRequest,
    FailedCallError,
    Prices,
    RateLimit,
    RetryPlan,
    Spending,
    SpendingLimit,
    SpentError,
    bill_of,
    open_api,
    read_limit,
)
from heed.errors import ApiError, ConfigError


class Echo:
    """Answers with its prompt; counts a token for each letter, and can be slow or fail."""

    endpoint, model = "here", "echo"

    def __init__(self, *, fails: dict[str, int] | None = None, usage: bool = True) -> None:
        self.asked: list[str] = []
        self.fails, self.usage = fails or {}, usage

    def complete(self, request: CompletionRequest) -> CompletionAnswer:
        text = str(request.prompt)
        self.asked.append(text)
        time.sleep(0.02 * (len(text) % 3))
        if self.fails.get(text, 0) > 0:
            self.fails[text] -= 1
            raise FailedCallError("no luck", again=True)
        count = len(text) if self.usage else None
        return CompletionAnswer((CompletionChoice(text.upper(), "stop"),), count, count and 1)


def requests(*prompts: str) -> list[CompletionRequest]:
    return [CompletionRequest(prompt, max_tokens=2) for prompt in prompts]


def test_answers_come_in_order_and_are_kept(tmp_path):
    prompts = [f"p{number}" * (number % 4 + 1) for number in range(30)]
    echo = Echo()
    caller = Caller(echo, store=AnswerStore(tmp_path / "a.jsonl"), threads=5)
    assert [answer.text for answer in caller.complete_all(requests(*prompts))] == [p.upper() for p in prompts]
    again = Caller(Echo(), store=AnswerStore(tmp_path / "a.jsonl"))
    assert [answer.text for answer in again.complete_all(requests(*prompts))] == [p.upper() for p in prompts]
    assert (len(echo.asked), again.completer.asked, again.spending.calls) == (30, [], 0)  # type: ignore[attr-defined]


def test_equal_requests_are_asked_once_unless_they_are_draws():
    echo = Echo()
    list(Caller(echo, store=None, threads=4).complete_all(requests("long"[:2] * 4, "lolololo", "lolololo")))
    assert len(echo.asked) <= 3
    one, other = CompletionRequest("a"), CompletionRequest("a", draw=1)
    assert one.key("x", "m") != other.key("x", "m")


def test_settings_at_zero_are_settings():
    plain = CompletionRequest("a").as_dict()
    assert CompletionRequest("a", temperature=0.0, logprobs=0, seed=0).as_dict().keys() - plain.keys() == {
        "temperature", "logprobs", "seed"}  # fmt: skip


def test_failures_are_tried_again_with_longer_waits():
    waits: list[float] = []
    echo = Echo(fails={"a": 3})
    caller = Caller(echo, sleep=waits.append, retries=RetryPlan(first=1.0))
    assert caller.complete(requests("a")[0]).text == "A"
    assert [0.5 * 2**n <= wait <= 2**n for n, wait in enumerate(waits)] == [True] * 3
    with pytest.raises(ApiError, match=r"no luck \(tried 2 times\)"):
        Caller(Echo(fails={"a": 9}), sleep=waits.append, retries=RetryPlan(tries=2)).complete(requests("a")[0])


def test_an_error_stops_what_has_not_begun_and_keeps_what_has(tmp_path):
    echo = Echo(fails={"bad": 99})
    caller = Caller(echo, store=AnswerStore(tmp_path / "a.jsonl"), threads=2, retries=RetryPlan(tries=1))
    with pytest.raises(ApiError, match="no luck"):
        list(caller.complete_all(requests("a", "bad", *(f"more {n}" for n in range(50)))))
    assert len(echo.asked) < 20
    store = AnswerStore(tmp_path / "a.jsonl")
    assert len(store) == len(echo.asked) - 1


def test_a_budget_is_never_passed():
    for limit in (SpendingLimit(calls=7), SpendingLimit(tokens=60), SpendingLimit(dollars=60e-6)):
        spending = Spending(limit, Prices(1.0, 1.0))
        caller = Caller(Echo(), spending=spending, threads=6)
        with pytest.raises(SpentError, match=r"the budget of .* could be passed by the next call"):
            list(caller.complete_all(requests(*(f"{n:03d}" for n in range(40)))))
        assert spending.calls == (7 if limit.calls else 12)  # 4 tokens a call; 13 bytes and 2 must be left
        assert spending.prompt_tokens + spending.completion_tokens <= 60


def test_without_a_count_the_bound_is_spent():
    spending = Spending(SpendingLimit(tokens=30))
    caller = Caller(Echo(usage=False), spending=spending, threads=1)
    with pytest.raises(SpentError):
        list(caller.complete_all(requests(*"abcdef")))
    assert (spending.calls, spending.bounded) == (2, 2)  # 1 + 8 bytes and 2 tokens of answer each
    assert "2 calls by the most they can take" in spending.said()


def test_budgets_are_written_in_words():
    assert read_limit("1,000 tokens") == SpendingLimit(tokens=1000)
    assert read_limit("3 calls, 2 dollars") == SpendingLimit(calls=3, dollars=2.0)
    for text in ("", "3", "3 calls, 4 calls", "three calls", "-3 calls", "$3 calls", "3 cats"):
        with pytest.raises(ConfigError):
            read_limit(text)
    with pytest.raises(ConfigError, match="needs the prices"):
        Spending(SpendingLimit(dollars=1.0))


def test_the_bill_counts_what_is_not_kept(tmp_path):
    caller = Caller(Echo(), store=AnswerStore(tmp_path / "a.jsonl"), spending=Spending(prices=Prices(1.0, 2.0)))
    caller.complete(CompletionRequest("kept", max_tokens=2))
    new = CompletionRequest((1, 2, 3), max_tokens=5, n=2)
    assert caller.bill([*requests("kept"), new, new]) == Bill(1, 1, 3, 10, False, (3 * 1.0 + 10 * 2.0) / 1e6)
    assert bill_of(requests("x" * 392)).prompt_tokens == 100
    assert bill_of(requests("x" * 392)).said() == "1 call, about 100 tokens of prompt, at most 2 of answer"


def test_damaged_lines_are_told_and_asked_again(tmp_path):
    path = tmp_path / "a.jsonl"
    caller = Caller(Echo(), store=AnswerStore(path), threads=1)
    list(caller.complete_all(requests("a", "b", "c")))
    lines = path.read_text().splitlines()
    lines[1] = lines[1].replace('"B"', '"X"')  # another answer than the one that was written
    path.write_text("\n".join([lines[0], lines[1], "{no json", lines[2][:40]]))
    store = AnswerStore(path)
    assert (len(store), store.damaged) == (1, [2, 3])
    assert "lines 2, 3 are damaged" in store.notes[0]
    list(Caller(Echo(), store=store).complete_all(requests("a", "b", "c")))
    assert len(AnswerStore(path)) == 3
    assert AnswerStore(path).damaged == [2, 3, 4]  # the half line has an end now


def test_two_processes_may_keep_answers_in_one_file(tmp_path):
    code = (
        "import sys; from heed.api import *\n"
        "store = AnswerStore(sys.argv[1])\n"
        "for n in range(150):\n"
        "    r = CompletionRequest(f'{sys.argv[2]} {n} ' + 'x' * 3000)\n"
        "    store.add(r.key('e', 'm'), r, CompletionAnswer((CompletionChoice(sys.argv[2], 'stop'),), 1, 1))\n"
    )
    path = str(tmp_path / "a.jsonl")
    both = [subprocess.Popen([sys.executable, "-c", code, path, name]) for name in "ab"]
    assert [one.wait(60) for one in both] == [0, 0]
    store = AnswerStore(path)
    assert (len(store), store.damaged) == (300, [])


def test_a_store_sees_what_another_process_adds(tmp_path):
    one, other = AnswerStore(tmp_path / "a.jsonl"), AnswerStore(tmp_path / "a.jsonl")
    request = requests("a")[0]
    key = request.key("e", "m")
    one.add(key, request, CompletionAnswer((CompletionChoice("A", "stop"),), 1, 1))
    assert other.get(key) is None
    other.refresh()
    assert other.get(key) == one.get(key) == CompletionAnswer((CompletionChoice("A", "stop"),), 1, 1)


def test_a_killed_process_loses_only_what_was_under_way(tmp_path):
    came = threading.Event()

    def answer(path: str, body: dict) -> Reply:
        if body["prompt"] >= "p20":
            came.set()
        time.sleep(0.01)
        return Reply(completion(body["prompt"]))

    code = (
        "import sys; from heed.api import *\n"
        "caller = open_api(sys.argv[1], 'm', answers=sys.argv[2], threads=3)\n"
        "list(caller.complete_all(CompletionRequest(f'p{n:02d}') for n in range(60)))\n"
    )
    path = tmp_path / "a.jsonl"
    with serving(answer) as served:
        process = subprocess.Popen([sys.executable, "-c", code, served.url, str(path)])
        assert came.wait(60)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        before = len(served.asked)
        caller = open_api(served.url, "m", answers=path, threads=3)
        texts = [a.text for a in caller.complete_all(CompletionRequest(f"p{n:02d}") for n in range(60))]
        caller.close()
    assert texts == [f"p{n:02d}" for n in range(60)]
    assert 20 <= before < 60
    assert len(served.asked) - before >= 60 - before
    assert len(served.asked) <= 60 + 3  # each thread had one under way at most
    assert len({json.dumps(one) for one in served.asked}) == 60


def test_a_rate_is_kept():
    now = [0.0]
    waits: list[float] = []
    rate = RateLimit(requests=60, tokens=600, clock=lambda: now[0])
    for _ in range(61):
        rate.take(1, waits.append)
    assert waits == [pytest.approx(1.0)]  # a minute's worth is there at the beginning
    now[0] = 61.0
    rate.take(700, waits.append)  # more than a minute has: a full bucket
    assert waits[1:] == [pytest.approx(0.0, abs=1e-9)] or waits[1:] == []
    rate.take(60, waits.append)
    assert waits[-1] == pytest.approx(6.0)


def test_what_waits_when_others_have_failed_is_not_asked():
    class Slow(Echo):
        def complete(self, request: CompletionRequest) -> CompletionAnswer:
            if request.prompt == "bad":
                self.asked.append("bad")
                raise FailedCallError("no luck", again=False)
            return super().complete(request)

    slow = Slow()
    caller = Caller(slow, threads=4, rate=RateLimit(requests=2))  # the third would wait for half a minute
    began = time.monotonic()
    with pytest.raises(ApiError, match="no luck"):
        list(caller.complete_all(requests("bad", "a", "b", "c", "d")))
    assert time.monotonic() - began < 20
    assert len(slow.asked) <= 2


def test_a_rate_of_nothing():
    with pytest.raises(ConfigError):
        RateLimit(requests=0)
