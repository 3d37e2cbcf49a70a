"""Damaged run folders: every verb gives what it gives on the whole one, or one line that names the file."""

import json
import os
import shutil

import pytest
import yaml

from cli.conftest import TINY, write_text
from cli.damaging import Bench, steady
from heed import seals
from heed.errors import CheckpointError

TRIALS = {"language": 130, "classes": 60, "questions": 60, "tuned": 25, "study": 25}
"""Copies of each kind, 300 together; fewer where the pages take long."""


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", TRIALS)
def test_damaged_copies(tmp_path, kind):
    first = 1000 * list(TRIALS).index(kind)
    bench = Bench(tmp_path, kind)
    for seed in range(first, first + TRIALS[kind]):
        bench.trial(seed)
    print(f"{kind}: {TRIALS[kind]} damaged copies, {bench.counts.total()} verbs: {dict(sorted(bench.counts.items()))}")
    assert not bench.faults, "\n".join(bench.faults)


@pytest.fixture
def run(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "runs" / "tiny")
    return tmp_path / "runs" / "tiny"


def figures(heed, run):
    return steady(json.loads(heed("eval", run, "--json").out))


def edit(path, change):
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    change(values)
    path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")


def make_old(run):
    """Make it a run of an earlier heed: no hashes, no settings in the checkpoints."""
    from heed.records.checkpoints import hash_state

    (run / "hashes.json").unlink()
    for state in run.glob("checkpoints/*/state.json"):
        content = json.loads(state.read_text(encoding="utf-8"))
        del content["self"], content["state"]["settings"]
        state.write_text(json.dumps({**content, "self": hash_state(content)}), encoding="utf-8")


def test_what_is_edited_is_told_with_what_it_was(heed, run):
    edit(run / "config.yaml", lambda values: values["model"].update(norm_epsilon=1e-3))
    for verb in (("eval", run), ("sample", run), ("export", run), ("train", "--resume", run, "--train.steps", 8)):
        found = heed(*verb)
        assert found.code == 2
        assert "config.yaml: model.norm_epsilon is 0.001, and the run was trained with 1e-05" in found.err
    (run / "hashes.json").unlink()  # the checkpoint knows it without
    assert "model.norm_epsilon is 0.001" in heed("eval", run).err
    found = heed("report", run)
    assert (found.code, "config.yaml: model.norm_epsilon is 0.001, and" in found.err) == (2, True)


def test_settings_of_training_are_changed_by_flags(heed, run):
    edit(run / "config.yaml", lambda values: values["train"].update(clip=0.5))
    found = heed("train", "--resume", run, "--train.steps", 8)
    assert found.code == 2
    assert "train.clip is 0.5, and the run was trained with 1.0" in found.err
    assert f"change it with heed train --resume {run} --train.clip" in found.err


def test_comments_and_order_change_nothing(heed, run):
    before = figures(heed, run)
    text = (run / "config.yaml").read_text(encoding="utf-8")
    sections = ["# my notes\n" + text]
    values = yaml.safe_load(text)
    sections.append(yaml.safe_dump(dict(reversed(values.items()))))
    for content in sections:
        (run / "config.yaml").write_text(content, encoding="utf-8")
        assert figures(heed, run) == before


def test_a_resumed_run_may_have_other_settings_before_its_next_checkpoint(heed, run, monkeypatch):
    from heed.training import fit

    def stop(self, *arguments, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fit._Loop, "save", stop)
        heed("train", "--resume", run, "--train.steps", 9, "--train.clip", 0.5)
    assert yaml.safe_load((run / "config.yaml").read_text())["train"]["clip"] == 0.5
    assert heed("eval", run).code == 0
    assert heed("train", "--resume", run).code == 0


@pytest.mark.parametrize("name", ["environment.json", "evaluation.json", "metrics.jsonl", "samples.jsonl"])
def test_a_changed_record_is_refused_by_the_page(heed, run, name):
    content = (run / name).read_bytes()
    (run / name).write_bytes(content.replace(b"1", b"2", 1))
    found = heed("report", run)
    assert found.code == 2
    assert f"{name} is not as heed wrote it" in found.err
    (run / "hashes.json").unlink()  # as the line says
    assert heed("report", run).code == 0


