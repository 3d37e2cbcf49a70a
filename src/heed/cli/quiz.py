"""`heed quiz`: concept questions on the terminal, each with its reasons and the command that shows it."""

from __future__ import annotations

import io
import json
import sys
import textwrap
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import tyro

from heed.cli.settings import parse
from heed.config import Section
from heed.errors import ConfigError

if TYPE_CHECKING:
    from heed.explore.quiz import QuizQuestion, QuizRound

WIDTH = 100


class QuizFlags(Section):
    """Ask concept questions: attention, recurrent nets, tokenizers, masked models, batching, tuning, sampling.

    Answer with letters (`a`, or `a c` where several are right) or with a number; `q` ends. What was answered wrongly
    comes again. Answers may be piped in, one a line.

    examples:
      heed quiz
      heed quiz --topic attention --count 10
      heed quiz --list
      heed quiz --questions mine.yaml --seed 3
      printf 'a\\nb\\n' | heed quiz --topic tokenizers --count 2 --json
    """

    topic: str | None = None
    """Only questions of this topic: see --list."""
    count: int | None = None
    """So many questions, at random; all if left out."""
    seed: int = 0
    """Of the order of questions and options."""
    questions: Path | None = None
    """A YAML file of your own questions, in the form that docs/guide/quiz.md tells."""
    list_: Annotated[bool, tyro.conf.arg(name="list")] = False
    """Print topics and questions, and ask none."""
    json_: Annotated[bool, tyro.conf.arg(name="json")] = False
    """Print one JSON object on standard output; questions go to standard error."""


def main(argv: list[str]) -> int:
    """Ask until all is answered, the reader quits, or the input ends; 0 when done."""
    flags = parse(QuizFlags, argv, "quiz")
    from heed.explore.quiz import OWN, QuizRound, pick, read_quiz

    questions = pick(read_quiz(flags.questions or OWN), flags.topic, flags.count, flags.seed)
    if flags.list_:
        list_questions(questions, flags.json_)
        return 0
    out = sys.stderr if flags.json_ else sys.stdout
    quiz = QuizRound(questions, flags.seed)
    ask_all(quiz, out)
    outcome = quiz.outcome()
    if flags.json_:
        print(json.dumps(outcome, indent=2))
    else:
        print(f"\n{outcome['right_at_first']} of {outcome['answered']} right at first", file=out)
        if outcome["wrong_at_first"]:
            print(_wrapped(f"look at again: {', '.join(outcome['wrong_at_first'])}"), file=out)
    return 0


def list_questions(questions: Sequence[QuizQuestion], as_json: bool) -> None:
    """Print topics with how many questions each has, and every question."""
    topics = Counter(question.topic for question in questions)
    if as_json:
        listed = [
            {"id": q.id, "topic": q.topic, "text": q.text, "command": q.command, "card": q.card} for q in questions
        ]
        print(json.dumps({"topics": dict(topics), "questions": listed}, indent=2))
        return
    for topic, number in topics.items():
        print(f"{topic} ({number})")
        for question in questions:
            if question.topic == topic:
                print(_wrapped(question.text, f"  {question.id:<28}"))


def ask_all(quiz: QuizRound, out: TextIO) -> None:
    """Ask every question of a round on `out`, reading answers from standard input, until it ends or says q."""
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")  # bytes that are no text are no answer either
    number = 0
    while (question := quiz.question) is not None:
        number += 1
        show(quiz, number, out)
        while True:
            print("> ", end="", file=out, flush=True)
            line = sys.stdin.readline().removeprefix("\ufeff")
            if not line or line.strip().lower() in ("q", "quit"):
                print(file=out)
                return
            try:
                mark = quiz.answer(line)
            except ConfigError as error:  # said, and asked again: the input is read on, so it ends
                print(error, file=out)
                continue
            break
        print("Right." if mark.right else "Wrong: it comes again.", file=out)
        for told in mark.lines:
            print(_wrapped(told, "  "), file=out)
        for command in question.commands:
            print(f"  see: {command}", file=out)


def show(quiz: QuizRound, number: int, out: TextIO) -> None:
    """Print a question with its options."""
    from heed.explore.quiz import LETTERS

    question = quiz.question
    assert question is not None
    again = ", again" if quiz.comes_again() else ""
    several = " (several are right)" if question.several else f" ({question.unit})" if question.unit else ""
    print(f"\n{number}. [{question.topic}{again}]", file=out)
    print(_wrapped(question.text + several), file=out)
    for letter, option in zip(LETTERS, quiz.options(), strict=False):
        print(_wrapped(option.text, f"  {letter}  "), file=out)


def _wrapped(text: str, first: str = "") -> str:
    """Return a text in lines that a terminal can hold."""
    return textwrap.fill(text, WIDTH, initial_indent=first, subsequent_indent=" " * len(first), break_on_hyphens=False)
