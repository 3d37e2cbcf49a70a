"""An encoder from the command line: trained, resumed bit for bit, measured, shown; and what it cannot do."""

import json
import random
import shutil

import numpy as np
import pytest
import torch

from cli.conftest import TINY, settled

ENCODER = [*TINY, "--model.kind", "encoder", "--model.dropout", "0.2", "--tokenizer.kind", "word"]


@pytest.fixture(scope="module")
def reviews(tmp_path_factory):
    """200 sentences in which one of two words tells the label."""
    draw = random.Random(1)
    path = tmp_path_factory.mktemp("reviews") / "reviews.tsv"
    lines = []
    for _ in range(200):
        words = [
            draw.choice(["a", "film", "of", "the", "one", "some", "two", "scene"]) for _ in range(draw.randint(1, 19))
        ]
        good = draw.random() < 0.5
        words.insert(draw.randint(0, len(words)), "fine" if good else "dull")
        lines.append(f"{' '.join(words)}\t{'good' if good else 'bad'}\n")
    path.write_text("review\tverdict\n" + "".join(lines))
    return path


@pytest.fixture(scope="module")
def classified(tmp_path_factory, reviews):
    from heed.cli import main

    folder = tmp_path_factory.mktemp("runs")
    argv = ["train", reviews, *ENCODER, "--data.column", "review", "--data.label", "verdict", "--run.folder", folder,
            "--run.name", "verdicts", "--train.steps", "60", "--train.eval-every", "20",
            "--train.learning-rate", "0.02", "--model.context", "16"]  # fmt: skip
    assert main(settled(argv)) == 0
    return folder / "verdicts"


def events(run, kind):
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [line for line in lines if line["event"] == kind]


def test_a_classifier_learns_and_its_folder_is_enough(classified, reviews, heed, tmp_path):
    figures = json.loads((classified / "evaluation.json").read_text())["validation"]
    assert figures["accuracy"] > 0.9  # the word is there, or was cut off
    assert figures["passport"]["unit"] == "example"
    assert json.loads((classified / "environment.json").read_text())["classes"] == ["bad", "good"]
    assert (classified / "samples.jsonl").read_text() == ""
    assert [event["step"] for event in events(classified, "evaluation")] == [20, 40, 60]
    assert all({"accuracy", "recall", "majority"} <= event.keys() for event in events(classified, "evaluation"))
    assert events(classified, "sample") == []
    answer = heed("eval", classified, "--json")
    again = json.loads(answer.out)["results"][0]
    assert again["accuracy"] == figures["accuracy"]
    assert again["confusion"] == figures["confusion"]
    other = tmp_path / "other.tsv"
    other.write_text("text\tlabel\na fine film\tgood\n")
    answer = heed("eval", classified, "--corpus", other, "--data.column", "text", "--data.label", "label")
    assert answer.code == 0
    assert "accuracy" in answer.out


def test_training_accuracy_is_measured_at_each_evaluation_and_at_the_end(classified, reviews, heed, tmp_path):
    """On as many texts as validation has, in evaluation mode, always the same ones; recomputed from the weights."""
    from heed import objectives
    from heed.training.run import load_run

    found = [event["train"] for event in events(classified, "evaluation")]
    assert len(found) == 3
    final = json.loads((classified / "evaluation.json").read_text())
    held_out = final["validation"]["examples"]
    assert {one["examples"] for one in [*found, final["train"]]} == {held_out}
    best = min(events(classified, "evaluation"), key=lambda event: event["loss"])
    assert final["train"]["accuracy"] == best["train"]["accuracy"]
    assert final["train"]["loss"] == pytest.approx(best["train"]["loss"], rel=1e-6)
    model, tokenizer, config = load_run(classified)
    tokens = objectives.open_text(config, tokenizer, classes=("bad", "good"))["train"]
    drawn = sorted(np.random.default_rng(0x70617274).permutation(len(tokens.ends))[:held_out])
    ends = [0, *map(int, tokens.ends)]
    right = 0
    for number in drawn:  # one text at a time, without padding
        ids = torch.from_numpy(tokens.ids[ends[number] : ends[number + 1]][:16].astype("int64"))[None]
        with torch.no_grad():
            right += int(model(ids).argmax()) == int(tokens.labels[number])
    assert final["train"]["accuracy"] == right / held_out
    assert final["train"]["passport"]["split"] == "train"
    assert final["train"]["passport"]["partial"]
    page = (classified / "report.html").read_text()
    assert "are classified rightly, of what it trained on" in page
    assert page.count("<span>training <b>") >= 3  # a line of each figure of accuracy and loss


def test_what_of_training_is_measured_can_be_chosen(reviews, heed, tmp_path):
    argv = ["train", reviews, *ENCODER, "--data.column", "review", "--data.label", "verdict", "--run.folder", tmp_path,
            "--train.steps", "4", "--train.eval-every", "2", "--model.context", "16"]  # fmt: skip
    answer = heed(*argv, "--run.name", "all", "--train.eval-train-tokens", "1000000", "--json")
    figures = json.loads(answer.out)["figures"]
    assert figures["train"]["examples"] == 200 - figures["validation"]["examples"]
    assert not figures["train"]["passport"]["partial"]
    answer = heed(*argv, "--run.name", "none", "--train.eval-train-tokens", "0", "--json")
    assert set(json.loads(answer.out)["figures"]) == {"validation"}
    assert all("train" not in event for event in events(tmp_path / "none", "evaluation"))
    same = [[event["loss"] for event in events(tmp_path / name, "train")] for name in ("all", "none")]
    assert same[0] == same[1]


