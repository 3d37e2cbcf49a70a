"""What is made of answers: marks, thresholds, and the files that a run has learned from."""

import json
import math

import pytest

from heed.asking.answering import AnsweredQuestion, Manner, answer_questions, known_answers, read_candidates
from heed.asking.marking import mark, write_marks, write_predictions
from heed.asking.respondent import Respondent, Sources, sources_of, way_of
from heed.asking.trust import Trust, choose_trust
from heed.config import make_config
from heed.errors import CheckpointError, ConfigError, DataError
from heed.generation.answers import Answer
from heed.text.qa import Question, read_questions
from heed.text.support import Corpora, Passage
from heed.text.tokenizers import MASK, train_tokenizer
from heed.training.run import Run


def answered(gold, *answers, seen="never", finished=True, prompt="Where was Ada born?"):
    found = tuple(Answer(text, math.log(p), finished) for text, p in answers)
    return AnsweredQuestion(Question(prompt, gold, 1, "dev.tsv"), found, seen, Passage("Ada.", 7, False))


SET = [
    answered("Rome", ("Rome", 0.9), ("Oslo", 0.05), seen="pretraining"),
    answered("Rome", ("rome", 0.8), seen="pretraining"),  # letter by letter
    answered("Oslo", ("Oslo ", 0.5), seen="never"),
    answered("Bern", ("Oslo", 0.2), seen="never", finished=False),
]


def test_marks_by_hand():
    marks = mark(SET)
    assert (marks.correct, marks.total, marks.baseline, marks.unfinished) == (2, 4, ("Rome", 2), 1)
    assert marks.by_seen == {"pretraining": (1, 2), "never": (1, 2)}
    # four answers are too few for more than one bin: mean probability 0.6, and a half is right
    assert marks.calibration.error == pytest.approx(0.1, abs=1e-12)
    # surest first: right, wrong, right, wrong: risks 0, 1/2, 1/3, 1/2
    assert marks.risk_area == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 2) / 4, abs=1e-12)
    lines = marks.lines()
    assert lines[0].startswith("correct: 2 of 4 (50.0 %), 95 % interval 15.0 to 85.0 %")  # Wilson 1927
    assert lines[1] == "always 'Rome': 2 of 4 (50.0 %)"
    assert lines[-1] == "cut off before the closing mask: 1"


def test_files_hold_what_the_page_reads(tmp_path):
    write_marks(tmp_path / "new", SET, {"run": "a", **mark(SET).as_dict()})
    lines = (tmp_path / "new" / "answers.jsonl").read_text(encoding="utf-8").splitlines()
    first = json.loads(lines[0])
    assert first == {
        "prompt": "Where was Ada born?",
        "gold": "Rome",
        "answer": "Rome",
        "probability": pytest.approx(0.9),
        "finished": True,
        "correct": True,
        "seen": "pretraining",
        "passage": {"text": "Ada.", "line": 7, "holds_answer": False},
        "runners_up": [["Oslo", pytest.approx(0.05)]],
    }
    from heed.report.knowledge_record import read_knowledge

    record = read_knowledge(tmp_path)
    assert [(one.right, one.total, one.baseline) for one in record.asked] == [(2, 4, ("Rome", 2))]
    assert record.notes == ()


def test_predictions_are_a_line_each(tmp_path):
    write_predictions(tmp_path / "deep" / "p.txt", [*SET, answered("x", ("New\nYork", 0.1))])
    assert (tmp_path / "deep" / "p.txt").read_text() == "Rome\nrome\nOslo\nOslo\nNew York\n"


def test_probabilities_never_exceed_one():
    assert AnsweredQuestion(Question("a", None, 1), (Answer("b", 1e-7, True),)).probability == 1.0


class Fake(Respondent):
    """Answers without a model: the answer and the probability are in the question."""

    def __init__(self, trained=()):
        corpora = Corpora(None, None)
        corpora.prompts = frozenset(trained)
        super().__init__(None, None, Manner(), Sources(None, None), corpora, "best")

    def answer(self, questions):
        return [AnsweredQuestion(q, (Answer("yes", math.log(float(q.prompt.split()[1])), True),)) for q in questions]


