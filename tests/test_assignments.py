"""The pages of the assignments: what their Python prints, and that each command of heed is one."""

import contextlib
import doctest
import functools
import io
import re
import shlex
from pathlib import Path

import pytest

from heed.cli import VERBS, main
from heed.cli.settings import parse, split_settings
from heed.cli.tune import TuneFlags, make_tune_config
from heed.config import make_config, overlay, read_yaml
from heed.config.tuning import TuneConfig
from heed.coursework import EXERCISES
from heed.studies.plan_reading import read_plan

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(page for page in (ROOT / "examples" / "assignments").glob("*.md") if page.name != "README.md")
WITH_SETTINGS = ("train", "pretrain", "finetune")


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def commands_of(page: Path) -> list[str]:
    """Return the commands of a page: lines of its shell blocks, and what stands in backquotes."""
    blocks = re.findall(r"```bash\n(.*?)```", text_of(page), flags=re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if line]
    prose = re.sub(r"```.*?```", "", text_of(page), flags=re.DOTALL)
    return lines + re.findall(r"`(heed [^`]+ [^`]+)`", prose)


COMMANDS = sorted({command for page in PAGES for command in commands_of(page)})


def test_there_is_a_page_for_each_assignment():
    assert [page.stem for page in PAGES] == ["cse517", "homework-5", "homework-6", "ift6135", "practical"]
    assert all(f"({page.name})" in text_of(page.parent / "README.md") for page in PAGES)
    assert len(COMMANDS) > 60


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_python_prints_what_stands_under_it(page):
    blocks = re.findall(r"```python\n(.*?)```", text_of(page), flags=re.DOTALL)
    assert len(blocks) >= 4
    test = doctest.DocTestParser().get_doctest("\n".join(blocks), {}, page.name, str(page), 0)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        outcome = doctest.DocTestRunner(verbose=False).run(test)
    assert not outcome.failed, said.getvalue()
    assert outcome.attempted > 10


@functools.cache
def help_of(*argv: str) -> str:
    """Return what `--help` of a verb prints."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), pytest.raises(SystemExit) as stop:
        main([*argv, "--help"])
    assert not stop.value.code
    return re.sub(r"\x1b\[[\d;]*m", "", out.getvalue())


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_one_of_heed(command):
    """Its verb is there, `--help` names its flags, its settings are valid, and files of the repository exist."""
    name, verb, *rest = shlex.split(command)
    assert name == "heed"
    assert verb in VERBS
    sub = rest[:1] if verb in ("tokenizer", "data") or (verb == "bench" and rest[0] in ("memory", "devices")) else []
    dotted = [word for word in rest if re.match(r"--[a-z]+\.", word)]
    for flag in (word for word in rest if word.startswith("--") and word not in dotted):
        assert re.search(rf"(^|[\s,│]){flag}\b", help_of(verb, *sub)), f"heed {verb} has no {flag}"
    for word in rest:
        if word.startswith(("configs/", "examples/")):
            assert (ROOT / word).exists()
    settings, others = split_settings(rest)
    if verb in WITH_SETTINGS:
        base = read_yaml(ROOT / rest[rest.index("--config") + 1]) if "--config" in rest else {"data": {"source": "a"}}
        make_config(overlay(base, settings))
    elif verb == "tune":
        flags = parse(TuneFlags, others, "tune", tuple(TuneConfig.model_fields), TuneConfig)
        make_tune_config(flags, settings)
    else:
        assert not dotted
    if verb == "compare":
        read_plan(ROOT / rest[0])


FAST = [command for command in COMMANDS if command.split()[1] in ("list", "check") or "--list" in command]


@pytest.mark.parametrize("command", FAST)
def test_a_command_that_takes_seconds_runs(command, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    assert main(shlex.split(command)[1:]) == 0
    assert capsys.readouterr().out


def test_the_fast_ones_are_some():
    assert len(FAST) >= 5


def test_a_quiz_topic_is_there(capsys):
    topics = {word for command in COMMANDS if "--topic" in command for word in shlex.split(command)[3:4]}
    assert topics
    assert main(["quiz", "--list"]) == 0
    listed = capsys.readouterr().out
    assert [topic for topic in topics if f"{topic} (" not in listed] == []


def test_files_of_students_are_named_as_they_are_called():
    named = set(re.findall(r"`(\w+\.py)`", "".join(map(text_of, PAGES))))
    assert named <= EXERCISES.keys() | {"run.py"}


def test_links_lead_somewhere():
    for page in [*PAGES, *(ROOT / "examples").glob("*/README.md")]:
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text_of(page)):
            if not target.startswith(("http:", "https:")):
                assert (page.parent / target).exists(), f"{page.name} links to {target}"
