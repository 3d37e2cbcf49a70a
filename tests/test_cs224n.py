"""The command lines of CS224N's assignment, as `examples/cs224n` runs them, on invented people and tiny models."""

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from heed.errors import CheckpointError, ConfigError, DataError
from heed.text.biographies import Dials, write_biographies

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "cs224n"
TINY = ["--model.n-layers", "1", "--model.n-heads", "2", "--model.d-model", "16"]
FAST = ["--train.steps", "2", "--train.batch-size", "8", "--data.workers", "1"]


@pytest.fixture(scope="module")
def scripts():
    """Import a script by its name."""
    names = ("assignment", "dataset", "london_baseline", "run")
    sys.path.insert(0, str(EXAMPLE))
    try:
        yield {name: importlib.import_module(name) for name in names}
    finally:
        sys.path.remove(str(EXAMPLE))
        for name in names:
            sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    target = tmp_path_factory.mktemp("people")
    write_biographies(target, Dials(people=20))
    return target


@pytest.fixture
def run(scripts, folder, monkeypatch, capsys):
    """Call run.py in the folder of the data; what it prints."""
    monkeypatch.chdir(folder)

    def call(*argv: str) -> str:
        assert scripts["run"].main(argv) == 0
        return capsys.readouterr().out

    return call


def config_of(scripts: dict[str, ModuleType], *argv: str):
    """Return the configuration that a command line of run.py leads to."""
    script = scripts["run"]
    settings, rest = script.split_settings(argv)
    flags = script.parser().parse_args(rest)
    configure = script.pretraining if flags.function == "pretrain" else script.finetuning
    return configure(flags, script.variant_settings(flags.variant), settings)


def test_the_whole_workflow(run, folder):
    run("pretrain", "vanilla", "wiki.txt", "--writing_params_path", "p.params", *TINY, *FAST)
    learn = ["--finetune_corpus_path", "birth_places_train.tsv", *FAST]
    run(
        "finetune",
        "vanilla",
        "wiki.txt",
        "--reading_params_path",
        "p.params",
        "--writing_params_path",
        "f.params",
        *learn,
    )
    facts = json.loads((folder / "f.params" / "environment.json").read_text(encoding="utf-8"))
    assert "'run': 'p.params'" in str(facts)  # where its weights came from
    out = run(
        "evaluate", "vanilla", "wiki.txt", "--reading_params_path", "f.params",
        "--eval_corpus_path", "birth_dev.tsv", "--outputs_path", "dev.predictions",
    )  # fmt: skip
    assert out.startswith("Correct: ")
    assert out.endswith("%\n")
    assert " out of 4.0: " in out
    assert len((folder / "dev.predictions").read_text(encoding="utf-8").splitlines()) == 4


def test_without_pretraining_and_without_answers(run, folder):
    path = ["--writing_params_path", "m.params", "--finetune_corpus_path", "birth_places_train.tsv"]
    run("finetune", "performer", "wiki.txt", *path, *TINY, *FAST)
    prompts = [line.split("\t")[0] for line in (folder / "birth_dev.tsv").read_text(encoding="utf-8").splitlines()]
    (folder / "inputs.tsv").write_text("\n".join(prompts) + "\n", encoding="utf-8")
    read = ["--reading_params_path", "m.params", "--eval_corpus_path", "inputs.tsv", "--outputs_path", "out/test.txt"]
    out = run("evaluate", "performer", "wiki.txt", *read)
    assert out == "Predictions written to out/test.txt; no targets provided\n"
    assert len((folder / "out" / "test.txt").read_text(encoding="utf-8").splitlines()) == 4
    mistakes = {"Where was Ж born?\tRome": "line 1: character 'Ж'", "A?\tRome\nB?": "line 2 has no tab", "": "is empty"}
    for text, said in mistakes.items():
        (folder / "bad.tsv").write_text(text, encoding="utf-8")
        with pytest.raises(DataError, match=f"bad.tsv.*{said}"):
            run("evaluate", "performer", "wiki.txt", *read[:3], "bad.tsv", *read[4:])
    with pytest.raises(ConfigError, match=r"m.params is no vanilla: it has performer with learned positions"):
        run("evaluate", "vanilla", "wiki.txt", *read)


def test_the_numbers_are_the_assignments(scripts, shared_data, tmp_path, monkeypatch):
    monkeypatch.chdir(shared_data / "birth-places")
    path = ["--writing_params_path", str(tmp_path / "p")]
    config = config_of(scripts, "pretrain", "vanilla", "wiki.txt", *path)
    assert (config.model.n_layers, config.model.n_heads, config.model.d_model, config.model.context) == (4, 8, 256, 128)
    assert config.train.steps == 650 * 23  # 2,937 lines in batches of 128
    assert (config.train.batch_size, config.train.learning_rate) == (128, 6e-3)
    assert (config.data.objective, config.data.layout, config.data.separator) == ("single-span", "padded", "\n")
    assert config.data.validation_fraction == 0
    assert config.tokenizer.kind == "char"
    assert (config.run.folder, config.run.name) == (str(tmp_path), "p")
    tuned = config_of(
        scripts, "finetune", "vanilla", "wiki.txt", *path, "--finetune_corpus_path", "birth_places_train.tsv"
    )
    assert (tuned.train.steps, tuned.train.batch_size, tuned.train.learning_rate) == (75 * 8, 256, 6e-4)
    assert tuned.data.objective == "answers"
    assert Path(tuned.tokenizer.file or "").exists()
    started = config_of(
        scripts, "finetune", "vanilla", "wiki.txt", *path, "--finetune_corpus_path", "birth_places_train.tsv",
        "--reading_params_path", "q",
    )  # fmt: skip
    assert (started.train.steps, started.model.start_from) == (10 * 8, "q")


