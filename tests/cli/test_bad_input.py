"""What a user can do wrong: each gives one line that says what to do next, exit code 2, and nothing is lost."""

import errno
import json
import os
import shutil
from pathlib import Path

import pytest

from cli.conftest import TINY, write_text


def complaint(answer) -> str:
    """Check the form of a refusal and return its line."""
    assert answer.code == 2
    lines = [line for line in answer.err.splitlines() if line.startswith("heed: ")]
    assert len(lines) == 1
    assert "Traceback" not in answer.err
    return lines[0]


def train(heed, tmp_path: Path, *argv: object):
    return heed("train", *TINY, *argv, "--run.folder", tmp_path / "runs")


def test_empty_corpus(heed, tmp_path):
    (tmp_path / "empty.txt").write_text("")
    assert "no text" in complaint(train(heed, tmp_path, tmp_path / "empty.txt"))
    assert not (tmp_path / "runs" / "empty-gpt-1").exists()


def test_empty_folder(heed, tmp_path):
    (tmp_path / "texts").mkdir()
    assert "holds no text files" in complaint(train(heed, tmp_path, tmp_path / "texts"))


def test_one_line_corpus_is_shorter_than_a_window(heed, tmp_path):
    (tmp_path / "line.txt").write_text("one line\n")
    line = complaint(train(heed, tmp_path, tmp_path / "line.txt", "--tokenizer.kind", "char"))
    assert "8 tokens, a window needs 17" in line
    assert "model.context" in line


def test_text_that_is_not_utf8_names_file_byte_and_remedy(heed, tmp_path):
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9 " * 100)
    line = complaint(train(heed, tmp_path, tmp_path / "latin.txt"))
    assert "latin.txt" in line
    assert "byte 3" in line
    assert "--data.encoding" in line


def test_the_offered_encoding_works(heed, tmp_path):
    (tmp_path / "latin.txt").write_bytes("das Käuzchen hört den Föhn.\n".encode("latin-1") * 100)
    argv = [tmp_path / "latin.txt", "--data.encoding", "latin-1", "--tokenizer.kind", "char"]
    assert train(heed, tmp_path, *argv).code == 0


def test_missing_file(heed, tmp_path):
    write_text(tmp_path / "animals.txt")
    assert "animals.txt'?" in complaint(train(heed, tmp_path, tmp_path / "animal.txt"))


def test_unknown_setting_as_flag_and_in_a_file(heed, tmp_path, text):
    assert "model.n_layer: unknown setting, did you mean 'n_layers'?" in complaint(
        train(heed, tmp_path, text, "--model.n-layer", 3)
    )
    (tmp_path / "bad.yaml").write_text("model:\n  n_layer: 3\ntrian: {}\n")
    line = complaint(heed("train", "--config", tmp_path / "bad.yaml"))
    assert "did you mean 'n_layers'?" in line
    assert "did you mean 'train'?" in line


def test_unknown_values_options_and_verbs(heed, tmp_path, text):
    assert "did you mean 'layer'?" in complaint(train(heed, tmp_path, text, "--model.norm", "lyer"))
    assert "did you mean 'small'?" in complaint(train(heed, tmp_path, text, "--model.preset", "smal"))
    assert "did you mean 'softmax'?" in complaint(train(heed, tmp_path, text, "--model.attention.mechanism", "sofmax"))
    assert "did you mean '--overwrite'?" in complaint(train(heed, tmp_path, text, "--overwrit"))
    assert "did you mean 'train'?" in complaint(heed("trian"))


def test_vocabulary_too_small(heed, tmp_path, text):
    assert "at least 257" in complaint(train(heed, tmp_path, text, "--tokenizer.vocab-size", 100))


def test_check_reports_every_problem_at_once(heed, tmp_path):
    (tmp_path / "bad.yaml").write_text(
        "data: {validation_fraction: 0.9, test_fraction: 0.2}\nmodel: {d_model: 130, n_heads: 4}\n"
        "tokenizer: {vocab_size: 20}\ntrain: {steps: 5, warmup_steps: 10}\n"
    )
    answer = heed("check", tmp_path / "bad.yaml")
    assert answer.code == 2
    assert len(answer.err.splitlines()) == 4
    answer = heed("check", tmp_path / "bad.yaml", "--json")
    assert answer.code == 2
    assert len(json.loads(answer.out)["problems"]) == 4


def test_run_folder_that_exists_is_kept(heed, text, trained):
    before = sorted(path for path in trained.rglob("*"))
    argv = ["train", text, *TINY, "--run.folder", trained.parent, "--run.name", trained.name]
    line = complaint(heed(*argv))
    assert "--resume" in line
    assert "--overwrite" in line
    assert sorted(path for path in trained.rglob("*")) == before


def test_a_folder_that_is_no_run_is_never_overwritten(heed, tmp_path, text):
    precious = tmp_path / "runs" / "thesis"
    precious.mkdir(parents=True)
    (precious / "chapter.txt").write_text("years of work")
    assert "no run folder" in complaint(train(heed, tmp_path, text, "--run.name", "thesis", "--overwrite"))
    assert (precious / "chapter.txt").read_text() == "years of work"


