"""Scores and sets of labels, from a table through a tune to predictions, a page and what others load."""

import csv
import json
import random
import re
import warnings

import numpy as np
import pytest
import torch
import transformers
from small import BLAME, LENGTH, OTHER, PRAISE, make_plan, read_tune, timeless
from tiny_encoders import SHALLOW

from heed.cli import main
from heed.errors import ConfigError, DataError
from heed.report.tuning_page import render, write_tuning
from heed.report.tuning_record import read_tuning
from heed.report.tuning_tables import tuning_lines
from heed.studies.by_heart import overfit
from heed.studies.tune import tune
from heed.targets.labels import LabelsTarget
from heed.targets.regression import ScoreTarget
from heed.tuning.export import export_adapter, export_onnx, export_transformers
from heed.tuning.predict import Predictor
from heed.tuning.tuned_run import load_tuned

QUIET = lambda line: None
BERT = SHALLOW
FIGURES = {"regression": "r2", "labels": "micro_f1"}


def write(path, kind, rows=80):
    """Write texts whose telling words are counted (from 200 on, in tens), or named, as their labels."""
    draw = random.Random(0)
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["text", "label", "by"])
        for number in range(rows):
            good, bad = (draw.sample(some, draw.choice((0, 0, 1, 2))) for some in (PRAISE, BLAME))
            words = [*good, *bad, *draw.choices(OTHER, k=3)]
            draw.shuffle(words)
            names = [name for name, some in (("praise|joy", good), ("Tadel", bad)) if some]
            label = 200 + 10 * (len(good) - len(bad)) + draw.random() if kind == "regression" else json.dumps(names)
            table.writerow([" ".join(words), label, f"author {number % 9}"])
    return path


def read_rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return [*csv.reader(file)]


@pytest.fixture(scope="module")
def tunes(tmp_path_factory, tiny):
    """`tunes(kind)` gives the folder of a tune of three arms and two seeds."""
    folder = tmp_path_factory.mktemp("tunes")

    def make(kind):
        out = folder / kind
        if not out.exists():
            table = write(folder / f"{kind}.csv", kind)
            sections = {"method": {"rank": 2}, "data": {"group": "by"}}
            plan = make_plan(
                table, tiny(BERT), "full", "lora", "head", seeds=(1, 2), epochs=(4,), rates=(1e-2, 3e-2), search="grid",
                sections=sections, soup=True, sizes=(20,),
            )  # fmt: skip
            tune(plan, out, QUIET)
        return out

    return make


@pytest.mark.parametrize("kind", FIGURES)
def test_what_a_tune_comes_to(tunes, kind):
    folder, figure = tunes(kind), FIGURES[kind]
    record = read_tune(folder)
    assert record["data"]["target"]["kind"] == kind
    assert record["data"]["classes"] == []
    assert any(f"so this is {kind}" in note for note in record["data"]["notes"])
    for arm in record["arms"]:
        assert arm["status"] == "done", arm["reason"]
        assert all(trial["figure"] is not None for trial in arm["search"])
        if not arm.get("soup"):
            best = min(arm["search"], key=lambda trial: trial["loss"])
            assert best["chosen"]
            assert arm["learning_rate"] == best["learning_rate"]
        for run in arm["runs"]:
            low, high = run["test"][f"{figure}_interval"]
            assert low <= run["test"][figure] <= high
            assert len(run["curve"]) == (0 if arm.get("soup") else 4)
            assert all(point["validation_figure"] is not None for point in run["curve"])
    read = read_tuning(folder)
    assert read.notes == ()
    assert read.reference is not None
    learned = max(run["train"][figure] for arm in record["arms"] for run in arm["runs"] if "train" in run)
    assert learned > read.baseline("validation") + 0.05
    assert {size.arm for size in read.sizes} == {"full", "lora", "head"}


