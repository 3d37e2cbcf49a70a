"""A run is enough by itself: its relative sources are found from any folder, as long as they are where they were."""

import json
import shutil

import pytest

from cli.conftest import TINY, write_text
from heed.cli import main
from heed.training.checkpoint import load_checkpoint

RUN = "runs/one"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with a text and a run that was interrupted in the middle, and another one where the user is now."""
    folder, elsewhere = tmp_path / "my project", tmp_path / "elsewhere"
    (folder / "texts").mkdir(parents=True)
    elsewhere.mkdir()
    write_text(folder / "texts" / "a.txt", 300)
    monkeypatch.chdir(folder)
    argv = ["train", "texts/*.txt", *TINY, "--tokenizer.kind", "char", "--run.name", "one"]
    assert main(argv) == 0
    monkeypatch.chdir(elsewhere)
    return folder


def losses(capsys, run):
    capsys.readouterr()
    assert main(["eval", str(run), "--json"]) == 0
    (result,) = json.loads(capsys.readouterr().out)["results"]
    return result["loss"]


def test_it_is_measured_tried_again_and_gone_on_with_from_another_folder(project, monkeypatch, tmp_path, capsys):
    run = project / RUN
    elsewhere = losses(capsys, run)
    assert main(["verify", str(run), "--steps", "2"]) == 0
    assert "not checked" not in capsys.readouterr().out
    shutil.copytree(project, tmp_path / "copy")
    assert main(["train", "--resume", str(run), "--train.steps", "9"]) == 0
    monkeypatch.chdir(tmp_path / "copy")
    assert main(["train", "--resume", RUN, "--train.steps", "9"]) == 0
    last = "checkpoints/step-00000009"
    there, here = (load_checkpoint(folder / RUN / last) for folder in (project, tmp_path / "copy"))
    assert there.model.keys() == here.model.keys()
    assert all(there.model[name].equal(here.model[name]) for name in there.model)
    assert list((tmp_path / "elsewhere").iterdir()) == []
    monkeypatch.chdir(project)
    assert losses(capsys, RUN) != elsewhere  # three steps later
    assert (project / RUN / "config.yaml").read_text() == (tmp_path / "copy" / RUN / "config.yaml").read_text()


def test_a_project_that_moved_as_a_whole_is_still_whole(project, tmp_path, capsys):
    before = losses(capsys, project / RUN)
    shutil.move(project, tmp_path / "moved")
    assert losses(capsys, tmp_path / "moved" / RUN) == before


def test_another_file_of_that_name_is_not_taken_for_it(project, tmp_path, capsys):
    before = losses(capsys, project / RUN)
    (tmp_path / "elsewhere" / "texts").mkdir()
    write_text(tmp_path / "elsewhere" / "texts" / "a.txt", 50, seed=9)
    assert losses(capsys, project / RUN) == before


def test_a_run_alone_says_what_it_misses_and_finds_it_where_the_user_is(project, monkeypatch, tmp_path, capsys):
    before = losses(capsys, project / RUN)
    alone = tmp_path / "a" / "b" / "c" / "one"
    alone.parent.mkdir(parents=True)
    shutil.move(project / RUN, alone)
    assert main(["eval", str(alone)]) == 2
    assert "texts/*.txt" in capsys.readouterr().err
    monkeypatch.chdir(project)
    assert losses(capsys, alone) == before


def test_a_run_of_before_is_read_as_it_was(project, monkeypatch, capsys):
    before = losses(capsys, project / RUN)
    file = project / RUN / "environment.json"
    content = json.loads(file.read_text())
    assert content.pop("began_in") == "../.."
    file.write_text(json.dumps(content))
    (project / RUN / "hashes.json").unlink()
    assert main(["eval", str(project / RUN)]) == 2
    monkeypatch.chdir(project)
    assert losses(capsys, RUN) == before


def test_a_run_that_heed_moved_still_finds_its_text(project, tmp_path, capsys):
    before = losses(capsys, project / RUN)
    assert main(["runs", "mv", str(project / RUN), str(tmp_path / "a" / "b" / "c")]) == 0
    assert losses(capsys, tmp_path / "a" / "b" / "c") == before
    assert main(["verify", str(tmp_path / "a" / "b" / "c"), "--steps", "1"]) == 0
