"""Concept questions: well formed, with commands that exist; rounds in which wrong answers come again; the verb."""

import functools
import importlib
import io
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from heed.cli import VERBS, main
from heed.cli.settings import split_settings
from heed.config import make_config, overlay
from heed.errors import ConfigError
from heed.explore.quiz import LETTERS, QuizQuestion, QuizRound, letters_in, number_in, pick, read_quiz

ROOT = Path(__file__).resolve().parents[2]
OWN = read_quiz()
TOPICS = ("attention", "recurrent", "tokenizers", "bert-inputs", "masked-lm", "batching", "heads", "pretraining",
          "tuning", "sampling")  # fmt: skip


def test_there_are_enough_over_all_topics():
    assert len(OWN) >= 60
    for topic in TOPICS:
        assert sum(question.topic == topic for question in OWN) >= 4, topic


@pytest.mark.parametrize("question", OWN, ids=lambda question: question.id)
def test_each_is_well_formed(question):
    assert question.text[-1] in "?.", question.text
    assert question.commands
    for option in question.options:
        assert option.reason.endswith("."), option
        assert len(option.reason) > 15
    assert question.options or question.reason.endswith(".")
    if question.function:
        module, _, name = question.function.rpartition(".")
        assert callable(getattr(importlib.import_module(module), name))
    quiz = QuizRound([question], 3)
    assert quiz.answer(answer_of(quiz)).right


@functools.cache
def help_of(*argv):
    with pytest.MonkeyPatch.context() as patch:
        out = io.StringIO()
        patch.setattr("sys.stdout", out)
        with pytest.raises(SystemExit) as stop:
            main([*argv, "--help"])
        assert not stop.value.code
    return re.sub(r"\x1b\[[\d;]*m", "", out.getvalue())


@pytest.mark.parametrize("command", sorted({command for question in OWN for command in question.commands}))
def test_each_command_is_one_of_heed(command):
    """Its verb is there, `--help` names its flags, and its settings are those of a configuration."""
    name, verb, *rest = shlex.split(command)
    assert name == "heed"
    assert verb in VERBS
    sub = [rest[0]] if verb in ("tokenizer", "data") or (verb == "bench" and rest[0] == "memory") else []
    takes = help_of(verb, *sub)
    dotted = [word for word in rest if re.match(r"--[a-z]+\.", word)]
    for flag in (word for word in rest if word.startswith("--") and word not in dotted):
        assert re.search(rf"(^|[\s,│]){flag}\b", takes), f"{verb} {flag}"
    if dotted:
        assert verb in ("train", "pretrain", "finetune", "check")
        settings, _ = split_settings(rest)
        make_config(overlay({"data": {"source": "a.txt"}}, settings))


def test_commands_that_list_or_name_a_file_of_heed_find_it(capsys):
    commands = [shlex.split(command)[1:] for question in OWN for command in question.commands]
    for command in {tuple(c) for c in commands if c[0] == "list"}:
        assert main([*command]) == 0, command
    capsys.readouterr()
    files = {word for command in commands for word in command if word.startswith("configs/")}
    assert files
    assert [file for file in files if not (ROOT / file).is_file()] == []


def answer_of(quiz):
    question = quiz.question
    if question.answer is not None:
        return str(question.answer)
    return " ".join(LETTERS[i] for i, option in enumerate(quiz.options()) if option.right)


def wrong_answer_of(quiz):
    question = quiz.question
    if question.answer is not None:
        return str(question.answer + 2 * question.tolerance + 1)
    right = {LETTERS[i] for i, option in enumerate(quiz.options()) if option.right}
    return next(letter for letter in LETTERS if letter not in right or len(right) > 1)


def test_what_was_wrong_comes_again_until_it_is_right():
    quiz = QuizRound(OWN[:8], 1)
    first = quiz.question.id
    assert not quiz.answer(wrong_answer_of(quiz)).right
    asked = []
    while quiz.question is not None:
        asked.append(quiz.question.id)
        if quiz.question.id == first and asked.count(first) == 1:
            assert quiz.comes_again()
            quiz.answer(wrong_answer_of(quiz))
        else:
            quiz.answer(answer_of(quiz))
    assert asked.index(first) == 3
    assert asked.count(first) == 2
    assert len(asked) == 7 + 2
    outcome = quiz.outcome()
    assert outcome["wrong_at_first"] == [first]
    assert (outcome["right_at_first"], outcome["right_in_the_end"], outcome["answered"]) == (7, 8, 8)
    with pytest.raises(ConfigError, match="all questions are answered"):
        quiz.answer("a")


def test_the_last_question_comes_again_too():
    quiz = QuizRound(OWN[:1])
    for _ in range(4):
        assert not quiz.answer(wrong_answer_of(quiz)).right
    assert quiz.answer(answer_of(quiz)).right
    assert quiz.question is None


def test_a_part_of_several_right_options_is_wrong():
    question = next(question for question in OWN if question.id == "unequal-lengths")
    quiz = QuizRound([question])
    mark = quiz.answer(answer_of(quiz).split()[0])
    assert not mark.right
    assert len(mark.lines) == 4  # all that are right are told


def test_a_seed_gives_one_order():
    orders = [[q.id for q in QuizRound(OWN, seed)._waiting] for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]
    assert [q.id for q in pick(OWN, "attention", 3, 5)] == [q.id for q in pick(OWN, "attention", 3, 5)]