@pytest.mark.parametrize("kind", FIGURES)
def test_figures_are_those_of_the_predictions(tunes, kind):
    """Counted again from the lines that the runs wrote."""
    for run in (tunes(kind) / "runs" / f"{arm}-{seed}" for arm in ("full", "lora", "head") for seed in (1, 2)):
        lines = [json.loads(line) for line in (run / "predictions-test.jsonl").read_text("utf-8").splitlines()]
        found = json.loads((run / "result.json").read_text("utf-8"))["result"]["test"]
        assert len(lines) == found["examples"]
        if kind == "regression":
            y, said = (np.array([line[key] for line in lines]) for key in ("label", "predicted"))
            assert found["mse"] == pytest.approx(np.mean((y - said) ** 2), rel=1e-4)
            assert found["pearson"] == pytest.approx(np.corrcoef(y, said)[0, 1], rel=1e-4)
        else:
            hits = sum(len({*line["label"]} & {*line["predicted"]}) for line in lines)
            whole = sum(len(line["label"]) + len(line["predicted"]) for line in lines)
            assert found["micro_f1"] == pytest.approx(2 * hits / whole)
            assert found["exact_match"] == np.mean([line["label"] == line["predicted"] for line in lines])


@pytest.mark.parametrize("kind", FIGURES)
def test_the_page(tunes, kind):
    record = read_tuning(tunes(kind))
    page = render(record)
    assert page == render(read_tuning(tunes(kind)))
    said = " ".join(tuning_lines(tunes(kind)))
    seen = re.sub(r"<style>.*?</style>|<script>.*?</script>|<[^>]*>", " ", page, flags=re.DOTALL)
    for word in ("accuracy", "commonest class", "macro F1" if kind == "regression" else "Pearson"):
        assert word not in seen, word
        assert word not in said, word
    names = ("R²", "MSE", "Pearson", "Spearman", "always the training mean")
    if kind == "labels":
        names = ("micro F1", "macro F1", "exact match", "probability of 0.5", "praise|joy", "precision")
    for name in names:
        assert name in page, name
    assert "groups of examples" in page
    assert "None" not in said
    assert "nan" not in said.lower().split()
    assert write_tuning(tunes(kind)).is_file()


@pytest.mark.slow  # processes that each import torch; those of classes are tried in test_tune_jobs.py
@pytest.mark.parametrize("kind", ["regression", "labels"])
def test_nothing_is_made_again_and_processes_come_to_the_same(tunes, tmp_path, tiny, kind):
    folder = tunes(kind)
    before = {path: path.stat().st_mtime_ns for path in folder.glob("runs/*/metrics.jsonl")}
    plan = make_plan(
        folder.with_suffix(".csv"), tiny(BERT), "lora", seeds=(1,), epochs=(4,), rates=(1e-2, 3e-2), search="grid",
        sections={"method": {"rank": 2}, "data": {"group": "by"}},
    )  # fmt: skip
    tune(plan, folder, QUIET)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    tune(plan, tmp_path / "jobs", QUIET, jobs=1)
    arms = [read_tune(place)["arms"] for place in (folder, tmp_path / "jobs")]
    ours, other = (next(run for arm in some if arm["name"] == "lora" for run in arm["runs"]) for some in arms)
    assert timeless(ours) == timeless(other)


@pytest.mark.parametrize("kind", FIGURES)
def test_predictions_are_those_of_the_run(tunes, tmp_path, capsys, kind):
    folder = tunes(kind)
    run = folder / "runs" / "full-1"
    lines = [json.loads(line) for line in (run / "predictions-test.jsonl").read_text("utf-8").splitlines()]
    found = Predictor(run, "cpu").predict([line["text"] for line in lines])
    for one, line in zip(found, lines, strict=True):
        assert one.probability is None
        if kind == "regression":
            assert one.predicted == pytest.approx(line["predicted"], rel=1e-5)
            assert one.probabilities is None
        else:
            assert one.predicted == line["predicted"]
            assert [*one.probabilities.values()] == pytest.approx(line["probabilities"], abs=1e-5)
    table = tmp_path / "new.csv"
    table.write_text("text\n" + "\n".join(line["text"] for line in lines[:3]) + '\n""\n', encoding="utf-8")
    assert main(["predict", str(run), "--file", str(table), "--out", str(tmp_path / "out.csv"), "--device", "cpu"]) == 1
    heads, *rest = read_rows(tmp_path / "out.csv")
    rows = [dict(zip(heads, row, strict=True)) for row in rest]
    if kind == "regression":
        assert [*rows[0]] == ["place", "text", "pair", "predicted", "probability", "error"]
        assert float(rows[0]["predicted"]) == pytest.approx(lines[0]["predicted"], rel=1e-5)
    else:
        assert [*rows[0]][4:7] == ["probability", "p(Tadel)", "p(praise|joy)"]
        read = LabelsTarget.read(rows[0]["predicted"], "predicted", "here", "")
        assert [*read] == lines[0]["predicted"]
    assert rows[-1]["predicted"] == ""
    capsys.readouterr()
    assert main(["predict", str(run), lines[0]["text"], "--device", "cpu"]) == 0
    shown = capsys.readouterr().out
    assert shown.rstrip().endswith(lines[0]["text"])
    assert "None" not in shown