def test_swapped_ids_of_a_tokenizer_are_refused(heed, run):
    data = json.loads((run / "tokenizer.json").read_text(encoding="utf-8"))
    data["model"]["vocab"].update(a=data["model"]["vocab"]["e"], e=data["model"]["vocab"]["a"])
    (run / "tokenizer.json").write_text(json.dumps(data), encoding="utf-8")
    for verb in (("eval", run), ("sample", run), ("train", "--resume", run, "--train.steps", 8)):
        found = heed(*verb)
        assert (found.code, "tokenizer.json is not as heed wrote it" in found.err) == (2, True)


def test_a_checkpoint_knows_its_tokenizer_without_hashes(heed, run):
    data = json.loads((run / "tokenizer.json").read_text(encoding="utf-8"))
    data["model"]["vocab"].update(a=data["model"]["vocab"]["e"], e=data["model"]["vocab"]["a"])
    (run / "tokenizer.json").write_text(json.dumps(data), encoding="utf-8")
    (run / "hashes.json").unlink()
    for verb in (("eval", run), ("sample", run), ("export", run), ("train", "--resume", run, "--train.steps", 8)):
        found = heed(*verb)
        assert (found.code, "tokenizer.json is not the tokenizer that" in found.err) == (2, True), found.err
        assert "has changed" not in found.err


def test_another_best_checkpoint_is_refused_and_mended_by_going_on(heed, run):
    mark = run / "checkpoints" / "best.json"
    best = json.loads(mark.read_text())
    mark.write_text(json.dumps(best | {"step": 4 if best["step"] == 6 else 6}))
    assert "best.json is not as heed wrote it: take --checkpoint last, or a step" in heed("eval", run).err
    for odd in ("[]", "3", '{"step": "6", "loss": 1}', '{"step": true, "loss": 1}', '{"step": 6.0}', "[" * 5000):
        mark.write_text(odd)
        found = heed("eval", run)
        assert (found.code, "best.json" in found.err) == (2, True), odd
    assert heed("train", "--resume", run, "--train.steps", 8).code == 0
    assert heed("eval", run).code == 0


def test_a_checkpoint_under_another_name_is_refused(heed, run):
    four, six = run / "checkpoints" / "step-00000004", run / "checkpoints" / "step-00000006"
    shutil.rmtree(six)
    shutil.copytree(four, six)
    found = heed("eval", run, "--checkpoint", 6)
    assert (found.code, "state.json is of step 4" in found.err) == (2, True)


def test_old_runs_do_as_before(heed, run):
    before = figures(heed, run)
    make_old(run)
    assert figures(heed, run) == before
    assert heed("sample", run, "--max-tokens", 4).code == 0
    assert heed("report", run).code == 0
    assert heed("export", run).code == 0
    assert heed("train", "--resume", run, "--train.steps", 8).code == 0
    assert seals.SEALS in os.listdir(run)
    assert heed("eval", run).code == 0


@pytest.mark.parametrize("classes", ["ab", 3, ["a"], ["a", "a"], {"a": 1, "b": 2}, [], True])
def test_classes_of_other_types(tmp_path, classes):
    from heed.training.run import Run

    (tmp_path / "environment.json").write_text(json.dumps({"classes": classes}))
    with pytest.raises(CheckpointError, match=r"environment\.json is damaged"):
        _ = Run(tmp_path, None).classes


def test_another_text_is_told(heed, tmp_path):
    text = write_text(tmp_path / "text.txt", 100)
    run = tmp_path / "runs" / "a"
    flags = [*TINY, "--tokenizer.kind", "char", "--run.folder", run.parent, "--run.name", "a"]
    assert heed("train", text, *flags).code == 0
    assert "has changed since" not in heed("eval", run).err
    write_text(text, 120)
    found = heed("eval", run)
    assert (found.code, f"note: the text of {run} has changed since it was trained" in found.err) == (0, True)