@pytest.mark.parametrize("damage", ["truncated", "altered"])
def test_damaged_checkpoint_names_the_last_good_one(heed, tmp_path, trained, damage):
    run = shutil.copytree(trained, tmp_path / "copy")
    steps = sorted(path for path in (run / "checkpoints").iterdir() if path.is_dir())
    weights = steps[-1] / "model.safetensors"
    content = weights.read_bytes()
    if damage == "truncated":
        weights.write_bytes(content[: len(content) // 2])
    else:
        weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    line = complaint(heed("sample", run, "--checkpoint", "last", "--prompt", "the"))
    assert steps[-1].name in line
    assert steps[-2].name in line


def test_disk_full_while_saving_keeps_the_previous_checkpoint(heed, tmp_path, text, monkeypatch):
    from heed.training import checkpoint

    real = checkpoint.save_file

    def full_disk(tensors, path):
        if "step-00000004" in str(path):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(tensors, path)

    monkeypatch.setattr(checkpoint, "save_file", full_disk)
    argv = [text, "--tokenizer.kind", "char", "--run.name", "full", "--train.eval-every", 100]
    line = complaint(train(heed, tmp_path, *argv))
    assert "No space left" in line
    assert "step-00000002 is whole" in line
    monkeypatch.undo()
    assert heed("train", "--resume", tmp_path / "runs" / "full").code == 0


def test_prompt_with_a_character_that_was_never_seen(heed, trained):
    line = complaint(heed("sample", trained, "--prompt", "the cat §"))
    assert "§" in line
    assert "U+00A7" in line


def test_hub_name_while_offline(heed, tmp_path):
    line = complaint(train(heed, tmp_path, "hf:nobody/nothing"))
    assert "go online" in line


def test_sample_settings_out_of_range(heed, trained):
    assert "top_p" in complaint(heed("sample", trained, "--prompt", "the", "--top-p", 2))
    assert "--json" in complaint(heed("sample", trained, "--prompt", "the", "--logprobs", 2))


def test_no_such_run(heed, tmp_path):
    for verb in (["sample"], ["eval"], ["report"], ["train", "--resume"]):
        assert "none" in complaint(heed(*verb, tmp_path / "none"))


def test_resuming_with_another_model_is_refused(heed, trained):
    line = complaint(heed("train", "--resume", trained, "--model.n-layers", 2))
    assert "model" in line


def test_figures_with_different_passports_are_not_compared(heed, tmp_path, text, trained):
    argv = [text, "--tokenizer.kind", "char", "--run.name", "other", "--model.context", 8]
    assert train(heed, tmp_path, *argv).code == 0
    line = complaint(heed("eval", trained, tmp_path / "runs" / "other"))
    assert "context (16 and 8)" in line
    allowed = heed("eval", trained, tmp_path / "runs" / "other", "--allow", "context", "stride", "tokens")
    assert allowed.code == 0


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (["--train.optimizer", "sgd"], "keeps its adamw"),
        (["--train.batch-size", "auto"], "auto is for a new run"),
        (["--train.steps", 2], "beyond train.steps"),
    ],
)
def test_a_refused_resumption_leaves_the_run_as_it_was(heed, tmp_path, trained, settings, says):
    run = shutil.copytree(trained, tmp_path / "copy")
    before = (run / "config.yaml").read_text()
    assert says in complaint(heed("train", "--resume", run, *settings))
    assert (run / "config.yaml").read_text() == before
    assert heed("train", "--resume", run).code == 0


def test_resuming_on_another_text_is_refused(heed, tmp_path):
    text = write_text(tmp_path / "text.txt")
    assert train(heed, tmp_path, text, "--tokenizer.kind", "char", "--run.name", "one").code == 0
    text.write_text(text.read_text().replace("d", "g"))
    assert "not what the run began with" in complaint(heed("train", "--resume", tmp_path / "runs" / "one"))


def test_a_state_that_is_not_finite_is_never_kept(heed, tmp_path, text):
    argv = ["--tokenizer.kind", "char", "--run.name", "burst", "--train.optimizer", "sgd", "--train.clip", "None"]
    argv += ["--train.learning-rate", 1e38, "--train.eval-every", 1, "--train.checkpoint-every", 1]
    line = complaint(train(heed, tmp_path, text, *argv))
    assert "infinite" in line
    assert "there is no checkpoint yet" in line


def test_check_reports_what_the_model_and_the_data_refuse(heed, tmp_path):
    answer = heed("check", "--data.source", tmp_path / "none.txt", "--model.attention.mechanism", "sofmax",
                  "--train.batch-size", "foo", "--json")  # fmt: skip
    told = json.loads(answer.out)["problems"]
    assert answer.code == 2
    assert len(told) == 3
    assert "train.batch_size: 'foo' is neither a whole number nor 'auto'" in told
    assert any(line.startswith("data.source: no such file or folder") for line in told)
    assert any("did you mean 'softmax'?" in line for line in told)


