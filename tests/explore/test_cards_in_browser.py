"""The page of cards in a real browser: what it computes is what the functions of heed.explore return."""

import json
import threading
from contextlib import contextmanager

import numpy as np
import pytest

from browsing import CONTRAST, chromium
from heed.explore.arrays import softmax
from heed.explore.cards import make_server
from heed.explore.certificates import Certificate, verify_certificate
from heed.explore.masking import compare_masks
from heed.explore.queries import hit
from heed.explore.random_keys import random_keys, weight_of_key

pytestmark = pytest.mark.slow  # a browser takes seconds to start


@pytest.fixture(scope="module")
def address():
    with make_server() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@contextmanager
def opened(browser, address, link="", **options):
    """A page whose complaints, and requests of other machines, fail the test."""
    page = browser.new_page(**({"viewport": {"width": 1280, "height": 900}} | options))
    wrong = []
    page.on("console", lambda message: wrong.append(message.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda r: None if r.url.startswith((address, "data:", "blob:")) else wrong.append(r.url))
    page.goto(address + link)
    page.wait_for_function("globalThis.heed")
    yield page
    page.close()
    assert wrong == []


@pytest.fixture(scope="module")
def cards(browser, address):
    with opened(browser, address) as page:
        yield page


def near(page_says, function_says, tolerance=1e-9):
    np.testing.assert_allclose(np.array(page_says, dtype=float), function_says, rtol=tolerance, atol=tolerance)


# ------------------------------------------------------------------ random states, and what Python says of them
def random_queries(draw):
    """Keys on a coarse grid now and then, so that they coincide or lie on a line; shares with and without zeros."""
    n, coarse = int(draw.integers(2, 8)), draw.random() < 0.4
    keys = draw.integers(-2, 3, (n, 2)) / 2 if coarse else draw.normal(size=(n, 2)).round(3)
    target = draw.choice([0, 0, 1], n) if draw.random() < 0.7 else draw.integers(0, 4, n)
    if not target.any():
        target[int(draw.integers(n))] = 1
    return {"keys": keys, "target": target, "query": draw.normal(size=2) * 5, "tolerance": draw.uniform(0.002, 0.2)}


def check_queries(state, said):
    keys, target = np.array(state["keys"]), np.array(state["target"]) / sum(state["target"])
    near(said["weights"], softmax(keys @ state["query"]))
    near(said["error"], np.abs(softmax(keys @ state["query"]) - target).max())
    found, answer = hit(keys, target, state["tolerance"]), said["answer"]
    assert answer["possible"] == found.possible, state
    if found.possible:
        near(answer["margin"], found.margin)
        mine = softmax(keys @ np.array(answer["query"]))
        near(answer["weights"], mine)
        assert np.abs(mine - target).max() <= state["tolerance"] + 1e-9
        if np.allclose(answer["direction"], found.direction, atol=1e-9):  # else two directions have the same lead
            near(answer["scale"], found.scale, 3e-9)  # Python goes up by a share of 1e-9 where rounding asks for it
            near(answer["query"], found.query, 3e-9)
            return "same direction"
        return "another direction"
    within = np.flatnonzero(target > 0).tolist()
    proof = Certificate(np.array(answer["certificate"]["outside"]), np.array(answer["certificate"]["inside"]))
    verdict = verify_certificate(keys, within, proof, target if answer["why"] == "weights" else None)
    assert verdict.holds, (state, verdict)
    return answer["why"]


def random_heads(draw):
    return {
        "length": draw.uniform(-1, 3), "n": int(draw.integers(2, 129)), "beta": int(draw.integers(1, 201)),
        "spread": draw.uniform(0.01, 2), "tolerance": draw.uniform(0.005, 0.4),
    }  # fmt: skip


def check_heads(state, said):
    n, beta = state["n"], float(state["beta"])
    for heads, name in ((1, "one"), (2, "two")):
        found = random_keys(heads, n, beta, state["spread"], draws=10, tolerance=state["tolerance"])
        near(said[name]["quantiles"], found.closed)
        near(said[name]["failing"], found.failing_closed)
        near(said["weights"][heads - 1][0], weight_of_key(np.array([state["length"]]), heads, n, beta)[0])
        near(said["backwards"], found.backwards)
    return "same"


def random_masking(draw):
    n = int(draw.integers(2, 11))
    scores = draw.normal(size=n) * draw.choice([1, 5, 30]) + draw.choice([0, -10_000])
    return {"scores": scores, "position": int(draw.integers(0, n - 1))}


def check_masking(state, said):
    hidden = list(range(state["position"] + 1, len(state["scores"])))
    for mine, found in zip(said["ways"], compare_masks(state["scores"], hidden), strict=True):
        assert (mine["way"], mine["right"]) == (found.way, found.right)
        near(mine["weights"], found.weights)
        near([mine[name] for name in ("hidden", "total", "moved")], [found.hidden, found.total, found.moved])
    return "same"


CARDS = {
    "queries": (random_queries, check_queries, {"same direction": 60, "hull": 20, "weights": 5}),
    "heads": (random_heads, check_heads, {"same": 40}),
    "masking": (random_masking, check_masking, {"same": 150}),
}
"""How a state is drawn, how it is checked, and how often each outcome comes at least."""


@pytest.mark.parametrize("card", CARDS)
def test_the_page_computes_what_python_does(cards, card):
    drawn, check, least = CARDS[card]
    draw = np.random.default_rng(7)
    plain = [
        {name: value.tolist() if isinstance(value, np.ndarray | np.generic) else value for name, value in state.items()}
        for state in (drawn(draw) for _ in range(40 if card == "heads" else 150))
    ]
    said = cards.evaluate("([card, states]) => states.map(state => heed[card].compute(state))", [card, plain])
    outcomes = [check(state, numbers) for state, numbers in zip(plain, said, strict=True)]
    counts = {outcome: outcomes.count(outcome) for outcome in outcomes}
    assert {name: counts.get(name, 0) >= count for name, count in least.items()} == dict.fromkeys(least, True), counts


def test_every_card_is_checked(cards):
    assert set(cards.evaluate("() => Object.keys(heed)")) == set(CARDS)


@pytest.mark.parametrize("card", CARDS)
def test_a_turn_is_answered_in_50_ms(cards, card):
    """The middle of 21 turns, drawing included: a busy machine may make one of them wait."""
    draw = np.random.default_rng(3)
    states = [CARDS[card][0](draw) for _ in range(21)]
    plain = [{k: np.asarray(v).tolist() for k, v in state.items()} for state in states]
    took = cards.evaluate(
        """([card, states]) => states.map(state => {
          const begin = performance.now();
          heed[card].turn(state, true);
          document.getElementById(card).getBoundingClientRect();
          return performance.now() - begin;
        })""",
        [card, plain],
    )
    cards.evaluate("card => heed[card].turn(structuredClone(heed[card].start), true)", card)
    assert sorted(took)[10] < 50, took
