"""Figures of README and docs: each belongs to a claim of docs/figures.yaml, and what is quick is computed again."""

import pytest

from test_docs import PAGES, ROOT, loaded

figures = loaded("figures")
EVERY = figures.claims()
LISTED = figures.table()["pages"]


@pytest.mark.parametrize("page", LISTED)
def test_every_figure_of_a_page_belongs_to_a_claim(page):
    assert figures.unclaimed(page, EVERY) == []


def test_every_page_is_listed_or_said_to_be_left():
    later = tuple(figures.table()["later"])
    left = [str(page.relative_to(ROOT)) for page in PAGES]
    left = [page for page in left if page.startswith(("docs/", "README"))]
    assert [page for page in left if page not in LISTED and not page.startswith(later)] == []
    assert [page for page in LISTED if page in later] == []


def test_pages_name_no_words_that_are_gone():
    for claim in EVERY:
        assert figures.places(claim, (ROOT / claim.page).read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "line",
    [
        "It takes 3.5 s on one core.",
        "| softmax | 12.5 |",
        "| softmax | **2.247** |",
        "| softmax | 3.1 (2.9 to 3.3) | |",
        "a loss of 1.25",
        "5.1 thousand tokens a second",
        "perplexity 93.5",
        "1.2 times as fast",
        "```\nloss 2.5 nats\n```",
    ],
)
def test_a_figure_is_seen(line):
    assert len(figures.unclaimed("README.md", [], line)) == 1


@pytest.mark.parametrize(
    "line",
    ["GPT-2 has 12 layers.", "| `--seeds 3` | how many |", "in 2 s2 steps", "```python\nx = 3 % 2\n```", "Table 3"],
)
def test_what_is_no_figure_is_not_taken_for_one(line):
    assert figures.unclaimed("README.md", [], line) == []


def test_words_around_a_figure_may_be_wrapped_and_must_be_there_once():
    claim = figures.Claim("README.md", says=["a loss of {loss} nats ... here"])
    text = "x a loss\n  of 2.5 nats in truth\nhere, and there"
    assert [text[slice(*span)] for span in figures.places(claim, text)] == ["a loss\n  of 2.5 nats in truth\nhere"]
    twice = figures.Claim("README.md", says=["a loss of {loss}"])
    for one, text in ((claim, "no loss"), (twice, "a loss of 1, a loss of 2")):
        with pytest.raises(figures.WrongListError, match="times on the page"):
            figures.places(one, text)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"says": "x {a}"}, "neither run"),
        ({"says": "x {a}", "run": "true", "reads": "y {b}", "seconds": 1}, "not read: a"),
        ({"says": "x {a}", "run": "true", "reads": "y {a}"}, "how many seconds"),
        ({"say": "x", "why": "y"}, "unknown key say"),
    ],
)
def test_a_claim_that_compares_nothing_is_refused(entry, said):
    with pytest.raises(figures.WrongListError, match=said):
        figures.claims({"pages": {"README.md": [entry]}})


@pytest.mark.parametrize(
    ("page", "now", "within", "expected"),
    [
        ("1,234", "1234.4", "exactly", True),
        ("1,234", "1235", "exactly", False),
        ("78.5", "78.4", "exactly", False),
        ("78.5", "76.2", "2.5 points", True),
        ("78.5", "75.9", "2.5 points", False),
        ("3.0", "3.2", "5 %", False),
        ("3.0", "1.6", "factor 2", True),
        ("3.0", "1.4", "factor 2", False),
        ("1.57e+124", "1.57e+124", "exactly", True),
    ],
)
def test_how_near_a_figure_has_to_be(page, now, within, expected):
    assert figures.near(page, now, within) == expected


def test_a_figure_that_differs_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(figures, "ROOT", tmp_path)
    (tmp_path / "README.md").write_text("It is 2.5 s here.")
    claim = figures.Claim("README.md", says=["It is {time} s"], run="echo so 2.6 s", seconds=1, reads=["so {time} s"])
    assert figures.hold([claim], tmp_path) == 1
    assert "time: the page has 2.5, the command 2.6 (within: exactly)" in capsys.readouterr().out
    broken = figures.Claim("README.md", says=["It is {time} s"], run="echo no; exit 3", seconds=1, reads=["so {time}"])
    assert figures.hold([broken], tmp_path) == 1
    assert "exit code 3: no" in capsys.readouterr().out


QUICK = {claim.run: claim for claim in EVERY if claim.runs and claim.seconds < figures.QUICK}
"""Each quick command, and a claim that it is to bear out."""


def named(run):
    """The name of a command's test; of one that trains, from 20 seconds to a minute, it says so."""
    return f"{QUICK[run].page}-{'short-training' if 'heed train' in run else 'at-once'}"


def test_there_are_quick_commands():
    assert len(QUICK) > 10


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("command", QUICK, ids=named)
def test_quick_figures_are_those_of_the_pages(command, shared_data, tmp_path, capsys):
    failed = figures.hold([claim for claim in EVERY if claim.run == command], tmp_path)
    assert not failed, capsys.readouterr().out
