"""`heed ask` and `heed eval --task qa` on a small model that has learned twenty made-up people."""

import json
import random

import pytest

from heed.cli import main

PEOPLE = [f"{a} {b}" for a in ("Ada", "Bo", "Cy", "Di", "Ed") for b in ("Low", "Mill", "Nye", "Orr")]
NEW = {"Ada Orr", "Bo Nye", "Cy Mill", "Di Low"}
"""Those that the model is not trained on; each of their names it knows."""
PLACES = ("Rome", "Oslo", "Bern", "York", "New York")
SETTINGS = [
    "--model.n-layers", "2", "--model.n-heads", "2", "--model.d-model", "32", "--model.context", "40",
    "--train.steps", "160", "--train.batch-size", "8", "--train.learning-rate", "5e-3", "--train.warmup-steps", "10",
    "--train.eval-every", "1000", "--data.workers", "1", "--data.layout", "padded", "--tokenizer.kind", "char",
    "--data.validation-fraction", "0", "--run.name", "asked",
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with text, pairs, and a run that has learned the pairs of the first sixteen people."""
    folder = tmp_path_factory.mktemp("asked")
    draw = random.Random(0)
    truth = {person: draw.choice(PLACES) for person in PEOPLE}
    lines = {person: f"Where was {person} born?\t{place}\n" for person, place in truth.items()}
    (folder / "train.tsv").write_text("".join(line for person, line in lines.items() if person not in NEW))
    (folder / "dev.tsv").write_text("".join(lines[person] for person in sorted(NEW)))
    (folder / "test.tsv").write_text("".join(f"Where was {person} born?\n" for person in sorted(NEW)))
    text = (f"{person} was born in {place} .\n" for person, place in truth.items() if person[0] == "A")
    (folder / "wiki.txt").write_text("".join(text))
    argv = ["train", str(folder / "train.tsv"), "--data.objective", "answers", "--run.folder", str(folder), *SETTINGS]
    assert main(argv) == 0
    return folder


@pytest.mark.parametrize("decode", ["greedy", "beam", "known"])
def test_what_was_learned_is_answered(heed, folder, tmp_path, decode):
    argv = [
        "--questions",
        folder / "train.tsv",
        "--decode",
        decode,
        "--out",
        tmp_path,
        "--pretraining",
        folder / "wiki.txt",
    ]
    result = heed("eval", folder / "asked", "--task", "qa", *argv, "--json")
    assert result.code == 0, result.err
    summary = json.loads(result.out)
    assert summary["correct"] >= 15  # of 16: all but by chance
    assert (summary["trained_on"], summary["chosen_by"]) == (16, False)
    assert "note: 16 of 16 questions stand in " in result.err
    assert summary["by_seen"]["pretraining"]["total"] == 3
    assert summary["by_seen"]["fine-tuning only"]["total"] == 13
    lines = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert sum(line["correct"] for line in lines) == summary["correct"]
    assert (lines[0]["passage"]["line"], lines[0]["passage"]["holds_answer"]) == (1, lines[0]["correct"])
    assert not (folder / "asked" / "answers.jsonl").exists()


def test_runs_that_answer_are_compared_by_accuracy(heed, folder):
    result = heed("eval", folder / "asked", folder / "asked", "--split", "train")
    assert result.code == 0, result.err
    assert "highest accuracy: " in result.out


def test_right_answers_that_no_candidate_is_are_told(heed, folder, tmp_path):
    (tmp_path / "few.txt").write_text("Rome\nOslo\n")
    gold = [line.split("\t")[1] for line in (folder / "train.tsv").read_text().splitlines()]
    argv = ("--questions", folder / "train.tsv", "--candidates", tmp_path / "few.txt", "--out", tmp_path, "--json")
    result = heed("eval", folder / "asked", "--task", "qa", *argv)
    beyond = sum(place not in ("Rome", "Oslo") for place in gold)
    assert json.loads(result.out)["out_of_reach"] == beyond > 0
    assert f"note: {beyond} of 16 right answers are not among the known ones" in result.err


def test_a_hidden_test_set_is_predicted_only(heed, folder, tmp_path):
    argv = ("eval", folder / "asked", "--task=qa", "--questions", folder / "test.tsv")
    result = heed(*argv)
    assert result.code == 2
    assert "holds no answers, so there is nothing to mark: give --predictions FILE" in result.err
    result = heed(*argv, "--predictions", tmp_path / "p.txt")
    assert (result.code, result.out) == (0, "")
    assert len((tmp_path / "p.txt").read_text().splitlines()) == 4


def test_a_threshold_is_kept_for_asking(heed, folder, tmp_path):
    run = folder / "asked"
    held_out = tmp_path / "held.tsv"  # people with two first names
    prompts = [f"Where was {a} {b} born?" for a in ("Ada Bo", "Di Cy", "Ed Ada") for b in ("Low", "Mill", "Nye", "Orr")]
    held_out.write_text("".join(f"{prompt}\t{PLACES[i % 5]}\n" for i, prompt in enumerate(prompts)))
    argv = ("eval", run, "--task", "qa", "--questions", folder / "dev.tsv", "--out", tmp_path, "--threshold-from")
    result = heed(*argv, held_out, "--accuracy", "0.01")
    assert result.code == 0, result.err
    assert "for 1.0 % right answers; of 12 held-out questions" in result.out
    assert "beyond the threshold: " in result.out
    trust = json.loads((run / "trust.json").read_text())
    assert heed("ask", run, "Who?").code == 0
    (run / "trust.json").write_text(json.dumps(trust | {"threshold": 1.0}))
    changed = heed("ask", run, "Who?")
    assert (changed.code, "trust.json is not as heed wrote it" in changed.err) == (2, True)
    (run / "hashes.json").unlink()
    try:
        result = heed("ask", run, "Where was Ada Low born?")
        assert result.code == 0
        assert "not sure enough to answer: the threshold of this run is 100 %" in result.out
        record = json.loads(heed("ask", run, "Where was Ada Low born?", "--json").out)["answers"][0]
        assert record["withheld"]
        assert "the threshold was chosen with --decode beam" in heed("ask", run, "Who?", "--decode", "greedy").err
    finally:
        (run / "trust.json").unlink()
    result = heed(*argv, folder / "train.tsv")
    assert result.code == 2
    assert "trained on all of these questions" in result.err


def test_an_answer_says_where_it_may_come_from(heed, folder):
    place = (folder / "train.tsv").read_text().split("\n")[0].split("\t")[1]
    result = heed("ask", folder / "asked", "Where was Ada Low born?", "--corpus", folder / "wiki.txt")
    assert result.code == 0, result.err
    assert result.out.startswith(f"{place}  (")
    assert f"wiki.txt, line 1 says so: Ada Low was born in {place} ." in result.out
    assert "next: " in result.out
    asked = ["Where was Bo Low born?", "Where was Ned Low born?"]
    result = heed("ask", folder / "asked", *asked, "--corpus", folder / "wiki.txt", "--decode", "known")
    assert "does not name Bo Low, but a fine-tuning question asks about it" in result.out
    assert "does not name Ned Low: made up" in result.out
    result = heed("ask", folder / "asked", "Where was Ada Low born?")
    assert "no pretraining text to look in: name one with --corpus" in result.out


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("Where was Ada born?\tRome\nWhere was Bo born?\n", "bad.tsv, line 2 has no tab"),
        ("", "bad.tsv is empty"),
        ("Where was Ada born?\tRome\nWhere was Bø born?\tRome\n", "bad.tsv, line 2: character 'ø'"),
        ("Where was Ada born?\tRome\n" + "a" * 60 + "?\tRome\n", "has 62 tokens with its mask, and the model reads 40"),
    ],
)
def test_bad_questions_are_one_line(heed, folder, tmp_path, content, message):
    (tmp_path / "bad.tsv").write_text(content, encoding="utf-8")
    result = heed("eval", folder / "asked", "--task", "qa", "--questions", tmp_path / "bad.tsv", "--out", tmp_path)
    assert result.code == 2
    assert message in result.err.splitlines()[-1]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("eval", "{run}", "--task", "qa"), "give --questions FILE"),
        (("eval", "{run}", "--questions", "dev.tsv"), "--questions goes with --task qa"),
        (("eval", "{run}", "--task", "qa", "--questions", "{dev}", "--accuracy", "0.5"), "give --threshold-from FILE"),
        (("eval", "{run}", "--task", "qa", "--questions", "{dev}", "--stride", "4"), "unknown option --stride"),
        (("eval", "nowhere", "--task", "qa", "--questions", "{dev}"), "nowhere"),
        (("ask", "{run}"), "there is nothing to ask"),
        (("ask", "{run}", " "), "a question is empty"),
        (("ask", "{run}", "Where was Bø born?"), "character 'ø'"),
        (("ask", "{run}", "Where?", "--corpus", "nowhere.txt"), "nowhere.txt cannot be read"),
        (
            ("ask", "{run}", "Where?", "--decode", "beam", "--candidates", "{dev}"),
            "--candidates are for --decode known",
        ),
    ],
)
def test_what_cannot_be_done_is_one_line(heed, folder, argv, message):
    places = {"{run}": folder / "asked", "{dev}": folder / "dev.tsv"}
    result = heed(*(places.get(word, word) for word in argv))
    assert result.code == 2
    assert message in result.err
    assert len(result.err.splitlines()) == 1
