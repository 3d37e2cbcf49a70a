"""Pretrain, fine-tune and measure from the command line: a tiny model of invented people, resumed bit for bit."""

import json
import shutil

import pytest

from heed.cli import main
from heed.text.tokenizers import MASK

PLACES = ["Rome", "Oslo", "Lima", "Bonn"]
TINY = [
    "--tokenizer.kind", "char", "--model.n-layers", "1", "--model.n-heads", "2", "--model.d-model", "16",
    "--model.context", "48", "--model.dropout", "0.1", "--data.workers", "1",
]  # fmt: skip
STEPS = [
    "--train.steps", "8", "--train.batch-size", "4", "--train.eval-every", "4", "--train.checkpoint-every", "4",
    "--train.keep-last", "9",
]  # fmt: skip


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """A folder of wiki.txt, a line a person, and pairs.tsv, a question each; the last name has a letter of its own."""
    folder = tmp_path_factory.mktemp("people")
    names = [f"{first} {last}" for first in ("Ann", "Bo", "Cy", "Di", "Ed") for last in ("Fox", "Gray", "Hill", "Ivy")]
    born = {name: PLACES[number % 4] for number, name in enumerate(names)}
    lines = (f"{name}. {name} was born in {place} in 19{len(name)}.\n" for name, place in born.items())
    (folder / "wiki.txt").write_text("".join(lines) + "Where was that?\n", encoding="utf-8")
    (folder / "pairs.tsv").write_text("".join(f"Where was {n} born?\t{p}\n" for n, p in born.items()), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory, people):
    """A folder of two runs: text, pretrained on the text alone; asked, fine-tuned from it."""
    folder = tmp_path_factory.mktemp("runs")
    common = [*STEPS, "--run.folder", str(folder), "--run.name"]
    assert main(["pretrain", str(people / "wiki.txt"), *TINY, *common, "text"]) == 0
    assert main(["finetune", str(folder / "text"), str(people / "pairs.tsv"), *common, "asked"]) == 0
    return folder


def complaint(answer) -> str:
    assert answer.code == 2
    assert answer.out == ""
    return answer.err.splitlines()[-1]


def settings(run, section):
    import yaml

    return yaml.safe_load((run / "config.yaml").read_text())[section]


def test_what_pretraining_takes_for_granted(runs):
    data = settings(runs / "text", "data")
    assert [data[key] for key in ("objective", "layout", "separator", "validation_fraction")] == [
        "single-span", "padded", "\n", 0.0,
    ]  # fmt: skip
    assert json.loads((runs / "text" / "evaluation.json").read_text()) == {}
    assert MASK in json.loads((runs / "text" / "tokenizer.json").read_text())["model"]["vocab"]


def test_fine_tuning_begins_with_the_other_run_and_counts_right_answers(runs):
    asked = runs / "asked"
    assert settings(asked, "model")["d_model"] == 16
    assert settings(asked, "model")["dropout"] == 0.1
    assert (asked / "tokenizer.json").read_bytes() == (runs / "text" / "tokenizer.json").read_bytes()
    started = json.loads((asked / "environment.json").read_text())["started_from"]
    assert (started["run"], started["checkpoint"]) == (str(runs / "text"), "step-00000008")
    figures = json.loads((asked / "evaluation.json").read_text())["validation"]
    assert figures["questions"] == figures["passport"]["tokens"] >= 1
    assert 0 <= figures["correct"] <= figures["questions"]
    assert figures["passport"]["unit"] == "answer"
    lines = map(json.loads, (asked / "metrics.jsonl").read_text().splitlines())
    assert all("accuracy" in line for line in lines if line["event"] == "evaluation")


def test_the_other_verbs_take_these_runs(runs, people, heed, tmp_path):
    answer = heed("eval", runs / "asked")
    assert answer.code == 0
    assert "correct answers" in answer.out
    assert "answer loss" in answer.out
    answer = heed("eval", runs / "asked", "--corpus", people / "pairs.tsv", "--json")
    assert json.loads(answer.out)["results"][0]["questions"] == 20
    answer = heed("eval", runs / "text", "--corpus", people / "wiki.txt")
    assert "single-span loss" in answer.out
    assert "perplexity" not in answer.out
    assert "stride" in complaint(heed("eval", runs / "asked", "--stride", 4))
    assert heed("sample", runs / "text", "--max-tokens", 5, "--prompt", "Ann").code == 0
    assert heed("export", runs / "asked", "--to", "hf", "--out", tmp_path / "hf").code == 0
    page = (runs / "asked" / "report.html").read_text()
    for words in ("Right answers", "Commonest answer", "begun with", "are answered rightly", "nats per answer"):
        assert words in page, words
    assert "erplexity" not in page


def whole(run):
    last = sorted((run / "checkpoints").glob("step-*"))[-1]
    return {name: (last / name).read_bytes() for name in ("model.safetensors", "optimizer.safetensors")}


@pytest.mark.parametrize("left", [4, 0])
def test_a_resumed_fine_tuning_is_bit_for_bit_the_unbroken_one(left, runs, heed, tmp_path):
    shutil.copytree(runs / "asked", tmp_path / "broken")
    for folder in (tmp_path / "broken" / "checkpoints").glob("step-*"):
        if int(folder.name.removeprefix("step-")) > left:
            shutil.rmtree(folder)
    (tmp_path / "broken" / "checkpoints" / "best.json").unlink()
    away = tmp_path / "away"
    if left:  # the run that it began with is no longer needed
        (runs / "text").rename(away)
    answer = heed("train", "--resume", tmp_path / "broken")
    if left:
        away.rename(runs / "text")
    assert answer.code == 0, answer.err
    assert f"going on from step {left}" in answer.err
    assert whole(tmp_path / "broken") == whole(runs / "asked")