@pytest.mark.parametrize("kind", FIGURES)
def test_a_pipeline_says_the_same(tunes, tmp_path, kind):
    run = tunes(kind) / "runs" / "full-1"
    texts = ["good film", "a bad dull film", "the film was fine and the best", "worst"]
    wanted = Predictor(run, "cpu").predict(texts)
    out = export_transformers(run, tmp_path / "out")
    problem = {"regression": "regression", "labels": "multi_label_classification"}[kind]
    settings = json.loads((out / "config.json").read_text("utf-8"))
    assert settings["problem_type"] == problem
    pipeline = transformers.pipeline("text-classification", model=str(out), device="cpu", top_k=None)
    for one, found in zip(wanted, pipeline(texts), strict=True):
        given = {each["label"]: each["score"] for each in found}
        if kind == "regression":
            assert given == {"label": pytest.approx(one.predicted, rel=1e-5)}
        else:
            assert given == pytest.approx(dict(one.probabilities), abs=1e-5)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(out)
    batch = transformers.AutoTokenizer.from_pretrained(out)(texts, padding=True, return_tensors="pt")
    labels = torch.zeros(4) if kind == "regression" else torch.zeros(4, 2)
    assert torch.isfinite(model(**batch, labels=labels).loss)  # transformers knows the loss of it


@pytest.mark.parametrize("kind", FIGURES)
@pytest.mark.parametrize("pooling", ["mean", "native"])
def test_an_adapter_says_the_same(tunes, tmp_path, tiny, kind, pooling):
    """Run as its README says it."""
    run = tunes(kind) / "runs" / "lora-1"
    if pooling == "native":
        sections = {"method": {"rank": 2}, "encoder": {"pooling": "native"}}
        plan = make_plan(tunes(kind).with_suffix(".csv"), tiny(BERT), "lora", rates=(3e-2,), sections=sections)
        tune(plan, tmp_path / "native", QUIET)
        run = tmp_path / "native" / "runs" / "lora-1"
    said = _run_card(export_adapter(run, tmp_path / "out"))
    _assert_same(said, Predictor(run, "cpu").predict(["a fine film"])[0])


@pytest.mark.slow
@pytest.mark.parametrize("kind", FIGURES)
@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_graph_says_the_same(tunes, tmp_path, kind, method):
    run = tunes(kind) / "runs" / f"{method}-1"
    _assert_same(_run_card(export_onnx(run, tmp_path / "out")), Predictor(run, "cpu").predict(["a fine film"])[0])


def _run_card(folder):
    """Return what the code in README.md prints first."""
    code = (folder / "README.md").read_text("utf-8").split("```python")[1].split("```")[0]
    said = []
    before = torch.is_grad_enabled()
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")
        patch.chdir(folder)
        exec(code, {"print": lambda value: said.append(value)})
    assert torch.is_grad_enabled() == before
    return said[0][0]


def _assert_same(said, wanted):
    if wanted.probabilities is None:
        assert said == pytest.approx(wanted.predicted, rel=1e-5)
    else:
        assert said == pytest.approx({name: wanted.probabilities[name] for name in wanted.predicted}, abs=1e-5)