def test_check_tells_of_parts_that_do_not_go_together(heed, monkeypatch):
    from heed import build
    from heed.errors import ConfigError

    def refuse(*_, **__):
        raise ConfigError("one part", "another part")

    monkeypatch.setattr(build, "build_model", refuse)
    assert json.loads(heed("check", "--json").out)["problems"] == ["one part", "another part"]


def test_advice_on_options_offers_settings_and_no_positionals(heed, tmp_path, trained):
    assert "did you mean '--train.steps'?" in complaint(heed("train", "--steps", 3))
    assert "did you mean '--model.n-layers'?" in complaint(heed("check", "--n-layer", 3))
    assert "did you mean '--tokenizer.kind'" in complaint(heed("train", "--kind", "char"))
    assert "--file" not in complaint(heed("check", "--zzz"))
    assert "--run'" not in complaint(heed("sample", trained, "--rum"))
    assert complaint(heed("train", "a.txt", "b.txt")) == "heed: unexpected: b.txt (heed train --help shows all)"


def test_a_digit_that_is_no_number_is_no_step(heed, trained):
    for verb in ("sample", "eval", "export"):
        assert "²" in complaint(heed(verb, trained, "--checkpoint", "²"))


def test_allow_needs_something_to_compare(heed, trained):
    assert "--allow" in complaint(heed("eval", trained, "--allow", "context"))


def test_a_loss_that_is_not_finite_is_an_error(heed, trained, monkeypatch):
    import dataclasses

    from heed import objectives

    real = objectives.measure

    def broken(*args, **options):
        found = real(*args, **options)
        return dataclasses.replace(found, values={**found.values, "loss": float("nan")})

    monkeypatch.setattr(objectives, "measure", broken)
    for more in ([], ["--json"]):
        answer = heed("eval", trained, *more)
        assert "loss is not finite: nan" in complaint(answer)
        assert answer.out == ""


def test_a_tokenizer_file_that_is_not_what_was_asked_for(heed, tmp_path, text, trained):
    argv = [text, "--tokenizer.file", trained]
    assert "tokenizer.kind" in complaint(train(heed, tmp_path, *argv, "--tokenizer.kind", "bpe"))
    assert "tokenizer.vocab_size" in complaint(train(heed, tmp_path, *argv, "--tokenizer.vocab-size", 300))
    answer = train(heed, tmp_path, *argv, "--tokenizer.kind", "char")
    assert answer.code == 0
    assert "tokenizer: char, " in answer.err


def test_verbs_that_read_a_text_take_data_settings_and_no_others(heed, tmp_path, text, trained):
    tokenizer = ["tokenizer", "train", text, "--out", tmp_path / "t.json"]
    assert "--model.n-layers" in complaint(heed(*tokenizer, "--model.n-layers", 2))
    assert "data.encodin: unknown setting" in complaint(heed(*tokenizer, "--data.encodin", "latin-1"))
    assert "twice" in complaint(heed(*tokenizer, "--data.source", text))
    assert "--corpus" in complaint(heed("eval", trained, "--data.encoding", "latin-1"))


def test_a_prompt_that_cannot_be_encoded_is_not_printed(heed, trained):
    answer = heed("sample", trained, "--prompt", "the cat §")
    complaint(answer)
    assert answer.out == ""


def test_options_may_be_one_mapping(heed, tmp_path, text):
    argv = ["--model.attention.mechanism", "bigbird", "--model.attention.options"]
    for written in ('{"block": 8, "window_blocks": 4}', "{block: 8, window_blocks: 4}"):
        assert "options.window_blocks: must be odd, not 4" in complaint(train(heed, tmp_path, text, *argv, written))
    for written in ("block=8", "{block: 8"):
        line = complaint(train(heed, tmp_path, text, *argv, written))
        assert f"model.attention.options: must hold settings by name, as {{name: value}}, not '{written}'" in line


def test_parts_that_do_not_go_together_are_told_at_once_and_before_the_text_is_read(heed, tmp_path, text):
    argv = ["--model.attention.mechanism", "bigbird", "--model.attention.options", "{blok: 8, window_blocks: 4}"]
    answer = train(heed, tmp_path, text, *argv, "--model.positions", "relative")
    assert "cannot take positions 'relative'" in answer.err
    assert "did you mean 'block'?" in answer.err
    assert "tokens" not in answer.err
    line = complaint(train(heed, tmp_path, text, *argv))
    assert "did you mean 'block'?" in line
    assert "window_blocks: must be odd" in line
    problems = json.loads(heed("check", *argv, "--train.batch-size", "foo", "--json").out)["problems"]
    assert len(problems) == 3


def test_attention_that_is_too_large_for_any_memory(heed, tmp_path, text):
    argv = ["--model.attention.mechanism", "aft-full", "--model.context", 10_000_000]  # w alone: 400 TB
    assert "shorten the context" in complaint(train(heed, tmp_path, text, *argv))
