"""The search of a learning rate: every candidate once, the lowest refined loss, broken ones never."""

import sys

import pytest

from heed.errors import ConfigError, MissingPackageError
from heed.studies.rates import SPREAD, Candidate, candidates, search_rates
from heed.tuning.methods import parts

GRID = [Candidate(rate, epochs) for epochs in (7, 9) for rate in (1e-4, 5e-4, 1e-3)]


def search(answers, *, kind="grid", grid=GRID[:3], trials=5):
    """Search with made-up refined losses; return what was tried, as it was asked for, and what was chosen."""
    asked, tried = search_rates(kind, grid, trials), []
    losses = None
    while True:
        try:
            together = asked.send(losses)
        except StopIteration as end:
            return tried, end.value
        tried.append(list(together))
        losses = answers[: len(together)] if isinstance(answers, list) else [answers(one) for one in together]


def test_every_rate_with_every_number_of_epochs():
    assert candidates("lora", (1e-4, 5e-4, 1e-3), (7, 9)) == GRID
    assert [one.rate for one in candidates("lora", None, (3,))] == list(parts("lora")[0].rates)


def test_the_lowest_refined_loss_is_chosen():
    tried, chosen = search([0.5, 0.3, 0.3])
    assert tried == [GRID[:3]]  # side by side
    assert chosen == GRID[1]  # the first of equal ones


def test_one_that_broke_down_is_never_chosen():
    assert search([None, 5.0, None])[1] == GRID[1]
    with pytest.raises(ConfigError, match="--rates: the loss became NaN or infinite at every learning rate"):
        search([None] * 3)


def test_without_a_search_the_middle_one_is_taken():
    assert search([], kind="none") == ([], GRID[1])
    assert search([], grid=GRID[2:3]) == ([], GRID[2])  # one alone needs no search


def test_optuna_begins_in_the_middle_and_stays_near_the_grid():
    tried, chosen = search(lambda one: abs(one.rate - 2e-4), kind="optuna", grid=GRID, trials=8)
    assert [len(together) for together in tried] == [1] * 8  # each looks at those before
    tried = [one for together in tried for one in together]
    assert tried[0] == GRID[3]
    assert {one.epochs for one in tried} <= {7, 9}
    assert all(1e-4 / SPREAD <= one.rate <= 1e-3 * SPREAD for one in tried)
    assert chosen == min(tried, key=lambda one: abs(one.rate - 2e-4))


def test_optuna_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingPackageError, match=r"needs the package 'optuna'.*pip install 'heed-lm\[lab\]'"):
        search([], kind="optuna")


def test_an_unknown_search():
    with pytest.raises(ConfigError, match="--search: 'random' is none of grid, optuna, none"):
        search([], kind="random")