def test_a_head_without_bias_is_refused(tmp_path, tiny):
    """GPT-2's: nothing can be added to it, and scores around 200 need it."""
    table = write(tmp_path / "a.csv", "regression", 40)
    tune(make_plan(table, tiny("gpt2"), "full", rates=(1e-3,)), tmp_path / "out", QUIET)
    run = tmp_path / "out" / "runs" / "full-1"
    assert Predictor(run, "cpu").predict(["good"])[0].predicted == pytest.approx(200, abs=60)
    with pytest.raises(
        ConfigError, match=r"the head of gpt2 has no bias, which scores around 198.4 need: export --to onnx"
    ):
        export_transformers(run, tmp_path / "hf")


def test_scores_of_any_size_are_learned_alike(tmp_path, tiny):
    """The same texts with a score, and with a million times the score: the same training."""
    found = []
    for times in (1, 1e6):
        table = write(tmp_path / f"{times:g}.csv", "regression", 40)
        rows = read_rows(table)
        for row in rows[1:]:
            row[1] = str(float(row[1]) * times)
        with table.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(rows)
        tune(make_plan(table, tiny(BERT), "full", rates=(1e-3,)), tmp_path / f"out-{times:g}", QUIET)
        found.append(read_tune(tmp_path / f"out-{times:g}")["arms"][0]["runs"][0]["test"])
    one, other = found
    assert other["r2"] == pytest.approx(one["r2"], abs=1e-4)
    assert other["mse"] == pytest.approx(one["mse"] * 1e12, rel=1e-3)


def test_the_weights_that_are_kept_say_scores_in_their_units(tunes):
    tuned, _, _, target = load_tuned(tunes("regression") / "runs" / "full-1", "cpu")
    assert isinstance(target, ScoreTarget)
    assert (tuned.target, tuned.units) == (target, (target.center, target.scale))
    assert 190 < target.center < 210
    source = torch.ones(1, 2, 4, dtype=torch.int64)
    assert torch.allclose(tuned(source), tuned.logits(source) * target.scale + target.center)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"class_weights": "balanced"}, "class_weights: it is about classes, and this is regression"),
        ({"train": {"label_smoothing": 0.1}}, "train.label_smoothing: it is about classes, and this is regression"),
    ],
)
def test_what_is_about_classes_is_refused(tmp_path, tiny, settings, said):
    table = write(tmp_path / "a.csv", "regression", 40)
    with pytest.raises(ConfigError, match=said):
        tune(make_plan(table, tiny(BERT), "head", sections=settings), tmp_path / "out", QUIET)
    with pytest.raises(ConfigError, match="--overfit: it is about classes, and this is regression"):
        overfit(make_plan(table, tiny(BERT), "head"), 4, QUIET)


def test_a_split_without_a_difference_is_refused(tmp_path, tiny):
    table = write(tmp_path / "a.csv", "regression", 40)
    same = tmp_path / "same.csv"
    same.write_text("text,label\ngood film,3.5\nbad film,3.5\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"all 2 texts of the test split have the same score, 3.5: nothing can be"):
        tune(make_plan(table, tiny(BERT), "head", sections={"data": {"test": str(same)}}), tmp_path / "out", QUIET)


def test_the_flag(tmp_path, tiny, capsys):
    table = write(tmp_path / "a.csv", "regression", 40)
    arguments = ["tune", str(table), "--encoders", str(tiny(BERT)), "--out", str(tmp_path / "out")]
    assert main([*arguments, "--task", "score"]) == 2
    assert "data.task: choose one of auto, classes, regression, labels, not 'score'" in capsys.readouterr().err
    assert main([*arguments, "--task", "classes"]) == 2
    assert "look like scores, not classes" in capsys.readouterr().err
    ones = tmp_path / "b.csv"
    ones.write_text("text,label\n" + "".join(f"good {i},{i % 5}\n" for i in range(40)), encoding="utf-8")
    more = [
        "--methods",
        "head",
        "--rates",
        "1e-2",
        "--seeds",
        "1",
        "--max-length",
        str(LENGTH),
        "--train.precision",
        "fp32",
    ]
    arguments[1] = str(ones)
    assert main([*arguments, *more, "--task", "regression", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["data"]["target"]["names"] == ["label"]
    assert main([*arguments, *more]) == 2  # classes are another tune
    assert "holds a tune of other texts or splits" in capsys.readouterr().err
    assert "taken for 5 classes" in (main([*arguments, *more, "--overwrite"]), capsys.readouterr().err)[1]
