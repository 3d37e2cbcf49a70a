"""What a person sees at a terminal: as loud as was asked, within its width, and what to type next."""

import re
import shlex
import sys

import pytest

from cli.conftest import TINY, write_text
from heed.cli import main, streams
from heed.report.tabular import TextTable, to_text


@pytest.fixture
def text(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_text(tmp_path / "a b.txt", 300)
    return ["train", "a b.txt", *TINY, "--tokenizer.kind", "char", "--run.name", "it's one"]


def test_quiet_leaves_results_and_errors(text, capsys):
    assert main([*text, "--quiet"]) == 0
    result = capsys.readouterr()
    assert result.err == ""
    assert result.out.startswith("validation: loss")
    assert main([*text, "--quiet"]) == 2
    assert re.fullmatch(r"heed: .*holds a run already.*\n", capsys.readouterr().err)


def test_verbose_says_when_and_where_an_error_was_raised(text, capsys):
    before = sys.stderr
    assert main(["--verbose", *text]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert all(re.match(r"\d\d:\d\d:\d\d  ", line) for line in lines)
    assert main([*text, "--verbose"]) == 2
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert said.splitlines()[-1].startswith("heed: ")
    assert sys.stderr is before


def test_as_loud_as_asked(capsys):
    with streams.as_loud(["a", "--quiet", "--", "--verbose"]) as (words, verbose):
        assert (words, verbose) == (["a", "--", "--verbose"], False)
        print("step 1\rstep 2\nheed: wrong\nheed: half", end="", file=sys.stderr)
        assert not sys.stderr.isatty()
    assert capsys.readouterr().err == "heed: wrong\nheed: half\n"
    assert main(["list", "--quiet", "--verbose"]) == 2
    assert "leave one of the two out" in capsys.readouterr().err


def test_three_commands_come_next_and_work(text, capsys):
    assert main(text) == 0
    said = capsys.readouterr().err
    first, second, third = (shlex.split(line) for line in said.partition("next:\n")[2].splitlines())
    assert [words[:3] for words in (first, second, third)] == [
        ["heed", verb, "runs/it's one"] for verb in ("sample", "serve", "explore")
    ]
    assert main([*first[1:], "--max-tokens", "3"]) == 0
    assert main([*text, "--overwrite", "--json"]) == 0
    assert "next:" not in capsys.readouterr().err


def narrow(monkeypatch, columns):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(columns))


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_passports_and_tables_fit_the_terminal(text, columns, capsys, monkeypatch):
    assert main([*text, "--quiet"]) == 0
    whole = capsys.readouterr().out
    narrow(monkeypatch, columns)
    assert main(["eval", "runs/it's one"]) == 0
    assert main(["list", "attention"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= max(columns, 60)
    passport = next(line for line in whole.splitlines() if "Measured on" in line).split()
    folded = " ".join(" ".join(lines).split())
    assert " ".join(passport) in folded  # no word is lost


@pytest.mark.parametrize("width", [None, 200, 60, 25])
def test_a_wide_table_is_folded_and_loses_no_cell(width):
    head = ("name", *(f"figure {number}" for number in range(9)))
    rows = tuple((f"run {run}", *(f"{run}.{number}" for number in range(9))) for run in range(3))
    table = TextTable(head, rows, (False, *(True,) * 9), frozenset({(1, 4)}), "", ("a note",))
    lines = to_text(table, width)
    assert width is None or max(map(len, lines[:-3])) <= width
    found = [[cell for line in lines if line.startswith(row[0]) for cell in line.split()[2:]] for row in rows]
    assert [[cell.rstrip("*") for cell in cells] for cells in found] == [list(row[1:]) for row in rows]
    assert sum(line.startswith("name") for line in lines) == {None: 1, 200: 1, 60: 2, 25: 5}[width]
    assert lines[-2:] == ["* the best of its architecture", "a note"]