def test_questions_mixed_into_text_are_what_is_held_out(people, heed, tmp_path):
    mixed = ["--data.questions", people / "pairs.tsv", "--data.validation-fraction", "0.3", "--data.plain-share", "0.5"]
    common = [people / "wiki.txt", *TINY, *STEPS, *mixed, "--run.folder", tmp_path, "--run.name"]
    answer = heed("pretrain", *common, "a", "--json")
    assert answer.code == 0, answer.err
    assert json.loads(answer.out)["figures"]["validation"]["passport"]["unit"] == "answer"
    assert "nothing is held out" in answer.err
    (kept,) = (tmp_path / ".tokens").glob("wiki-*")
    assert kept.name.startswith("wiki-train-")  # of the text every line is learned
    assert "questions: pairs, train " in answer.err
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    shutil.rmtree(tmp_path / "b" / "checkpoints" / "step-00000008")
    (tmp_path / "b" / "checkpoints" / "best.json").unlink()
    assert "going on from step 4" in heed("train", "--resume", tmp_path / "b").err
    assert whole(tmp_path / "a") == whole(tmp_path / "b")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "bad.tsv is empty"),
        ("Where?\tRome\nWhere was Bo?  Rome\n", "bad.tsv, line 2 has no tab"),
        ("Where?\tRome\nWhere was Zoë born?\tRome\n", "bad.tsv, line 2: character 'Z' (U+005A, at 10) is not in"),
        (f"Where?\tRome\nWhere was {'Bo' * 40} born?\tRome\n", "bad.tsv, line 2 needs 101 tokens with its answer"),
    ],
)
def test_bad_pairs_are_told_by_line_and_leave_no_run(content, told, runs, heed, tmp_path):
    (tmp_path / "bad.tsv").write_text(content, encoding="utf-8")
    argv = ["--data.validation-fraction", 0, "--run.folder", tmp_path / "runs"]
    assert told in complaint(heed("finetune", runs / "text", tmp_path / "bad.tsv", *argv))
    assert not any((tmp_path / "runs").glob("*-1"))
    held_out = ["--data.validation", tmp_path / "bad.tsv", "--run.folder", tmp_path / "runs"]
    (tmp_path / "good.tsv").write_text("Where was Bo born?\tRome\nWhere was Ann born?\tOslo\n")
    assert told in complaint(heed("finetune", runs / "text", tmp_path / "good.tsv", *held_out))


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["--tokenizer.kind", "bpe"], "tokenizer.kind: bpe is asked for, but "),
        (["--tokenizer.vocab-size", 300], "tokenizer.vocab_size: 300 is asked for, but "),
        (["--model.context", 64], "model.context: 64 is asked for, but "),
        (["--model.n-layers", 3], "model.n_layers: 3 is asked for, but "),
        (["--model.context", 20], "line 1 needs 28 tokens with its answer, model.context is 20"),
    ],
)
def test_what_does_not_fit_the_pretrained_run(argv, told, runs, people, heed, tmp_path):
    answer = heed("finetune", runs / "text", people / "pairs.tsv", *argv, "--run.folder", tmp_path)
    assert told in complaint(answer)
    if "asked for" in told:
        assert "has " in answer.err


def test_a_context_without_room_for_a_span_is_refused_before_anything_is_read(people, heed, tmp_path):
    answer = heed("pretrain", str(people / "wiki.txt"), "--model.context", "4", "--run.folder", str(tmp_path))
    assert "model.context: documents with hidden spans need at least 8" in complaint(answer)
    assert "tokenizer" not in answer.err
    assert not list(tmp_path.iterdir())


def test_a_run_without_a_mask_cannot_be_asked(trained, people, heed, tmp_path):
    answer = heed("finetune", trained, people / "pairs.tsv", "--run.folder", tmp_path)
    assert complaint(answer).startswith("heed: this tokenizer has no mask token")


def test_what_a_verb_needs(people, runs, heed):
    assert "name the run to start from" in complaint(heed("finetune"))
    assert "name the questions with answers" in complaint(heed("finetune", runs / "text"))
    answer = heed("pretrain", people / "pairs.tsv", "--data.objective", "answers")
    assert "heed finetune" in complaint(answer)


def test_check_reads_questions_and_the_run_to_start_from(runs, people, heed, tmp_path):
    argv = ["--data.objective", "answers", "--data.layout", "padded", "--model.start-from", runs / "text"]
    answer = heed("check", *argv, "--data.source", people / "pairs.tsv", "--json")
    assert (
        json.loads(answer.out)["parameters"]
        == json.loads((runs / "text" / "environment.json").read_text())["parameters"]
    )
    (tmp_path / "bad.tsv").write_text("no tab\n")
    answer = heed("check", *argv, "--data.source", tmp_path / "bad.tsv", "--model.d-model", 32, "--json")
    first, second = json.loads(answer.out)["problems"]
    assert first.startswith("model.d_model: 32 is asked for")
    assert "bad.tsv, line 1 has no tab" in second