def held_out(n=20):
    """Half of the answers are right, and those have the probabilities above 0.5."""
    return [Question(f"q {(i + 1) / 40 + 0.25:.3f}", "yes" if i >= n // 2 else "no", i + 1, "h.tsv") for i in range(n)]


def test_a_threshold_is_chosen_on_questions_that_are_new(tmp_path):
    trust, left_out = choose_trust(Fake(), held_out(), set(), accuracy=1.0)
    assert left_out == 0
    assert (trust.threshold, trust.answered, trust.right, trust.total) == (pytest.approx(0.525), 10, 10, 20)
    trust.save(tmp_path)
    assert Trust.load(tmp_path).plain() == trust.plain()
    assert trust.sentence() == (
        "threshold: 52 % for 100 % right answers; of 20 held-out questions 10 reach it, 10 of them right"
    )
    prompts = [one.prompt for one in held_out()]
    trust, left_out = choose_trust(Fake(prompts[:2]), held_out(), {prompts[2]}, accuracy=1.0)
    assert (left_out, trust.total) == (3, 17)


def test_no_threshold_where_the_surest_are_wrong_and_none_from_what_was_trained_on():
    wrong = [Question(one.prompt, "no", one.line, one.path) for one in held_out()]
    assert choose_trust(Fake(), wrong, set(), accuracy=0.5) == (None, 0)
    prompts = {one.prompt for one in wrong}
    with pytest.raises(DataError, match=r"h\.tsv: the model was trained on all of these questions"):
        choose_trust(Fake(prompts), wrong, set(), accuracy=0.5)
    with pytest.raises(DataError, match="the ones evaluated"):
        choose_trust(Fake(), wrong, prompts, accuracy=0.5)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"threshold": 2}'])
def test_a_damaged_threshold_is_refused(tmp_path, content):
    assert Trust.load(tmp_path) is None
    (tmp_path / "trust.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"trust\.json is damaged"):
        Trust.load(tmp_path)


def test_the_way_to_answer(tmp_path):
    pairs, candidates = tmp_path / "train.tsv", tmp_path / "places.txt"
    pairs.write_text("a\tRome\nb\tOslo\nc\tRome\n")
    candidates.write_text("Bern\nOslo \nBern\n")
    common = {"beams": 4, "max_tokens": 8}
    learned, unknown = Sources(None, pairs), Sources(None, None)
    assert known_answers(pairs) == ("Oslo", "Rome")
    assert way_of(None, None, learned, **common).decode == "beam"
    assert way_of("known", None, learned, **common).known == ("Oslo", "Rome")
    assert way_of(None, candidates, learned, **common).known == ("Bern", "Oslo")  # the file wins
    with pytest.raises(ConfigError, match="--candidates are for --decode known, not beam"):
        way_of("beam", candidates, learned, **common)
    with pytest.raises(ConfigError, match="add --candidates"):
        way_of("known", None, unknown, **common)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "line 1 is empty"),
        (b"a\n\nb\n", "line 2 is empty"),
        (b"a\nb\tc\n", "line 2 holds a tab"),
        (b"caf\xe9", "not UTF-8 at byte 3"),
        (None, "cannot be read"),
    ],
)
def test_candidates_that_cannot_be_read(tmp_path, content, message):
    path = tmp_path / "places.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_candidates(path)


def settings(**sections):
    return make_config({"model": sections.get("model", {}), "data": {"layout": "padded", **sections["data"]}})


def test_a_run_knows_what_it_and_those_before_it_have_read(tmp_path):
    text, pairs = tmp_path / "wiki.txt", tmp_path / "train.tsv"
    text.write_text("text")
    pairs.write_text("a\tb\n")
    before = settings(data={"source": str(text), "objective": "single-span"})
    Run.create(tmp_path / "before", before, facts={})
    after = settings(
        data={"source": str(pairs), "objective": "answers"}, model={"start_from": str(tmp_path / "before")}
    )
    assert sources_of(after) == Sources(text, pairs)
    assert sources_of(before) == Sources(text, None)
    mixed = settings(data={"source": str(text), "objective": "single-span", "questions": str(pairs)})
    assert sources_of(mixed) == Sources(text, pairs)
    assert sources_of(after, pretraining=pairs).pretraining == pairs
    text.unlink()
    (note,) = sources_of(after).notes
    assert "wiki.txt, is no file here: name it with --pretraining" in note
    lost = settings(data={"source": str(pairs), "objective": "answers"}, model={"start_from": str(tmp_path / "gone")})
    (note,) = sources_of(lost).notes
    assert "gone, which this run began with, is not there" in note


def test_a_circle_of_runs_ends(tmp_path):
    pairs = tmp_path / "train.tsv"
    pairs.write_text("a\tb\n")
    for name, start in (("a", "b"), ("b", "a")):  # b began with a, and a was written over by a run that began with b
        data = {"source": str(pairs), "objective": "answers"}
        config = settings(data=data, model={"start_from": str(tmp_path / start)})
        Run.create(tmp_path / name, config, facts={})
    (note,) = sources_of(config).notes
    assert "was written over by a run that began with it" in note


def test_of_several_texts_the_newest_is_searched_and_that_is_said(tmp_path):
    for name in ("old.txt", "new.txt"):
        (tmp_path / name).write_text("text")
    data = {"objective": "single-span", "encoding": "cp1252"}
    Run.create(tmp_path / "before", settings(data=data | {"source": str(tmp_path / "old.txt")}), facts={})
    config = settings(data=data | {"source": str(tmp_path / "new.txt")}, model={"start_from": str(tmp_path / "before")})
    sources = sources_of(config)
    assert (sources.pretraining, sources.reading.encoding) == (tmp_path / "new.txt", "cp1252")
    (note,) = sources.notes
    assert note.startswith("of the text that the run learned from only ")
    assert note.endswith("old.txt")


def test_questions_that_are_not_new_are_told(tmp_path):
    pairs, dev = tmp_path / "train.tsv", tmp_path / "dev.tsv"
    pairs.write_text("a\tb\nc\td\n")
    dev.write_text("c\td\ne\tf\n")
    config = settings(data={"source": str(pairs), "objective": "answers", "validation": str(dev)})
    sources = sources_of(config)
    asked = Respondent(None, None, Manner(), sources, sources.corpora(), "best")  # type: ignore[arg-type]
    assert asked.trained_on(read_questions(dev)) == 1
    assert (asked.chosen_by(dev), asked.chosen_by(pairs)) == (True, False)


def test_a_known_answer_that_cannot_be_written_is_named():
    tokenizer = train_tokenizer("char", ["Where was Ada born? Rome"], 100, specials=(MASK,))
    with pytest.raises(DataError, match=r"the known answer 'Łódź': character 'Ł'"):
        answer_questions(None, tokenizer, [], Manner("known", known=("Rome", "Łódź")))  # type: ignore[arg-type]