def test_answers_as_people_write_them():
    assert letters_in("A, c;d", 4) == {"a", "c", "d"}
    assert number_in("2,362,368") == 2362368
    assert number_in("-1.5e-3") == -0.0015
    assert number_in("66 %") == 66
    for bad in ("", "e", "1", "a b z", "ä"):
        with pytest.raises(ConfigError, match="answer with letters from a to d"):
            letters_in(bad, 4)
    for bad in ("", "a", "nan", "inf", "1,2", "1 2 x"):
        with pytest.raises(ConfigError, match="answer with a number"):
            number_in(bad)


MINE = """
questions:
  - id: one
    topic: mine
    text: Which?
    options:
      - {text: this, right: true, reason: It is.}
      - {text: that, reason: It is not.}
  - {id: two, topic: mine, text: "How many?", answer: 3, reason: Counted.}
"""


@pytest.fixture
def mine(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(MINE, encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("right: true, ", "", "question 1 (one): none of the options is right"),
        ("answer: 3, reason: Counted.", "answer: 3", "question 2 (two): a number needs a finite answer, a reason"),
        ("answer: 3, ", "", "question 2 (two): give options, or answer"),
        ("id: two", "id: one", "two questions have the id 'one'"),
        ("topic: mine\n", "subject: mine\n", "question 1 (one): topic: Field required"),
        ("text: that", "text: this", "question 1 (one): two options are the same"),
        ("text: Which?", "text: [Which]", "question 1 (one): text: Input should be a valid string"),
        ("questions:", "question:", "must hold `questions:`"),
        ("answer: 3", "answer: .nan", "question 2 (two): answer: Input should be a finite number"),
        ("id: two", "id: two, card: maskin", "question 2 (two): unknown card 'maskin', did you mean 'masking'?"),
        ("reason: It is not.", "note: x", "question 1 (one): options.2.reason: Field required"),
    ],
)
def test_a_bad_file_is_one_line(mine, old, new, why, capsys):
    assert old in MINE
    mine.write_text(MINE.replace(old, new), encoding="utf-8")
    assert main(["quiz", "--questions", str(mine)]) == 2
    err = capsys.readouterr().err
    assert why in err
    assert err.count("\n") == 1


def run(monkeypatch, capsys, answers, *argv):
    monkeypatch.setattr("sys.stdin", io.StringIO(answers))
    code = main(["quiz", *map(str, argv)])
    return code, capsys.readouterr()


def test_piped_answers(mine, monkeypatch, capsys):
    """Both orders of the options are right for one of the lines; what is no answer is said and asked again."""
    code, out = run(monkeypatch, capsys, "nothing\n9\n3\n" + "a\nb\n3\n" * 4, "--questions", mine)
    assert code == 0
    assert "answer with" in out.out
    assert "Right." in out.out
    assert "It is 3. Counted." in out.out or "a is right: It is." in out.out
    assert " right at first" in out.out


def test_the_card_that_shows_it_is_named(tmp_path, monkeypatch, capsys):
    file = tmp_path / "cards.yaml"
    file.write_text(MINE.replace("text: Which?", "text: Which?\n    card: scaling?width=4\n    command: heed doctor"))
    _, out = run(monkeypatch, capsys, "a\n3\na\n3\n", "--questions", file)
    assert '  see: heed explore --open --card "scaling?width=4"\n  see: heed doctor\n' in out.out


def test_json_result_and_the_end_of_the_input(mine, monkeypatch, capsys):
    code, out = run(monkeypatch, capsys, "", "--questions", mine, "--json")
    assert code == 0
    assert json.loads(out.out)["answered"] == 0
    assert "Which?" in out.err or "How many?" in out.err
    quiz = QuizRound(read_quiz(mine), 4)
    answers = []
    while quiz.question is not None:
        answers.append(answer_of(quiz))
        quiz.answer(answers[-1])
    code, out = run(monkeypatch, capsys, "\n".join(answers), "--questions", mine, "--seed", 4, "--json")
    result = json.loads(out.out)
    assert (result["right_at_first"], result["questions"]) == (2, 2)
    assert result["topics"] == {"mine": {"questions": 2, "right_at_first": 2}}
    code, out = run(monkeypatch, capsys, "q\n", "--json")
    assert json.loads(out.out)["questions"] == len(OWN)


def test_bytes_that_are_no_text(mine):
    argv = [sys.executable, "-m", "heed", "quiz", "--questions", str(mine), "--json"]
    done = subprocess.run(argv, input=b"\xff\xfe\n\x00\n", capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["answered"] == 0
    assert done.stderr.count(b"answer with") == 2


def test_list_and_count(monkeypatch, capsys):
    code, out = run(monkeypatch, capsys, "", "--list")
    assert code == 0
    assert all(topic in out.out for topic in TOPICS)
    code, out = run(monkeypatch, capsys, "", "--list", "--json", "--topic", "tuning")
    assert all(entry["topic"] == "tuning" for entry in json.loads(out.out)["questions"])
    code, out = run(monkeypatch, capsys, "", "--count", "2", "--json")
    assert json.loads(out.out)["questions"] == 2


@pytest.mark.parametrize(
    ("argv", "why"),
    [
        (["--topic", "atention"], "did you mean 'attention'?"),
        (["--count", "0"], "--count 0: at least one question"),
        (["--questions", "nowhere.yaml"], "no such configuration file: nowhere.yaml"),
    ],
)
def test_bad_flags(argv, why, capsys):
    assert main(["quiz", *argv]) == 2
    assert why in capsys.readouterr().err


def test_a_question_needs_something():
    with pytest.raises(ValueError, match="must hold something"):
        QuizQuestion(id=" ", topic="a", text="b", answer=1, reason="c")