def test_patience_without_validation_is_told_before_anything_is_written(reviews, heed, tmp_path):
    argv = ["train", reviews, *ENCODER, "--data.column", "review", "--data.label", "verdict", "--run.folder", tmp_path,
            "--data.validation-fraction", "0", "--train.patience", "2"]  # fmt: skip
    answer = heed(*argv)
    assert answer.code == 2
    assert "train.patience: goes by the validation loss, and nothing is held out: leave it out" in answer.err
    assert not list(tmp_path.glob("*/config.yaml"))


def test_what_is_printed_and_shown(classified, reviews, heed):
    answer = heed("eval", classified)
    assert "\n  accuracy  " in answer.out
    assert "\n  majority class  " in answer.out
    assert "examples (word" in answer.out
    page = (classified / "report.html").read_text()
    for words in ("Accuracy", "Majority class", "An encoder of", "steps of 4 examples", "Class by class",
                  "validation accuracy (%)", "Training examples", "columns: what it was taken for"):  # fmt: skip
        assert words in page, words
    assert "erplexity" not in page
    assert "What it writes" not in page


def test_cut_texts_and_classes_are_told(reviews, heed, tmp_path):
    argv = ["--data.column", "review", "--data.label", "verdict", "--run.folder", tmp_path, "--model.context", "8"]
    answer = heed("train", reviews, *ENCODER, *argv)
    assert answer.code == 0
    assert "note: 2 classes in train: bad (" in answer.err
    assert "texts of the train split have more than 8 tokens and are cut" in answer.err
    assert "texts of the validation split have more than 8 tokens and are cut" in answer.err
    assert "examples/s" in answer.err


def whole(run):
    last = sorted((run / "checkpoints").glob("step-*"))[-1]
    return {name: (last / name).read_bytes() for name in ("model.safetensors", "optimizer.safetensors")}


@pytest.mark.parametrize("labels", [True, False])
def test_a_resumed_run_is_bit_for_bit_the_unbroken_one(labels, reviews, text, heed, tmp_path):
    source = [reviews, "--data.column", "review", "--data.label", "verdict"] if labels else [text]
    plan = ["--train.checkpoint-every", "4", "--train.steps", "8", "--train.keep-last", "9"]
    common = [*source, *ENCODER, *plan, "--run.folder", tmp_path]
    assert heed("train", *common, "--run.name", "unbroken").code == 0
    shutil.copytree(tmp_path / "unbroken", tmp_path / "broken")
    for folder in (tmp_path / "broken" / "checkpoints").glob("step-*"):
        if folder.name > "step-00000004":
            shutil.rmtree(folder)
    (tmp_path / "broken" / "checkpoints" / "best.json").unlink(missing_ok=True)
    answer = heed("train", "--resume", tmp_path / "broken")
    assert answer.code == 0, answer.err
    assert "going on from step 4" in answer.err
    assert whole(tmp_path / "broken") == whole(tmp_path / "unbroken")
    final = [json.loads((tmp_path / name / "evaluation.json").read_text())["validation"]["loss"]
             for name in ("broken", "unbroken")]  # fmt: skip
    assert final[0] == final[1]


def test_hidden_tokens_under_their_own_name(text, heed, tmp_path):
    answer = heed("train", text, *ENCODER, "--run.folder", tmp_path, "--run.name", "hidden")
    assert answer.code == 0
    assert "masked token loss" in answer.out
    assert "perplexity" not in answer.out
    assert "masked token loss" in heed("eval", tmp_path / "hidden").out
    page = (tmp_path / "hidden" / "report.html").read_text()
    assert "Masked-token loss" in page
    assert "nats per masked token" in page
    assert "erplexity" not in page


def test_what_cannot_be_is_one_line(classified, trained, reviews, heed, tmp_path):
    for argv, message in (
        (["sample", classified], "an encoder sees both sides of a token and cannot write text"),
        (["export", classified, "--out", tmp_path / "out"], "only a model.kind gpt is exported"),
        (["eval", classified, "--stride", 4], "leave it out for an encoder"),
        (["eval", classified, "--corpus", reviews, "--data.label", "None"], "tells classes apart: set data.label"),
        (["train", reviews, "--data.label", "verdict"], "add model.kind encoder"),
        (["train", reviews, "--train.mask-fraction", "0.3"], "train.mask_fraction: is for model.kind encoder"),
        (["eval", classified, trained], "cannot be compared"),
        (["train", reviews, "--model.kind", "encoder", "--data.label", "verdct"], "no column"),
    ):
        answer = heed(*argv)
        assert answer.code == 2, argv
        assert message in answer.err.splitlines()[-1]
        assert "Traceback" not in answer.err
    assert not (tmp_path / "out").exists()


def test_check_knows_the_cost_and_the_mistakes(reviews, heed):
    encoder = ["--data.source", reviews, "--data.column", "review", "--model.kind", "encoder"]
    costs = json.loads(heed("check", *encoder, "--data.label", "verdict", "--json").out)
    assert costs["ok"]
    # texts may be shorter than the context, so the tokens are a bound
    assert costs["training_tokens_at_most"] == 16 * 1000 * 128
    gpt = json.loads(heed("check", "--data.source", reviews, "--data.column", "review", "--json").out)
    assert costs["parameters"] == gpt["parameters"] + 2 * 128 + 2 * 128 + 2  # [MASK], [PAD], two classes
    assert "no column" in heed("check", *encoder, "--data.label", "x").err


def test_runs_of_classifiers_are_compared_by_accuracy(classified, heed):
    answer = heed("eval", classified, classified)
    assert answer.code == 0
    assert f"highest accuracy: {classified}" in answer.out