def test_flags_change_the_numbers(scripts, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(folder)
    path = ["--writing_params_path", str(tmp_path / "p")]
    more = ["--pretrain_lr", "1e-3", "--epochs", "3", "--train.batch-size", "5", "--run.seed", "9"]
    config = config_of(scripts, "pretrain", "rope", "wiki.txt", *path, *more)
    assert config.train.steps == 3 * 5  # 21 lines in batches of 5
    assert (config.train.batch_size, config.train.learning_rate, config.run.seed) == (5, 1e-3, 9)
    assert config.model.positions == "rotary"


def test_variants(scripts):
    settings = scripts["assignment"].variant_settings
    assert settings("synthesizer")["attention"]["mechanism"] == "synthesizer-dense"
    assert settings("sliding-window") == {"attention": {"mechanism": "sliding-window"}, "positions": "learned"}
    with pytest.raises(ConfigError, match="heed has no Perceiver"):
        settings("perceiver")
    with pytest.raises(ConfigError, match="unknown variant 'vanila', did you mean 'vanilla'"):
        settings("vanila")
    for name in ("naive-mask", "linformer"):
        with pytest.raises(ConfigError, match="is not causal"):
            settings(name)


@pytest.mark.parametrize(
    ("argv", "kind", "said"),
    [
        (["--bottleneck_dim", "64"], ConfigError, "--bottleneck_dim is for the variant perceiver"),
        (["--epochs", "0"], ConfigError, "--epochs must be at least 1, not 0"),
        (["--model.d-modle", "3"], ConfigError, "did you mean 'd_model'"),
    ],
)
def test_mistakes_when_pretraining(run, tmp_path, argv, kind, said):
    with pytest.raises(kind) as error:
        run("pretrain", "vanilla", "wiki.txt", "--writing_params_path", str(tmp_path / "x"), *argv)
    assert said in str(error.value)


def test_paths_that_are_not_there_or_no_run(run, folder):
    with pytest.raises(DataError, match=r"no such file: wikipedia.txt"):
        run("pretrain", "vanilla", "wikipedia.txt", "--writing_params_path", "x")
    ask = ["--eval_corpus_path", "birth_dev.tsv", "--outputs_path", "o"]
    with pytest.raises(CheckpointError, match=r"nothing.params does not exist: give the run folder"):
        run("evaluate", "vanilla", "wiki.txt", "--reading_params_path", "nothing.params", *ask)
    (folder / "old.params").write_bytes(b"torch")
    with pytest.raises(CheckpointError, match=r"old.params is a file: give the run folder"):
        run("evaluate", "vanilla", "wiki.txt", "--reading_params_path", "old.params", *ask)
    with pytest.raises(ConfigError, match="evaluate takes no settings of heed"):
        run("evaluate", "vanilla", "wiki.txt", "--reading_params_path", ".", *ask, "--run.seed", "2")


@pytest.mark.parametrize(
    "argv", [["evaluate", "vanilla", "wiki.txt"], ["pretrain", "vanilla", "w", "--outputs_path", "o"]]
)
def test_flags_that_are_missing_or_not_taken(scripts, argv, capsys):
    with pytest.raises(SystemExit) as stop:
        scripts["run"].main(argv)
    assert stop.value.code == 2
    assert "required" in capsys.readouterr().err


def test_london_is_right_about_one_in_twenty(scripts, shared_data, capsys):
    dev = shared_data / "birth-places" / "birth_dev.tsv"
    assert scripts["london_baseline"].main(["--eval_corpus_path", str(dev)]) == 0
    assert capsys.readouterr().out == "Correct: 25.0 out of 500.0: 5.0%\n"


def test_namedata_is_printed_as_the_assignment_does(scripts, shared_data, monkeypatch, capsys):
    monkeypatch.chdir(shared_data / "birth-places")
    assert scripts["dataset"].main(["namedata"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 8
    question = "Where was Khatchig Mouradian born?"
    assert lines[0] == "x: " + f"{question}⁇Lebanon⁇".ljust(127, "□")
    # y[i] is what follows x[i]; the question and the first mask are given, so they do not count
    assert lines[1] == "y: " + ("□" * len(question) + "Lebanon⁇").ljust(127, "□")


def test_charcorruption_is_printed_as_the_assignment_does(scripts, shared_data, monkeypatch, capsys):
    monkeypatch.chdir(shared_data / "birth-places")
    assert scripts["dataset"].main(["charcorruption", "--seed", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    texts = (shared_data / "birth-places" / "wiki.txt").read_text(encoding="utf-8").splitlines()
    assert [line[:3] for line in lines] == ["x: ", "y: "] * 4
    for text, x, y in zip(texts, lines[::2], lines[1::2], strict=False):
        assert len(x) == len(y) == 3 + 127
        assert y[3:-1] == x[4:]
        prefix, suffix, span = x[3:].rstrip("□").split("⁇")
        assert text.startswith(prefix + span + suffix)
        assert 4 <= len(prefix + span + suffix) <= 112
